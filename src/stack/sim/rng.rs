//! Chance that can be repeated: everything random in a simulation comes from one number.

/// SplitMix64: every seed, zero included, gives a full-period sequence of good quality.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// The sequence of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A sequence of its own, so that what one part of a simulation draws does not move the others.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// A number from `range`, which is not empty.
    pub(super) fn range(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + ((u128::from(self.next()) * u128::from(range.end - range.start)) >> 64) as u64
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// One of them.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.range(0..of.len() as u64) as usize]
    }

    /// A size whose logarithm is even: as many between 10 and 100 as between 10 000 and 100 000.
    pub(super) fn size(&mut self, most: u64) -> u64 {
        let bits = self.range(0..u64::from(64 - most.leading_zeros()) + 1);
        self.range(0..(1 << bits).min(most) + 1)
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A stream of bytes that tells every position from every other: the byte at an offset is known to both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) u64);

impl Pattern {
    /// The eight bytes around this offset.
    fn word(self, offset: u64) -> u64 {
        mix(self.0 ^ (offset / 8))
    }

    /// Writes what stands at `offset` and after it.
    pub(super) fn fill(self, offset: u64, out: &mut [u8]) {
        let mut word = self.word(offset);
        for (index, byte) in out.iter_mut().enumerate() {
            let at = offset.wrapping_add(index as u64);
            if at.is_multiple_of(8) {
                word = self.word(at);
            }
            *byte = (word >> (at % 8 * 8)) as u8;
        }
    }

    /// Where `bytes` first differ from what stands at `offset`.
    pub(super) fn difference(self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let mut word = self.word(offset);
        for (index, byte) in bytes.iter().enumerate() {
            let at = offset.wrapping_add(index as u64);
            if at.is_multiple_of(8) {
                word = self.word(at);
            }
            if *byte != (word >> (at % 8 * 8)) as u8 {
                return Some(at);
            }
        }
        None
    }
}
