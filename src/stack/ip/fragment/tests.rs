use crate::stack::Full;
use crate::stack::ip::testing::*;
use crate::stack::ip::{Input, Ip, Outgoing, Path};
use crate::wire::{ipv4, protocol};
use std::net::Ipv4Addr;

fn packet(remote: Ipv4Addr) -> Outgoing {
    Outgoing { protocol: protocol::UDP, dont_fragment: false, tos: 0x28, ttl: 9, ..to(remote) }
}

fn counting(len: usize) -> Vec<u8> {
    (0..len).map(|n| ((n * 31) >> 3) as u8).collect()
}

#[test]
fn every_length_is_cut_into_fragments_that_fit_and_make_the_whole() {
    for mtu in [576, 1500, 9000] {
        let mut config = config_with_neighbours();
        config.mtu = mtu;
        let mut ip = Ip::new(&config).unwrap();
        let mut other = Ip::new(&super::super::super::Config {
            addresses: vec![(PEER.into(), 24)],
            mac: PEER_MAC,
            ..config_with_neighbours_but_peer()
        })
        .unwrap();
        let mut sink = Frames::new();
        let step = (usize::from(mtu) - 20) & !7;
        for len in [0, 1, step, step + 1, step + 8, 2 * step, 2 * step + 1, 65_515] {
            let data = counting(len);
            ip.send_bytes(ms(0), &mut sink, &mut Path::default(), &packet(PEER), &data).unwrap();
            let frames = sink.take();
            assert_eq!(frames.len(), if len + 20 <= usize::from(mtu) { 1 } else { len.div_ceil(step) }, "{len}");
            let mut whole = None;
            for frame in &frames {
                assert!(frame.len() <= 14 + usize::from(mtu));
                let (_, header, _) = parse_ip(frame);
                assert_eq!((header.ttl, header.tos, header.protocol, header.dont_fragment()), (9, 0x28, 17, false));
                match other.receive(ms(0), &mut Frames::new(), frame) {
                    Input::Reassembled(block) => {
                        whole = Some(ipv4::Header::parse(&block).unwrap().payload(&block).to_vec())
                    }
                    Input::Udp(found) => whole = Some(frame[found.range()].to_vec()),
                    Input::Handled => {}
                    input => panic!("{input:?}"),
                }
            }
            assert_eq!(whole, Some(data), "{len}");
        }
        assert_eq!((ip.block_bytes(), ip.stats.tx_too_long), (0, 0));
    }
}

fn config_with_neighbours_but_peer() -> super::super::super::Config {
    super::super::super::Config { neighbours: Vec::new(), ..config() }
}

#[test]
fn numbers_differ_for_each_packet_and_are_not_counted_across_destinations() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let mut next = |remote: Ipv4Addr| {
        ip.send_bytes(ms(0), &mut sink, &mut Path::default(), &packet(remote), b"x").unwrap();
        parse_ip(&sink.only()).1.identification
    };
    let mine: Vec<u16> = (0..4).map(|_| next(PEER)).collect();
    assert!(mine.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "one after the other: none repeats soon");
    let others: Vec<u16> = (1..100).map(|n| next(Ipv4Addr::new(192, 0, 2, n))).collect();
    assert!(others.windows(2).filter(|pair| pair[1] == pair[0].wrapping_add(1)).count() < 5);
    assert_eq!(next(PEER), mine[3].wrapping_add(1), "packets to others say nothing about it");
}

#[test]
fn a_device_that_fills_up_in_the_middle_gets_the_rest_later() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames { room: 2, ..Frames::new() };
    let data = counting(7000);
    let mut path = Path::default();
    ip.send_bytes(ms(0), &mut sink, &mut path, &packet(PEER), &data).unwrap();
    assert_eq!((sink.frames.len(), ip.poll_at()), (2, Some(ms(0))));
    assert_eq!(ip.send_bytes(ms(0), &mut sink, &mut path, &packet(PEER), &data), Err(Full), "one at a time");
    for room in [0, 1, 9] {
        sink.room = room;
        ip.advance(ms(1), &mut sink);
    }
    assert_eq!((ip.poll_at(), ip.block_bytes()), (None, 0));
    let whole: Vec<u8> = sink.take().iter().flat_map(|frame| parse_ip(frame).2).collect();
    assert_eq!(whole, data);
    assert_eq!(ip.stats.tx_fragments, 5);
}

#[test]
fn fragments_fit_the_path_as_far_as_it_is_known() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    ip.learn_path_mtu(ms(0), FAR.into(), 1000);
    for (remote, most) in [(FAR, 14 + 1000), (PEER, 14 + 1500)] {
        ip.send_bytes(ms(0), &mut sink, &mut Path::default(), &packet(remote), &counting(4000)).unwrap();
        let longest = sink.take().iter().map(Vec::len).max().unwrap();
        assert!(longest <= most && longest > most - 16, "{longest}");
    }
}

/// A datagram whose first fragment came and whose others did not is answered, once its time is over.
#[test]
fn missing_fragments_are_complained_about_if_the_first_came() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let mut sink = Frames::new();
    let data = counting(2000);
    let fragment = |id, range: std::ops::Range<usize>, protocol| {
        let header = ipv4::Emit {
            identification: id,
            fragment: ipv4::Fragment::part(range.start, true),
            ..ip_header(PEER, US, protocol, range.len())
        };
        let packet = ip_packet(&header, &data[range]);
        ethernet(OUR_MAC, PEER_MAC, crate::wire::ethernet::ether_type::IPV4, &packet)
    };
    let first = fragment(1, 0..1480, 17);
    ip.handle(ms(0), &mut sink, &first);
    ip.handle(ms(1), &mut sink, &fragment(2, 1480..1488, 17));
    ip.handle(ms(2), &mut sink, &fragment(3, 0..8, protocol::ICMP));
    assert_eq!(ip.poll_at(), Some(ms(30_000)));
    ip.advance(ms(30_100), &mut sink);
    let (mac, header, message) = parse_ip(&sink.only());
    assert_eq!((mac, header.dst, header.total_len), (PEER_MAC, PEER, 576));
    let parsed = crate::wire::icmp::Message::parse(&message).unwrap();
    assert_eq!(parsed, crate::wire::icmp::Message::TimeExceeded { code: 1, quoted: &first[14..14 + 548] });
    assert_eq!((ip.stats.reassembly_timeouts, ip.stats.rx_fragments, ip.block_bytes()), (3, 3, 0));
}
