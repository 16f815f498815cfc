//! ARP for IPv4 on Ethernet (RFC 826); questions about an address's conflicts are those of RFC 5227.

use std::net::Ipv4Addr;

use super::ethernet::{Mac, ether_type};
use super::{Malformed, be16};

/// Bytes of a packet.
pub const LEN: usize = 28;

/// Asks who has an address.
pub const REQUEST: u16 = 1;

/// Answers it.
pub const REPLY: u16 = 2;

/// Hardware type Ethernet.
const ETHERNET: u16 = 1;

/// One question or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// [`REQUEST`], [`REPLY`], or something unknown.
    pub operation: u16,
    /// The sender's Ethernet address.
    pub sender_mac: Mac,
    /// The sender's IP address; unspecified in a probe (RFC 5227, 2.1.1).
    pub sender_ip: Ipv4Addr,
    /// In an answer who asked; in a question it says nothing.
    pub target_mac: Mac,
    /// The address asked for. The sender's own in an announcement (RFC 5227, 2.3).
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Reads a packet; bytes behind it are padding.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`], and [`Malformed::Version`] if it is not about IPv4 on Ethernet.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let p = bytes.first_chunk::<LEN>().ok_or(Malformed::Truncated)?;
        if be16(p, 0) != ETHERNET || be16(p, 2) != ether_type::IPV4 || p[4] != 6 || p[5] != 4 {
            return Err(Malformed::Version);
        }
        Ok(Self {
            operation: be16(p, 6),
            sender_mac: [p[8], p[9], p[10], p[11], p[12], p[13]],
            sender_ip: Ipv4Addr::new(p[14], p[15], p[16], p[17]),
            target_mac: [p[18], p[19], p[20], p[21], p[22], p[23]],
            target_ip: Ipv4Addr::new(p[24], p[25], p[26], p[27]),
        })
    }

    /// Writes the packet.
    #[inline]
    pub fn write(&self, out: &mut [u8; LEN]) {
        out[0..2].copy_from_slice(&ETHERNET.to_be_bytes());
        out[2..4].copy_from_slice(&ether_type::IPV4.to_be_bytes());
        out[4..6].copy_from_slice(&[6, 4]);
        out[6..8].copy_from_slice(&self.operation.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac);
        out[14..18].copy_from_slice(&self.sender_ip.octets());
        out[18..24].copy_from_slice(&self.target_mac);
        out[24..28].copy_from_slice(&self.target_ip.octets());
    }
}
