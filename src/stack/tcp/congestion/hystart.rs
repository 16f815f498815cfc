//! HyStart++ (RFC 9406): slow start ends when the round-trip time says that a queue builds up, before the queue
//! overflows.

use crate::stack::tcp::seq::Seq;

/// Constants of RFC 9406, 4.3, nanoseconds where they are times.
const MIN_RTT_THRESHOLD: u32 = 4_000_000;
const MAX_RTT_THRESHOLD: u32 = 16_000_000;
const MIN_RTT_DIVISOR: u32 = 8;
const SAMPLES: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;

/// No sample yet.
const NONE: u32 = u32::MAX;

/// The first slow start of one connection. Times are nanoseconds, saturating at four seconds.
#[derive(Clone, Debug)]
pub(super) struct HyStart {
    /// Shortest round trip of the round before.
    last: u32,
    /// Shortest round trip of this round.
    current: u32,
    /// What it was when conservative slow start began.
    baseline: u32,
    /// Where this round ends.
    round_end: Seq,
    /// Samples in this round.
    samples: u8,
    /// Rounds of conservative slow start, this one included; 0: ordinary slow start.
    conservative: u8,
}

impl HyStart {
    pub(super) fn new(first: Seq) -> Self {
        Self { last: NONE, current: NONE, baseline: NONE, round_end: first, samples: 0, conservative: 0 }
    }

    /// By how much growth is divided.
    #[inline]
    pub(super) fn divisor(&self) -> u32 {
        if self.conservative > 0 { CSS_GROWTH_DIVISOR } else { 1 }
    }

    /// A round-trip time.
    #[inline]
    pub(super) fn on_rtt(&mut self, rtt: u64) {
        let rtt = u32::try_from(rtt).unwrap_or(NONE - 1);
        self.current = self.current.min(rtt);
        self.samples = self.samples.saturating_add(1);
        if self.samples < SAMPLES || self.current == NONE {
            return;
        }
        if self.conservative > 0 {
            if self.current < self.baseline {
                // The delay was a passing one.
                self.baseline = NONE;
                self.conservative = 0;
            }
        } else if self.last != NONE {
            let threshold = (self.last / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESHOLD, MAX_RTT_THRESHOLD);
            if self.current >= self.last.saturating_add(threshold) {
                self.baseline = self.current;
                self.conservative = 1;
            }
        }
    }

    /// An acknowledgement up to `una`; begins a round if it ends one. Returns whether slow start is over.
    #[inline]
    pub(super) fn on_ack(&mut self, una: Seq, nxt: Seq) -> bool {
        if una.before(self.round_end) {
            return false;
        }
        self.round_end = nxt;
        self.last = self.current;
        self.current = NONE;
        self.samples = 0;
        if self.conservative > 0 {
            self.conservative += 1;
            return self.conservative > CSS_ROUNDS;
        }
        false
    }
}
