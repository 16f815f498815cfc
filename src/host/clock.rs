//! What time it is.

use crate::mem::SimClock;
use crate::stack::Instant;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a host gets its time from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's monotonic clock. A host counts from the moment it is built.
    #[default]
    Monotonic,
    /// A simulated one, advanced by the program. A host on it never sleeps.
    Simulated(SimClock),
}

/// A clock that runs.
#[derive(Clone, Debug)]
pub(super) enum Running {
    Monotonic(std::time::Instant),
    Simulated(SimClock),
}

impl Running {
    pub(super) fn start(clock: &Clock) -> Self {
        match clock {
            Clock::Monotonic => Running::Monotonic(std::time::Instant::now()),
            Clock::Simulated(clock) => Running::Simulated(clock.clone()),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Instant {
        match self {
            Running::Monotonic(start) => Instant::ZERO + start.elapsed(),
            Running::Simulated(clock) => Instant::from_nanos(clock.now_ns()),
        }
    }

    /// Whether time stands still unless the program advances it.
    pub(super) fn is_simulated(&self) -> bool {
        matches!(self, Running::Simulated(_))
    }

    /// What to add to the engine's time to get nanoseconds since the Unix epoch, as the system's clock shows it now; 0 on
    /// a simulated clock.
    pub(super) fn unix_offset(&self) -> u64 {
        match self {
            Running::Monotonic(_) => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX).saturating_sub(self.now().as_nanos())
            }
            Running::Simulated(_) => 0,
        }
    }
}
