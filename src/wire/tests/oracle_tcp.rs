//! etherparse as an oracle for TCP, and for whole packets.

use std::net::Ipv4Addr;

use etherparse::TcpOptionElement as Element;
use etherparse::{
    NetSlice, PacketBuilder, SlicedPacket, TcpHeader, TcpHeaderSlice, TcpOptionsIterator, TransportSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::checksum::naive;
use crate::wire::checksum::{Sum, copy_and_sum};
use crate::wire::tcp::{self, Flags, Options, Timestamps};
use crate::wire::{ethernet, ipv4, protocol, vlan};

/// What we can say, and the SACK blocks that go with it.
fn emit() -> impl Strategy<Value = (tcp::Emit<'static>, Vec<(u32, u32)>)> {
    let fixed = (any::<u16>(), any::<u16>(), any::<u32>(), any::<u32>(), any::<u8>(), any::<u16>());
    let options = (
        prop::option::of(1..=u16::MAX),
        prop::option::of(0..=14u8),
        any::<bool>(),
        prop::option::of((any::<u32>(), any::<u32>())),
    );
    // Most segments have none of what belongs to a SYN.
    let options = prop_oneof![options.boxed(), (Just(None), Just(None), Just(false), Just(Some((1, 2)))).boxed()];
    (fixed, options, vec(any::<(u32, u32)>(), 0..6)).prop_map(
        |((src_port, dst_port, seq, ack, flags, window), (mss, window_scale, sack_permitted, timestamps), sacks)| {
            let timestamps = timestamps.map(|(value, echo)| Timestamps { value, echo });
            let flags = Flags(flags);
            let emit = tcp::Emit {
                src_port,
                dst_port,
                seq,
                ack,
                flags,
                window,
                mss,
                window_scale,
                sack_permitted,
                timestamps,
                sacks: &[],
            };
            (emit, sacks)
        },
    )
}

/// Bytes out of which options are made, good ones and bad ones.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let numbers = || any::<u32>().prop_map(u32::to_be_bytes);
    let one = prop_oneof![
        Just(vec![1]),
        Just(vec![4, 2]),
        any::<[u8; 2]>().prop_map(|mss| [vec![2, 4], mss.to_vec()].concat()),
        (0..20u8).prop_map(|shift| vec![3, 3, shift]),
        (numbers(), numbers()).prop_map(|(a, b)| [vec![8, 10], a.to_vec(), b.to_vec()].concat()),
        vec((numbers(), numbers()), 0..4).prop_map(|blocks| {
            let blocks = blocks.into_iter().map(|(a, b)| [a, b].concat()).collect::<Vec<_>>().concat();
            [vec![5, 2 + blocks.len() as u8], blocks].concat()
        }),
        vec(any::<u8>(), 1..6),
        Just(vec![0]),
    ];
    vec(one, 0..6).prop_map(|all| all.concat().into_iter().take(40).collect())
}

/// What etherparse makes of options, as far as nothing is wrong with them; and whether that is all of them.
fn theirs(bytes: &[u8]) -> (Options, bool) {
    let mut options = Options::default();
    for element in TcpOptionsIterator::from_slice(bytes) {
        match element {
            Ok(Element::Noop) => {}
            Ok(Element::MaximumSegmentSize(0)) => {}
            Ok(Element::MaximumSegmentSize(mss)) => options.mss = Some(mss),
            Ok(Element::WindowScale(shift)) => options.window_scale = Some(shift.min(14)),
            Ok(Element::SelectiveAcknowledgementPermitted) => options.sack_permitted = true,
            Ok(Element::SelectiveAcknowledgement(first, others)) => {
                options.sacks = [Some(first)].into_iter().chain(others).flatten().collect();
            }
            Ok(Element::Timestamp(value, echo)) => options.timestamps = Some(Timestamps { value, echo }),
            Err(_) => return (options, false),
        }
    }
    (options, true)
}

proptest! {
    #[test]
    fn headers_written_here((mut emit, sacks) in emit()) {
        emit.sacks = &sacks;
        let mut bytes = [0xa5; 60];
        let written = emit.write(&mut bytes).unwrap();
        let bytes = &bytes[..written.len];
        prop_assert_eq!(written.sum.finish(), naive(bytes));

        let (header, rest) = TcpHeader::from_slice(bytes).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!((header.source_port, header.destination_port), (emit.src_port, emit.dst_port));
        prop_assert_eq!((header.sequence_number, header.acknowledgment_number), (emit.seq, emit.ack));
        prop_assert_eq!((header.window_size, header.checksum, header.urgent_pointer), (emit.window, 0, 0));
        let flags = [header.fin, header.syn, header.rst, header.psh, header.ack, header.urg, header.ece, header.cwr];
        for (bit, set) in flags.into_iter().enumerate() {
            prop_assert_eq!(emit.flags.contains(Flags(1 << bit)), set);
        }
        let (said, all) = theirs(header.options.as_slice());
        prop_assert!(all);
        prop_assert_eq!((said.mss, said.window_scale), (emit.mss, emit.window_scale));
        prop_assert_eq!((said.sack_permitted, said.timestamps), (emit.sack_permitted, emit.timestamps));
        prop_assert!(sacks.starts_with(&said.sacks));
        // Another block did not fit.
        let next = if said.sacks.is_empty() { 12 } else { 8 };
        prop_assert!(said.sacks.len() == sacks.len() || written.len + next > 60);

        let ours = tcp::Header::parse(bytes).unwrap();
        prop_assert_eq!(Options::parse(ours.options(bytes)), said);
        let alone = Options { timestamps: emit.timestamps, ..Options::default() } == said;
        prop_assert_eq!(Timestamps::parse_fast(ours.options(bytes)), emit.timestamps.filter(|_| alone));
    }

    #[test]
    fn options_of_almost_any_kind(bytes in options()) {
        let (said, all) = theirs(&bytes);
        let ours = Options::parse(&bytes);
        if all {
            prop_assert_eq!(ours, said);
        } else {
            // It stops at what is wrong or unknown; here reading goes on where that is possible.
            prop_assert!(said.mss.is_none() || ours.mss.is_some());
            prop_assert!(said.timestamps.is_none() || ours.timestamps.is_some());
            prop_assert!(!said.sack_permitted || ours.sack_permitted);
        }
        if let Some(fast) = Timestamps::parse_fast(&bytes) {
            prop_assert_eq!(ours, Options { timestamps: Some(fast), ..Options::default() });
        }
    }

    #[test]
    fn headers_of_any_bytes(bytes in vec(any::<u8>(), 0..70), offset in 4..16u8) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.get_mut(12) {
            *byte = offset << 4 | *byte & 0x0f;
        }
        let slice = TcpHeaderSlice::from_slice(&bytes);
        let ours = tcp::Header::parse(&bytes);
        prop_assert_eq!(ours.is_ok(), slice.is_ok());
        if let (Ok(ours), Ok(theirs)) = (ours, slice) {
            prop_assert_eq!((ours.src_port, ours.dst_port), (theirs.source_port(), theirs.destination_port()));
            prop_assert_eq!((ours.seq, ours.ack), (theirs.sequence_number(), theirs.acknowledgment_number()));
            prop_assert_eq!((ours.window, ours.urgent), (theirs.window_size(), theirs.urgent_pointer()));
            prop_assert_eq!(ours.options(&bytes), theirs.options());
            prop_assert_eq!(ours.data(&bytes), &bytes[theirs.slice().len()..]);
            prop_assert_eq!(ours.flags.contains(Flags::ECE), theirs.ece());
            prop_assert_eq!(ours.flags.contains(Flags::CWR), theirs.cwr());
        }
    }

    #[test]
    fn packets_written_there(
        ips in any::<[[u8; 4]; 2]>(),
        ports in any::<[u16; 2]>(),
        seq in any::<u32>(),
        data in vec(any::<u8>(), 0..100),
        tagged in any::<bool>(),
    ) {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]);
        let mut frame = Vec::new();
        let ip = if tagged {
            builder.single_vlan(7.try_into().unwrap()).ipv4(ips[0], ips[1], 64)
        } else {
            builder.ipv4(ips[0], ips[1], 64)
        };
        let options = [Element::Noop, Element::Noop, Element::Timestamp(5, 6)];
        let tcp = ip.tcp(ports[0], ports[1], seq, 1000).options(&options).unwrap();
        tcp.write(&mut frame, &data).unwrap();
        let link = vlan::parse(&frame).unwrap();
        prop_assert_eq!(link.outer.map(|tag| tag.vlan()), tagged.then_some(7));
        prop_assert_eq!(link.header.ether_type, ethernet::ether_type::IPV4);
        let packet = &frame[link.header_len()..];
        let ip = ipv4::Header::parse(packet).unwrap();
        let segment = ip.payload(packet);
        prop_assert!(Sum::pseudo_v4(ip.src, ip.dst, ip.protocol, segment.len()).add(Sum::of(segment)).is_valid());
        let header = tcp::Header::parse(segment).unwrap();
        prop_assert_eq!((header.seq, header.data(segment)), (seq, &data[..]));
        prop_assert_eq!(Timestamps::parse_fast(header.options(segment)), Some(Timestamps { value: 5, echo: 6 }));
    }

    #[test]
    fn packets_written_here(
        ips in any::<[[u8; 4]; 2]>(),
        (mut emit, sacks) in emit(),
        data in vec(any::<u8>(), 0..100),
    ) {
        emit.sacks = &sacks;
        let [src, dst] = ips.map(Ipv4Addr::from);
        let len = emit.header_len() + data.len();
        let mut frame = vec![0xa5; 34 + len];
        let (link, packet) = frame.split_first_chunk_mut().unwrap();
        ethernet::Header { dst: [1; 6], src: [2; 6], ether_type: ethernet::ether_type::IPV4 }.write(link);
        let (header, segment) = packet.split_first_chunk_mut().unwrap();
        let ip = ipv4::Emit {
            src,
            dst,
            protocol: protocol::TCP,
            ttl: 64,
            tos: 0,
            identification: 0,
            fragment: ipv4::Fragment::DONT,
            total_len: 20 + len as u16,
        };
        ip.write(header);
        let written = emit.write(segment).unwrap();
        let sum = copy_and_sum(&mut segment[written.len..], &data);
        tcp::put_checksum(segment, Sum::pseudo_v4(src, dst, protocol::TCP, len).add(written.sum).add(sum));

        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("{packet:?}") };
        prop_assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
        prop_assert_eq!(tcp.payload(), &data[..]);
        prop_assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(ips[0], ips[1]).unwrap());
    }
}
