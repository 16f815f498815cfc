//! What is sent, and what cannot be.

use super::*;
use crate::stack::config::TxChecksum;

#[test]
fn a_datagram_is_written_as_the_standard_says() {
    let mut host = host();
    let id = host.socket("10.0.0.2:5000");
    for data in [&b"hello"[..], &[], &[0xff; 1472]] {
        let sent = Datagram { to: Some(peer(53)), from: None, ecn: 1, bytes: data };
        host.udp.send(ms(0), &mut host.ip, &mut host.sink, id, &sent).unwrap();
        let (mac, header, segment) = parse_ip(&host.sink.only());
        assert_eq!((mac, header.src, header.dst, header.protocol, header.tos), (PEER_MAC, US, PEER, 17, 1));
        assert!(header.dont_fragment());
        let parsed = udp::Header::parse(&segment).unwrap();
        assert_eq!((parsed.src_port, parsed.dst_port, usize::from(parsed.len)), (5000, 53, 8 + data.len()));
        assert!(parsed.checksum != 0 && parsed.verify(&segment, US.into(), PEER.into()));
        assert_eq!(parsed.data(&segment), data);
    }
    assert_eq!((host.udp.stats.tx_datagrams, host.udp.stats.tx_bytes), (3, 1477));
}

#[test]
fn checksums_of_sent_datagrams_are_whose_the_configuration_says() {
    for (tx, expected) in
        [(TxChecksum::Offload, crate::wire::checksum::Sum::pseudo_v4(US, PEER, 17, 12).folded()), (TxChecksum::Omit, 0)]
    {
        let mut config = config_with_neighbours();
        config.checksum.tx = tx;
        let mut host = Host::new(&config);
        let id = host.socket("10.0.0.2:5000");
        host.send(id, Some(peer(53)), b"data").unwrap();
        let (_, _, segment) = parse_ip(&host.sink.only());
        assert_eq!(udp::Header::parse(&segment).unwrap().checksum, expected, "{tx:?}");
        // No device completes the checksum of a datagram in fragments.
        if tx == TxChecksum::Offload {
            host.send(id, Some(peer(53)), &[7; 3000]).unwrap();
            let segment: Vec<u8> = host.sink.take().iter().flat_map(|frame| parse_ip(frame).2).collect();
            assert!(udp::Header::parse(&segment).unwrap().verify(&segment, US.into(), PEER.into()));
        }
    }
}

#[test]
fn destinations_that_make_no_sense_are_refused() {
    let mut host = host();
    let id = host.socket("10.0.0.2:5000");
    let inside = host.socket("127.0.0.1:5000");
    let mut send = |id, to: &str| host.send(id, Some(to.parse().unwrap()), b"x");
    assert_eq!(send(id, "10.0.0.9:0"), Err(SocketError::InvalidAddress));
    assert_eq!(send(id, "0.0.0.0:1"), Err(SocketError::InvalidAddress));
    assert_eq!(send(id, "[2001:db8::1]:1"), Err(SocketError::NetworkUnreachable));
    assert_eq!(send(id, "224.0.0.1:1"), Err(SocketError::NetworkUnreachable));
    assert_eq!(send(inside, "10.0.0.9:1"), Err(SocketError::InvalidAddress));
    assert_eq!(send(id, "10.0.0.255:1"), Err(SocketError::PermissionDenied));
    assert_eq!(send(id, "255.255.255.255:1"), Err(SocketError::PermissionDenied));
    assert_eq!(host.send(id, None, b"x"), Err(SocketError::InvalidAddress));
    assert_eq!(host.send(id, Some(peer(1)), &[0; 65_508]), Err(SocketError::MessageTooLong));
    let strange = Datagram { to: Some(peer(1)), from: Some(FAR.into()), ecn: 0, bytes: b"x" };
    let sent = host.udp.send(ms(0), &mut host.ip, &mut host.sink, id, &strange);
    assert_eq!(sent, Err(SocketError::AddrNotAvailable));
    let mut connect = |to: &str| host.udp.connect(&host.ip, id, Some(to.parse().unwrap()));
    assert_eq!(connect("10.0.0.9:0"), Err(SocketError::InvalidAddress));
    assert_eq!(connect("10.0.0.255:1"), Err(SocketError::PermissionDenied));
    assert_eq!(connect("[2001:db8::1]:1"), Err(SocketError::NetworkUnreachable));
    assert_eq!((host.sink.take().len(), host.udp.stats.tx_datagrams), (0, 0));
}

#[test]
fn the_source_may_be_chosen_for_each_datagram() {
    let second = Ipv4Addr::new(10, 0, 0, 3);
    let mut config = config_with_neighbours();
    config.addresses.push((second.into(), 24));
    let mut host = Host::new(&config);
    let id = host.socket("0.0.0.0:5000");
    let sources: Vec<Ipv4Addr> = [None, Some(second), None]
        .into_iter()
        .map(|from| {
            let from: Option<IpAddr> = from.map(Into::into);
            let datagram = Datagram { to: Some(peer(1)), from, ecn: 0, bytes: b"x" };
            host.udp.send(ms(0), &mut host.ip, &mut host.sink, id, &datagram).unwrap();
            parse_ip(&host.sink.only()).1.src
        })
        .collect();
    assert_eq!(sources, [US, second, US]);
}

#[test]
fn broadcasts_leave_if_the_socket_may() {
    let mut host = host();
    let id = host.bind("0.0.0.0:5000", UdpOptions { broadcast: true, ..UdpOptions::default() }).unwrap();
    host.send(id, Some("10.0.0.255:9".parse().unwrap()), b"all").unwrap();
    let (mac, header, _) = parse_ip(&host.sink.only());
    assert_eq!((mac, header.src), (ethernet::BROADCAST, US));
    host.udp.connect(&host.ip, id, Some("255.255.255.255:9".parse().unwrap())).unwrap();
    host.send(id, None, b"all").unwrap();
    assert_eq!(parse_ip(&host.sink.only()).0, ethernet::BROADCAST);
}

#[test]
fn long_datagrams_are_cut_or_refused_as_the_socket_says() {
    let mut host = host();
    let cut = host.socket("10.0.0.2:5000");
    let whole = host.bind("10.0.0.2:5001", UdpOptions { dont_fragment: true, ..UdpOptions::default() }).unwrap();
    let data: Vec<u8> = (0..65_507).map(|n| (n * 13) as u8).collect();
    assert_eq!(host.send(whole, Some(peer(1)), &data[..1473]), Err(SocketError::MessageTooLong));
    host.send(whole, Some(peer(1)), &data[..1472]).unwrap();
    assert!(parse_ip(&host.sink.only()).1.dont_fragment());
    host.send(cut, Some(peer(1)), &data).unwrap();
    let frames = host.sink.take();
    assert_eq!(frames.len(), 45);
    let mut segment = Vec::new();
    let id = parse_ip(&frames[0]).1.identification;
    for frame in &frames {
        let (_, header, part) = parse_ip(frame);
        assert!(header.identification == id && header.fragment_offset() == segment.len() && frame.len() <= 1514);
        segment.extend(part);
    }
    let header = udp::Header::parse(&segment).unwrap();
    assert!(header.verify(&segment, US.into(), PEER.into()));
    assert_eq!(header.data(&segment), data);
    host.send(cut, Some(peer(1)), &data).unwrap();
    assert_ne!(parse_ip(&host.sink.take()[0]).1.identification, id);
}

#[test]
fn a_router_that_asks_for_shorter_packets_gets_them() {
    let mut host = host();
    let id = host.socket("10.0.0.2:5000");
    let far = SocketAddr::new(FAR.into(), 53);
    let complain = |sent: &[u8], mtu| {
        let message = Message::Unreachable { code: 4, mtu, quoted: &sent[14..14 + 28] };
        let mut bytes = vec![0; message.len()];
        message.write(&mut bytes).unwrap();
        ip_frame(ROUTER, US, 1, &bytes)
    };
    host.send(id, Some(far), &[1; 1400]).unwrap();
    let mut sent = host.sink.only();
    assert!(parse_ip(&sent).1.dont_fragment());
    // From a port that is not ours nothing is believed.
    sent[14 + 20] ^= 1;
    host.frame(&complain(&sent, 1000));
    assert_eq!(host.ip.path_mtu(FAR.into()), 1500);
    sent[14 + 20] ^= 1;
    host.frame(&complain(&sent, 1000));
    assert_eq!(host.ip.path_mtu(FAR.into()), 1000);
    host.send(id, Some(far), &[1; 1400]).unwrap();
    let frames = host.sink.take();
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.len() <= 1014 && !parse_ip(frame).1.dont_fragment()));
    host.send(id, Some(far), &[1; 972]).unwrap();
    assert!(parse_ip(&host.sink.only()).1.dont_fragment());
}

#[test]
fn what_finds_the_device_full_waits_in_order_and_the_program_is_told_of_room() {
    let mut host = host();
    let options = UdpOptions { send_buffer: Some(10_000), ..UdpOptions::default() };
    let id = host.bind("10.0.0.2:5000", options).unwrap();
    let other = host.socket("10.0.0.2:5001");
    host.sink.room = 2;
    let sent = (0..100u8).take_while(|n| host.send(id, Some(peer(1)), &[*n; 900]).is_ok()).count();
    assert!((7..=13).contains(&sent), "{sent}");
    assert_eq!(host.send(id, Some(peer(1)), b"x"), Err(SocketError::WouldBlock));
    host.send(other, Some(peer(1)), &[200; 10]).unwrap();
    assert!(host.udp.egress(ms(0), &mut host.ip, &mut host.sink), "work is left");
    assert_eq!(host.events(), []);
    let mut seen = Vec::new();
    for _ in 0..sent {
        host.sink.room = 1;
        host.udp.egress(ms(0), &mut host.ip, &mut host.sink);
        seen.extend(host.sink.take().iter().map(|frame| parse_ip(frame).2[8]));
    }
    let expected: Vec<u8> = (0..sent as u8).chain([200]).collect();
    assert_eq!(seen, expected);
    assert_eq!(host.events(), [(id, Readiness::WRITABLE)]);
    assert!(host.udp.blocked.is_empty() && host.ip.block_bytes() == 0);
    host.sink.room = usize::MAX;
    host.send(id, Some(peer(1)), b"x").unwrap();
    assert_eq!(host.sink.take().len(), 1, "straight into the frame again");
    assert_eq!(host.udp.stats.tx_datagrams, sent as u64 + 2);
}
