//! netmap, on the emulation in this process; on a real module where NETHUNS_NETMAP=kernel (`scripts/netmap-guest.sh`).
//!
//! The same tests either way: every port has a name of its own, and nothing but pipes and VALE switches is needed.
#![cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]

mod common;

use common::conformance::{Facts, Rig, packet};
use nethuns_rs::any::{self, AnyFlags};
use nethuns_rs::api::{Context, Interest, Metadata, MetadataType, Socket};
use nethuns_rs::errors::Error;
use nethuns_rs::mem::faults::{FaultFlags, Faults, Plan, Profile};
use nethuns_rs::netmap::{self, NetmapFlags, Sock};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const EXTRA: u32 = 64;

fn on_a_real_module() -> bool {
    std::env::var_os("NETHUNS_NETMAP").is_some_and(|value| value == "kernel")
}

/// A spec for the netmap that is examined.
fn spec(text: &str) -> String {
    match (on_a_real_module(), text.contains('?')) {
        (true, _) => text.to_owned(),
        (false, false) => format!("{text}?emulated"),
        (false, true) => format!("{text}&emulated"),
    }
}

/// A number that no other port of this process has.
fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn flags() -> NetmapFlags {
    NetmapFlags { extra_buf: EXTRA }
}

fn open(text: &str) -> Sock {
    Sock::create(&spec(text), None, flags()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn pipe() -> (Sock, Sock) {
    let n = unique();
    (open(&format!("netmap:np{n}{{1")), open(&format!("netmap:np{n}}}1")))
}

/// Two ports that hear each other.
struct Ports<S: Socket> {
    first: String,
    second: String,
    /// A port on the memory of the first or second, that hears neither.
    further: String,
    flags: S::Flags,
    max_len: usize,
    socket: PhantomData<S>,
}

impl<S: Socket> Ports<S> {
    fn pipe(flags: S::Flags) -> Self {
        let n = unique();
        let name = |end: &str| format!("netmap:nt{n}{end}");
        let (first, second, further) = (name("{1"), name("}1"), name("{2"));
        Self { first, second, further, flags, max_len: 2048, socket: PhantomData }
    }

    fn vale(flags: S::Flags) -> Self {
        let n = unique();
        let name = |switch: usize, port: &str| format!("netmap:vale{switch}:{port}");
        let (first, second, further) = (name(2 * n, "a"), name(2 * n, "b"), name(2 * n + 1, "c"));
        Self { first, second, further, flags, max_len: 1514, socket: PhantomData }
    }
}

impl<S: Socket + std::os::fd::AsFd + 'static> Rig for Ports<S> {
    type Sock = S;

    fn pair(&self) -> (S, S) {
        (self.open(&self.first, None).unwrap(), self.open(&self.second, Some(0)).unwrap())
    }

    fn facts(&self) -> Facts {
        Facts {
            backend: "netmap",
            max_len: self.max_len,
            too_big: 2049,
            window: 32,
            frames: EXTRA as usize,
            one_pool: false,
            wrong: vec![
                ("netmap:", "the name is missing"),
                ("netmap:nowhere0", "nowhere0"),
                ("netmap:p{", "port{name"),
                ("netmap:vale0:", "vale0:port"),
                ("netmap:eth0*", "create_sharing"),
                ("netmap:p{1?nonsense", "unknown option `nonsense`; known here:"),
                ("netmap:p{1?extra_buf=0", "extra_buf=0: expected a number from 1"),
                ("netmap:p{1?rings=0", "rings=0: expected a number from 1"),
            ],
        }
    }

    fn sharing(&self, socket: &S) -> Option<S> {
        Some(socket.create_sharing(&spec(&self.further), None, self.flags.clone()).unwrap())
    }

    fn open(&self, text: &str, queue: Option<usize>) -> nethuns_rs::Result<S> {
        S::create(&spec(text), queue, self.flags.clone())
    }
}

fn late() -> Plan {
    Plan::both(Profile { delay: Duration::from_nanos(1), ..Profile::default() })
}

fn pipes(_: &str) -> Option<Ports<Sock>> {
    Some(Ports::pipe(flags()))
}

fn vale(_: &str) -> Option<Ports<Sock>> {
    Some(Ports::vale(flags()))
}

fn any_pipes(_: &str) -> Option<Ports<any::Sock>> {
    Some(Ports::pipe(AnyFlags::from(flags())))
}

fn late_pipes(_: &str) -> Option<Ports<Faults<Sock>>> {
    Some(Ports::pipe(FaultFlags { inner: flags(), plan: late() }))
}

conformance_suite!(over_pipes, pipes);
conformance_suite!(over_vale, vale);
conformance_suite!(over_any_pipes, any_pipes);
conformance_suite!(over_faults_over_pipes, late_pipes);

#[test]
fn the_mode_tells_which_netmap_it_is() {
    let (a, _b) = pipe();
    let mode = a.mode();
    assert_eq!(mode.notes.iter().any(|note| note.contains("emulated")), !on_a_real_module(), "{mode}");
    assert_eq!((mode.zero_copy, &mode.queues[..]), (Some(true), &[0][..]), "{mode}");
    assert!(mode.frames > 0 && mode.frames <= EXTRA as usize && mode.frame_size == 2048, "{mode}");
    let link = a.link().unwrap();
    assert_eq!((link.rx_queues, link.tx_queues), (Some(1), Some(1)));
}

#[test]
fn a_ring_is_opened_once() {
    let name = format!("netmap:nx{}{{1", unique());
    let first = open(&name);
    let error = Sock::create(&spec(&name), None, flags()).unwrap_err();
    assert!(matches!(&error, Error::Busy { what, .. } if what.contains(&name[7..])), "{error}");
    drop(first);
    drop(open(&name));
}

#[test]
fn packets_carry_the_time_of_their_sync() {
    let (a, b) = pipe();
    a.send(&packet(1, 60)).unwrap();
    a.flush();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let before = now();
    let (token, meta) = b.recv_token().unwrap();
    let stamp = Duration::from_nanos(meta.timestamp_ns().expect("a time"));
    // Microseconds, cut off; in a guest two clocks of the kernel may differ by a tick.
    let slack = Duration::from_millis(if on_a_real_module() { 20 } else { 0 }) + Duration::from_micros(1);
    assert!(stamp + slack >= before && stamp <= now() + slack, "{stamp:?} is not after {before:?}");
    assert_eq!((meta.queue(), meta.timestamp.tv_usec < 1_000_000), (0, true));
    let MetadataType::Netmap(same) = meta.into_enum() else { panic!("not netmap's") };
    assert_eq!(same, meta);
    drop(token);
}

#[test]
fn a_full_ring_is_said_and_nothing_is_lost() {
    let (a, b) = pipe();
    let mut sent = 0;
    let error = loop {
        match a.send(&packet(sent, 60)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 10_000);
    };
    assert!(matches!(error, Error::RingFull), "{error}");
    // A pipe's ring has one slot fewer than it counts.
    assert!(sent >= 255, "{sent}");
    let token = a.alloc(60).unwrap().into_token();
    let refused = a.send_token(token).unwrap_err();
    assert!(matches!(refused.error, Error::RingFull));
    assert!(!a.wait(Interest::Writable, Some(Duration::from_millis(5))).unwrap(), "nobody has read");
    let mut seen = 0;
    while let Ok((payload, _)) = b.recv() {
        assert_eq!(&*payload, &packet(seen, 60)[..]);
        seen += 1;
    }
    assert_eq!(seen, sent);
    assert!(a.wait(Interest::Writable, Some(Duration::from_secs(5))).unwrap());
    a.send_token(refused.packet).map_err(|refused| refused.error).unwrap();
    a.flush();
    assert!(b.recv().is_ok());
    assert_eq!(a.frames_in_flight(), Some(0));
}

#[test]
fn a_sleeping_sender_is_woken_by_a_reader() {
    let (a, b) = pipe();
    while a.send(&packet(0, 60)).is_ok() {}
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        let mut n = 0;
        while b.recv().is_ok() {
            n += 1;
        }
        (b, n)
    });
    assert!(a.wait(Interest::Writable, None).unwrap());
    let (b, n) = reader.join().unwrap();
    assert!(n > 0);
    a.send(&packet(1, 60)).unwrap();
    a.flush();
    assert!(b.recv().is_ok());
}

#[test]
fn several_rings_behind_one_handle() {
    const RINGS: usize = 4;
    let n = unique();
    let name = |end: char| spec(&format!("netmap:nr{n}{end}1?rings={RINGS}"));
    let a = Sock::create(&name('{'), None, flags()).unwrap();
    let ends: Vec<Sock> =
        (0..RINGS).map(|q| Sock::create(&name('}'), Some(q), NetmapFlags { extra_buf: 8 }).unwrap()).collect();
    assert_eq!(a.mode().queues, [0, 1, 2, 3]);
    for (q, end) in ends.iter().enumerate() {
        assert_eq!(end.mode().queues, [q as u32]);
        for i in 0..5 {
            end.send(&packet(10 * q + i, 60)).unwrap();
        }
        end.flush();
    }
    let mut seen = [0; RINGS];
    while let Ok((payload, meta)) = a.recv() {
        let q = meta.queue() as usize;
        assert_eq!(&*payload, &packet(10 * q + seen[q], 60)[..], "in order within a ring");
        seen[q] += 1;
    }
    assert_eq!(seen, [5; RINGS]);
    // More than one ring holds: the others take what does not fit.
    let mut sent = 0;
    while a.send(&packet(sent, 60)).is_ok() {
        sent += 1;
    }
    let got: Vec<usize> = ends.iter().map(|end| std::iter::from_fn(|| end.recv().ok().map(drop)).count()).collect();
    assert!(got.iter().all(|n| *n > 0) && got.iter().sum::<usize>() == sent, "{got:?} of {sent}");
    let error = Sock::create(&name('}'), Some(RINGS), flags()).unwrap_err();
    assert!(
        matches!(&error, Error::NoSuchPort { problem, .. } if problem.contains("ring 4 does not exist")),
        "{error}"
    );
}

/// A frame from one station to another.
fn frame(to: u8, from: u8) -> Vec<u8> {
    let mut frame = packet(usize::from(from), 60);
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 1, to]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 1, from]);
    frame
}

fn hear(sockets: &[Sock]) -> Vec<usize> {
    sockets.iter().map(|socket| std::iter::from_fn(|| socket.recv().ok().map(drop)).count()).collect()
}

#[test]
fn a_switch_learns() {
    let n = unique();
    let ports: Vec<Sock> = ["a", "b", "c"].iter().map(|port| open(&format!("netmap:vale7{n}:{port}"))).collect();
    let send = |port: usize, to, from| {
        ports[port].send(&frame(to, from)).unwrap();
        ports[port].flush();
    };
    send(0, 11, 10);
    assert_eq!(hear(&ports), [0, 1, 1], "nobody knows 11 yet: to all others");
    send(1, 10, 11);
    assert_eq!(hear(&ports), [1, 0, 0], "10 is known behind the first");
    send(0, 11, 10);
    assert_eq!(hear(&ports), [0, 1, 0], "11 is known by now");
    send(2, 11, 10);
    assert_eq!(hear(&ports), [0, 1, 0]);
    send(1, 10, 11);
    assert_eq!(hear(&ports), [0, 0, 1], "10 has moved");
    let mut broadcast = frame(0, 11);
    broadcast[..6].fill(0xff);
    ports[1].send(&broadcast).unwrap();
    ports[1].flush();
    assert_eq!(hear(&ports), [1, 0, 1]);
}

#[test]
fn a_switch_drops_when_a_receiver_is_full() {
    let n = unique();
    let (a, b) = (open(&format!("netmap:vale8{n}:a")), open(&format!("netmap:vale8{n}:b")));
    let mut sent = 0;
    while sent < 5000 {
        match a.send(&packet(sent, 60)) {
            Ok(()) => sent += 1,
            Err(error) => assert!(matches!(error, Error::RingFull), "{error}"),
        }
        a.flush();
    }
    assert!(a.drain(Duration::from_secs(5)).unwrap(), "a switch never keeps a sender waiting");
    let got = std::iter::from_fn(|| b.recv().ok().map(drop)).count();
    assert!((255..5000).contains(&got), "{got} of {sent}");
    // And goes on when there is room again.
    a.send(&packet(1, 60)).unwrap();
    a.flush();
    assert!(b.recv().is_ok());
}

#[test]
fn a_pipe_on_a_switch_port() {
    let n = unique();
    let (a, b) = (open(&format!("netmap:vale9{n}:x{{1")), open(&format!("netmap:vale9{n}:x}}1")));
    a.send(&packet(4, 77)).unwrap();
    a.flush();
    assert_eq!(&*b.recv().unwrap().0, &packet(4, 77)[..]);
}

#[test]
fn an_end_may_be_closed_and_opened_again() {
    let n = unique();
    let a = open(&format!("netmap:no{n}{{1"));
    for round in 0..3 {
        let b = open(&format!("netmap:no{n}}}1"));
        for i in 0..10 {
            a.send(&packet(round * 10 + i, 60)).unwrap();
        }
        a.flush();
        for i in 0..7 {
            assert_eq!(&*b.recv().unwrap().0, &packet(round * 10 + i, 60)[..], "round {round}");
        }
        // Three wait in the ring for whoever comes next.
        drop(b);
        let b = open(&format!("netmap:no{n}}}1"));
        for i in 7..10 {
            assert_eq!(&*b.recv().unwrap().0, &packet(round * 10 + i, 60)[..], "round {round}");
        }
    }
}

#[test]
fn two_threads_through_a_pipe() {
    const PACKETS: usize = 200_000;
    let (a, b) = pipe();
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < PACKETS {
            match a.send(&(sent as u64).to_be_bytes()) {
                Ok(()) => sent += 1,
                Err(Error::RingFull) => drop(a.wait(Interest::Writable, Some(Duration::from_millis(100)))),
                Err(error) => panic!("{error}"),
            }
            if sent % 50 == 0 {
                a.flush();
            }
        }
        assert!(a.drain(Duration::from_secs(10)).unwrap());
        a
    });
    let mut next = 0;
    while next < PACKETS {
        let n = b
            .recv_each(64, |token, _| {
                let packet = token.consume(b.context());
                assert_eq!(*packet, (next as u64).to_be_bytes());
                next += 1;
            })
            .unwrap();
        if n == 0 {
            b.wait(Interest::Readable, Some(Duration::from_millis(100))).unwrap();
        }
    }
    let a = sender.join().unwrap();
    assert_eq!(a.stats().tx_packets, PACKETS as u64);
    assert_eq!((a.frames_in_flight(), b.frames_in_flight()), (Some(0), Some(0)));
}

#[test]
fn cards_and_the_hosts_rings() {
    if on_a_real_module() {
        // Cards of the emulation only; `netmap_veth` in the guest looks at real interfaces.
        return;
    }
    let card = open("netmap:emu2");
    let host = card.create_sharing(&spec("netmap:emu2^"), None, flags()).unwrap();
    let other = open("netmap:emu3-1");
    assert_eq!((card.mode().queues.len(), host.mode().queues.len(), other.mode().queues), (4, 1, vec![1]));
    // The host echoes; its rings and the card's share buffers.
    host.send(&packet(1, 60)).unwrap();
    host.flush();
    let (token, _) = host.recv_token().unwrap();
    card.send_token(token).map_err(|refused| refused.error).unwrap();
    card.flush();
    assert!(matches!(other.recv(), Err(Error::NoPacket)), "it left by ring 0");
    let zero = open("netmap:emu3-0");
    assert_eq!(&*zero.recv().unwrap().0, &packet(1, 60)[..]);
    other.send(&packet(2, 60)).unwrap();
    other.flush();
    let (payload, meta) = card.recv().unwrap();
    assert_eq!((&*payload, meta.queue()), (&packet(2, 60)[..], 1));
    drop(payload);
    for (name, part) in [("netmap:emu3-7", "ring 7 does not exist"), ("netmap:emu4^3", "ring 3 does not exist")] {
        let error = Sock::create(&spec(name), None, flags()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn without_the_module_it_says_what_to_do() {
    if on_a_real_module() || std::path::Path::new("/dev/netmap").exists() {
        return;
    }
    // Never the emulation in its place.
    let error = Sock::create("netmap:p{1?emulated=off", None, flags()).unwrap_err();
    assert!(matches!(error, Error::Netmap(netmap::Error::NoDevice)), "{error}");
    assert!(error.to_string().contains("modprobe netmap") && error.to_string().contains("NETHUNS_NETMAP=emulated"));
}

/// A veth pair in the guest, both ends up. Its queues lose packets when a receiver is slow.
fn veth(test: &str) -> Option<(String, String)> {
    let pair = std::env::var("NETHUNS_NETMAP_VETH").ok();
    let pair = pair.as_deref().and_then(|pair| pair.split_once(',')).map(|(a, b)| (a.to_owned(), b.to_owned()));
    if pair.is_none() {
        common::skip(test, "needs netmap.ko and a veth pair: scripts/netmap-guest.sh path/to/netmap.ko");
    }
    pair
}

/// Sends frames one by one and waits for each at the other end; what is lost is sent again.
fn exchange(a: &impl Socket, b: &impl Socket) {
    for i in 0..200 {
        let bytes = packet(i, 60 + i * 7);
        let start = std::time::Instant::now();
        let mut arrived = false;
        while !arrived {
            assert!(start.elapsed() < Duration::from_secs(10), "frame {i} does not arrive: {:?}", b.stats());
            match a.send(&bytes) {
                Ok(()) | Err(Error::RingFull | Error::NoMemory) => a.flush(),
                Err(error) => panic!("{error}"),
            }
            let again = std::time::Instant::now();
            while !arrived && again.elapsed() < Duration::from_millis(200) {
                // Others may talk here too: the kernel, and frames that were sent twice.
                match b.recv() {
                    Ok((payload, _)) => arrived = *payload == *bytes,
                    Err(Error::NoPacket) => drop(b.wait(Interest::Readable, Some(Duration::from_millis(10)))),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn netmap_veth_to_veth() {
    let Some((left, right)) = veth("netmap over veth") else { return };
    let (a, b) = (open(&format!("netmap:{left}")), open(&format!("netmap:{right}")));
    assert!(a.link().unwrap().mac.is_some_and(|mac| mac != [0; 6]));
    exchange(&a, &b);
    exchange(&b, &a);
    // Cards share one memory: forwarded without a copy.
    let one = Sock::create(&spec(&format!("netmap:{left}-0")), None, flags()).unwrap_err();
    assert!(matches!(one, Error::Busy { .. }), "{one}");
    let error = Sock::create(&spec(&format!("netmap:{left}-99")), None, flags()).unwrap_err();
    assert!(error.to_string().contains("ring 99 does not exist"), "{error}");
    drop(a);
    let a = b.create_sharing(&spec(&format!("netmap:{left}-0")), None, flags()).unwrap();
    assert_eq!((a.context().pool_id(), &a.mode().queues[..]), (b.context().pool_id(), &[0][..]));
    exchange(&a, &b);
}

#[cfg(feature = "pcap")]
#[test]
fn netmap_veth_to_the_kernel() {
    use nethuns_rs::pcap;
    let Some((left, right)) = veth("netmap with a kernel peer") else { return };
    let a = open(&format!("netmap:{left}"));
    let b = pcap::Sock::create(&format!("pcap:{right}"), None, pcap::PcapFlags::default()).unwrap();
    exchange(&a, &b);
    exchange(&b, &a);
}

/// An ARP request comes in by the card, goes up by the host's rings, and the kernel's answer goes the way back.
#[cfg(feature = "pcap")]
#[test]
fn netmap_host_rings() {
    use nethuns_rs::pcap;
    let Some((left, right)) = veth("netmap host rings") else { return };
    let card = open(&format!("netmap:{left}"));
    let host = card.create_sharing(&spec(&format!("netmap:{left}^")), None, flags()).unwrap();
    let peer = pcap::Sock::create(&format!("pcap:{right}"), None, pcap::PcapFlags::default()).unwrap();
    let mac = peer.link().unwrap().mac.unwrap();
    let mut request = vec![0xff; 6];
    request.extend_from_slice(&mac);
    request.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend_from_slice(&mac);
    request.extend_from_slice(&[198, 18, 0, 2, 0, 0, 0, 0, 0, 0, 198, 18, 0, 1]);
    request.resize(60, 0);
    let carry = |from: &Sock, to: &Sock| {
        // What finds no room is lost, as on any wire.
        let n = from.recv_each(64, |token, _| drop(to.send_token(token))).unwrap();
        to.flush();
        n
    };
    let start = std::time::Instant::now();
    let (mut up, mut down) = (0, 0);
    loop {
        assert!(start.elapsed() < Duration::from_secs(10), "no answer; {up} frames went up, {down} came down");
        peer.send(&request).unwrap();
        peer.flush();
        let again = std::time::Instant::now();
        while again.elapsed() < Duration::from_millis(200) {
            up += carry(&card, &host);
            down += carry(&host, &card);
            while let Ok((frame, _)) = peer.recv() {
                let answer = frame.len() >= 42 && frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
                if answer && frame[28..32] == [198, 18, 0, 1] && frame[..6] == mac {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
