//! Round-trip times and the retransmission timeout (RFC 6298).
//!
//! One sample is taken per acknowledgement, as Linux does. So that a window's worth of like samples does not wear the
//! variation down within one round trip (RFC 7323, appendix G), the variation that counts rises at once but falls only
//! once per round trip.

use super::nanos;
use crate::stack::config::TcpConfig;
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// The timeout before the first sample (RFC 6298, 2.1), nanoseconds.
pub(super) const INITIAL: u64 = 1_000_000_000;
/// The same after a SYN had to be sent again (RFC 6298, 5.7).
const INITIAL_AFTER_LOSS: u64 = 3_000_000_000;
/// Half the time for which a minimum is remembered. Linux forgets after five minutes.
const MIN_HALF_WINDOW: u64 = 150_000_000_000;

/// The estimator of one connection. All times are nanoseconds unless said otherwise.
#[derive(Clone, Debug)]
pub(super) struct Rtt {
    /// Smoothed; 0 before the first sample.
    srtt: u64,
    /// Mean deviation, of all samples; like those made of it, saturating at four seconds.
    mdev: u32,
    /// Its maximum within this round trip.
    mdev_max: u32,
    /// The variation that the timeout is made of.
    rttvar: u32,
    /// Smallest sample of this half of the window, and of the half before; saturating at four seconds.
    min: [u32; 2],
    /// When this half began.
    min_since: Instant,
    /// Where this round trip ends.
    round: Seq,
    /// The timeout without backoff.
    base: u64,
    min_rto: u64,
    max_rto: u64,
    /// Doublings of the timeout since the last sample.
    backoff: u8,
}

/// In 32 bits, saturating.
#[inline(always)]
fn clip(nanos: u64) -> u32 {
    u32::try_from(nanos).unwrap_or(u32::MAX)
}

impl Rtt {
    /// No sample yet.
    pub(super) fn new(config: &TcpConfig, first: Seq) -> Self {
        let min_rto = nanos(config.min_rto).max(1_000_000);
        let max_rto = nanos(config.max_rto).max(min_rto);
        Self {
            srtt: 0,
            mdev: 0,
            mdev_max: 0,
            rttvar: 0,
            min: [u32::MAX; 2],
            min_since: Instant::ZERO,
            round: first,
            base: INITIAL.min(max_rto),
            min_rto,
            max_rto,
            backoff: 0,
        }
    }

    /// The handshake had to be repeated and told nothing of the round trip.
    pub(super) fn handshake_lost(&mut self) {
        self.base = INITIAL_AFTER_LOSS.min(self.max_rto);
    }

    /// Reads something of it.
    #[inline(always)]
    pub(super) fn touch(&self) -> u64 {
        self.srtt
    }

    /// A measurement. `una` and `nxt` tell round trips apart.
    #[inline]
    pub(super) fn sample(&mut self, rtt: u64, una: Seq, nxt: Seq) {
        let rtt = rtt.max(1);
        self.backoff = 0;
        if self.srtt == 0 {
            self.srtt = rtt;
            self.mdev = clip(rtt / 2);
            self.mdev_max = self.mdev;
            self.rttvar = self.mdev;
            self.round = nxt;
            self.set_base();
            return;
        }
        if rtt >= self.srtt {
            let off = rtt - self.srtt;
            self.mdev = (self.mdev - self.mdev / 4).saturating_add(clip(off / 4));
            self.srtt += off / 8;
        } else {
            let off = self.srtt - rtt;
            // A path that becomes faster is no reason for a longer timeout: such a deviation enters with an eighth of
            // the weight (Linux, after the observations behind the Eifel timer).
            let shift = if off > u64::from(self.mdev) { 5 } else { 2 };
            self.mdev = (self.mdev - (self.mdev >> shift)).saturating_add(clip(off >> shift));
            self.srtt = (self.srtt - off / 8).max(1);
        }
        if self.mdev > self.mdev_max {
            self.mdev_max = self.mdev;
            self.rttvar = self.rttvar.max(self.mdev_max);
        }
        if una.after(self.round) {
            self.rttvar -= self.rttvar.saturating_sub(self.mdev_max) / 4;
            self.round = nxt;
            self.mdev_max = 0;
        }
        self.set_base();
    }

    /// The floor stands for the variation, so that a timeout is always longer than a round trip by as much as a
    /// receiver may delay its acknowledgement; Linux does the same.
    #[inline]
    fn set_base(&mut self) {
        let spread = (u64::from(self.rttvar) * 4).max(self.min_rto);
        self.base = self.srtt.saturating_add(spread).min(self.max_rto);
    }

    /// A measurement that the receiver did not delay knowingly: for the minimum.
    #[inline]
    pub(super) fn sample_min(&mut self, now: Instant, rtt: u64) {
        let rtt = clip(rtt).max(1);
        if now.nanos_since(self.min_since) > MIN_HALF_WINDOW {
            self.min[1] = if now.nanos_since(self.min_since) > 2 * MIN_HALF_WINDOW { rtt } else { self.min[0] };
            self.min[0] = rtt;
            self.min_since = now;
        } else if rtt < self.min[0] {
            self.min[0] = rtt;
        }
    }

    /// The smallest of the last minutes; zero before the first sample.
    #[inline]
    pub(super) fn min(&self) -> u64 {
        let min = self.min[0].min(self.min[1]);
        if min == u32::MAX && self.srtt == 0 { 0 } else { u64::from(min) }
    }

    /// Smoothed; 0 before the first sample.
    #[inline]
    pub(super) fn srtt(&self) -> u64 {
        self.srtt
    }

    /// The variation.
    pub(super) fn variation(&self) -> u64 {
        self.rttvar.into()
    }

    /// The shortest timeout that was configured.
    #[inline]
    pub(super) fn min_rto(&self) -> u64 {
        self.min_rto
    }

    /// The timeout doubled `n` times.
    pub(super) fn backed_off(&self, n: u32) -> u64 {
        self.base.saturating_mul(1 << n.min(31)).min(self.max_rto)
    }

    /// The timeout now.
    #[inline]
    pub(super) fn rto(&self) -> u64 {
        if self.backoff == 0 { self.base } else { self.backed_off(u32::from(self.backoff)) }
    }

    /// Doubles the timeout, until a sample is taken (RFC 6298, 5.5).
    pub(super) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(31);
    }

    /// Takes doublings back: the timeout was needless.
    pub(super) fn forgive(&mut self) {
        self.backoff = 0;
    }
}
