//! When it pays to let packets gather before they are taken in.
//!
//! A host that takes in each packet as it comes pays for every one what it could pay for many: a wake-up, a flush, the interrupt
//! with which the peer's processor learns of the answer. With many requests under way it costs nobody anything to take them in
//! together; with few, everybody waits for the pause to end. From the outside the two look alike, so it is tried out, as
//! network cards do with their interrupts: for a while packets are taken in no more often than every [`PAUSE`], and if fewer
//! come than before, somebody was waiting, and the next try is a long time off.

use crate::stack::Instant;
use std::time::Duration;

/// How far apart packets are taken in, plus the timer slack of a sleep (another 50 µs on Linux).
pub(super) const PAUSE: Duration = Duration::from_micros(50);
/// What is not worth a sleep.
const WORTH: Duration = Duration::from_micros(20);
/// How long packets are counted for one verdict.
const PERIOD: Duration = Duration::from_millis(2);
/// Packets per second below which two do not meet in one pause.
const LEAST: u64 = 20_000;
/// Verdicts in a row that hold, before it is tried without: the load may be another one.
const HOLDS: u32 = 50;
/// Verdicts in a row that end it: one may be somebody else's doing.
const LOSSES: u32 = 3;
/// How long a verdict against it holds, doubled each time up to the other.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Counts packets, and decides.
#[derive(Debug)]
pub(super) struct Gather {
    trial: Trial,
    /// How long the next verdict against it holds.
    wait: Duration,
    /// The period that is counted.
    since: Instant,
    packets: u64,
    /// When packets were last taken in.
    taken: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Packets are taken in as they come, until then at least.
    Off { until: Instant },
    /// They gather; packets per second before, verdicts for it so far, and against it in a row.
    On { before: u64, held: u32, lost: u32 },
}

impl Gather {
    pub(super) fn new(now: Instant) -> Self {
        Self { trial: Trial::Off { until: now }, wait: FIRST_WAIT, since: now, packets: 0, taken: now }
    }

    /// Until when nothing should be taken in, if that is worth a sleep.
    #[inline]
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        let Trial::On { .. } = self.trial else { return None };
        let until = self.taken + PAUSE;
        (until.saturating_since(now) >= WORTH).then_some(until)
    }

    /// So many packets have been taken in.
    #[inline]
    pub(super) fn took(&mut self, now: Instant, packets: usize) {
        if packets != 0 {
            self.taken = now;
            self.packets += packets as u64;
        }
        if now.saturating_since(self.since) >= PERIOD {
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Instant) {
        let elapsed = now.nanos_since(self.since);
        let rate = self.packets.saturating_mul(1_000_000_000) / elapsed.max(1);
        self.since = now;
        self.packets = 0;
        if elapsed > 2 * PERIOD.as_nanos() as u64 {
            // Nothing came for a while, or somebody else had the processor: no measure of anything.
            return;
        }
        self.trial = match self.trial {
            Trial::Off { until } if now < until || rate < LEAST => self.trial,
            Trial::Off { .. } => Trial::On { before: rate, held: 0, lost: 0 },
            // An eighth is more than what loads vary by themselves.
            Trial::On { before, held, lost } if rate < before - before / 8 => match lost + 1 {
                LOSSES => {
                    let until = now + self.wait;
                    self.wait = LAST_WAIT.min(2 * self.wait);
                    Trial::Off { until }
                }
                lost => Trial::On { before, held, lost },
            },
            Trial::On { held: HOLDS, .. } => {
                self.wait = FIRST_WAIT;
                Trial::Off { until: now }
            }
            Trial::On { before, held, .. } => Trial::On { before, held: held + 1, lost: 0 },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets come every `gap` µs, from peers that wait for the host if `closed`; how often a pause was asked for.
    fn run(gather: &mut Gather, gap: u64, closed: bool, ms: u64) -> u64 {
        let (mut now, mut pauses) = (gather.since, 0);
        let end = now + Duration::from_millis(ms);
        while now < end {
            let before = now;
            now += Duration::from_micros(gap);
            if let Some(until) = gather.pause(now) {
                now = until;
                pauses += 1;
            }
            let packets = if closed { 1 } else { now.nanos_since(before) / (gap * 1000) };
            gather.took(now, packets as usize);
        }
        pauses
    }

    #[test]
    fn what_comes_anyway_gathers() {
        let mut gather = Gather::new(Instant::ZERO);
        let pauses = run(&mut gather, 10, false, 1000);
        // Nearly always: once per pause and gap.
        assert!((12_000..=20_000).contains(&pauses), "{pauses}");
    }

    #[test]
    fn who_waits_is_not_kept_waiting() {
        let mut gather = Gather::new(Instant::ZERO);
        let first = run(&mut gather, 10, true, 1000);
        let later = run(&mut gather, 10, true, 10_000);
        assert!(first > 0 && later > 0, "tried again now and then");
        assert!(first < 1000 && later < 2000, "{first} {later}: at most 5 % of the time, then 1 %");
    }

    #[test]
    fn slow_traffic_is_taken_in_as_it_comes() {
        let mut gather = Gather::new(Instant::ZERO);
        assert_eq!(run(&mut gather, 60, false, 1000), 0);
        assert_eq!(run(&mut gather, 3000, false, 1000), 0);
    }

    #[test]
    fn a_load_that_begins_to_wait_is_noticed() {
        let mut gather = Gather::new(Instant::ZERO);
        assert!(run(&mut gather, 10, false, 1000) > 1000);
        assert!(run(&mut gather, 10, true, 1000) < 1000);
        run(&mut gather, 10, true, 3000);
        assert!(run(&mut gather, 10, false, 5000) > 10_000, "and that it does not any more");
    }
}
