//! etherparse as an oracle, below TCP: what it writes is read here as it was meant, what is written here is read there, and
//! of arbitrary bytes both say the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::err::ipv4::BadOptionsLen;
use etherparse::icmpv4::{DestUnreachableHeader, ParameterProblemHeader, TimeExceededCode};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type,
    IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv4HeaderSlice, Ipv4Options, Ipv6FlowLabel, Ipv6Header,
    SingleVlanHeader, UdpHeader, UdpHeaderSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::checksum::naive;
use crate::wire::checksum::{Sum, copy_and_sum};
use crate::wire::icmp::Message;
use crate::wire::{Malformed, arp, ethernet, icmp, ipv4, ipv6, protocol, udp, vlan};

/// Addresses and a type, the latter often one that means something.
fn ethernet_header() -> impl Strategy<Value = ethernet::Header> {
    let kinds = prop_oneof![Just(0x0800u16), Just(0x0806), Just(0x8100), Just(0x88a8), Just(0x86dd), any::<u16>()];
    (any::<[u8; 6]>(), any::<[u8; 6]>(), kinds).prop_map(|(dst, src, ether_type)| ethernet::Header {
        dst,
        src,
        ether_type,
    })
}

/// A header as etherparse has it, with options and with a fragment's fields.
pub(super) fn ipv4_header() -> impl Strategy<Value = Ipv4Header> {
    let numbers = (0..64u8, 0..4u8, any::<u16>(), any::<bool>(), any::<bool>(), 0..=0x1fffu16, any::<u8>());
    (numbers, any::<u8>(), any::<[u8; 4]>(), any::<[u8; 4]>(), 0..=10usize, any::<[u8; 40]>(), 0..200u16).prop_map(
        |(
            (dscp, ecn, identification, dont_fragment, more_fragments, offset, ttl),
            number,
            source,
            destination,
            words,
            options,
            payload,
        )| {
            let options: Result<Ipv4Options, BadOptionsLen> = options[..4 * words].try_into();
            let mut header = Ipv4Header {
                dscp: IpDscp::try_new(dscp).unwrap(),
                ecn: IpEcn::try_new(ecn).unwrap(),
                total_len: 20 + 4 * words as u16 + payload,
                identification,
                dont_fragment,
                more_fragments,
                fragment_offset: IpFragOffset::try_new(offset).unwrap(),
                time_to_live: ttl,
                protocol: IpNumber(number),
                header_checksum: 0,
                source,
                destination,
                options: options.unwrap(),
            };
            header.header_checksum = header.calc_header_checksum();
            header
        },
    )
}

/// Bytes that begin as an IPv4 header does, with what else may be in them.
fn almost_ipv4() -> impl Strategy<Value = Vec<u8>> {
    (ipv4_header(), 0..250usize, any::<bool>(), vec((0..60usize, any::<u8>()), 0..3)).prop_map(
        |(header, padding, fixed, changes)| {
            let mut bytes = header.to_bytes().to_vec();
            bytes.resize(bytes.len() + padding, 0x5a);
            let len = header.header_len();
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if fixed {
                bytes[10..12].fill(0);
                let sum = naive(&bytes[..len.min(bytes.len())]);
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            bytes
        },
    )
}

/// What etherparse says of a received packet, in the order in which it is asked here.
fn verdict(packet: &[u8]) -> bool {
    let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else { return false };
    let total = usize::from(header.total_len());
    header.slice().len() <= total
        && total <= packet.len()
        && Sum16BitWords::new().add_slice(header.slice()).ones_complement() == 0
}

/// Whether ours says what etherparse's does.
fn same_ipv4(ours: &ipv4::Header, theirs: &Ipv4Header) {
    assert_eq!((ours.src.octets(), ours.dst.octets()), (theirs.source, theirs.destination));
    assert_eq!((ours.protocol, ours.ttl), (theirs.protocol.0, theirs.time_to_live));
    assert_eq!((ours.dscp(), ours.ecn()), (theirs.dscp.value(), theirs.ecn.value()));
    assert_eq!((ours.identification, ours.total_len), (theirs.identification, theirs.total_len));
    assert_eq!(usize::from(ours.header_len), theirs.header_len());
    assert_eq!((ours.dont_fragment(), ours.more_fragments()), (theirs.dont_fragment, theirs.more_fragments));
    assert_eq!(ours.fragment_offset(), 8 * usize::from(theirs.fragment_offset.value()));
    assert_eq!(ours.is_fragment(), theirs.is_fragmenting_payload());
}

/// What an ICMP header of etherparse means here.
fn meaning<'a>(theirs: &Icmpv4Header, rest: &'a [u8]) -> Option<Message<'a>> {
    Some(match &theirs.icmp_type {
        Icmpv4Type::EchoRequest(echo) => Message::EchoRequest { id: echo.id, sequence: echo.seq, data: rest },
        Icmpv4Type::EchoReply(echo) => Message::EchoReply { id: echo.id, sequence: echo.seq, data: rest },
        Icmpv4Type::DestinationUnreachable(header) => {
            let mtu = match header {
                DestUnreachableHeader::FragmentationNeeded { next_hop_mtu } => *next_hop_mtu,
                _ => 0,
            };
            Message::Unreachable { code: header.code_u8(), mtu, quoted: rest }
        }
        Icmpv4Type::TimeExceeded(code) => Message::TimeExceeded { code: code.code_u8(), quoted: rest },
        Icmpv4Type::ParameterProblem(ParameterProblemHeader::PointerIndicatesError(pointer)) => {
            Message::ParameterProblem { code: 0, pointer: *pointer, quoted: rest }
        }
        _ => return None,
    })
}

fn icmp_type() -> impl Strategy<Value = Icmpv4Type> {
    let echo = || (any::<u16>(), any::<u16>()).prop_map(|(id, seq)| IcmpEchoHeader { id, seq });
    prop_oneof![
        echo().prop_map(Icmpv4Type::EchoRequest),
        echo().prop_map(Icmpv4Type::EchoReply),
        (0..16u8, any::<u16>()).prop_map(|(code, mtu)| Icmpv4Type::DestinationUnreachable(
            DestUnreachableHeader::from_values(code, mtu).unwrap()
        )),
        (0..2u8).prop_map(|code| Icmpv4Type::TimeExceeded(TimeExceededCode::from_u8(code).unwrap())),
        any::<u8>().prop_map(|at| Icmpv4Type::ParameterProblem(ParameterProblemHeader::PointerIndicatesError(at))),
    ]
}

proptest! {
    #[test]
    fn sums(bytes in vec(any::<u8>(), 0..600), cuts in any::<[prop::sample::Index; 3]>()) {
        prop_assert_eq!(Sum::of(&bytes).finish(), naive(&bytes));
        prop_assert_eq!(Sum::of(&bytes).finish(), Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be());
        let mut cuts = cuts.map(|cut| cut.index(bytes.len() + 1));
        cuts.sort_unstable();
        let mut copy = vec![0; bytes.len()];
        let (mut sum, mut from) = (Sum::ZERO, 0);
        for to in cuts.into_iter().chain([bytes.len()]) {
            sum = sum.combine(copy_and_sum(&mut copy[from..to], &bytes[from..to]), from % 2 == 1);
            from = to;
        }
        prop_assert_eq!(sum.finish(), naive(&bytes));
        prop_assert_eq!(copy, bytes);
    }

    #[test]
    fn ethernet_written_here(header in ethernet_header()) {
        let mut bytes = [0; 14];
        header.write(&mut bytes);
        let theirs = Ethernet2Header::from_bytes(bytes);
        prop_assert_eq!((theirs.destination, theirs.source), (header.dst, header.src));
        prop_assert_eq!(theirs.ether_type.0, header.ether_type);
        prop_assert_eq!(theirs.to_bytes(), bytes);
    }

    #[test]
    fn tags(header in ethernet_header(), rest in vec(any::<u8>(), 0..30), kinds in vec(any::<bool>(), 0..4)) {
        let mut frame = [0; 14];
        header.write(&mut frame);
        let mut frame = frame.to_vec();
        frame.extend(&rest);
        // Where a tag's type could be, there often is one.
        for (n, vlan) in kinds.iter().enumerate() {
            if let Some(place) = frame.get_mut(12 + 4 * n..14 + 4 * n) {
                place.copy_from_slice(if *vlan { &[0x81, 0] } else { &[0x88, 0xa8] });
            }
        }
        let (theirs, mut after) = Ethernet2Header::from_slice(&frame).unwrap();
        let mut kind = theirs.ether_type;
        let mut expected = Ok((None, None));
        for n in 0..2 {
            if ![EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING].contains(&kind) {
                break;
            }
            let Ok((tag, rest)) = SingleVlanHeader::from_slice(after) else {
                expected = Err(Malformed::Truncated);
                break;
            };
            let control = u16::from(tag.pcp.value()) << 13
                | u16::from(tag.drop_eligible_indicator) << 12
                | tag.vlan_id.value();
            if let Ok((outer, inner)) = &mut expected {
                *(if n == 0 { outer } else { inner }) = Some(vlan::Tag { kind: kind.0, control });
            }
            (kind, after) = (tag.ether_type, rest);
        }
        let ours = vlan::parse(&frame);
        prop_assert_eq!(ours.map(|t| (t.outer, t.inner)), expected);
        if let Ok(tagged) = ours {
            prop_assert_eq!(tagged.header.ether_type, kind.0);
            prop_assert_eq!(&frame[tagged.header_len()..], after);
            // Written again, it is the same.
            let mut again = [0; 22];
            match (tagged.outer, tagged.inner) {
                (Some(outer), Some(inner)) => vlan::write_double(&tagged.header, outer, inner, &mut again),
                (Some(outer), None) => vlan::write(&tagged.header, outer, again.first_chunk_mut().unwrap()),
                _ => tagged.header.write(again.first_chunk_mut().unwrap()),
            }
            prop_assert_eq!(&again[..tagged.header_len()], &frame[..tagged.header_len()]);
        }
    }

    #[test]
    fn arp_both_ways(
        operation in any::<u16>(),
        macs in any::<[[u8; 6]; 2]>(),
        ips in any::<[[u8; 4]; 2]>(),
        change in (0..28usize, any::<u8>()),
    ) {
        let theirs = ArpEthIpv4Packet {
            operation: ArpOperation(operation),
            sender_mac: macs[0],
            sender_ipv4: ips[0],
            target_mac: macs[1],
            target_ipv4: ips[1],
        };
        let ours = arp::Packet {
            operation,
            sender_mac: macs[0],
            sender_ip: ips[0].into(),
            target_mac: macs[1],
            target_ip: ips[1].into(),
        };
        let mut bytes = [0; arp::LEN];
        ours.write(&mut bytes);
        prop_assert_eq!(&bytes, &theirs.to_bytes());
        prop_assert_eq!(arp::Packet::parse(&bytes), Ok(ours));

        bytes[change.0] = change.1;
        let theirs = ArpPacket::from_slice(&bytes).ok().and_then(|packet| packet.try_eth_ipv4().ok());
        prop_assert_eq!(arp::Packet::parse(&bytes).is_ok(), theirs.is_some());
        if let (Ok(ours), Some(theirs)) = (arp::Packet::parse(&bytes), theirs) {
            prop_assert_eq!((ours.operation, ours.target_ip), (theirs.operation.0, theirs.target_ipv4_addr()));
        }
    }

    #[test]
    fn ipv4_written_there(theirs in ipv4_header(), padding in 0..20usize) {
        let mut packet = Vec::new();
        theirs.write(&mut packet).unwrap();
        packet.resize(usize::from(theirs.total_len) + padding, 0xa5);
        let ours = ipv4::Header::parse(&packet).unwrap();
        same_ipv4(&ours, &theirs);
        prop_assert_eq!(ours.payload(&packet).len(), usize::from(theirs.payload_len().unwrap()));
        prop_assert_eq!(ipv4::Header::parse_quoted(&packet[..theirs.header_len()]), Ok(ours));
    }

    #[test]
    fn ipv4_written_here(like in ipv4_header(), whole in any::<bool>()) {
        let fragment = match (whole, like.dont_fragment) {
            (true, true) => ipv4::Fragment::DONT,
            (true, false) => ipv4::Fragment::MAY,
            (false, _) => ipv4::Fragment::part(8 * usize::from(like.fragment_offset.value()), like.more_fragments),
        };
        let emit = ipv4::Emit {
            src: like.source.into(),
            dst: like.destination.into(),
            protocol: like.protocol.0,
            ttl: like.time_to_live,
            tos: like.dscp.value() << 2 | like.ecn.value(),
            identification: like.identification,
            fragment,
            total_len: like.total_len,
        };
        let mut bytes = [0xa5; 20];
        emit.write(&mut bytes);
        let (theirs, _) = Ipv4Header::from_slice(&bytes).unwrap();
        prop_assert_eq!(theirs.header_checksum, theirs.calc_header_checksum());
        prop_assert_eq!((theirs.dscp, theirs.ecn, theirs.total_len), (like.dscp, like.ecn, like.total_len));
        prop_assert_eq!((theirs.source, theirs.destination), (like.source, like.destination));
        let part = like.more_fragments || like.fragment_offset.value() > 0;
        prop_assert_eq!(theirs.is_fragmenting_payload(), !whole && part);
        let mut packet = bytes.to_vec();
        packet.resize(usize::from(like.total_len), 0);
        same_ipv4(&ipv4::Header::parse(&packet).unwrap(), &theirs);
    }

    #[test]
    fn ipv4_of_almost_anything(bytes in almost_ipv4()) {
        prop_assert_eq!(ipv4::Header::parse(&bytes).is_ok(), verdict(&bytes), "{:?}", ipv4::Header::parse(&bytes));
        if let Ok(ours) = ipv4::Header::parse(&bytes) {
            same_ipv4(&ours, &Ipv4HeaderSlice::from_slice(&bytes).unwrap().to_header());
        }
        prop_assert_eq!(ipv4::Header::parse_quoted(&bytes).is_ok(), Ipv4HeaderSlice::from_slice(&bytes).is_ok());
    }

    #[test]
    fn ipv6_both_ways(
        numbers in (any::<u8>(), 0..1u32 << 20, 0..100u16, any::<u8>(), any::<u8>()),
        addresses in any::<[[u8; 16]; 2]>(),
        first in any::<u8>(),
    ) {
        let (traffic_class, label, payload_length, next_header, hop_limit) = numbers;
        let theirs = Ipv6Header {
            traffic_class,
            flow_label: Ipv6FlowLabel::try_new(label).unwrap(),
            payload_length,
            next_header: IpNumber(next_header),
            hop_limit,
            source: addresses[0],
            destination: addresses[1],
        };
        let mut packet = theirs.to_bytes().to_vec();
        packet.resize(40 + usize::from(payload_length), 1);
        let ours = ipv6::Header::parse(&packet).unwrap();
        let expected = ipv6::Header {
            src: Ipv6Addr::from(addresses[0]),
            dst: Ipv6Addr::from(addresses[1]),
            next_header,
            hop_limit,
            traffic_class,
            flow_label: label,
            payload_len: payload_length,
        };
        prop_assert_eq!(ours, expected);
        let mut again = [0; 40];
        ours.write(&mut again);
        prop_assert_eq!(&again[..], &packet[..40]);
        packet[0] = first;
        prop_assert_eq!(ipv6::Header::parse(&packet).is_ok(), Ipv6Header::from_slice(&packet).is_ok());
    }

    #[test]
    fn icmp_both_ways(kind in icmp_type(), rest in vec(any::<u8>(), 0..80), change in (0..88usize, any::<u8>())) {
        let theirs = Icmpv4Header::with_checksum(kind, &rest);
        let mut bytes = theirs.to_bytes().to_vec();
        bytes.extend(&rest);
        let ours = Message::parse(&bytes).unwrap();
        prop_assert_eq!(Some(ours), meaning(&theirs, &rest));
        let mut again = vec![0; bytes.len()];
        prop_assert_eq!(ours.write(&mut again), Ok(bytes.len()));
        prop_assert_eq!(&again, &bytes);

        if let Some(byte) = bytes.get_mut(change.0) {
            *byte = change.1;
        }
        let valid = Sum16BitWords::new().add_slice(&bytes).ones_complement() == 0;
        prop_assert_eq!(Message::parse(&bytes).is_ok(), valid);
        if let (Ok(ours), Ok((theirs, rest))) = (Message::parse(&bytes), Icmpv4Header::from_slice(&bytes)) {
            if let Some(expected) = meaning(&theirs, rest) {
                match (ours, expected) {
                    // Here the second word is always said, there only where it has a meaning.
                    (
                        Message::Unreachable { code: a, quoted: b, .. },
                        Message::Unreachable { code: c, quoted: d, .. },
                    ) => prop_assert_eq!((a, b), (c, d)),
                    _ => prop_assert_eq!(ours, expected),
                }
            }
        }
    }

    #[test]
    fn udp_both_ways(ports in any::<[u16; 2]>(), ips in any::<[[u8; 4]; 2]>(), data in vec(any::<u8>(), 0..200)) {
        let [src, dst] = ips.map(Ipv4Addr::from);
        let ip = Ipv4Header::new(8 + data.len() as u16, 64, IpNumber::UDP, ips[0], ips[1]).unwrap();
        let theirs = UdpHeader::with_ipv4_checksum(ports[0], ports[1], &ip, &data).unwrap();
        let len = 8 + data.len();
        let emit = udp::Emit { src_port: ports[0], dst_port: ports[1], len: len as u16 };
        let mut bytes = [0; 8];
        emit.write(&mut bytes, Sum::pseudo(src.into(), dst.into(), protocol::UDP, len).add(Sum::of(&data)));
        prop_assert_eq!(bytes, theirs.to_bytes());
        let datagram = [&bytes[..], &data].concat();
        let ours = udp::Header::parse(&datagram).unwrap();
        prop_assert_eq!((ours.src_port, ours.dst_port), (theirs.source_port, theirs.destination_port));
        prop_assert_eq!((ours.len, ours.checksum), (theirs.length, theirs.checksum));
        prop_assert!(ours.verify(&datagram, dst.into(), src.into()));
        // Over version 6 as well.
        let (a, b) = (src.to_ipv6_mapped(), dst.to_ipv6_compatible());
        let theirs = UdpHeader::without_ipv4_checksum(ports[0], ports[1], data.len()).unwrap();
        let sum = theirs.calc_checksum_ipv6_raw(a.octets(), b.octets(), &data).unwrap();
        emit.write(&mut bytes, Sum::pseudo(a.into(), b.into(), protocol::UDP, len).add(Sum::of(&data)));
        prop_assert_eq!(&bytes[6..], &sum.to_be_bytes()[..]);
    }

    #[test]
    fn anything_at_all(bytes in vec(any::<u8>(), 0..120)) {
        prop_assert_eq!(ethernet::Header::parse(&bytes).is_ok(), Ethernet2Header::from_slice(&bytes).is_ok());
        prop_assert_eq!(vlan::parse(&bytes).is_ok_and(|t| t.header_len() > bytes.len()), false);
        let theirs = ArpPacket::from_slice(&bytes).ok().and_then(|packet| packet.try_eth_ipv4().ok());
        prop_assert_eq!(arp::Packet::parse(&bytes).is_ok(), theirs.is_some());
        prop_assert_eq!(ipv4::Header::parse(&bytes).is_ok(), verdict(&bytes));
        prop_assert_eq!(ipv4::Header::parse_quoted(&bytes).is_ok(), Ipv4HeaderSlice::from_slice(&bytes).is_ok());
        prop_assert_eq!(icmp::Quoted::parse(&bytes).is_ok(), Ipv4HeaderSlice::from_slice(&bytes).is_ok());
        let fits = |len| (8..=bytes.len()).contains(&usize::from(len));
        let theirs = UdpHeaderSlice::from_slice(&bytes).is_ok_and(|header| fits(header.length()));
        prop_assert_eq!(udp::Header::parse(&bytes).is_ok(), theirs);
        let valid = bytes.len() >= 8 && Sum16BitWords::new().add_slice(&bytes).ones_complement() == 0;
        prop_assert_eq!(Message::parse(&bytes).is_ok(), valid);
    }
}
