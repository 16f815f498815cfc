//! UDP (RFC 768).

use std::net::IpAddr;

use super::checksum::Sum;
use super::{Malformed, be16, protocol};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// The most data that a datagram over IPv4 carries, in bytes.
pub const MAX_DATA_V4: usize = super::ipv4::MAX_LEN - super::ipv4::HEADER_LEN - HEADER_LEN;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// The sender's port; 0 if no answer is wanted.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Bytes of header and data.
    pub len: u16,
    /// The checksum; 0 if the sender computed none, which only IPv4 allows (RFC 8200, 8.1).
    pub checksum: u16,
}

impl Header {
    /// Reads the header of a datagram, `bytes` being an IP packet's whole payload: `8 <= len <= bytes.len()`. Bytes behind
    /// the datagram are padding, as with Linux.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], [`Malformed::Length`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let h = bytes.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        let header = Self { src_port: be16(h, 0), dst_port: be16(h, 2), len: be16(h, 4), checksum: be16(h, 6) };
        if usize::from(header.len) < HEADER_LEN {
            return Err(Malformed::Length);
        }
        if usize::from(header.len) > bytes.len() { Err(Malformed::Truncated) } else { Ok(header) }
    }

    /// The ports that an ICMP error quotes: source and destination of the datagram that failed. Works for TCP too.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`].
    #[inline]
    pub fn quoted_ports(bytes: &[u8]) -> Result<(u16, u16), Malformed> {
        let h = bytes.first_chunk::<4>().ok_or(Malformed::Truncated)?;
        Ok((be16(h, 0), be16(h, 2)))
    }

    /// The data of the datagram that this header was read from; of other bytes what there is.
    #[inline]
    #[must_use]
    pub fn data<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(HEADER_LEN..usize::from(self.len).min(bytes.len())).unwrap_or_default()
    }

    /// Whether the checksum of the datagram is correct, or not there and not needed.
    #[inline]
    #[must_use]
    pub fn verify(&self, bytes: &[u8], local: IpAddr, remote: IpAddr) -> bool {
        if self.checksum == 0 {
            return local.is_ipv4();
        }
        let Some(datagram) = bytes.get(..usize::from(self.len)) else { return false };
        Sum::pseudo(local, remote, protocol::UDP, datagram.len()).add(Sum::of(datagram)).is_valid()
    }
}

/// A header to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Emit {
    /// The sender's port.
    pub src_port: u16,
    /// The receiver's port.
    pub dst_port: u16,
    /// Bytes of header and data.
    pub len: u16,
}

impl Emit {
    /// Writes the header; `data` is the sum of the pseudo-header and of all data.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN], data: Sum) {
        let fields = self.fields();
        // What comes out as zero is written as its twin, since zero means that there is none (RFC 768).
        let checksum = match Sum::of_be64(fields).add(data).finish() {
            0 => 0xffff,
            checksum => checksum,
        };
        *out = (fields | u64::from(checksum)).to_be_bytes();
    }

    /// Writes the header with a given word in the checksum's place: 0 for none, or the sum of the pseudo-header
    /// ([`Sum::folded`]) that a device completes.
    #[inline]
    pub fn write_with(&self, out: &mut [u8; HEADER_LEN], checksum: u16) {
        *out = (self.fields() | u64::from(checksum)).to_be_bytes();
    }

    #[inline(always)]
    fn fields(&self) -> u64 {
        u64::from(self.src_port) << 48 | u64::from(self.dst_port) << 32 | u64::from(self.len) << 16
    }
}
