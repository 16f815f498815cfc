//! The checksum against the sixteen-bit loop that defines it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::checksum::{Sum, copy_and_sum};

/// RFC 1071, 1, word by word.
pub(super) fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// Bytes without a pattern (SplitMix64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn every_offset_and_length() {
    for bytes in [noise(1, 400), vec![0xff; 400], vec![0; 400]] {
        for offset in 0..16 {
            for len in 0..bytes.len() - offset {
                let piece = &bytes[offset..offset + len];
                assert_eq!(Sum::of(piece).finish(), naive(piece), "{len} bytes at {offset}");
            }
        }
    }
}

#[test]
fn long_ones_carry_often_enough() {
    for bytes in [vec![0xff; 70_001], noise(2, 70_001)] {
        assert_eq!(Sum::of(&bytes).finish(), naive(&bytes));
        let mut copy = vec![0; bytes.len()];
        assert_eq!(copy_and_sum(&mut copy, &bytes).finish(), naive(&bytes));
        assert!(copy == bytes);
    }
}

#[test]
fn every_split_into_three() {
    let bytes = noise(3, 67);
    for a in 0..=bytes.len() {
        for b in a..=bytes.len() {
            let sum = Sum::of(&bytes[..a])
                .combine(Sum::of(&bytes[a..b]), a % 2 == 1)
                .combine(Sum::of(&bytes[b..]), b % 2 == 1);
            assert_eq!(sum.finish(), naive(&bytes), "split at {a} and {b}");
        }
    }
}

#[test]
fn a_copy_is_a_copy() {
    let bytes = noise(4, 300);
    for offset in 0..9 {
        for len in 0..bytes.len() - offset {
            let from = &bytes[offset..offset + len];
            let mut to = vec![0xa5; len + 3];
            let sum = copy_and_sum(&mut to, from);
            assert_eq!((sum.finish(), &to[..len], &to[len..]), (naive(from), from, &[0xa5; 3][..]));
        }
    }
    // The shorter of the two counts, whichever it is.
    let mut short = [0; 5];
    assert_eq!(copy_and_sum(&mut short, &bytes).finish(), naive(&bytes[..5]));
    assert_eq!(short, bytes[..5]);
}

#[test]
fn words_are_bytes_in_order() {
    let bytes = noise(5, 14);
    let (a, b, c) = (&bytes[..8], &bytes[8..12], &bytes[12..]);
    let sum = Sum::of_be64(u64::from_be_bytes(a.try_into().unwrap()))
        .add(Sum::of_be32(u32::from_be_bytes(b.try_into().unwrap())))
        .add(Sum::of_be16(u16::from_be_bytes(c.try_into().unwrap())));
    assert_eq!(sum.finish(), naive(&bytes));
    assert_eq!(sum.folded(), !naive(&bytes));
}

#[test]
fn pseudo_headers() {
    let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(255, 254, 253, 252));
    for len in [0, 1, 8, 20, 1480, 65_515] {
        let mut bytes = [a.octets(), b.octets()].concat();
        bytes.extend([0, 6]);
        bytes.extend((len as u16).to_be_bytes());
        assert_eq!(Sum::pseudo(a.into(), b.into(), 6, len).finish(), naive(&bytes));
        assert_eq!(Sum::pseudo(b.into(), a.into(), 6, len).finish(), naive(&bytes));
        assert_eq!(Sum::pseudo_v4(a, b, 6, len).finish(), naive(&bytes));
    }
    let (a, b): (Ipv6Addr, Ipv6Addr) = ("2001:db8::1:ffff".parse().unwrap(), "fe80:ffff:ffff::fffe".parse().unwrap());
    for len in [0, 8, 1480, 100_000] {
        let mut bytes = [a.octets(), b.octets()].concat();
        bytes.extend((len as u32).to_be_bytes());
        bytes.extend([0, 0, 0, 17]);
        assert_eq!(Sum::pseudo(IpAddr::V6(a), IpAddr::V6(b), 17, len).finish(), naive(&bytes));
    }
}

#[test]
fn both_zeros() {
    // Nothing but zeros has the checksum ffff; a sum that comes round to ffff has the checksum 0.
    assert_eq!(Sum::of(&[0; 40]).finish(), 0xffff);
    assert_eq!(Sum::of(&[0xff; 40]).finish(), 0);
    assert!(Sum::of(&[0xff; 40]).is_valid() && !Sum::of(&[0; 40]).is_valid());
    assert_eq!(Sum::ZERO.finish(), 0xffff);
}
