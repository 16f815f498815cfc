use super::{BUCKETS, Histogram, LIMIT_BITS, Metrics, bucket, last_of};
use proptest::prelude::*;
use std::time::Duration;

const fn ns(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

#[test]
fn every_value_is_in_one_bucket_and_buckets_are_narrow() {
    let mut next = 0;
    for at in 0..BUCKETS {
        let last = last_of(at);
        assert!(last >= next, "bucket {at} is empty");
        assert_eq!((bucket(next), bucket(last)), (at, at));
        assert!((last - next) as f64 <= next as f64 / 16.0, "bucket {at}: {next} to {last}");
        next = last + 1;
    }
    assert_eq!(next, 1 << LIMIT_BITS);
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
}

#[test]
fn an_empty_one_says_zero() {
    let empty = Histogram::new();
    let said = [empty.min(), empty.max(), empty.mean(), empty.sum(), empty.quantile(0.0), empty.quantile(1.0)];
    assert_eq!((empty.count(), said), (0, [Duration::ZERO; 6]));
}

#[test]
fn small_values_are_exact() {
    let mut histogram = Histogram::new();
    (1..=31).for_each(|n| histogram.record(ns(n)));
    assert_eq!((histogram.min(), histogram.mean(), histogram.max()), (ns(1), ns(16), ns(31)));
    assert_eq!((histogram.quantile(0.0), histogram.quantile(0.5), histogram.quantile(1.0)), (ns(1), ns(16), ns(31)));
    assert_eq!((histogram.quantile(-1.0), histogram.quantile(2.0)), (ns(1), ns(31)));
    assert!(histogram.quantile(f64::NAN) >= ns(1));
}

#[test]
fn the_longest_are_counted_too() {
    let mut histogram = Histogram::new();
    histogram.record(Duration::MAX);
    histogram.record(Duration::from_secs(7200));
    assert_eq!((histogram.count(), histogram.max(), histogram.quantile(0.5)), (2, ns(u64::MAX), ns(u64::MAX)));
    assert_eq!(histogram.min(), Duration::from_secs(7200));
}

#[test]
fn recording_allocates_nothing() {
    let mut histogram = Histogram::new();
    let before = crate::counting::allocations();
    (0..1000).for_each(|n| histogram.record(ns(n * n * n)));
    assert_eq!(crate::counting::allocations(), before);
}

#[test]
fn metrics_are_printed_a_line_each() {
    let mut metrics = Metrics { iterations: 7, bytes_in: 1234, ..Metrics::default() };
    metrics.busy.record(Duration::from_micros(3));
    let text = metrics.to_string();
    assert!(text.contains("iterations       7\n") && text.contains("bytes_in         1234\n"), "{text}");
    assert!(text.contains("busy             1 times, 3.0µs in all"), "{text}");
}

proptest! {
    /// A quantile is not below that of the sorted values, and above it by a sixteenth at most.
    #[test]
    fn quantiles_are_those_of_the_sorted_values(
        mut values in prop::collection::vec(prop_oneof![0..100u64, 0..1u64 << 40], 1..200),
        q in 0.0..=1.0f64,
    ) {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.record(ns(*value)));
        values.sort_unstable();
        let rank = ((q * values.len() as f64).ceil() as usize).max(1);
        let (exact, said) = (values[rank - 1], histogram.quantile(q).as_nanos() as u64);
        prop_assert!(said >= exact && said - exact <= exact / 16, "{said} for {exact}");
        let sum: u64 = values.iter().sum();
        prop_assert_eq!(histogram.sum(), ns(sum));
        prop_assert_eq!(histogram.mean(), ns(sum / values.len() as u64));
        prop_assert_eq!((histogram.min(), histogram.max()), (ns(values[0]), ns(values[values.len() - 1])));
    }
}
