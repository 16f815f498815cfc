//! Spreads segments over the round trip: a small burst, then a pause until it has been paid for at the rate.

use crate::stack::time::Instant;

/// Segments of a burst, at least.
const BURST_SEGMENTS: u32 = 4;
/// Bytes of a burst, at most.
const MAX_BURST: u64 = 64 << 10;
/// Bursts per second, if they are not bounded otherwise.
const BURSTS_PER_SECOND: u64 = 4096;

/// The pacer of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pacer {
    /// When all that was sent has been paid for.
    paid: Instant,
    /// What is left of the burst, bytes.
    burst: u32,
    /// Bytes per second; 0: no limit.
    rate: u64,
}

impl Pacer {
    /// Changes the rate, in bytes per second; 0 is no limit.
    #[inline]
    pub(super) fn set_rate(&mut self, rate: u64) {
        self.rate = rate;
    }

    /// Bytes per second.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// When the next segment may leave, if that is not now.
    #[inline]
    pub(super) fn wait(&mut self, now: Instant, mss: u32) -> Option<Instant> {
        if self.rate == 0 || self.burst > 0 {
            return None;
        }
        if now < self.paid {
            return Some(self.paid);
        }
        let least = u64::from(mss) * u64::from(BURST_SEGMENTS);
        self.burst = (self.rate / BURSTS_PER_SECOND).clamp(least, MAX_BURST.max(least)) as u32;
        None
    }

    /// A segment left. A driver that came late may catch up by one burst.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, len: u32) {
        if self.rate == 0 {
            return;
        }
        self.burst = self.burst.saturating_sub(len);
        let nanos = u64::from(len).saturating_mul(1_000_000_000) / self.rate;
        let credit = MAX_BURST.min(self.rate / BURSTS_PER_SECOND) * 1_000_000_000 / self.rate;
        let from = self.paid.as_nanos().max(now.as_nanos().saturating_sub(credit));
        self.paid = Instant::from_nanos(from.saturating_add(nanos));
    }
}
