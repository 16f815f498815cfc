//! Whether a segment that has gone is the one that was expected.

use super::super::frame::{ACK, FIN, Opt, PSH, SYN, Segment};
use super::{Bound, Expect, Field, Number};
use std::collections::BTreeMap;

impl Bound {
    /// Whether the number lies within.
    pub(super) fn holds(&self, value: f64) -> bool {
        self.least <= value && value <= self.most
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.least, self.most) {
            (least, most) if least == most => write!(f, "{least}"),
            (least, f64::INFINITY) => write!(f, ">={least}"),
            (f64::NEG_INFINITY, most) => write!(f, "<={most}"),
            (least, most) => write!(f, "{least}..{most}"),
        }
    }
}

/// Timestamps that have names.
pub(super) type Names = BTreeMap<String, u32>;

/// Timestamps tick once a millisecond; where a tick falls between two lines of a script is not its business.
const TICK: u32 = 1;

impl Number {
    fn matches(&self, value: u32, names: &mut Names) -> bool {
        match self {
            Self::Any => true,
            Self::Is(number) => *number == value,
            Self::Named(name, offset) => match names.get(name) {
                Some(base) => {
                    let expected = base.wrapping_add(*offset as u32);
                    // Exact if it repeats what was seen; within a tick if it counts on from there.
                    let tolerance = if *offset == 0 { 0 } else { TICK };
                    value.wrapping_sub(expected.wrapping_sub(tolerance)) <= 2 * tolerance
                }
                None => {
                    names.insert(name.clone(), value.wrapping_sub(*offset as u32));
                    true
                }
            },
        }
    }

    /// The number to send.
    fn resolve(&self, names: &Names) -> Result<u32, String> {
        match self {
            Self::Any => Err("a timestamp that is sent cannot be *".into()),
            Self::Is(number) => Ok(*number),
            Self::Named(name, offset) => match names.get(name) {
                Some(base) => Ok(base.wrapping_add(*offset as u32)),
                None => Err(format!("no timestamp has the name {name}")),
            },
        }
    }
}

impl Field {
    /// The option to send; blocks count from `isn`.
    pub(super) fn resolve(&self, isn: u32, names: &Names) -> Result<Opt, String> {
        Ok(match self {
            Self::Plain(option) => option.clone(),
            Self::Timestamp(value, echo) => Opt::Timestamp(value.resolve(names)?, echo.resolve(names)?),
            Self::Sack(blocks) => {
                Opt::Sack(blocks.iter().map(|(from, to)| (from.wrapping_add(isn), to.wrapping_add(isn))).collect())
            }
            Self::Rest => return Err("... in a segment that comes".into()),
        })
    }

    fn matches(&self, option: &Opt, names: &mut Names) -> bool {
        match (self, option) {
            (Self::Plain(expected), option) => expected == option,
            (Self::Timestamp(value, echo), Opt::Timestamp(v, e)) => value.matches(*v, names) && echo.matches(*e, names),
            (Self::Sack(expected), Opt::Sack(blocks)) => expected == blocks,
            _ => false,
        }
    }
}

/// Whether the options are those, in that order. Names stay as they were unless they are.
fn options_match(expected: &[Field], options: &[Opt], names: &mut Names) -> bool {
    match (expected, options) {
        ([], []) => true,
        ([Field::Rest, rest @ ..], options) => (0..=options.len()).any(|skip| {
            let mut tried = names.clone();
            let found = options_match(rest, &options[skip..], &mut tried);
            if found {
                *names = tried;
            }
            found
        }),
        ([first, rest @ ..], [option, others @ ..]) => {
            first.matches(option, names) && options_match(rest, others, names)
        }
        _ => false,
    }
}

impl Expect {
    /// The parts that it stands for: one segment, or as many as it is cut into.
    pub(super) fn parts(&self) -> Vec<(u32, u32)> {
        let (mut at, end) = (self.shape.seq, self.shape.seq.wrapping_add(self.shape.len));
        let size = self.shape.split.unwrap_or(self.shape.len);
        let mut parts = Vec::new();
        while at != end {
            let len = size.min(end.wrapping_sub(at));
            parts.push((at, len));
            at = at.wrapping_add(len);
        }
        if parts.is_empty() {
            parts.push((at, 0));
        }
        parts
    }

    /// Says what is different about a segment of which the numbers are already relative. A push is asked for where the
    /// script has one, on the last part; elsewhere it may be there or not.
    pub(super) fn mismatch(
        &self,
        segment: &Segment,
        (seq, len): (u32, u32),
        last: bool,
        names: &mut Names,
    ) -> Option<String> {
        let mut flags = self.shape.flags;
        if !last {
            flags &= !(PSH | FIN);
        }
        let pushed = flags & PSH != 0 && segment.flags & PSH == 0;
        if (segment.flags ^ flags) & !PSH != 0 || pushed {
            return Some("flags".into());
        }
        if (segment.seq, segment.payload.len() as u32) != (seq, len) {
            return Some("sequence numbers".into());
        }
        if flags & ACK != 0 && self.shape.ack.is_some_and(|ack| ack != segment.ack) {
            return Some("acknowledgement".into());
        }
        if segment.flags & (ACK | SYN) == 0 && segment.ack != 0 {
            return Some("an acknowledgement number without the flag".into());
        }
        if let Some(window) = self.window.filter(|window| !window.holds(f64::from(segment.window))) {
            return Some(format!("window, which must be {window}"));
        }
        if segment.urgent != self.shape.urgent {
            return Some("urgent pointer".into());
        }
        if self.dont_fragment.is_some_and(|df| df != segment.dont_fragment) {
            return Some("the don't-fragment bit".into());
        }
        match &self.options {
            Some(options) if !options_match(options, &segment.options, names) => Some("options".into()),
            _ => None,
        }
    }
}
