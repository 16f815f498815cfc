//! Real and simulated time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that stands still until it is told to advance. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<AtomicU64>);

impl SimClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nanoseconds since its start.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// Lets time pass until `ns`; does nothing if that is past.
    pub fn advance_to(&self, ns: u64) {
        self.0.fetch_max(ns, Ordering::AcqRel);
    }
}

/// Where a socket in memory gets its time from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's: nanoseconds since the Unix epoch.
    #[default]
    Real,
    /// A simulated one: nanoseconds since its start. Nothing ever sleeps on it.
    Simulated(SimClock),
}

impl Clock {
    /// Now, in nanoseconds.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        match self {
            Clock::Real => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
            Clock::Simulated(clock) => clock.now_ns(),
        }
    }

    /// Whether time stands still unless it is advanced.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self, Clock::Simulated(_))
    }
}
