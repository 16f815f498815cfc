//! IPv6's fixed header (RFC 8200, 3). Extension headers are not looked into.

use std::net::Ipv6Addr;

use super::{Malformed, be16, be32};

/// Bytes of the header.
pub const HEADER_LEN: usize = 40;

/// Every link carries packets of this many bytes (RFC 8200, 5).
pub const MIN_MTU: u16 = 1280;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Whom it is from.
    pub src: Ipv6Addr,
    /// Whom it is for.
    pub dst: Ipv6Addr,
    /// What follows the header: a protocol or an extension header.
    pub next_header: u8,
    /// Routers that may still forward it.
    pub hop_limit: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// The flow's label; 20 bits.
    pub flow_label: u32,
    /// Bytes behind the header.
    pub payload_len: u16,
}

impl Header {
    /// Reads the header of a packet: `HEADER_LEN + payload_len <= packet.len()`.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], [`Malformed::Version`].
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let h = packet.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        let first = be32(h, 0);
        if first >> 28 != 6 {
            return Err(Malformed::Version);
        }
        let payload_len = be16(h, 4);
        if HEADER_LEN + usize::from(payload_len) > packet.len() {
            return Err(Malformed::Truncated);
        }
        let address = |at| {
            let half = |at| u64::from(be32(h, at)) << 32 | u64::from(be32(h, at + 4));
            Ipv6Addr::from_bits(u128::from(half(at)) << 64 | u128::from(half(at + 8)))
        };
        Ok(Self {
            src: address(8),
            dst: address(24),
            next_header: h[6],
            hop_limit: h[7],
            traffic_class: (first >> 20) as u8,
            flow_label: first & 0x000f_ffff,
            payload_len,
        })
    }

    /// The payload within the packet that this header was read from, without padding; of other bytes what there is.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let end = (HEADER_LEN + usize::from(self.payload_len)).min(packet.len());
        packet.get(HEADER_LEN..end).unwrap_or_default()
    }

    /// Writes the header. Of the flow label the lower 20 bits count.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        let first = 0x6000_0000 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        out[0..4].copy_from_slice(&first.to_be_bytes());
        out[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        out[6..8].copy_from_slice(&[self.next_header, self.hop_limit]);
        out[8..24].copy_from_slice(&self.src.octets());
        out[24..40].copy_from_slice(&self.dst.octets());
    }
}
