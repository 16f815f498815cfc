use super::*;
use crate::stack::random::Random;
use std::net::Ipv4Addr;

fn listener(index: u32) -> Key {
    Key { index, generation: 1 }
}

fn request(port: u16, listener: Key) -> Request {
    Request {
        key: FlowKey::v4(Ipv4Addr::LOCALHOST, 80, Ipv4Addr::new(10, 0, 0, 2), port),
        irs: Seq(1),
        iss: Seq(2),
        ts_recent: 3,
        listener,
        mss: 1460,
        window_scale: 7,
        flags: RequestFlags::SACK | RequestFlags::TIMESTAMPS,
        retransmits: 0,
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

#[test]
fn a_syn_ack_is_repeated_ever_later_and_then_given_up() {
    let mut queue = HalfOpen::new(10, 5);
    let index = queue.insert(at(100), request(1, listener(0))).unwrap();
    let mut times = Vec::new();
    let given_up = loop {
        let now = queue.next().unwrap();
        assert!(queue.due(now - Duration::from_nanos(1)).is_none(), "too early");
        match queue.due(now).unwrap() {
            Due::Resend(which) => {
                assert_eq!((which, queue.sent_at(index)), (index, Some(now)));
                times.push(now.as_millis() / 1000 - 100);
                assert_eq!(usize::from(queue.get(index).unwrap().retransmits), times.len());
            }
            Due::GiveUp(which, request) => {
                assert_eq!((which, request.key.remote_port(), request.retransmits), (index, 1, 5));
                break now;
            }
        }
        assert!(queue.due(now).is_none());
    };
    assert_eq!(times, [1, 3, 7, 15, 31]);
    assert_eq!(given_up, at(163));
    assert_eq!((queue.len(), queue.next(), queue.of_listener(listener(0))), (0, None, 0));
    assert!(queue.get(index).is_none() && queue.remove(index).is_none());
}

#[test]
fn many_repetitions_wait_two_minutes_each() {
    let mut queue = HalfOpen::new(10, 1000);
    queue.insert(Instant::ZERO, request(1, listener(0))).unwrap();
    let (mut last, mut times) = (Instant::ZERO, Vec::new());
    while let Some(now) = queue.next() {
        times.push(now.saturating_since(last).as_secs());
        last = now;
        queue.due(now).unwrap();
    }
    assert_eq!(times.len(), 256);
    assert_eq!(times[..9], [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    assert!(times[9..].iter().all(|wait| *wait == 120));
    let mut queue = HalfOpen::new(10, 0);
    queue.insert(Instant::ZERO, request(1, listener(0))).unwrap();
    assert!(matches!(queue.due(at(1)), Some(Due::GiveUp(..))));
}

#[test]
fn the_limit_holds() {
    let mut queue = HalfOpen::new(3, 5);
    let old = queue.insert(at(0), request(1, listener(0))).unwrap();
    let young = queue.insert(at(0), request(2, listener(0))).unwrap();
    assert!(matches!(queue.due(at(1)), Some(Due::Resend(index)) if index == old));
    assert!(matches!(queue.due(at(1)), Some(Due::Resend(index)) if index == young));
    queue.insert(at(2), request(3, listener(1))).unwrap();
    assert_eq!((queue.is_full(), queue.insert(at(2), request(4, listener(0)))), (true, Err(QueueFull)));
    assert_eq!(queue.of_listener(listener(0)), 2);
    assert_eq!(HalfOpen::new(0, 5).insert(at(0), request(1, listener(0))), Err(QueueFull));
}

#[test]
fn a_listener_leaves_with_all_its_requests_and_nobody_elses() {
    let mut queue = HalfOpen::new(1000, 5);
    for port in 0..300 {
        queue.insert(at(0), request(port, listener(u32::from(port) % 3))).unwrap();
    }
    // The same place, another listener.
    let other = Key { index: 1, generation: 2 };
    queue.remove_listener(other, |_, _| panic!("it has none"));
    assert_eq!(queue.of_listener(listener(1)), 100);
    let mut left = Vec::new();
    queue.remove_listener(listener(1), |_, request| left.push(request.key.remote_port()));
    left.sort_unstable();
    assert_eq!(left, (1..300).step_by(3).collect::<Vec<u16>>());
    assert_eq!((queue.len(), queue.of_listener(listener(0)), queue.of_listener(listener(1))), (200, 100, 0));
    assert_eq!(queue.of_listener(listener(9)), 0);
}

/// A flood with now and then a real client: everything comes to an end in time, and memory stays.
#[test]
fn a_flood_leaves_nothing_behind() {
    let mut random = Random(8);
    let mut queue = HalfOpen::new(256, 2);
    let mut held: Vec<u32> = Vec::new();
    let mut before = None;
    for step in 0..40_000u64 {
        let now = Instant::from_millis(step * 10);
        if let Ok(index) = queue.insert(now, request(step as u16, listener(0))) {
            held.push(index);
        }
        if random.below(8) == 0 && !held.is_empty() {
            let index = held.swap_remove(random.below(held.len() as u64) as usize);
            assert!(queue.remove(index).is_some());
        }
        while let Some(due) = queue.due(now) {
            if let Due::GiveUp(index, _) = due {
                held.retain(|other| *other != index);
            }
        }
        assert!(queue.next().is_none_or(|next| next > now));
        assert_eq!((queue.len(), queue.of_listener(listener(0)) as usize), (held.len(), held.len()));
        if step == 10_000 {
            before = Some(queue.footprint());
        }
    }
    assert_eq!(before, Some(queue.footprint()));
    // 1 + 2 + 4 s after the last one nobody is left.
    let end = Instant::from_millis(400_000 + 7000);
    while let Some(now) = queue.next().filter(|now| *now <= end) {
        while queue.due(now).is_some() {}
    }
    assert_eq!((queue.len(), queue.next()), (0, None));
}
