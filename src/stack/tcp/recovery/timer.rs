//! What waits for time: one deadline, for whichever of its reasons comes first.

use super::ring::{LOST, RESENT};
use super::{Expired, Frto, Phase, Recovery};
use crate::stack::time::Instant;

/// The timeout of a tail loss probe before the first round-trip time is known (RFC 8985, 7.2), nanoseconds.
const FIRST_PROBE: u64 = 1_000_000_000;
/// What a probe waits beyond two round trips at least, for receivers that are slow to answer (Linux: two ticks),
/// nanoseconds.
const PROBE_SLACK: u64 = 2_000_000;
/// How long a receiver that seems to have thrown data away may take to correct that impression, at least (Linux),
/// nanoseconds.
const RENEGE_DELAY: u64 = 10_000_000;
/// How long memory is kept that only a large window needs, nanoseconds.
const TRIM_DELAY: u64 = 1_000_000_000;

/// What the deadline is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reason {
    /// There is none.
    #[default]
    None,
    /// Retransmission timeout.
    Timeout,
    /// Tail loss probe.
    Probe,
    /// Segments that RACK has excused so far.
    Reordering,
    /// Nothing is in flight: memory is given back.
    Trim,
}

/// The deadline of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timer {
    reason: Reason,
    at: Instant,
    /// When the retransmission timeout passes, whatever comes before it.
    timeout: Instant,
}

fn after(now: Instant, nanos: u64) -> Instant {
    Instant::from_nanos(now.as_nanos().saturating_add(nanos))
}

impl Recovery {
    /// When to call [`expired`](Self::expired). There is always one while something is unacknowledged; there may be one
    /// for a while after that.
    #[inline(always)]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.timer.reason == Reason::None { None } else { Some(self.timer.at) }
    }

    /// Whether RACK waits to look again.
    pub(super) fn is_judging(&self) -> bool {
        self.timer.reason == Reason::Reordering
    }

    /// New data was sent while nothing odd is going on.
    #[inline]
    pub(super) fn arm_sent_calm(&mut self, now: Instant, was_empty: bool) {
        if was_empty {
            self.timer.timeout = after(now, self.rtt.rto());
        }
        self.arm_tail_calm(now);
    }

    /// New data was sent.
    pub(super) fn arm_sent(&mut self, now: Instant, was_empty: bool) {
        if was_empty {
            self.timer.timeout = after(now, self.rtt.rto());
        }
        if self.timer.reason != Reason::Reordering || was_empty {
            self.arm_tail(now);
        }
    }

    /// Something was sent again. If that was the oldest segment, its timeout begins anew.
    pub(super) fn arm_resent(&mut self, now: Instant, head: bool) {
        if head {
            self.timer.timeout = after(now, self.rtt.rto());
        }
        if self.timer.reason != Reason::Reordering {
            self.arm_tail(now);
        }
    }

    /// An acknowledgement came; `advanced`: it moved the left edge; `judge`: when RACK wants to look again.
    pub(super) fn arm_acked(&mut self, now: Instant, advanced: bool, judge: Option<Instant>) {
        if self.ring.is_empty() {
            self.arm_idle(now);
            return;
        }
        if advanced {
            self.timer.timeout = after(now, self.rtt.rto());
        }
        if self.looks_reneged() {
            let delay = (self.rtt.srtt() / 2).max(RENEGE_DELAY);
            self.timer.timeout = self.timer.timeout.min(after(now, delay));
        }
        match judge {
            Some(at) if at < self.timer.timeout => {
                (self.timer.reason, self.timer.at) = (Reason::Reordering, at.max(now))
            }
            _ if advanced || self.timer.reason != Reason::Probe || !self.may_probe() => self.arm_tail(now),
            _ => self.timer.at = self.timer.at.min(self.timer.timeout),
        }
    }

    /// The same while nothing is lost or was sent twice, and the left edge has moved.
    #[inline]
    pub(super) fn arm_acked_plain(&mut self, now: Instant) {
        if self.ring.is_empty() {
            self.arm_idle(now);
        } else {
            self.timer.timeout = after(now, self.rtt.rto());
            self.arm_tail_calm(now);
        }
    }

    /// Nothing is in flight any more.
    #[inline]
    pub(super) fn arm_idle(&mut self, now: Instant) {
        if let Some(holes) = &mut self.holes {
            holes.clear();
        }
        if self.ring.is_roomy() || self.holes.is_some() {
            (self.timer.reason, self.timer.at) = (Reason::Trim, after(now, TRIM_DELAY));
        } else {
            self.timer.reason = Reason::None;
        }
    }

    /// A probe if that is allowed, otherwise the timeout.
    fn arm_tail(&mut self, now: Instant) {
        (self.timer.reason, self.timer.at) = (Reason::Timeout, self.timer.timeout);
        if self.may_probe() {
            let probe = after(now, self.probe_timeout());
            (self.timer.reason, self.timer.at) = (Reason::Probe, probe.min(self.timer.timeout));
        }
    }

    /// The same while nothing odd is going on.
    #[inline]
    fn arm_tail_calm(&mut self, now: Instant) {
        let probe = if self.agreed.sack { after(now, self.probe_timeout()) } else { self.timer.timeout };
        self.timer.at = probe.min(self.timer.timeout);
        self.timer.reason = if self.agreed.sack { Reason::Probe } else { Reason::Timeout };
    }

    /// RFC 8985, 7.2: not while losses may be about to be known, and one at a time. Beyond the RFC, a recovery is
    /// probed too: when its last retransmissions are lost, nothing else would tell before the timeout does.
    fn may_probe(&self) -> bool {
        let phase = match self.phase {
            Phase::Open => self.ring.sacked() == 0,
            Phase::Recovery => !self.looks_reneged(),
            Phase::Reduction | Phase::Loss => false,
        };
        phase && self.agreed.sack && !self.probed && !self.probe
    }

    /// RFC 8985, 7.2. A lone segment's acknowledgement may be delayed, by as much as the shortest timeout allows for
    /// (Linux).
    #[inline]
    fn probe_timeout(&self) -> u64 {
        let (srtt, floor) = (self.rtt.srtt(), self.rtt.min_rto());
        let slack = if self.ring.len() == 1 { floor } else { PROBE_SLACK.min(floor) };
        if srtt == 0 { FIRST_PROBE } else { srtt.saturating_mul(2).saturating_add(slack) }
    }

    /// Its deadline may have passed.
    pub(crate) fn expired(&mut self, now: Instant) -> Expired {
        if self.timer.reason == Reason::None || now < self.timer.at {
            return Expired::Nothing;
        }
        let expired = match self.timer.reason {
            Reason::None => Expired::Nothing,
            Reason::Trim => {
                self.timer.reason = Reason::None;
                self.ring.trim();
                self.holes = None;
                Expired::Nothing
            }
            Reason::Probe => {
                self.probe = true;
                self.timer.timeout = after(now, self.rtt.rto());
                (self.timer.reason, self.timer.at) = (Reason::Timeout, self.timer.timeout);
                Expired::Probe
            }
            Reason::Reordering => self.judge(now),
            Reason::Timeout => self.time_out(now),
        };
        self.settle();
        expired
    }

    /// RACK looks again (RFC 8985, 6.2 step 5).
    fn judge(&mut self, now: Instant) -> Expired {
        let (lost, again) = self.detect_losses(now);
        let entered = lost > 0 && self.enter_recovery(0);
        if lost > 0 && matches!(self.phase, Phase::Recovery | Phase::Reduction) {
            self.reduce(0, false);
        }
        if lost > 0 {
            self.timer.timeout = self.timer.timeout.max(after(now, self.rtt.rto()));
        }
        match again.filter(|at| *at > now && *at < self.timer.timeout) {
            Some(at) => (self.timer.reason, self.timer.at) = (Reason::Reordering, at),
            None if self.timer.timeout <= now => return self.time_out(now),
            None => (self.timer.reason, self.timer.at) = (Reason::Timeout, self.timer.timeout),
        }
        if lost > 0 { Expired::Lost { entered } } else { Expired::Nothing }
    }

    /// The retransmission timeout (RFC 6298, 5.4 to 5.6; RFC 5681, 3.1; RFC 8985, 6.3).
    fn time_out(&mut self, now: Instant) -> Expired {
        if self.ring.is_empty() {
            self.arm_idle(now);
            return Expired::Nothing;
        }
        let fresh = matches!(self.phase, Phase::Open | Phase::Reduction);
        // A window is reduced once, however often its segments time out.
        let first = fresh || self.una().at_or_after(self.recover) || (self.phase == Phase::Loss && self.timeouts == 0);
        self.frto = if fresh || self.timeouts > 0 { Frto::Waiting } else { Frto::Off };
        if first {
            let flight = self.flight();
            self.congestion.on_timeout(Some(flight));
            self.arm_undo(true);
        } else {
            self.congestion.on_timeout(None);
        }
        self.presumed = 0;
        self.duplicates = 0;
        self.probe = false;
        self.probed = false;
        self.mark_timed_out(now);
        self.phase = Phase::Loss;
        self.recover = self.nxt();
        self.prr = super::Prr::new(self.outstanding());
        let window = self.in_flight().saturating_add(u32::from(self.agreed.mss));
        self.congestion.set_cwnd(window);
        self.set_pace();
        self.timeouts = self.timeouts.saturating_add(1);
        self.rtt.back_off();
        self.timer.timeout = after(now, self.rtt.rto());
        (self.timer.reason, self.timer.at) = (Reason::Timeout, self.timer.timeout);
        Expired::Timeout { count: self.timeouts }
    }

    /// Takes back what was believed lost and not sent again: it is on its way.
    pub(super) fn unmark_lost(&mut self) {
        for index in 0..self.ring.len() {
            if self.ring.get(index).is_some_and(|record| record.has(LOST | RESENT)) {
                self.ring.set(index, 0, LOST);
            }
        }
        self.rack.forget();
        self.rack.judge_again(self.una());
    }
}
