//! Any bytes as a header of every kind, and as a whole frame: no parser fails otherwise than by saying so, what it takes out
//! lies within the bytes, and what was parsed and is written again is parsed to the same.

use nethuns_rs::wire::checksum::{Sum, copy_and_sum};
use nethuns_rs::wire::ethernet::ether_type;
use nethuns_rs::wire::icmp::{Message, Quoted};
use nethuns_rs::wire::tcp::{self, Options, Timestamps};
use nethuns_rs::wire::{arp, ethernet, ipv4, ipv6, protocol, udp, vlan};
use std::net::IpAddr;

/// Takes `bytes` for all there is.
pub fn wire(bytes: &[u8]) {
    sums(bytes);
    link(bytes);
    arp(bytes);
    ip(bytes);
    ip(&with_sum(bytes, ipv4_header_len(bytes), 10));
    ip6(bytes);
    icmp(bytes);
    icmp(&with_sum(bytes, bytes.len(), 2));
    udp(bytes);
    tcp(bytes);
    options(bytes);
    frame(bytes);
}

/// The bytes with the right checksum, at `at`, over the first `len` of them: what a fuzzer does not guess.
fn with_sum(bytes: &[u8], len: usize, at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if at + 2 <= len && len <= bytes.len() {
        bytes[at..at + 2].fill(0);
        let sum = Sum::of(&bytes[..len]).finish();
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

fn ipv4_header_len(bytes: &[u8]) -> usize {
    bytes.first().map_or(0, |first| usize::from(first & 15) * 4)
}

/// The sum does not depend on how the bytes are cut, and a copy is one.
fn sums(bytes: &[u8]) {
    let whole = Sum::of(bytes).finish();
    let cut = bytes.first().map_or(0, |cut| usize::from(*cut) % (bytes.len() + 1));
    let (a, b) = bytes.split_at(cut);
    assert_eq!(Sum::of(a).combine(Sum::of(b), cut % 2 == 1).finish(), whole);
    let mut copy = vec![0; bytes.len()];
    assert_eq!(copy_and_sum(&mut copy, bytes).finish(), whole);
    assert_eq!(copy, bytes);
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    assert_eq!(!(sum as u16), whole);
}

fn link(frame: &[u8]) {
    let tagged = vlan::parse(frame);
    assert!(tagged.is_err() || ethernet::Header::parse(frame).is_ok());
    let Ok(tagged) = tagged else { return };
    let len = tagged.header_len();
    let mut again = [0; vlan::HEADER_LEN + vlan::TAG_LEN];
    match (tagged.outer, tagged.inner) {
        (Some(outer), Some(inner)) => vlan::write_double(&tagged.header, outer, inner, &mut again),
        (Some(outer), None) => vlan::write(&tagged.header, outer, again.first_chunk_mut().unwrap()),
        (None, None) => tagged.header.write(again.first_chunk_mut().unwrap()),
        (None, Some(_)) => panic!("an inner tag without an outer one"),
    }
    assert_eq!(again[..len], frame[..len]);
}

fn arp(bytes: &[u8]) {
    let Ok(packet) = arp::Packet::parse(bytes) else { return };
    let mut again = [0; arp::LEN];
    packet.write(&mut again);
    assert_eq!(again, bytes[..arp::LEN]);
}

fn ip(packet: &[u8]) {
    let quoted = Quoted::parse(packet);
    if let Ok(quoted) = quoted {
        assert!(quoted.transport.len() + 20 <= packet.len());
        let _ = udp::Header::quoted_ports(quoted.transport);
    }
    let Ok(header) = ipv4::Header::parse(packet) else { return };
    assert_eq!(quoted.map(|quoted| quoted.header), Ok(header));
    let (len, total) = (usize::from(header.header_len), usize::from(header.total_len));
    assert!((20..=60).contains(&len) && len <= total && total <= packet.len());
    assert_eq!(header.payload(packet), &packet[len..total]);
    assert_eq!(header.payload(packet).len(), header.payload_len());
    // Without options and the bit that nobody sets.
    let fragment = match (header.is_fragment(), header.dont_fragment()) {
        (true, false) => ipv4::Fragment::part(header.fragment_offset(), header.more_fragments()),
        (false, true) => ipv4::Fragment::DONT,
        (false, false) => ipv4::Fragment::MAY,
        (true, true) => return,
    };
    let emit = ipv4::Emit {
        src: header.src,
        dst: header.dst,
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.dscp() << 2 | header.ecn(),
        identification: header.identification,
        fragment,
        total_len: header.total_len,
    };
    let mut again = packet.to_vec();
    emit.write(again.first_chunk_mut().unwrap());
    let expected = ipv4::Header { header_len: 20, fragment: header.fragment & 0x7fff, ..header };
    assert_eq!(ipv4::Header::parse(&again), Ok(expected));
    if header == expected && packet[10..12] != [0xff, 0xff] {
        assert_eq!(again, packet);
    }
}

fn ip6(packet: &[u8]) {
    let Ok(header) = ipv6::Header::parse(packet) else { return };
    assert_eq!(header.payload(packet).len(), usize::from(header.payload_len));
    let mut again = [0; ipv6::HEADER_LEN];
    header.write(&mut again);
    assert_eq!(again, packet[..ipv6::HEADER_LEN]);
}

fn icmp(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    if let Message::Unreachable { quoted, .. } | Message::TimeExceeded { quoted, .. } = message {
        let _ = Quoted::parse(quoted);
    }
    let mut again = vec![0; bytes.len()];
    let len = message.write(&mut again).expect("as long as it came");
    assert_eq!((len, Message::parse(&again[..len])), (message.len(), Ok(message)));
    assert!(message.write(&mut again[..len - 1]).is_err());
}

fn udp(bytes: &[u8]) {
    let Ok(header) = udp::Header::parse(bytes) else { return };
    let len = usize::from(header.len);
    assert_eq!(header.data(bytes), &bytes[8..len]);
    let emit = udp::Emit { src_port: header.src_port, dst_port: header.dst_port, len: header.len };
    let mut again = bytes.to_vec();
    for (local, remote) in
        [(IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])), (IpAddr::from([1; 16]), IpAddr::from([2; 16]))]
    {
        let sum = Sum::pseudo(local, remote, protocol::UDP, len).add(Sum::of(&bytes[8..len]));
        emit.write(again.first_chunk_mut().unwrap(), sum);
        let written = udp::Header::parse(&again).expect("as it was");
        assert_eq!(udp::Header { checksum: header.checksum, ..written }, header);
        assert!(written.checksum != 0 && written.verify(&again, local, remote));
    }
    emit.write_with(again.first_chunk_mut().unwrap(), header.checksum);
    assert_eq!(again, bytes);
}

fn tcp(segment: &[u8]) {
    let Ok(header) = tcp::Header::parse(segment) else { return };
    let len = usize::from(header.header_len);
    assert_eq!((header.options(segment), header.data(segment)), (&segment[20..len], &segment[len..]));
    let said = Options::parse(header.options(segment));
    if let Some(fast) = Timestamps::parse_fast(header.options(segment)) {
        assert_eq!(said, Options { timestamps: Some(fast), ..Options::default() });
    }
    let emit = tcp::Emit {
        src_port: header.src_port,
        dst_port: header.dst_port,
        seq: header.seq,
        ack: header.ack,
        flags: header.flags,
        window: header.window,
        mss: said.mss,
        window_scale: said.window_scale,
        sack_permitted: said.sack_permitted,
        timestamps: said.timestamps,
        sacks: &said.sacks,
    };
    let mut again = [0; tcp::MAX_HEADER_LEN];
    let written = emit.write(&mut again).expect("the longest header fits");
    assert_eq!(written.len, emit.header_len());
    let again = &mut again[..written.len];
    assert_eq!(Sum::of(again).finish(), written.sum.finish());
    let parsed = tcp::Header::parse(again).expect("written here");
    assert_eq!(tcp::Header { header_len: header.header_len, urgent: header.urgent, ..parsed }, header);
    let mut expected = said;
    let others =
        [said.mss.is_some(), said.window_scale.is_some()].map(|there| 4 * usize::from(there)).iter().sum::<usize>()
            + if said.timestamps.is_some() { 12 } else { 4 * usize::from(said.sack_permitted) };
    expected.sacks = said.sacks.iter().copied().take((36usize.saturating_sub(others)) / 8).collect();
    assert_eq!(Options::parse(parsed.options(again)), expected);
    tcp::put_checksum(again, written.sum);
    assert!(Sum::of(again).is_valid());
}

fn options(bytes: &[u8]) {
    let said = Options::parse(bytes);
    assert!(
        said.sacks.len() <= tcp::MAX_SACKS && said.window_scale.is_none_or(|shift| shift <= 14) && said.mss != Some(0)
    );
    let _ = Timestamps::parse_fast(bytes);
}

/// The way that a received frame takes.
fn frame(bytes: &[u8]) {
    let Ok(tagged) = vlan::parse(bytes) else { return };
    let packet = &bytes[tagged.header_len()..];
    match tagged.header.ether_type {
        ether_type::ARP => arp(packet),
        ether_type::IPV6 => ip6(packet),
        ether_type::IPV4 => {
            let packet = with_sum(packet, ipv4_header_len(packet), 10);
            ip(&packet);
            let Ok(header) = ipv4::Header::parse(&packet) else { return };
            let payload = header.payload(&packet);
            match header.protocol {
                protocol::ICMP => icmp(&with_sum(payload, payload.len(), 2)),
                protocol::UDP => udp(payload),
                protocol::TCP => tcp(payload),
                _ => {}
            }
        }
        _ => {}
    }
}
