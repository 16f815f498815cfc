use super::testing::*;
use super::*;
use crate::stack::Full;
use crate::wire::ipv4;

#[test]
fn the_cached_path_writes_the_frame_of_the_slow_one() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let mut path = Path::default();
    ip.send_bytes(ms(0), &mut sink, &mut path, &to(PEER), b"slow").unwrap();
    assert_ne!(path, Path::default(), "the path is kept");
    let cached = path;
    ip.send_bytes(ms(1), &mut sink, &mut path, &to(PEER), b"fast").unwrap();
    assert_eq!(path, cached);
    let frames = sink.take();
    let (mac, header, data) = parse_ip(&frames[1]);
    assert_eq!((mac, header.src, header.dst), (PEER_MAC, US, PEER));
    assert_eq!((header.protocol, header.ttl, header.tos, &data[..]), (6, 64, 0, &b"fast"[..]));
    assert_eq!((header.identification, header.dont_fragment()), (0, true), "RFC 6864: an atomic datagram");
    assert_eq!(frames[0][..34], frames[1][..34]);
    assert_eq!(ip.stats.tx_frames, 2);
}

#[test]
fn ttl_and_tos_are_the_senders() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let mut path = ip.path(ms(0), US.into(), PEER.into()).unwrap();
    let packet = Outgoing { ttl: 3, tos: 0xb9, ..to(PEER) };
    ip.send_bytes(ms(0), &mut sink, &mut path, &packet, b"x").unwrap();
    let (_, header, _) = parse_ip(&sink.only());
    assert_eq!((header.ttl, header.tos), (3, 0xb9));
}

#[test]
fn a_full_device_is_told_and_nothing_is_written() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames { room: 0, ..Frames::new() };
    for path in [&mut Path::default(), &mut ip.path(ms(0), US.into(), PEER.into()).unwrap()] {
        let sent = ip.send(ms(0), &mut sink, path, &to(PEER), 4, |_| panic!("there is nothing to fill"));
        assert_eq!(sent, Err(Full));
    }
    assert_eq!((ip.stats.tx_full, ip.stats.tx_frames), (2, 0));
}

#[test]
fn what_is_on_no_network_of_ours_goes_to_the_router() {
    let mut config = config_with_neighbours();
    config.routes = vec![(IpAddr::from([198, 51, 100, 0]), 24, PEER.into())];
    let mut ip = Ip::new(&config).unwrap();
    let mut sink = Frames::new();
    for (remote, mac) in [(FAR, ROUTER_MAC), (PEER, PEER_MAC), (Ipv4Addr::new(198, 51, 100, 3), PEER_MAC)] {
        ip.send_bytes(ms(0), &mut sink, &mut Path::default(), &to(remote), b"x").unwrap();
        let (next, header, _) = parse_ip(&sink.only());
        assert_eq!((next, header.dst), (mac, remote));
    }
}

#[test]
fn without_a_route_the_socket_is_told_and_packets_are_dropped() {
    let mut ip = Ip::new(&Config { gateway: None, ..config() }).unwrap();
    let mut sink = Frames::new();
    assert_eq!(ip.path(ms(0), US.into(), FAR.into()), Err(SocketError::NetworkUnreachable));
    assert_eq!(ip.source_for(FAR.into()), Err(SocketError::NetworkUnreachable));
    ip.send_bytes(ms(0), &mut sink, &mut Path::default(), &to(FAR), b"x").unwrap();
    assert_eq!((ip.stats.tx_no_route, sink.take().len()), (1, 0));
}

#[test]
fn addresses_that_make_no_sense_are_refused() {
    let mut ip = Ip::new(&config()).unwrap();
    let six = IpAddr::from([1u16; 8]);
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut path = |local: IpAddr, remote: IpAddr| ip.path(ms(0), local, remote);
    assert_eq!(path(US.into(), six), Err(SocketError::NetworkUnreachable));
    assert_eq!(path(six, six), Err(SocketError::NetworkUnreachable));
    assert_eq!(path(six, PEER.into()), Err(SocketError::AddrNotAvailable));
    assert_eq!(path(FAR.into(), PEER.into()), Err(SocketError::AddrNotAvailable));
    assert_eq!(path(US.into(), any), Err(SocketError::InvalidAddress));
    assert_eq!(path(IpAddr::from([127, 0, 0, 1]), PEER.into()), Err(SocketError::InvalidAddress));
    assert_eq!(path(US.into(), IpAddr::from([224, 0, 0, 1])), Err(SocketError::NetworkUnreachable));
    assert_eq!(ip.source_for(six), Err(SocketError::NetworkUnreachable));
    assert_eq!(ip.source_for(any), Err(SocketError::InvalidAddress));
    let mut sink = Frames::new();
    for local in [Ipv4Addr::LOCALHOST.into(), six] {
        let packet = Outgoing { local, ..to(PEER) };
        ip.send_bytes(ms(0), &mut sink, &mut Path::default(), &packet, b"x").unwrap();
    }
    assert_eq!((ip.stats.tx_no_route, sink.take().len()), (2, 0));
}

#[test]
fn the_source_is_the_address_on_the_way() {
    let other = Ipv4Addr::new(172, 16, 0, 2);
    let mut config = config();
    config.addresses.push((other.into(), 16));
    config.routes = vec![(IpAddr::from([198, 51, 100, 0]), 24, IpAddr::from([172, 16, 0, 1]))];
    let ip = Ip::new(&config).unwrap();
    for (remote, source) in [
        ([10, 0, 0, 77], US),
        ([172, 16, 9, 9], other),
        ([198, 51, 100, 1], other),
        ([8, 8, 8, 8], US),
        ([172, 16, 0, 2], other),
        ([127, 0, 0, 5], Ipv4Addr::LOCALHOST),
        ([255, 255, 255, 255], US),
        ([172, 16, 255, 255], other),
    ] {
        assert_eq!(ip.source_for(remote.into()), Ok(source.into()), "{remote:?}");
    }
    assert!(ip.is_local(other.into()) && ip.is_local([127, 9, 9, 9].into()) && !ip.is_local(PEER.into()));
    assert!(ip.is_broadcast([172, 16, 255, 255].into()) && !ip.is_broadcast([172, 16, 1, 255].into()));
}

#[test]
fn broadcasts_go_to_everybody() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    for remote in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        let mut path = ip.path(ms(0), US.into(), remote.into()).unwrap();
        assert!(path.is_broadcast() && !path.is_loopback());
        ip.send_bytes(ms(0), &mut sink, &mut path, &to(remote), b"x").unwrap();
        assert_eq!(parse_ip(&sink.only()).0, ethernet::BROADCAST);
    }
}

#[test]
fn packets_to_ourselves_never_leave() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let data = vec![7; 65_515];
    for (local, remote) in [(US, US), (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 1, 2, 3)), (Ipv4Addr::LOCALHOST, US)] {
        let mut path = ip.path(ms(0), local.into(), remote.into()).unwrap();
        assert!(path.is_loopback());
        let packet = Outgoing { local: local.into(), tos: 2, ..to(remote) };
        ip.send_bytes(ms(0), &mut sink, &mut path, &packet, &data).unwrap();
        assert_eq!((ip.loopback_len(), ip.poll_at()), (1, Some(Instant::ZERO)));
        let block = ip.take_loopback().unwrap();
        let Input::Tcp(found) = ip.receive_packet(ms(0), &mut sink, &block) else { panic!() };
        assert_eq!((found.source, found.destination, found.tos), (local.into(), remote.into(), 2));
        assert_eq!((found.start, &block[found.range()]), (20, &data[..]));
    }
    assert_eq!((sink.take().len(), ip.stats.loopback_packets, ip.poll_at()), (0, 3, None));
    assert_eq!(ip.path_mtu(US.into()), 65535);
}

#[test]
fn a_queue_to_ourselves_that_nobody_empties_is_full_some_day() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let mut path = ip.path(ms(0), US.into(), US.into()).unwrap();
    let sent =
        (0..100_000).take_while(|_| ip.send(ms(0), &mut sink, &mut path, &to(US), 60_000, |_| {}).is_ok()).count();
    assert!((100..400).contains(&sent), "{sent}");
    assert!(ip.block_bytes() <= MAX_LOOPBACK_BYTES + 70_000);
    drop(ip.take_loopback());
    assert_eq!(ip.send(ms(0), &mut sink, &mut path, &to(US), 60_000, |_| {}), Ok(()));
    while ip.take_loopback().is_some() {}
    assert_eq!((ip.block_bytes(), ip.loopback_bytes), (0, 0));
}

#[test]
fn too_long_for_the_interface_and_not_to_be_cut_is_dropped() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let mut path = Path::default();
    for (len, sent) in [(1480, 1), (1481, 0), (70_000, 0), (usize::MAX, 0)] {
        assert_eq!(ip.send(ms(0), &mut sink, &mut path, &to(PEER), len, |_| {}), Ok(()));
        assert_eq!(sink.take().len(), sent, "{len}");
    }
    assert_eq!(ip.stats.tx_too_long, 3);
}

#[test]
fn path_mtus_are_lowered_on_the_transports_word_and_expire() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    assert_eq!(ip.path_mtu(FAR.into()), 1500);
    assert_eq!(ip.learn_path_mtu(ms(0), FAR.into(), 9000), 1500, "no larger than the interface");
    assert_eq!(ip.learn_path_mtu(ms(0), FAR.into(), 1400), 1400);
    assert_eq!(ip.learn_path_mtu(ms(0), FAR.into(), 1450), 1400);
    assert_eq!(ip.learn_path_mtu(ms(0), FAR.into(), 68), 552);
    assert_eq!(ip.learn_path_mtu(ms(0), US.into(), 600), 65535, "inside there is no path");
    assert_eq!(ip.path_mtu(PEER.into()), 1500);
    assert_eq!(ip.poll_at(), Some(ms(600_000)));
    ip.advance(ms(600_000), &mut Frames::new());
    assert_eq!((ip.path_mtu(FAR.into()), ip.poll_at()), (1500, None));
}

#[test]
fn in_a_vlan_everything_carries_its_tag() {
    let mut config = config_with_neighbours();
    config.vlan = Some(77);
    config.ip.announce = true;
    let mut ip = Ip::new(&config).unwrap();
    let mut sink = Frames::new();
    ip.advance(ms(0), &mut sink);
    let mut path = Path::default();
    for _ in 0..2 {
        ip.send_bytes(ms(0), &mut sink, &mut path, &to(PEER), b"data").unwrap();
    }
    let frames = sink.take();
    assert_eq!(frames.len(), 3);
    for frame in &frames {
        assert_eq!(frame[12..16], [0x81, 0x00, 0, 77], "{frame:02x?}");
    }
    assert_eq!(frames[0].len(), 18 + 28);
    assert_eq!(frames[1], frames[2]);
    let header = ipv4::Header::parse(&frames[1][18..]).unwrap();
    assert_eq!((header.dst, header.payload(&frames[1][18..])), (PEER, &b"data"[..]));
}

/// Whatever comes in: no panic, and memory stays within its bounds. Frames are random, or valid ones with random damage.
#[test]
fn arbitrary_frames_do_no_harm() {
    let mut random = crate::stack::random::Random(4711);
    let mut config = config();
    config.ip.max_reassembly_bytes = 100_000;
    config.ip.max_neighbours = 16;
    config.ip.max_held_packets = 3;
    let mut ip = Ip::new(&config).unwrap();
    let mut sink = Frames::new();
    let valid: Vec<Vec<u8>> = vec![
        question(PEER, PEER_MAC, US),
        answer(PEER, PEER_MAC),
        ip_frame(PEER, US, 17, &[0; 100]),
        ip_frame(PEER, US, 6, &[0; 40]),
        ip_frame(PEER, US, 1, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        ip_frame(PEER, US, 99, &[0; 600]),
    ];
    let most = config.ip.max_reassembly_bytes + 16 * 3 * 2048 + (64 << 10);
    for n in 0..200_000u64 {
        let mut frame = if random.below(8) == 0 {
            (0..random.below(200)).map(|_| random.next() as u8).collect()
        } else {
            valid[random.below(valid.len() as u64) as usize].clone()
        };
        for _ in 0..random.below(4) {
            let at = random.below(frame.len().max(1) as u64) as usize;
            if let Some(byte) = frame.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        if random.below(8) == 0 {
            frame.truncate(random.below(200) as usize);
        }
        // A right checksum for what is inside, so that damage gets further.
        if random.below(2) == 0 && frame.len() >= 34 {
            frame[24..26].fill(0);
            let len = (usize::from(frame[14] & 15) * 4).clamp(20, frame.len() - 14);
            let sum = crate::wire::checksum::Sum::of(&frame[14..14 + len]).finish();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let now = ms(n / 10);
        match ip.receive(now, &mut sink, &frame) {
            Input::Tcp(found) | Input::Udp(found) => assert!(frame.get(found.range()).is_some()),
            Input::Reassembled(block) => {
                let again = ip.receive_packet(now, &mut sink, &block);
                assert!(!matches!(again, Input::Reassembled(_)));
            }
            Input::IcmpError(_) | Input::Handled | Input::Dropped => {}
        }
        if n % 64 == 0 {
            sink.room = random.below(100) as usize;
            ip.advance(now, &mut sink);
            while ip.next_error().is_some() {}
            sink.frames.clear();
        }
        assert!(ip.block_bytes() <= most, "{}", ip.block_bytes());
        assert!(ip.neighbours.len() <= 16);
    }
}
