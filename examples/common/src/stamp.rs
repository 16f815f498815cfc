//! Stamps: what the generator writes into a packet so that the meter can tell what happened to it.
//!
//! ```text
//!   offset in the UDP payload   0        4        6            12           18
//!                               | magic  | stream | sequence   | time       |     all big-endian
//! ```
//!
//! 18 bytes, because that is what the smallest Ethernet frame (60 bytes and the FCS) leaves of an IPv4 UDP packet.
//! Sequence and time are 48 bits: they wrap after 2⁴⁸ packets (326 days at 10 million a second) and 78 hours of
//! nanoseconds, and the reader, who knows roughly where it is, widens them again.

use std::time::{SystemTime, UNIX_EPOCH};

/// The first four bytes of a stamp: "nths".
pub const MAGIC: [u8; 4] = *b"nths";

/// Bytes of a stamp.
pub const LEN: usize = 18;

const BITS: u32 = 48;
const MASK: u64 = (1 << BITS) - 1;

/// Nanoseconds since the Unix epoch, by the system's clock: the time base of stamps.
#[inline]
#[must_use]
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// What a packet says of itself. Of `sequence` and `time_ns` the low 48 bits travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Which generator: sequences are counted per stream.
    pub stream: u16,
    /// Which packet of the stream, from 0.
    pub sequence: u64,
    /// When it was handed to the port, by [`now_ns`].
    pub time_ns: u64,
}

impl Stamp {
    /// As it stands in a packet.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&self.stream.to_be_bytes());
        out[6..12].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        out[12..].copy_from_slice(&self.time_ns.to_be_bytes()[2..]);
        out
    }

    /// Reads the stamp at the start of a UDP payload; sequence and time are the 48 bits that travelled.
    #[inline]
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let stamp: &[u8; LEN] = payload.first_chunk()?;
        if stamp[..4] != MAGIC {
            return None;
        }
        let wide = |at: usize| {
            let mut bytes = [0; 8];
            bytes[2..].copy_from_slice(&stamp[at..at + 6]);
            u64::from_be_bytes(bytes)
        };
        Some(Self { stream: u16::from_be_bytes([stamp[4], stamp[5]]), sequence: wide(6), time_ns: wide(12) })
    }

    /// The stamp of a frame, if it is a UDP packet that has one.
    #[inline]
    #[must_use]
    pub fn find(frame: &[u8]) -> Option<Self> {
        Self::decode(frame.get(udp_payload(frame)?..)?)
    }

    /// Nanoseconds from the stamp's time to `now_ns`; negative if the clocks disagree.
    #[inline]
    #[must_use]
    pub fn age_ns(&self, now_ns: u64) -> i64 {
        signed(now_ns.wrapping_sub(self.time_ns))
    }
}

/// The number with these low 48 bits that lies nearest to `near`.
#[inline]
#[must_use]
pub fn widen(low: u64, near: u64) -> u64 {
    let ahead = signed(low.wrapping_sub(near));
    near.checked_add_signed(ahead).unwrap_or(low & MASK)
}

/// The low 48 bits as a signed number.
#[inline]
fn signed(n: u64) -> i64 {
    ((n << (64 - BITS)) as i64) >> (64 - BITS)
}

/// Where the UDP payload of a frame begins: Ethernet, any VLAN tags, IPv4 (first fragments only) or IPv6 without
/// extension headers.
#[inline]
#[must_use]
pub fn udp_payload(frame: &[u8]) -> Option<usize> {
    const UDP: u8 = 17;
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let mut at = 12;
    while matches!(word(at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let ip = at + 2;
    let udp = match word(at)? {
        0x0800 if *frame.get(ip + 9)? == UDP && word(ip + 6)? & 0x1fff == 0 => {
            ip + usize::from(*frame.get(ip)? & 0xf) * 4
        }
        0x86dd if *frame.get(ip + 6)? == UDP => ip + 40,
        _ => return None,
    };
    Some(udp + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_way() {
        let stamp = Stamp { stream: 0xbeef, sequence: 0x1234_5678_9abc, time_ns: 0xcba9_8765_4321 };
        let bytes = stamp.encode();
        assert_eq!(Stamp::decode(&bytes), Some(stamp));
        assert_eq!(Stamp::decode(&bytes[..17]), None);
        let mut other = bytes;
        other[3] ^= 1;
        assert_eq!(Stamp::decode(&other), None);
    }

    #[test]
    fn numbers_are_widened_around_the_wrap() {
        let top = 1 << 48;
        assert_eq!(widen(5, 3), 5);
        assert_eq!(widen(2, top - 1), top + 2);
        assert_eq!(widen(top - 1, top + 2), top - 1);
        assert_eq!(widen(7, 9 * top + 100), 9 * top + 7);
        // Below zero there is nothing.
        assert_eq!(widen(top - 1, 0), top - 1);
        let stamp = Stamp { time_ns: top - 10, ..Stamp::default() };
        assert_eq!(stamp.age_ns(5 * top + 20), 30);
        assert_eq!(stamp.age_ns(5 * top - 30), -20);
    }

    #[test]
    fn a_payload_is_found_only_where_there_is_one() {
        let mut tagged = vec![0; 12];
        tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x08, 0, 0x46]);
        tagged.resize(22 + 24 + 8, 0);
        tagged[22 + 9] = 17;
        assert_eq!(udp_payload(&tagged), Some(22 + 24 + 8));
        tagged[22 + 7] = 1; // a later fragment
        assert_eq!(udp_payload(&tagged), None);
        for len in 0..22 {
            assert_eq!(udp_payload(&tagged[..len]), None);
        }
        assert_eq!(Stamp::find(&[0x81; 64]), None);
    }
}
