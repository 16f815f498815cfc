//! A frame that lies in a ring, shown to a program for the time of a callback.
//!
//! ```text
//!   IDLE ──token──▶ offset of the frame ──released on the socket's own context──▶ BACK: it has not left its ring
//!    ▲                     │                                                        │
//!    └──────── settle ─────┴── anything else happened to it: the program has it ────┘
//! ```
//!
//! Most packets are done with when the callback returns. Those never pass through a free list, and their ring keeps them
//! without being written to.
#![allow(unsafe_code)]

use crate::api::Token;
use std::cell::Cell;

/// Nothing is being shown.
pub(crate) const IDLE: usize = usize::MAX;
/// What was shown has been released.
pub(crate) const BACK: usize = usize::MAX - 1;

/// Where a socket's own context notes what is being shown.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(super) shown: &'a Cell<usize>,
    pub(super) stride: usize,
    pub(super) id: u32,
}

/// What became of the frame that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was shown, or somebody has settled it already.
    Settled,
    /// It has been released and is in its ring.
    Back,
    /// The program has it, or has given it away: its ring needs another one.
    Kept,
}

impl Window<'_> {
    /// Shows a frame: the token for a callback.
    ///
    /// # Safety
    ///
    /// The frame exists, lies in a ring that is the caller's, holds `len` bytes, and what was shown before is settled. It
    /// is the program's from now on, unless [`settle`](Self::settle) says that it is [`Fate::Back`].
    #[inline(always)]
    pub(crate) unsafe fn token(&self, frame: u32, len: u32) -> Token {
        let offset = frame as usize * self.stride;
        self.shown.set(offset);
        // SAFETY: as the caller vouches.
        unsafe { Token::new(offset, len, self.id) }
    }

    /// Whether the frame that was just shown is back: then nothing need be settled before the next one is shown.
    #[inline(always)]
    pub(crate) fn is_back(&self) -> bool {
        self.shown.get() == BACK
    }

    /// Ends the showing and tells what became of the frame.
    #[inline]
    pub(crate) fn settle(&self) -> Fate {
        match self.shown.replace(IDLE) {
            IDLE => Fate::Settled,
            BACK => Fate::Back,
            _ => Fate::Kept,
        }
    }
}
