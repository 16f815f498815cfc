//! One pacer for every source and backend.
//!
//! Packets are due on a schedule fixed at the start: the n-th when `cost of all before it / rate` has passed. Errors of
//! a single wait therefore never add up. Whoever falls behind may catch up, but only a bounded part of it, and the
//! rest is counted as given up: a burst of everything missed would measure the queues, not the rate.

use std::time::{Duration, Instant};

/// How fast packets leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as the port takes them.
    Max,
    /// Packets per second.
    Packets(f64),
    /// Bits per second of frames without FCS, preamble and gap.
    Bits(f64),
}

impl Rate {
    /// Packets per second for frames of that many bytes; `None` if unlimited.
    #[must_use]
    pub fn packets_per_second(&self, size: usize) -> Option<f64> {
        match *self {
            Rate::Max => None,
            Rate::Packets(rate) => Some(rate),
            Rate::Bits(rate) => Some(rate / (size as f64 * 8.0)),
        }
    }
}

/// Says when packets are due. Time is an argument: nanoseconds since its start.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Units (packets or bits) per nanosecond; infinite if unlimited.
    rate: f64,
    in_bits: bool,
    /// Units sent.
    spent: f64,
    /// How far the schedule has been moved back, in nanoseconds.
    slipped_ns: f64,
    /// Packets that leave together.
    burst: usize,
}

/// Whoever falls further behind than this gives the rest up.
const CATCH_UP_NS: f64 = 10e6;

/// Closer to its deadline than this, [`Waiter`] does not sleep.
const SPIN: Duration = Duration::from_micros(120);

impl Pacer {
    /// A pacer that releases packets in bursts of at least `burst`.
    #[must_use]
    pub fn new(rate: Rate, burst: usize) -> Self {
        let (rate, in_bits) = match rate {
            Rate::Max => (f64::INFINITY, false),
            Rate::Packets(rate) => (rate / 1e9, false),
            Rate::Bits(rate) => (rate / 1e9, true),
        };
        Self { rate, in_bits, spent: 0.0, slipped_ns: 0.0, burst: burst.max(1) }
    }

    #[inline]
    fn cost(&self, size: usize) -> f64 {
        if self.in_bits { size as f64 * 8.0 } else { 1.0 }
    }

    /// When the next packet is due, in nanoseconds since the start.
    #[inline]
    #[must_use]
    pub fn next_due_ns(&self) -> u64 {
        if self.rate.is_infinite() { 0 } else { (self.spent / self.rate + self.slipped_ns).ceil() as u64 }
    }

    /// How many packets of `size` bytes may leave at `now_ns`, at most `most`: none, or at least a burst.
    #[inline]
    pub fn due(&mut self, now_ns: u64, size: usize, most: usize) -> usize {
        if self.rate.is_infinite() {
            return most;
        }
        let behind_ns = now_ns as f64 - (self.spent / self.rate + self.slipped_ns);
        if behind_ns < 0.0 {
            return 0;
        }
        let step_ns = self.cost(size) / self.rate * self.burst as f64;
        let excess = behind_ns - CATCH_UP_NS.max(step_ns);
        if excess > 0.0 {
            self.slipped_ns += excess;
        }
        let bursts = 1 + ((behind_ns - excess.max(0.0)) / step_ns) as usize;
        bursts.saturating_mul(self.burst).min(most)
    }

    /// Notes that a packet of `size` bytes was sent.
    #[inline]
    pub fn spend(&mut self, size: usize, packets: usize) {
        self.spent += self.cost(size) * packets as f64;
    }

    /// How much of the schedule was given up because the sender could not keep up, in seconds.
    #[must_use]
    pub fn given_up(&self) -> f64 {
        self.slipped_ns / 1e9
    }
}

/// Waits for deadlines: sleeps while they are far, spins when they are near.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Whether to spin: precise to a microsecond, for the price of a CPU.
    pub spin: bool,
}

impl Waiter {
    /// Waits until `deadline`, or a little less: the caller looks at the clock again.
    pub fn until(&self, deadline: Instant) {
        const SLICE: Duration = Duration::from_millis(20);
        let left = deadline.saturating_duration_since(Instant::now());
        if !self.spin {
            std::thread::sleep(left.min(SLICE));
        } else if left > SPIN {
            std::thread::sleep((left - SPIN).min(SLICE));
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends whatever is due every `step` for `total`, all in nanoseconds.
    fn run(pacer: &mut Pacer, size: usize, step: u64, total: u64, most: usize) -> Vec<(u64, usize)> {
        let mut sent = Vec::new();
        for now in (0..total).step_by(step as usize) {
            let n = pacer.due(now, size, most);
            pacer.spend(size, n);
            if n > 0 {
                sent.push((now, n));
            }
        }
        sent
    }

    fn total(sent: &[(u64, usize)]) -> usize {
        sent.iter().map(|(_, n)| n).sum()
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn rates_hold_to_the_packet() {
        for (rate, step) in [(1.0, 1_000_000), (3.0, 1_000_000), (1e3, 1_000), (1e5, 700), (7e6, 1_300)] {
            let sent = run(&mut Pacer::new(Rate::Packets(rate), 1), 60, step, SECOND, usize::MAX);
            let off = total(&sent) as f64 - rate;
            assert!((0.0 - rate * step as f64 / 1e9..=1.0).contains(&off), "{rate}: {} packets", total(&sent));
        }
    }

    #[test]
    fn bits_are_counted_by_size() {
        // 1 Gbit/s of 1250-byte frames is 100 000 a second.
        let sent = run(&mut Pacer::new(Rate::Bits(1e9), 1), 1250, 1_000, SECOND, usize::MAX);
        assert!((99_999..=100_001).contains(&total(&sent)), "{}", total(&sent));
        assert_eq!(Rate::Bits(1e9).packets_per_second(1250), Some(1e5));
    }

    #[test]
    fn single_packets_are_evenly_spaced() {
        let sent = run(&mut Pacer::new(Rate::Packets(1e4), 1), 60, 1_000, SECOND, 64);
        assert!(sent.iter().all(|(_, n)| *n == 1));
        assert!(sent.windows(2).all(|w| w[1].0 - w[0].0 == 100_000));
    }

    #[test]
    fn bursts_leave_together_at_the_same_average() {
        let sent = run(&mut Pacer::new(Rate::Packets(1e5), 32), 60, 1_000, SECOND, 64);
        assert!(sent.iter().all(|(_, n)| *n == 32));
        assert!(total(&sent).abs_diff(100_000) <= 32, "{}", total(&sent));
    }

    #[test]
    fn a_small_delay_is_caught_up_and_a_long_one_only_in_part() {
        let mut pacer = Pacer::new(Rate::Packets(1e6), 1);
        let after = |pacer: &mut Pacer, ns| {
            let n = pacer.due(ns, 60, usize::MAX);
            pacer.spend(60, n);
            n
        };
        assert_eq!(after(&mut pacer, 0), 1);
        assert_eq!(after(&mut pacer, 5_000_000), 5_000, "5 ms late: all of it");
        assert_eq!(pacer.given_up(), 0.0);
        let caught = after(&mut pacer, SECOND);
        assert!((10_000..=10_002).contains(&caught), "one second late: 10 ms of it, not {caught}");
        assert!((0.98..0.99).contains(&pacer.given_up()), "{}", pacer.given_up());
        assert_eq!(after(&mut pacer, SECOND + 1_000_000).abs_diff(1_000), 0, "and then on as before");
    }

    #[test]
    fn no_limit_is_no_wait() {
        let mut pacer = Pacer::new(Rate::Max, 1);
        assert_eq!(pacer.due(0, 60, 64), 64);
        pacer.spend(60, 64);
        assert_eq!((pacer.due(0, 60, 64), pacer.next_due_ns()), (64, 0));
    }

    #[test]
    fn slow_rates_are_not_bound_by_catching_up() {
        let mut pacer = Pacer::new(Rate::Packets(1.0), 1);
        assert_eq!(pacer.due(0, 60, 64), 1);
        pacer.spend(60, 1);
        assert_eq!(pacer.due(SECOND - 1, 60, 64), 0);
        assert_eq!(pacer.next_due_ns(), SECOND);
        assert_eq!(pacer.due(SECOND + 500_000_000, 60, 64), 1, "half a second late is not a second packet");
        pacer.spend(60, 1);
        assert_eq!(pacer.next_due_ns(), 2 * SECOND, "and the schedule stands");
    }
}
