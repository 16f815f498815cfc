//! Keyed hashing of addresses and ports, so that nobody outside can choose what collides.

use crate::stack::prf::{Purpose, derive};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

/// An address as one number; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2), so that one table serves both kinds.
#[inline(always)]
pub(in crate::stack) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => 0xffff_0000_0000 | u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The keys. Tables made with the same keys hash alike.
#[derive(Clone, Copy, Debug)]
pub(in crate::stack) struct Keyed {
    keys: [u64; 2],
}

impl Keyed {
    /// Keys for one purpose.
    pub(in crate::stack) fn new(secret: [u64; 2], purpose: Purpose) -> Self {
        let [first, second] = derive(secret, purpose);
        // An even factor would lose bits in each multiplication.
        Self { keys: [first, second | 1] }
    }

    /// The hash of a few numbers.
    #[inline]
    pub(in crate::stack) fn hash<const N: usize>(&self, words: [u64; N]) -> u64 {
        let mut hasher = self.build_hasher();
        words.into_iter().for_each(|word| hasher.write_u64(word));
        hasher.finish()
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: self.keys[0], key: self.keys[1] }
    }
}

/// Folded multiplication: 64 × 64 → 128 bits, halves combined.
pub(in crate::stack) struct KeyedHasher {
    state: u64,
    key: u64,
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.key);
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
        self.write_u64((number >> 64) as u64);
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        // Once more: the last word went through one multiplication only.
        fold(self.state, self.key.rotate_left(29) | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_purposes_change_every_hash() {
        let hash = |secret, purpose, word| Keyed::new(secret, purpose).hash([word]);
        assert_eq!(hash([1, 2], Purpose::Neighbours, 4), hash([1, 2], Purpose::Neighbours, 4));
        for (secret, purpose, word) in [
            ([0, 2], Purpose::Neighbours, 4),
            ([1, 0], Purpose::Neighbours, 4),
            ([1, 2], Purpose::PathMtus, 4),
            ([1, 2], Purpose::Neighbours, 0),
        ] {
            assert_ne!(hash([1, 2], Purpose::Neighbours, 4), hash(secret, purpose, word));
        }
    }

    #[test]
    fn neighbouring_addresses_spread_over_all_bits() {
        let keyed = Keyed::new([5, 6], Purpose::Neighbours);
        let mut low = std::collections::BTreeSet::new();
        let mut high = std::collections::BTreeSet::new();
        for host in 0..4096u32 {
            let mut hasher = keyed.build_hasher();
            hasher.write_u128(number(IpAddr::from((0x0a00_0000 + host).to_be_bytes())));
            let hash = hasher.finish();
            low.insert(hash & 0xfff);
            high.insert(hash >> 52);
        }
        // A perfect random function fills 63 % of 4096 places with 4096 draws.
        assert!(low.len() > 2400 && high.len() > 2400, "{} {}", low.len(), high.len());
    }
}
