//! TCP headers (RFC 9293, 3.1) and their options.
//!
//! [`Header::parse`] looks at the fixed 20 bytes only. An established connection then asks
//! [`Timestamps::parse_fast`] whether the options are exactly the twelve bytes that every common system sends, which takes one
//! comparison; [`Options::parse`] reads whatever else there may be.

mod options;

use super::checksum::Sum;
use super::{Malformed, NoRoom, be16, be32};

pub use options::{MAX_SACKS, Options, Sacks, Timestamps};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Bytes of a header whose options are timestamps alone.
pub const TIMESTAMPED_LEN: usize = HEADER_LEN + options::TIMESTAMPS_LEN;

/// Bytes of the longest header there can be.
pub const MAX_HEADER_LEN: usize = 60;

/// The control bits, as they are in the header's fourteenth byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Sequence numbers begin.
    pub const SYN: Self = Self(0x02);
    /// The connection is no more.
    pub const RST: Self = Self(0x04);
    /// The receiver may hand out what it has.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number means something.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer means something.
    pub const URG: Self = Self(0x20);
    /// Congestion was experienced on the way here (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// The sender has reduced its congestion window (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline(always)]
    #[must_use]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// These and those.
    #[inline(always)]
    #[must_use]
    pub const fn union(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These without those.
    #[inline(always)]
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl std::ops::BitOrAssign for Flags {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// What a header says, but for its checksum and options. Reserved bits are ignored (RFC 9293, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Of the segment's first byte, or of its SYN.
    pub seq: u32,
    /// What the sender expects next; means nothing without [`Flags::ACK`].
    pub ack: u32,
    /// What the sender takes beyond that, not scaled.
    pub window: u16,
    /// Where urgent data ends, counted from `seq`; means nothing without [`Flags::URG`].
    pub urgent: u16,
    /// The control bits.
    pub flags: Flags,
    /// Bytes of the header with its options, 20 to 60; the data begins there.
    pub header_len: u8,
}

impl Header {
    /// Reads the header of a segment, `segment` being an IP packet's whole payload: `20 <= header_len <= segment.len()`.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], [`Malformed::Length`].
    #[inline(always)]
    pub fn parse(segment: &[u8]) -> Result<Self, Malformed> {
        let h = segment.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        let header_len = (h[12] >> 4) * 4;
        if usize::from(header_len) < HEADER_LEN {
            return Err(Malformed::Length);
        }
        if usize::from(header_len) > segment.len() {
            return Err(Malformed::Truncated);
        }
        Ok(Self {
            src_port: be16(h, 0),
            dst_port: be16(h, 2),
            seq: be32(h, 4),
            ack: be32(h, 8),
            window: be16(h, 14),
            urgent: be16(h, 18),
            flags: Flags(h[13]),
            header_len,
        })
    }

    /// The bytes of the options of the segment that this header was read from.
    #[inline(always)]
    #[must_use]
    pub fn options<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        segment.get(HEADER_LEN..usize::from(self.header_len)).unwrap_or_default()
    }

    /// The data of the segment that this header was read from.
    #[inline(always)]
    #[must_use]
    pub fn data<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        segment.get(usize::from(self.header_len)..).unwrap_or_default()
    }
}

/// A header to be written. `Emit::default()` has no flags and no options.
///
/// Options come in the order and layout of Linux: MSS; SACK-permitted and timestamps in twelve bytes, or either with two
/// NOPs before it; NOP and window scale; two NOPs and as many SACK blocks as still fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emit<'a> {
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Of the first byte, or of the SYN.
    pub seq: u32,
    /// What is expected next.
    pub ack: u32,
    /// The control bits.
    pub flags: Flags,
    /// What is taken beyond `ack`, scaled already.
    pub window: u16,
    /// The maximum segment size in bytes; belongs to a SYN.
    pub mss: Option<u16>,
    /// By how many bits windows will be shifted; belongs to a SYN.
    pub window_scale: Option<u8>,
    /// Whether SACK blocks are understood; belongs to a SYN.
    pub sack_permitted: bool,
    /// The timestamps.
    pub timestamps: Option<Timestamps>,
    /// Blocks received out of order, each from its first byte's sequence number to that behind its last, the latest first.
    /// Those that do not fit are left out: there is room for four, for three beside timestamps.
    pub sacks: &'a [(u32, u32)],
}

/// A header that was written, checksum still zero.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Written {
    /// Bytes of the header with its options: where the data begins.
    pub len: usize,
    /// The header's sum. With those of the pseudo-header and the data it gives the checksum for [`put_checksum`].
    pub sum: Sum,
}

impl Emit<'_> {
    /// Bytes of the header with its options.
    #[inline(always)]
    #[must_use]
    pub fn header_len(&self) -> usize {
        match self.timestamps {
            _ if !self.plain() => HEADER_LEN + options::len(self),
            Some(_) => TIMESTAMPED_LEN,
            None => HEADER_LEN,
        }
    }

    /// Whether there are options beside timestamps.
    #[inline(always)]
    fn plain(&self) -> bool {
        self.mss.is_none() && self.window_scale.is_none() && !self.sack_permitted && self.sacks.is_empty()
    }

    /// Writes the header to the front of `out`, checksum zero.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    #[inline(always)]
    pub fn write(&self, out: &mut [u8]) -> Result<Written, NoRoom> {
        if self.plain() { self.write_plain(out) } else { self.write_options(out) }
    }

    /// The same of a header that has no other options than timestamps; others are left out.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    #[inline(always)]
    pub fn write_plain(&self, out: &mut [u8]) -> Result<Written, NoRoom> {
        if let Some(timestamps) = self.timestamps {
            let out = out.first_chunk_mut::<TIMESTAMPED_LEN>().ok_or(NoRoom)?;
            let (fixed, options) = out.split_at_mut(HEADER_LEN);
            let sum = self.write_fixed(fixed, TIMESTAMPED_LEN);
            let sum = sum.add(timestamps.write(options));
            Ok(Written { len: TIMESTAMPED_LEN, sum })
        } else {
            let out = out.first_chunk_mut::<HEADER_LEN>().ok_or(NoRoom)?;
            Ok(Written { len: HEADER_LEN, sum: self.write_fixed(out, HEADER_LEN) })
        }
    }

    #[inline(never)]
    fn write_options(&self, out: &mut [u8]) -> Result<Written, NoRoom> {
        let len = self.header_len();
        let (fixed, options) = out.get_mut(..len).and_then(|out| out.split_at_mut_checked(HEADER_LEN)).ok_or(NoRoom)?;
        let sum = self.write_fixed(fixed, len).add(options::write(self, options));
        Ok(Written { len, sum })
    }

    /// Writes the fixed part.
    #[inline(always)]
    fn write_fixed(&self, out: &mut [u8], header_len: usize) -> Sum {
        let first = u64::from(self.src_port) << 48 | u64::from(self.dst_port) << 32 | u64::from(self.seq);
        let second = u64::from(self.ack) << 32
            | (header_len as u64 / 4) << 28
            | u64::from(self.flags.0) << 16
            | u64::from(self.window);
        // The checksum and the urgent pointer, which nobody should send any more (RFC 6093), are zero.
        out[0..8].copy_from_slice(&first.to_be_bytes());
        out[8..16].copy_from_slice(&second.to_be_bytes());
        out[16..20].copy_from_slice(&[0; 4]);
        Sum::of_be64(first).add(Sum::of_be64(second))
    }
}

/// Puts the checksum into a segment: `sum` is that of the pseudo-header, the header and the data. Shorter segments than a
/// header stay as they are.
#[inline(always)]
pub fn put_checksum(segment: &mut [u8], sum: Sum) {
    put_word(segment, sum.finish());
}

/// Puts the sum of the pseudo-header into a segment, for a device that sums the rest and completes the checksum.
#[inline]
pub fn put_unfinished_checksum(segment: &mut [u8], pseudo: Sum) {
    put_word(segment, pseudo.folded());
}

#[inline(always)]
fn put_word(segment: &mut [u8], word: u16) {
    if let Some(header) = segment.first_chunk_mut::<HEADER_LEN>() {
        header[16..18].copy_from_slice(&word.to_be_bytes());
    }
}
