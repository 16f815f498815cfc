//! Round-trip times, counted by size.

use std::fmt;
use std::time::Duration;

/// How many round trips took how long, in classes a quarter of a power of two wide: 1 µs to over a minute, each known to
/// within 19 %.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RttHistogram {
    counts: [u64; CLASSES],
}

/// Four to each power of two; the last class has everything beyond.
const CLASSES: usize = 4 * 27;

impl Default for RttHistogram {
    fn default() -> Self {
        Self { counts: [0; CLASSES] }
    }
}

impl RttHistogram {
    /// Counts a round trip.
    #[inline]
    pub(crate) fn record(&mut self, nanos: u64) {
        let us = (nanos / 1_000).max(1);
        if let Some(count) = self.counts.get_mut(class(us).min(CLASSES - 1)) {
            *count += 1;
        }
    }

    /// How many have been counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether none has been counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The round-trip time that a share of `q` (0 to 1) of all does not exceed, to the upper end of its class; `None` if
    /// none has been counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let all = self.len();
        // Rounded up: of ten, the 0.91 quantile is the tenth.
        let wanted = ((all as f64 * q.clamp(0.0, 1.0)).ceil() as u64).clamp(1, all.max(1));
        let mut seen = 0;
        self.classes().find_map(|(limit, count)| {
            seen += count;
            (seen >= wanted).then_some(limit)
        })
    }

    /// The classes that are not empty: the longest time in it, and how many.
    pub fn classes(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let all = self.counts.iter().enumerate().filter(|(_, count)| **count != 0);
        all.map(|(class, count)| (Duration::from_micros(end(class) - 1), *count))
    }
}

/// The class of a time of at least 1 µs: its highest bit, and the two bits behind it.
#[inline]
fn class(us: u64) -> usize {
    let power = us.ilog2() as usize;
    let quarter = if power >= 2 { us >> (power - 2) & 3 } else { us << (2 - power) & 3 };
    power * 4 + quarter as usize
}

/// The first time that is beyond a class, in microseconds.
fn end(class: usize) -> u64 {
    let (power, quarter) = (class / 4, class as u64 % 4);
    // Rounded up: below 4 µs classes begin and end within a microsecond.
    (((5 + quarter) << power) + 3) >> 2
}

impl fmt::Debug for RttHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.classes()).finish()
    }
}

/// Number, median, 99th percentile and longest.
impl fmt::Display for RttHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(half), Some(most), Some(longest)) = (self.quantile(0.5), self.quantile(0.99), self.quantile(1.0))
        else {
            return f.write_str("no round trips yet");
        };
        write!(f, "{} round trips, p50 {half:?}, p99 {most:?}, longest {longest:?}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for us in (0..26).flat_map(|power: u32| (0..64).map(move |n| (1u64 << power) + ((n << power) >> 6))) {
            let at = class(us);
            assert!(at >= last && at < CLASSES, "{us}");
            assert!(us < end(at), "{us} is beyond {}", end(at));
            assert!(end(at) - 1 <= us + us / 4, "{us} is told as {}", end(at) - 1);
            last = at;
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut histogram = RttHistogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.to_string()), (None, "no round trips yet".into()));
        for us in 1..=1000 {
            histogram.record(us * 1_000);
        }
        histogram.record(3_600_000_000_000);
        histogram.record(0);
        assert_eq!(histogram.len(), 1002);
        for (q, us) in [(0.001, 1), (0.1, 100), (0.5, 500), (0.99, 992)] {
            let told = histogram.quantile(q).unwrap().as_micros() as f64;
            assert!((told / f64::from(us) - 1.0).abs() < 0.25, "{q}: {told}");
        }
        assert!(histogram.quantile(1.0).unwrap() > Duration::from_secs(60));
        assert!(histogram.to_string().starts_with("1002 round trips, p50 5"), "{histogram}");
    }
}
