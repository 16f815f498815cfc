//! RACK (RFC 8985, 6): a segment is lost when one that was sent long enough after it has arrived.

use super::ring::{EVER_RESENT, LOST, RESENT, Record, SACKED};
use super::rtt::Rtt;
use super::{Phase, Recovery};
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// Segments that must have arrived out of order before a loss is believed without delay (RFC 8985, 6.2).
const DUP_THRESHOLD: u32 = 3;
/// Recoveries without a DSACK until the reordering window is what it was (RFC 8985, 6.2).
const PERSIST: u8 = 16;

/// What RACK knows of a connection.
#[derive(Clone, Debug)]
pub(super) struct Rack {
    /// When the segment that was sent last of those that arrived was sent, and where it ended.
    xmit: Instant,
    end: Seq,
    /// Whether there was one.
    valid: bool,
    /// Whether segments have been seen to arrive out of order.
    reordering_seen: bool,
    /// The reordering window, in quarters of the shortest round trip.
    multiplier: u8,
    /// Recoveries until it is one quarter again.
    persist: u8,
    /// Whether DSACKs have widened the window in the round trip that ends at `dsack_until`.
    dsack_round: bool,
    dsack_until: Seq,
    /// The highest end of what arrived.
    fack: Seq,
    /// Its round-trip time, nanoseconds.
    rtt: u64,
    /// Records before this that were sent once have been judged already.
    judged: Seq,
}

impl Rack {
    pub(super) fn new(first: Seq) -> Self {
        Self {
            xmit: Instant::ZERO,
            end: first,
            valid: false,
            reordering_seen: false,
            multiplier: 1,
            persist: 0,
            dsack_round: false,
            dsack_until: first,
            fack: first,
            rtt: 0,
            judged: first,
        }
    }

    /// Reads something of it.
    #[inline(always)]
    pub(super) fn touch(&self) -> u64 {
        self.xmit.as_nanos()
    }

    /// Whether segments have been seen to arrive out of order.
    pub(super) fn reordering_seen(&self) -> bool {
        self.reordering_seen
    }

    /// A segment arrived (RFC 8985, 6.2 steps 1 to 3). `echoed`: not before when what the receiver answers to was sent.
    #[inline]
    pub(super) fn delivered(&mut self, now: Instant, record: &Record, min_rtt: u64, echoed: Option<Instant>) {
        let rtt = now.nanos_since(record.sent);
        let resent = record.has(EVER_RESENT);
        if record.end.after(self.fack) {
            self.fack = record.end;
        } else if record.end.before(self.fack) && !resent {
            self.reordering_seen = true;
        }
        if resent && (rtt < min_rtt || echoed.is_some_and(|at| at < record.sent)) {
            // What arrived is the original.
            return;
        }
        if !self.valid || !record.sent_before(self.xmit, self.end) {
            (self.xmit, self.end, self.rtt, self.valid) = (record.sent, record.end, rtt, true);
        }
    }

    /// All up to this segment has arrived, in order, and nothing was sent twice.
    #[inline]
    pub(super) fn delivered_in_order(&mut self, now: Instant, last: &Record) {
        self.rtt = now.nanos_since(last.sent);
        (self.xmit, self.end, self.valid) = (last.sent, last.end, true);
        (self.fack, self.judged) = (last.end, last.end);
    }

    /// A retransmission proved needless: the path reorders more than was thought (RFC 8985, 6.2 step 4).
    pub(super) fn dsack(&mut self, una: Seq, nxt: Seq) {
        if self.dsack_round && una.at_or_after(self.dsack_until) {
            self.dsack_round = false;
        }
        if !self.dsack_round {
            self.dsack_round = true;
            self.dsack_until = nxt;
            self.multiplier = self.multiplier.saturating_add(1);
            self.persist = PERSIST;
        }
    }

    /// A recovery was needless: what seemed lost was only late. Segments that are sent again before they arrive would
    /// never tell otherwise.
    pub(super) fn reordered(&mut self) {
        self.reordering_seen = true;
    }

    /// A recovery has ended.
    pub(super) fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.multiplier = 1;
        }
    }

    /// How long a segment may be overtaken for.
    fn window(&self, rtt: &Rtt, phase: Phase, sacked_segments: u32) -> u64 {
        if !self.reordering_seen && (matches!(phase, Phase::Recovery | Phase::Loss) || sacked_segments >= DUP_THRESHOLD)
        {
            return 0;
        }
        (rtt.min() / 4).saturating_mul(u64::from(self.multiplier)).min(rtt.srtt())
    }

    /// What seemed lost was not. That it seemed so may come from taking an original for its retransmission: what
    /// arrives from now on tells.
    pub(super) fn forget(&mut self) {
        self.valid = false;
    }

    /// All that is in flight is to be judged anew.
    pub(super) fn judge_again(&mut self, una: Seq) {
        self.judged = una;
    }
}

impl Recovery {
    /// Marks what must be lost by now (RFC 8985, 6.2 step 5). Returns the bytes marked, and when to look again at those
    /// that were sent before what arrived but not long enough before.
    pub(super) fn detect_losses(&mut self, now: Instant) -> (u32, Option<Instant>) {
        if !self.rack.valid || self.ring.is_empty() {
            return (0, None);
        }
        let (mut lost, mut waiting) = (0, false);
        let (xmit, end) = (self.rack.xmit, self.rack.end);
        let patience = self.rack.rtt.saturating_add(self.reordering_window());
        // Those sent once lie in the order in which they were sent.
        let mut index = self.ring.find(self.rack.judged.max(self.ring.una()));
        while let Some(record) = self.ring.get(index) {
            if !record.has(SACKED | LOST | EVER_RESENT) {
                if !record.sent_before(xmit, end) {
                    break;
                }
                if now.nanos_since(record.sent) < patience {
                    waiting = true;
                    break;
                }
                lost += record.len();
                self.ring.set(index, LOST, 0);
            }
            index += 1;
        }
        self.rack.judged = self.ring.get(index).map_or(self.ring.nxt(), |record| record.start);
        // Those resent have an order of their own.
        if let Some(holes) = &mut self.holes {
            while let Some(index) = holes.oldest_resent(&self.ring) {
                let Some(record) = self.ring.get(index).filter(|record| record.sent_before(xmit, end)) else { break };
                if now.nanos_since(record.sent) < patience {
                    waiting = true;
                    break;
                }
                lost += record.len();
                self.ring.set(index, LOST, RESENT);
            }
        }
        let again = xmit.as_nanos().saturating_add(patience);
        (lost, waiting.then(|| Instant::from_nanos(again)))
    }

    /// How long a segment may be overtaken for now, nanoseconds.
    fn reordering_window(&self) -> u64 {
        self.rack.window(&self.rtt, self.phase, self.ring.sacked_segments())
    }

    /// Marks lost what a retransmission timeout says is lost: the oldest segment, and all that RACK does not excuse
    /// (RFC 8985, 6.3). A receiver that has thrown away what it had selectively acknowledged is not believed any more
    /// (RFC 2018, 8).
    pub(super) fn mark_timed_out(&mut self, now: Instant) {
        let reneged = self.ring.front().is_some_and(|record| record.has(SACKED));
        if reneged {
            if let Some(holes) = &mut self.holes {
                holes.renege();
            }
        }
        let excuse = self.rack.valid && self.agreed.sack && !reneged;
        let patience = self.rack.rtt.saturating_add(self.reordering_window());
        for index in 0..self.ring.len() {
            let Some(record) = self.ring.get(index) else { break };
            if reneged {
                self.ring.set(index, LOST, SACKED | RESENT);
            } else if !record.has(SACKED) && (index == 0 || !excuse || now.nanos_since(record.sent) >= patience) {
                self.ring.set(index, LOST, RESENT);
            }
        }
        self.rack.judge_again(self.ring.una());
    }

    /// Whether the oldest segment is said to have arrived although the acknowledgement does not cover it.
    pub(super) fn looks_reneged(&self) -> bool {
        self.ring.front().is_some_and(|record| record.has(SACKED))
    }
}
