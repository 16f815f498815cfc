//! Proportional rate reduction (RFC 6937, as revised by RFC 9937): while a loss is repaired, sending follows what
//! arrives, so that the window is `ssthresh` at the end and is never idle nor bursts on the way.

/// One reduction of the window. All bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prr {
    /// In flight when it began (`RecoverFS`).
    flight: u32,
    /// Arrived since.
    delivered: u32,
    /// Sent since.
    out: u32,
}

impl Prr {
    /// Begins: `flight` bytes are in the network.
    pub(super) fn new(flight: u32) -> Self {
        Self { flight: flight.max(1), delivered: 0, out: 0 }
    }

    /// Something was sent, new or again.
    #[inline]
    pub(super) fn sent(&mut self, len: u32) {
        self.out = self.out.saturating_add(len);
    }

    /// Whether nothing has been sent since it began.
    pub(super) fn is_fresh(&self) -> bool {
        self.out == 0
    }

    /// An acknowledgement told of `delivered` bytes. Returns the window. `safe`: it moved the left edge and found no
    /// further loss.
    pub(super) fn window(&mut self, delivered: u32, pipe: u32, ssthresh: u32, mss: u32, safe: bool) -> u32 {
        self.delivered = self.delivered.saturating_add(delivered);
        let mut count = if pipe > ssthresh {
            // Rounded up to whole segments, as nothing less is sent (Linux).
            let share = (u64::from(self.delivered) * u64::from(ssthresh)).div_ceil(u64::from(self.flight));
            let share = share.next_multiple_of(u64::from(mss));
            u32::try_from(share).unwrap_or(u32::MAX).saturating_sub(self.out)
        } else {
            let mut count = self.delivered.saturating_sub(self.out).max(delivered);
            if safe {
                count = count.saturating_add(mss);
            }
            count.min(ssthresh - pipe)
        };
        if self.is_fresh() {
            // The retransmission that begins the recovery is not held back.
            count = count.max(mss);
        }
        pipe.saturating_add(count).max(mss)
    }
}
