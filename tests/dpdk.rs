//! DPDK on virtual devices: what the conformance suite does not ask. Runs on ordinary pages, and once more on huge ones.
#![cfg(all(target_os = "linux", feature = "dpdk"))]

mod common;

use common::dpdk::eal;
use common::netns::{Lab, ip, run};
use nethuns_rs::api::{Interest, Payload, Socket, Token};
use nethuns_rs::dpdk::{Checksum, Context, DpdkFlags, Eal, Sock, TxOffload};
use nethuns_rs::errors::Error;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn open(spec: &str) -> Sock {
    open_queue(spec, None)
}

fn open_queue(spec: &str, queue: Option<usize>) -> Sock {
    eal();
    let flags = DpdkFlags { num_mbufs: 1024, mbuf_cache_size: 32, ..DpdkFlags::default() };
    Sock::create(spec, queue, flags).unwrap()
}

/// Why a port cannot be opened.
fn refusal(spec: &str, queue: Option<usize>) -> String {
    eal();
    Sock::create(spec, queue, DpdkFlags::default()).err().unwrap_or_else(|| panic!("{spec}: opened")).to_string()
}

fn receive(sock: &Sock) -> (Payload<'_, Context>, nethuns_rs::dpdk::Meta) {
    receive_that(sock, |_| true)
}

/// The next packet of which this holds.
fn receive_that(sock: &Sock, wanted: impl Fn(&[u8]) -> bool) -> (Payload<'_, Context>, nethuns_rs::dpdk::Meta) {
    let start = Instant::now();
    loop {
        match sock.recv() {
            Ok((packet, meta)) if wanted(&packet) => return (packet, meta),
            Ok(_) => {}
            Err(Error::NoPacket) => {
                sock.wait(Interest::Readable, Some(Duration::from_millis(20))).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        assert!(start.elapsed() < PATIENCE, "no packet came: {:?}", sock.stats());
    }
}

/// An Ethernet, IPv4 and UDP packet with its checksums left at zero.
fn udp(source: [u8; 4], destination: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend([0x02, 0, 0, 0, 0, 9, 0x08, 0x00]);
    let total = (20 + 8 + payload.len()) as u16;
    packet.extend([0x45, 0]);
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(ports[0].to_be_bytes());
    packet.extend(ports[1].to_be_bytes());
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// Fills in the IP header's checksum.
fn with_ip_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let sum: u32 = packet[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

#[test]
fn eal_is_started_once() {
    let running = eal();
    let again = Eal::start(Vec::<String>::new()).unwrap();
    assert!(std::ptr::eq(running, again));
    let error = Eal::start(["-l", "77"]).unwrap_err().to_string();
    assert!(error.contains("cannot be started again with `-l 77`"), "{error}");
    let error = refusal("dpdk:net_null90?eal=-m 1", None);
    assert!(error.contains("cannot be started again with `-m 1`"), "{error}");
    assert!(running.version().starts_with("DPDK "));
}

/// EAL that does not start says why; in a process of its own, for there is only one chance.
#[test]
fn eal_that_cannot_start_says_why() {
    const CHILD: &str = "NETHUNS_TEST_EAL_ARGS";
    if let Ok(args) = std::env::var(CHILD) {
        let start = || Eal::start(args.split(' ')).unwrap_err().to_string();
        eprintln!("first: {}", start());
        eprintln!("second: {}", start());
        return;
    }
    // More memory than huge pages can give: whether there are none or too few depends on the machine.
    for (args, parts) in [
        ("--no-such-argument", ["an argument is wrong"; 2]),
        ("--no-huge --in-memory", ["an argument is wrong"; 2]),
        ("--no-huge -m 64 -l 4095", ["an argument is wrong"; 2]),
        ("--in-memory -m 1000000 --no-telemetry --no-shconf", ["no huge page is free", "more huge pages"]),
    ] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "eal_that_cannot_start_says_why", "--nocapture"])
            .env(CHILD, args)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args}: {text}");
        for line in ["first: ", "second: "] {
            let said = text.lines().find(|l| l.starts_with(line)).unwrap_or_else(|| panic!("{args}: {text}"));
            assert!(said.contains(args) && said.contains("once per process"), "{said}");
            assert!(parts.iter().any(|part| said.contains(part)), "{said}");
        }
    }
}

#[test]
fn errors_say_what_to_do() {
    for (spec, parts) in [
        ("dpdk:net_af_packet90,iface=nowhere0", vec!["its driver refused", "No such device"]),
        ("dpdk:net_af_packet91", vec!["its driver refused", "check its arguments"]),
        ("dpdk:net_nothing0", vec!["no driver of this DPDK goes by that name", "net_af_packet", "net_tap"]),
        ("dpdk:0000:7f:1f.7", vec!["there is no PCI device", "dpdk-devbind.py"]),
        ("dpdk:lo", vec!["interface of the kernel", "net_af_packet0,iface=lo"]),
        ("dpdk:net_null92?rx_checksum", vec!["driver net_null has no such offload"]),
        ("dpdk:net_null92?tx_checksum", vec!["driver net_null has no such offload"]),
        ("dpdk:net_null92?vlan_insert", vec!["driver net_null has no such offload"]),
        ("dpdk:net_null92?timestamps=hw", vec!["driver net_null has no such offload"]),
        ("dpdk:net_null92?interrupts", vec!["no receive interrupts"]),
        ("dpdk:net_null92?wire=x", vec!["two ports of the ring driver"]),
        ("dpdk:net_ring92?queues=500", vec!["queues=500", "at most 16"]),
        ("dpdk:net_null92?num_mbufs=100M&mbuf_cache_size=0", vec!["100000000 mbufs of 2176 bytes", "num_mbufs"]),
    ] {
        let error = refusal(spec, None);
        if error.contains("not permitted; run as root") {
            assert!(spec.contains("net_af_packet90"), "{spec}: {error}");
            continue;
        }
        for part in parts {
            assert!(error.contains(part), "{spec}: {error}");
        }
    }
    let error = refusal("dpdk:net_null92", Some(3));
    assert!(error.contains("queue 3 does not exist") && error.contains("?queues=4"), "{error}");
    // Nothing of it has stayed.
    drop(open("dpdk:net_null92"));
}

#[test]
fn a_port_belongs_to_whom_it_was_given() {
    let first = open("dpdk:net_null80?queues=2&rss=off");
    let busy = |spec: &str, queue| {
        let flags = DpdkFlags { num_mbufs: 1024, mbuf_cache_size: 32, ..DpdkFlags::default() };
        Sock::create(spec, queue, flags).err().unwrap_or_else(|| panic!("{spec}: opened")).to_string()
    };
    assert!(busy("dpdk:net_null80?queues=2&rss=off", Some(1)).contains("queue 1 is busy"));
    assert!(busy("dpdk:net_null80", None).contains("open with other options"));
    assert!(busy("dpdk:net_null80,size=128", None).contains("it is open as `net_null80`"));
    drop(first);
    // By queue, on one pool, closed with the last.
    let (a, b) = (open_queue("dpdk:net_null80?queues=2", Some(0)), open_queue("dpdk:net_null80?queues=2", Some(1)));
    assert_eq!(a.context().pool_id(), b.context().pool_id());
    assert_eq!((a.mode().queues, b.mode().queues), (vec![0], vec![1]));
    drop(a);
    let (packet, meta) = b.recv().unwrap();
    assert_eq!((packet.len(), nethuns_rs::api::Metadata::queue(&meta)), (64, 1));
    drop(packet);
    drop(b);
    drop(open("dpdk:net_null80,size=128"));
}

use nethuns_rs::api::Context as _;

#[test]
fn a_port_is_opened_again_and_again() {
    for round in 0..20u8 {
        let sock = open("dpdk:net_ring81");
        sock.send(&[round; 60]).unwrap();
        sock.flush();
        let (packet, _) = receive(&sock);
        assert_eq!(packet[0], round);
        // The last packets are still in the ring when it closes.
        sock.send(&[round; 60]).unwrap();
    }
}

#[test]
fn every_queue_is_received_from() {
    let sock = open("dpdk:net_ring82?queues=4");
    assert_eq!(sock.mode().queues, [0, 1, 2, 3]);
    drop(sock);
    let all: Vec<Sock> = (0..4).map(|q| open_queue("dpdk:net_ring82?queues=4", Some(q))).collect();
    for (i, sock) in all.iter().enumerate() {
        sock.send(&[i as u8; 60]).unwrap();
        sock.flush();
        // Each alone: a ring's transmit queue ends in its receive queue.
        assert_eq!(receive(sock).0[0], i as u8);
        assert!(matches!(sock.recv(), Err(Error::NoPacket)));
        assert!(sock.drain(PATIENCE).unwrap());
    }
    for sock in &all {
        assert_eq!((sock.stats().tx_packets, sock.stats().rx_packets), (1, 1), "counted by queue: {:?}", sock.stats());
    }
    // From one end all queues at once: what four sockets send on a wire, one receives.
    let far: Vec<Sock> = (0..4).map(|q| open_queue("dpdk:net_ring83?wire=four&queues=4", Some(q))).collect();
    let near = open("dpdk:net_ring84?wire=four&queues=4");
    for (i, sock) in far.iter().enumerate() {
        sock.send(&[i as u8; 60]).unwrap();
        sock.flush();
    }
    let mut seen: Vec<(u8, u32)> = (0..4)
        .map(|_| {
            let (packet, meta) = receive(&near);
            (packet[0], nethuns_rs::api::Metadata::queue(&meta))
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 0), (1, 1), (2, 2), (3, 3)]);
}

#[test]
fn frames_survive_the_ports_and_pools_they_came_from() {
    let a = open("dpdk:net_ring85?wire=survivors");
    let b = open("dpdk:net_ring86?wire=survivors");
    for i in 0..100u8 {
        a.send(&[i; 60]).unwrap();
    }
    a.flush();
    // A hundred frames of a pool whose socket is gone lie in the ring.
    drop(a);
    let tokens: Vec<Token> = (0..50).map(|_| receive(&b).0.into_token()).collect();
    assert_eq!(b.frames_in_flight(), Some(50));
    for (i, token) in tokens.iter().enumerate() {
        assert_eq!(token.peek(|bytes| (bytes.len(), bytes[0])), Some((60, i as u8)));
    }
    let ctx = b.context().clone();
    drop(b);
    let mut tokens = tokens.into_iter();
    let payload = tokens.next().unwrap().consume(&ctx);
    assert_eq!(payload[0], 0);
    drop(payload);
    drop(ctx);
    // No socket, no context: the tokens still know where they belong, also on another thread.
    std::thread::spawn(move || drop(tokens)).join().unwrap();
}

#[test]
fn a_shared_pool_forwards_without_a_copy() {
    let a = open("dpdk:net_ring87?wire=left");
    let b = a
        .create_sharing(
            "dpdk:net_ring88?wire=left",
            None,
            DpdkFlags { num_mbufs: 1024, mbuf_cache_size: 32, ..DpdkFlags::default() },
        )
        .unwrap();
    let mut frame = a.alloc(60).unwrap();
    frame.fill(7);
    let at = frame.as_ptr();
    a.send_payload(frame).unwrap();
    a.flush();
    let (packet, _) = receive(&b);
    assert_eq!((packet.as_ptr(), &*packet), (at, &[7; 60][..]), "the mbuf itself arrives");
    assert_eq!(a.frames_in_flight(), Some(1));
}

#[test]
fn bursts_are_forwarded_unseen() {
    let flags = || DpdkFlags { num_mbufs: 1024, mbuf_cache_size: 32, ..DpdkFlags::default() };
    let source = open("dpdk:net_ring50?wire=in");
    let from = source.create_sharing("dpdk:net_ring51?wire=in", None, flags()).unwrap();
    let shared = source.create_sharing("dpdk:net_ring52?wire=out&rx_ring=64", None, flags()).unwrap();
    let sink = open("dpdk:net_ring53?wire=out&rx_ring=64");
    for i in 0..100u8 {
        source.send(&[i; 60]).unwrap();
    }
    source.flush();
    // The ring behind it takes 63; the rest waits, and nothing more is taken in before it has gone.
    let (mut moved, mut full) = (0, false);
    while !full {
        match from.forward(&shared, 40) {
            Ok(n) => moved += n,
            Err(error) => {
                assert!(matches!(error, Error::RingFull), "{error}");
                full = true;
            }
        }
    }
    assert_eq!(moved, 80);
    assert_eq!(from.frames_in_flight(), Some(0), "what is queued is not on loan");
    for i in 0..100u8 {
        if i == 63 {
            shared.flush();
            assert_eq!(from.forward(&shared, 40).unwrap(), 20);
        }
        assert_eq!(receive(&sink).0[..], [i; 60]);
    }
    assert!(shared.drain(PATIENCE).unwrap());
    assert_eq!((from.stats().rx_packets, shared.stats().tx_packets), (100, 100));
    assert_eq!(from.forward(&shared, 40).unwrap(), 0);
    // To a port with a pool of its own, by copies.
    source.send(&[200; 60]).unwrap();
    source.flush();
    let apart = open("dpdk:net_ring54");
    assert_eq!(from.forward(&apart, 40).unwrap(), 1);
    assert_eq!(receive(&apart).0[..], [200; 60]);
}

#[test]
fn threads_come_and_go_without_taking_frames_along() {
    let mut sock = open("dpdk:net_ring89?num_mbufs=256&mbuf_cache_size=128");
    // Each thread fills a cache of its own; half the pool would be in the caches of two that are gone.
    for round in 0..16u8 {
        sock = std::thread::spawn(move || {
            for i in 0..200 {
                sock.send(&[round; 60]).unwrap_or_else(|e| panic!("round {round}, packet {i}: {e}"));
                sock.flush();
                drop(receive(&sock));
            }
            sock
        })
        .join()
        .unwrap();
    }
    assert_eq!(sock.frames_in_flight(), Some(0));
    let mut held = Vec::new();
    while let Ok(frame) = sock.alloc(60) {
        held.push(frame);
    }
    assert!(held.len() > 128, "only {} of 256 frames are to be had", held.len());
}

#[test]
fn a_panic_in_a_callback_loses_nothing() {
    let sock = open("dpdk:net_ring70");
    for _ in 0..20 {
        sock.send(&[1; 60]).unwrap();
    }
    sock.flush();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sock.recv_each(20, |token, _| {
            drop(token);
            assert!(sock.stats().rx_packets > 100, "as intended");
        })
    }));
    assert!(outcome.is_err());
    assert_eq!(sock.frames_in_flight(), Some(0));
}

#[test]
fn a_full_ring_refuses_and_recovers() {
    let sock = open("dpdk:net_ring71?wire=full&rx_ring=64");
    let mut sent = 0;
    let error = loop {
        match sock.send(&[1; 60]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1000);
    };
    assert!(matches!(error, Error::RingFull), "{error}");
    assert!(!sock.drain(Duration::from_millis(5)).unwrap(), "nobody takes them");
    let other = open("dpdk:net_ring72?wire=full&rx_ring=64");
    let mut got = 0;
    while got < sent {
        drop(receive(&other));
        got += 1;
        sock.flush();
    }
    assert!(sock.drain(PATIENCE).unwrap());
    assert_eq!(sock.stats().tx_packets, sent);
    assert!(matches!(sock.send(&[0; 2000]), Err(Error::TooBigPacket(2000))));
}

#[test]
fn software_timestamps_are_the_system_clock() {
    use nethuns_rs::api::Metadata;
    let sock = open("dpdk:net_null73?timestamps=sw");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let before = now();
    let stamp = sock.recv().unwrap().1.timestamp_ns().unwrap();
    assert!(before <= stamp && stamp <= now());
    assert_eq!(open("dpdk:net_null74").recv().unwrap().1.timestamp_ns(), None);
}

#[test]
fn timestamps_of_the_capture_are_in_nanoseconds() {
    use nethuns_rs::api::Metadata;
    let Some(lab) = Lab::enter("dpdk::timestamps_of_the_capture_are_in_nanoseconds") else { return };
    lab.veth("va", "vb", 1);
    let (near, far) = (open("dpdk:net_pcap48,iface=va?timestamps=hw"), open("dpdk:net_af_packet49,iface=vb"));
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let before = now();
    let mut packet = [0xff; 60];
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    far.send(&packet).unwrap();
    far.flush();
    let (_, meta) = receive_that(&near, |p| p[12..14] == [0x88, 0xb5]);
    let stamp = meta.timestamp_ns().expect("a timestamp");
    // The capture has microseconds only.
    assert!(before - before % 1000 <= stamp && stamp <= now(), "{before} {stamp}");
    assert_eq!(meta.device_timestamp(), None);
}

#[test]
fn af_xdp_through_its_driver() {
    let Some(lab) = Lab::enter("dpdk::af_xdp_through_its_driver") else { return };
    lab.veth("va", "vb", 1);
    let (near, far) = (open("dpdk:net_af_xdp46,iface=va?num_mbufs=8192"), open("dpdk:net_af_packet47,iface=vb"));
    let mut packet = [0xff; 60];
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    for i in 0..50u8 {
        packet[14] = i;
        far.send(&packet).unwrap();
        far.flush();
        let (got, _) = receive_that(&near, |p| p[12..14] == [0x88, 0xb5]);
        assert_eq!(*got, packet);
        near.send_payload(got).unwrap();
        near.flush();
        assert_eq!(*receive_that(&far, |p| p[12..14] == [0x88, 0xb5]).0, packet);
    }
    assert_eq!((near.frames_in_flight(), far.frames_in_flight()), (Some(0), Some(0)));
}

#[test]
fn a_kernel_peer_answers_over_af_packet() {
    let Some(lab) = Lab::enter("dpdk::a_kernel_peer_answers_over_af_packet") else { return };
    lab.veth("va", "vb", 1);
    run("ethtool", "-K vb tx off");
    ip("addr add 10.9.0.2/24 dev vb");
    ip("neigh add 10.9.0.1 lladdr 02:00:00:00:00:09 dev vb");
    let sock = open("dpdk:net_af_packet75,iface=va");
    let peer = UdpSocket::bind("10.9.0.2:7000").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    // To the kernel: no UDP checksum, which is legal over IPv4.
    let packet = with_ip_checksum(udp([10, 9, 0, 1], [10, 9, 0, 2], [5000, 7000], b"from a frame"));
    for _ in 0..100 {
        sock.send(&packet).unwrap();
    }
    assert!(sock.drain(PATIENCE).unwrap());
    let mut buffer = [0; 64];
    for _ in 0..100 {
        let (n, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..n], from.to_string().as_str()), (&b"from a frame"[..], "10.9.0.1:5000"));
    }
    // And back.
    for i in 0..100u8 {
        peer.send_to(&[i; 32], "10.9.0.1:5000").unwrap();
        let (packet, _) = receive_that(&sock, |p| p.len() >= 42 && p[23] == 17 && p[36..38] == 5000u16.to_be_bytes());
        assert_eq!(&packet[42..74], &[i; 32]);
    }
    let (link, stats) = (sock.link().unwrap(), sock.stats());
    let address = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    assert!(address.contains("va:"));
    assert_eq!((link.carrier, link.mtu), (Some(true), Some(1500)));
    assert!(link.mac.is_some() && link.index.is_some(), "{link:?}");
    assert_eq!((stats.tx_packets, stats.tx_pending()), (100, 0));
    assert!(stats.rx_packets >= 100);
    assert!(sock.xstats().iter().any(|(name, n)| name == "tx_good_packets" && *n == 100));
    assert!(sock.mode().promiscuous);
    let promiscuous = || String::from_utf8(run("ip", "-d link show va").stdout).unwrap().contains("promiscuity 1");
    assert!(promiscuous());
    drop(sock);
    assert!(!promiscuous(), "the interface is as it was");
}

#[test]
fn vlan_tags_are_taken_out_and_put_in() {
    let Some(lab) = Lab::enter("dpdk::vlan_tags_are_taken_out_and_put_in") else { return };
    lab.veth("va", "vb", 1);
    let strip = open("dpdk:net_af_packet76,iface=va?vlan_strip&vlan_insert");
    let plain = open("dpdk:net_af_packet77,iface=vb");
    let mut tagged = vec![0xff; 12];
    tagged.extend([0x81, 0x00, 0x00, 0x64, 0x88, 0xb5]);
    tagged.extend([5; 46]);
    plain.send(&tagged).unwrap();
    plain.flush();
    let (packet, meta) = receive_that(&strip, |p| p[12..14] != [0x86, 0xdd]);
    assert_eq!((meta.vlan(), meta.vlan_stripped(), packet.len()), (Some(100), true, 60));
    assert_eq!(packet[12..14], [0x88, 0xb5]);
    // Back with another tag.
    let tag = TxOffload { vlan: Some(0x2065), ..TxOffload::default() };
    strip.send_payload_with(packet, tag).unwrap();
    strip.flush();
    let (packet, meta) = receive_that(&plain, |p| p[12..14] != [0x86, 0xdd]);
    assert_eq!((packet.len(), &packet[12..18]), (64, &[0x81, 0x00, 0x20, 0x65, 0x88, 0xb5][..]));
    assert!(!meta.vlan_stripped());
    // An offload that was not asked for at the start is refused, and the packet comes back.
    let refused = plain.send_payload_with(packet, tag).unwrap_err();
    assert!(refused.error.to_string().contains("?vlan_insert"), "{}", refused.error);
    assert_eq!(refused.packet.len(), 64);
}

#[test]
fn checksums_are_filled_in_and_checked_by_tap() {
    let Some(_lab) = Lab::enter("dpdk::checksums_are_filled_in_and_checked_by_tap") else { return };
    if !std::path::Path::new("/dev/net/tun").exists() {
        return common::skip("dpdk::checksums_are_filled_in_and_checked_by_tap", "no /dev/net/tun");
    }
    let sock = open("dpdk:net_tap78,iface=dt0?tx_checksum&rx_checksum");
    ip("addr add 10.9.1.2/24 dev dt0");
    ip("neigh replace 10.9.1.1 lladdr 02:00:00:00:00:09 dev dt0");
    assert!(sock.mode().tx_checksum);
    let peer = UdpSocket::bind("10.9.1.2:7000").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    // The kernel drops a packet whose IP checksum is wrong, and one whose UDP checksum is wrong and not zero.
    let mut packet = udp([10, 9, 1, 1], [10, 9, 1, 2], [5000, 7000], b"summed by the port");
    packet[40..42].copy_from_slice(&[0xde, 0xad]);
    packet[..6].copy_from_slice(&sock.link().unwrap().mac.unwrap());
    sock.send(&packet).unwrap();
    let mut frame = sock.alloc(packet.len()).unwrap();
    frame.copy_from_slice(&packet);
    sock.send_payload_with(frame, TxOffload { checksum: true, ..TxOffload::default() }).unwrap();
    sock.flush();
    let mut buffer = [0; 64];
    for _ in 0..2 {
        let n = peer.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"summed by the port");
    }
    peer.send_to(b"and back", "10.9.1.1:5000").unwrap();
    let (packet, meta) = receive_that(&sock, |p| p.len() >= 50 && p[12..14] == [8, 0] && p[23] == 17);
    assert_eq!(&packet[42..50], b"and back");
    assert_eq!(meta.ip_checksum(), Checksum::Good);
    assert_ne!(meta.l4_checksum(), Checksum::Unknown);
    assert_ne!(meta.packet_type(), 0);
}

#[test]
fn interrupts_wake_a_sleeper() {
    let Some(_lab) = Lab::enter("dpdk::interrupts_wake_a_sleeper") else { return };
    if !std::path::Path::new("/dev/net/tun").exists() {
        return common::skip("dpdk::interrupts_wake_a_sleeper", "no /dev/net/tun");
    }
    let sock = open("dpdk:net_tap79,iface=dt1?interrupts");
    ip("addr add 10.9.2.2/24 dev dt1");
    ip("neigh replace 10.9.2.1 lladdr 02:00:00:00:00:09 dev dt1");
    while sock.recv().is_ok() {}
    let peer = UdpSocket::bind("10.9.2.2:0").unwrap();
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        peer.send_to(b"wake up", "10.9.2.1:5000").unwrap();
    });
    let start = Instant::now();
    let (packet, _) = receive_that(&sock, |p| p.len() >= 49 && p[12..14] == [8, 0] && p[23] == 17);
    assert_eq!(&packet[42..49], b"wake up");
    assert!(start.elapsed() < PATIENCE);
    sender.join().unwrap();
}

#[test]
fn jumbo_frames_arrive_in_one_piece() {
    let Some(lab) = Lab::enter("dpdk::jumbo_frames_arrive_in_one_piece") else { return };
    // Shared memory with buffers of 2 KiB: what is longer arrives in several segments, which are put together.
    let socket = std::env::temp_dir().join(format!("nethuns-jumbo-{}", std::process::id()));
    let end = |n: usize, role: &str| {
        format!("dpdk:net_memif6{n},role={role},socket={},socket-abstract=no?mtu=9000", socket.display())
    };
    let pair = (open(&end(0, "server")), open(&end(1, "client")));
    through(&pair.0, &pair.1);
    drop(pair);
    // A packet socket, whose driver wants buffers for its largest frame.
    lab.veth("va", "vb", 1);
    ip("link set va mtu 9000");
    ip("link set vb mtu 9000");
    let end =
        |end: &str| format!("dpdk:net_af_packet6{end},iface={end},framesz=9216,blocksz=36864,framecnt=64?mtu=9000");
    let (a, b) = (open(&end("va")), open(&end("vb")));
    through(&a, &b);
    assert!(matches!(a.send(&[0; 9100]), Err(Error::TooBigPacket(9100))));

    fn through(a: &Sock, b: &Sock) {
        let start = Instant::now();
        while a.link().unwrap().carrier != Some(true) || b.link().unwrap().carrier != Some(true) {
            assert!(start.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(a.recv().is_err() && b.recv().is_err());
        for len in [60, 2047, 2048, 2049, 4097, 9014] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 / 3) as u8).collect();
            let mut frame = a.alloc(len).unwrap();
            frame.copy_from_slice(&bytes);
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            let sent = frame.to_vec();
            a.send_payload(frame).unwrap();
            a.flush();
            let (packet, _) = receive_that(b, |p| p[12..14] == [0x88, 0xb5]);
            assert!(*packet == *sent, "{len} bytes on {}", a.driver());
        }
        assert_eq!((a.frames_in_flight(), b.frames_in_flight()), (Some(0), Some(0)));
    }
}

#[test]
fn the_same_on_huge_pages() {
    common::dpdk::again_on_huge_pages("dpdk::the_same_on_huge_pages", 18);
}
