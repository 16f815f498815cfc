//! TCP's options (RFC 9293, 3.2): MSS, window scale and timestamps (RFC 7323), selective acknowledgments (RFC 2018).
//!
//! They are read as Linux reads them: unknown ones are skipped; one whose length is none of its kind's is ignored; after one
//! that is shorter than its own header or longer than what is left, nothing more is read. A segment is never refused for its
//! options.

use std::ops::Deref;

use super::super::checksum::Sum;
use super::Emit;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Windows are never shifted by more (RFC 7323, 2.3).
const MAX_WINDOW_SCALE: u8 = 14;

/// More SACK blocks do not fit a header.
pub const MAX_SACKS: usize = 4;

/// Bytes of all options together, at most.
const MAX_LEN: usize = 40;

/// Bytes of timestamps with what fills them up to a multiple of four.
pub(super) const TIMESTAMPS_LEN: usize = 12;

/// NOP, NOP, kind and length of timestamps.
const TIMESTAMPS_ALONE: u32 = u32::from_be_bytes([NOP, NOP, TIMESTAMPS, 10]);

/// The timestamps option (RFC 7323, 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamps {
    /// The sender's clock (TSval).
    pub value: u32,
    /// What the sender has last seen of the receiver's clock (TSecr); means nothing without an ACK.
    pub echo: u32,
}

impl Timestamps {
    /// The timestamps, if the bytes of the options are two NOPs and timestamps and nothing else: the layout that RFC 7323,
    /// appendix A, recommends and everybody uses. `None` says nothing: then [`Options::parse`] must look.
    #[inline(always)]
    #[must_use]
    pub fn parse_fast(options: &[u8]) -> Option<Self> {
        let options: &[u8; TIMESTAMPS_LEN] = options.try_into().ok()?;
        let word = |at| u32::from_be_bytes([options[at], options[at + 1], options[at + 2], options[at + 3]]);
        (word(0) == TIMESTAMPS_ALONE).then(|| Self { value: word(4), echo: word(8) })
    }

    /// Writes that layout; `out` is that long.
    #[inline(always)]
    pub(super) fn write(self, out: &mut [u8]) -> Sum {
        let values = u64::from(self.value) << 32 | u64::from(self.echo);
        out[0..4].copy_from_slice(&TIMESTAMPS_ALONE.to_be_bytes());
        out[4..12].copy_from_slice(&values.to_be_bytes());
        Sum::of_be32(TIMESTAMPS_ALONE).add(Sum::of_be64(values))
    }
}

/// Up to four SACK blocks, as a slice: each from its first byte's sequence number to that behind its last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sacks {
    blocks: [(u32, u32); MAX_SACKS],
    len: u8,
}

impl Deref for Sacks {
    type Target = [(u32, u32)];

    #[inline]
    fn deref(&self) -> &[(u32, u32)] {
        &self.blocks[..usize::from(self.len).min(MAX_SACKS)]
    }
}

impl PartialEq for Sacks {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Sacks {}

impl Sacks {
    /// Adds a block; whether there was room.
    #[inline]
    pub fn push(&mut self, block: (u32, u32)) -> bool {
        let Some(slot) = self.blocks.get_mut(usize::from(self.len)) else { return false };
        *slot = block;
        self.len += 1;
        true
    }
}

impl FromIterator<(u32, u32)> for Sacks {
    /// The first four blocks.
    fn from_iter<I: IntoIterator<Item = (u32, u32)>>(blocks: I) -> Self {
        let mut sacks = Self::default();
        blocks.into_iter().all(|block| sacks.push(block));
        sacks
    }
}

/// What the options of a segment say. Which of them may be believed depends on the segment and the connection: MSS, window
/// scale and SACK-permitted mean something in a SYN only, the others if they were negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The largest segment that the sender takes, in bytes; never 0.
    pub mss: Option<u16>,
    /// By how many bits the sender's windows are shifted; more than 14 count as 14 (RFC 7323, 2.3).
    pub window_scale: Option<u8>,
    /// Whether the sender understands SACK blocks.
    pub sack_permitted: bool,
    /// The timestamps.
    pub timestamps: Option<Timestamps>,
    /// What the sender has received out of order; the first one may be a duplicate (RFC 2883).
    pub sacks: Sacks,
}

impl Options {
    /// Reads the bytes of the options of a segment ([`Header::options`](super::Header::options)). Of an option that occurs
    /// twice the last one counts.
    #[must_use]
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            let (kind, len) = match *bytes {
                [] | [END, ..] => return options,
                [NOP, ref rest @ ..] => {
                    bytes = rest;
                    continue;
                }
                [kind, len, ..] => (kind, usize::from(len)),
                [_] => return options,
            };
            let Some((option, rest)) = bytes.split_at_checked(len) else { return options };
            let Some(value) = option.get(2..) else { return options };
            options.take(kind, value);
            bytes = rest;
        }
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value) {
            (MSS, &[a, b]) if [a, b] != [0, 0] => self.mss = Some(u16::from_be_bytes([a, b])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(MAX_WINDOW_SCALE)),
            (SACK_PERMITTED, []) => self.sack_permitted = true,
            (TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                self.timestamps = Some(Timestamps {
                    value: u32::from_be_bytes([a, b, c, d]),
                    echo: u32::from_be_bytes([e, f, g, h]),
                });
            }
            (SACK, blocks) if !blocks.is_empty() && blocks.len() % 8 == 0 => {
                let edge = |b: &[u8]| b.iter().fold(0u32, |edge, byte| edge << 8 | u32::from(*byte));
                self.sacks = blocks.chunks_exact(8).map(|block| (edge(&block[..4]), edge(&block[4..]))).collect();
            }
            _ => {}
        }
    }
}

/// SACK blocks that fit beside the other options.
fn sacks_that_fit(emit: &Emit<'_>, others: usize) -> usize {
    emit.sacks.len().min(MAX_LEN.saturating_sub(others + 4) / 8)
}

/// Bytes of the options before the SACK blocks.
fn fixed_len(emit: &Emit<'_>) -> usize {
    let mss = if emit.mss.is_some() { 4 } else { 0 };
    let scale = if emit.window_scale.is_some() { 4 } else { 0 };
    mss + scale
        + match (emit.timestamps, emit.sack_permitted) {
            (Some(_), _) => TIMESTAMPS_LEN,
            (None, true) => 4,
            (None, false) => 0,
        }
}

/// Bytes of the options that will be written, a multiple of four.
pub(super) fn len(emit: &Emit<'_>) -> usize {
    let fixed = fixed_len(emit);
    match sacks_that_fit(emit, fixed) {
        0 => fixed,
        sacks => fixed + 4 + 8 * sacks,
    }
}

/// Writes the options to `out`, which is that long.
pub(super) fn write(emit: &Emit<'_>, out: &mut [u8]) -> Sum {
    let mut words = out.chunks_exact_mut(4);
    let mut sum = Sum::ZERO;
    let mut put = |word: u32| {
        if let Some(place) = words.next() {
            place.copy_from_slice(&word.to_be_bytes());
            sum = sum.add(Sum::of_be32(word));
        }
    };
    if let Some(mss) = emit.mss {
        put(u32::from_be_bytes([MSS, 4, 0, 0]) | u32::from(mss));
    }
    match (emit.timestamps, emit.sack_permitted) {
        (Some(timestamps), permitted) => {
            // SACK-permitted takes the place of the NOPs.
            let filler = if permitted { [SACK_PERMITTED, 2] } else { [NOP, NOP] };
            put(u32::from_be_bytes([filler[0], filler[1], TIMESTAMPS, 10]));
            put(timestamps.value);
            put(timestamps.echo);
        }
        (None, true) => put(u32::from_be_bytes([NOP, NOP, SACK_PERMITTED, 2])),
        (None, false) => {}
    }
    if let Some(shift) = emit.window_scale {
        put(u32::from_be_bytes([NOP, WINDOW_SCALE, 3, shift]));
    }
    let sacks = sacks_that_fit(emit, fixed_len(emit));
    if sacks > 0 {
        put(u32::from_be_bytes([NOP, NOP, SACK, 2 + 8 * sacks as u8]));
        for (start, end) in &emit.sacks[..sacks] {
            put(*start);
            put(*end);
        }
    }
    sum
}
