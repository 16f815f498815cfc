//! Congestion control: how much may be in flight.
//!
//! [`Congestion`] holds the window and what is common (slow start with HyStart++, what a spurious loss restores); an
//! [`Algorithm`] decides how the window grows in congestion avoidance and what is left of it after a loss. While losses
//! are repaired the caller sets the window (proportional rate reduction). An algorithm that measures the path itself
//! instead (BBR) is one more variant: it has the same events, and sets window and pacing rate on its own.

mod cubic;
mod hystart;
mod newreno;
#[cfg(test)]
mod tests;

use cubic::Cubic;
use hystart::HyStart;
use newreno::NewReno;

use crate::stack::config::CongestionControl;
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// The largest window: no more can be in flight (RFC 7323, 2.3).
const MAX_WINDOW: u32 = 65535 << 14;
/// Segments that one acknowledgement may add in slow start (RFC 9406, 4.2).
const SLOW_START_LIMIT: u32 = 8;

/// What an acknowledgement tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Now.
    pub(crate) now: Instant,
    /// Bytes that it says have arrived and no earlier one did.
    pub(crate) delivered: u32,
    /// Round-trip time of what arrived last, nanoseconds.
    pub(crate) rtt: Option<u64>,
    /// Smoothed round-trip time, nanoseconds.
    pub(crate) srtt: u64,
    /// Oldest unacknowledged byte, after this acknowledgement.
    pub(crate) una: Seq,
    /// Next byte to be sent.
    pub(crate) nxt: Seq,
    /// Segments that it may add in slow start, at most.
    pub(crate) limit: Growth,
}

/// How much one acknowledgement may add in slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// RFC 9406, 4.2: eight segments.
    Usual,
    /// The window is repaired after a timeout (RFC 3465, 2.3): that many segments.
    Segments(u8),
    /// Segments are paced, so no burst comes of it.
    Paced,
}

/// Window and algorithm of one connection. Windows are bytes.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Congestion {
    cwnd: u32,
    ssthresh: u32,
    algorithm: Algorithm,
    mss: u32,
    initial: u32,
    hystart: HyStart,
    /// Before the last reduction, to be restored if that was needless.
    prior: Option<(u32, u32)>,
}

/// Congestion avoidance.
#[derive(Clone, Debug)]
enum Algorithm {
    /// RFC 5681.
    NewReno(NewReno),
    /// RFC 9438.
    Cubic(Cubic),
}

impl Congestion {
    /// In slow start, with `segments` segments of `mss` bytes (RFC 6928).
    pub(crate) fn new(which: CongestionControl, mss: u32, segments: u32, first: Seq) -> Self {
        let mss = mss.max(1);
        let initial = mss.saturating_mul(segments.max(1)).min(MAX_WINDOW);
        let algorithm = match which {
            CongestionControl::NewReno => Algorithm::NewReno(NewReno::default()),
            CongestionControl::Cubic => Algorithm::Cubic(Cubic::default()),
        };
        Self { cwnd: initial, ssthresh: u32::MAX, mss, initial, prior: None, hystart: HyStart::new(first), algorithm }
    }

    /// The window.
    #[inline(always)]
    pub(crate) fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// Where slow start ends; `u32::MAX` if no loss has told yet.
    #[inline(always)]
    pub(crate) fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    /// The first window.
    pub(crate) fn initial(&self) -> u32 {
        self.initial
    }

    /// Whether the window grows with what arrives.
    #[inline(always)]
    pub(crate) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Sets the window: while losses are repaired, and after a timeout.
    #[inline]
    pub(crate) fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd.clamp(self.mss, MAX_WINDOW);
    }

    /// The first window becomes one segment: the handshake met congestion (RFC 6928, 2).
    pub(crate) fn start_small(&mut self) {
        self.initial = self.mss;
        self.cwnd = self.mss;
    }

    /// The size of a segment has changed; the window stays.
    pub(crate) fn set_mss(&mut self, mss: u32) {
        self.mss = mss.max(1);
        self.cwnd = self.cwnd.max(self.mss);
        self.ssthresh = self.ssthresh.max(2 * self.mss);
        self.initial = self.initial.max(self.mss);
    }

    /// Data has arrived while no loss is being repaired, or after a timeout, and the window was in the way of more.
    #[inline]
    pub(crate) fn on_ack(&mut self, sample: &Sample) {
        if self.ssthresh == u32::MAX {
            // HyStart++ is for the first slow start only (RFC 9406, 4.3).
            if let Some(rtt) = sample.rtt {
                self.hystart.on_rtt(rtt);
            }
            if self.hystart.on_ack(sample.una, sample.nxt) {
                self.ssthresh = self.cwnd;
            }
        }
        let mut delivered = sample.delivered;
        if self.in_slow_start() {
            let limit = match sample.limit {
                Growth::Usual => self.mss * SLOW_START_LIMIT,
                Growth::Segments(segments) => self.mss * u32::from(segments),
                Growth::Paced => MAX_WINDOW,
            };
            let mut growth = delivered.min(limit);
            if self.ssthresh == u32::MAX {
                growth /= self.hystart.divisor();
            }
            let room = self.ssthresh - self.cwnd;
            if growth < room {
                self.cwnd = self.cwnd.saturating_add(growth).min(MAX_WINDOW);
                return;
            }
            self.cwnd = self.ssthresh.min(MAX_WINDOW);
            delivered = growth - room;
        }
        let grown = match &mut self.algorithm {
            Algorithm::NewReno(newreno) => newreno.on_ack(self.cwnd, self.mss, delivered),
            Algorithm::Cubic(cubic) => cubic.on_ack(self.cwnd, self.mss, delivered, sample.now, sample.srtt),
        };
        self.cwnd = grown.clamp(self.mss, MAX_WINDOW);
    }

    /// Data has arrived, but the window was not in the way of more (RFC 7661): it does not grow, and that time does not
    /// count.
    #[inline]
    pub(crate) fn pause(&mut self, now: Instant) {
        // Before that nothing has grown but by slow start, which does not count time.
        if self.ssthresh == u32::MAX {
            return;
        }
        if let Algorithm::Cubic(cubic) = &mut self.algorithm {
            cubic.pause(now);
        }
    }

    /// A loss, or the network's word that there is congestion: `ssthresh` falls, the caller brings the window there.
    /// `flight` is what was in flight, not more than the window (RFC 5681, 3.1).
    pub(crate) fn on_loss(&mut self, flight: u32) {
        self.prior = Some((self.cwnd, self.ssthresh));
        let ssthresh = match &mut self.algorithm {
            Algorithm::NewReno(newreno) => newreno.on_loss(flight),
            Algorithm::Cubic(cubic) => cubic.on_loss(flight, self.mss),
        };
        self.ssthresh = ssthresh.max(self.mss.saturating_mul(2));
    }

    /// A retransmission timeout. `flight` is given if it is the first of its window: a further one leaves `ssthresh`
    /// alone (RFC 5681, 3.1).
    pub(crate) fn on_timeout(&mut self, flight: Option<u32>) {
        if let Some(flight) = flight {
            self.on_loss(flight);
        }
        if let Algorithm::Cubic(cubic) = &mut self.algorithm {
            cubic.on_timeout();
        }
    }

    /// The last reduction was needless: what was before it comes back, unless the window has become larger meanwhile
    /// (RFC 4015).
    pub(crate) fn undo(&mut self) {
        if let Some((cwnd, ssthresh)) = self.prior.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = self.ssthresh.max(ssthresh);
            if let Algorithm::Cubic(cubic) = &mut self.algorithm {
                cubic.undo();
            }
        }
    }

    /// Nothing was sent for `idle` nanoseconds, longer than a timeout: the window says little about the path (RFC 5681,
    /// 4.1; halved for each timeout as in RFC 2861). What was learned stays in `ssthresh`.
    pub(crate) fn on_idle(&mut self, idle: u64, rto: u64) {
        let restart = self.initial.min(self.cwnd);
        if self.ssthresh != u32::MAX {
            self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
        }
        let halvings = u32::try_from(idle / rto.max(1)).unwrap_or(u32::MAX).min(31);
        self.cwnd = (self.cwnd >> halvings).max(restart);
        if let Algorithm::Cubic(cubic) = &mut self.algorithm {
            cubic.restart();
        }
    }

    /// Bytes per second to pace at: twice what the window allows in slow start, a fifth more than it after that, so
    /// that pacing never holds back what the window would let through (Linux).
    pub(crate) fn pacing_rate(&self, srtt: u64, in_flight: u32) -> u64 {
        if srtt == 0 {
            return 0;
        }
        let percent = if self.cwnd < self.ssthresh / 2 { 200 } else { 120 };
        let bytes = u128::from(self.cwnd.max(in_flight));
        u64::try_from(bytes * percent * 10_000_000 / u128::from(srtt)).unwrap_or(u64::MAX).max(1)
    }
}
