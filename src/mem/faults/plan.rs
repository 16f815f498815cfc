//! What shall go wrong: in each direction, from which seed, on which clock.

use crate::api::{Flags, Options};
use crate::errors::{Error, Result};
use crate::mem::Clock;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// What happens to the packets of one direction. Everything off by default.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Probability that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Probability that a packet comes twice.
    pub duplicate: f64,
    /// Probability that a packet is held back until others have overtaken it.
    pub reorder: f64,
    /// How many others overtake it: 1 to this many, each equally likely.
    pub gap: u32,
    /// How long a packet held back waits for others at most.
    pub hold: Duration,
    /// Probability that one bit of a packet, any of them, is flipped.
    pub corrupt: f64,
    /// How long every packet takes.
    pub delay: Duration,
    /// How much more or less it may be, all values in between equally likely. Does not reorder: a packet that catches
    /// up with the one before it waits for it.
    pub jitter: Duration,
    /// Bits per second that the line carries (of the frame as it is, without preamble and FCS); `None`: no limit.
    pub rate: Option<u64>,
    /// Packets that the line holds; what comes on top is dropped, as by a full router.
    pub limit: usize,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            gap: 3,
            hold: Duration::from_millis(10),
            corrupt: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            limit: 1024,
        }
    }
}

impl Profile {
    /// Whether every packet passes untouched and at once.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.loss <= 0.0 && self.duplicate <= 0.0 && self.reorder <= 0.0 && self.corrupt <= 0.0 && !self.is_timed()
    }

    /// Whether packets take time, so that it matters when they arrive.
    pub(super) fn is_timed(&self) -> bool {
        !self.delay.is_zero() || !self.jitter.is_zero() || self.rate.is_some()
    }

    fn check(&self) -> Result<()> {
        for (option, p) in
            [("loss", self.loss), ("dup", self.duplicate), ("reorder", self.reorder), ("corrupt", self.corrupt)]
        {
            if !(0.0..=1.0).contains(&p) {
                return Err(bad(option, p, "a probability from 0 to 1"));
            }
        }
        if self.rate == Some(0) {
            return Err(bad("rate", 0, "at least 1 bit per second"));
        }
        if self.limit == 0 {
            return Err(bad("limit", 0, "at least 1 packet"));
        }
        if self.gap == 0 {
            return Err(bad("gap", 0, "at least 1 packet"));
        }
        Ok(())
    }
}

fn bad(option: &'static str, value: impl fmt::Display, expected: &str) -> Error {
    Error::BadOption { option, value: value.to_string(), expected: expected.to_owned() }
}

/// What a [`Faults`](super::Faults) does to its socket's packets.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// To those received.
    pub rx: Profile,
    /// To those sent.
    pub tx: Profile,
    /// What the dice start from; `None` takes a fresh seed. Either way [`Injector::seed`](super::Injector::seed) and
    /// [`Mode::notes`](crate::api::Mode::notes) tell it, so that a run can be repeated.
    pub seed: Option<u64>,
    /// What delays are measured on.
    pub clock: Clock,
}

/// A plan, and the configuration of the socket it is for.
#[derive(Clone, Debug, Default)]
pub struct FaultFlags<F> {
    /// For the wrapped socket.
    pub inner: F,
    /// What shall go wrong. Options of the port spec are put over it.
    pub plan: Plan,
}

impl<F: Flags> Flags for FaultFlags<F> {}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Rx,
    Tx,
    Both,
}

impl Plan {
    /// The options of a port spec that belong to a plan.
    pub const OPTIONS: [&'static str; 12] =
        ["faults", "loss", "dup", "reorder", "gap", "hold", "corrupt", "delay", "jitter", "rate", "limit", "seed"];

    /// The same in both directions.
    #[must_use]
    pub fn both(profile: Profile) -> Self {
        Self { rx: profile.clone(), tx: profile, ..Self::default() }
    }

    /// With this seed.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// On this clock.
    #[must_use]
    pub fn on(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.rx.is_clean() && self.tx.is_clean()
    }

    /// Puts the options of a port spec over the plan: in both directions, unless `faults=rx|tx` chooses one.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`].
    pub fn take(&mut self, options: &mut Options<'_>) -> Result<()> {
        let words = [("rx", Side::Rx), ("tx", Side::Tx), ("both", Side::Both)];
        let side = options.one_of("faults", &words)?.unwrap_or(Side::Both);
        let loss = options.probability("loss")?;
        let duplicate = options.probability("dup")?;
        let reorder = options.probability("reorder")?;
        let gap = options.number("gap", 1..=1 << 16)?;
        let hold = options.duration("hold")?;
        let corrupt = options.probability("corrupt")?;
        let delay = options.duration("delay")?;
        let jitter = options.duration("jitter")?;
        let rate = options.number("rate", 1..=u64::MAX)?;
        let limit = options.number("limit", 1..=1 << 24)?;
        self.seed = options.number("seed", 0..=u64::MAX)?.or(self.seed);
        let put = |profile: &mut Profile| {
            *profile = Profile {
                loss: loss.unwrap_or(profile.loss),
                duplicate: duplicate.unwrap_or(profile.duplicate),
                reorder: reorder.unwrap_or(profile.reorder),
                gap: gap.unwrap_or(profile.gap),
                hold: hold.unwrap_or(profile.hold),
                corrupt: corrupt.unwrap_or(profile.corrupt),
                delay: delay.unwrap_or(profile.delay),
                jitter: jitter.unwrap_or(profile.jitter),
                rate: rate.or(profile.rate),
                limit: limit.unwrap_or(profile.limit),
            };
        };
        if side != Side::Tx {
            put(&mut self.rx);
        }
        if side != Side::Rx {
            put(&mut self.tx);
        }
        Ok(())
    }

    /// Checks the ranges and settles the seed.
    pub(super) fn settle(mut self) -> Result<(Self, u64)> {
        self.rx.check()?;
        self.tx.check()?;
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(0u8));
        self.seed = Some(seed);
        Ok((self, seed))
    }
}

/// As the options of a port spec: `loss=0.01&delay=10ms&seed=7`; two such texts if the directions differ.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed.map_or(String::new(), |seed| format!("&seed={seed}"));
        if self.rx == self.tx {
            return write!(f, "faults=both{}{seed}", Settings(&self.rx));
        }
        let sides = [("rx", &self.rx), ("tx", &self.tx)];
        for (i, (side, profile)) in sides.iter().filter(|(_, profile)| !profile.is_clean()).enumerate() {
            let between = if i == 0 { "" } else { " and " };
            write!(f, "{between}faults={side}{}{seed}", Settings(profile))?;
        }
        Ok(())
    }
}

/// What a profile sets, each with a `&` before it.
struct Settings<'a>(&'a Profile);

impl fmt::Display for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (it, usual) = (self.0, Profile::default());
        for (name, p) in [("loss", it.loss), ("dup", it.duplicate), ("reorder", it.reorder), ("corrupt", it.corrupt)] {
            if p > 0.0 {
                write!(f, "&{name}={p}")?;
            }
        }
        for (name, time, usual) in
            [("hold", it.hold, usual.hold), ("delay", it.delay, usual.delay), ("jitter", it.jitter, usual.jitter)]
        {
            if time != usual {
                write!(f, "&{name}={}ns", time.as_nanos())?;
            }
        }
        if let Some(rate) = it.rate {
            write!(f, "&rate={rate}")?;
        }
        if it.gap != usual.gap {
            write!(f, "&gap={}", it.gap)?;
        }
        if it.limit != usual.limit {
            write!(f, "&limit={}", it.limit)?;
        }
        Ok(())
    }
}
