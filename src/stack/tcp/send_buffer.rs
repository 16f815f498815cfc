//! What a connection has been given to send and the peer has not acknowledged.
//!
//! ```text
//!   una                                                    una + len
//!    ▼                                                        ▼
//!   [first block ····][block][block       ][block     ···      ]
//!          └ inline         └──────── ring, in a box ──────────┘
//! ```
//!
//! A write copies its bytes once, into blocks of the engine; they are copied out into frames as often as they are sent. What
//! fits into one block, as requests and responses do, needs no more than that block; the ring for more than one comes from
//! the engine's [`Buffers`] and goes back there. An empty buffer holds nothing.

use crate::stack::blocks::{Block, LARGEST};
use crate::stack::buffers::Buffers;
use crate::wire::checksum::{Sum, copy_and_sum};
use std::collections::VecDeque;
use std::ops::Range;

/// Most bytes of one buffer: far below what would make sequence numbers ambiguous.
const MOST: usize = 1 << 30;

/// The blocks behind the first one.
pub(crate) type Ring = VecDeque<Piece>;

/// A block of a ring, filled from its beginning.
#[derive(Debug)]
pub(crate) struct Piece {
    block: Block,
    /// Position of its first byte in the stream; wraps.
    at: u32,
    /// Bytes of it that are filled.
    len: u32,
}

/// The bytes of a stream from the first unacknowledged one on. Call [`clear`](Self::clear) before it is dropped, so that
/// its memory is used again at once.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    first: Option<Block>,
    /// What of the first block is unacknowledged: from, to.
    start: u32,
    end: u32,
    len: u32,
    /// Position of the first unacknowledged byte in the stream; wraps.
    position: u32,
    /// Not empty if there.
    ring: Option<Box<Ring>>,
}

impl SendBuffer {
    /// Bytes held.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no byte is held.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes; returns how many, which are fewer than given only if the engine's blocks are used up. The limit of one
    /// connection is the caller's business.
    #[inline]
    pub(crate) fn write(&mut self, buffers: &mut Buffers, bytes: &[u8]) -> usize {
        // Requests and responses: nothing waits, and one block takes it all.
        if self.first.is_none() && matches!(bytes.len(), 1..=LARGEST) {
            if let Some(mut block) = buffers.blocks.take(bytes.len()) {
                block[..bytes.len()].copy_from_slice(bytes);
                self.first = Some(block);
                (self.start, self.end, self.len) = (0, bytes.len() as u32, bytes.len() as u32);
                return bytes.len();
            }
        }
        self.append(buffers, bytes)
    }

    /// [`write`](Self::write) in all other cases.
    #[inline(never)]
    fn append(&mut self, buffers: &mut Buffers, bytes: &[u8]) -> usize {
        let bytes = &bytes[..bytes.len().min(MOST - self.len())];
        let mut written = 0;
        loop {
            written += self.fill(&bytes[written..]);
            if written == bytes.len() || !self.grow(buffers, bytes.len() - written) {
                return written;
            }
        }
    }

    /// Appends what fits into the last block.
    #[inline(always)]
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let (block, end) = match (&mut self.ring, &mut self.first) {
            (Some(ring), _) => match ring.back_mut() {
                Some(piece) => (&mut piece.block, &mut piece.len),
                None => return 0,
            },
            (None, Some(block)) => (block, &mut self.end),
            (None, None) => return 0,
        };
        let room = block.get_mut(*end as usize..).unwrap_or_default();
        let n = room.len().min(bytes.len());
        room[..n].copy_from_slice(&bytes[..n]);
        *end += n as u32;
        self.len += n as u32;
        n
    }

    /// Adds a block for `more` bytes. Blocks grow with what is buffered already, so that many small writes make few of them.
    #[inline]
    fn grow(&mut self, buffers: &mut Buffers, more: usize) -> bool {
        let want = more.max(self.len()).min(LARGEST);
        let Some(block) = buffers.blocks.take(want).or_else(|| buffers.blocks.take(1)) else { return false };
        if self.first.is_none() {
            (self.start, self.end) = (0, 0);
            self.first = Some(block);
        } else {
            let at = self.position.wrapping_add(self.len);
            self.ring.get_or_insert_with(|| buffers.take_ring()).push_back(Piece { block, at, len: 0 });
        }
        true
    }

    /// Forgets the first `n` bytes, all of them if there are no more: they are acknowledged.
    #[inline]
    pub(crate) fn consume(&mut self, buffers: &mut Buffers, n: usize) {
        let n = n.min(self.len()) as u32;
        if n == self.len && self.ring.is_none() {
            self.position = self.position.wrapping_add(n);
            (self.start, self.end, self.len) = (0, 0, 0);
            if let Some(block) = self.first.take() {
                buffers.blocks.give(block);
            }
            return;
        }
        self.consume_part(buffers, n);
    }

    /// [`consume`](Self::consume) where something is left, or there is more than one block.
    #[inline(never)]
    fn consume_part(&mut self, buffers: &mut Buffers, mut n: u32) {
        self.len -= n;
        self.position = self.position.wrapping_add(n);
        while n >= self.end - self.start {
            let Some(block) = self.first.take() else { break };
            n -= self.end - self.start;
            buffers.blocks.give(block);
            (self.start, self.end) = (0, 0);
            self.advance_ring(buffers);
        }
        self.start += n;
    }

    /// Makes the first block of the ring the first of all.
    #[inline]
    fn advance_ring(&mut self, buffers: &mut Buffers) {
        let Some(ring) = &mut self.ring else { return };
        if let Some(piece) = ring.pop_front() {
            self.first = Some(piece.block);
            self.end = piece.len;
        }
        if ring.is_empty() {
            if let Some(ring) = self.ring.take() {
                buffers.give_ring(ring);
            }
        }
    }

    /// Copies the bytes from `offset` on into `out` and sums what it copies. Together they lie within [`len`](Self::len).
    #[inline(never)]
    pub(crate) fn copy_out(&self, offset: usize, out: &mut [u8]) -> Sum {
        if let Some(bytes) = self.in_first(offset, out.len()) {
            return copy_and_sum(out, bytes);
        }
        let (mut sum, mut at) = (Sum::ZERO, 0);
        self.pieces(offset, out, |to, from| {
            sum = sum.combine(copy_and_sum(to, from), at % 2 == 1);
            at += from.len();
        });
        sum
    }

    /// As [`copy_out`](Self::copy_out), where somebody else computes the checksum.
    #[inline]
    pub(crate) fn copy_out_plain(&self, offset: usize, out: &mut [u8]) {
        match self.in_first(offset, out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => self.pieces(offset, out, <[u8]>::copy_from_slice),
        }
    }

    /// These bytes, if all of them lie in the first block.
    #[inline(always)]
    fn in_first(&self, offset: usize, len: usize) -> Option<&[u8]> {
        self.first.as_ref()?.get(self.start as usize..self.end as usize)?.get(offset..offset.checked_add(len)?)
    }

    /// Calls `f` with each piece of `out` and the bytes of one block that belong there; they are of the same length.
    #[inline(never)]
    fn pieces(&self, offset: usize, mut out: &mut [u8], mut f: impl FnMut(&mut [u8], &[u8])) {
        debug_assert!(offset + out.len() <= self.len());
        let mut piece = |bytes: &[u8], Range { start, end }: Range<usize>| {
            let bytes = bytes.get(start..end).unwrap_or_default();
            let n = bytes.len().min(out.len());
            let (now, later) = std::mem::take(&mut out).split_at_mut(n);
            out = later;
            if n > 0 {
                f(now, &bytes[..n]);
            }
            !out.is_empty()
        };
        let in_first = (self.end - self.start) as usize;
        if offset < in_first {
            let Some(first) = &self.first else { return };
            if !piece(first, self.start as usize + offset..self.end as usize) {
                return;
            }
        }
        let Some(ring) = &self.ring else { return };
        // The last piece that begins at or before the offset.
        let begins = |piece: &Piece| piece.at.wrapping_sub(self.position) as usize;
        let index = ring.partition_point(|piece| begins(piece) <= offset).saturating_sub(1);
        for (i, part) in ring.range(index..).enumerate() {
            let from = if i == 0 { offset.saturating_sub(begins(part)) } else { 0 };
            if !piece(&part.block, from..part.len as usize) {
                return;
            }
        }
    }

    /// Gives everything back.
    pub(crate) fn clear(&mut self, buffers: &mut Buffers) {
        self.consume(buffers, self.len());
    }

    /// Bytes of memory that it takes.
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> usize {
        let ring = self.ring.as_ref().map_or(0, |ring| {
            ring.iter().map(|piece| piece.block.len()).sum::<usize>() + ring.capacity() * size_of::<Piece>()
        });
        self.first.as_ref().map_or(0, |block| block.len()) + ring
    }
}

#[cfg(test)]
mod tests;
