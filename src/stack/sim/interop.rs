//! The engine and smoltcp: each opens connections to the other, over wires with and without faults.

use super::super::{Config, Instant, SocketOptions};
use super::host::Host;
use super::link::Path;
use super::net::Net;
use super::peer::Peer;
use super::rng::Rng;
use super::traffic::{Ending, Endpoint, Habits, Manners, Plan};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 2, 0, 1), Ipv4Addr::new(10, 2, 0, 2)];

/// Connections in both directions, of all sizes.
fn plans(rng: &mut Rng, count: u64, most: u64) -> Rc<[Plan]> {
    let habits = |bytes| Habits {
        bytes,
        write_most: 20_000,
        read_most: 20_000,
        write_pause: Duration::ZERO,
        read_pause: Duration::ZERO,
        options: SocketOptions::default(),
    };
    (0..count)
        .map(|number| {
            let opener = (number % 2) as usize;
            Plan {
                open_at: Instant::from_millis(1000 + rng.range(0..500)),
                sides: [opener, 1 - opener],
                habits: [habits(rng.size(most)), habits(rng.size(most))],
                ending: if rng.chance(0.3) { Ending::Late(rng.range(0..2) as usize) } else { Ending::Orderly },
            }
        })
        .collect()
}

fn path(loss: f64, reordering: f64, corruption: f64) -> Path {
    let mut path = Path::clean(100_000_000, Duration::from_millis(5));
    (path.loss, path.reordering, path.corruption, path.late) = (loss, reordering, corruption, Duration::from_millis(3));
    path.duplication = reordering / 4.0;
    path
}

fn manners() -> Manners {
    Manners { backlog: 128, unlisten_at: None, room: usize::MAX, datagrams: 0, accept_pause: Duration::ZERO }
}

/// smoltcp talks to itself: what the wire and the plans do is right without the engine's help.
fn smoltcp_alone(seed: u64, path: Path) {
    let mut rng = Rng::new(seed);
    let plans = plans(&mut rng, 6, 100_000);
    let end = |side| Peer::new(side, ADDRESSES, plans.clone(), seed);
    let mut net = Net::new(end(0), end(1), path.clone(), path, &mut rng);
    let until = net.now + Duration::from_secs(3600);
    assert!(net.run(until, |net| net.a.is_done() && net.b.is_done()), "not over after an hour");
    for talk in net.a.talks.iter().chain(&net.b.talks) {
        assert_eq!(talk.read, plans[talk.plan].habits[1 - talk.role].bytes, "{talk:?}");
    }
}

fn against_smoltcp(seed: u64, path: Path, size: u64) {
    let mut rng = Rng::new(seed);
    let plans = plans(&mut rng, 8, size);
    let addresses = vec![(IpAddr::V4(ADDRESSES[0]), 24)];
    let config = Config { addresses, secret: [seed, !seed], ..Config::default() };
    let ours = Endpoint::new(Host::new(config, 2048), 0, ADDRESSES, plans.clone(), manners(), seed);
    let theirs = Peer::new(1, ADDRESSES, plans.clone(), seed);
    let mut net = Net::new(ours, theirs, path.clone(), path, &mut rng);
    let until = net.now + Duration::from_secs(3600);
    net.run(until, |net| net.a.is_done() && net.b.is_done());
    assert!(net.a.is_done(), "seed {seed}: not over: {:#?}", net.a.tasks.iter().find(|task| !task.over));
    for task in &net.a.tasks {
        let expected = plans[task.plan].habits[1 - task.role].bytes;
        assert_eq!((task.error, task.read, task.end_seen), (None, expected, true), "seed {seed}: {task:#?}");
    }
    for talk in &net.b.talks {
        let expected = plans[talk.plan].habits[1 - talk.role].bytes;
        assert_eq!((talk.read, talk.end_seen, talk.failed), (expected, true, false), "seed {seed}: {talk:?}");
    }
    assert_eq!(net.b.talks.len(), plans.len());
    net.a.leave(net.now);
    let until = net.now + Duration::from_secs(300);
    net.run(until, |_| false);
    assert_eq!(net.a.host.in_flight(), 0);
    assert_eq!(net.a.host.held(), []);
}

#[test]
fn smoltcp_understands_the_wire() {
    smoltcp_alone(1, path(0.0, 0.0, 0.0));
    smoltcp_alone(2, path(0.02, 0.02, 0.01));
}

#[test]
fn smoltcp_without_faults() {
    for seed in 0..8 {
        against_smoltcp(seed, path(0.0, 0.0, 0.0), 1_000_000);
    }
}

#[test]
fn smoltcp_with_faults() {
    for seed in 100..116 {
        against_smoltcp(seed, path(0.03, 0.05, 0.02), 100_000);
    }
}
