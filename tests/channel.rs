//! Batches of packets from the thread that receives to those that process.

use nethuns_rs::api::{
    Batch, BatchReceiver, BatchSender, Channel, Context, NethunsPopper, NethunsPusher, Socket, TryPopError,
};
use nethuns_rs::mem::{MemFlags, Sock};
use nethuns_rs::pool::PoolContext;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const N: usize = 8;
type Popper = NethunsPopper<PoolContext, N>;

/// A sender, and a receiver with a channel of `depth` batches.
fn rig(name: &str, channel: impl Into<Channel<N>>) -> (Sock, Sock, NethunsPusher<N>, Popper) {
    let flags = MemFlags { frames: 1024, frame_size: 128, ..MemFlags::default() };
    let sender = Sock::create(&format!("mem:channel-{name}"), None, flags.clone()).unwrap();
    let (socket, pusher, popper) =
        Sock::create_with_channel::<N>(&format!("mem:channel-{name}"), None, flags, channel).unwrap();
    (sender, socket, pusher, popper)
}

fn send(sender: &Sock, numbers: impl IntoIterator<Item = u32>) {
    for i in numbers {
        sender.send(&i.to_be_bytes().repeat(15)).unwrap();
    }
    sender.flush();
}

fn collect(socket: &Sock) -> Batch<N> {
    let mut batch = Batch::new();
    socket.recv_tokens(&mut batch).unwrap();
    batch
}

fn number(packet: &[u8]) -> u32 {
    assert_eq!(packet.len(), 60);
    u32::from_be_bytes(packet[..4].try_into().unwrap())
}

/// Everything that comes, until the pushers are gone.
fn drain(popper: &Popper) -> Vec<u32> {
    let mut all = Vec::new();
    while let Some(batch) = popper.pop() {
        all.extend(batch.map(|packet| number(&packet)));
    }
    all
}

/// Pushes `total` packets, 64 in flight at a time, and gives the sockets back.
fn produce(sender: Sock, socket: Sock, pusher: NethunsPusher<N>, total: u32) -> std::thread::JoinHandle<(Sock, Sock)> {
    std::thread::spawn(move || {
        let mut sent = 0;
        while sent < total {
            if socket.frames_in_flight().unwrap() > 512 {
                std::thread::yield_now();
                continue;
            }
            let burst = (total - sent).min(13);
            send(&sender, sent..sent + burst);
            sent += burst;
            loop {
                let batch = collect(&socket);
                if batch.is_empty() {
                    break;
                }
                pusher.push(batch).unwrap();
            }
        }
        (sender, socket)
    })
}

#[test]
fn one_consumer_gets_everything_in_order() {
    let (sender, socket, pusher, popper) = rig("order", flume::bounded(4));
    let producer = produce(sender, socket, pusher, 20_000);
    let consumer = std::thread::spawn(move || drain(&popper));
    let sockets = producer.join().unwrap();
    assert_eq!(consumer.join().unwrap(), (0..20_000).collect::<Vec<_>>());
    assert_eq!(sockets.1.frames_in_flight(), Some(0));
}

#[test]
fn several_consumers_share_the_work_and_lose_nothing() {
    let (sender, socket, pusher, popper) = rig("several", flume::bounded(4));
    let gate = Arc::new(std::sync::Barrier::new(4));
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let (popper, gate) = (popper.clone(), gate.clone());
            std::thread::spawn(move || {
                // Everybody has had a batch before anybody may have a second.
                let mut mine: Vec<u32> = popper.pop().unwrap().map(|packet| number(&packet)).collect();
                gate.wait();
                mine.extend(drain(&popper));
                mine
            })
        })
        .collect();
    drop(popper);
    let sockets = produce(sender, socket, pusher, 20_000).join().unwrap();
    let mut all = BTreeSet::new();
    for consumer in consumers {
        let mine = consumer.join().unwrap();
        assert!(mine.is_sorted(), "what one consumer gets is in order");
        for i in mine {
            assert!(all.insert(i), "packet {i} came twice");
        }
    }
    assert_eq!(all.len(), 20_000);
    assert_eq!(sockets.1.frames_in_flight(), Some(0));
}

#[test]
fn several_producers_end_only_with_the_last() {
    let (sender, socket, pusher, popper) = rig("producers", flume::unbounded());
    send(&sender, 0..2);
    let second = pusher.clone();
    second.push(collect(&socket)).unwrap();
    drop(second);
    assert_eq!(popper.pop().unwrap().count(), 2);
    assert!(matches!(popper.pop_timeout(Duration::from_millis(1)).map(|_| ()), Err(TryPopError::Empty)));
    drop(pusher);
    assert!(popper.pop().is_none());
    assert!(matches!(popper.pop_timeout(Duration::ZERO).map(|_| ()), Err(TryPopError::Disconnected)));
}

#[test]
fn a_batch_without_a_popper_comes_back() {
    let (sender, socket, pusher, popper) = rig("refused", flume::bounded(2));
    let other = popper.clone();
    send(&sender, 0..3);
    drop(popper);
    pusher.push(collect(&socket)).unwrap();
    drop(other);
    send(&sender, 10..15);
    let back = pusher.push(collect(&socket)).unwrap_err();
    let back = pusher.try_push(back).unwrap_err();
    let numbers: Vec<u32> = back.into_iter().map(|token| number(&token.consume(socket.context()))).collect();
    assert_eq!(numbers, [10, 11, 12, 13, 14], "whole, and in order");
    drop(pusher);
    assert_eq!(socket.frames_in_flight(), Some(0), "the batch that nobody popped went home too");
}

#[test]
fn a_full_channel_gives_the_batch_back_or_waits() {
    let (sender, socket, pusher, popper) = rig("full", flume::bounded(2));
    for i in 0..2 {
        send(&sender, i..i + 1);
        pusher.try_push(collect(&socket)).unwrap();
    }
    send(&sender, 2..3);
    let back = pusher.try_push(collect(&socket)).unwrap_err();
    assert_eq!(back.len(), 1);
    let waiter = std::thread::spawn(move || {
        pusher.push(back).unwrap();
        pusher
    });
    std::thread::sleep(Duration::from_millis(20));
    assert!(!waiter.is_finished(), "push waits for room");
    let first: Vec<u32> = popper.pop().unwrap().map(|packet| number(&packet)).collect();
    let pusher = waiter.join().unwrap();
    drop(pusher);
    assert_eq!((first, drain(&popper)), (vec![0], vec![1, 2]));
    assert_eq!(socket.frames_in_flight(), Some(0));
}

#[test]
fn a_batch_half_read_goes_home() {
    let (sender, socket, pusher, popper) = rig("half", flume::bounded(8));
    send(&sender, 0..8);
    pusher.push(collect(&socket)).unwrap();
    let mut packets = popper.pop().unwrap();
    let kept = packets.nth(1).unwrap();
    assert_eq!(socket.frames_in_flight(), Some(7), "the first went home, six are in the iterator, one is kept");
    drop(packets);
    assert_eq!(socket.frames_in_flight(), Some(1));
    assert_eq!(number(&kept), 1);
    drop(kept);
    assert_eq!(socket.frames_in_flight(), Some(0));
    // Left in the channel, when everybody has gone.
    send(&sender, 0..8);
    pusher.push(collect(&socket)).unwrap();
    assert_eq!(socket.frames_in_flight(), Some(8));
    drop((pusher, popper));
    assert_eq!(socket.frames_in_flight(), Some(0));
}

#[test]
fn packets_go_on_as_tokens_and_outlive_the_socket() {
    let (sender, socket, pusher, popper) = rig("tokens", flume::bounded(8));
    send(&sender, 0..8);
    pusher.push(collect(&socket)).unwrap();
    let batch = popper.pop_tokens().unwrap();
    assert_eq!((batch.len(), batch.is_full()), (8, true));
    assert!(batch.iter().all(|token| token.check_token(popper.context())));
    send(&sender, 8..10);
    pusher.push(collect(&socket)).unwrap();
    drop((sender, socket, pusher));
    for (i, token) in batch.into_iter().enumerate() {
        let mut packet = popper.context().packet(token);
        assert_eq!(number(&packet), i as u32);
        packet.fill(0);
    }
    assert_eq!(drain(&popper), [8, 9], "sockets gone, packets still there");
}

#[test]
fn popping_waits_as_long_as_it_was_told() {
    let (sender, socket, pusher, popper) = rig("timeout", flume::bounded(8));
    let start = Instant::now();
    assert!(matches!(popper.pop_timeout(Duration::from_millis(20)).map(|_| ()), Err(TryPopError::Empty)));
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(matches!(popper.pop_timeout(Duration::ZERO).map(|_| ()), Err(TryPopError::Empty)));
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        send(&sender, 0..3);
        pusher.push(collect(&socket)).unwrap();
        (sender, socket, pusher)
    });
    assert_eq!(popper.pop_timeout(Duration::from_secs(20)).unwrap().count(), 3);
    drop(late.join().unwrap());
}

#[test]
fn a_token_of_another_socket_stops_the_consumer_not_the_frame() {
    let (sender, socket, pusher, popper) = rig("foreign", flume::bounded(8));
    let (_, other, _, _) = rig("foreign-other", flume::bounded::<Batch<N>>(1));
    let mut batch = Batch::new();
    batch.push(other.alloc(60).unwrap().into_token());
    send(&sender, 0..1);
    batch.extend(collect(&socket));
    pusher.push(batch).unwrap();
    let popped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| popper.pop().unwrap().count()));
    assert!(popped.is_err());
    assert_eq!((other.frames_in_flight(), socket.frames_in_flight()), (Some(0), Some(0)));
}

/// A channel of another make: the standard library's, whose receiver is shared under a lock.
struct StdSender(std::sync::mpsc::SyncSender<Batch<N>>);
struct StdReceiver(Arc<Mutex<std::sync::mpsc::Receiver<Batch<N>>>>);

impl BatchSender<N> for StdSender {
    fn send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        self.0.send(batch).map_err(|e| e.0)
    }
    fn try_send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        self.0.try_send(batch).map_err(|e| match e {
            std::sync::mpsc::TrySendError::Full(batch) | std::sync::mpsc::TrySendError::Disconnected(batch) => batch,
        })
    }
    fn clone_box(&self) -> Box<dyn BatchSender<N>> {
        Box::new(Self(self.0.clone()))
    }
}

impl BatchReceiver<N> for StdReceiver {
    fn recv(&self) -> Option<Batch<N>> {
        self.0.lock().unwrap().recv().ok()
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<Batch<N>, TryPopError> {
        self.0.lock().unwrap().recv_timeout(timeout).map_err(|e| match e {
            std::sync::mpsc::RecvTimeoutError::Timeout => TryPopError::Empty,
            std::sync::mpsc::RecvTimeoutError::Disconnected => TryPopError::Disconnected,
        })
    }
    fn clone_box(&self) -> Box<dyn BatchReceiver<N>> {
        Box::new(Self(self.0.clone()))
    }
}

#[test]
fn another_kind_of_channel_carries_batches() {
    let (tx, rx) = std::sync::mpsc::sync_channel(4);
    let channel = Channel::new(StdSender(tx), StdReceiver(Arc::new(Mutex::new(rx))));
    let (sender, socket, pusher, popper) = rig("std", channel);
    assert!(matches!(popper.pop_timeout(Duration::from_millis(1)).map(|_| ()), Err(TryPopError::Empty)));
    let (first, second) = (popper.clone(), popper);
    let consumers = [first, second].map(|popper| std::thread::spawn(move || drain(&popper)));
    let sockets = produce(sender, socket, pusher, 5000).join().unwrap();
    let mut all: Vec<u32> = consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..5000).collect::<Vec<_>>());
    assert_eq!(sockets.1.frames_in_flight(), Some(0));
}

/// A channel in which the newest batch is worth most: when it is full the oldest goes.
#[derive(Default)]
struct Freshest {
    batches: Mutex<(std::collections::VecDeque<Batch<N>>, usize)>,
    changed: Condvar,
}

struct FreshSender(Arc<Freshest>);
struct FreshReceiver(Arc<Freshest>);

impl Drop for FreshSender {
    fn drop(&mut self) {
        self.0.batches.lock().unwrap().1 -= 1;
        self.0.changed.notify_all();
    }
}

impl BatchSender<N> for FreshSender {
    fn send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        self.try_send(batch)
    }
    fn try_send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        let mut batches = self.0.batches.lock().unwrap();
        if batches.0.len() == 2 {
            batches.0.pop_front();
        }
        batches.0.push_back(batch);
        self.0.changed.notify_one();
        Ok(())
    }
    fn clone_box(&self) -> Box<dyn BatchSender<N>> {
        self.0.batches.lock().unwrap().1 += 1;
        Box::new(Self(self.0.clone()))
    }
}

impl BatchReceiver<N> for FreshReceiver {
    fn recv(&self) -> Option<Batch<N>> {
        let empty = |state: &mut (std::collections::VecDeque<Batch<N>>, usize)| state.0.is_empty() && state.1 > 0;
        self.0.changed.wait_while(self.0.batches.lock().unwrap(), empty).unwrap().0.pop_front()
    }
    fn recv_timeout(&self, _: Duration) -> Result<Batch<N>, TryPopError> {
        self.0.batches.lock().unwrap().0.pop_front().ok_or(TryPopError::Empty)
    }
    fn clone_box(&self) -> Box<dyn BatchReceiver<N>> {
        Box::new(Self(self.0.clone()))
    }
}

#[test]
fn a_channel_that_forgets_loses_no_frame() {
    let state = Arc::new(Freshest::default());
    state.batches.lock().unwrap().1 = 1;
    let channel = Channel::new(FreshSender(state.clone()), FreshReceiver(state));
    let (sender, socket, pusher, popper) = rig("fresh", channel);
    for i in 0..10 {
        send(&sender, i..i + 1);
        pusher.push(collect(&socket)).unwrap();
    }
    assert_eq!(socket.frames_in_flight(), Some(2), "the older ones went home");
    drop(pusher);
    assert_eq!(drain(&popper), [8, 9]);
    assert_eq!(socket.frames_in_flight(), Some(0));
}
