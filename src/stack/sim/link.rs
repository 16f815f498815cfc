//! One direction of a wire: rate, queue, delay, and everything that can happen to a packet on its way.

use super::super::Instant;
use super::frame::fragmentation_needed;
use super::rng::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What a direction of a wire is like. Probabilities are per packet.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Bits per second of Ethernet frames, without preamble and check sequence.
    pub(super) rate: u64,
    /// From the end of sending to arrival.
    pub(super) delay: Duration,
    /// Added to it at random, without changing the order.
    pub(super) jitter: Duration,
    /// Bytes that may wait to be sent; what comes then is dropped.
    pub(super) queue: u64,
    pub(super) loss: f64,
    /// Whether only packets with a TCP payload are lost.
    pub(super) spares_acknowledgements: bool,
    pub(super) duplication: f64,
    /// How often a packet is overtaken by what was sent up to `late` after it.
    pub(super) reordering: f64,
    pub(super) late: Duration,
    /// How often a few neighbouring bits are flipped, or the end is cut off: faults that checksums must find.
    pub(super) corruption: f64,
    /// The receiving card hands over what has arrived once in this time.
    pub(super) coalescing: Duration,
    /// The largest IP packet that a router on the way passes on, if that is less than what the ends send.
    pub(super) mtu: Option<u16>,
    /// Nothing passes in this time.
    pub(super) outage: Option<(Instant, Instant)>,
}

impl Path {
    /// A wire without faults, with a queue that never overflows.
    pub(super) fn clean(rate: u64, delay: Duration) -> Self {
        Self {
            rate,
            delay,
            jitter: Duration::ZERO,
            queue: u64::MAX,
            loss: 0.0,
            spares_acknowledgements: false,
            duplication: 0.0,
            reordering: 0.0,
            late: Duration::ZERO,
            corruption: 0.0,
            coalescing: Duration::ZERO,
            mtu: None,
            outage: None,
        }
    }
}

/// What has happened on it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fates {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) overflowed: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    pub(super) corrupted: u64,
    /// By a router, as too large.
    pub(super) refused: u64,
}

/// A packet on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    order: u64,
    frame: Vec<u8>,
}

/// One direction of a wire.
pub(super) struct Link {
    pub(super) path: Path,
    pub(super) fates: Fates,
    rng: Rng,
    /// When the last bit of what waits is sent.
    busy: Instant,
    /// The latest arrival of what keeps its order.
    last: Instant,
    flights: BinaryHeap<Reverse<Flight>>,
    order: u64,
}

/// Where the IPv4 packet of a frame begins, if there is one.
fn ip_start(frame: &[u8]) -> Option<usize> {
    let tagged = frame.get(12..14) == Some(&[0x81, 0]);
    let start = if tagged { 18 } else { 14 };
    (frame.get(start - 2..start) == Some(&[8, 0])).then_some(start)
}

/// Bytes of TCP payload in a frame.
fn payload(frame: &[u8]) -> usize {
    match ip_start(frame).map(|start| &frame[start..]) {
        Some(ip) if ip.len() >= 40 && ip[9] == 6 => ip.len() - 20 - usize::from(ip[32] >> 4) * 4,
        _ => 0,
    }
}

impl Link {
    pub(super) fn new(path: Path, rng: Rng) -> Self {
        let (busy, last) = (Instant::ZERO, Instant::ZERO);
        Self { path, fates: Fates::default(), rng, busy, last, flights: BinaryHeap::new(), order: 0 }
    }

    /// How long sending so many bytes takes.
    fn serialization(&self, bytes: u64) -> Duration {
        Duration::from_nanos((u128::from(bytes) * 8_000_000_000 / u128::from(self.path.rate)) as u64)
    }

    /// Takes a frame; returns what becomes of it, for the trace. ARP is delayed only: it has no checksum and few tries.
    pub(super) fn send(&mut self, now: Instant, frame: Vec<u8>) -> &'static str {
        self.fates.sent += 1;
        let waiting = u128::from(self.busy.nanos_since(now)) * u128::from(self.path.rate) / 8_000_000_000;
        if waiting + frame.len() as u128 > u128::from(self.path.queue) {
            self.fates.overflowed += 1;
            return "queue full";
        }
        self.busy = self.busy.max(now) + self.serialization(frame.len() as u64);
        let faulty = ip_start(&frame).is_some();
        if self.path.outage.is_some_and(|(from, to)| from <= now && now < to) && faulty {
            self.fates.lost += 1;
            return "outage";
        }
        let may_be_lost = faulty && (!self.path.spares_acknowledgements || payload(&frame) > 0);
        if may_be_lost && self.rng.chance(self.path.loss) {
            self.fates.lost += 1;
            return "lost";
        }
        if faulty && self.rng.chance(self.path.duplication) {
            self.fates.duplicated += 1;
            self.fly(frame.clone());
        }
        if faulty && self.rng.chance(self.path.corruption) {
            self.fates.corrupted += 1;
            let damaged = self.damage(frame);
            self.fly(damaged);
            return "corrupted";
        }
        self.fly(frame);
        "sent"
    }

    /// What a router on the way says about a frame that is too large for it.
    pub(super) fn refusal(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (mtu, start) = (self.path.mtu?, ip_start(frame)?);
        let uncut = frame.get(start + 6)? & 0x40 != 0;
        if !uncut || frame.len() - start <= usize::from(mtu) {
            return None;
        }
        self.fates.refused += 1;
        Some(fragmentation_needed(frame, start, mtu))
    }

    /// Sends a frame of nobody's, which needs no place in the queue.
    pub(super) fn slip_in(&mut self, now: Instant, frame: Vec<u8>) {
        self.order += 1;
        self.flights.push(Reverse(Flight { at: now + self.path.delay, order: self.order, frame }));
    }

    fn fly(&mut self, frame: Vec<u8>) {
        let jitter = Duration::from_nanos(self.rng.range(0..self.path.jitter.as_nanos() as u64 + 1));
        let mut at = self.busy + self.path.delay + jitter;
        if ip_start(&frame).is_some() && self.rng.chance(self.path.reordering) {
            self.fates.reordered += 1;
            at += Duration::from_nanos(self.rng.range(0..self.path.late.as_nanos() as u64 + 1));
        } else {
            at = at.max(self.last);
            self.last = at;
        }
        let step = self.path.coalescing.as_nanos() as u64;
        if step > 0 {
            at = Instant::from_nanos(at.as_nanos().next_multiple_of(step));
        }
        self.order += 1;
        self.flights.push(Reverse(Flight { at, order: self.order, frame }));
    }

    /// Damage behind the Ethernet header that checksums are certain to find: up to 15 neighbouring bits, or a missing end.
    fn damage(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        let start = ip_start(&frame).expect("only IP is damaged");
        if self.rng.chance(0.2) {
            frame.truncate(self.rng.range(start as u64 + 1..frame.len() as u64) as usize);
            return frame;
        }
        let bits = (frame.len() - start) as u64 * 8;
        let (first, count) = (self.rng.range(0..bits), self.rng.range(1..16));
        for bit in first..(first + count).min(bits) {
            // The first and the last are flipped for certain, so that something is.
            if bit == first || self.rng.chance(0.5) {
                frame[start + (bit / 8) as usize] ^= 0x80 >> (bit % 8);
            }
        }
        frame
    }

    /// Hands over what has arrived.
    pub(super) fn arrivals(&mut self, now: Instant, to: &mut Vec<Vec<u8>>) {
        while self.flights.peek().is_some_and(|Reverse(flight)| flight.at <= now) {
            to.extend(self.flights.pop().map(|Reverse(flight)| flight.frame));
        }
    }

    /// When the next packet arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.flights.peek().map(|Reverse(flight)| flight.at)
    }
}
