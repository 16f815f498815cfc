//! AF_XDP sockets over a veth pair: both modes, ownership of frames, refusals.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::netns::{Lab, ip, run};
use common::xdp::{PATIENCE, assert_clean, drain, expect, frame, number, open, receive, refused, send};
use nethuns_rs::af_xdp::{AfXdpFlags, Config, Sock, TxChecksum, Wish, XDP_COPY, XDP_FLAGS_SKB_MODE};
use nethuns_rs::api::{Attach, Context, Interest, Metadata, Socket};
use nethuns_rs::errors::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

#[test]
fn packets_cross_in_both_modes_and_both_directions() {
    let Some(lab) = Lab::enter("packets_cross_in_both_modes_and_both_directions") else { return };
    lab.veth("va", "vb", 1);
    for (mode, attach) in [("driver", Attach::Driver), ("generic", Attach::Generic)] {
        let a = open(&format!("af_xdp:va?mode={mode}"));
        let b = open(&format!("vb?mode={mode}"));
        assert_eq!((b.mode().attach, b.mode().zero_copy), (Some(attach), Some(false)));
        for len in [18, 60, 1514] {
            for (from, to) in [(&a, &b), (&b, &a)] {
                send(from, 300, len);
                expect(to, 300, len);
            }
        }
        for socket in [&a, &b] {
            let stats = socket.stats();
            assert_eq!((stats.rx_packets, stats.tx_packets), (900, 900));
            assert_eq!((stats.rx_bytes, stats.tx_bytes), (300 * (18 + 60 + 1514), 300 * (18 + 60 + 1514)));
            assert_eq!((stats.rx_dropped.total(), stats.tx_dropped.total()), (0, 0));
            assert_clean(socket);
        }
    }
}

#[test]
fn a_packet_socket_is_a_peer_like_any_other() {
    let Some(lab) = Lab::enter("a_packet_socket_is_a_peer_like_any_other") else { return };
    lab.veth("va", "vb", 1);
    let socket = open("va");
    let peer = packet::Peer::open("vb");
    for i in 0..50 {
        peer.send(&frame(i, 100));
    }
    expect(&socket, 50, 100);
    send(&socket, 50, 100);
    for i in 0..50 {
        assert_eq!(peer.receive(), frame(i, 100));
    }
    assert_clean(&socket);
}

#[test]
fn every_way_to_receive_and_to_send() {
    let Some(lab) = Lab::enter("every_way_to_receive_and_to_send") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb?timestamps"));
    // By copy, one and many; filled in place; as tokens, one and many.
    a.send(&frame(0, 60)).unwrap();
    let (one, two) = (frame(1, 60), frame(2, 60));
    assert_eq!(a.send_batch([&one[..], &two[..]]).unwrap(), 2);
    let mut payload = a.alloc(60).unwrap();
    payload.copy_from_slice(&frame(3, 60));
    a.send_payload(payload).unwrap();
    let token = |n| {
        let mut payload = a.alloc(60).unwrap();
        payload.copy_from_slice(&frame(n, 60));
        payload.into_token()
    };
    a.send_token(token(4)).unwrap();
    let mut tokens = vec![token(5), token(6), token(7)];
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 3);
    assert!(tokens.is_empty());
    assert_eq!(a.stats().tx_packets, 0, "nothing leaves before it is flushed");
    assert_eq!((a.stats().tx_submitted, a.frames_in_flight()), (8, Some(0)));
    drain(&a);

    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    let (packet, meta) = b.recv().unwrap();
    assert_eq!((number(&packet), packet.len(), meta.queue()), (0, 60, 0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.saturating_sub(Duration::from_nanos(meta.timestamp_ns().unwrap()));
    assert!(age < Duration::from_secs(10), "{age:?}");
    drop(packet);
    let (token, _) = b.recv_token().unwrap();
    assert_eq!(number(&token.consume(b.context())), 1);
    let mut batch = Vec::new();
    assert_eq!(b.recv_batch(&mut batch, 4).unwrap(), 4);
    let numbers: Vec<u32> = batch.into_iter().map(|(t, _)| number(&t.consume(b.context()))).collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
    let mut seen = Vec::new();
    b.recv_each(64, |token, _| seen.push(number(&token.consume(b.context())))).unwrap();
    assert_eq!(seen, [6, 7]);
    assert!(matches!(b.recv(), Err(Error::NoPacket)));
    assert_eq!(b.recv_each(64, |_, _| unreachable!()).unwrap(), 0);
    assert_clean(&a);
    assert_clean(&b);
}

#[test]
fn tokens_of_another_pool_are_copied() {
    let Some(lab) = Lab::enter("tokens_of_another_pool_are_copied") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    send(&a, 3, 60);
    let mut tokens = receive(&b, 3);
    let payload = tokens.pop().unwrap().consume(b.context());
    a.send_payload(payload).unwrap();
    a.send_token(tokens.pop().unwrap()).unwrap();
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 1);
    drain(&a);
    let numbers: Vec<u32> = receive(&b, 3).into_iter().map(|t| number(&t.consume(b.context()))).collect();
    assert_eq!(numbers, [2, 1, 0]);
    assert_clean(&a);
    assert_clean(&b);
}

#[test]
fn a_panic_while_receiving_loses_no_frame() {
    let Some(lab) = Lab::enter("a_panic_while_receiving_loses_no_frame") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    send(&a, 10, 60);
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    let mut seen = Vec::new();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        b.recv_each(64, |token, _| {
            seen.push(number(&token.consume(b.context())));
            assert!(seen.len() < 4, "on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(seen, [0, 1, 2, 3]);
    assert_clean(&b);
    // Those that it had not seen are still there, and nothing comes twice.
    send(&a, 10, 60);
    b.wait(Interest::Readable, Some(PATIENCE)).unwrap();
    seen.clear();
    b.recv_each(64, |token, _| seen.push(number(&token.consume(b.context())))).unwrap();
    assert_eq!(seen, (4..10).chain(0..10).collect::<Vec<_>>());
    assert_eq!(b.stats().rx_packets, 20);
    assert_clean(&b);
}

#[test]
fn receiving_from_within_a_receive_gets_nothing() {
    let Some(lab) = Lab::enter("receiving_from_within_a_receive_gets_nothing") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    send(&a, 10, 60);
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    let mut seen = Vec::new();
    b.recv_each(64, |token, _| {
        assert!(matches!(b.recv(), Err(Error::NoPacket)));
        seen.push(number(&token.consume(b.context())));
    })
    .unwrap();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert_clean(&b);
}

#[test]
fn receiving_within_receiving_hands_out_no_frame_twice() {
    let Some(lab) = Lab::enter("receiving_within_receiving_hands_out_no_frame_twice") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    send(&a, 10, 60);
    assert!(b.wait(Interest::Readable, Some(PATIENCE)).unwrap());
    let mut tokens = Vec::new();
    b.recv_each(3, |token, _| {
        tokens.push(token);
        if let Ok((inner, _)) = b.recv_token() {
            tokens.push(inner);
        }
    })
    .unwrap();
    b.recv_each(64, |token, _| tokens.push(token)).unwrap();
    let mut numbers: Vec<u32> = tokens.into_iter().map(|t| number(&t.consume(b.context()))).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_clean(&b);
}

#[test]
fn an_exhausted_pool_drops_counts_and_recovers() {
    let Some(lab) = Lab::enter("an_exhausted_pool_drops_counts_and_recovers") else { return };
    lab.veth("va", "vb", 1);
    for mode in ["driver", "generic"] {
        let a = open(&format!("va?mode={mode}"));
        let b = open(&format!("vb?mode={mode}&frames=64&rx=64&tx=64"));
        let mut held = Vec::new();
        let start = Instant::now();
        while b.alloc(60).is_ok() {
            send(&a, 8, 60);
            b.recv_each(64, |token, _| held.push(token)).unwrap();
            assert!(start.elapsed() < PATIENCE, "{} held", held.len());
        }
        // What is not held is with the kernel, to receive into.
        assert!((32..64).contains(&held.len()), "{} held", held.len());
        assert!(matches!(b.send(&frame(0, 60)), Err(Error::NoMemory)));
        assert!(!b.wait(Interest::Writable, Some(Duration::from_millis(5))).unwrap(), "no frame to write to");
        send(&a, 100, 60);
        b.recv_each(64, |token, _| held.push(token)).unwrap();
        assert_eq!(held.len(), 64, "every frame is held");
        assert_eq!(b.frames_in_flight(), Some(64));
        let lost = b.stats().rx_dropped;
        assert!(lost.no_frame > 0 && lost.total() == lost.no_frame, "{lost:?}");
        assert_eq!(a.stats().tx_packets, b.stats().rx_packets + lost.no_frame, "each packet received or counted");

        held.clear();
        assert_eq!(b.frames_in_flight(), Some(0));
        let _ = b.recv();
        send(&a, 20, 60);
        expect(&b, 20, 60);
        send(&b, 20, 60);
        expect(&a, 20, 60);
        assert_clean(&b);
    }
}

#[test]
fn payloads_and_tokens_outlive_their_socket() {
    let Some(lab) = Lab::enter("payloads_and_tokens_outlive_their_socket") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va");
    let b = open("vb");
    send(&a, 3, 60);
    let mut tokens = receive(&b, 3);
    let context = b.context().clone();
    let payload = tokens.remove(0).consume(&context);
    // Some frames are left in every ring: received but not fetched, and accepted but not sent.
    send(&a, 5, 60);
    b.send(&frame(9, 60)).unwrap();
    drop(b);
    assert_eq!(context.pool().in_flight(), 3);
    assert_eq!(payload[..], frame(0, 60)[..]);
    let other = open("vb");
    send(&a, 100, 60);
    expect(&other, 100, 60);
    assert_eq!(payload[..], frame(0, 60)[..], "nobody else has touched it");
    drop(payload);
    drop(tokens);
    assert_eq!(context.pool().in_flight(), 0);
    let (packet, _) = a.recv().expect("sent when its socket was dropped");
    assert_eq!(number(&packet), 9);
}

#[test]
fn a_full_ring_refuses_until_it_is_sent() {
    let Some(lab) = Lab::enter("a_full_ring_refuses_until_it_is_sent") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va?tx=64");
    let _b = open("vb");
    // With the interface down nothing leaves, so the ring fills, and the refusal says why.
    ip("link set va down");
    let mut n = 0;
    let error = loop {
        match a.send(&frame(n, 60)) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
        assert!(n <= 64);
    };
    assert_eq!(n, 64);
    assert!(error.to_string().contains("`ip link set va up`"), "{error}");
    let token = a.alloc(60).unwrap().into_token();
    let refused = a.send_token(token).unwrap_err();
    drop(refused.packet);
    assert!(!a.drain(Duration::from_millis(5)).unwrap());
    assert_eq!((a.stats().tx_packets, a.stats().tx_pending()), (0, 64));
    ip("link set va up");
    drain(&a);
    assert_eq!(a.stats().tx_packets, 64);
    for i in 0..200 {
        a.send(&frame(i, 60)).expect("a full ring that can be sent makes room by itself");
    }
    drain(&a);
    assert_clean(&a);
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(lab) = Lab::enter("what_does_not_fit_is_refused") else { return };
    lab.veth("va", "vb", 1);
    let a = open("va?frame_size=2048");
    assert!(matches!(a.send(&[0; 2049]), Err(Error::TooBigPacket(2049))));
    assert!(matches!(a.alloc(4000), Err(Error::TooBigPacket(4000))));
    assert!(a.send(&[]).unwrap_err().to_string().contains("at least one byte"));
    let mut tokens = vec![a.alloc(60).unwrap().into_token(), a.alloc(0).unwrap().into_token()];
    assert_eq!(a.send_tokens(&mut tokens).unwrap(), 1);
    assert_eq!(tokens.len(), 1);
    assert!(a.send_tokens(&mut tokens).is_err());
    drop(tokens);
    drain(&a);
    assert_clean(&a);

    // Received: a packet longer than a frame less its headroom, without `jumbo`.
    let b = open("vb?frame_size=2048&mode=generic");
    for end in ["va", "vb"] {
        ip(&format!("link set {end} mtu 2000"));
    }
    send(&a, 4, 2010);
    send(&a, 4, 60);
    expect(&b, 4, 60);
    assert_eq!(b.stats().rx_dropped.oversize, 4, "{:?}", b.stats());
}

#[test]
fn waiting_sleeps_until_a_packet_comes() {
    let Some(lab) = Lab::enter("waiting_sleeps_until_a_packet_comes") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    let start = Instant::now();
    assert!(!b.wait(Interest::Readable, Some(Duration::from_millis(30))).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(b.wait(Interest::Writable, Some(Duration::ZERO)).unwrap());
    assert!(b.wait(Interest::Both, Some(Duration::ZERO)).unwrap());
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        send(&a, 1, 60);
        a
    });
    let start = Instant::now();
    assert!(b.wait(Interest::Readable, None).unwrap());
    assert!(start.elapsed() < PATIENCE);
    assert!(readable(&b), "its descriptor says so too");
    expect(&b, 1, 60);
    assert!(!readable(&b));
    sender.join().unwrap();
}

/// Whether poll(2) calls the socket readable.
fn readable(socket: &impl AsFd) -> bool {
    let mut fd = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    poll(&mut fd) == 1
}

#[allow(unsafe_code)]
fn poll(fd: &mut libc::pollfd) -> i32 {
    // SAFETY: one live pollfd, no timeout.
    unsafe { libc::poll(fd, 1, 0) }
}

#[test]
fn a_queue_is_free_again_at_once() {
    let Some(lab) = Lab::enter("a_queue_is_free_again_at_once") else { return };
    lab.veth("va", "vb", 1);
    let peer = open("va");
    for round in 0..10 {
        let socket = open(if round % 2 == 0 { "vb?mode=driver" } else { "vb?mode=generic" });
        send(&peer, 5, 60);
        expect(&socket, 5, 60);
    }
}

#[test]
fn refusals_say_what_would_help() {
    let Some(lab) = Lab::enter("refusals_say_what_would_help") else { return };
    lab.veth("va", "vb", 2);
    for (spec, queue, parts) in [
        ("nope0", None, &["nope0"][..]),
        ("va", Some(2), &["queue 2 does not exist", "2 receive queues", "ethtool -L va"]),
        ("va?queues=0-5", None, &["queue 2 does not exist"]),
        ("va?zerocopy=require", None, &["zero-copy on va", "zerocopy=prefer"]),
        ("va?zerocopy=require&mode=generic", None, &["mode=driver"]),
        ("va?rx=1000", None, &["rx=1000", "1024"]),
        ("va?frame_size=8192", None, &["frame_size=8192", "2048 or 4096"]),
        ("va?frames=6", None, &["frames=6", "2 queues"]),
        ("va?colour=red", None, &["colour", "zerocopy"]),
        ("pcap:va", None, &["pcap"]),
    ] {
        let text = refused(spec, queue);
        for part in parts {
            assert!(text.contains(part), "{spec}: `{text}` does not tell `{part}`");
        }
    }
    let first = Sock::create("va", Some(1), AfXdpFlags::default()).unwrap();
    let text = refused("va", Some(1));
    assert!(text.contains("queue 1 of va") && text.contains("busy"), "{text}");
    let text = first.create_sharing("va", Some(1), AfXdpFlags::default()).unwrap_err().to_string();
    assert!(text.contains("queue 1 of va"), "{text}");
    // Nothing of all that has left anything behind.
    assert_eq!(first.frames_in_flight(), Some(0));
    drop(first);
    drop(open("va"));
    assert!(!String::from_utf8_lossy(&run("ip", "-d link show va").stdout).contains("xdp"));
}

#[test]
fn flags_and_builder_ask_for_the_same() {
    let Some(lab) = Lab::enter("flags_and_builder_ask_for_the_same") else { return };
    lab.veth("va", "vb", 1);
    let flags = AfXdpFlags {
        bind_flags: XDP_COPY,
        xdp_flags: XDP_FLAGS_SKB_MODE,
        num_frames: 1024,
        frame_size: 2048,
        tx_size: 256,
        rx_size: 512,
    };
    let by_flags = Sock::create("va", Some(0), flags.clone()).unwrap().mode();
    let by_builder = Sock::open(&Config::from(flags).interface("va").queues([0])).unwrap().mode();
    assert_eq!(by_flags, by_builder);
    assert_eq!((by_flags.frames, by_flags.frame_size, by_flags.attach), (1024, 2048, Some(Attach::Generic)));
    assert_eq!(by_flags.to_string(), "af_xdp:va queues 0, 1024 frames of 2048 B, generic mode, copy, need-wakeup");
    let config = Config::new("va").zero_copy(Wish::Forbid).need_wakeup(false).tx_checksum(TxChecksum::On);
    let mode = Sock::open(&config).unwrap().mode();
    assert_eq!((mode.need_wakeup, mode.tx_checksum, mode.attach), (false, true, Some(Attach::Driver)));
}

#[test]
fn sending_works_without_need_wakeup_and_with_busy_polling() {
    let Some(lab) = Lab::enter("sending_works_without_need_wakeup_and_with_busy_polling") else { return };
    lab.veth("va", "vb", 1);
    for options in ["need_wakeup=off", "busy_poll=20us&busy_budget=16"] {
        let (a, b) = (open(&format!("va?{options}")), open(&format!("vb?{options}")));
        assert_eq!(b.mode().busy_poll, options.starts_with("busy"));
        send(&a, 200, 60);
        expect(&b, 200, 60);
        assert_clean(&a);
        assert_clean(&b);
    }
}

#[test]
fn promiscuous_mode_ends_with_the_socket() {
    let Some(lab) = Lab::enter("promiscuous_mode_ends_with_the_socket") else { return };
    lab.veth("va", "vb", 1);
    let count = || {
        let text = String::from_utf8(run("ip", "-d link show va").stdout).unwrap();
        let after = text.split_once("promiscuity ").expect("ip -d shows it").1;
        after.split_whitespace().next().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(count(), 0);
    let socket = open("va?promisc");
    assert!(socket.mode().promiscuous);
    assert_eq!(count(), 1);
    drop(socket);
    assert_eq!(count(), 0);
}

#[test]
fn hugepages_or_a_word_about_them() {
    let Some(lab) = Lab::enter("hugepages_or_a_word_about_them") else { return };
    lab.veth("va", "vb", 1);
    match Sock::create("va?hugepages", None, AfXdpFlags::default()) {
        Ok(a) => {
            assert!(a.mode().hugepages);
            let b = open("vb");
            send(&a, 100, 60);
            expect(&b, 100, 60);
            send(&b, 100, 60);
            expect(&a, 100, 60);
        }
        Err(error) => {
            assert!(error.to_string().contains("sysctl vm.nr_hugepages=8"), "{error}");
            common::skip("hugepages_or_a_word_about_them", "no huge pages are reserved; the refusal was tested");
        }
    }
}

#[test]
fn a_foreign_token_is_refused_by_the_context() {
    let Some(lab) = Lab::enter("a_foreign_token_is_refused_by_the_context") else { return };
    lab.veth("va", "vb", 1);
    let (a, b) = (open("va"), open("vb"));
    let token = a.alloc(60).unwrap().into_token();
    assert!(!b.context().check_token(&token));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(token.consume(b.context()))));
    assert!(caught.is_err());
    assert_clean(&a);
    assert_clean(&b);
}

/// A packet socket of the kernel (AF_PACKET), the plainest peer there is.
mod packet {
    #![allow(unsafe_code)]

    use std::io::{Read, Write};
    use std::os::fd::FromRawFd;

    pub struct Peer(std::fs::File);

    impl Peer {
        pub fn open(interface: &str) -> Self {
            let name = std::ffi::CString::new(interface).unwrap();
            let protocol = (libc::ETH_P_ALL as u16).to_be();
            // SAFETY: plain system calls on values of this function.
            unsafe {
                let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(protocol));
                assert!(fd >= 0, "{}", std::io::Error::last_os_error());
                let mut address: libc::sockaddr_ll = std::mem::zeroed();
                address.sll_family = libc::AF_PACKET as u16;
                address.sll_protocol = protocol;
                address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
                let len = size_of::<libc::sockaddr_ll>() as u32;
                assert_eq!(libc::bind(fd, (&raw const address).cast(), len), 0);
                let timeout = libc::timeval { tv_sec: 3, tv_usec: 0 };
                let size = size_of::<libc::timeval>() as u32;
                libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const timeout).cast(), size);
                Self(std::fs::File::from_raw_fd(fd))
            }
        }

        pub fn send(&self, frame: &[u8]) {
            assert_eq!((&self.0).write(frame).unwrap(), frame.len());
        }

        /// The next packet of another sender.
        pub fn receive(&self) -> Vec<u8> {
            let mut buffer = vec![0; 2048];
            loop {
                let n = (&self.0).read(&mut buffer).expect("a packet in time");
                if buffer[12..14] == [0x88, 0xb5] {
                    return buffer[..n].to_vec();
                }
            }
        }
    }
}
