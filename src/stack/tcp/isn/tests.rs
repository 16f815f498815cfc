use super::*;
use std::collections::{BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

fn key(port: u16) -> FlowKey {
    FlowKey::v4(Ipv4Addr::new(10, 0, 0, 1), 80, Ipv4Addr::new(10, 0, 0, 2), port)
}

#[test]
fn sequence_numbers_follow_a_clock_of_four_microseconds_from_a_secret_point() {
    let isn = Isn::new([1, 2]);
    let now = Instant::from_millis(123_456_789);
    let first = isn.initial(now, &key(1));
    assert_eq!(isn.initial(now, &key(1)), first);
    assert_eq!(isn.initial(now + Duration::from_micros(4), &key(1)).since(first), 1);
    assert_eq!(isn.initial(now + Duration::from_secs(60), &key(1)).since(first), 15_000_000);
    // The clock wraps after four hours and three quarters.
    assert_eq!(isn.initial(now + Duration::from_micros(4 << 32), &key(1)), first);
    let points: HashSet<u32> = (0..1000).map(|port| isn.initial(now, &key(port)).0).collect();
    assert_eq!(points.len(), 1000);
    let quarters: HashSet<u32> = points.iter().map(|point| point >> 28).collect();
    assert_eq!(quarters.len(), 16, "all over the space");
    assert_ne!(Isn::new([1, 3]).initial(now, &key(1)), first);
}

#[test]
fn timestamp_offsets_belong_to_four_tuples() {
    let isn = Isn::new([1, 2]);
    let offsets: HashSet<u32> = (0..1000).map(|port| isn.timestamp_offset(&key(port))).collect();
    assert_eq!(offsets.len(), 1000);
    assert_eq!(isn.timestamp_offset(&key(5)), isn.timestamp_offset(&key(5)));
    assert_ne!(isn.timestamp_offset(&key(5)), Isn::new([2, 1]).timestamp_offset(&key(5)));
    let point = isn.initial(Instant::ZERO, &key(5)).0;
    assert_ne!(isn.timestamp_offset(&key(5)), point, "one says nothing about the other");
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, n], 443))
}

#[test]
fn every_port_of_the_range_is_found_once_and_then_none() {
    for range in [(40_000, 40_099), (65_500, 65_535), (1, 9), (77, 77)] {
        let mut ports = Ports::new([3, 4]);
        let mut used = BTreeSet::new();
        let mut asked = 0;
        while let Some(port) = ports.choose(range, LOCAL, peer(1), |port| {
            asked += 1;
            used.contains(&port)
        }) {
            assert!((range.0..=range.1).contains(&port) && used.insert(port), "{port}");
        }
        let count = u32::from(range.1 - range.0) + 1;
        assert_eq!(used.len() as u32, count);
        assert!(asked <= (count + 1) * count, "{asked} questions");
        assert_eq!(ports.choose_any(range, |port| used.contains(&port)), None);
        assert_eq!(ports.choose_any(range, |port| used.contains(&port) && port != range.1), Some(range.1));
    }
    let mut ports = Ports::new([3, 4]);
    assert_eq!((ports.choose((9, 8), LOCAL, peer(1), |_| false), ports.choose_any((0, 0), |_| false)), (None, None));
    assert_eq!(ports.choose_any((0, 1), |_| false), Some(1));
    let all: BTreeSet<u16> =
        (0..200_000).filter_map(|_| ports.choose((0, u16::MAX), LOCAL, peer(1), |_| false)).collect();
    assert!(all.len() > 60_000 && !all.contains(&0));
}

#[test]
fn a_port_comes_again_late_and_destinations_begin_elsewhere() {
    let mut ports = Ports::new([3, 4]);
    let range = (32_768, 60_999);
    let mut draw = |n| ports.choose(range, LOCAL, peer(n), |_| false).unwrap();
    let first: Vec<u16> = (0..3000).map(|_| draw(1)).collect();
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 3000, "none comes again within 3000 connections");
    let steps: HashSet<u16> = first.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert!(steps.len() >= 8, "steps vary: {steps:?}");
    let starts: HashSet<u16> = (2..=255).map(draw).collect();
    assert!(starts.len() > 240);
    let mut other = Ports::new([3, 5]);
    assert_ne!(other.choose(range, LOCAL, peer(1), |_| false), Some(first[0]));
}

#[test]
fn few_questions_are_asked_while_most_ports_are_free() {
    let mut ports = Ports::new([8, 9]);
    let mut used = HashSet::new();
    let mut asked = 0;
    for _ in 0..5000 {
        let port = ports.choose((32_768, 60_999), LOCAL, peer(9), |port| {
            asked += 1;
            used.contains(&port)
        });
        used.insert(port.unwrap());
    }
    assert!(asked < 6000, "{asked} questions for 5000 ports");
}
