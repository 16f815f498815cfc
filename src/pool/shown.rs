//! A frame that lies in a ring, shown to a program for the time of a callback.
//!
//! ```text
//!   IDLE ──token──▶ offset of the frame ──released on the socket's own context──▶ !offset: it has not left its ring
//!    ▲                     │                                                        │
//!    └──────── settle ─────┴── anything else happened to it: the program has it ────┘
//! ```
//!
//! Most packets are done with when the callback returns. Those never pass through a free list, and their ring keeps them
//! without being written to. The note says at every moment which frame it is about, so that whoever finds it can tell in
//! which slot that frame lies: while a batch is being shown, the ring's cursor does not say so.
#![allow(unsafe_code)]

use super::PoolContext;
use crate::api::Token;
use std::cell::Cell;

/// Nothing is being shown. No offset, and no complement of one: memory ends before half of all addresses.
const IDLE: usize = isize::MAX as usize;

/// The note of what is being shown, in a socket's own context; that of a clone stays idle.
#[derive(Debug)]
pub(super) struct Note(Cell<usize>);

impl Note {
    pub(super) fn new() -> Self {
        Self(Cell::new(IDLE))
    }

    /// Takes a frame back if it is the one that is being shown: it never left its slot.
    #[inline(always)]
    pub(super) fn take_back(&self, offset: usize) -> bool {
        let shown = self.0.get() == offset;
        if shown {
            self.0.set(!offset);
        }
        shown
    }
}

/// Where a socket's own context notes what is being shown.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    pub(super) ctx: &'a PoolContext,
}

/// What became of the frame that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing was shown, or somebody has settled it already.
    Settled,
    /// This frame has been released and is in its ring.
    Back(u32),
    /// The program has this frame, or has given it away: its ring needs another one.
    Kept(u32),
}

impl Window<'_> {
    /// Where a frame begins: what the other functions take.
    #[inline(always)]
    pub(crate) fn offset(&self, frame: u32) -> usize {
        self.ctx.stride.offset(frame)
    }

    /// Shows a frame: the token for a callback.
    ///
    /// # Safety
    ///
    /// The frame exists, lies in a ring that is the caller's, holds `len` bytes, and what was shown before is settled. It
    /// is the program's from now on, unless [`settle`](Self::settle) says that it is [`Fate::Back`].
    #[inline(always)]
    pub(crate) unsafe fn token(&self, offset: usize, len: u32) -> Token {
        self.ctx.shown.0.set(offset);
        // SAFETY: there is a window only where it is 0, and it never changes. Said here, so that a program which drops the
        // packet in its callback is compiled without the way to the free list.
        unsafe { std::hint::assert_unchecked(self.ctx.own_end == 0) };
        // SAFETY: as the caller vouches.
        unsafe { Token::new(offset, len, self.ctx.id) }
    }

    /// Whether this frame, the one that was just shown, is back: then nothing need be settled before the next is shown.
    #[inline(always)]
    pub(crate) fn is_back(&self, offset: usize) -> bool {
        self.ctx.shown.0.get() == !offset
    }

    /// Ends the showing and tells what became of the frame.
    #[inline]
    pub(crate) fn settle(&self) -> Fate {
        let frame = |offset| self.ctx.stride.frame(offset);
        match self.ctx.shown.0.replace(IDLE) {
            IDLE => Fate::Settled,
            offset if offset < IDLE => Fate::Kept(frame(offset)),
            back => Fate::Back(frame(!back)),
        }
    }
}
