//! Congestion avoidance of RFC 5681: one segment more per round trip, half of what was in flight after a loss.

/// The window grows by what arrives (RFC 3465), not by acknowledgements: a segment per window's worth, byte by byte.
#[derive(Clone, Debug, Default)]
pub(super) struct NewReno {
    /// Growth that has not made up a byte yet, bytes times window.
    rest: u64,
}

impl NewReno {
    /// Returns the new window (RFC 5681, 3.1, equation 3).
    #[inline]
    pub(super) fn on_ack(&mut self, cwnd: u32, mss: u32, delivered: u32) -> u32 {
        // One acknowledgement of several windows is no reason for several segments.
        self.rest += u64::from(delivered.min(cwnd)) * u64::from(mss);
        let growth = self.rest / u64::from(cwnd);
        self.rest %= u64::from(cwnd);
        cwnd.saturating_add(growth as u32)
    }

    /// Returns `ssthresh` (RFC 5681, 3.1, equation 4).
    pub(super) fn on_loss(&mut self, flight: u32) -> u32 {
        self.rest = 0;
        flight / 2
    }
}
