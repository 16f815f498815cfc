//! Ethernet II frames (IEEE 802.3, 3.2): destination, source, type.

use super::{Malformed, be16};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes of a header without VLAN tags.
pub const HEADER_LEN: usize = 14;

/// The shortest frame there is on a real wire, in bytes without the frame check sequence. Shorter ones are padded, by the
/// device as a rule; so what lies behind an IP packet's total length is padding and says nothing.
pub const MIN_FRAME: usize = 60;

/// The address that everybody hears.
pub const BROADCAST: Mac = [0xff; 6];

/// What a frame carries, by number.
pub mod ether_type {
    /// IPv4 (RFC 894).
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// The outer one of two VLAN tags (IEEE 802.1ad).
    pub const QINQ: u16 = 0x88a8;
    /// IPv6 (RFC 2464).
    pub const IPV6: u16 = 0x86dd;
}

/// Whether the address stands for a group: multicast or broadcast.
#[inline]
#[must_use]
pub const fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

/// A frame's header without VLAN tags; [`vlan::parse`](super::vlan::parse) sees through those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Whom it is for.
    pub dst: Mac,
    /// Whom it is from.
    pub src: Mac,
    /// What follows the header: one of [`ether_type`], or something unknown. Below 1536 it is a length (IEEE 802.3).
    pub ether_type: u16,
}

impl Header {
    /// Takes the header off the front of a frame; [`HEADER_LEN`] bytes long.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`].
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let h = frame.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        let mac = |at: usize| h[at..].first_chunk::<6>().copied().unwrap_or_default();
        Ok(Self { dst: mac(0), src: mac(6), ether_type: be16(h, 12) })
    }

    /// Writes the header.
    #[inline]
    pub fn write(&self, out: &mut [u8; HEADER_LEN]) {
        out[0..6].copy_from_slice(&self.dst);
        out[6..12].copy_from_slice(&self.src);
        out[12..14].copy_from_slice(&self.ether_type.to_be_bytes());
    }
}
