//! Random numbers that can be replayed: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64.
//!
//! Not for secrets. Kept here, fifteen lines, so that a seed means the same for as long as this library lives.

#[derive(Clone, Debug)]
pub(super) struct Rng([u64; 4]);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }))
    }

    pub(super) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// True with probability `p`. Draws nothing if `p` is 0.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        // 53 bits are what a double holds exactly.
        p > 0.0 && ((self.next() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// A number below `n`, all equally likely (but for one part in 2⁶⁴ / n); 0 if `n` is 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the authors' C code, `splitmix64.c` feeding `xoshiro256starstar.c`, for seed 0.
    #[test]
    fn the_seed_means_what_it_always_meant() {
        let mut splitmix = Rng::new(0).0;
        assert_eq!(splitmix[0], 0xE220_A839_7B1D_CDAF);
        assert_eq!(splitmix[1], 0x6E78_9E6A_A1B9_65F4);
        splitmix = [1, 2, 3, 4];
        let mut rng = Rng(splitmix);
        let first: Vec<u64> = (0..4).map(|_| rng.next()).collect();
        assert_eq!(first, [11520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
    }

    #[test]
    fn chances_are_fair() {
        let mut rng = Rng::new(42);
        for p in [0.001, 0.1, 0.5, 0.9] {
            let n = 200_000;
            let hits = (0..n).filter(|_| rng.chance(p)).count() as f64;
            let sigma = (f64::from(n) * p * (1.0 - p)).sqrt();
            assert!((hits - f64::from(n) * p).abs() < 4.0 * sigma, "{p}: {hits}");
        }
        assert!(!(0..1000).any(|_| rng.chance(0.0)));
        assert!((0..1000).all(|_| rng.chance(1.0)));
    }

    #[test]
    fn below_covers_its_range() {
        let mut rng = Rng::new(1);
        let mut seen = [0u32; 8];
        for _ in 0..8000 {
            seen[rng.below(8) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }
}
