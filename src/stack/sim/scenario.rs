//! A whole simulation from one number: two engines, a wire with faults, and connections in both directions.

use super::super::config::CongestionControl;
use super::super::{Config, Instant, KeepAlive, SocketError, SocketOptions};
use super::host::Host;
use super::link::{Fates, Path};
use super::net::Net;
use super::rng::Rng;
use super::traffic::{Ending, Endpoint, Habits, Manners, Plan, Task};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 2)];
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
/// Simulated time after which everything must have been said, and after which everything must be forgotten.
const LIMIT: Duration = Duration::from_secs(6 * 3600);
const AFTERWARDS: Duration = Duration::from_secs(3600);

/// What a seed stands for.
pub(super) struct Scenario {
    seed: u64,
    configs: [Config; 2],
    frames: [usize; 2],
    paths: [Path; 2],
    plans: Rc<[Plan]>,
    manners: [Manners; 2],
    /// Whether cookies may have to stand in for half-open connections, which they cannot do in every case.
    cookies: bool,
}

/// What a run has done, by name: the counters of both engines, and what happened on the wire and to the connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals(pub(super) BTreeMap<String, u64>);

impl Totals {
    fn count(&mut self, name: &str, by: u64) {
        *self.0.entry(name.to_owned()).or_default() += by;
    }

    /// Adds those of another run.
    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, count)| self.count(name, *count));
    }
}

fn milliseconds(rng: &mut Rng, most: u64) -> Duration {
    Duration::from_micros(rng.size(most * 1000))
}

impl Scenario {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let path = Self::path(&mut rng);
        let mut back = if rng.chance(0.5) { path.clone() } else { Self::path(&mut rng) };
        back.delay = path.delay;
        let loopback = rng.chance(0.15);
        let mtu = rng.pick(&[1500, 1500, 1500, 576, 1280, 9000]);
        let neighbours_known = rng.chance(0.5);
        let vlan = rng.chance(0.1).then_some(7);
        let mut config = |side: usize| Self::config(&mut rng, side, mtu, vlan, neighbours_known);
        let configs = [config(0), config(1)];
        let spare = rng.pick(&[128, 128, 128, 4]);
        let frames = configs.each_ref().map(|config| config.max_kept_frames + spare);
        let count = rng.pick(&[1, 1, 2, 3, 5, 8, 20]);
        let large = rng.chance(0.1);
        // Slow wires carry less, so that simulated time stays bounded.
        let most = ((path.rate.min(back.rate) / 8 * 60) as f64 * (1.0 - path.loss.max(back.loss) * 4.0)) as u64;
        let most = most.clamp(2_000, if large { 4_000_000 } else { 200_000 }) / count;
        let plans: Rc<[Plan]> = (0..count).map(|_| Self::plan(&mut rng, most, loopback)).collect();
        let manners = [0, 1].map(|_| Manners {
            backlog: rng.pick(&[1, 2, 16, 512]),
            unlisten_at: rng.chance(0.05).then(|| Instant::from_millis(1000 + rng.size(5000))),
            room: rng.pick(&[usize::MAX, usize::MAX, 64, 8, 1]),
            datagrams: if rng.chance(0.3) { rng.size(50) } else { 0 },
            accept_pause: if rng.chance(0.1) { milliseconds(&mut rng, 200) } else { Duration::ZERO },
        });
        let cookies = configs.iter().any(|config| config.tcp.max_half_open < 64);
        Self { seed, configs, frames, paths: [path, back], plans, manners, cookies }
    }

    fn path(rng: &mut Rng) -> Path {
        let rate = rng.pick(&[1_000_000_000, 100_000_000, 10_000_000, 1_000_000]);
        let mut path = Path::clean(rate, milliseconds(rng, 150));
        path.queue = rng.pick(&[u64::MAX, 1_000_000, 100_000, 30_000, 12_000]).max(9_100);
        let fault = |rng: &mut Rng, levels: &[f64]| if rng.chance(0.5) { rng.pick(levels) } else { 0.0 };
        path.loss = fault(rng, &[0.001, 0.01, 0.03, 0.1, 0.2]);
        path.duplication = fault(rng, &[0.001, 0.01, 0.1]);
        path.reordering = fault(rng, &[0.001, 0.01, 0.1, 0.4]);
        path.late = milliseconds(rng, 60);
        path.corruption = fault(rng, &[0.001, 0.01, 0.05]);
        path.spares_acknowledgements = rng.chance(0.2);
        if rng.chance(0.3) {
            path.jitter = milliseconds(rng, 20);
        }
        if rng.chance(0.3) {
            path.coalescing = Duration::from_micros(rng.range(1..2000));
        }
        if rng.chance(0.1) {
            path.mtu = Some(rng.range(576..1500) as u16);
        }
        if rng.chance(0.1) {
            let from = Instant::from_millis(1000 + rng.size(5_000));
            path.outage = Some((from, from + milliseconds(rng, 20_000)));
        }
        path
    }

    fn config(rng: &mut Rng, side: usize, mtu: u16, vlan: Option<u16>, neighbours_known: bool) -> Config {
        let peer = (IpAddr::V4(ADDRESSES[1 - side]), MACS[1 - side]);
        let mut config = Config {
            mac: MACS[side],
            addresses: vec![(IpAddr::V4(ADDRESSES[side]), 24)],
            neighbours: if neighbours_known { vec![peer] } else { Vec::new() },
            mtu,
            vlan,
            loopback_mtu: rng.pick(&[65535, 16384, 1500]),
            max_kept_frames: rng.pick(&[0, 1, 8, 128, 1024]),
            secret: [rng.next(), rng.next()],
            ..Config::default()
        };
        let tcp = &mut config.tcp;
        tcp.congestion = rng.pick(&[CongestionControl::Cubic, CongestionControl::NewReno]);
        tcp.pacing = rng.chance(0.3);
        tcp.initial_window = rng.pick(&[10, 10, 1, 2, 64]);
        tcp.send_buffer = rng.pick(&[1 << 20, 1 << 20, 65536, 10_000, 1000]);
        tcp.receive_buffer = rng.pick(&[1 << 20, 1 << 20, 65536, 65535, 10_000, 3000]);
        tcp.min_rto = Duration::from_millis(rng.pick(&[200, 200, 20, 1]));
        tcp.delayed_ack = Duration::from_millis(rng.pick(&[40, 40, 1, 200]));
        // A wire that loses a fifth must not exhaust them.
        (tcp.syn_retries, tcp.synack_retries) = (14, 14);
        tcp.time_wait = Duration::from_secs(rng.pick(&[60, 10, 1]));
        tcp.fin_wait_2 = Duration::from_secs(60);
        tcp.max_half_open = rng.pick(&[4096, 4096, 4096, 1, 3]);
        tcp.timestamps = rng.chance(0.8);
        tcp.sack = rng.chance(0.8);
        tcp.window_scaling = rng.chance(0.8);
        config
    }

    fn habits(rng: &mut Rng, most: u64) -> Habits {
        let pause = |rng: &mut Rng| if rng.chance(0.2) { milliseconds(rng, 100) } else { Duration::ZERO };
        let bytes = match rng.range(0..10) {
            0 => 0,
            1..4 => rng.range(most / 2..most + 1),
            _ => rng.size(most),
        };
        // Many tiny writes with a pause after each would take for ever.
        let slow = bytes.div_ceil(500).max(1);
        let size = |rng: &mut Rng, pause: Duration| {
            let least = if pause.is_zero() { bytes.div_ceil(20_000).max(1) } else { slow };
            least + rng.size(100_000)
        };
        let (write_pause, read_pause) = (pause(rng), pause(rng));
        let mut options = SocketOptions {
            nodelay: rng.chance(0.4),
            cork: rng.chance(0.05),
            quick_ack: rng.chance(0.1),
            ..SocketOptions::default()
        };
        if rng.chance(0.1) {
            let idle = milliseconds(rng, 10_000).max(Duration::from_millis(500));
            options.keep_alive = Some(KeepAlive { idle, interval: Duration::from_secs(1), probes: 100 });
        }
        Habits {
            bytes,
            write_most: size(rng, write_pause),
            read_most: size(rng, read_pause).max(slow * 4),
            write_pause,
            read_pause,
            options,
        }
    }

    fn plan(rng: &mut Rng, most: u64, loopback: bool) -> Plan {
        let mut habits = [Self::habits(rng, most), Self::habits(rng, most)];
        let role = rng.range(0..2) as usize;
        let ending = match rng.range(0..10) {
            0 => Ending::Abort(role, milliseconds(rng, 2000)),
            1 => Ending::CloseEarly(role, milliseconds(rng, 2000)),
            2 => {
                habits[1 - role].bytes = 0;
                Ending::CloseAfterWriting(role)
            }
            3 | 4 => Ending::Late(role),
            _ => Ending::Orderly,
        };
        let opener = rng.range(0..2) as usize;
        let inside = loopback && rng.chance(0.5);
        let sides = [opener, if inside { opener } else { 1 - opener }];
        Plan { open_at: Instant::from_millis(1000) + milliseconds(rng, 3000), sides, habits, ending }
    }

    /// Runs it. Panics, with what is wrong, if anything is.
    pub(super) fn run(&self) -> Totals {
        let end = |side: usize| {
            let host = Host::new(self.configs[side].clone(), self.frames[side]);
            Endpoint::new(host, side, ADDRESSES, self.plans.clone(), self.manners[side], self.seed)
        };
        let mut rng = Rng::new(!self.seed);
        let [there, back] = self.paths.clone();
        let mut net = Net::new(end(0), end(1), there, back, &mut rng);
        let start = net.now;
        // Until nothing is left to happen: a connection may be accepted long after its opener has forgotten it.
        net.run(start + LIMIT, |_| false);
        for end in [&net.a, &net.b] {
            let open: Vec<&Task> = end.tasks.iter().filter(|task| !task.over && task.begun.is_some()).collect();
            assert!(open.is_empty(), "not over after {:?}: {open:#?}", net.elapsed());
        }
        let totals = self.judge(&net);
        assert!(net.a.heard <= 4 * net.b.told && net.b.heard <= 4 * net.a.told, "datagrams from nowhere");
        net.a.leave(net.now);
        net.b.leave(net.now);
        let until = net.now + AFTERWARDS;
        net.run(until, |_| false);
        for (side, end) in [&net.a, &net.b].into_iter().enumerate() {
            let left = end.host.held();
            assert!(left.is_empty(), "side {side} still holds {left:?} at {}", net.now);
            assert_eq!(end.host.in_flight(), 0, "frames that side {side} still holds");
            assert_eq!(end.host.stack.orphans(), 0, "orphans of side {side}");
        }
        totals
    }

    /// Whether each connection went as planned.
    fn judge(&self, net: &Net<Endpoint, Endpoint>) -> Totals {
        let ends = [&net.a, &net.b];
        let mut totals = Totals::default();
        for Fates { sent, lost, overflowed, duplicated, reordered, corrupted, refused } in
            net.links.each_ref().map(|l| l.fates)
        {
            totals.count("wire.packets", sent);
            totals.count("wire.lost", lost);
            totals.count("wire.overflowed", overflowed);
            totals.count("wire.duplicated", duplicated);
            totals.count("wire.reordered", reordered);
            totals.count("wire.corrupted", corrupted);
            totals.count("wire.refused", refused);
        }
        for end in ends {
            end.host.stack.stats().each().for_each(|(name, count)| totals.count(&name, count));
            totals.count("card.refused", end.host.card.refused);
            totals.count("pool.empty", end.lost as u64);
            totals.count("datagrams", end.heard);
        }
        for (number, plan) in self.plans.iter().enumerate() {
            let task = |role: usize| {
                let tasks = &ends[plan.sides[role]].tasks;
                tasks.iter().find(|task| (task.plan, task.role) == (number, role)).expect("every role has a task")
            };
            let roles = [task(0), task(1)];
            totals.count("connections", 1);
            totals.count("bytes", roles[0].read + roles[1].read);
            for (role, task) in roles.iter().enumerate() {
                assert!(task.read <= roles[1 - role].written, "plan {number}: more was read than written");
            }
            let failed = roles.iter().any(|task| task.error.is_some()) || roles[1].begun.is_none();
            totals.count("connections.failed", u64::from(failed));
            if !plan.is_orderly() || self.may_fail(plan, roles) {
                continue;
            }
            assert!(!failed, "plan {number} failed: {roles:#?}\n{plan:#?}");
            for (role, task) in roles.iter().enumerate() {
                if plan.ending == Ending::CloseAfterWriting(role) {
                    continue;
                }
                let written = plan.habits[1 - role].bytes;
                assert_eq!(
                    (task.read, task.end_seen),
                    (written, true),
                    "plan {number} role {role}: {task:#?}\n{plan:#?}"
                );
            }
        }
        totals
    }

    /// Whether this connection had a reason to fail other than its own ending.
    fn may_fail(&self, plan: &Plan, roles: [&Task; 2]) -> bool {
        let [opener, acceptor] = plan.sides;
        if self.manners[acceptor].unlisten_at.is_some() || self.configs[acceptor].tcp.max_half_open < 64 && self.cookies
        {
            return true;
        }
        // Of a connection that its program has closed, eight retransmissions may be lost one after the other.
        let lossy = self.paths.iter().any(|path| path.loss >= 0.1);
        let gave_up = |error| matches!(error, Some(SocketError::TimedOut | SocketError::ConnectionReset));
        let one_sided = roles.iter().any(|task| gave_up(task.error)) && roles.iter().any(|task| task.error.is_none());
        if lossy && one_sided {
            return true;
        }
        // A neighbour that does not answer in time is unreachable for a connection that is just being opened.
        let unreachable = roles.iter().any(|task| task.error == Some(SocketError::HostUnreachable));
        let outage = self.paths.iter().any(|path| path.outage.is_some());
        unreachable && outage && opener != acceptor
    }
}
