//! How often per second something may be done that others can provoke.

use super::prf::{Prf, Purpose};
use super::time::Instant;

/// A limit per second of the engine's clock.
///
/// Each second's budget is a secret number from half the limit to all of it: who could count the answers that are left
/// would learn how many others have used up (CVE-2016-5696; RFC 5961, 10).
pub(crate) struct Limit {
    per_second: u32,
    prf: Prf,
    /// The second that `left` is of.
    second: Option<u64>,
    left: u32,
}

impl Limit {
    /// At most `per_second` times, less by what the secret says.
    pub(crate) fn new(per_second: u32, secret: [u64; 2], purpose: Purpose) -> Self {
        Self { per_second, prf: Prf::new(secret, purpose), second: None, left: 0 }
    }

    /// Whether it may be done once more now; if so, that counts.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if self.second.is_none_or(|last| last < second) {
            self.second = Some(second);
            self.left = self.budget(second);
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }

    fn budget(&self, second: u64) -> u32 {
        let least = self.per_second.div_ceil(2);
        let range = u64::from(self.per_second - least) + 1;
        // At most the limit, which fits.
        least + (self.prf.hash(&second.to_le_bytes()) % range) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `tries`, spread over the second, are allowed.
    fn allowed(limit: &mut Limit, second: u64, tries: u64) -> u32 {
        let at = |n: u64| Instant::from_nanos(second * 1_000_000_000 + n * 999_999_999 / tries);
        (0..tries).map(|n| u32::from(limit.allow(at(n)))).sum()
    }

    #[test]
    fn a_second_has_its_budget_and_nobody_knows_it() {
        let mut limit = Limit::new(100, [1, 2], Purpose::ChallengeAcks);
        let budgets: Vec<u32> = (0..200).map(|second| allowed(&mut limit, second, 300)).collect();
        assert!(budgets.iter().all(|n| (50..=100).contains(n)), "{budgets:?}");
        let mut distinct = budgets.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 35, "of 51 possible budgets only {} occur", distinct.len());
        let mut other = Limit::new(100, [1, 3], Purpose::ChallengeAcks);
        assert_ne!(budgets, (0..200).map(|second| allowed(&mut other, second, 300)).collect::<Vec<_>>());
    }

    #[test]
    fn little_use_is_never_refused_and_a_pause_saves_nothing_up() {
        let mut limit = Limit::new(100, [0, 0], Purpose::IcmpErrors);
        assert!((0..50).all(|second| allowed(&mut limit, second, 50) == 50));
        assert!(allowed(&mut limit, 100_000, 1000) <= 100);
        assert!((50..=100).contains(&allowed(&mut limit, 100_001, 1000)));
        // A clock that goes back opens no second again.
        assert_eq!(allowed(&mut limit, 100_000, 1000), 0);
    }

    #[test]
    fn the_smallest_limits_mean_what_they_say() {
        let limit = |n| Limit::new(n, [5, 6], Purpose::ChallengeAcks);
        assert_eq!(allowed(&mut limit(0), 0, 10), 0);
        assert_eq!((0..20).map(|second| allowed(&mut limit(1), second, 10)).sum::<u32>(), 20);
        let mut most = limit(u32::MAX);
        assert!(most.allow(Instant::ZERO) && most.left >= u32::MAX / 2);
    }
}
