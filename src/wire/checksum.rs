//! The internet checksum (RFC 1071): the ones' complement of the ones'-complement sum of 16-bit words.
//!
//! Such a sum is a number modulo 2¹⁶ − 1, and 2¹⁶, 2³² and 2⁶⁴ are all 1 in that arithmetic. So words may be added 64 bits at
//! a time, in either byte order, in any order and in several sums at once, and folded to 16 bits at the end; and a piece that
//! begins at an odd offset only has its sum turned by 8 bits (RFC 1071, 2). [`Sum`] is such a number on its way: add up the
//! pieces, [`finish`](Sum::finish) once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A partial sum, of words read with the least significant byte first.
///
/// It is zero only if everything summed was zero, as with any way of adding that carries around.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum of these bytes; an odd one at the end counts as if a zero followed.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        // Two 128-bit sums: each is an addition with carry per word, and the two chains do not wait for each other.
        let mut sums = [0u128; 2];
        let mut rest = bytes;
        while let Some((chunk, after)) = rest.split_first_chunk::<32>() {
            sums[0] += u128::from(le64(chunk, 0));
            sums[1] += u128::from(le64(chunk, 8));
            sums[0] += u128::from(le64(chunk, 16));
            sums[1] += u128::from(le64(chunk, 24));
            rest = after;
        }
        let mut sum = sums[0] + sums[1];
        while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
            sum += u128::from(u64::from_le_bytes(*chunk));
            rest = after;
        }
        if !rest.is_empty() {
            sum += u128::from(match bytes.last_chunk::<8>() {
                // The last eight bytes, of which the first ones are in the sum already.
                Some(last) => u64::from_le_bytes(*last) >> (8 * (8 - rest.len())),
                None => le_short(rest),
            });
        }
        Self(around(sum as u64, (sum >> 64) as u64))
    }

    /// The sum of two pieces that follow one another, the first of which has an even length.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)] // `+` would look as if the order of pieces and odd lengths took care of themselves
    pub fn add(self, other: Self) -> Self {
        Self(around(self.0, other.0))
    }

    /// The sum of this piece and `other`, which begins at an odd offset of the whole if `odd`.
    #[inline(always)]
    pub fn combine(self, other: Self, odd: bool) -> Self {
        Self(around(self.0, other.0.rotate_left(8 * u32::from(odd))))
    }

    /// The sum of eight bytes, read from memory as a number of this machine.
    #[inline(always)]
    pub const fn of_ne64(bytes: u64) -> Self {
        Self(bytes.to_le())
    }

    /// The sum of four 16-bit words, the first one in the highest bits: for headers that are put together in registers.
    #[inline(always)]
    pub const fn of_be64(words: u64) -> Self {
        Self(words.swap_bytes())
    }

    /// The sum of two 16-bit words.
    #[inline(always)]
    pub const fn of_be32(words: u32) -> Self {
        Self(words.swap_bytes() as u64)
    }

    /// The sum of one 16-bit word.
    #[inline(always)]
    pub const fn of_be16(word: u16) -> Self {
        Self(word.swap_bytes() as u64)
    }

    /// The sum of the pseudo-header of TCP and UDP: both addresses, in whichever order, the protocol's number, and the
    /// length of the transport header and its data in bytes (RFC 9293, 3.1; RFC 8200, 8.1).
    #[inline]
    pub fn pseudo(local: IpAddr, remote: IpAddr, protocol: u8, len: usize) -> Self {
        let address = |address| match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        };
        address(local).add(address(remote)).add(Self::tail(protocol, len))
    }

    /// [`pseudo`](Self::pseudo) where both addresses are known to be of version 4.
    #[inline]
    pub fn pseudo_v4(local: Ipv4Addr, remote: Ipv4Addr, protocol: u8, len: usize) -> Self {
        Self::of_v4(local).add(Self::of_v4(remote)).add(Self::tail(protocol, len))
    }

    #[inline(always)]
    fn of_v4(address: Ipv4Addr) -> Self {
        Self(u64::from(u32::from_le_bytes(address.octets())))
    }

    #[inline(always)]
    fn of_v6(address: Ipv6Addr) -> Self {
        let octets = address.octets();
        Self(around(le64(&octets, 0), le64(&octets, 8)))
    }

    /// The part of a [pseudo-header](Self::pseudo) behind the addresses: protocol and length.
    #[inline(always)]
    pub fn tail(protocol: u8, len: usize) -> Self {
        Self((u64::from(protocol) << 8) + u64::from((len as u32).swap_bytes()))
    }

    /// The checksum to be written, most significant byte first (`to_be_bytes`). Over bytes that contain a correct checksum
    /// it is zero.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.folded()
    }

    /// The sum itself as a checksum field has it that a device is to complete: not inverted.
    #[inline]
    #[must_use]
    pub const fn folded(self) -> u16 {
        // Added to itself with its halves exchanged, a sum has both halves' sum in the upper one, carry included.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let sum = (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16;
        sum.swap_bytes()
    }

    /// Whether the bytes summed, pseudo-header included, contain a correct checksum.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.finish() == 0
    }
}

/// Copies `src` to the front of `dst` and sums what it copies. If one is shorter than the other, that much.
#[inline]
pub fn copy_and_sum(dst: &mut [u8], src: &[u8]) -> Sum {
    // The system's copy uses the widest registers there are, and leaves the bytes in the first cache for the sum: that beats
    // one loop doing both with the registers that every machine has.
    let len = dst.len().min(src.len());
    let (dst, src) = (&mut dst[..len], &src[..len]);
    if len > PIECE {
        return copy_and_sum_long(dst, src);
    }
    dst.copy_from_slice(src);
    Sum::of(src)
}

/// The same by pieces that fit the first cache; their length is even.
#[inline(never)]
fn copy_and_sum_long(dst: &mut [u8], src: &[u8]) -> Sum {
    let pieces = dst.chunks_mut(PIECE).zip(src.chunks(PIECE));
    pieces.fold(Sum::ZERO, |sum, (dst, src)| sum.add(copy_and_sum(dst, src)))
}

/// Bytes copied before they are summed.
const PIECE: usize = 8192;

/// Adds and carries around.
#[inline(always)]
const fn around(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

/// Eight bytes at an offset that is known to be inside.
#[inline(always)]
fn le64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let b = &bytes[at..at + 8];
    u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
}

/// Up to seven bytes.
#[inline(always)]
fn le_short(bytes: &[u8]) -> u64 {
    let three = |bytes: &[u8]| match *bytes {
        [] => 0,
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, ..] => u64::from(u32::from_le_bytes([a, b, c, 0])),
    };
    match bytes.split_first_chunk::<4>() {
        Some((four, rest)) => u64::from(u32::from_le_bytes(*four)) | three(rest) << 32,
        None => three(bytes),
    }
}
