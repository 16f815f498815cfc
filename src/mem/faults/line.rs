//! One direction: the dice, and the packets that are on their way.
//!
//! ```text
//!             loss? corrupt? dup?           rate, delay, jitter
//!   packet ──▶ fate ──────────────▶ enter ─┬──────────────▶ fifo (due in order) ──┬──▶ pop
//!                                          └─ reorder ▶ held, until overtaken ────┘
//! ```

use super::plan::Profile;
use super::rng::Rng;
use std::collections::VecDeque;

/// What happened to the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injected {
    /// Lost by the dice.
    pub lost: u64,
    /// Dropped because the line was full.
    pub overflowed: u64,
    /// Made twice.
    pub duplicated: u64,
    /// Should have been made twice, but there was no frame for it.
    pub not_duplicated: u64,
    /// Had a bit flipped.
    pub corrupted: u64,
    /// Held back to be overtaken.
    pub reordered: u64,
}

/// What the dice say about a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    Passes {
        /// Which bit to flip.
        corrupt: Option<usize>,
        twice: bool,
    },
}

#[derive(Debug)]
struct Held<P> {
    packet: P,
    /// It goes once that many have passed …
    after: u64,
    /// … or when it is this time.
    until: u64,
}

/// Packets on their way. `P` owns whatever a packet is made of.
#[derive(Debug)]
pub(super) struct Line<P> {
    pub(super) profile: Profile,
    pub(super) injected: Injected,
    rng: Rng,
    fifo: VecDeque<(u64, P)>,
    held: Vec<Held<P>>,
    /// How many have left the fifo.
    passed: u64,
    /// When the last bit of the last packet has left the sender (rate), and the part of a nanosecond that its
    /// rounding left over, in units of 1 / rate.
    busy_until: u64,
    remainder: u128,
    last_due: u64,
}

impl<P> Line<P> {
    pub(super) fn new(profile: Profile, seed: u64) -> Self {
        Self {
            profile,
            injected: Injected::default(),
            rng: Rng::new(seed),
            fifo: VecDeque::new(),
            held: Vec::new(),
            passed: 0,
            busy_until: 0,
            remainder: 0,
            last_due: 0,
        }
    }

    /// Packets on their way.
    pub(super) fn len(&self) -> usize {
        self.fifo.len() + self.held.len()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &P> {
        self.fifo.iter().map(|(_, packet)| packet).chain(self.held.iter().map(|held| &held.packet))
    }

    /// Throws the dice for a packet of `len` bytes.
    pub(super) fn fate(&mut self, len: usize) -> Fate {
        if self.rng.chance(self.profile.loss) {
            self.injected.lost += 1;
            return Fate::Lost;
        }
        let corrupt = (self.rng.chance(self.profile.corrupt) && len > 0).then(|| {
            self.injected.corrupted += 1;
            self.rng.below(len as u64 * 8) as usize
        });
        Fate::Passes { corrupt, twice: self.rng.chance(self.profile.duplicate) }
    }

    /// A packet of `len` bytes sets out. Given back if the line is full.
    pub(super) fn enter(&mut self, now: u64, len: usize, packet: P) -> Result<(), P> {
        if self.len() >= self.profile.limit {
            self.injected.overflowed += 1;
            return Err(packet);
        }
        let due = self.due(now, len);
        if !self.rng.chance(self.profile.reorder) {
            self.fifo.push_back((due, packet));
            return Ok(());
        }
        self.injected.reordered += 1;
        let gap = 1 + self.rng.below(u64::from(self.profile.gap));
        // Those ahead of it in the fifo are before it anyway.
        let after = self.passed + self.fifo.len() as u64 + gap;
        self.held.push(Held { packet, after, until: due.saturating_add(nanos(self.profile.hold)) });
        Ok(())
    }

    /// When a packet that sets out now arrives.
    fn due(&mut self, now: u64, len: usize) -> u64 {
        let mut leaves = now;
        if let Some(rate) = self.profile.rate {
            if self.busy_until < now {
                (self.busy_until, self.remainder) = (now, 0);
            }
            let work = len as u128 * 8 * 1_000_000_000 + self.remainder;
            let rate = u128::from(rate);
            self.remainder = work % rate;
            leaves = self.busy_until.saturating_add(u64::try_from(work / rate).unwrap_or(u64::MAX));
            self.busy_until = leaves;
        }
        let jitter = nanos(self.profile.jitter);
        let mut delay = nanos(self.profile.delay);
        if jitter > 0 {
            let span = jitter.saturating_mul(2).saturating_add(1);
            delay = delay.saturating_add(self.rng.below(span)).saturating_sub(jitter);
        }
        self.last_due = self.last_due.max(leaves.saturating_add(delay));
        self.last_due
    }

    /// The next packet that has arrived by now.
    pub(super) fn pop(&mut self, now: u64) -> Option<P> {
        if let Some(at) = self.held.iter().position(|held| held.after <= self.passed || held.until <= now) {
            return Some(self.held.remove(at).packet);
        }
        if self.fifo.front()?.0 > now {
            return None;
        }
        self.passed += 1;
        self.fifo.pop_front().map(|(_, packet)| packet)
    }

    /// When the next packet arrives: in the past if it has.
    pub(super) fn next_due(&self) -> Option<u64> {
        let held = self.held.iter().map(|held| if held.after <= self.passed { 0 } else { held.until });
        held.chain(self.fifo.front().map(|(due, _)| *due)).min()
    }

    /// Dropped on purpose.
    pub(super) fn dropped(&self) -> u64 {
        self.injected.lost + self.injected.overflowed
    }
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
