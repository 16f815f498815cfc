//! What time does to a connection.

use super::Cx;
use super::input::Verdict;
use super::options::State;
use super::recovery::Expired;
use super::tcb::{Flags, NEVER, Tcb};
use crate::stack::SocketError;
use crate::stack::ip::Path;
use std::time::Duration;

/// Retransmissions, or probes of a closed window, before a connection is given up that no program holds any more (Linux:
/// `tcp_orphan_retries`).
const ORPHAN_RETRIES: u32 = 8;

/// The timeout from which [`patience`] counts (Linux: `TCP_RTO_MIN`).
const USUAL_TIMEOUT: Duration = Duration::from_millis(200);

/// How long so many retransmissions take that begin after [`USUAL_TIMEOUT`]. Where timeouts are shorter, that many would be
/// over in a moment: to give up takes a time as well as a number (RFC 9293, 3.8.3: 100 s at least).
#[cold]
fn patience(retries: u32, max_rto: Duration) -> Duration {
    let timeout = |n: u32| USUAL_TIMEOUT.saturating_mul(1 << n.min(30)).min(max_rto);
    (0..=retries.min(u32::from(u8::MAX))).map(timeout).sum()
}

impl Tcb {
    /// The wheel's entry has come: does what is due, and sees to the next deadline.
    pub(super) fn expire(&mut self, index: u32, cx: &mut Cx<'_>) -> Verdict {
        self.timer_at = NEVER;
        if self.user_timeout_at() <= cx.now {
            return self.time_out(cx);
        }
        if self.is_synchronized() && self.recovery.deadline().is_some_and(|at| at <= cx.now) {
            let verdict = self.retransmission_due(index, cx);
            if verdict != Verdict::Stays {
                return verdict;
            }
        }
        if self.flags.has(Flags::ACK_DUE) && self.ack_at <= cx.now {
            // Whoever lets acknowledgements wait does not answer at once.
            self.flags.clear(Flags::INTERACTIVE);
            self.ack_at = NEVER;
            self.ack_now(index, cx);
        }
        if self.state_at <= cx.now {
            self.state_at = NEVER;
            let verdict = self.state_due(index, cx);
            if verdict != Verdict::Stays {
                return verdict;
            }
        }
        if self.keep_alive_at() <= cx.now {
            let limit = self.keep_alive().map_or(0, |k| k.probes);
            if u32::from(self.kept_alive) >= limit {
                let _ = self.time_out(cx);
                return Verdict::Reset;
            }
            self.kept_alive = self.kept_alive.saturating_add(1);
            self.flags.set(Flags::KEEP_ALIVE);
            self.enqueue(index, cx);
        }
        self.arm(index, cx);
        Verdict::Stays
    }

    /// A timer of the loss recovery.
    fn retransmission_due(&mut self, index: u32, cx: &mut Cx<'_>) -> Verdict {
        match self.recovery.expired(cx.now) {
            Expired::Nothing => return Verdict::Stays,
            Expired::Lost { entered } => cx.shared.stats.fast_recoveries += u64::from(entered),
            Expired::Probe => cx.shared.stats.tail_loss_probes += 1,
            Expired::Timeout { count } => {
                cx.shared.stats.rto_expired += 1;
                let limit = if self.flags.has(Flags::ORPHAN) {
                    cx.shared.config.retries.min(ORPHAN_RETRIES)
                } else {
                    cx.shared.config.retries
                };
                let waited = cx.now.saturating_since(self.unacked_since);
                if count > limit && waited >= patience(limit, cx.shared.config.max_rto) && self.user_timeout().is_none()
                {
                    return self.time_out(cx);
                }
                if count > 1 {
                    // The way there may be another by now.
                    self.path = Path::default();
                }
            }
        }
        self.enqueue(index, cx);
        Verdict::Stays
    }

    /// The timer whose meaning the state decides.
    fn state_due(&mut self, index: u32, cx: &mut Cx<'_>) -> Verdict {
        match self.state {
            State::SynSent | State::SynReceived => {
                let limit = if self.state == State::SynSent {
                    cx.shared.config.syn_retries
                } else {
                    cx.shared.config.synack_retries
                };
                if u32::from(self.tries) >= limit {
                    return self.time_out(cx);
                }
                self.tries = self.tries.saturating_add(1);
                self.flags.set(Flags::SYN_DUE);
                self.enqueue(index, cx);
            }
            State::FinWait2 => {
                if self.flags.has(Flags::ORPHAN) {
                    return Verdict::Over;
                }
            }
            State::TimeWait | State::Closed => {}
            _ if self.unsent() == 0 => {}
            // A cork has held long enough, or a window has opened too little to be worth a full segment.
            _ if self.window_end().after(self.recovery.nxt()) => {
                self.flags.set(Flags::PUSH);
                self.enqueue(index, cx);
            }
            _ => {
                // A peer that answers may keep its window closed as long as it likes (RFC 9293, 3.8.6.1), but not for a
                // program that is gone.
                let (retries, max_rto) = (cx.shared.config.retries.min(u32::from(u8::MAX)), cx.shared.config.max_rto);
                let silent = u32::from(self.kept_alive) >= retries
                    && cx.now.saturating_since(self.heard_at) >= patience(retries, max_rto);
                let abandoned = self.flags.has(Flags::ORPHAN)
                    && u32::from(self.tries) >= ORPHAN_RETRIES
                    && self.recovery.backoff(u32::from(self.tries)) >= max_rto;
                if silent || abandoned {
                    let _ = self.time_out(cx);
                    return Verdict::Reset;
                }
                self.tries = self.tries.saturating_add(1);
                self.kept_alive = self.kept_alive.saturating_add(1);
                self.state_at = cx.now + self.recovery.backoff(u32::from(self.tries));
                self.flags.set(Flags::PROBE);
                self.enqueue(index, cx);
            }
        }
        Verdict::Stays
    }

    /// Gives up for want of answers.
    fn time_out(&mut self, cx: &mut Cx<'_>) -> Verdict {
        cx.shared.stats.timeouts += 1;
        self.error = Some(self.soft_error.unwrap_or(SocketError::TimedOut));
        Verdict::Over
    }
}
