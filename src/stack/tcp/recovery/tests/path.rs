//! A sender, a path with a bottleneck, an ideal receiver: simulated time, everything from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::super::{Ack, Agreed, Expired, Next, Recovery};
use super::random::Random;
use crate::stack::config::{CongestionControl, TcpConfig};
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// Payload of a full segment; a packet has 52 bytes more.
pub(super) const MSS: u32 = 1448;
const OVERHEAD: u64 = 52;
const TICK: u64 = 1_000_000;

/// What a path is like.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Bits per second.
    pub(super) rate: u64,
    /// Without queueing.
    pub(super) rtt: Duration,
    /// Packets that the bottleneck holds.
    pub(super) queue: usize,
    /// Shares of 1.
    pub(super) loss: f64,
    pub(super) ack_loss: f64,
    pub(super) reorder: f64,
    /// By how much a packet comes late that is reordered.
    pub(super) late: Duration,
    pub(super) seed: u64,
    pub(super) congestion: CongestionControl,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    pub(super) pacing: bool,
    /// An acknowledgement for every second segment, or after this time.
    pub(super) delayed_ack: Option<Duration>,
    pub(super) min_rto: Duration,
    /// The receiver's window, bytes.
    pub(super) window: u32,
    /// Sequence number of the first byte.
    pub(super) first: u32,
}

impl Path {
    pub(super) fn new(rate: u64, rtt: Duration) -> Self {
        let bdp = rate as u128 * rtt.as_nanos() / 8_000_000_000 / (u128::from(MSS) + u128::from(OVERHEAD));
        Self {
            rate,
            rtt,
            queue: (bdp as usize).max(32),
            loss: 0.0,
            ack_loss: 0.0,
            reorder: 0.0,
            late: Duration::ZERO,
            seed: 1,
            congestion: CongestionControl::Cubic,
            sack: true,
            timestamps: true,
            pacing: false,
            delayed_ack: None,
            min_rto: Duration::from_millis(200),
            window: 16 << 20,
            first: 0xffff_0000,
        }
    }

    /// Bytes per second of payload if nothing is lost.
    pub(super) fn line(&self) -> f64 {
        self.rate as f64 / 8.0 * f64::from(MSS) / (f64::from(MSS) + OVERHEAD as f64)
    }

    /// Mathis et al.: sqrt(3/2p) segments per round trip of that length, or the line.
    pub(super) fn mathis(&self, rtt: Duration) -> f64 {
        ((1.5 / self.loss).sqrt() * f64::from(MSS) / rtt.as_secs_f64()).min(self.line())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Data { offset: u64, len: u32, stamp: u64 },
    Ack { ack: u64, blocks: Vec<(u64, u64)>, echo: u64 },
    DelayedAck,
    Wake,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) delivered: u64,
    pub(super) sent: u64,
    pub(super) resent: u64,
    pub(super) timeouts: u32,
    pub(super) probes: u32,
    pub(super) recoveries: u32,
    pub(super) spurious: u32,
    pub(super) elapsed: Duration,
    pub(super) dropped: u64,
    /// On the average, queueing included.
    pub(super) rtt: Duration,
}

impl Outcome {
    pub(super) fn goodput(&self) -> f64 {
        self.delivered as f64 / self.elapsed.as_secs_f64()
    }
}

/// What arrived, by offset in the stream.
#[derive(Default)]
struct Receiver {
    next: u64,
    /// Ascending, apart.
    held: Vec<(u64, u64)>,
    /// Most recent first.
    recent: Vec<u64>,
    echo: u64,
    waiting: u32,
}

impl Receiver {
    /// Returns the duplicate range if it had all that already.
    fn take(&mut self, from: u64, to: u64) -> Option<(u64, u64)> {
        if to <= self.next || self.held.iter().any(|held| held.0 <= from && to <= held.1) {
            return Some((from, to));
        }
        if from <= self.next {
            self.next = to;
        } else {
            self.held.push((from, to));
            self.held.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::with_capacity(self.held.len());
            for range in self.held.drain(..) {
                match merged.last_mut() {
                    Some(last) if range.0 <= last.1 => last.1 = last.1.max(range.1),
                    _ => merged.push(range),
                }
            }
            self.held = merged;
            self.recent.retain(|at| *at != from);
            self.recent.insert(0, from);
        }
        while self.held.first().is_some_and(|held| held.0 <= self.next) {
            let held = self.held.remove(0);
            self.next = self.next.max(held.1);
        }
        None
    }

    fn blocks(&mut self, duplicate: Option<(u64, u64)>) -> Vec<(u64, u64)> {
        let mut blocks: Vec<(u64, u64)> = duplicate.into_iter().collect();
        self.recent.truncate(16);
        for at in &self.recent {
            if let Some(held) = self.held.iter().find(|held| held.0 <= *at && *at < held.1) {
                if !blocks[usize::from(duplicate.is_some())..].contains(held) {
                    blocks.push(*held);
                }
            }
        }
        blocks.truncate(3);
        blocks
    }
}

/// Drives one transfer.
pub(super) struct Simulation {
    pub(super) path: Path,
    pub(super) sender: Recovery,
    random: Random,
    now: u64,
    count: u64,
    happens: BinaryHeap<Reverse<(u64, u64, Happens)>>,
    receiver: Receiver,
    /// When the bottleneck will have sent what it holds.
    free: u64,
    departures: std::collections::VecDeque<u64>,
    wake: u64,
    /// Offset of the oldest unacknowledged byte.
    una: u64,
    pub(super) outcome: Outcome,
    rtts: (u64, u64),
    /// Drops by order of sending, beside chance.
    pub(super) drop: Box<dyn FnMut(u64) -> bool>,
    /// Drops by offset in the stream.
    pub(super) drop_offset: Box<dyn FnMut(u64) -> bool>,
    /// While that time lasts, the bottleneck sends nothing.
    pub(super) stall: std::ops::Range<u64>,
}

impl Simulation {
    pub(super) fn new(path: Path) -> Self {
        let config = TcpConfig { pacing: path.pacing, min_rto: path.min_rto, ..TcpConfig::default() };
        let agreed = Agreed {
            sack: path.sack,
            timestamps: path.timestamps.then_some(Duration::from_nanos(TICK)),
            mss: MSS as u16,
        };
        let mut sender = Recovery::new(&config, path.congestion, agreed, Seq(path.first));
        sender.handshake(Instant::ZERO, Some(path.rtt), 0);
        Self {
            sender,
            random: Random::new(path.seed),
            now: 0,
            count: 0,
            happens: BinaryHeap::new(),
            receiver: Receiver::default(),
            free: 0,
            departures: std::collections::VecDeque::new(),
            wake: u64::MAX,
            una: 0,
            outcome: Outcome::default(),
            rtts: (0, 0),
            drop: Box::new(|_| false),
            drop_offset: Box::new(|_| false),
            stall: 0..0,
            path,
        }
    }

    fn at(&mut self, when: u64, what: Happens) {
        self.count += 1;
        self.happens.push(Reverse((when, self.count, what)));
    }

    fn seq(&self, offset: u64) -> Seq {
        Seq(self.path.first.wrapping_add(offset as u32))
    }

    /// Through the bottleneck to the receiver.
    fn transmit(&mut self, offset: u64, len: u32) {
        let number = self.outcome.sent;
        self.outcome.sent += 1;
        let now = self.now;
        while self.departures.front().is_some_and(|at| *at <= now) {
            self.departures.pop_front();
        }
        let lost = self.random.chance(self.path.loss) || (self.drop)(number) || (self.drop_offset)(offset);
        if self.departures.len() > self.path.queue {
            self.outcome.dropped += 1;
            return;
        }
        let time = (u64::from(len) + OVERHEAD) * 8_000_000_000 / self.path.rate;
        let begin = self.free.max(now);
        self.free = if self.stall.contains(&begin) { self.stall.end } else { begin } + time;
        self.departures.push_back(self.free);
        if lost {
            self.outcome.dropped += 1;
            return;
        }
        let late = if self.random.chance(self.path.reorder) { self.path.late.as_nanos() as u64 } else { 0 };
        let arrives = self.free + self.path.rtt.as_nanos() as u64 / 2 + late;
        self.at(arrives, Happens::Data { offset, len, stamp: now / TICK });
    }

    fn acknowledge(&mut self, duplicate: Option<(u64, u64)>) {
        self.receiver.waiting = 0;
        if self.random.chance(self.path.ack_loss) {
            return;
        }
        let blocks = if self.path.sack { self.receiver.blocks(duplicate) } else { Vec::new() };
        let (ack, echo) = (self.receiver.next, self.receiver.echo);
        let arrives = self.now + self.path.rtt.as_nanos() as u64 / 2;
        self.at(arrives, Happens::Ack { ack, blocks, echo });
    }

    fn send(&mut self, total: u64) {
        let now = Instant::from_nanos(self.now);
        loop {
            let nxt = self.una + u64::from(self.sender.outstanding());
            let unsent = (total - nxt).min(64 << 20) as u32;
            let window_end = self.seq(self.una) + self.path.window;
            match self.sender.next(now, unsent, window_end) {
                Next::Resend { seq, len } => {
                    assert!(len > 0 && len <= MSS && seq.at_or_after(self.sender.una()));
                    let offset = self.una + u64::from(seq.since(self.sender.una()));
                    self.outcome.resent += 1;
                    self.sender.sent(now, seq, len);
                    self.transmit(offset, len);
                }
                Next::New { max } => {
                    assert!(max > 0 && max <= unsent);
                    let len = max.min(MSS);
                    let seq = self.sender.nxt();
                    self.sender.sent(now, seq, len);
                    self.transmit(nxt, len);
                }
                Next::Paced(at) => {
                    assert!(at > now);
                    self.wake_at(at.as_nanos());
                    break;
                }
                Next::Nothing => break,
            }
        }
        match self.sender.deadline() {
            Some(at) => {
                assert!(at >= now, "a deadline in the past: {at} at {now}");
                self.wake_at(at.as_nanos());
            }
            None => assert_eq!(self.sender.outstanding(), 0, "in flight without a deadline"),
        }
    }

    fn wake_at(&mut self, at: u64) {
        if at < self.wake || self.wake <= self.now {
            self.wake = at;
            self.at(at, Happens::Wake);
        }
    }

    /// Until `total` bytes are acknowledged, or the time is over.
    pub(super) fn run(&mut self, total: u64, limit: Duration) -> &Outcome {
        self.send(total);
        while let Some(Reverse((when, _, what))) = self.happens.pop() {
            if when > limit.as_nanos() as u64 {
                self.now = limit.as_nanos() as u64;
                break;
            }
            self.now = when;
            let now = Instant::from_nanos(when);
            match what {
                Happens::Data { offset, len, stamp } => self.receive(offset, len, stamp),
                Happens::DelayedAck => {
                    if self.receiver.waiting > 0 {
                        self.acknowledge(None);
                    }
                }
                Happens::Ack { ack, blocks, echo } => {
                    let sacks: Vec<(Seq, Seq)> =
                        blocks.iter().map(|block| (self.seq(block.0), self.seq(block.1))).collect();
                    let number = self.seq(ack);
                    let echo_rtt = self
                        .path
                        .timestamps
                        .then(|| Duration::from_nanos((self.now / TICK).saturating_sub(echo) * TICK));
                    let acked = self.sender.ack(
                        now,
                        &Ack {
                            ack: number,
                            sacks: &sacks,
                            echo_rtt,
                            window_changed: false,
                            has_payload: false,
                            ece: false,
                        },
                    );
                    self.una += u64::from(acked.bytes);
                    if let Some(rtt) = acked.rtt {
                        self.rtts = (self.rtts.0 + rtt.as_nanos() as u64, self.rtts.1 + 1);
                    }
                    self.outcome.recoveries += u32::from(acked.entered);
                    self.outcome.spurious += u32::from(acked.spurious);
                }
                Happens::Wake => {
                    self.wake = u64::MAX;
                }
            }
            while self.sender.deadline().is_some_and(|at| at <= now) {
                match self.sender.expired(now) {
                    Expired::Timeout { count } => {
                        assert!(count < 15, "{count} timeouts in a row");
                        self.outcome.timeouts += 1;
                    }
                    Expired::Probe => self.outcome.probes += 1,
                    Expired::Lost { entered } => self.outcome.recoveries += u32::from(entered),
                    Expired::Nothing => {}
                }
            }
            if self.count % 64 < 2 {
                super::check(&self.sender);
            }
            self.send(total);
            if self.una == total {
                break;
            }
        }
        self.outcome.delivered = self.receiver.next;
        self.outcome.elapsed = Duration::from_nanos(self.now);
        self.outcome.rtt = Duration::from_nanos(self.rtts.0 / self.rtts.1.max(1));
        &self.outcome
    }

    fn receive(&mut self, offset: u64, len: u32, stamp: u64) {
        let to = offset + u64::from(len);
        let in_order = offset <= self.receiver.next;
        let filled = !self.receiver.held.is_empty();
        if in_order && to > self.receiver.next {
            self.receiver.echo = stamp;
        }
        let duplicate = self.receiver.take(offset, to);
        self.receiver.waiting += 1;
        match self.path.delayed_ack {
            Some(delay) if in_order && !filled && duplicate.is_none() && self.receiver.waiting < 2 => {
                let at = self.now + delay.as_nanos() as u64;
                self.at(at, Happens::DelayedAck);
            }
            _ => self.acknowledge(duplicate),
        }
    }
}
