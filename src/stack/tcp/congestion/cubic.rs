//! CUBIC (RFC 9438): the window is a cubic function of the time since the last loss, flat around the window at which
//! that happened.
//!
//! Windows are counted in segments here, as the RFC's constants are made for.

use crate::stack::time::Instant;

/// RFC 9438, 5.
const C: f64 = 0.4;
/// RFC 9438, 4.6.
const BETA: f64 = 0.7;
/// RFC 9438, 4.3: the growth with which a Reno flow that reduces to β gets the share of one that reduces to a half.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// State of one connection.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Cubic {
    /// A timeout was the last congestion: the next growth begins at its plateau (RFC 9438, 4.8).
    timed_out: bool,
    /// What the window has grown by beyond whole bytes.
    fraction: f32,
    growth: Growth,
    /// The last acknowledgement that counted: time without demand does not.
    last: Instant,
    /// What it was before the last reduction, should that prove needless.
    before: Growth,
}

/// The growth since the last loss.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Growth {
    /// When it began; [`NOT_BEGUN`] before its first acknowledgement.
    epoch: Instant,
    /// Window before the last reduction, lowered for fast convergence; 0 if there was none (`W_max`).
    w_max: f32,
    /// Window when congestion was last met (`cwnd_prior`).
    prior: f32,
    /// Time from the beginning of this growth until the plateau, seconds (`K`).
    k: f32,
    /// The plateau: `W_max`, or the window at the beginning if that was larger.
    origin: f32,
    /// Window of a Reno flow (`W_est`).
    reno: f64,
}

/// Of a growth that has not begun.
const NOT_BEGUN: Instant = Instant::from_nanos(u64::MAX);

impl Default for Growth {
    fn default() -> Self {
        Self { w_max: 0.0, prior: 0.0, k: 0.0, origin: 0.0, reno: 0.0, epoch: NOT_BEGUN }
    }
}

impl Cubic {
    /// Returns the new window in bytes.
    pub(super) fn on_ack(&mut self, cwnd: u32, mss: u32, delivered: u32, now: Instant, srtt: u64) -> u32 {
        let segments = f64::from(cwnd) / f64::from(mss);
        let growth = &mut self.growth;
        if growth.epoch == NOT_BEGUN {
            if !self.timed_out && segments < f64::from(growth.w_max) {
                growth.k = ((f64::from(growth.w_max) - segments) / C).cbrt() as f32;
                growth.origin = growth.w_max;
            } else {
                growth.k = 0.0;
                growth.origin = segments as f32;
            }
            growth.reno = segments;
            self.fraction = 0.0;
            self.timed_out = false;
            growth.epoch = now;
        }
        let epoch = growth.epoch;
        self.last = now;
        let arrived = f64::from(delivered) / f64::from(mss);
        let (k, origin) = (f64::from(growth.k), f64::from(growth.origin));
        let elapsed = now.nanos_since(epoch) as f64 * 1e-9;
        let curve = |t: f64| C * (t - k).powi(3) + origin;

        // RFC 9438, 4.3: never slower than Reno would be.
        let alpha = if growth.reno >= f64::from(growth.prior) { 1.0 } else { ALPHA };
        growth.reno += alpha * arrived / segments;
        let grown = if curve(elapsed) < growth.reno {
            (growth.reno - segments).max(0.0)
        } else {
            // RFC 9438, 4.2, 4.4 and 4.5: where the curve will be in a round trip, at most half as much again.
            let target = curve(elapsed + srtt as f64 * 1e-9).clamp(segments, 1.5 * segments);
            (target - segments) / segments * arrived
        };
        let bytes = grown * f64::from(mss) + f64::from(self.fraction);
        let whole = bytes as u32;
        self.fraction = (bytes - f64::from(whole)) as f32;
        cwnd.saturating_add(whole)
    }

    /// The window was not asked for: that time is taken out (RFC 9438, 5.8).
    #[inline]
    pub(super) fn pause(&mut self, now: Instant) {
        if self.growth.epoch != NOT_BEGUN {
            let epoch = &mut self.growth.epoch;
            *epoch = Instant::from_nanos(epoch.as_nanos().saturating_add(now.nanos_since(self.last))).min(now);
            self.last = now;
        }
    }

    /// Returns `ssthresh` in bytes (RFC 9438, 4.6 and 4.7).
    pub(super) fn on_loss(&mut self, flight: u32, mss: u32) -> u32 {
        let segments = (f64::from(flight) / f64::from(mss)) as f32;
        self.before = self.growth;
        let growth = &mut self.growth;
        growth.prior = segments;
        // Fast convergence: a window that shrinks from loss to loss leaves its room to others.
        growth.w_max = if segments < growth.w_max { segments * (1.0 + BETA as f32) / 2.0 } else { segments };
        growth.epoch = NOT_BEGUN;
        (f64::from(flight) * BETA) as u32
    }

    pub(super) fn on_timeout(&mut self) {
        self.growth.epoch = NOT_BEGUN;
        self.timed_out = true;
    }

    /// The reduction was needless: the growth before it goes on (RFC 9438, 4.9).
    pub(super) fn undo(&mut self) {
        self.growth = self.before;
        self.timed_out = false;
    }

    /// The window was lowered after idling: a new growth begins.
    pub(super) fn restart(&mut self) {
        self.growth.epoch = NOT_BEGUN;
    }
}
