//! libpcap over a veth pair: every flag, both directions, real peers, and what is lost and why.
#![cfg(all(target_os = "linux", feature = "pcap"))]
#![allow(unsafe_code)]

mod common;

use common::counting::{Counting, allocations};
use common::netns::{Lab, ip, run};
use nethuns_rs::api::{Interest, Metadata, Socket};
use nethuns_rs::errors::Error;
use nethuns_rs::pcap::{PcapFlags, Sock};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SECOND: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_millis(30);

/// A frame of `len` bytes, to everybody, that no protocol claims, numbered.
fn frame(len: usize, number: u32) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

/// Sends a packet at once.
fn send(socket: &Sock, packet: &[u8]) {
    socket.send(packet).unwrap();
    socket.flush();
}

fn open(spec: &str) -> Sock {
    Sock::create(spec, None, PcapFlags::default()).unwrap()
}

/// The packets that arrive until nothing has come for a while: bytes and length on the wire.
fn everything(socket: &Sock) -> Vec<(Vec<u8>, u32)> {
    let mut all = Vec::new();
    while socket.wait(Interest::Readable, Some(SHORT)).unwrap() {
        let before = all.len();
        while let Ok((packet, meta)) = socket.recv() {
            all.push((packet.to_vec(), meta.len));
        }
        if all.len() == before {
            break;
        }
    }
    all
}

fn refusal(spec: &str, queue: Option<usize>, flags: PcapFlags) -> String {
    match Sock::create(spec, queue, flags) {
        Ok(socket) => panic!("{spec} opened: {}", socket.mode()),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn mentions(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[test]
fn sends_and_receives() {
    let Some(lab) = Lab::enter("sends_and_receives") else { return };
    lab.veth("va", "vb", 1);
    let a = open("pcap:va");
    let b = open("vb");
    let before = std::time::SystemTime::now();
    for n in 0..20 {
        send(&a, &frame(60, n));
    }
    a.flush();
    for n in 0..20 {
        assert!(b.wait(Interest::Readable, Some(SECOND)).unwrap());
        let (packet, meta) = b.recv().unwrap();
        assert_eq!(*packet, *frame(60, n));
        assert_eq!((meta.len, meta.caplen, meta.wire_len()), (60, 60, None));
        let at = std::time::UNIX_EPOCH + Duration::from_nanos(meta.timestamp_ns().unwrap());
        assert!(at + SECOND > before && at < before + 10 * SECOND, "stamped {at:?}, sent after {before:?}");
        assert_eq!(meta.timestamp_ns().unwrap() / 1_000_000_000, meta.timestamp.tv_sec as u64);
        assert!((0..1_000_000).contains(&meta.timestamp.tv_usec));
    }
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    assert!(!b.wait(Interest::Readable, Some(SHORT)).unwrap());
    let (sent, got) = (a.stats(), b.stats());
    assert_eq!((sent.tx_submitted, sent.tx_packets, sent.tx_bytes, sent.tx_pending()), (20, 20, 1200, 0));
    assert_eq!((got.rx_packets, got.rx_bytes, got.rx_dropped.total()), (20, 1200, 0));
    assert_eq!(sent.rx_packets, 0);
    assert_eq!(b.frames_in_flight(), Some(0));
    assert_eq!(a.drain(SECOND).ok(), Some(true));
}

#[test]
fn timestamps_have_nanoseconds_if_asked_for() {
    let Some(lab) = Lab::enter("timestamps_have_nanoseconds_if_asked_for") else { return };
    lab.veth("va", "vb", 1);
    let (a, micros, nanos) = (open("va"), open("vb"), open("vb?nano"));
    for n in 0..20 {
        send(&a, &frame(60, n));
    }
    let stamps = |socket: &Sock| -> Vec<u64> {
        socket.wait(Interest::Readable, Some(SECOND)).unwrap();
        let mut stamps = Vec::new();
        while let Ok((_, meta)) = socket.recv() {
            stamps.push(meta.timestamp_ns().unwrap());
        }
        assert_eq!(stamps.len(), 20);
        assert!(stamps.is_sorted());
        stamps
    };
    let (coarse, fine) = (stamps(&micros), stamps(&nanos));
    // All twenty on a whole microsecond: one in 10^60.
    assert!(fine.iter().any(|ns| ns % 1000 != 0), "{fine:?}");
    assert!(coarse.iter().all(|ns| ns % 1000 == 0), "{coarse:?}");
    assert!(coarse.iter().zip(&fine).all(|(c, f)| c.abs_diff(*f) < 1_000_000_000));
    mentions(&nanos.mode().to_string(), &["timestamps in nanoseconds"]);
    mentions(&micros.mode().to_string(), &["timestamps in microseconds"]);
}

#[test]
fn snaplen_is_obeyed() {
    let Some(lab) = Lab::enter("snaplen_is_obeyed") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    let by_flag = Sock::create("vb", None, PcapFlags { snaplen: 100, ..PcapFlags::default() }).unwrap();
    let by_option = open("vb?snaplen=64");
    send(&a, &frame(500, 7));
    send(&a, &frame(64, 8));
    for (socket, snaplen) in [(&by_flag, 100), (&by_option, 64)] {
        socket.wait(Interest::Readable, Some(SECOND)).unwrap();
        let (packet, meta) = socket.recv().unwrap();
        assert_eq!(*packet, frame(500, 7)[..snaplen]);
        assert_eq!((meta.len, meta.caplen, meta.wire_len()), (500, snaplen as u32, Some(500)));
        assert_eq!(*socket.recv().unwrap().0, *frame(64, 8));
        // It was asked for: nothing was too long for its frame.
        assert_eq!(socket.stats().rx_truncated, 0);
    }
}

#[test]
fn a_packet_longer_than_a_frame_is_cut_and_counted() {
    let Some(lab) = Lab::enter("a_packet_longer_than_a_frame_is_cut_and_counted") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    let b = Sock::create("vb", None, PcapFlags { buffer_size: 256, ..PcapFlags::default() }).unwrap();
    for len in [256, 257, 1514, 60] {
        send(&a, &frame(len, 1));
    }
    b.wait(Interest::Readable, Some(SECOND)).unwrap();
    for (len, kept) in [(256, 256), (257, 256), (1514, 256), (60, 60)] {
        let (packet, meta) = b.recv().unwrap();
        assert_eq!(*packet, frame(len, 1)[..kept]);
        assert_eq!((meta.len, meta.caplen), (len as u32, kept as u32));
    }
    let stats = b.stats();
    assert_eq!((stats.rx_packets, stats.rx_truncated, stats.rx_bytes), (4, 2, 256 * 3 + 60));
    assert_eq!(b.mode().frame_size, 256);
}

#[test]
fn promiscuous_mode_is_set_and_taken_back() {
    let Some(lab) = Lab::enter("promiscuous_mode_is_set_and_taken_back") else { return };
    lab.veth("va", "vb", 1);
    let promiscuity = || {
        let text = String::from_utf8(run("ip", "-d link show vb").stdout).unwrap();
        let count = text.split("promiscuity ").nth(1).expect("a count").split_whitespace().next().unwrap();
        count.parse::<u32>().unwrap()
    };
    assert_eq!(promiscuity(), 0);
    let with = open("vb");
    assert_eq!((promiscuity(), with.mode().promiscuous), (1, true));
    let without = open("vb?promisc=off");
    assert_eq!((promiscuity(), without.mode().promiscuous), (1, false));
    drop(with);
    assert_eq!(promiscuity(), 0);
    let flags = PcapFlags { promiscuous: false, ..PcapFlags::default() };
    let by_flag = Sock::create("vb", None, flags.clone()).unwrap();
    assert_eq!((promiscuity(), by_flag.mode().promiscuous), (0, false));
    let option_wins = Sock::create("vb?promisc", None, flags).unwrap();
    assert_eq!((promiscuity(), option_wins.mode().promiscuous), (1, true));
}

/// The longest of five times that a packet took from `send` until its receiver could have it.
fn slowest(a: &Sock, b: &Sock) -> Duration {
    let mut slowest = Duration::ZERO;
    for n in 0..5 {
        let start = Instant::now();
        send(a, &frame(60, n));
        loop {
            assert!(b.wait(Interest::Readable, Some(3 * SECOND)).unwrap(), "packet {n} never came");
            match b.recv() {
                Ok(_) => break,
                Err(Error::NoPacket) => assert!(start.elapsed() < 3 * SECOND, "packet {n} never came"),
                Err(error) => panic!("{error}"),
            }
        }
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

#[test]
fn immediate_and_timeout_are_obeyed() {
    let Some(lab) = Lab::enter("immediate_and_timeout_are_obeyed") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    let at_once = slowest(&a, &open("vb?timeout=400ms"));
    let gathered = slowest(&a, &open("vb?immediate=off&timeout=400ms"));
    let flags = PcapFlags { immediate: false, timeout_ms: 100, ..PcapFlags::default() };
    let sooner = slowest(&a, &Sock::create("vb", None, flags).unwrap());
    assert!(at_once < Duration::from_millis(100), "immediate took {at_once:?}");
    assert!(gathered > Duration::from_millis(150), "blocks of 400 ms took only {gathered:?}");
    assert!(sooner > Duration::from_millis(30) && sooner < gathered, "100 ms: {sooner:?}, 400 ms: {gathered:?}");
}

#[test]
fn receiving_never_blocks() {
    let Some(lab) = Lab::enter("receiving_never_blocks") else { return };
    lab.veth("va", "vb", 1);
    for spec in ["vb?timeout=5s", "vb?immediate=off&timeout=5s"] {
        let socket = open(spec);
        let start = Instant::now();
        for _ in 0..100 {
            assert!(matches!(socket.recv(), Err(Error::NoPacket)));
            assert_eq!(socket.recv_each(32, |_, _| panic!("a packet from nowhere")).unwrap(), 0);
        }
        assert!(start.elapsed() < SECOND, "{spec}: {:?}", start.elapsed());
        let start = Instant::now();
        assert!(!socket.wait(Interest::Readable, Some(Duration::from_micros(200))).unwrap());
        assert!(start.elapsed() < SECOND);
        assert!(socket.wait(Interest::Writable, Some(SECOND)).unwrap());
        assert!(socket.wait(Interest::Both, Some(SECOND)).unwrap());
    }
}

#[test]
fn filter_is_obeyed() {
    let Some(lab) = Lab::enter("filter_is_obeyed") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    let flags = PcapFlags { filter: Some("ether[14:4] = 3".into()), ..PcapFlags::default() };
    let by_flag = Sock::create("vb", None, flags.clone()).unwrap();
    let by_option = Sock::create("vb?filter=ether[14:4] >= 8", None, flags).unwrap();
    for n in 0..10 {
        send(&a, &frame(60, n));
    }
    for (socket, wanted) in [(&by_flag, vec![3]), (&by_option, vec![8, 9])] {
        let got: Vec<u8> = everything(socket).iter().map(|(packet, _)| packet[17]).collect();
        assert_eq!(got, wanted);
    }
    mentions(&by_flag.mode().to_string(), &["filter `ether[14:4] = 3`"]);
    let text = refusal("vb?filter=tcp prot 80", None, PcapFlags::default());
    mentions(&text, &["filter", "tcp prot 80", "pcap-filter(7)", "libpcap says", "syntax error"]);
}

#[test]
fn a_held_pool_leaves_packets_in_the_kernel() {
    let Some(lab) = Lab::enter("a_held_pool_leaves_packets_in_the_kernel") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    let b = Sock::create("vb", None, PcapFlags { buffer_count: 4, ..PcapFlags::default() }).unwrap();
    for n in 0..20 {
        send(&a, &frame(60, n));
    }
    b.wait(Interest::Readable, Some(SECOND)).unwrap();
    let mut held = Vec::new();
    assert_eq!(b.recv_batch(&mut held, 64).unwrap(), 4);
    assert_eq!(b.frames_in_flight(), Some(4));
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    // Nobody can tell when a frame comes home: a nap, not a busy loop and not for ever.
    assert!(b.wait(Interest::Readable, None).unwrap());
    assert_eq!(b.recv_batch(&mut held, 64).unwrap(), 0);
    let mut got: Vec<u8> = Vec::new();
    while !held.is_empty() {
        got.extend(held.drain(..).map(|(token, _)| token.consume(b.context())[17]));
        b.recv_batch(&mut held, 64).unwrap();
    }
    assert_eq!(got, (0..20).collect::<Vec<u8>>(), "in order, none lost");
    assert_eq!((b.stats().rx_dropped.total(), b.frames_in_flight()), (0, Some(0)));
}

#[test]
fn what_overflows_is_counted_by_cause() {
    let Some(lab) = Lab::enter("what_overflows_is_counted_by_cause") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    let b = open("vb?buffers=8&kernel_buffer=64Ki");
    let flood = |from: u32| {
        for n in from..from + 2000 {
            send(&a, &frame(60, n));
        }
    };
    let mut held = Vec::new();
    // Nobody receives: the ring is full.
    flood(0);
    let mut received = 0;
    while let Ok((packet, _)) = b.recv() {
        drop(packet);
        received += 1;
    }
    let first = b.stats();
    assert!(first.rx_dropped.ring_full > 0 && first.rx_dropped.no_frame == 0, "{first:?}");
    assert_eq!(first.rx_dropped.total() + received, 2000);
    // Somebody holds every frame: no frame.
    flood(2000);
    while b.recv_batch(&mut held, 64).unwrap() > 0 {}
    let taken = b.stats();
    flood(4000);
    let second = b.stats();
    assert!(second.rx_dropped.no_frame > 0, "{second:?}");
    assert_eq!(second.rx_dropped.ring_full, taken.rx_dropped.ring_full);
    held.clear();
    while b.recv_batch(&mut held, 64).unwrap() > 0 {
        held.clear();
    }
    let end = b.stats();
    assert_eq!(end.rx_packets + end.rx_dropped.total(), 6000, "every packet is accounted for: {end:?}");
    assert_eq!((end.rx_packets, b.frames_in_flight()), (end.rx_bytes / 60, Some(0)));
    // And again the ring's fault, once there are frames.
    flood(6000);
    assert!(b.stats().rx_dropped.ring_full > end.rx_dropped.ring_full);
    assert_eq!(b.stats().rx_dropped.no_frame, end.rx_dropped.no_frame);
}

#[test]
fn direction_chooses_whose_packets_are_seen() {
    let Some(lab) = Lab::enter("direction_chooses_whose_packets_are_seen") else { return };
    lab.veth("va", "vb", 1);
    let (a, other, peer) = (open("va"), open("va"), open("vb"));
    let sockets = [open("va?direction=both"), open("va?direction=out"), open("va?direction=in")];
    send(&other, &frame(60, 1));
    send(&peer, &frame(60, 2));
    send(&a, &frame(60, 3));
    send(&sockets[0], &frame(60, 4));
    let seen = |socket: &Sock| -> Vec<u8> { everything(socket).iter().map(|(packet, _)| packet[17]).collect() };
    assert_eq!(seen(&a), [2], "what is sent through the interface, by itself or by others, is not received");
    assert_eq!(seen(&sockets[0]), [1, 2, 3], "the kernel never shows a socket its own packets");
    assert_eq!(seen(&sockets[1]), [1, 3, 4]);
    assert_eq!(seen(&sockets[2]), [2]);
    mentions(&refusal("va?direction=up", None, PcapFlags::default()), &["direction=up", "in, out, both"]);
}

/// An Ethernet, IPv4 and UDP frame; the UDP checksum is left out, as IPv4 allows.
fn udp(to: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let mut f = Vec::new();
    f.extend_from_slice(&to);
    f.extend_from_slice(&[2, 0, 0, 0, 0, 2, 8, 0]);
    f.extend_from_slice(&[0x45, 0, 0, (28 + payload.len()) as u8, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1]);
    let sum: u32 = f[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f.extend_from_slice(&[0x30, 0x39, 0x23, 0x28, 0, (8 + payload.len()) as u8, 0, 0]);
    f.extend_from_slice(payload);
    f
}

#[test]
fn talks_with_the_kernel() {
    let Some(lab) = Lab::enter("talks_with_the_kernel") else { return };
    lab.veth("va", "vb", 1);
    ip("link set va address 02:00:00:00:00:01");
    ip("addr add 10.9.0.1/24 dev va");
    ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev va");
    let b = open("vb?filter=udp port 9000");
    let kernel = UdpSocket::bind("10.9.0.1:9000").unwrap();
    kernel.set_read_timeout(Some(SECOND)).unwrap();
    kernel.send_to(b"from the kernel", "10.9.0.2:12345").unwrap();
    assert!(b.wait(Interest::Readable, Some(SECOND)).unwrap());
    let (packet, _) = b.recv().unwrap();
    assert_eq!(packet[42..], *b"from the kernel");
    drop(packet);
    send(&b, &udp([2, 0, 0, 0, 0, 1], b"from nethuns"));
    let mut buffer = [0; 100];
    let (len, from) = kernel.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..len], from.to_string().as_str()), (&b"from nethuns"[..], "10.9.0.2:12345"));
}

#[test]
fn a_vlan_tag_is_received_as_it_was_sent() {
    let Some(lab) = Lab::enter("a_vlan_tag_is_received_as_it_was_sent") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    let mut tagged = frame(60, 5);
    tagged[12..18].copy_from_slice(&[0x81, 0, 0, 42, 0x88, 0xb5]);
    send(&a, &tagged);
    assert_eq!(everything(&b), [(tagged, 60)]);
}

#[test]
fn link_facts_are_those_of_the_interface() {
    let Some(lab) = Lab::enter("link_facts_are_those_of_the_interface") else { return };
    lab.veth("va", "vb", 2);
    ip("link set va address 02:00:00:00:00:01 mtu 1400");
    let a = open("va");
    let link = a.link().unwrap();
    assert_eq!((link.name.as_str(), link.mac, link.mtu), ("va", Some([2, 0, 0, 0, 0, 1]), Some(1400)));
    assert_eq!((link.carrier, link.rx_queues), (Some(true), Some(2)));
    ip("link del va");
    assert!(matches!(a.link(), Err(Error::NoSuchPort { .. })));
}

#[test]
fn tcpdump_sees_what_is_sent() {
    let Some(lab) = Lab::enter("tcpdump_sees_what_is_sent") else { return };
    lab.veth("va", "vb", 1);
    let file = std::env::temp_dir().join(format!("nethuns-tcpdump-{}.pcap", std::process::id()));
    let mut tcpdump = Command::new("tcpdump")
        .args(["-i", "vb", "-c", "10", "-U", "-Z", "root", "-w"])
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .expect("tcpdump: install it (scripts/test.sh does)");
    // It says so once it listens.
    let mut listening = std::io::BufReader::new(tcpdump.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut listening, &mut line).unwrap() > 0, "tcpdump ended");
    }
    let a = open("va");
    for n in 0..10 {
        send(&a, &frame(100 + n as usize, n));
    }
    assert!(tcpdump.wait().unwrap().success());
    let recorded = Sock::create(&format!("pcap:{}", file.display()), None, PcapFlags::default()).unwrap();
    for n in 0..10 {
        assert_eq!(*recorded.recv().unwrap().0, *frame(100 + n as usize, n));
    }
    assert!(matches!(recorded.recv(), Err(Error::EndOfFile)));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn sending_refuses_with_a_reason() {
    let Some(lab) = Lab::enter("sending_refuses_with_a_reason") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    a.send(&frame(1514, 0)).unwrap();
    assert!(matches!(a.send(&frame(1515, 0)), Err(Error::TooBigPacket(1515))));
    mentions(&a.send(&[0; 13]).unwrap_err().to_string(), &["13 bytes on va", "14 bytes"]);
    let text = a.send_at(&frame(60, 0), 1, 60).unwrap_err().to_string();
    mentions(&text, &["va", "recorded time", "`send`"]);
    // A tag may come on top of the MTU.
    let mut tagged = frame(1518, 0);
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 42]);
    a.send(&tagged).unwrap();
    assert_eq!((a.stats().tx_submitted, a.stats().tx_packets), (2, 2));
    ip("link set va down");
    mentions(&a.send(&frame(60, 0)).unwrap_err().to_string(), &["sending 60 bytes on va", "ip link set va up"]);
    assert_eq!(a.stats().tx_submitted, 2);
    ip("link set va up");
    a.send(&frame(1514, 0)).unwrap();
    ip("link del va");
    match a.send(&frame(60, 0)).unwrap_err() {
        Error::NoSuchPort { port, problem } => assert_eq!((port.as_str(), problem.contains("gone")), ("va", true)),
        other => panic!("{other}"),
    }
}

#[test]
fn an_interface_that_was_down_carries_again() {
    let Some(lab) = Lab::enter("an_interface_that_was_down_carries_again") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    ip("link set vb down");
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    ip("link set vb up");
    std::thread::sleep(SHORT);
    send(&a, &frame(60, 1));
    assert_eq!(everything(&b).len(), 1);
    send(&b, &frame(60, 2));
    assert_eq!(everything(&a).len(), 1);
}

#[test]
fn an_interface_that_goes_is_an_error_not_silence() {
    let Some(lab) = Lab::enter("an_interface_that_goes_is_an_error_not_silence") else { return };
    lab.veth("va", "vb", 1);
    let b = open("vb");
    ip("link del va");
    let start = Instant::now();
    let error = loop {
        assert!(b.wait(Interest::Readable, Some(SECOND)).unwrap(), "silence");
        match b.recv() {
            Err(Error::NoPacket) => assert!(start.elapsed() < 2 * SECOND, "silence"),
            Err(error) => break error,
            Ok((packet, _)) => panic!("{packet:?}"),
        }
    };
    mentions(&error.to_string(), &["vb", "gone"]);
}

#[test]
fn what_cannot_be_opened_says_why() {
    let Some(lab) = Lab::enter("what_cannot_be_opened_says_why") else { return };
    lab.veth("va", "vb", 1);
    let defaults = PcapFlags::default;
    mentions(&refusal("pcap:nosuch0", None, defaults()), &["nosuch0: no such interface", "va", "vb", "lo"]);
    mentions(&refusal("pcap:va", Some(2), defaults()), &["queue 2", "all queues", "af_xdp:"]);
    assert!(Sock::create("pcap:va", Some(0), defaults()).is_ok());
    mentions(&refusal("mem:va", None, defaults()), &["`pcap` backend"]);
    mentions(&refusal("va?speling", None, defaults()), &["unknown option `speling`", "snaplen", "direction"]);
    mentions(&refusal("va?snaplen=0", None, defaults()), &["snaplen=0", "1 to 262144"]);
    mentions(&refusal("va", None, PcapFlags { snaplen: -1, ..defaults() }), &["snaplen=-1", "1 to 262144"]);
    mentions(&refusal("va", None, PcapFlags { timeout_ms: -1, ..defaults() }), &["timeout_ms=-1"]);
    mentions(&refusal("va", None, PcapFlags { buffer_count: 0, ..defaults() }), &["buffer_count=0"]);
    mentions(&refusal("va", None, PcapFlags { buffer_size: 0, ..defaults() }), &["buffer_size=0"]);
    mentions(&refusal("va?timeout=5", None, defaults()), &["timeout=5", "unit"]);
    mentions(&refusal("any", None, defaults()), &["link type", "any", "Ethernet"]);
    ip("link set va down");
    mentions(&refusal("va", None, defaults()), &["va", "ip link set va up"]);
}

#[test]
fn missing_rights_name_the_capability() {
    let Some(lab) = Lab::enter("missing_rights_name_the_capability") else { return };
    lab.veth("va", "vb", 1);
    // The system call itself changes this thread only; the function of libc would change all.
    // SAFETY: no pointers.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
    assert_eq!(done, 0, "setresuid: {}", std::io::Error::last_os_error());
    let text = refusal("va", None, PcapFlags::default());
    let program = std::env::current_exe().unwrap();
    mentions(&text, &["va", "not permitted", "CAP_NET_RAW", "setcap cap_net_raw+ep", program.to_str().unwrap()]);
    mentions(&refusal("nosuch0", None, PcapFlags::default()), &["no such interface"]);
}

#[test]
fn forwards_within_one_pool() {
    let Some(lab) = Lab::enter("forwards_within_one_pool") else { return };
    lab.veth("va", "vb", 1);
    lab.veth("vc", "vd", 1);
    let (a, d) = (open("va"), open("vd"));
    let b = open("vb?buffers=64");
    let c = b.create_sharing("vc", None, PcapFlags::default()).unwrap();
    assert_eq!((c.mode().frames, c.context().pool().id()), (64, b.context().pool().id()));
    for n in 0..40 {
        send(&a, &frame(100, n));
    }
    b.wait(Interest::Readable, Some(SECOND)).unwrap();
    for n in 0..20 {
        let (mut packet, _) = b.recv().unwrap();
        packet[18] = n;
        c.send_payload(packet).unwrap();
    }
    let mut rest = Vec::new();
    b.recv_each(64, |token, _| rest.push(token)).unwrap();
    assert_eq!(c.send_tokens(&mut rest).unwrap(), 20);
    c.flush();
    let got = everything(&d);
    assert_eq!(got.len(), 40);
    assert!(got[..20].iter().enumerate().all(|(n, (packet, _))| packet[17..19] == [n as u8, n as u8]));
    // A frame made here, and one of a pool that c knows nothing of.
    let mut packet = c.alloc(60).unwrap();
    packet.copy_from_slice(&frame(60, 1));
    c.send_payload(packet).unwrap();
    let foreign = a.context().copy_in(&frame(60, 2));
    c.send_token(foreign.unwrap()).unwrap();
    c.flush();
    assert_eq!(everything(&d).len(), 2);
    assert!(matches!(c.alloc(2049), Err(Error::TooBigPacket(2049))));
    assert_eq!((b.frames_in_flight(), a.frames_in_flight()), (Some(0), Some(0)));
    // What cannot be sent comes back.
    let mut long = c.alloc(2000).unwrap();
    long.fill(0);
    let refused = c.send_payload(long).unwrap_err();
    assert!(matches!(refused.error, Error::TooBigPacket(2000)));
    assert_eq!(refused.packet.len(), 2000);
}

#[test]
fn packets_outlive_their_socket() {
    let Some(lab) = Lab::enter("packets_outlive_their_socket") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    send(&a, &frame(60, 1));
    send(&a, &frame(60, 2));
    b.wait(Interest::Readable, Some(SECOND)).unwrap();
    let ctx = b.context().clone();
    let (first, _) = b.recv_token().unwrap();
    let (second, _) = b.recv_token().unwrap();
    drop(b);
    assert_eq!(*first.consume(&ctx), *frame(60, 1));
    assert_eq!(ctx.pool().in_flight(), 1);
    drop(second);
    assert_eq!(ctx.pool().in_flight(), 0);
}

#[test]
fn a_receiver_may_send_but_not_receive_within_a_batch() {
    let Some(lab) = Lab::enter("a_receiver_may_send_but_not_receive_within_a_batch") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    let fill = || {
        for n in 0..10 {
            send(&a, &frame(60, n));
        }
        b.wait(Interest::Readable, Some(SECOND)).unwrap();
    };
    fill();
    let echoed = b.recv_each(64, |token, _| b.send_token(token).unwrap()).unwrap();
    b.flush();
    assert_eq!((echoed, everything(&a).len()), (10, 10));
    fill();
    let mut refusals = 0;
    let n =
        b.recv_each(64, |_, _| refusals += usize::from(matches!(b.recv(), Err(ref e) if !e.is_transient()))).unwrap();
    assert_eq!((n, refusals), (10, 10));
    // A panic in between: the packets after it are still there, no frame is lost.
    fill();
    let mut seen = 0;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        b.recv_each(64, |_, _| {
            seen += 1;
            assert!(seen < 4, "on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!((seen, b.frames_in_flight()), (4, Some(0)));
    assert_eq!(everything(&b).len(), 6);
    // No more than was asked for.
    fill();
    assert_eq!(b.recv_each(0, |_, _| ()).unwrap(), 0);
    assert_eq!(b.recv_each(3, |_, _| ()).unwrap(), 3);
    assert_eq!(everything(&b).len(), 7);
}

#[test]
fn the_descriptor_tells_of_packets() {
    use std::os::fd::{AsFd, AsRawFd};
    let Some(lab) = Lab::enter("the_descriptor_tells_of_packets") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    let readable = |timeout| {
        let mut entry = libc::pollfd { fd: b.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry.
        unsafe { libc::poll(&raw mut entry, 1, timeout) == 1 }
    };
    assert!(!readable(0));
    send(&a, &frame(60, 0));
    assert!(readable(1000));
    b.recv().unwrap();
    assert!(!readable(0));
}

#[test]
fn the_steady_state_allocates_nothing() {
    let Some(lab) = Lab::enter("the_steady_state_allocates_nothing") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va?buffers=8"), open("vb?buffers=64"));
    let file = open("pcap:/dev/null?write&format=pcapng");
    let packet = frame(1514, 1);
    let mut batch = Vec::with_capacity(64);
    let mut turn = || {
        for _ in 0..20 {
            a.send(&packet).unwrap();
        }
        let mut lent = a.alloc(60).unwrap();
        lent.copy_from_slice(&packet[..60]);
        a.send_payload(lent).unwrap();
        a.flush();
        b.wait(Interest::Readable, Some(SECOND)).unwrap();
        // One by one, as a token, in a batch; nothing there.
        for _ in 0..5 {
            file.send(&b.recv().unwrap().0).unwrap();
        }
        drop(b.recv_token().unwrap());
        assert_eq!(b.recv_batch(&mut batch, 64).unwrap(), 15);
        for (token, meta) in batch.drain(..) {
            file.send_at(&token.consume(b.context()), meta.timestamp_ns().unwrap(), meta.len).unwrap();
        }
        assert!(matches!(b.recv(), Err(Error::NoPacket)));
        file.flush();
        let _ = (a.stats(), b.stats(), b.frames_in_flight());
    };
    for _ in 0..50 {
        turn();
    }
    let before = allocations();
    for _ in 0..500 {
        turn();
    }
    assert_eq!(allocations() - before, 0, "allocations in 10500 packets");
}
