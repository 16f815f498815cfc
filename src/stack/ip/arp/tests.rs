use crate::stack::Config;
use crate::stack::ip::testing::*;
use crate::stack::ip::{IcmpErrorKind, Ip, Path};
use crate::wire::arp::{self, Packet};
use crate::wire::ethernet;
use crate::wire::ipv4;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Sends one packet with the bytes `n` to the peer.
fn send(ip: &mut Ip, at: u64, sink: &mut Frames, path: &mut Path, n: u8) {
    ip.send_bytes(ms(at), sink, path, &to(PEER), &[n; 40]).unwrap();
}

#[track_caller]
fn is_question(frame: &[u8], to: [u8; 6], about: Ipv4Addr) {
    let (mac, packet) = parse_arp(frame).expect("ARP");
    assert_eq!((mac, packet.operation, packet.target_ip), (to, arp::REQUEST, about));
    assert_eq!((packet.sender_mac, packet.sender_ip, packet.target_mac), (OUR_MAC, US, [0; 6]));
}

#[test]
fn the_first_packets_wait_for_the_answer_and_leave_in_order() {
    let mut ip = Ip::new(&config()).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    send(&mut ip, 0, &mut sink, &mut path, 1);
    is_question(&sink.only(), ethernet::BROADCAST, PEER);
    send(&mut ip, 10, &mut sink, &mut path, 2);
    assert!(sink.take().is_empty(), "asked for already");
    ip.handle(ms(20), &mut sink, &answer(PEER, PEER_MAC));
    let frames = sink.take();
    let data: Vec<u8> = frames.iter().map(|frame| parse_ip(frame).2[0]).collect();
    assert_eq!(data, [1, 2]);
    assert!(frames.iter().all(|frame| parse_ip(frame).0 == PEER_MAC));
    send(&mut ip, 30, &mut sink, &mut path, 3);
    assert_eq!(parse_ip(&sink.only()).2[0], 3);
    assert_eq!((ip.stats.tx_arp_requests, ip.stats.rx_arp_replies, ip.stats.tx_unresolved), (1, 1, 0));
    assert_eq!(ip.block_bytes(), 0);
}

#[test]
fn of_many_that_wait_the_oldest_are_dropped() {
    let mut config = config();
    config.ip.max_held_packets = 3;
    let mut ip = Ip::new(&config).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    (1..=9).for_each(|n| send(&mut ip, 0, &mut sink, &mut path, n));
    sink.take();
    ip.handle(ms(1), &mut sink, &answer(PEER, PEER_MAC));
    let data: Vec<u8> = sink.take().iter().map(|frame| parse_ip(frame).2[0]).collect();
    assert_eq!((data, ip.stats.tx_unresolved), (vec![7, 8, 9], 6));
}

#[test]
fn who_does_not_answer_is_asked_three_times_and_then_the_sockets_are_told() {
    let mut ip = Ip::new(&config()).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    send(&mut ip, 0, &mut sink, &mut path, 0x11);
    send(&mut ip, 0, &mut sink, &mut path, 0x22);
    let mut asked = sink.take().len();
    for at in (0..=3300).step_by(50) {
        let due = ip.poll_at().is_some_and(|due| due <= ms(at));
        ip.advance(ms(at), &mut sink);
        let frames = sink.take();
        assert!(due || frames.is_empty(), "told when to come");
        frames.iter().for_each(|frame| is_question(frame, ethernet::BROADCAST, PEER));
        asked += frames.len();
        if at < 3000 {
            assert_eq!(ip.next_error(), None);
        }
    }
    assert_eq!((asked, ip.stats.neighbour_failures, ip.stats.tx_unresolved), (3, 1, 2));
    for n in [0x11, 0x22] {
        let error = ip.next_error().unwrap();
        assert_eq!((error.local, error.remote, error.protocol), (US.into(), PEER.into(), 6));
        assert_eq!((error.kind, error.transport), (IcmpErrorKind::HostUnreachable, [n; 8]));
    }
    assert_eq!((ip.next_error(), ip.poll_at(), ip.block_bytes()), (None, None, 0));
    // The next packet begins anew.
    send(&mut ip, 4000, &mut sink, &mut path, 3);
    is_question(&sink.only(), ethernet::BROADCAST, PEER);
}

/// A neighbour that is known, and when its entry was made.
fn known() -> (Ip, Frames, Path) {
    let mut ip = Ip::new(&config()).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    send(&mut ip, 0, &mut sink, &mut path, 1);
    ip.handle(ms(0), &mut sink, &answer(PEER, PEER_MAC));
    send(&mut ip, 0, &mut sink, &mut path, 2);
    sink.take();
    (ip, sink, path)
}

#[test]
fn a_stale_neighbour_is_used_and_asked_itself_and_given_up_when_silent() {
    let (mut ip, mut sink, mut path) = known();
    ip.advance(ms(60_500), &mut sink);
    assert!(sink.take().is_empty(), "nobody sends to it, nobody asks");
    send(&mut ip, 61_000, &mut sink, &mut path, 3);
    assert_eq!(parse_ip(&sink.only()).0, PEER_MAC, "used at once");
    for (at, questions) in [(65_900, 0), (66_100, 1), (67_000, 0), (67_200, 1), (68_300, 1)] {
        ip.advance(ms(at), &mut sink);
        let frames = sink.take();
        assert_eq!(frames.len(), questions, "{at}");
        frames.iter().for_each(|frame| is_question(frame, PEER_MAC, PEER));
        send(&mut ip, at, &mut sink, &mut path, 4);
        assert_eq!(parse_ip(&sink.only()).0, PEER_MAC);
    }
    ip.advance(ms(69_500), &mut sink);
    assert_eq!((sink.take().len(), ip.next_error(), ip.stats.neighbour_failures), (0, None, 1));
    send(&mut ip, 69_600, &mut sink, &mut path, 5);
    is_question(&sink.only(), ethernet::BROADCAST, PEER);
}

#[test]
fn an_answer_or_progress_of_tcp_keeps_a_neighbour_for_another_minute() {
    for by_tcp in [false, true] {
        let (mut ip, mut sink, mut path) = known();
        ip.advance(ms(60_500), &mut sink);
        send(&mut ip, 61_000, &mut sink, &mut path, 3);
        sink.take();
        if by_tcp {
            ip.confirm(ms(62_000), &path);
        } else {
            ip.advance(ms(66_100), &mut sink);
            is_question(&sink.only(), PEER_MAC, PEER);
            ip.handle(ms(66_100), &mut sink, &answer(PEER, PEER_MAC));
        }
        let before = path;
        for at in (66_000..121_000).step_by(1000) {
            ip.advance(ms(at), &mut sink);
            send(&mut ip, at, &mut sink, &mut path, 4);
            assert_eq!(parse_ip(&sink.only()).0, PEER_MAC, "no question at {at}");
        }
        assert_eq!(path, before, "the path held all the time");
    }
}

#[test]
fn progress_on_a_path_that_holds_no_longer_confirms_nobody() {
    let (mut ip, mut sink, path) = known();
    ip.advance(ms(60_500), &mut sink);
    ip.confirm(ms(60_500), &path);
    ip.confirm(ms(60_500), &Path::default());
    let mut fresh = Path::default();
    send(&mut ip, 61_000, &mut sink, &mut fresh, 3);
    sink.take();
    ip.advance(ms(66_500), &mut sink);
    is_question(&sink.only(), PEER_MAC, PEER);
}

#[test]
fn another_ethernet_address_is_used_from_then_on() {
    let (mut ip, mut sink, mut path) = known();
    let new = [2, 0, 0, 0, 0, 0x99];
    ip.handle(ms(10), &mut sink, &question(PEER, new, ROUTER));
    assert!(sink.take().is_empty(), "it asked somebody else");
    send(&mut ip, 11, &mut sink, &mut path, 3);
    assert_eq!(parse_ip(&sink.only()).0, new);
}

#[test]
fn permanent_neighbours_are_never_asked_for_nor_changed() {
    let mut ip = Ip::new(&config_with_neighbours()).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    ip.handle(ms(0), &mut sink, &answer(PEER, [2, 0, 0, 0, 0, 0x66]));
    for at in [0, 1_000_000] {
        ip.advance(ms(at), &mut sink);
        send(&mut ip, at, &mut sink, &mut path, 1);
        assert_eq!(parse_ip(&sink.only()).0, PEER_MAC);
    }
}

#[test]
fn questions_about_us_are_answered() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let probe = Ipv4Addr::UNSPECIFIED;
    for from in [PEER, probe] {
        ip.handle(ms(0), &mut sink, &question(from, PEER_MAC, US));
        let expected =
            Packet { operation: arp::REPLY, sender_mac: OUR_MAC, sender_ip: US, target_mac: PEER_MAC, target_ip: from };
        assert_eq!(parse_arp(&sink.only()), Some((PEER_MAC, expected)));
    }
    ip.handle(ms(0), &mut sink, &question(PEER, PEER_MAC, ROUTER));
    ip.handle(ms(0), &mut sink, &question(PEER, ethernet::BROADCAST, US));
    assert!(sink.take().is_empty(), "about others, or from nobody");
    assert_eq!((ip.stats.rx_arp_requests, ip.stats.tx_arp_replies), (4, 2));
}

/// RFC 826: a pair that is known is updated; it is entered only if the question is to us.
#[test]
fn only_questions_to_us_make_entries() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    ip.handle(ms(0), &mut sink, &question(PEER, PEER_MAC, ROUTER));
    ip.handle(ms(0), &mut sink, &question(PEER, PEER_MAC, PEER));
    ip.handle(ms(0), &mut sink, &answer(PEER, PEER_MAC));
    for impossible in [FAR, Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255), Ipv4Addr::LOCALHOST] {
        ip.handle(ms(0), &mut sink, &question(impossible, PEER_MAC, US));
    }
    assert_eq!(ip.neighbours.len(), 0);
    ip.handle(ms(0), &mut sink, &question(PEER, PEER_MAC, US));
    assert_eq!(ip.neighbours.len(), 1);
    sink.take();
    send(&mut ip, 1, &mut sink, &mut Path::default(), 1);
    assert_eq!(parse_ip(&sink.only()).0, PEER_MAC, "no need to ask");
}

#[test]
fn a_question_from_whom_we_wait_for_is_as_good_as_an_answer() {
    let mut ip = Ip::new(&config()).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    send(&mut ip, 0, &mut sink, &mut path, 1);
    sink.take();
    ip.handle(ms(1), &mut sink, &question(PEER, PEER_MAC, US));
    let frames = sink.take();
    assert_eq!(frames.len(), 2);
    assert_eq!(parse_ip(&frames[0]).0, PEER_MAC);
    assert_eq!(parse_arp(&frames[1]).unwrap().1.operation, arp::REPLY);
}

#[test]
fn our_addresses_are_announced_twice_at_the_start() {
    let other = Ipv4Addr::new(172, 16, 0, 2);
    let mut config = config();
    config.ip.announce = true;
    config.addresses.push((other.into(), 16));
    let mut ip = Ip::new(&config).unwrap();
    let mut sink = Frames { room: 1, ..Frames::new() };
    assert_eq!(ip.poll_at(), Some(ms(0)));
    ip.advance(ms(0), &mut sink);
    let (mac, packet) = parse_arp(&sink.only()).unwrap();
    assert_eq!((mac, packet.sender_ip, packet.target_ip), (ethernet::BROADCAST, US, US), "RFC 5227, 2.3");
    assert_eq!((packet.operation, packet.sender_mac), (arp::REQUEST, OUR_MAC));
    assert_eq!(ip.poll_at(), Some(ms(10)), "there was no room for all: again soon");
    sink.room = usize::MAX;
    for at in [10, 2010] {
        ip.advance(ms(at), &mut sink);
        let about: Vec<Ipv4Addr> = sink.take().iter().map(|frame| parse_arp(frame).unwrap().1.target_ip).collect();
        assert_eq!(about, [US, other]);
    }
    assert_eq!(ip.poll_at(), None);
}

#[test]
fn an_address_of_ours_that_others_claim_is_defended_once_in_ten_seconds() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    for (at, defended) in [(0, 1), (1, 0), (9_999, 0), (10_000, 1)] {
        ip.handle(ms(at), &mut sink, &question(US, PEER_MAC, US));
        let frames = sink.take();
        assert_eq!(frames.len(), defended);
        for frame in frames {
            let (mac, packet) = parse_arp(&frame).unwrap();
            assert_eq!((mac, packet.sender_ip, packet.target_ip), (ethernet::BROADCAST, US, US));
        }
    }
    assert_eq!(ip.stats.arp_conflicts, 4);
    assert_eq!(ip.neighbours.len(), 0, "and not learned");
    // An IP packet claims it as well; our own frames that come back claim nothing.
    ip.refuse(ms(20_000), &mut sink, &ip_frame(US, US, 6, &[0; 20]));
    assert_eq!((sink.take().len(), ip.stats.arp_conflicts, ip.stats.rx_bad_source), (1, 5, 1));
    ip.handle(ms(40_000), &mut sink, &question(US, OUR_MAC, US));
    assert_eq!((sink.take().len(), ip.stats.arp_conflicts), (0, 5));
}

#[test]
fn broken_arp_packets_are_dropped_and_counted() {
    let mut ip = Ip::new(&config()).unwrap();
    let mut sink = Frames::new();
    let good = question(PEER, PEER_MAC, US);
    ip.refuse(ms(0), &mut sink, &good[..41]);
    for (at, value) in [(15, 6), (17, 9), (18, 8), (19, 16)] {
        let mut frame = good.clone();
        frame[at] = value;
        ip.refuse(ms(0), &mut sink, &frame);
    }
    assert_eq!(ip.stats.rx_malformed, 5);
    let mut frame = good;
    frame[21] = 3;
    ip.refuse(ms(0), &mut sink, &frame);
    assert_eq!((ip.stats.rx_unknown_protocol, sink.take().len()), (1, 0));
}

#[test]
fn what_found_no_room_is_sent_when_there_is() {
    let mut ip = Ip::new(&config()).unwrap();
    let (mut sink, mut path) = (Frames { room: 0, ..Frames::new() }, Path::default());
    send(&mut ip, 0, &mut sink, &mut path, 1);
    assert_eq!(ip.poll_at().map(|at| at <= ms(2)), Some(true), "the question goes out as soon as it can");
    sink.room = 1;
    ip.advance(ms(2), &mut sink);
    is_question(&sink.only(), ethernet::BROADCAST, PEER);
    send(&mut ip, 2, &mut sink, &mut path, 2);
    ip.handle(ms(3), &mut sink, &answer(PEER, PEER_MAC));
    assert!(sink.take().is_empty());
    assert_eq!(ip.poll_at(), Some(ms(0)));
    for n in [1, 2] {
        sink.room = 1;
        ip.advance(ms(4), &mut sink);
        assert_eq!(parse_ip(&sink.only()).2, [n; 40]);
    }
    assert!(ip.poll_at() > Some(ms(4)));
}

#[test]
fn failures_to_ask_do_not_count_as_questions() {
    let mut ip = Ip::new(&config()).unwrap();
    let (mut sink, mut path) = (Frames { room: 0, ..Frames::new() }, Path::default());
    send(&mut ip, 0, &mut sink, &mut path, 1);
    for at in (0..20_000).step_by(100) {
        ip.advance(ms(at), &mut sink);
        assert_eq!(ip.next_error(), None);
    }
    sink.room = usize::MAX;
    let questions: usize = (20_000..24_000)
        .step_by(10)
        .map(|at| {
            ip.advance(ms(at), &mut sink);
            sink.take().len()
        })
        .sum();
    assert_eq!((questions, ip.next_error().map(|error| error.kind)), (3, Some(IcmpErrorKind::HostUnreachable)));
}

#[test]
fn the_lifetime_is_the_configurations() {
    let mut config: Config = config();
    config.ip.neighbour_lifetime = Duration::from_secs(5);
    let mut ip = Ip::new(&config).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    send(&mut ip, 0, &mut sink, &mut path, 1);
    ip.handle(ms(0), &mut sink, &answer(PEER, PEER_MAC));
    send(&mut ip, 0, &mut sink, &mut path, 1);
    let before = path;
    ip.advance(ms(5_100), &mut sink);
    send(&mut ip, 5_100, &mut sink, &mut path, 1);
    assert_ne!(path, before, "stale: looked up again");
    sink.take();
    ip.advance(ms(10_200), &mut sink);
    is_question(&sink.only(), PEER_MAC, PEER);
}

/// Fragments of one packet leave after the answer as they would have before it.
#[test]
fn a_long_packet_that_waited_is_cut() {
    let mut ip = Ip::new(&config()).unwrap();
    let (mut sink, mut path) = (Frames::new(), Path::default());
    let data: Vec<u8> = (0..5000).map(|n| n as u8).collect();
    let packet = super::super::Outgoing { dont_fragment: false, ..to(PEER) };
    ip.send_bytes(ms(0), &mut sink, &mut path, &packet, &data).unwrap();
    sink.take();
    ip.handle(ms(1), &mut sink, &answer(PEER, PEER_MAC));
    let frames = sink.take();
    assert_eq!(frames.len(), 4);
    let mut whole = Vec::new();
    for frame in &frames {
        let (mac, header, data) = parse_ip(frame);
        assert_eq!((mac, header.fragment_offset()), (PEER_MAC, whole.len()));
        assert!(frame.len() <= 14 + 1500 && usize::from(header.total_len) >= ipv4::HEADER_LEN);
        whole.extend(data);
    }
    assert_eq!(whole, data);
    assert_eq!(ip.block_bytes(), 0);
}
