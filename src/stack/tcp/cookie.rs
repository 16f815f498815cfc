//! SYN cookies (RFC 4987, 3.6): what a half-open connection would remember, sent to the peer instead of kept.
//!
//! The initial sequence number of a SYN-ACK is a keyed hash of 29 bits over the four-tuple, the peer's initial sequence
//! number, the time in steps of 64 s and the MSS, followed by three bits that say which MSS. The acknowledgement that
//! completes the handshake brings it back; it is believed in the step in which it was made and in the next one. Who has
//! not seen the SYN-ACK hits one of the two values once in 2²⁸ guesses.
//!
//! With timestamps the other options come back in the echo of our timestamp, whose low bits they replace, laid out as
//! Linux does. They bind nobody but the peer who sends them.

use super::seq::Seq;
use super::table::FlowKey;
use crate::stack::Instant;
use crate::stack::prf::{Prf, Purpose};

#[cfg(test)]
mod tests;

/// Seconds of a step.
const STEP: u64 = 64;

/// The sizes a cookie can remember, in bytes: the default of RFC 9293, and what is common over Ethernet, PPPoE, tunnels
/// and jumbo frames. A peer's MSS becomes the next smaller one; the first stands for all that are smaller still.
const SIZES: [u16; 8] = [256, 536, 1220, 1300, 1400, 1440, 1460, 8960];
const SIZE_BITS: u32 = 3;

/// Makes and checks cookies.
pub(crate) struct Cookies(Prf);

impl Cookies {
    /// Of the engine's secret.
    pub(crate) fn new(secret: [u64; 2]) -> Self {
        Self(Prf::new(secret, Purpose::Cookies))
    }

    /// The initial sequence number that answers a SYN: `irs` is the peer's, `mss` what it takes in bytes.
    pub(crate) fn make(&self, now: Instant, key: &FlowKey, irs: Seq, mss: u16) -> Seq {
        let size = SIZES.iter().rposition(|size| *size <= mss).unwrap_or(0) as u32;
        self.cookie(step(now), key, irs, size)
    }

    /// The MSS in bytes, if `iss` (the acknowledgement number less one) is a cookie of ours for `irs` (the sequence number
    /// less one) and not too old.
    pub(crate) fn check(&self, now: Instant, key: &FlowKey, irs: Seq, iss: Seq) -> Option<u16> {
        let size = iss.0 & ((1 << SIZE_BITS) - 1);
        let now = step(now);
        let steps = [Some(now), now.checked_sub(1)];
        let valid = steps.into_iter().flatten().any(|step| self.cookie(step, key, irs, size) == iss);
        valid.then(|| SIZES[size as usize])
    }

    fn cookie(&self, step: u64, key: &FlowKey, irs: Seq, size: u32) -> Seq {
        let mut bytes = [0; 49];
        bytes[..36].copy_from_slice(&key.bytes());
        bytes[36..40].copy_from_slice(&irs.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&step.to_le_bytes());
        bytes[48] = size as u8;
        Seq((self.0.hash(&bytes) as u32) << SIZE_BITS | size)
    }
}

fn step(now: Instant) -> u64 {
    now.as_nanos() / (STEP * 1_000_000_000)
}

/// Low bits of a timestamp that carry options: four of the window scale, fifteen for none; SACK; ECN.
const STAMP_BITS: u32 = 6;
const NO_SCALE: u32 = 15;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;

/// The options of a SYN that do not fit into a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CookieOptions {
    /// The peer's window scale, if it sent one; at most 14 (RFC 7323, 2.3).
    pub(crate) window_scale: Option<u8>,
    /// Whether it permits selective acknowledgements.
    pub(crate) sack: bool,
    /// Whether it wants explicit congestion notification.
    pub(crate) ecn: bool,
}

impl CookieOptions {
    /// The timestamp clock, without its offset, with the options in it: behind the clock by at most 63 ticks and never
    /// ahead. The echo tells no round-trip time.
    pub(crate) fn stamp(self, clock: u32) -> u32 {
        let scale = self.window_scale.map_or(NO_SCALE, |scale| u32::from(scale.min(14)));
        let bits = scale | if self.sack { SACK } else { 0 } | if self.ecn { ECN } else { 0 };
        let stamp = clock >> STAMP_BITS << STAMP_BITS | bits;
        if stamp > clock { stamp.wrapping_sub(1 << STAMP_BITS) } else { stamp }
    }

    /// The options in an echoed timestamp, less its offset. Only of use if the cookie is valid.
    pub(crate) fn from_stamp(echo: u32) -> Self {
        let scale = echo & NO_SCALE;
        Self { window_scale: (scale != NO_SCALE).then_some(scale as u8), sack: echo & SACK != 0, ecn: echo & ECN != 0 }
    }
}
