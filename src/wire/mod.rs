//! Headers as they are on the wire: views that check once and cannot panic later, and emitters.
//!
//! | module | what it reads and writes |
//! |---|---|
//! | [`ethernet`], [`vlan`] | frames, with up to two VLAN tags |
//! | [`arp`] | who has this address |
//! | [`ipv4`], [`ipv6`] | IP headers |
//! | [`icmp`] | echo and errors of IPv4, with the packet that an error quotes |
//! | [`udp`], [`tcp`] | the transports |
//! | [`checksum`] | the internet checksum, alone or fused with a copy |
//!
//! Reading: `Header::parse(bytes)` compares lengths once, takes the fields out by value and says how long the header is; it
//! borrows nothing, so the frame may be kept, moved or changed afterwards. What does not hold together is [`Malformed`].
//!
//! Writing: a header of fixed length is written into an array of that length, so there is nothing to check and nothing to
//! go wrong; `split_first_chunk_mut` cuts such arrays off a frame. What varies in length is written into a slice and answers
//! [`NoRoom`] if it is too short. Checksums are summed from the values being written, not read back from memory.
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;
pub mod vlan;

#[cfg(test)]
mod tests;

/// Why bytes are not what they should be. A packet with such a header is dropped without an answer.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes end before the header does.
    #[error("truncated header")]
    Truncated,
    /// The version of IP, or the kinds of address of ARP, are others.
    #[error("wrong version or address kind")]
    Version,
    /// A length within the header contradicts itself or the bytes there are.
    #[error("wrong length field")]
    Length,
    /// The checksum is wrong.
    #[error("wrong checksum")]
    Checksum,
}

/// What was to be written is longer than the slice given for it. Nothing was written.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("no room for the header")]
pub struct NoRoom;

/// The internet protocols by number, as the IPv4 and IPv6 headers name them.
pub mod protocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// The 16 bits at an offset that is known to be inside.
#[inline(always)]
fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The 32 bits at an offset that is known to be inside.
#[inline(always)]
fn be32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
