//! Bytes that are known to be right, and what is wrong with others.

use std::net::Ipv4Addr;

use crate::wire::checksum::Sum;
use crate::wire::ethernet::{self, ether_type};
use crate::wire::icmp::{self, Message, Quoted, unreachable};
use crate::wire::tcp::{self, Flags, Options, Sacks, Timestamps};
use crate::wire::{Malformed, NoRoom, arp, ipv4, ipv6, protocol, udp, vlan};

const HEADER: ethernet::Header =
    ethernet::Header { dst: [0x02, 0, 0, 0, 0, 2], src: [0x02, 0, 0, 0, 0, 1], ether_type: ether_type::IPV4 };

#[test]
fn ethernet_and_its_tags() {
    let mut plain = [0; ethernet::HEADER_LEN];
    HEADER.write(&mut plain);
    assert_eq!(plain, [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    assert_eq!(ethernet::Header::parse(&plain), Ok(HEADER));
    let tagged = vlan::parse(&plain).unwrap();
    assert_eq!((tagged.header, tagged.outer, tagged.inner, tagged.header_len()), (HEADER, None, None, 14));

    let tag = vlan::Tag { control: 0xb123, ..vlan::Tag::new(0) };
    assert_eq!((tag.vlan(), tag.priority(), tag.drop_eligible()), (0x123, 5, true));
    let mut one = [0; vlan::HEADER_LEN];
    vlan::write(&HEADER, tag, &mut one);
    assert_eq!(one[12..], [0x81, 0, 0xb1, 0x23, 8, 0]);
    let tagged = vlan::parse(&one).unwrap();
    assert_eq!((tagged.header, tagged.outer, tagged.inner, tagged.header_len()), (HEADER, Some(tag), None, 18));

    let outer = vlan::Tag { kind: ether_type::QINQ, control: 7 };
    let mut two = [0; vlan::HEADER_LEN + vlan::TAG_LEN];
    vlan::write_double(&HEADER, outer, tag, &mut two);
    assert_eq!(two[12..], [0x88, 0xa8, 0, 7, 0x81, 0, 0xb1, 0x23, 8, 0]);
    let tagged = vlan::parse(&two).unwrap();
    assert_eq!((tagged.header, tagged.outer, tagged.inner, tagged.header_len()), (HEADER, Some(outer), Some(tag), 22));

    // Of three tags the third is the payload's business.
    let mut three = two.to_vec();
    three.splice(12..12, [0x81, 0, 0, 1]);
    let tagged = vlan::parse(&three).unwrap();
    assert_eq!((tagged.header.ether_type, tagged.header_len()), (ether_type::VLAN, 22));

    for len in 0..two.len() {
        assert_eq!(vlan::parse(&two[..len]), Err(Malformed::Truncated));
        assert_eq!(ethernet::Header::parse(&two[..len]).is_ok(), len >= 14);
    }
    assert!(ethernet::is_group(ethernet::BROADCAST) && ethernet::is_group([1, 0, 0x5e, 0, 0, 1]));
    assert!(!ethernet::is_group(HEADER.src));
}

#[test]
fn arp_of_ipv4_on_ethernet() {
    let question = arp::Packet {
        operation: arp::REQUEST,
        sender_mac: [2, 0, 0, 0, 0, 1],
        sender_ip: Ipv4Addr::new(10, 0, 0, 1),
        target_mac: [0; 6],
        target_ip: Ipv4Addr::new(10, 0, 0, 2),
    };
    let mut bytes = [0xee; arp::LEN + 18];
    question.write(bytes.first_chunk_mut().unwrap());
    let expected = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
    assert_eq!(bytes[..arp::LEN], expected);
    assert_eq!(arp::Packet::parse(&bytes), Ok(question), "padding does not matter");
    assert_eq!(arp::Packet::parse(&bytes[..27]), Err(Malformed::Truncated));
    for at in 0..6 {
        let mut other = bytes;
        other[at] ^= 1;
        assert_eq!(arp::Packet::parse(&other), Err(Malformed::Version), "byte {at}");
    }
}

/// The header that everybody's checksum tutorial uses.
const TUTORIAL: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00,
    0xc7,
];

#[test]
fn ipv4_headers() {
    let mut packet = TUTORIAL.to_vec();
    packet.resize(0x73, 0xaa);
    let header = ipv4::Header::parse(&packet).unwrap();
    assert_eq!((header.src, header.dst), ([192, 168, 0, 1].into(), [192, 168, 0, 199].into()));
    assert_eq!((header.protocol, header.ttl, header.tos, header.header_len), (protocol::UDP, 64, 0, 20));
    assert!(header.dont_fragment() && !header.more_fragments() && !header.is_fragment());
    assert_eq!((header.total_len, header.payload_len(), header.payload(&packet)), (0x73, 95, &packet[20..]));

    let emit = ipv4::Emit {
        src: header.src,
        dst: header.dst,
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        identification: header.identification,
        fragment: ipv4::Fragment::DONT,
        total_len: header.total_len,
    };
    let mut written = [0xee; 20];
    emit.write(&mut written);
    assert_eq!(written, TUTORIAL);

    // Padding behind the packet is not payload.
    packet.resize(200, 0xbb);
    let padded = ipv4::Header::parse(&packet).unwrap();
    assert_eq!(padded.payload(&packet).len(), 95);

    // Every wrong bit is noticed.
    for bit in 0..160 {
        let mut broken = packet.clone();
        broken[bit / 8] ^= 0x80 >> (bit % 8);
        assert!(ipv4::Header::parse(&broken).is_err(), "bit {bit}");
    }
    assert_eq!(ipv4::Header::parse(&packet[..19]), Err(Malformed::Truncated));
    assert_eq!(ipv4::Header::parse(&packet[..0x72]), Err(Malformed::Truncated));
}

/// Puts the right checksum into an IPv4 header.
fn fix(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = Sum::of(header).finish();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn ipv4_lengths_and_options() {
    let mut packet = TUTORIAL.to_vec();
    packet.resize(0x73, 0);
    for (first, expected) in
        [(0x44, Err(Malformed::Length)), (0x55, Err(Malformed::Version)), (0x65, Err(Malformed::Version))]
    {
        packet[0] = first;
        fix(&mut packet[..20]);
        assert_eq!(ipv4::Header::parse(&packet), expected);
    }
    // Options count for the checksum and the payload's offset.
    packet[0] = 0x46;
    packet[20..24].copy_from_slice(&[0x94, 4, 0, 0]);
    fix(&mut packet[..24]);
    let header = ipv4::Header::parse(&packet).unwrap();
    assert_eq!((header.header_len, header.payload(&packet).len()), (24, 0x73 - 24));
    packet[21] ^= 1;
    assert_eq!(ipv4::Header::parse(&packet), Err(Malformed::Checksum));
    // A header that is longer than its packet.
    packet[0] = 0x4f;
    packet[3] = 59;
    fix(&mut packet[..60]);
    assert_eq!(ipv4::Header::parse(&packet), Err(Malformed::Length));
    assert_eq!(ipv4::Header::parse_quoted(&packet[..59]), Err(Malformed::Truncated));
    assert_eq!(ipv4::Header::parse_quoted(&packet[..60]).unwrap().payload(&packet[..60]), []);
}

#[test]
fn ipv4_fragments() {
    let fragment = ipv4::Fragment::part(1480, true);
    assert_eq!(fragment.bits(), 0x2000 | 185);
    let mut packet = TUTORIAL.to_vec();
    packet.resize(0x73, 0);
    packet[6..8].copy_from_slice(&fragment.bits().to_be_bytes());
    fix(&mut packet[..20]);
    let header = ipv4::Header::parse(&packet).unwrap();
    assert!(header.is_fragment() && header.more_fragments() && !header.dont_fragment());
    assert_eq!(header.fragment_offset(), 1480);
    // First, last, and neither.
    assert_eq!(ipv4::Fragment::part(0, true).bits(), 0x2000);
    assert_eq!(ipv4::Fragment::part(65_528, false).bits(), 0x1fff);
    assert_eq!(ipv4::Fragment::part(usize::MAX, false).bits(), 0x1fff, "what cannot be said is cut off");
    assert_eq!((ipv4::Fragment::MAY.bits(), ipv4::Fragment::DONT.bits()), (0, 0x4000));
}

#[test]
fn ipv6_fixed_header() {
    let header = ipv6::Header {
        src: "2001:db8::1".parse().unwrap(),
        dst: "fe80::2".parse().unwrap(),
        next_header: protocol::TCP,
        hop_limit: 64,
        traffic_class: 0xb9,
        flow_label: 0xabcde,
        payload_len: 3,
    };
    let mut packet = [7; ipv6::HEADER_LEN + 5];
    header.write(packet.first_chunk_mut().unwrap());
    assert_eq!(packet[..8], [0x6b, 0x9a, 0xbc, 0xde, 0, 3, 6, 64]);
    assert_eq!(packet[8..12], [0x20, 0x01, 0x0d, 0xb8]);
    assert_eq!(ipv6::Header::parse(&packet), Ok(header));
    assert_eq!(header.payload(&packet), [7, 7, 7]);
    assert_eq!(ipv6::Header::parse(&packet[..42]), Err(Malformed::Truncated));
    assert_eq!(ipv6::Header::parse(&packet[..39]), Err(Malformed::Truncated));
    packet[0] = 0x45;
    assert_eq!(ipv6::Header::parse(&packet), Err(Malformed::Version));
}

#[test]
fn udp_datagrams() {
    let (local, remote) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let data = b"hello";
    let emit = udp::Emit { src_port: 1234, dst_port: 53, len: 13 };
    let mut bytes = vec![0xee; 8];
    let sum = Sum::pseudo(local.into(), remote.into(), protocol::UDP, 13).add(Sum::of(data));
    emit.write(bytes.first_chunk_mut().unwrap(), sum);
    bytes.extend(data);
    assert_eq!(bytes[..6], [0x04, 0xd2, 0, 53, 0, 13]);
    let header = udp::Header::parse(&bytes).unwrap();
    assert_eq!((header.src_port, header.dst_port, header.len), (1234, 53, 13));
    assert!(header.verify(&bytes, local.into(), remote.into()));
    assert_eq!(header.data(&bytes), data);
    assert_eq!(udp::Header::quoted_ports(&bytes[..4]), Ok((1234, 53)));
    assert_eq!(udp::Header::quoted_ports(&bytes[..3]), Err(Malformed::Truncated));
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 4;
        let fine = udp::Header::parse(&broken).is_ok_and(|h| h.verify(&broken, local.into(), remote.into()));
        assert!(!fine, "byte {at}");
    }

    // Padding is not data; a length that is none is refused.
    bytes.extend([0; 9]);
    assert_eq!(header.data(&bytes), data);
    assert!(header.verify(&bytes, local.into(), remote.into()));
    for (len, expected) in [(0, Malformed::Length), (7, Malformed::Length), (255, Malformed::Truncated)] {
        bytes[5] = len;
        assert_eq!(udp::Header::parse(&bytes), Err(expected));
    }

    // No checksum is fine with IPv4 only.
    emit.write_with(bytes.first_chunk_mut().unwrap(), 0);
    let header = udp::Header::parse(&bytes).unwrap();
    assert!(header.verify(&bytes, local.into(), remote.into()));
    assert!(!header.verify(&bytes, local.to_ipv6_mapped().into(), remote.to_ipv6_mapped().into()));
}

#[test]
fn a_udp_checksum_of_zero_is_written_as_ffff() {
    let (local, remote) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let emit = udp::Emit { src_port: 1, dst_port: 2, len: 10 };
    let pseudo = Sum::pseudo(local.into(), remote.into(), protocol::UDP, 10);
    let mut header = [0; 8];
    emit.write_with(&mut header, 0);
    // Data that brings the sum to ffff.
    let data = pseudo.add(Sum::of(&header)).finish().to_be_bytes();
    emit.write(&mut header, pseudo.add(Sum::of(&data)));
    assert_eq!(header[6..], [0xff, 0xff]);
    let datagram = [&header[..], &data].concat();
    assert!(udp::Header::parse(&datagram).unwrap().verify(&datagram, local.into(), remote.into()));
}

#[test]
fn icmp_messages() {
    let request = Message::EchoRequest { id: 0x1234, sequence: 1, data: b"abc" };
    let mut bytes = [0xee; 20];
    assert_eq!(request.write(&mut bytes), Ok(11));
    assert_eq!(request.len(), 11);
    assert_eq!((bytes[0], bytes[1], &bytes[4..11], bytes[11]), (8, 0, &[0x12, 0x34, 0, 1, b'a', b'b', b'c'][..], 0xee));
    assert_eq!(Message::parse(&bytes[..11]), Ok(request));
    assert_eq!(request.write(&mut bytes[..10]), Err(NoRoom));
    for bit in 0..88 {
        let mut broken = bytes;
        broken[bit / 8] ^= 0x80 >> (bit % 8);
        assert_eq!(Message::parse(&broken[..11]), Err(Malformed::Checksum), "bit {bit}");
    }
    assert_eq!(Message::parse(&bytes[..7]), Err(Malformed::Truncated));

    let mut quoted = TUTORIAL.to_vec();
    quoted.extend([0x04, 0xd2, 0, 53, 0, 95, 0, 0]);
    let messages = [
        Message::EchoReply { id: 1, sequence: 0xffff, data: &[] },
        Message::Unreachable { code: unreachable::PORT, mtu: 0, quoted: &quoted },
        Message::Unreachable { code: unreachable::FRAGMENTATION_NEEDED, mtu: 1400, quoted: &quoted },
        Message::TimeExceeded { code: icmp::time_exceeded::REASSEMBLY, quoted: &quoted },
        Message::ParameterProblem { code: 0, pointer: 20, quoted: &quoted },
        Message::Other { kind: 5, code: 1 },
    ];
    for message in messages {
        let mut bytes = vec![0; message.len()];
        assert_eq!(message.write(&mut bytes), Ok(bytes.len()));
        assert_eq!(Message::parse(&bytes), Ok(message));
    }
    let mut bytes = [0; 8 + 28];
    messages[2].write(&mut bytes).unwrap();
    assert_eq!((bytes[..2].to_vec(), &bytes[4..8]), (vec![3, 4], &[0, 0, 0x05, 0x78][..]), "RFC 1191, 4");

    let packet = Quoted::parse(&quoted).unwrap();
    assert_eq!((packet.header.dst, packet.header.protocol), ([192, 168, 0, 199].into(), protocol::UDP));
    assert_eq!(udp::Header::quoted_ports(packet.transport), Ok((1234, 53)));
    // The checksum of a quotation is nobody's business, its total length neither.
    quoted[10] ^= 0xff;
    quoted[2..4].fill(0);
    assert_eq!(Quoted::parse(&quoted).unwrap().transport.len(), 8);
    assert_eq!(Quoted::parse(&quoted[..19]), Err(Malformed::Truncated));
    assert_eq!(Quoted::parse(&quoted[..20]).unwrap().transport, []);
}

/// A header with these options, and the options' bytes.
fn options_of(emit: tcp::Emit<'_>) -> Vec<u8> {
    let mut bytes = [0xee; 64];
    let written = emit.write(&mut bytes).unwrap();
    assert_eq!(written.len, emit.header_len());
    assert_eq!(written.sum.finish(), Sum::of(&bytes[..written.len]).finish());
    assert_eq!(bytes[written.len..], [0xee; 64][written.len..]);
    let header = tcp::Header::parse(&bytes[..written.len]).unwrap();
    assert_eq!(usize::from(header.header_len), written.len);
    // Exactly as much room as needed is enough, less is not.
    let mut exact = vec![0; written.len];
    assert!(emit.write(&mut exact).is_ok());
    assert_eq!(exact, bytes[..written.len]);
    assert!(emit.write(&mut exact[1..]).is_err());
    header.options(&bytes).to_vec()
}

const CLOCK: Timestamps = Timestamps { value: 0x0102_0304, echo: 0x0506_0708 };

#[test]
fn tcp_headers() {
    let emit = tcp::Emit {
        src_port: 0x1234,
        dst_port: 80,
        seq: 0x8901_2345,
        ack: 0xfedc_ba98,
        flags: Flags::ACK | Flags::PSH | Flags::ECE,
        window: 0xfff0,
        ..tcp::Emit::default()
    };
    let mut bytes = [0xee; 25];
    let written = emit.write(&mut bytes).unwrap();
    let expected =
        [0x12, 0x34, 0, 80, 0x89, 0x01, 0x23, 0x45, 0xfe, 0xdc, 0xba, 0x98, 0x50, 0x58, 0xff, 0xf0, 0, 0, 0, 0];
    assert_eq!((written.len, &bytes[..20]), (20, &expected[..]));
    let header = tcp::Header::parse(&bytes).unwrap();
    assert_eq!((header.src_port, header.dst_port), (0x1234, 80));
    assert_eq!((header.seq, header.ack, header.window, header.urgent), (0x8901_2345, 0xfedc_ba98, 0xfff0, 0));
    assert_eq!((header.flags, header.options(&bytes), header.data(&bytes)), (emit.flags, &[][..], &[0xee; 5][..]));
    assert!(header.flags.contains(Flags::ACK | Flags::PSH) && !header.flags.contains(Flags::ACK | Flags::CWR));
    assert!(header.flags.intersects(Flags::ACK | Flags::CWR) && !header.flags.intersects(Flags::CWR | Flags::URG));
    assert_eq!(header.flags.without(Flags::PSH | Flags::ECE), Flags::ACK);

    let (local, remote) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let pseudo = Sum::pseudo_v4(local, remote, protocol::TCP, bytes.len());
    tcp::put_checksum(&mut bytes, pseudo.add(written.sum).add(Sum::of(&[0xee; 5])));
    assert!(pseudo.add(Sum::of(&bytes)).is_valid());
    tcp::put_unfinished_checksum(&mut bytes, pseudo);
    assert_eq!(bytes[16..18], pseudo.folded().to_be_bytes());
    tcp::put_checksum(&mut bytes[..19], pseudo);
    assert_eq!(bytes[16..18], pseudo.folded().to_be_bytes(), "no header, no checksum");

    for (offset, expected) in [(4, Malformed::Length), (0, Malformed::Length), (7, Malformed::Truncated)] {
        bytes[12] = offset << 4;
        assert_eq!(tcp::Header::parse(&bytes), Err(expected));
    }
    bytes[12] = 0x6f;
    assert_eq!(tcp::Header::parse(&bytes).map(|h| h.header_len), Ok(24), "reserved bits are ignored");
    assert_eq!(tcp::Header::parse(&bytes[..19]), Err(Malformed::Truncated));
}

#[test]
fn tcp_options_are_laid_out_as_linux_does() {
    let syn = tcp::Emit { flags: Flags::SYN, mss: Some(1460), ..tcp::Emit::default() };
    let full = tcp::Emit { sack_permitted: true, timestamps: Some(CLOCK), window_scale: Some(7), ..syn };
    let ts = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(options_of(full), [&[2, 4, 5, 180, 4, 2][..], &ts, &[1, 3, 3, 7]].concat());
    assert_eq!(
        options_of(tcp::Emit { timestamps: None, ..full }),
        [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7],
        "without timestamps"
    );
    assert_eq!(
        options_of(tcp::Emit { sack_permitted: false, ..full }),
        [&[2, 4, 5, 180, 1, 1][..], &ts, &[1, 3, 3, 7]].concat(),
        "without SACK"
    );
    assert_eq!(options_of(tcp::Emit { window_scale: None, ..full }), [&[2, 4, 5, 180, 4, 2][..], &ts].concat());
    assert_eq!(options_of(tcp::Emit { mss: None, ..full }), [&[4, 2][..], &ts, &[1, 3, 3, 7]].concat());
    assert_eq!(options_of(syn), [2, 4, 5, 180]);
    assert_eq!(options_of(tcp::Emit { window_scale: Some(0), ..syn }), [2, 4, 5, 180, 1, 3, 3, 0]);

    let established = tcp::Emit { flags: Flags::ACK, timestamps: Some(CLOCK), ..tcp::Emit::default() };
    let stamped = [&[1, 1][..], &ts].concat();
    assert_eq!(options_of(established), stamped);
    let blocks = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10)];
    let block = |n: u8| [0, 0, 0, 2 * n + 1, 0, 0, 0, 2 * n + 2];
    assert_eq!(
        options_of(tcp::Emit { sacks: &blocks[..1], ..established }),
        [&stamped[..], &[1, 1, 5, 10], &block(0)].concat()
    );
    // Three fit beside timestamps, four without.
    let three = [&stamped[..], &[1, 1, 5, 26], &block(0), &block(1), &block(2)].concat();
    assert_eq!(options_of(tcp::Emit { sacks: &blocks, ..established }), three);
    let four = [&[1, 1, 5, 34][..], &block(0), &block(1), &block(2), &block(3)].concat();
    assert_eq!(options_of(tcp::Emit { sacks: &blocks, timestamps: None, ..established }), four);
    assert_eq!(options_of(tcp::Emit { timestamps: None, ..established }), []);
}

#[test]
fn tcp_options_are_read_as_linux_does() {
    let parse = Options::parse;
    let none = Options::default();
    assert_eq!(parse(&[]), none);
    assert_eq!(parse(&[1, 1, 1, 0, 2, 4, 5, 180]), none, "nothing counts behind the end");
    let mss = Options { mss: Some(1460), ..none };
    assert_eq!(parse(&[2, 4, 5, 180]), mss);
    assert_eq!(parse(&[254, 4, 9, 9, 2, 4, 5, 180]), mss, "unknown options are skipped");
    assert_eq!(parse(&[3, 4, 9, 9, 2, 4, 5, 180]), mss, "as are those of a wrong length");
    assert_eq!(parse(&[2, 4, 0, 0]), none, "an MSS of zero is none");
    assert_eq!(parse(&[2, 4, 2, 24, 2, 4, 5, 180]), mss, "the last one counts");
    for silly in [&[5, 0, 2, 4, 5, 180][..], &[5, 1, 2, 4, 5, 180], &[5, 7, 2, 4, 5, 180], &[2], &[1, 8]] {
        assert_eq!(parse(silly), none, "{silly:?}");
    }
    assert_eq!(parse(&[2, 4, 5, 180, 8, 10, 1]), mss, "what came before counts");
    assert_eq!(parse(&[3, 3, 14]).window_scale, Some(14));
    assert_eq!(parse(&[3, 3, 15]).window_scale, Some(14));
    assert!(parse(&[4, 2]).sack_permitted && !parse(&[4, 3, 0]).sack_permitted);
    assert_eq!(*parse(&[5, 10, 0, 0, 0, 1, 0xff, 0, 0, 2]).sacks, [(1, 0xff00_0002)]);
    assert_eq!(parse(&[5, 2, 1, 1]), none, "no block is none");
    assert_eq!(parse(&[5, 11, 0, 0, 0, 1, 0, 0, 0, 2, 0]), none);
    assert_eq!(parse(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]).timestamps, Some(CLOCK));
}

#[test]
fn timestamps_alone_are_recognised() {
    let stamped = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(Timestamps::parse_fast(&stamped), Some(CLOCK));
    for at in 0..4 {
        let mut other = stamped;
        other[at] ^= 2;
        assert_eq!(Timestamps::parse_fast(&other), None);
    }
    assert_eq!(Timestamps::parse_fast(&stamped[..11]), None);
    assert_eq!(Timestamps::parse_fast(&[&stamped[..], &[1, 1, 1, 0]].concat()), None);
}

#[test]
fn four_sacks_and_no_more() {
    let mut sacks: Sacks = (0..9).map(|n| (n, n + 1)).collect();
    assert_eq!(*sacks, [(0, 1), (1, 2), (2, 3), (3, 4)]);
    assert!(!sacks.push((7, 8)));
    assert_eq!((sacks.len(), sacks), (tcp::MAX_SACKS, (0..4).map(|n| (n, n + 1)).collect()));
    assert_ne!(sacks, Sacks::default());
}
