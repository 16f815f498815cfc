//! What a loop has done, and how long its iterations take.

use std::fmt;
use std::time::Duration;

/// Sub-buckets per power of two: a value is known to a sixteenth of itself.
const LINEAR: usize = 16;
const LINEAR_BITS: u32 = LINEAR.ilog2();
/// Values from here on, in nanoseconds (18 minutes), are in the last bucket.
const LIMIT_BITS: u32 = 40;
const BUCKETS: usize = LINEAR * (LIMIT_BITS - LINEAR_BITS + 1) as usize;

/// Durations, counted in buckets: 16 of them per power of two nanoseconds, so that whatever it says is too large by a
/// sixteenth at most. Of fixed size (5 KB); recording costs a few nanoseconds and allocates nothing.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Histogram {
    /// Without any durations yet.
    #[must_use]
    pub fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum: 0, min: u64::MAX, max: 0 }
    }

    /// Counts one.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.sum += u128::from(nanos);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The shortest; zero without any.
    #[must_use]
    pub fn min(&self) -> Duration {
        Duration::from_nanos(if self.count == 0 { 0 } else { self.min })
    }

    /// The longest; zero without any.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.sum).unwrap_or(u64::MAX))
    }

    /// Their mean; zero without any.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let mean = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The duration that a part `q` of all does not exceed, 0 to 1 (what is outside is taken for the nearest of these):
    /// `quantile(0.5)` is the median. Never too small, too large by a sixteenth at most; zero without any.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        // The rank of the value that is asked for, from 1.
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                let last = if bucket == BUCKETS - 1 { self.max } else { last_of(bucket) };
                return Duration::from_nanos(last.clamp(self.min, self.max));
            }
        }
        self.max()
    }
}

/// The bucket of a value: the first 16 hold one each, then 16 share a power of two.
#[inline]
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << LIMIT_BITS) - 1);
    // 0 for the first 32 values, where the value itself is the bucket.
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(LINEAR_BITS + 1);
    shift as usize * LINEAR + (nanos >> shift) as usize
}

/// The last value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let shift = (bucket / LINEAR).saturating_sub(1);
    (((bucket - shift * LINEAR) as u64 + 1) << shift) - 1
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} times, {:.1?} in all; least {:.1?}, mean {:.1?}, median {:.1?}, 99% {:.1?}, most {:.1?}",
            self.count,
            self.sum(),
            self.min(),
            self.mean(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.max()
        )
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({self})")
    }
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        /// What a loop has done since it was made. A snapshot; counters never go back.
        ///
        /// `Display` prints one line for each.
        #[derive(Clone, Debug, Default)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[$doc])* pub $name: $kind,)*
        }

        impl fmt::Display for Metrics {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:<16} {}", stringify!($name), self.$name)?;)*
                Ok(())
            }
        }
    };
}

metrics! {
    /// Iterations.
    iterations: u64,
    /// Events of the network.
    events: u64,
    /// Calls of callbacks of any kind.
    callbacks: u64,
    /// Connections accepted.
    accepted: u64,
    /// Connections refused by `on_pre_open`.
    refused: u64,
    /// Connections to others that were established.
    connected: u64,
    /// Connections to others that failed.
    connect_errors: u64,
    /// Sockets closed, by whichever side.
    closed: u64,
    /// Sockets open at present: connections, those being made too.
    sockets_open: u64,
    /// Bytes received, as the network brought them: with TLS, its records.
    bytes_in: u64,
    /// Bytes that programs have written; with TLS, before they were encrypted.
    bytes_out: u64,
    /// Writes that the network has not taken whole.
    short_writes: u64,
    /// Timeouts of sockets, short and long ones.
    timeouts: u64,
    /// Deferred callbacks that were run.
    deferred: u64,
    /// Timers that were due.
    timers: u64,
    /// Timers open at present.
    timers_open: u64,
    /// Names looked up.
    lookups: u64,
    /// TLS handshakes completed.
    tls_handshakes: u64,
    /// TLS connections that failed: the handshake, a record, a certificate.
    tls_errors: u64,
    /// UDP datagrams received.
    datagrams_in: u64,
    /// UDP datagrams that the network has taken to be sent.
    datagrams_out: u64,
    /// How long the work of an iteration takes, without waiting.
    busy: Histogram,
    /// How long an iteration waits for something to happen.
    waiting: Histogram,
}

#[cfg(test)]
mod tests;
