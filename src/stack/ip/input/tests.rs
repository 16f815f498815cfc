use crate::stack::Config;
use crate::stack::ip::testing::*;
use crate::stack::ip::{Input, Ip};
use crate::wire::ethernet::{self, ether_type};
use crate::wire::{ipv4, protocol};
use std::net::Ipv4Addr;

fn tagged(control: u16, frame: &[u8]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend([0x81, 0x00]);
    out.extend(control.to_be_bytes());
    out.extend(&frame[12..]);
    out
}

#[test]
fn segments_and_datagrams_to_us_are_handed_on_without_padding() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let header = ipv4::Emit { tos: 0x2b, ..ip_header(PEER, US, protocol::TCP, 20) };
    let mut frame = ethernet(OUR_MAC, PEER_MAC, ether_type::IPV4, &ip_packet(&header, &[7; 20]));
    frame.extend([0xEE; 6]);
    let Input::Tcp(found) = ip.receive(ms(0), &mut sink, &frame) else { panic!() };
    assert_eq!((found.source, found.destination, found.tos), (PEER.into(), US.into(), 0x2b));
    assert_eq!((&frame[found.range()], found.broadcast), (&[7; 20][..], false));
    let Input::Udp(found) = ip.receive(ms(0), &mut sink, &ip_frame(FAR, US, protocol::UDP, &[])) else { panic!() };
    assert_eq!((found.source, found.start, found.len), (FAR.into(), 34, 0));
    assert_eq!((ip.stats.rx_frames, sink.take().len()), (2, 0));
}

#[test]
fn options_are_skipped_and_source_routes_are_not_followed() {
    let mut ip = Ip::new(&config()).unwrap();
    let with_options = |options: &[u8]| {
        let mut packet = vec![0; 20];
        let len = options.len();
        ip_header(PEER, US, protocol::TCP, len + 4).write(packet.first_chunk_mut().unwrap());
        packet[0] = 0x45 + (len / 4) as u8;
        packet.extend(options);
        packet[10..12].fill(0);
        let sum = crate::wire::checksum::Sum::of(&packet).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        ethernet(OUR_MAC, PEER_MAC, ether_type::IPV4, &packet)
    };
    let mut sink = Frames::new();
    for options in [&[1, 1, 1, 0][..], &[148, 4, 0, 0], &[7, 7, 4, 0, 0, 0, 0, 0], &[68, 0, 131, 3], &[68, 1, 131, 3]] {
        let frame = with_options(options);
        let Input::Tcp(found) = ip.receive(ms(0), &mut sink, &frame) else { panic!("{options:?}") };
        assert_eq!(frame[found.range()], [1, 2, 3, 4]);
    }
    for options in [&[131, 3, 4, 0][..], &[1, 137, 3, 4], &[148, 4, 0, 0, 131, 3, 4, 0]] {
        ip.refuse(ms(0), &mut sink, &with_options(options));
    }
    assert_eq!(ip.stats.rx_source_routed, 3);
}

#[test]
fn what_is_not_for_us_is_dropped() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let with_mac = |mac: [u8; 6], dst| {
        let mut frame = ip_frame(PEER, dst, protocol::TCP, &[0; 20]);
        frame[..6].copy_from_slice(&mac);
        frame
    };
    for (mac, dst) in [
        (OUR_MAC, FAR),
        (OUR_MAC, Ipv4Addr::new(224, 0, 0, 1)),
        (OUR_MAC, Ipv4Addr::LOCALHOST),
        (PEER_MAC, US),
        ([1, 0, 0x5e, 0, 0, 1], Ipv4Addr::new(224, 0, 0, 1)),
        // A packet to one host in a frame to everybody (RFC 1122, 3.3.6).
        (ethernet::BROADCAST, US),
        // TCP to everybody.
        (ethernet::BROADCAST, Ipv4Addr::BROADCAST),
        (OUR_MAC, Ipv4Addr::new(10, 0, 0, 255)),
    ] {
        ip.refuse(ms(0), &mut sink, &with_mac(mac, dst));
    }
    assert_eq!((ip.stats.rx_not_for_us, sink.take().len()), (8, 0));
}

#[test]
fn datagrams_to_everybody_are_handed_on_as_such() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    for dst in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        let mut frame = ip_frame(PEER, dst, protocol::UDP, &[0; 8]);
        frame[..6].copy_from_slice(&ethernet::BROADCAST);
        let Input::Udp(found) = ip.receive(ms(0), &mut sink, &frame) else { panic!() };
        assert_eq!((found.destination, found.broadcast), (dst.into(), true));
    }
}

#[test]
fn sources_that_nobody_can_have_are_dropped() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let sources = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255, 255, 255, 255], [10, 0, 0, 255]];
    for protocol in [protocol::TCP, protocol::UDP, protocol::ICMP] {
        for source in sources {
            ip.refuse(ms(0), &mut sink, &ip_frame(source.into(), US, protocol, &[0; 20]));
        }
    }
    assert_eq!((ip.stats.rx_bad_source, ip.stats.arp_conflicts), (18, 0));
}

/// What comes back from a hub or a loop is no claim of another host.
#[test]
fn our_own_broadcasts_that_come_back_are_no_conflict() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let mut frame = ip_frame(US, Ipv4Addr::BROADCAST, protocol::UDP, &[0; 8]);
    frame[..6].copy_from_slice(&ethernet::BROADCAST);
    frame[6..12].copy_from_slice(&OUR_MAC);
    ip.refuse(ms(0), &mut sink, &frame);
    assert_eq!((ip.stats.rx_bad_source, ip.stats.arp_conflicts, sink.take().len()), (1, 0, 0));
    frame[6..12].copy_from_slice(&PEER_MAC);
    ip.refuse(ms(0), &mut sink, &frame);
    assert_eq!((ip.stats.rx_bad_source, ip.stats.arp_conflicts, sink.take().len()), (2, 1, 1));
}

#[test]
fn broken_headers_are_dropped_by_cause() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let good = ip_frame(PEER, US, protocol::TCP, &[0; 20]);
    for len in [0, 13, 14, 33, good.len() - 1] {
        ip.refuse(ms(0), &mut sink, &good[..len]);
    }
    assert_eq!(ip.stats.rx_malformed, 5);
    for (at, value) in [(14, 0x65), (14, 0x44), (17, 19)] {
        let mut frame = good.clone();
        frame[at] = value;
        ip.refuse(ms(0), &mut sink, &frame);
    }
    assert_eq!(ip.stats.rx_malformed, 8);
    let mut frame = good.clone();
    frame[22] ^= 1;
    ip.refuse(ms(0), &mut sink, &frame);
    assert_eq!(ip.stats.rx_bad_checksum, 1);
    let mut frame = good;
    frame[12..14].copy_from_slice(&ether_type::IPV6.to_be_bytes());
    ip.refuse(ms(0), &mut sink, &frame);
    assert_eq!(ip.stats.rx_unknown_protocol, 1);
}

#[test]
fn vlan_tags_are_expected_as_configured() {
    let frame = ip_frame(PEER, US, protocol::TCP, &[9; 20]);
    for (vlan, control, taken) in [
        (None, None, true),
        (None, Some(0), true),
        (None, Some(5 << 13), true),
        (None, Some(77), false),
        (Some(77), Some(77), true),
        (Some(77), Some(77 | 7 << 13), true),
        (Some(77), Some(78), false),
        (Some(77), Some(0), false),
        (Some(77), None, false),
    ] {
        let mut ip = Ip::new(&Config { vlan, ..config() }).unwrap();
        let frame = control.map_or(frame.clone(), |control| tagged(control, &frame));
        match ip.receive(ms(0), &mut Frames::new(), &frame) {
            Input::Tcp(found) => assert!(taken && frame[found.range()] == [9; 20], "{vlan:?} {control:?}"),
            _ => assert!(!taken && ip.stats.rx_unknown_protocol == 1, "{vlan:?} {control:?}"),
        }
    }
    // Two tags are nobody's here.
    let mut ip = Ip::new(&Config { vlan: Some(77), ..config() }).unwrap();
    ip.refuse(ms(0), &mut Frames::new(), &tagged(77, &tagged(77, &frame)));
}

#[test]
fn unknown_protocols_are_answered_once_they_are_ours() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    ip.refuse(ms(0), &mut sink, &ip_frame(PEER, US, 132, &[5; 30]));
    let (_, header, data) = parse_ip(&sink.only());
    assert_eq!((header.protocol, header.dst, &data[..2]), (1, PEER, &[3, 2][..]));
    let mut broadcast = ip_frame(PEER, Ipv4Addr::BROADCAST, 132, &[5; 30]);
    broadcast[..6].copy_from_slice(&ethernet::BROADCAST);
    ip.refuse(ms(0), &mut sink, &broadcast);
    assert_eq!((sink.take().len(), ip.stats.rx_unknown_protocol, ip.stats.tx_icmp_errors), (0, 2, 1));
}
