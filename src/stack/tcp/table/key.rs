//! The four-tuple of a flow, and its keyed hash.

use crate::stack::prf::{Purpose, derive};
use crate::wire::checksum::Sum;
use crate::wire::protocol;
use siphasher::sip::SipHasher13;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Both ends of a flow, as this host sees them. IPv4 addresses lie in it as IPv4-mapped ones (RFC 4291, 2.5.5.2), which
/// never appear on the wire themselves.
#[derive(Clone, Copy, Eq)]
pub(crate) struct FlowKey {
    /// The local address, the remote one (four words each, as they lie in a packet), both ports.
    words: [u32; 9],
}

impl PartialEq for FlowKey {
    /// All words at once: that of the segment's connection is equal nearly always.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl Hash for FlowKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.words.hash(state);
    }
}

const _: () = assert!(size_of::<FlowKey>() == 36 && align_of::<FlowKey>() == 4);

/// The words of an address before the last one, of IPv4.
const MAPPED: [u32; 3] = [0, 0, 0xffff_u32.to_be()];

impl FlowKey {
    /// Of an IPv4 flow: for packets, without a detour over address enums.
    #[inline]
    pub(crate) const fn v4(local: Ipv4Addr, local_port: u16, remote: Ipv4Addr, remote_port: u16) -> Self {
        let [a, b, c] = MAPPED;
        let (local, remote) = (u32::from_ne_bytes(local.octets()), u32::from_ne_bytes(remote.octets()));
        Self { words: [a, b, c, local, a, b, c, remote, (local_port as u32) << 16 | remote_port as u32] }
    }

    /// Of addresses and ports.
    #[inline]
    pub(crate) fn from_ips(local: IpAddr, local_port: u16, remote: IpAddr, remote_port: u16) -> Self {
        if let (IpAddr::V4(local), IpAddr::V4(remote)) = (local, remote) {
            return Self::v4(local, local_port, remote, remote_port);
        }
        let ([a, b, c, d], [e, f, g, h]) = (words(local), words(remote));
        Self { words: [a, b, c, d, e, f, g, h, u32::from(local_port) << 16 | u32::from(remote_port)] }
    }

    /// Of socket addresses; scope and flow label do not count.
    #[cfg(test)]
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self::from_ips(local.ip(), local.port(), remote.ip(), remote.port())
    }

    /// The local address.
    pub(crate) fn local_ip(&self) -> IpAddr {
        let [a, b, c, d, ..] = self.words;
        address([a, b, c, d])
    }

    /// The remote address.
    pub(crate) fn remote_ip(&self) -> IpAddr {
        let [_, _, _, _, a, b, c, d, _] = self.words;
        address([a, b, c, d])
    }

    /// Both addresses of an IPv4 flow, the local one first; of others their last four bytes.
    #[inline(always)]
    pub(crate) fn v4_ips(&self) -> (Ipv4Addr, Ipv4Addr) {
        (Ipv4Addr::from(self.words[3].to_ne_bytes()), Ipv4Addr::from(self.words[7].to_ne_bytes()))
    }

    /// The sum of the pseudo-header of its segments, for so many bytes.
    #[inline(always)]
    pub(crate) fn pseudo(&self, len: usize) -> Sum {
        // What is before an IPv4 address is 0xffff, which is zero in this arithmetic.
        let pair = |n| Sum::of_ne64(self.pair(n));
        pair(0).add(pair(1)).add(pair(2)).add(pair(3)).add(Sum::tail(protocol::TCP, len))
    }

    /// The local port.
    #[inline]
    pub(crate) const fn local_port(&self) -> u16 {
        (self.words[8] >> 16) as u16
    }

    /// The remote port.
    #[inline]
    pub(crate) const fn remote_port(&self) -> u16 {
        self.words[8] as u16
    }

    /// The local end.
    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_ip(), self.local_port())
    }

    /// The remote end.
    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_ip(), self.remote_port())
    }

    /// All of it as bytes, for keyed functions; the same on every machine.
    pub(crate) fn bytes(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        for (to, word) in bytes.chunks_exact_mut(4).zip(self.words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[32..].copy_from_slice(&self.words[8].to_be_bytes());
        bytes
    }

    /// Words `2n` and `2n + 1` as one.
    #[inline(always)]
    fn pair(&self, n: usize) -> u64 {
        u64::from(self.words[2 * n + 1]) << 32 | u64::from(self.words[2 * n])
    }
}

/// An address as four words in the order of a packet.
#[inline]
fn words(address: IpAddr) -> [u32; 4] {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    std::array::from_fn(|n| {
        u32::from_ne_bytes([octets[4 * n], octets[4 * n + 1], octets[4 * n + 2], octets[4 * n + 3]])
    })
}

/// The address of four words.
fn address(words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    for (to, word) in octets.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    let address = Ipv6Addr::from(octets);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}<-{}", self.local(), self.remote())
    }
}

/// The keyed hash of flows.
///
/// Products of 64-bit words folded to their halves' exclusive or: four multiplications, three of them side by side, about
/// 2 ns where SipHash takes ten. Who sees neither hashes nor the key, as a remote host, has no better way to find keys
/// that collide than to try; but the construction is no pseudo-random function, and there may be keys that collide under
/// every secret. That is why the table watches its chains: should one ever be longer than chance explains, it goes over to
/// SipHash-1-3 under a new key, for which no such keys are known.
pub(super) enum Hasher {
    Fast([u64; 6]),
    Strong(SipHasher13),
}

impl Hasher {
    pub(super) fn fast(secret: [u64; 2]) -> Self {
        let [a, b] = derive(secret, Purpose::FlowTable);
        let [c, d] = derive([a, b], Purpose::FlowTable);
        let [e, f] = derive([c, d], Purpose::FlowTable);
        Self::Fast([a, b, c, d, e, f])
    }

    /// The one that takes over, the `generation`th time.
    pub(super) fn strong(secret: [u64; 2], generation: u32) -> Self {
        let [a, b] = derive([secret[0], secret[1] ^ u64::from(generation)], Purpose::FlowTable);
        Self::Strong(SipHasher13::new_with_keys(a, b))
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &FlowKey) -> u32 {
        match self {
            Self::Fast([a, b, c, d, e, f]) => {
                let local = fold(key.pair(0) ^ a, key.pair(1) ^ b);
                let remote = fold(key.pair(2) ^ c, key.pair(3) ^ d);
                // Ports come in sequences: in one factor only they would lie like the multiples of a number, and for some
                // numbers these are heaped.
                let ports = u64::from(key.words[8]).wrapping_mul(e | 1) ^ f;
                (fold(local ^ ports, remote ^ ports.rotate_left(32)) >> 32) as u32
            }
            Self::Strong(sip) => strong(sip, key),
        }
    }
}

#[cold]
fn strong(sip: &SipHasher13, key: &FlowKey) -> u32 {
    (sip.hash(&key.bytes()) >> 32) as u32
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
