use crate::stack::SocketError;
use crate::stack::ip::testing::*;
use crate::stack::ip::{EchoReply, Failure, IcmpErrorKind, Input, Ip, Path};
use crate::wire::ethernet::{self, ether_type};
use crate::wire::icmp::{Message, unreachable};
use crate::wire::{ipv4, protocol};
use std::net::Ipv4Addr;

fn message(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.len()];
    message.write(&mut bytes).unwrap();
    bytes
}

fn icmp_frame(from: Ipv4Addr, content: &Message<'_>) -> Vec<u8> {
    ip_frame(from, US, protocol::ICMP, &message(content))
}

/// A packet of ours as a router quotes it.
fn quoted(dst: Ipv4Addr, protocol: u8) -> Vec<u8> {
    let header = ipv4::Emit { fragment: ipv4::Fragment::DONT, ..ip_header(US, dst, protocol, 1460) };
    ip_packet(&header, &[0x30, 0x39, 0x00, 0x50, 1, 2, 3, 4])
}

#[test]
fn echo_requests_are_answered_with_their_data() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let data: Vec<u8> = (0..1000).map(|n| n as u8).collect();
    for data in [&data[..], &data[..7], &[]] {
        ip.handle(ms(0), &mut sink, &icmp_frame(FAR, &Message::EchoRequest { id: 7, sequence: 9, data }));
        let (mac, header, bytes) = parse_ip(&sink.only());
        assert_eq!((mac, header.src, header.dst, header.protocol), (ROUTER_MAC, US, FAR, 1));
        assert_eq!(Message::parse(&bytes), Ok(Message::EchoReply { id: 7, sequence: 9, data }));
    }
    assert_eq!((ip.stats.rx_icmp, ip.stats.icmp_echo_replies), (3, 3));
}

#[test]
fn echoes_of_any_size_go_through_fragments_both_ways() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let data: Vec<u8> = (0..65_507).map(|n| (n * 7) as u8).collect();
    let request = message(&Message::EchoRequest { id: 7, sequence: 9, data: &data });
    let mut whole = None;
    for at in (0..request.len()).step_by(1480) {
        let part = &request[at..request.len().min(at + 1480)];
        let fragment = ipv4::Fragment::part(at, at + part.len() < request.len());
        let header = ipv4::Emit { fragment, ..ip_header(PEER, US, protocol::ICMP, part.len()) };
        let frame = ethernet(OUR_MAC, PEER_MAC, ether_type::IPV4, &ip_packet(&header, part));
        if let Input::Reassembled(block) = ip.receive(ms(0), &mut sink, &frame) {
            whole = Some(block);
        }
    }
    let whole = whole.unwrap();
    assert!(matches!(ip.receive_packet(ms(0), &mut sink, &whole), Input::Handled));
    drop(whole);
    let mut reply = Vec::new();
    for frame in sink.take() {
        let (_, header, part) = parse_ip(&frame);
        assert!(frame.len() <= 1514 && header.fragment_offset() == reply.len() && !header.dont_fragment());
        reply.extend(part);
    }
    assert_eq!(Message::parse(&reply), Ok(Message::EchoReply { id: 7, sequence: 9, data: &data }));
    assert_eq!(ip.block_bytes(), 0);
}

#[test]
fn echo_requests_to_everybody_broken_ones_and_unwanted_ones_are_not_answered() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let request = message(&Message::EchoRequest { id: 1, sequence: 1, data: b"x" });
    let mut broadcast = ip_frame(PEER, Ipv4Addr::BROADCAST, protocol::ICMP, &request);
    broadcast[..6].copy_from_slice(&ethernet::BROADCAST);
    ip.handle(ms(0), &mut sink, &broadcast);
    let mut broken = ip_frame(PEER, US, protocol::ICMP, &request);
    *broken.last_mut().unwrap() ^= 1;
    ip.refuse(ms(0), &mut sink, &broken);
    ip.refuse(ms(0), &mut sink, &ip_frame(PEER, US, protocol::ICMP, &request[..7]));
    assert_eq!((ip.stats.rx_icmp, ip.stats.rx_icmp_malformed), (3, 2));
    let mut config = config_with_neighbours();
    config.ip.answer_echo = false;
    let mut ip = Ip::new(&config).unwrap();
    ip.handle(ms(0), &mut sink, &ip_frame(PEER, US, protocol::ICMP, &request));
    assert_eq!((sink.take().len(), ip.stats.icmp_echo_replies), (0, 0));
}

#[test]
fn our_own_echo_requests_bring_their_answer() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    ip.echo_request(ms(0), &mut sink, PEER.into(), 3, 4, b"hello").unwrap();
    let (_, header, bytes) = parse_ip(&sink.only());
    assert_eq!(
        (header.dst, Message::parse(&bytes)),
        (PEER, Ok(Message::EchoRequest { id: 3, sequence: 4, data: b"hello" }))
    );
    ip.handle(ms(7), &mut sink, &icmp_frame(PEER, &Message::EchoReply { id: 3, sequence: 4, data: b"hello" }));
    let expected = EchoReply { from: PEER.into(), id: 3, sequence: 4, len: 5, at: ms(7) };
    assert_eq!((ip.next_echo_reply(), ip.next_echo_reply()), (Some(expected), None));
    for sequence in 0..1000 {
        ip.handle(ms(8), &mut sink, &icmp_frame(PEER, &Message::EchoReply { id: 3, sequence, data: b"" }));
    }
    let kept: Vec<u16> = std::iter::from_fn(|| ip.next_echo_reply()).map(|reply| reply.sequence).collect();
    assert!(kept.len() < 100 && kept.last() == Some(&999), "answers that nobody takes are not kept for ever");
    let mut echo = |to: Ipv4Addr, data: &[u8]| ip.echo_request(ms(0), &mut sink, to.into(), 1, 1, data);
    assert_eq!(echo(PEER, &[0; 65_508]), Err(SocketError::MessageTooLong));
    assert_eq!(echo(Ipv4Addr::UNSPECIFIED, &[]), Err(SocketError::InvalidAddress));
    sink.room = 0;
    assert_eq!(ip.echo_request(ms(0), &mut sink, PEER.into(), 1, 1, &[]), Err(SocketError::WouldBlock));
}

#[test]
fn we_answer_ourselves() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    ip.echo_request(ms(0), &mut sink, Ipv4Addr::LOCALHOST.into(), 3, 4, b"hello").unwrap();
    let request = ip.take_loopback().unwrap();
    assert!(matches!(ip.receive_packet(ms(0), &mut sink, &request), Input::Handled));
    let reply = ip.take_loopback().unwrap();
    assert!(matches!(ip.receive_packet(ms(0), &mut sink, &reply), Input::Handled));
    assert_eq!((ip.next_echo_reply().map(|reply| reply.len), sink.take().len()), (Some(5), 0));
}

#[test]
fn errors_about_our_packets_are_handed_to_their_protocol() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let quoted = quoted(FAR, protocol::TCP);
    let cases = [
        (0, 0, IcmpErrorKind::NetworkUnreachable),
        (1, 0, IcmpErrorKind::HostUnreachable),
        (2, 0, IcmpErrorKind::ProtocolUnreachable),
        (3, 0, IcmpErrorKind::PortUnreachable),
        (4, 1400, IcmpErrorKind::FragmentationNeeded { mtu: 1400 }),
        // An old router: the next plateau below the 1480 bytes that were sent.
        (4, 0, IcmpErrorKind::FragmentationNeeded { mtu: 1006 }),
        (5, 0, IcmpErrorKind::SourceRouteFailed),
        (6, 0, IcmpErrorKind::NetworkUnreachable),
        (7, 0, IcmpErrorKind::HostUnreachable),
        (13, 0, IcmpErrorKind::Prohibited),
    ];
    for (code, mtu, kind) in cases {
        let frame = icmp_frame(ROUTER, &Message::Unreachable { code, mtu, quoted: &quoted });
        let Input::IcmpError(error) = ip.receive(ms(0), &mut sink, &frame) else { panic!("{code}") };
        assert_eq!((error.kind, error.local, error.remote, error.protocol), (kind, US.into(), FAR.into(), 6));
        assert_eq!((error.local_port(), error.remote_port(), error.tcp_seq()), (12345, 80, 0x0102_0304));
    }
    let frame = icmp_frame(ROUTER, &Message::TimeExceeded { code: 0, quoted: &quoted });
    let Input::IcmpError(error) = ip.receive(ms(0), &mut sink, &frame) else { panic!() };
    assert_eq!((error.kind, error.kind.error()), (IcmpErrorKind::TimeExceeded, None));
    assert_eq!(ip.path_mtu(FAR.into()), 1500, "only the transport protocol can tell whether it is true");
    assert_eq!(sink.take().len(), 0);
}

#[test]
fn errors_that_quote_nothing_of_ours_are_dropped() {
    let mut ip = Ip::new(&super::super::super::Config { gateway: None, ..config() }).unwrap();
    let mut sink = Frames::new();
    let ours = quoted(PEER, protocol::TCP);
    let fragmentation = |mtu, quoted| Message::Unreachable { code: unreachable::FRAGMENTATION_NEEDED, mtu, quoted };
    let port = |quoted| Message::Unreachable { code: unreachable::PORT, mtu: 0, quoted };
    let others = ip_packet(&ip_header(PEER, US, protocol::TCP, 100), &[0; 8]);
    let no_route = quoted(FAR, protocol::TCP);
    let may_fragment = ip_packet(&ip_header(US, PEER, protocol::TCP, 1460), &[0; 8]);
    for content in [
        port(&others),
        port(&no_route),
        port(&ours[..19]),
        fragmentation(1400, &may_fragment),
        fragmentation(1480, &ours),
        fragmentation(67, &ours),
    ] {
        ip.refuse(ms(0), &mut sink, &icmp_frame(PEER, &content));
    }
    assert_eq!(ip.stats.rx_icmp_malformed, 6);
    // Too little to find a socket by, a later fragment, another protocol: nothing to be done.
    let later =
        ip_packet(&ipv4::Emit { fragment: ipv4::Fragment::part(8, false), ..ip_header(US, PEER, 17, 8) }, &[0; 8]);
    for quoted in [&ours[..27], &later, &quoted(PEER, protocol::ICMP)] {
        ip.handle(ms(0), &mut sink, &icmp_frame(PEER, &port(quoted)));
    }
    assert!(sink.take().is_empty());
}

#[test]
fn errors_we_send_quote_the_packet_and_keep_to_the_limit() {
    let mut config = config_with_neighbours();
    config.ip.icmp_errors_per_second = 10;
    let mut ip = Ip::new(&config).unwrap();
    let mut sink = Frames::new();
    let packet = ip_packet(&ip_header(FAR, US, protocol::UDP, 1000), &[0x55; 1000]);
    let failure = || Failure::Unreachable(unreachable::PORT);
    ip.send_icmp_error(ms(0), &mut sink, failure(), &packet);
    let (mac, header, bytes) = parse_ip(&sink.only());
    assert_eq!((mac, header.src, header.dst, header.tos, header.total_len), (ROUTER_MAC, US, FAR, 0xc0, 576));
    assert_eq!(Message::parse(&bytes), Ok(Message::Unreachable { code: 3, mtu: 0, quoted: &packet[..548] }));
    (0..100).for_each(|_| ip.send_icmp_error(ms(1), &mut sink, failure(), &packet));
    let sent = 1 + sink.take().len() as u64;
    assert!((5..=10).contains(&sent), "{sent}");
    assert_eq!((ip.stats.tx_icmp_errors, ip.stats.icmp_errors_limited), (sent, 101 - sent));
    ip.send_icmp_error(ms(1_001), &mut sink, failure(), &packet);
    assert_eq!(sink.take().len(), 1, "a new second");
}

/// RFC 1122, 3.2.2.
#[test]
fn errors_are_never_sent_about_these() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let send = |header| ip_packet(&header, &[0x55; 16]);
    let fragment = ipv4::Fragment::part(8, true);
    for packet in [
        send(ip_header(PEER, Ipv4Addr::BROADCAST, 17, 16)),
        send(ip_header(PEER, Ipv4Addr::new(10, 0, 0, 255), 17, 16)),
        send(ip_header(PEER, Ipv4Addr::new(224, 0, 0, 1), 17, 16)),
        send(ip_header(Ipv4Addr::UNSPECIFIED, US, 17, 16)),
        send(ip_header(Ipv4Addr::BROADCAST, US, 17, 16)),
        send(ip_header(PEER, US, protocol::ICMP, 16)),
        send(ipv4::Emit { fragment, ..ip_header(PEER, US, 17, 16) }),
        vec![0x45; 19],
    ] {
        ip.send_icmp_error(ms(0), &mut sink, Failure::Unreachable(unreachable::PORT), &packet);
    }
    assert_eq!((sink.take().len(), ip.stats.tx_icmp_errors), (0, 0));
}

#[test]
fn errors_to_ourselves_arrive() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let packet = super::super::Outgoing { local: Ipv4Addr::LOCALHOST.into(), protocol: 99, ..to(Ipv4Addr::LOCALHOST) };
    ip.send_bytes(ms(0), &mut sink, &mut Path::default(), &packet, &[1; 8]).unwrap();
    let first = ip.take_loopback().unwrap();
    assert!(matches!(ip.receive_packet(ms(0), &mut sink, &first), Input::Dropped));
    let error = ip.take_loopback().unwrap();
    // Of an unknown protocol there is no socket to tell, but the way there is right.
    assert!(matches!(ip.receive_packet(ms(0), &mut sink, &error), Input::Handled));
    assert_eq!((ip.stats.tx_icmp_errors, ip.stats.rx_icmp, ip.stats.rx_icmp_malformed), (1, 1, 0));
}
