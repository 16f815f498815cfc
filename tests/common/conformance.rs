//! What every backend must do, written once.
//!
//! A [`Rig`] makes two connected sockets of a backend; [`conformance_suite!`](crate::conformance_suite) makes a test of
//! every case. Each case ends with every frame at home.

#![allow(unsafe_code)]

use nethuns_rs::api::{Batch, Context, Interest, Payload, Socket, Token};
use nethuns_rs::errors::{Error, Refused};
use nethuns_rs::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A backend to be examined.
pub trait Rig {
    type Sock: Socket + AsFd + 'static;

    /// Two sockets that hear each other and nobody else, with small pools.
    fn pair(&self) -> (Self::Sock, Self::Sock);

    /// What holds of it.
    fn facts(&self) -> Facts;

    /// A second socket on the pool of `socket`, where pools can be shared: on the same wire or another one.
    fn sharing(&self, socket: &Self::Sock) -> Option<Self::Sock> {
        let _ = socket;
        None
    }

    /// Opens a port, for specs that must be refused.
    fn open(&self, spec: &str, queue: Option<usize>) -> nethuns_rs::Result<Self::Sock>;
}

/// What holds of a backend.
#[derive(Clone)]
pub struct Facts {
    /// The name in its `Mode`.
    pub backend: &'static str,
    /// The longest packet that it carries.
    pub max_len: usize,
    /// A length that it refuses.
    pub too_big: usize,
    /// Packets that may be on their way to one socket without loss.
    pub window: usize,
    /// Frames of a pool.
    pub frames: usize,
    /// Both sockets of a pair draw on one pool, and packets pass without a copy.
    pub one_pool: bool,
    /// Specs that must be refused, each with a part of the message.
    pub wrong: Vec<(&'static str, &'static str)>,
}

/// A packet that nothing else on a link would send: local experimental Ethertype, bytes that depend on all of it.
pub fn packet(seed: usize, len: usize) -> Vec<u8> {
    let header = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5];
    let body = (0..len.saturating_sub(14)).map(|i| (i.wrapping_mul(31) ^ seed.wrapping_mul(97) ^ (seed >> 3)) as u8);
    let mut bytes: Vec<u8> = header.into_iter().chain(body).collect();
    if let Some(number) = bytes.get_mut(14..18) {
        number.copy_from_slice(&(seed as u32).to_be_bytes());
    }
    bytes
}

fn seed_of(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[14..18].try_into().unwrap()) as usize
}

/// Sends a packet, however often it takes.
fn send(socket: &impl Socket, bytes: &[u8]) {
    let start = Instant::now();
    while let Err(error) = socket.send(bytes) {
        assert!(error.is_transient(), "send: {error}");
        assert!(start.elapsed() < PATIENCE, "send: still {error}");
        socket.flush();
        std::thread::yield_now();
    }
    socket.flush();
}

/// The next packet.
fn receive<S: Socket>(socket: &S) -> Payload<'_, S::Context> {
    let start = Instant::now();
    loop {
        match socket.recv() {
            Ok((packet, _)) => return packet,
            Err(Error::NoPacket) => {}
            Err(error) => panic!("recv: {error}"),
        }
        assert!(start.elapsed() < PATIENCE, "no packet came; {:?}", socket.stats());
        socket.wait(Interest::Readable, Some(Duration::from_millis(20))).unwrap();
    }
}

/// Receives tokens by `step` until there are `n`, and no more come.
fn gather(socket: &impl Socket, n: usize, mut step: impl FnMut(&mut Vec<Token>)) -> Vec<Token> {
    let (start, mut tokens) = (Instant::now(), Vec::new());
    while tokens.len() < n {
        step(&mut tokens);
        assert!(start.elapsed() < PATIENCE, "{} of {n} came; {:?}", tokens.len(), socket.stats());
        if tokens.len() < n {
            socket.wait(Interest::Readable, Some(Duration::from_millis(20))).unwrap();
        }
    }
    assert_eq!(tokens.len(), n, "more came than were sent");
    tokens
}

/// Nothing is left on loan, nothing is left to be sent.
fn settled(sockets: &[&impl Socket]) {
    for socket in sockets {
        assert!(socket.drain(PATIENCE).unwrap(), "not drained: {:?}", socket.stats());
    }
    for socket in sockets {
        let start = Instant::now();
        while socket.frames_in_flight().is_some_and(|n| n != 0) && start.elapsed() < Duration::from_secs(1) {
            socket.flush();
            let _ = socket.recv_each(0, |_, _| ());
        }
        assert_eq!(socket.frames_in_flight().unwrap_or(0), 0, "frames are on loan although all were dropped");
    }
}

/// Receives and drops whatever is still coming.
fn empty(socket: &impl Socket) {
    while socket.wait(Interest::Readable, Some(Duration::from_millis(2))).unwrap() {
        while let Ok(packet) = socket.recv() {
            drop(packet);
        }
    }
}

/// A wire of another backend, with frames longer than those of any rig: its tokens are foreign everywhere.
fn foreign(frame_size: usize) -> mem::Sock {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("mem:conformance-foreign-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    mem::Sock::create(&name, None, mem::MemFlags { frames: 16, frame_size, ..mem::MemFlags::default() }).unwrap()
}

fn filled<'a, S: Socket>(socket: &'a S, bytes: &[u8]) -> Payload<'a, S::Context> {
    let start = Instant::now();
    loop {
        match socket.alloc(bytes.len()) {
            Ok(mut payload) => {
                payload.copy_from_slice(bytes);
                return payload;
            }
            Err(error) => assert!(error.is_transient() && start.elapsed() < PATIENCE, "alloc: {error}"),
        }
        socket.flush();
    }
}

pub fn bytes_arrive_as_they_were_sent(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let max = rig.facts().max_len;
    let sizes = (14..=128).chain((129..max).step_by(61)).chain(max.saturating_sub(8).max(129)..=max);
    for len in sizes {
        let bytes = packet(len, len);
        send(&a, &bytes);
        assert_eq!(&*receive(&b), &bytes[..], "{len} bytes from a to b");
        send(&b, &bytes);
        assert_eq!(&*receive(&a), &bytes[..], "{len} bytes from b to a");
    }
    assert!(matches!(a.recv(), Err(Error::NoPacket)), "a hears itself");
    assert!(matches!(b.recv(), Err(Error::NoPacket)), "b hears itself");
    settled(&[&a, &b]);
}

pub fn batches_arrive_in_order_over_many_laps(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Facts { window, frames, .. } = rig.facts();
    for lap in 0..(4 * frames).div_ceil(window) {
        let packets: Vec<Vec<u8>> = (0..window).map(|i| packet(lap * window + i, 60)).collect();
        let mut left: &[Vec<u8>] = &packets;
        let start = Instant::now();
        while !left.is_empty() {
            match a.send_batch(left.iter().map(Vec::as_slice)) {
                Ok(n) => left = &left[n..],
                Err(error) => assert!(error.is_transient() && start.elapsed() < PATIENCE, "{error}"),
            }
            a.flush();
        }
        let mut received = Vec::new();
        let tokens = gather(&b, window, |tokens| {
            b.recv_batch(&mut received, 7).unwrap();
            tokens.extend(received.drain(..).map(|(token, _)| token));
        });
        for (token, bytes) in tokens.into_iter().zip(&packets) {
            assert_eq!(&*token.consume(b.context()), &bytes[..]);
        }
    }
    settled(&[&a, &b]);
}

pub fn every_way_to_receive_gives_the_same(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(12);
    let burst = || {
        for i in 0..n {
            send(&a, &packet(i, 60 + i));
        }
    };
    let check = |tokens: Vec<Token>| {
        for (i, token) in tokens.into_iter().enumerate() {
            assert_eq!(token.size() as usize, 60 + i);
            assert_eq!(&*token.consume(b.context()), &packet(i, 60 + i)[..]);
        }
    };
    burst();
    check(gather(&b, n, |out| {
        let before = out.len();
        let told = b.recv_each(5, |token, _| out.push(token)).unwrap();
        assert!(told == out.len() - before && told <= 5);
    }));
    burst();
    let mut pairs = Vec::new();
    check(gather(&b, n, |out| {
        let told = b.recv_batch(&mut pairs, 5).unwrap();
        assert!(told == pairs.len() && told <= 5);
        out.extend(pairs.drain(..).map(|(token, _)| token));
    }));
    burst();
    check(gather(&b, n, |out| {
        let mut batch = Batch::<4>::new();
        let told = b.recv_tokens(&mut batch).unwrap();
        assert_eq!(told, batch.len());
        out.extend(batch);
    }));
    burst();
    check(gather(&b, n, |out| match b.recv_token() {
        Ok((token, _)) => out.push(token),
        Err(error) => assert!(matches!(error, Error::NoPacket), "{error}"),
    }));
    burst();
    check(gather(&b, n, |out| match b.recv() {
        Ok((payload, _)) => out.push(payload.into_token()),
        Err(error) => assert!(matches!(error, Error::NoPacket), "{error}"),
    }));
    // Nothing is waiting: no packet is an error for one, and none for many.
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    assert!(matches!(b.recv_token(), Err(Error::NoPacket)));
    assert_eq!(b.recv_each(4, |_, _| panic!("a packet out of nothing")).unwrap(), 0);
    assert_eq!(b.recv_tokens(&mut Batch::<4>::new()).unwrap(), 0);
    settled(&[&a, &b]);
}

pub fn a_callback_may_send(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(8);
    for i in 0..n {
        send(&a, &packet(i, 60));
    }
    let (start, mut echoed) = (Instant::now(), 0);
    while echoed < n {
        echoed += b.recv_each(n, |token, _| b.send_token(token).map_err(|refused| refused.error).unwrap()).unwrap();
        b.flush();
        assert!(start.elapsed() < PATIENCE);
    }
    for i in 0..n {
        assert_eq!(&*receive(&a), &packet(i, 60)[..]);
    }
    settled(&[&a, &b]);
}

pub fn frames_are_filled_in_place(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let facts = rig.facts();
    for i in 0..2 * facts.frames {
        let bytes = packet(i, 14 + i % (facts.max_len - 13));
        let payload = filled(&a, &bytes);
        let address = payload.as_ptr();
        a.send_payload(payload).map_err(|refused| refused.error).unwrap();
        a.flush();
        let got = receive(&b);
        assert_eq!(&*got, &bytes[..]);
        if facts.one_pool {
            assert_eq!(got.as_ptr(), address, "the frame itself arrives");
        }
    }
    // Grown and cut while it is ours.
    let mut payload = filled(&a, &packet(7, 100));
    assert!(payload.capacity() >= facts.max_len, "{} bytes", payload.capacity());
    payload.truncate(60);
    payload.resize(80).unwrap();
    payload.copy_from_slice(&packet(8, 80));
    let beyond = payload.capacity() + 1;
    assert!(matches!(payload.resize(beyond), Err(Error::TooBigPacket(n)) if n == beyond));
    a.send_payload(payload).map_err(|refused| refused.error).unwrap();
    a.flush();
    assert_eq!(&*receive(&b), &packet(8, 80)[..]);
    settled(&[&a, &b]);
}

pub fn tokens_are_sent_and_sent_on(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(8);
    let mut tokens: Vec<Token> = (0..n).map(|i| filled(&a, &packet(i, 60)).into_token()).collect();
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), n);
    assert!(tokens.is_empty());
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 0);
    a.flush();
    // What came is turned round without being looked at.
    let mut back = gather(&b, n, |out| {
        b.recv_each(n, |token, _| out.push(token)).unwrap();
    });
    assert_eq!(b.send_tokens(&mut back).unwrap(), n);
    b.flush();
    for i in 0..n {
        assert_eq!(&*receive(&a), &packet(i, 60)[..]);
    }
    settled(&[&a, &b]);
}

pub fn a_list_of_tokens_is_accepted_in_part(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let too_big = rig.facts().too_big;
    let other = foreign(too_big);
    let mut tokens = vec![
        filled(&a, &packet(0, 60)).into_token(),
        filled(&other, &packet(1, 70)).into_token(),
        filled(&other, &packet(2, too_big)).into_token(),
        filled(&a, &packet(3, 60)).into_token(),
    ];
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 2, "up to the one that is too big");
    assert_eq!(tokens.iter().map(Token::size).collect::<Vec<_>>(), [too_big as u32, 60], "the others stay in order");
    assert!(matches!(a.send_tokens(&mut tokens), Err(Error::TooBigPacket(n)) if n == too_big));
    assert_eq!(tokens.len(), 2, "a refusal takes nothing");
    drop(tokens.remove(0));
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 1);
    a.flush();
    for (i, len) in [(0, 60), (1, 70), (3, 60)] {
        assert_eq!(&*receive(&b), &packet(i, len)[..]);
    }
    settled(&[&a, &b]);
    settled(&[&other]);
}

pub fn a_packet_too_big_is_refused_and_harms_nothing(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let too_big = rig.facts().too_big;
    let bytes = packet(1, too_big);
    assert!(matches!(a.send(&bytes), Err(Error::TooBigPacket(n)) if n == too_big));
    assert!(matches!(a.alloc(too_big), Err(Error::TooBigPacket(n)) if n == too_big) || a.alloc(too_big).is_ok());
    assert!(matches!(a.send_batch([&bytes[..]]), Err(Error::TooBigPacket(n)) if n == too_big));
    let small = packet(2, 60);
    assert_eq!(a.send_batch([&small[..], &bytes, &small]).unwrap(), 1, "those before it are sent");
    a.flush();
    assert_eq!(&*receive(&b), &small[..]);
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    settled(&[&a, &b]);
}

pub fn a_refused_packet_comes_back(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let too_big = rig.facts().too_big;
    let other = foreign(too_big);
    let bytes = packet(5, too_big);
    let Err(Refused { error, packet: back }) = a.send_payload(filled(&other, &bytes)) else { panic!("it fits?") };
    assert!(matches!(error, Error::TooBigPacket(n) if n == too_big), "{error}");
    assert_eq!(&*back, &bytes[..]);
    let Err(Refused { error, packet: token }) = a.send_token(back.into_token()) else { panic!("it fits?") };
    assert!(matches!(error, Error::TooBigPacket(n) if n == too_big), "{error}");
    assert_eq!(&*token.consume(other.context()), &bytes[..]);
    // A pool that is gone cannot be copied from.
    let orphan = filled(&other, &bytes).into_token();
    drop(other);
    let Err(Refused { packet: orphan, .. }) = a.send_token(orphan) else { panic!("sent from nowhere") };
    drop(orphan);
    settled(&[&a, &b]);
}

pub fn a_pool_run_dry_is_an_error_and_recovers(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Facts { frames, window, .. } = rig.facts();
    for round in 0..3 {
        let mut held = Vec::new();
        let error = loop {
            match a.alloc(60) {
                Ok(payload) => held.push(payload),
                Err(error) => break error,
            }
            assert!(held.len() <= frames, "more frames than the pool has");
        };
        assert!(matches!(error, Error::NoMemory), "{error}");
        assert!(!held.is_empty());
        match a.send(&packet(0, 60)) {
            Ok(()) | Err(Error::NoMemory) => {}
            Err(error) => panic!("send with a dry pool: {error}"),
        }
        // What comes meanwhile may be lost; it must not do harm.
        for _ in 0..2 {
            let _ = b.send(&packet(0, 60));
        }
        b.flush();
        a.flush();
        match a.recv_token() {
            Ok(_) | Err(Error::NoPacket | Error::NoMemory) => {}
            Err(error) => panic!("recv with a dry pool: {error}"),
        }
        drop(held);
        empty(&a);
        empty(&b);
        for i in 0..window {
            send(&b, &packet(1000 * (round + 1) + i, 60));
        }
        let tokens = gather(&a, window, |out| {
            let fresh = |token: Token| token.peek(seed_of).filter(|seed| *seed >= 1000).map(|_| token);
            match a.recv_each(8, |token, _| out.extend(fresh(token))) {
                Ok(_) | Err(Error::NoMemory) => {}
                Err(error) => panic!("recv after the drought: {error}"),
            }
        });
        drop(tokens);
    }
    settled(&[&a, &b]);
}

pub fn received_packets_that_are_kept_stop_nothing_for_ever(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Facts { frames, window, .. } = rig.facts();
    for round in 1..4 {
        // Keeps all it gets, until nothing more comes through.
        let (mut kept, mut sent, mut quiet) = (Vec::new(), 0, 0);
        while quiet < 20 && kept.len() <= frames {
            match a.send(&packet(round, 60)) {
                Ok(()) => sent += 1,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            a.flush();
            match b.recv_token() {
                Ok((token, _)) => {
                    quiet = 0;
                    kept.push(token);
                }
                Err(Error::NoPacket | Error::NoMemory) => {
                    quiet += 1;
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(kept.len() <= frames && sent >= kept.len(), "{} kept of {sent}, {frames} frames", kept.len());
        assert!(kept.len() >= frames / 4, "only {} of {frames} frames came to hold packets", kept.len());
        drop(kept);
        empty(&b);
        for i in 0..window {
            send(&a, &packet(1000 * round + i, 60));
        }
        let tokens = gather(&b, window, |out| {
            b.recv_each(8, |token, _| {
                out.extend(token.peek(seed_of).filter(|seed| *seed >= 1000).map(|_| token));
            })
            .unwrap();
        });
        drop(tokens);
    }
    settled(&[&a, &b]);
}

pub fn dropped_tokens_come_home(rig: &impl Rig) {
    let (a, b) = rig.pair();
    for i in 0..4 * rig.facts().frames {
        send(&a, &packet(i, 60));
        let token = receive(&b).into_token();
        assert_eq!(b.frames_in_flight().unwrap_or(1), 1);
        match i % 3 {
            0 => drop(token),
            1 => std::thread::spawn(move || drop(token)).join().unwrap(),
            _ => drop(token.consume(&b.context().clone())),
        }
        assert_eq!(b.frames_in_flight().unwrap_or(0), 0);
    }
    settled(&[&a, &b]);
}

pub fn payloads_side_by_side_are_disjoint(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let n = rig.facts().window.min(16);
    for i in 0..n {
        send(&a, &packet(i, 100));
    }
    let mut held: Vec<Payload<'_, _>> = (0..n).map(|_| receive(&b)).collect();
    for (i, payload) in held.iter_mut().enumerate() {
        payload.fill(i as u8);
    }
    let mut ranges: Vec<_> = held.iter().map(|p| (p.as_ptr() as usize, p.as_ptr() as usize + p.capacity())).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|w| w[0].1 <= w[1].0), "frames overlap: {ranges:x?}");
    for (i, payload) in held.iter().enumerate() {
        assert!(payload.len() == 100 && payload.iter().all(|byte| *byte == i as u8), "payload {i} was written over");
    }
    drop(held);
    settled(&[&a, &b]);
}

pub fn packets_outlive_their_socket(rig: &impl Rig) {
    let (a, b) = rig.pair();
    for i in 0..4 {
        send(&a, &packet(i, 60));
    }
    let tokens: Vec<Token> = (0..4).map(|_| receive(&b).into_token()).collect();
    let context = b.context().clone();
    let mut tokens = tokens.into_iter();
    let mut payload = tokens.next().unwrap().consume(&context);
    drop((a, b));
    assert_eq!(&*payload, &packet(0, 60)[..]);
    payload.fill(9);
    assert!(payload.iter().all(|byte| *byte == 9));
    let second = tokens.next().unwrap().consume(&context);
    assert_eq!(&*second, &packet(1, 60)[..]);
    drop((payload, second));
    drop(tokens.next());
    // The last of all: no socket, no context, no pool.
    drop(context);
    let last = tokens.next().unwrap();
    // A mempool of DPDK is freed only once every frame is back in it; all others go with their last context.
    let lives_on = rig.facts().backend == "dpdk";
    assert_eq!(last.peek(<[u8]>::len), lives_on.then_some(60));
    drop(last);
}

pub fn tokens_left_in_a_channel_go_home(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let (tx, rx) = std::sync::mpsc::channel();
    for i in 0..5 {
        send(&a, &packet(i, 60));
        tx.send(receive(&b).into_token()).unwrap();
    }
    assert_eq!(b.frames_in_flight().unwrap_or(5), 5);
    drop(rx);
    let Err(std::sync::mpsc::SendError(refused)) = tx.send(filled(&b, &packet(5, 60)).into_token()) else {
        panic!("nobody listens")
    };
    drop(refused);
    settled(&[&a, &b]);
}

pub fn a_foreign_token_is_refused_not_lost(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let other = foreign(rig.facts().too_big);
    let theirs = filled(&other, &packet(0, 60)).into_token();
    assert!(!theirs.check_token(a.context()));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(theirs.consume(a.context())))).is_err(), "it was taken in");
    let ours = filled(&a, &packet(0, 60)).into_token();
    assert!(ours.check_token(a.context()) && !ours.check_token(other.context()));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(ours.consume(other.context())))).is_err(), "it was taken in");
    settled(&[&other]);
    // Sent, it is copied.
    let token = filled(&other, &packet(1, 60)).into_token();
    a.send_token(token).map_err(|refused| refused.error).unwrap();
    a.send_payload(filled(&other, &packet(2, 61))).map_err(|refused| refused.error).unwrap();
    a.flush();
    assert_eq!(&*receive(&b), &packet(1, 60)[..]);
    assert_eq!(&*receive(&b), &packet(2, 61)[..]);
    settled(&[&a, &b]);
    settled(&[&other]);
}

pub fn waiting_ends_with_a_packet_or_the_time(rig: &impl Rig) {
    let (a, b) = rig.pair();
    assert!(!b.wait(Interest::Readable, Some(Duration::ZERO)).unwrap());
    let start = Instant::now();
    assert!(!b.wait(Interest::Readable, Some(Duration::from_millis(25))).unwrap());
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(20) && waited < PATIENCE, "{waited:?}");
    send(&a, &packet(0, 60));
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap(), "it is still there");
    assert!(b.wait(Interest::Both, None).unwrap());
    drop(receive(&b));
    assert!(a.wait(Interest::Writable, Some(PATIENCE)).unwrap());
    assert!(!b.wait(Interest::Readable, Some(Duration::from_millis(1))).unwrap());
    // Asleep without a limit, woken by a sender on another thread.
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        send(&a, &packet(1, 60));
        a
    });
    assert!(b.wait(Interest::Readable, None).unwrap());
    assert_eq!(&*receive(&b), &packet(1, 60)[..]);
    let a = sender.join().unwrap();
    settled(&[&a, &b]);
}

pub fn the_descriptor_is_readable_while_packets_wait(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let readable = |timeout: i32| {
        let mut poll = libc::pollfd { fd: b.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that outlives the call.
        unsafe { libc::poll(&mut poll, 1, timeout) == 1 && poll.revents & libc::POLLIN != 0 }
    };
    // Drivers of DPDK are polled: the descriptor wakes the loop time and again, packets or not.
    let ticks = rig.facts().backend == "dpdk";
    for i in 0..20 {
        assert!(ticks || !readable(1), "round {i}");
        let n = 1 + i % 3;
        for k in 0..n {
            send(&a, &packet(k, 60));
        }
        assert!(readable(10_000), "round {i}");
        for k in 0..n {
            assert_eq!(&*receive(&b), &packet(k, 60)[..]);
        }
        // Silent again once the socket has been seen empty.
        assert!(matches!(b.recv(), Err(Error::NoPacket)));
    }
    settled(&[&a, &b]);
}

pub fn statistics_are_exact(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let (n, mut bytes) = (3 * rig.facts().frames, 0);
    for i in 0..n {
        let len = 60 + i % 40;
        bytes += len as u64;
        send(&a, &packet(i, len));
        assert_eq!(receive(&b).len(), len);
    }
    assert!(a.drain(PATIENCE).unwrap());
    let (tx, rx) = (a.stats(), b.stats());
    assert_eq!(
        (tx.tx_submitted, tx.tx_packets, tx.tx_bytes, tx.tx_pending()),
        (n as u64, n as u64, bytes, 0),
        "{tx:?}"
    );
    assert_eq!((rx.rx_packets, rx.rx_bytes, rx.rx_truncated), (n as u64, bytes, 0), "{rx:?}");
    assert_eq!((tx.tx_dropped.total(), rx.rx_dropped.total()), (0, 0), "{tx:?} {rx:?}");
    assert_eq!((tx.rx_packets, rx.tx_submitted), (0, 0), "one way only");
    // A refused packet is not a submitted one.
    assert!(a.send(&packet(0, rig.facts().too_big)).is_err());
    assert_eq!(a.stats().tx_submitted, n as u64);
    settled(&[&a, &b]);
}

pub fn draining_completes_what_was_sent(rig: &impl Rig) {
    let (a, b) = rig.pair();
    for lap in 0..10 {
        let mut sent = 0;
        for i in 0..rig.facts().window {
            sent += u64::from(a.send(&packet(i, 60)).is_ok());
        }
        assert!(sent > 0);
        assert!(a.drain(PATIENCE).unwrap(), "lap {lap}: {:?}", a.stats());
        assert_eq!(a.stats().tx_pending(), 0);
        let got = gather(&b, sent as usize, |out| {
            b.recv_each(64, |token, _| out.push(token)).unwrap();
        });
        drop(got);
    }
    assert!(a.drain(Duration::ZERO).unwrap(), "nothing is left");
    settled(&[&a, &b]);
}

pub fn a_shared_pool_needs_no_copy(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let Some(out) = rig.sharing(&b) else {
        // Where pools cannot be shared it says so, and that a copy is the way.
        return settled(&[&a, &b]);
    };
    assert_eq!(b.context().pool_id(), out.context().pool_id());
    send(&a, &packet(3, 60));
    let token = receive(&b).into_token();
    assert!(token.check_token(out.context()));
    let there = token.consume(b.context());
    let address = there.as_ptr();
    let here = there.into_token().consume(out.context());
    assert_eq!((here.as_ptr(), &*here), (address, &packet(3, 60)[..]));
    // Forwarding needs no second frame, so it works when there is none.
    let mut hoard = Vec::new();
    while let Ok(payload) = out.alloc(60) {
        hoard.push(payload);
    }
    out.send_payload(here).map_err(|refused| refused.error).unwrap();
    drop(hoard);
    assert!(out.drain(PATIENCE).unwrap());
    empty(&a);
    empty(&b);
    settled(&[&a, &b, &out]);
}

pub fn sockets_move_between_threads(rig: &impl Rig) {
    let (mut a, mut b) = rig.pair();
    for round in 0..8 {
        (a, b) = std::thread::spawn(move || {
            send(&a, &packet(round, 60));
            assert_eq!(&*receive(&b), &packet(round, 60)[..]);
            (b, a)
        })
        .join()
        .unwrap();
    }
    // Each on its own, at the same time, answering each other.
    let echo = std::thread::spawn(move || {
        for i in 0..200 {
            let got = receive(&b);
            assert_eq!(seed_of(&got), i);
            send(&b, &got);
        }
        b
    });
    for i in 0..200 {
        send(&a, &packet(i, 60));
        assert_eq!(seed_of(&receive(&a)), i);
    }
    let b = echo.join().unwrap();
    settled(&[&a, &b]);
}

pub fn packets_are_released_on_other_threads(rig: &impl Rig) {
    let (a, b) = rig.pair();
    let (tx, rx) = std::sync::mpsc::sync_channel::<Token>(4);
    let context = b.context().clone();
    let worker = std::thread::spawn(move || {
        let mut next = 0;
        for token in rx {
            let mut payload = token.consume(&context);
            assert_eq!(seed_of(&payload), next);
            payload.fill(0xEE);
            next += 1;
        }
        next
    });
    let n = 8 * rig.facts().frames;
    for i in 0..n {
        send(&a, &packet(i, 60));
        tx.send(receive(&b).into_token()).unwrap();
    }
    drop(tx);
    assert_eq!(worker.join().unwrap(), n);
    settled(&[&a, &b]);
}

pub fn wrong_specs_are_refused_with_a_reason(rig: &impl Rig) {
    let facts = rig.facts();
    for (spec, part) in &facts.wrong {
        match rig.open(spec, None) {
            Ok(_) => panic!("{spec}: opened"),
            Err(error) => assert!(error.to_string().contains(part), "{spec}: {error}"),
        }
    }
    let (a, b) = rig.pair();
    let (mode, link) = (a.mode(), a.link().unwrap());
    assert_eq!(mode.backend, facts.backend);
    assert!(mode.frames > 0 && mode.frame_size > 0 && !mode.port.is_empty(), "{mode}");
    assert!(mode.to_string().starts_with(&format!("{}:{}", mode.backend, mode.port)), "{mode}");
    assert!(!link.name.is_empty());
    settled(&[&a, &b]);
}

/// A module of tests, one for each case: `conformance_suite!(name, expression of type Option<impl Rig>)`.
#[macro_export]
macro_rules! conformance_suite {
    ($name:ident, $rig:expr) => {
        mod $name {
            use super::*;
            $crate::conformance_suite!(@cases $rig;
                bytes_arrive_as_they_were_sent
                batches_arrive_in_order_over_many_laps
                every_way_to_receive_gives_the_same
                a_callback_may_send
                frames_are_filled_in_place
                tokens_are_sent_and_sent_on
                a_list_of_tokens_is_accepted_in_part
                a_packet_too_big_is_refused_and_harms_nothing
                a_refused_packet_comes_back
                a_pool_run_dry_is_an_error_and_recovers
                received_packets_that_are_kept_stop_nothing_for_ever
                dropped_tokens_come_home
                payloads_side_by_side_are_disjoint
                packets_outlive_their_socket
                tokens_left_in_a_channel_go_home
                a_foreign_token_is_refused_not_lost
                waiting_ends_with_a_packet_or_the_time
                the_descriptor_is_readable_while_packets_wait
                statistics_are_exact
                draining_completes_what_was_sent
                a_shared_pool_needs_no_copy
                sockets_move_between_threads
                packets_are_released_on_other_threads
                wrong_specs_are_refused_with_a_reason
            );
        }
    };
    (@cases $rig:expr; $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let name = concat!(module_path!(), "::", stringify!($case));
                if let Some(rig) = $rig(name) {
                    common::conformance::$case(&rig);
                }
            }
        )*
    };
}
