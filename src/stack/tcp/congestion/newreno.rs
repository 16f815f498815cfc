//! Congestion avoidance of RFC 5681: one segment more per round trip, half of what was in flight after a loss.

/// Appropriate byte counting (RFC 3465, 2.1): the window grows by a segment when a window's worth has arrived, however many
/// acknowledgements tell so.
#[derive(Clone, Debug, Default)]
pub(super) struct NewReno {
    /// Bytes that have arrived since the window last grew.
    counted: u32,
}

impl NewReno {
    /// Returns the new window.
    #[inline]
    pub(super) fn on_ack(&mut self, mut cwnd: u32, mss: u32, delivered: u32) -> u32 {
        self.counted = self.counted.saturating_add(delivered);
        if self.counted >= cwnd {
            self.counted -= cwnd;
            cwnd = cwnd.saturating_add(mss);
            // One acknowledgement of several windows is no reason for several segments.
            self.counted = self.counted.min(cwnd);
        }
        cwnd
    }

    /// Returns `ssthresh`.
    pub(super) fn on_loss(&mut self, flight: u32) -> u32 {
        self.counted = 0;
        flight / 2
    }

    pub(super) fn on_timeout(&mut self) {
        self.counted = 0;
    }
}
