//! IPv4 headers (RFC 791), with DSCP (RFC 2474) and ECN (RFC 3168) in what was the type of service.

use std::net::Ipv4Addr;

use super::checksum::Sum;
use super::{Malformed, be16, be32};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// The first byte of a header without options: version and length.
pub const PLAIN: u8 = 0x45;

/// Bytes of the longest header there can be.
pub const MAX_HEADER_LEN: usize = 60;

/// Bytes of the longest packet there can be.
pub const MAX_LEN: usize = 65535;

/// Every host takes in packets of this many bytes, whole or in fragments (RFC 1122, 3.3.2).
pub const MIN_REASSEMBLY: usize = 576;

/// Every link carries packets of this many bytes (RFC 791, 3.1).
pub const MIN_MTU: u16 = 68;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// What a header says. Options are counted in its length and otherwise not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Whom it is from.
    pub src: Ipv4Addr,
    /// Whom it is for.
    pub dst: Ipv4Addr,
    /// What follows the header, one of [`protocol`](super::protocol).
    pub protocol: u8,
    /// Routers that may still forward it.
    pub ttl: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Common to the fragments of one packet.
    pub identification: u16,
    /// Flags and offset of a fragment, as they are on the wire: three bits and thirteen, in units of 8 bytes.
    pub fragment: u16,
    /// Bytes of header and payload. What lies behind them in a frame is padding.
    pub total_len: u16,
    /// Bytes of the header, 20 to 60.
    pub header_len: u8,
}

impl Header {
    /// Reads the header of a packet that was received, and verifies its checksum and lengths: `header_len <= total_len <=
    /// packet.len()`.
    ///
    /// # Errors
    ///
    /// Every [`Malformed`].
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let h = packet.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        let header = Self::fields(h)?;
        if header.total_len < u16::from(header.header_len) {
            return Err(Malformed::Length);
        }
        if usize::from(header.total_len) > packet.len() {
            return Err(Malformed::Truncated);
        }
        let sum = if usize::from(header.header_len) == HEADER_LEN {
            Sum::of(h)
        } else {
            Sum::of(packet.get(..usize::from(header.header_len)).ok_or(Malformed::Truncated)?)
        };
        if !sum.is_valid() {
            return Err(Malformed::Checksum);
        }
        Ok(header)
    }

    /// Reads a header that an ICMP error quotes: of the packet only the beginning is there, and routers on the way may have
    /// changed it without care for the checksum. So neither that nor the total length is compared with anything.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`] if the header, with its options, is not there as a whole, [`Malformed::Version`],
    /// [`Malformed::Length`].
    pub fn parse_quoted(bytes: &[u8]) -> Result<Self, Malformed> {
        let header = Self::fields(bytes.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?)?;
        if usize::from(header.header_len) > bytes.len() { Err(Malformed::Truncated) } else { Ok(header) }
    }

    #[inline(always)]
    fn fields(h: &[u8; HEADER_LEN]) -> Result<Self, Malformed> {
        if h[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header_len = (h[0] & 0x0f) * 4;
        if usize::from(header_len) < HEADER_LEN {
            return Err(Malformed::Length);
        }
        Ok(Self {
            src: Ipv4Addr::from_bits(be32(h, 12)),
            dst: Ipv4Addr::from_bits(be32(h, 16)),
            protocol: h[9],
            ttl: h[8],
            tos: h[1],
            identification: be16(h, 4),
            fragment: be16(h, 6),
            total_len: be16(h, 2),
            header_len,
        })
    }

    /// Bytes of payload.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        (self.total_len as usize).saturating_sub(self.header_len as usize)
    }

    /// The payload within the packet that this header was read from, without padding; of other bytes what there is.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let end = usize::from(self.total_len).min(packet.len());
        packet.get(usize::from(self.header_len)..end).unwrap_or_default()
    }

    /// Whether this is a fragment of a packet, first, middle or last.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.fragment & (MORE_FRAGMENTS | OFFSET) != 0
    }

    /// Where the fragment's payload lies within the packet's, in bytes.
    #[inline]
    #[must_use]
    pub const fn fragment_offset(&self) -> usize {
        (self.fragment & OFFSET) as usize * 8
    }

    /// Whether further fragments follow.
    #[inline]
    #[must_use]
    pub const fn more_fragments(&self) -> bool {
        self.fragment & MORE_FRAGMENTS != 0
    }

    /// Whether routers must not fragment it.
    #[inline]
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        self.fragment & DONT_FRAGMENT != 0
    }

    /// The two bits of ECN: 0 not capable, 1 and 2 capable, 3 congestion experienced.
    #[inline]
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.tos & 3
    }

    /// The six bits of DSCP.
    #[inline]
    #[must_use]
    pub const fn dscp(&self) -> u8 {
        self.tos >> 2
    }
}

/// A header to be written, without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Emit {
    /// Whom it is from.
    pub src: Ipv4Addr,
    /// Whom it is for.
    pub dst: Ipv4Addr,
    /// What follows the header.
    pub protocol: u8,
    /// Routers that may forward it.
    pub ttl: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Common to the fragments of one packet; may be anything if it is not fragmented and must not be (RFC 6864, 4.1).
    pub identification: u16,
    /// What is said about fragments.
    pub fragment: Fragment,
    /// Bytes of header and payload.
    pub total_len: u16,
}

/// The flags and offset of fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fragment(u16);

impl Fragment {
    /// A whole packet that routers may fragment.
    pub const MAY: Self = Self(0);

    /// A whole packet that routers must not fragment.
    pub const DONT: Self = Self(DONT_FRAGMENT);

    /// One of several fragments. `offset` is in bytes, a multiple of 8 below 65536: its lower three bits and those beyond
    /// are not said.
    #[inline]
    #[must_use]
    pub const fn part(offset: usize, more: bool) -> Self {
        Self((offset / 8) as u16 & OFFSET | if more { MORE_FRAGMENTS } else { 0 })
    }

    /// The field as it is on the wire.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl Emit {
    /// Writes the header with its checksum.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        let first = 0x4500_0000_0000_0000
            | (self.tos as u64) << 48
            | (self.total_len as u64) << 32
            | (self.identification as u64) << 16
            | self.fragment.0 as u64;
        let second = (self.ttl as u32) << 24 | (self.protocol as u32) << 16;
        let addresses = (self.src.to_bits() as u64) << 32 | self.dst.to_bits() as u64;
        let sum = Sum::of_be64(first).add(Sum::of_be32(second)).add(Sum::of_be64(addresses)).finish();
        out[0..8].copy_from_slice(&first.to_be_bytes());
        out[8..12].copy_from_slice(&(second | u32::from(sum)).to_be_bytes());
        out[12..20].copy_from_slice(&addresses.to_be_bytes());
    }
}
