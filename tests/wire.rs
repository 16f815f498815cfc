//! Headers from outside the crate: what `cargo fuzz run wire` does, for a moment, without its tools.
#![cfg(feature = "net")]

use nethuns_rs::wire::checksum::Sum;
use nethuns_rs::wire::ethernet::{self, ether_type};
use nethuns_rs::wire::icmp::Message;
use nethuns_rs::wire::tcp::{self, Flags, Timestamps};
use nethuns_rs::wire::{arp, ipv4, ipv6, protocol, udp, vlan};

#[path = "../fuzz/entries/wire.rs"]
mod fuzz;

/// An Ethernet frame with `packet` in it.
fn frame(ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let header = ethernet::Header { dst: [2, 0, 0, 0, 0, 2], src: [2, 0, 0, 0, 0, 1], ether_type };
    let mut bytes = [0; ethernet::HEADER_LEN];
    header.write(&mut bytes);
    [&bytes[..], packet].concat()
}

/// The same with an IPv4 header.
fn datagram(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; ipv4::HEADER_LEN];
    let emit = ipv4::Emit {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        protocol,
        ttl: 64,
        tos: 0,
        identification: 7,
        fragment: ipv4::Fragment::DONT,
        total_len: (header.len() + payload.len()) as u16,
    };
    emit.write(&mut header);
    frame(ether_type::IPV4, &[&header[..], payload].concat())
}

/// Good frames of every kind.
fn good() -> Vec<Vec<u8>> {
    let mut question = [0; arp::LEN];
    let (mac, nobody) = ([2, 0, 0, 0, 0, 1], [0; 6]);
    arp::Packet {
        operation: arp::REQUEST,
        sender_mac: mac,
        sender_ip: [10, 0, 0, 1].into(),
        target_mac: nobody,
        target_ip: [10, 0, 0, 2].into(),
    }
    .write(&mut question);

    let segment = |emit: tcp::Emit<'_>| {
        let mut bytes = vec![0; emit.header_len() + 10];
        let written = emit.write(&mut bytes).unwrap();
        let pseudo = Sum::pseudo([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::TCP, bytes.len());
        tcp::put_checksum(&mut bytes, pseudo.add(written.sum));
        datagram(protocol::TCP, &bytes)
    };
    let timestamps = Some(Timestamps { value: 1, echo: 2 });
    let ack = tcp::Emit { src_port: 1, dst_port: 80, flags: Flags::ACK, window: 9, timestamps, ..tcp::Emit::default() };
    let syn = tcp::Emit { flags: Flags::SYN, mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..ack };
    let sacks = tcp::Emit { sacks: &[(1, 2), (3, 4), (5, 6)], ..ack };
    let many = tcp::Emit { timestamps: None, sacks: &[(1, 2), (3, 4), (5, 6), (7, 8)], ..ack };

    let mut query = [0; 8 + 5];
    udp::Emit { src_port: 5353, dst_port: 53, len: 13 }.write_with(query.first_chunk_mut().unwrap(), 0);
    let udp = datagram(protocol::UDP, &query);

    let icmp = |message: Message<'_>| {
        let mut bytes = vec![0; message.len()];
        message.write(&mut bytes).unwrap();
        datagram(protocol::ICMP, &bytes)
    };
    let ping = icmp(Message::EchoRequest { id: 1, sequence: 2, data: b"abcdefg" });
    let refused = icmp(Message::Unreachable { code: 3, mtu: 0, quoted: &udp[14..] });

    let mut six = [0; ipv6::HEADER_LEN];
    ipv6::Header {
        src: [0xfe; 16].into(),
        dst: [0xfd; 16].into(),
        next_header: protocol::TCP,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 1,
        payload_len: 0,
    }
    .write(&mut six);

    let mut frames = vec![frame(ether_type::ARP, &question), frame(ether_type::IPV6, &six), udp, ping, refused];
    frames.extend([ack, syn, sacks, many].map(segment));
    let tagged: Vec<_> = frames
        .iter()
        .map(|frame| {
            let (header, packet) = (ethernet::Header::parse(frame).unwrap(), &frame[ethernet::HEADER_LEN..]);
            let mut front = [0; vlan::HEADER_LEN];
            vlan::write(&header, vlan::Tag::new(5), &mut front);
            [&front[..], packet].concat()
        })
        .collect();
    frames.extend(tagged);
    frames
}

#[test]
fn frames_with_errors_in_them() {
    let good = good();
    for frame in &good {
        for start in [0, 14, 18, 34, 38] {
            fuzz::wire(frame.get(start..).unwrap_or_default());
        }
        for len in 0..frame.len() {
            fuzz::wire(&frame[..len]);
        }
    }
    let mut state = 7u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for round in 0..20_000 {
        let mut frame = good[round % good.len()].clone();
        for _ in 0..1 + below(3) {
            let at = below(frame.len());
            match below(4) {
                0 => frame[at] ^= 1 << below(8),
                1 => frame[at] = below(256) as u8,
                2 => frame.truncate(at.max(1)),
                _ => frame.splice(at..at, (0..below(9)).map(|n| n as u8)).for_each(drop),
            }
        }
        fuzz::wire(&frame);
        fuzz::wire(frame.get([14, 34][round % 2]..).unwrap_or_default());
    }
    for _ in 0..5_000 {
        let noise: Vec<u8> = (0..below(100)).map(|_| below(256) as u8).collect();
        fuzz::wire(&noise);
    }
}
