//! Hosts on wires in memory, netmap's emulated ones among them: driving, waiting, waking, sending against resistance, tapping. No rights needed.
#![cfg(all(unix, feature = "net"))]

mod common;

use common::counting::{Counting, allocations};
use common::host::{Flows, datagram, patience, stream};
use nethuns_rs::api::{Interest, LinkInfo, Mode, Socket, Stats, Token};
use nethuns_rs::host::{Clock, Host, HostBuilder, PollMode, Turn};
use nethuns_rs::mem::{self, MemFlags, SimClock};
use nethuns_rs::stack::{
    ConnectOptions, Event, ListenOptions, Readiness, SocketError, SocketOptions, State, UdpOptions,
};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const B: [u8; 4] = [10, 0, 0, 2];

fn b(port: u16) -> SocketAddr {
    (B, port).into()
}

/// Two hosts on a wire of their own.
fn pair(wire: &str, options: &str) -> (Host, Host) {
    let open = |address: &str| Host::open(&format!("mem:{wire}?ip={address}/24&{options}")).unwrap();
    (open("10.0.0.1"), open("10.0.0.2"))
}

/// Turns both hosts in turn until it is enough.
#[track_caller]
fn both<S: Socket>(
    hosts: (&mut Host<S>, &mut Host<S>),
    flows: (&mut Flows, &mut Flows),
    mut enough: impl FnMut(&mut Host<S>, &mut Host<S>, &mut Flows, &mut Flows) -> bool,
) {
    let (a, b) = hosts;
    let (at_a, at_b) = flows;
    let (reader_a, reader_b, start) = (a.reader(), b.reader(), Instant::now());
    while !enough(a, b, at_a, at_b) {
        a.poll(Some(Duration::ZERO)).unwrap();
        at_a.handle(a, &reader_a);
        b.poll(Some(Duration::ZERO)).unwrap();
        at_b.handle(b, &reader_b);
        assert!(start.elapsed() < patience(), "{at_a:?} {at_b:?}\n{}\n\n{}", a.stats(), b.stats());
    }
}

/// A sends so much to B, and B so much to A, over one connection.
#[track_caller]
fn exchange<S: Socket>(a: &mut Host<S>, b_: &mut Host<S>, there: u64, back: u64) {
    b_.tcp_listen(b(80), &ListenOptions::default()).unwrap();
    let (mut at_a, mut at_b) = (Flows::default(), Flows::answering(back));
    at_a.add(a.tcp_connect(b(80), &ConnectOptions::default()).unwrap(), there);
    both((a, b_), (&mut at_a, &mut at_b), |a, b, at_a, at_b| {
        at_a.done.len() + at_b.done.len() == 2 && a.orphans() + b.orphans() == 0
    });
    assert_eq!((at_a.done[0].received, at_a.done[0].error), (back, None));
    assert_eq!((at_b.done[0].received, at_b.done[0].error), (there, None));
}

#[test]
fn two_hosts_in_one_thread() {
    let (mut a, mut b) = pair("one-thread", "poll=busy");
    exchange(&mut a, &mut b, 3_000_000, 1_000_000);
    assert!(a.close(Duration::from_secs(1)).unwrap());
    assert!(b.close(Duration::from_secs(1)).unwrap());
}

#[test]
fn a_bad_wire_loses_nothing() {
    let (mut a, mut b) = pair("bad", "poll=busy&min_rto=5ms&seed=11&loss=2%&dup=1%&reorder=2%&corrupt=0.5%");
    exchange(&mut a, &mut b, 1_000_000, 1_000_000);
    let (a, b) = (a.stats(), b.stats());
    for stats in [&a, &b] {
        assert!(stats.stack.tcp.retransmitted_segments > 0 && stats.stack.tcp.rx_out_of_order > 0, "{stats}");
    }
    let bad = |stats: &nethuns_rs::host::Stats| stats.stack.tcp.rx_bad_checksum + stats.stack.ip.rx_bad_checksum;
    assert!(bad(&a) + bad(&b) > 0, "corrupted packets are noticed:\n{a}\n{b}");
}

#[test]
fn packets_that_are_held_back_wake_a_sleeper() {
    // Nothing but the fault injector knows when they come; and the ping-pong would take a second and more if nobody told.
    let (mut a, b_) = pair("held", "poll=sleep&delay=1ms&faults=rx");
    let server = serve_in_thread(b_, true);
    let start = Instant::now();
    assert_eq!(ping_pong(&mut a, 50), 50);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(50) && took < Duration::from_secs(2), "{took:?}");
    server.stop();
}

/// A server that reads, and may echo, in a thread of its own, until it is told to stop by a waker.
struct Server {
    thread: thread::JoinHandle<nethuns_rs::host::Stats>,
    waker: nethuns_rs::host::Waker,
}

impl Server {
    fn stop(self) -> nethuns_rs::host::Stats {
        self.waker.wake();
        self.thread.join().unwrap()
    }
}

/// `host` tells where; it is built anew in the thread, since hosts do not travel.
fn serve_in_thread(host: Host, echo: bool) -> Server {
    let spec = format!(
        "mem:{}?ip=10.0.0.2/24&poll={}",
        host.socket().mode().port,
        if host.poll_mode() == PollMode::Busy { "busy" } else { "sleep" }
    );
    drop(host);
    let (tell, told) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let mut host = Host::open(&spec).unwrap();
        let reader = host.reader();
        let options =
            ListenOptions { socket: SocketOptions { nodelay: true, ..Default::default() }, ..Default::default() };
        host.tcp_listen(b(80), &options).unwrap();
        tell.send(host.waker()).unwrap();
        loop {
            if host.poll(None).unwrap().woken {
                return host.stats();
            }
            while let Some(event) = host.next_event() {
                match event {
                    Event::Accept(listener) => while host.tcp_accept(listener).is_ok() {},
                    Event::Tcp(id, _) => loop {
                        match host.tcp_recv(id) {
                            Ok(Some(chunk)) => {
                                let bytes = reader.open(chunk);
                                if echo {
                                    assert_eq!(host.tcp_send(id, &bytes), Ok(bytes.len()));
                                }
                            }
                            Err(SocketError::WouldBlock) => break,
                            Ok(None) | Err(_) => {
                                host.tcp_close(id);
                                break;
                            }
                        }
                    },
                    Event::Udp(..) => {}
                }
            }
        }
    });
    Server { thread, waker: told.recv().unwrap() }
}

/// So many exchanges of 64 bytes with the server, each after the other. Returns how many answers came.
fn ping_pong(host: &mut Host, rounds: usize) -> usize {
    let options =
        ConnectOptions { socket: SocketOptions { nodelay: true, ..Default::default() }, ..Default::default() };
    let id = host.tcp_connect(b(80), &options).unwrap();
    let (mut answers, mut waiting, start) = (0, 0, Instant::now());
    let mut buffer = [0; 64];
    while answers < rounds {
        host.poll(Some(Duration::from_secs(5))).unwrap();
        while let Some(event) = host.next_event() {
            let Event::Tcp(_, readiness) = event else { continue };
            assert!(!readiness.contains(Readiness::CLOSED), "{:?}", host.tcp_error(id));
            while let Ok(n @ 1..) = host.tcp_read(id, &mut buffer) {
                waiting -= n;
            }
            if waiting == 0 {
                answers += usize::from(!readiness.contains(Readiness::CONNECTED));
                assert_eq!(host.tcp_send(id, &[7; 64]), Ok(64));
                waiting = 64;
            }
        }
        assert!(start.elapsed() < patience(), "{answers}\n{}", host.stats());
    }
    host.tcp_close(id);
    answers
}

#[test]
fn two_hosts_in_two_threads() {
    for poll in ["busy", "adaptive", "sleep"] {
        let (mut a, b) = pair(&format!("two-threads-{poll}"), &format!("poll={poll}"));
        let server = serve_in_thread(b, true);
        assert_eq!(ping_pong(&mut a, 2000), 2000);
        let (stats, theirs) = (a.stats(), server.stop());
        match poll {
            "busy" => assert_eq!((stats.host.sleeps, theirs.host.sleeps), (0, 0)),
            "sleep" => assert!(stats.host.sleeps > 0 && stats.host.spins == 0, "{stats}"),
            _ => assert!(stats.host.spins > 0, "{stats}"),
        }
        // Fewer, larger flushes: not much more than one for each request, acknowledgements included.
        assert!(stats.host.flushes < 2 * 2000 + 100, "{stats}");
    }
}

/// Processor time of this thread.
#[allow(unsafe_code)]
fn cpu_time() -> Duration {
    // SAFETY: a `timespec` of zeros is valid, and the call fills in one.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time), 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

#[test]
fn sleepers_sleep_and_busy_hosts_do_not() {
    const TIME: Duration = Duration::from_millis(300);
    for (poll, sleeps) in [("sleep", true), ("adaptive", true), ("busy", false)] {
        let mut host = Host::open(&format!("mem:cpu-{poll}?ip=10.0.0.1/24&poll={poll}")).unwrap();
        let (start, before) = (Instant::now(), cpu_time());
        assert_eq!(host.poll(Some(TIME)).unwrap(), Turn::default());
        let (took, cpu) = (start.elapsed(), cpu_time() - before);
        assert!(took >= TIME, "{took:?}");
        assert_eq!(host.stats().host.sleeps > 0, sleeps, "{}", host.stats());
        if sleeps {
            assert!(cpu < TIME / 10, "{poll}: {cpu:?} of processor time");
        } else {
            // How much it gets depends on what else runs here.
            assert!(host.stats().host.spins > 1000, "{poll}: {cpu:?} of processor time, {}", host.stats());
        }
    }
}

#[test]
fn idle_connections_let_their_hosts_sleep() {
    let (mut a, b_) = pair("idle", "poll=sleep&delayed_ack=10ms&time_wait=50ms");
    let server = serve_in_thread(b_, true);
    assert_eq!(ping_pong(&mut a, 10), 10); // closed at its end, and in TIME-WAIT
    let open = a.tcp_connect(b(80), &ConnectOptions::default()).unwrap();
    let half = a.tcp_connect(b(80), &ConnectOptions::default()).unwrap();
    let nobody = a.tcp_connect(([10, 0, 0, 77], 80).into(), &ConnectOptions::default()).unwrap();
    let settle = |host: &mut Host, time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {
            host.poll(Some(time.saturating_sub(start.elapsed()))).unwrap();
            while host.next_event().is_some() {}
        }
    };
    settle(&mut a, Duration::from_millis(200));
    assert_eq!(a.tcp_send(open, b"x"), Ok(1));
    a.tcp_shutdown(half, std::net::Shutdown::Write).unwrap();
    settle(&mut a, Duration::from_millis(200));
    let before = a.stats().host.turns;
    settle(&mut a, Duration::from_millis(500));
    let turns = a.stats().host.turns - before;
    assert!(turns < 20, "{turns} turns for nothing\n{}", a.stats());
    for id in [open, half, nobody] {
        a.tcp_abort(id);
    }
    let theirs = server.stop();
    assert!(theirs.host.turns < 200, "{theirs}");
}

#[test]
fn short_timeouts_are_kept() {
    let mut host = Host::open("mem:short?ip=10.0.0.1/24&poll=sleep").unwrap();
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        host.poll(Some(Duration::from_micros(200))).unwrap();
        assert!(start.elapsed() >= Duration::from_micros(200));
        best = best.min(start.elapsed());
    }
    assert!(best < Duration::from_millis(1), "{best:?}");
    let start = Instant::now();
    for _ in 0..100 {
        host.poll(Some(Duration::ZERO)).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_waker_ends_the_sleep() {
    for poll in ["sleep", "adaptive", "busy"] {
        let mut host = Host::open(&format!("mem:wake-{poll}?ip=10.0.0.1/24&poll={poll}")).unwrap();
        let waker = host.waker();
        // Before the sleep, once for any number of calls.
        for _ in 0..1000 {
            waker.wake();
        }
        assert!(host.poll(None).unwrap().woken);
        assert!(!host.poll(Some(Duration::ZERO)).unwrap().woken);
        // During it.
        let caller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            waker.wake();
            waker
        });
        assert!(host.poll(None).unwrap().woken);
        let waker = caller.join().unwrap();
        assert_eq!(host.stats().host.wakes, 2);
        drop(host);
        waker.wake();
    }
}

#[test]
fn simulated_time_passes_when_it_is_told_to() {
    let clock = SimClock::new();
    let build = |address: &str| {
        HostBuilder::new(format!("mem:simulated?ip={address}/24&delay=20ms&faults=rx&seed=1"))
            .clock(Clock::Simulated(clock.clone()))
            .build()
            .unwrap()
    };
    let (mut a, mut b_) = (build("10.0.0.1"), build("10.0.0.2"));
    b_.tcp_listen(b(80), &ListenOptions::default()).unwrap();
    let id = a.tcp_connect(b(80), &ConnectOptions::default()).unwrap();
    let start = Instant::now();
    let mut turns = 0;
    while a.tcp_state(id) != Ok(State::Established) {
        // Forever, if it slept.
        a.poll(None).unwrap();
        b_.poll(None).unwrap();
        while a.next_event().or_else(|| b_.next_event()).is_some() {}
        clock.advance(Duration::from_millis(1));
        turns += 1;
        assert!(turns < 1000, "{}", a.stats());
    }
    // ARP, SYN and its answer: three ways of 20 ms at least.
    assert!((60..=90).contains(&turns), "{turns}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(a.stats().host.sleeps, 0);
}

#[test]
fn a_ring_that_is_full_is_no_loss() {
    let (mut a, mut b) = pair("full", "poll=busy&queue=8&full=refuse");
    exchange(&mut a, &mut b, 1_000_000, 1_000_000);
    let stats = a.stats();
    assert!(stats.host.tx_full > 0 && stats.host.tx_errors == 0, "{stats}");
    assert_eq!((stats.stack.tcp.retransmitted_segments, stats.socket.tx_dropped.total()), (0, 0), "{stats}");
}

#[test]
fn a_pool_that_is_empty_is_no_loss_for_ever() {
    // The frames are for both hosts, for what is on its way, and for what nobody reads.
    let (mut a, mut b_) = pair("empty", "poll=busy&frames=32&queue=16&min_rto=5ms");
    exchange(&mut a, &mut b_, 300_000, 300_000);
    let kept = a.stats().stack.memory.kept_frames + b_.stats().stack.memory.kept_frames;
    assert_eq!((kept, a.socket().frames_in_flight()), (0, Some(0)));
}

/// A socket that can do the least: it lends no frames, has no descriptor, sends and receives one by one.
struct Plain(mem::Sock);

impl Socket for Plain {
    type Context = <mem::Sock as Socket>::Context;
    type Metadata = <mem::Sock as Socket>::Metadata;
    type Flags = MemFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: MemFlags) -> nethuns_rs::Result<Self> {
        mem::Sock::create(portspec, queue, flags).map(Plain)
    }
    fn context(&self) -> &Self::Context {
        self.0.context()
    }
    fn recv_token(&self) -> nethuns_rs::Result<(Token, Self::Metadata)> {
        self.0.recv_token()
    }
    fn send(&self, packet: &[u8]) -> nethuns_rs::Result<()> {
        self.0.send(packet)
    }
    fn flush(&self) {
        self.0.flush();
    }
    fn stats(&self) -> Stats {
        self.0.stats()
    }
    fn link(&self) -> nethuns_rs::Result<LinkInfo> {
        self.0.link()
    }
    fn mode(&self) -> Mode {
        self.0.mode()
    }
}

#[test]
fn a_socket_that_can_do_the_least_is_enough() {
    let build = |address: &str, queue: &str| {
        let socket = Plain::create(&format!("mem:plain?queue={queue}&full=refuse"), None, MemFlags::default()).unwrap();
        HostBuilder::new(format!("mem:plain?ip={address}/24&poll=sleep")).build_without_descriptor(socket).unwrap()
    };
    let (mut a, mut b) = (build("10.0.0.1", "1024"), build("10.0.0.2", "4"));
    exchange(&mut a, &mut b, 200_000, 200_000);
    assert!(a.stats().host.tx_full > 0, "{}", a.stats());
    // It sleeps by `Socket::wait`, and is woken soon all the same.
    let waker = a.waker();
    let caller = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    while !a.poll(None).unwrap().woken {
        while a.next_event().is_some() {}
    }
    caller.join().unwrap();
}

#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
#[test]
fn over_netmap() {
    for (one, other) in [("netmap:hosts{1", "netmap:hosts}1"), ("netmap:vale-hosts:a", "netmap:vale-hosts:b")] {
        let open = |port: &str, address: &str| Host::open(&format!("{port}?emulated&ip={address}/24")).unwrap();
        let (mut a, mut b) = (open(one, "10.0.0.1"), open(other, "10.0.0.2"));
        exchange(&mut a, &mut b, 300_000, 300_000);
        assert_eq!(a.stats().host.tx_errors + b.stats().host.tx_errors, 0, "{}", a.stats());
    }
}

#[test]
fn a_socket_that_is_open_already() {
    let build = |address: &str| {
        let socket = mem::Sock::create("mem:open-already", None, MemFlags::default()).unwrap();
        HostBuilder::new("").address(address.parse().unwrap(), 24).build_over(socket).unwrap()
    };
    let (mut a, mut b) = (build("10.0.0.1"), build("10.0.0.2"));
    exchange(&mut a, &mut b, 100_000, 0);
    let both = |s: &nethuns_rs::host::Stats| (s.socket.rx_packets, s.stack.ip.rx_frames);
    let (packets, frames) = both(&a.stats());
    assert_eq!(packets, frames);
}

#[test]
fn closing_delivers_and_dropping_does_not_wait() {
    let (mut a, b_) = pair("closing", "poll=sleep");
    let server = serve_in_thread(b_, false);
    let id = a.tcp_connect(b(80), &ConnectOptions::default()).unwrap();
    while a.tcp_state(id) != Ok(State::Established) {
        a.poll(Some(Duration::from_millis(10))).unwrap();
        while a.next_event().is_some() {}
    }
    assert_eq!(a.tcp_send(id, stream(0, 100_000)), Ok(100_000));
    a.tcp_close(id);
    assert_eq!(a.orphans(), 1);
    assert!(a.close(Duration::from_secs(10)).unwrap());
    let stats = server.stop();
    assert!(stats.stack.tcp.rx_bytes >= 100_000, "{stats}");

    // Nobody is there to take it.
    let (mut a, b_) = pair("dropping", "poll=sleep");
    drop(b_);
    let id = a.tcp_connect(b(80), &ConnectOptions::default()).unwrap();
    a.tcp_close(id);
    let start = Instant::now();
    a.close(Duration::from_millis(50)).unwrap();
    let (mut a, _b) = pair("dropping-too", "poll=sleep");
    a.tcp_connect(b(80), &ConnectOptions::default()).unwrap();
    drop(a);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn what_was_read_outlives_the_host() {
    let (mut a, mut b_) = pair("outlives", "poll=busy");
    b_.tcp_listen(b(80), &ListenOptions::default()).unwrap();
    let id = a.tcp_connect(b(80), &ConnectOptions::default()).unwrap();
    let (mut sent, mut chunk) = (false, None);
    let start = Instant::now();
    while chunk.is_none() {
        a.poll(Some(Duration::ZERO)).unwrap();
        b_.poll(Some(Duration::ZERO)).unwrap();
        if !sent && a.tcp_state(id) == Ok(State::Established) {
            sent = a.tcp_send(id, b"still there").is_ok();
        }
        while let Some(event) = b_.next_event() {
            if let Event::Accept(listener) = event {
                b_.tcp_accept(listener).unwrap();
            } else if let Event::Tcp(id, _) = event {
                chunk = b_.tcp_recv(id).ok().flatten();
            }
        }
        assert!(start.elapsed() < patience());
    }
    let reader = b_.reader().clone();
    drop(b_);
    assert_eq!(&*reader.open(chunk.unwrap()), b"still there");
}

#[test]
fn datagrams() {
    let (mut a, mut b_) = pair("datagrams", "poll=busy");
    let from = a.udp_bind(([10, 0, 0, 1], 0).into(), &UdpOptions::default()).unwrap();
    let to = b_.udp_bind(b(53), &UdpOptions::default()).unwrap();
    let reader = b_.reader();
    let start = Instant::now();
    for size in [0, 1, 1400, 20_000, 65_507] {
        a.udp_send(from, &datagram(Some(b(53)), stream(0, size))).unwrap();
        let packet = loop {
            a.poll(Some(Duration::ZERO)).unwrap();
            b_.poll(Some(Duration::ZERO)).unwrap();
            while b_.next_event().is_some() {}
            match b_.udp_recv(to) {
                Ok(packet) => break packet,
                Err(error) => assert_eq!(error, SocketError::WouldBlock),
            }
            assert!(start.elapsed() < patience(), "{size}\n{}\n{}", a.stats(), b_.stats());
        };
        assert_eq!(packet.from, a.udp_local_addr(from).unwrap());
        assert!(*reader.open(packet.chunk) == *stream(0, size), "{size}");
    }
    assert_eq!(a.udp_send(from, &datagram(Some(b(53)), &[0; 65_508])), Err(SocketError::MessageTooLong));
}

#[test]
fn nothing_is_allocated_per_packet() {
    let (mut a, mut b_) = pair("no-allocations-host", "poll=busy");
    let options = SocketOptions { nodelay: true, ..Default::default() };
    b_.tcp_listen(b(80), &ListenOptions { socket: options, ..Default::default() }).unwrap();
    let id = a.tcp_connect(b(80), &ConnectOptions { socket: options, ..Default::default() }).unwrap();
    let (reader, mut buffer) = (b_.reader(), [0; 2000]);
    let mut round = |len: usize| {
        let (mut left, start) = (len, Instant::now());
        let mut sent = false;
        while left > 0 {
            a.poll(Some(Duration::ZERO)).unwrap();
            while a.next_event().is_some() {}
            sent = sent || a.tcp_send(id, &buffer[..len]) == Ok(len);
            while let Ok(n @ 1..) = a.tcp_read(id, &mut buffer) {
                left -= n;
            }
            b_.poll(Some(Duration::ZERO)).unwrap();
            while let Some(event) = b_.next_event() {
                match event {
                    Event::Accept(listener) => while b_.tcp_accept(listener).is_ok() {},
                    Event::Tcp(id, _) => {
                        while let Ok(Some(chunk)) = b_.tcp_recv(id) {
                            assert!(b_.tcp_send(id, &reader.open(chunk)).is_ok());
                        }
                    }
                    Event::Udp(..) => {}
                }
            }
            assert!(start.elapsed() < patience(), "{}", a.stats());
        }
    };
    for len in [64, 2000] {
        (0..500).for_each(|_| round(len));
        // A host that is off its processor for long probes for a loss, and makes a note of it: not on every try.
        let fewest = (0..5).map(|_| {
            let before = allocations();
            (0..1000).for_each(|_| round(len));
            allocations() - before
        });
        assert_eq!(fewest.min(), Some(0), "allocations in 1000 exchanges of {len} bytes");
    }
}

/// Blocks of a pcapng file: kind, and for packets the direction and the frame.
fn blocks(bytes: &[u8]) -> Vec<(u32, u32, &[u8])> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let (kind, len) = (word(at), word(at + 4) as usize);
        if kind == 6 {
            let captured = word(at + 20) as usize;
            let options = at + 28 + captured.next_multiple_of(4);
            assert_eq!(word(options), 4 << 16 | 2, "the flags of the packet");
            found.push((kind, word(options + 4), &bytes[at + 28..at + 28 + captured]));
        } else {
            found.push((kind, 0, &bytes[..0]));
        }
        at += len;
    }
    found
}

#[test]
fn the_tap_has_everything() {
    let path = std::env::temp_dir().join(format!("nethuns-host-tap-{}.pcapng", std::process::id()));
    let mut a = Host::open(&format!("mem:tapped?ip=10.0.0.1/24&poll=busy&tap={}", path.display())).unwrap();
    let mut b = Host::open("mem:tapped?ip=10.0.0.2/24&poll=busy").unwrap();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    exchange(&mut a, &mut b, 100_000, 50_000);
    let stats = a.stats();
    drop(a);
    let tap = stats.tap.clone().unwrap();
    assert_eq!((tap.dropped, tap.error), (0, None));
    let bytes = std::fs::read(&path).unwrap();
    let blocks = blocks(&bytes);
    let frames =
        |direction: u32| blocks.iter().filter(|(kind, flags, _)| (*kind, *flags) == (6, direction)).count() as u64;
    assert_eq!(frames(1), stats.socket.rx_packets);
    assert_eq!(frames(2), stats.socket.tx_submitted);
    assert_eq!(frames(1) + frames(2), tap.packets);
    let first = blocks.iter().find(|(kind, ..)| *kind == 6).unwrap();
    assert_eq!(
        (first.1, &first.2[..14]),
        (2, &[255, 255, 255, 255, 255, 255, 2, 0, 10, 0, 0, 1, 8, 6][..]),
        "an ARP request"
    );
    // What others make of the file.
    #[cfg(feature = "pcap")]
    {
        use nethuns_rs::any::{AnyFlags, Sock};
        use nethuns_rs::api::Metadata;
        let file = Sock::create(path.to_str().unwrap(), None, AnyFlags::default()).unwrap();
        let (mut read, mut last) = (0, u64::try_from(before.as_nanos()).unwrap() - 1_000_000_000);
        while let Ok((packet, meta)) = file.recv() {
            let time = meta.timestamp_ns().unwrap();
            assert!(time >= last && time < last + 60_000_000_000, "time goes on");
            assert!(packet.len() >= 42);
            (read, last) = (read + 1, time);
        }
        assert_eq!(read, tap.packets);
    }
    let _ = before;
    std::fs::remove_file(path).unwrap();
}

#[test]
fn counters_have_names() {
    let (mut a, mut b) = pair("counters", "poll=busy");
    exchange(&mut a, &mut b, 10_000, 10_000);
    let stats = a.stats();
    let value = |name: &str| stats.each().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}")).1;
    assert_eq!(value("socket.rx_packets"), value("ip.rx_frames"));
    assert_eq!((value("tcp.active_opens"), value("tcp.tx_bytes"), value("tcp.rx_bytes")), (1, 10_000, 10_000));
    assert!(value("host.turns") > 0 && value("host.events") > 0 && value("host.bursts") > 0);
    assert!(stats.to_string().contains("tcp.active_opens"));
    assert!(!stats.stack.rtt.is_empty() && stats.stack.rtt.quantile(1.0).unwrap() < Duration::from_secs(1), "{stats}");
    assert!(a.socket().wait(Interest::Readable, Some(Duration::ZERO)).is_ok());
}
