//! One-way latency from the times in stamps.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// A latency histogram: nanoseconds, three significant digits, up to a minute.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    /// Packets that arrived before they were sent: the clocks of the two ends disagree.
    negative: u64,
}

/// Percentiles in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Samples.
    pub samples: u64,
    /// The lowest.
    pub min_ns: u64,
    /// Half are below this.
    pub p50_ns: u64,
    /// 90 % are below this.
    pub p90_ns: u64,
    /// 99 % are below this.
    pub p99_ns: u64,
    /// 99.9 % are below this.
    pub p999_ns: u64,
    /// The highest.
    pub max_ns: u64,
    /// Samples below zero (two clocks that disagree); they count as 0.
    pub negative: u64,
}

impl Default for Latency {
    fn default() -> Self {
        const MINUTE_NS: u64 = 60_000_000_000;
        let histogram =
            Histogram::new_with_bounds(1, MINUTE_NS, 3).expect("bounds that hdrhistogram documents as legal");
        Self { histogram, negative: 0 }
    }
}

impl Latency {
    /// Adds a sample.
    #[inline]
    pub fn note(&mut self, ns: i64) {
        if ns < 0 {
            self.negative += 1;
        }
        self.histogram.saturating_record(ns.max(0) as u64);
    }

    /// Adds all samples of another, and empties it.
    pub fn absorb(&mut self, other: &mut Latency) {
        self.histogram.add(&other.histogram).expect("histograms of the same bounds");
        self.negative += other.negative;
        other.histogram.reset();
        other.negative = 0;
    }

    /// The percentiles; `None` without a sample.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let h = &self.histogram;
        (!h.is_empty()).then(|| Percentiles {
            samples: h.len(),
            min_ns: h.min(),
            p50_ns: h.value_at_quantile(0.5),
            p90_ns: h.value_at_quantile(0.9),
            p99_ns: h.value_at_quantile(0.99),
            p999_ns: h.value_at_quantile(0.999),
            max_ns: h.max(),
            negative: self.negative,
        })
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "min {}, p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
            Ns(self.min_ns),
            Ns(self.p50_ns),
            Ns(self.p90_ns),
            Ns(self.p99_ns),
            Ns(self.p999_ns),
            Ns(self.max_ns)
        )?;
        if self.negative > 0 {
            write!(f, " ({} below zero: the clocks of the two ends disagree)", self.negative)?;
        }
        Ok(())
    }
}

/// Nanoseconds in the unit that suits them, with three significant digits.
pub struct Ns(pub u64);

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            n @ ..1_000 => return f.pad(&format!("{n} ns")),
            n @ ..1_000_000 => (n as f64 / 1e3, "us"),
            n @ ..1_000_000_000 => (n as f64 / 1e6, "ms"),
            n => (n as f64 / 1e9, "s"),
        };
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentiles(), None);
        let mut part = Latency::default();
        for n in 1..=100_000 {
            part.note(n * 10);
        }
        latency.absorb(&mut part);
        assert_eq!(part.percentiles(), None);
        let p = latency.percentiles().unwrap();
        assert_eq!((p.samples, p.negative), (100_000, 0));
        for (found, wanted) in [(p.p50_ns, 500_000.0), (p.p99_ns, 990_000.0), (p.p999_ns, 999_000.0), (p.max_ns, 1e6)] {
            assert!((found as f64 / wanted - 1.0).abs() < 0.002, "{found} for {wanted}");
        }
    }

    #[test]
    fn clocks_that_disagree_are_told() {
        let mut latency = Latency::default();
        latency.note(-5);
        latency.note(i64::MAX);
        let p = latency.percentiles().unwrap();
        assert_eq!((p.samples, p.negative, p.min_ns), (2, 1, 0));
        assert!(p.to_string().contains("disagree"));
    }

    #[test]
    fn units() {
        for (ns, text) in
            [(5, "5 ns"), (1_234, "1.23 us"), (45_678, "45.7 us"), (123_456_789, "123 ms"), (2_000_000_000, "2.00 s")]
        {
            assert_eq!(Ns(ns).to_string(), text);
        }
    }
}
