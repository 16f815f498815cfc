//! Received bytes on their way to a program: kept where the device put them, or in a block of ours.
//!
//! | who holds the memory | as |
//! |---|---|
//! | the engine, while it handles the packet | a [`Carrier`]: `Payload` or `Block` |
//! | a receive queue, then the program | a [`Chunk`]: owned, borrows nothing |
//! | the program, while it reads or writes the bytes | an [`Opened`] chunk: borrows the context |
//!
//! A frame goes home by the shortest way when an `Opened` is dropped, and through the registry of pools when a `Chunk` is
//! dropped unopened.

use super::blocks::{Block, Blocks};
use crate::api::{Context, Payload, Token};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};

/// What holds the bytes of a packet that is being handled: a received frame, or a block (loopback, reassembled datagrams).
pub(crate) trait Carrier: Deref<Target = [u8]> {
    /// Whether it is a frame of the device, of which there are only so many.
    const IS_FRAME: bool;

    /// Bytes of memory that the packet occupies.
    fn footprint(&self) -> usize;

    /// Keeps part of the packet, cut to what there is of it.
    fn into_chunk(self, range: Range<usize>) -> Chunk;

    /// Lets go of the memory by the shortest way. Dropping it is right too, but slower for blocks.
    fn discard(self, blocks: &mut Blocks);
}

/// The range within `len`, for offsets of 32 bits.
#[inline(always)]
fn clip(range: &Range<usize>, len: usize) -> (u32, u32) {
    let end = range.end.min(len).min(u32::MAX as usize);
    (range.start.min(end) as u32, end as u32)
}

impl<C: Context> Carrier for Payload<'_, C> {
    const IS_FRAME: bool = true;

    #[inline(always)]
    fn footprint(&self) -> usize {
        self.capacity()
    }

    #[inline(always)]
    fn into_chunk(mut self, range: Range<usize>) -> Chunk {
        let (start, end) = clip(&range, self.len());
        let footprint = Carrier::footprint(&self).min(u32::MAX as usize) as u32;
        self.truncate(end as usize);
        Chunk(Kind::Frame { token: self.into_token(), start, footprint })
    }

    #[inline(always)]
    fn discard(self, _: &mut Blocks) {}
}

impl Carrier for Block {
    const IS_FRAME: bool = false;

    #[inline(always)]
    fn footprint(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn into_chunk(self, range: Range<usize>) -> Chunk {
        let (start, end) = clip(&range, self.len());
        Chunk::of_block(self, start, end)
    }

    #[inline(always)]
    fn discard(self, blocks: &mut Blocks) {
        blocks.give(self);
    }
}

/// Received bytes that the program owns: a piece of a TCP stream or a datagram.
///
/// It borrows nothing, can be stored and sent to another thread, and usually still lies in the frame that the device
/// received it in. [`open`](Self::open) gives access to the bytes. It can be made shorter at both ends, but not be split
/// in two: a frame has one owner.
#[must_use = "received bytes are lost with it"]
pub struct Chunk(Kind);

enum Kind {
    Frame {
        /// Its packet is cut off where the chunk ends.
        token: Token,
        start: u32,
        footprint: u32,
    },
    Block {
        block: Block,
        start: u32,
        end: u32,
    },
}

impl Chunk {
    /// Bytes of a block.
    #[inline(always)]
    pub(crate) fn of_block(block: Block, start: u32, end: u32) -> Self {
        debug_assert!(start <= end && end as usize <= block.len());
        Self(Kind::Block { block, start, end })
    }

    /// A copy of bytes, on memory of its own from the allocator. At most 4 GB.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(u32::MAX as usize)];
        Self::of_block(Block::detached(bytes.into()), 0, bytes.len() as u32)
    }

    /// Where it begins and ends in its memory.
    #[inline(always)]
    fn bounds(&self) -> (u32, u32) {
        match &self.0 {
            Kind::Frame { token, start, .. } => (*start, token.size()),
            Kind::Block { start, end, .. } => (*start, *end),
        }
    }

    /// Its length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        let (start, end) = self.bounds();
        (end - start) as usize
    }

    /// Whether no byte is in it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the first `n` bytes, all of them if there are no more than that.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len()) as u32;
        match &mut self.0 {
            Kind::Frame { start, .. } | Kind::Block { start, .. } => *start += n,
        }
    }

    /// Cuts it to its first `n` bytes; does nothing if there are no more than that.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        if n < self.len() {
            match &mut self.0 {
                Kind::Frame { token, start, .. } => token.set_len(*start + n as u32),
                Kind::Block { start, end, .. } => *end = *start + n as u32,
            }
        }
    }

    /// Opens it for reading and writing. `ctx` is the context of the socket that the engine's frames come from; its frame
    /// goes home by the shortest way when the result is dropped.
    ///
    /// A chunk with a frame of another pool is copied; one whose pool has ended together with its sockets and contexts has
    /// lost its bytes and opens as empty.
    #[inline]
    pub fn open<C: Context>(self, ctx: &C) -> Opened<'_, C> {
        let (start, end) = self.bounds();
        let (start, end) = (start as usize, end as usize);
        match self.0 {
            Kind::Frame { token, footprint, .. } if ctx.check_token(&token) => {
                Opened { bytes: Bytes::Frame(token.consume(ctx), footprint), start, end }
            }
            Kind::Frame { token, .. } => Opened::foreign(&token, start..end),
            Kind::Block { block, .. } => Opened { bytes: Bytes::Block(block), start, end },
        }
    }

    /// Copies bytes from the front into `out`; returns how many, and what is left if that was not all.
    #[inline]
    pub fn read<C: Context>(self, ctx: &C, out: &mut [u8]) -> (usize, Option<Self>) {
        let mut opened = self.open(ctx);
        let n = opened.len().min(out.len());
        out[..n].copy_from_slice(&opened[..n]);
        opened.advance(n);
        let rest = if opened.is_empty() { None } else { Some(opened.into_chunk()) };
        (n, rest)
    }

    /// Bytes of memory that it occupies, however few of them it needs.
    #[inline(always)]
    pub(crate) fn footprint(&self) -> usize {
        match &self.0 {
            Kind::Frame { footprint, .. } => *footprint as usize,
            Kind::Block { block, .. } => block.len(),
        }
    }

    /// Whether it lies in a received frame.
    #[inline(always)]
    pub(crate) fn is_frame(&self) -> bool {
        matches!(self.0, Kind::Frame { .. })
    }

    /// The bytes behind it in its block, and where it ends: to append to it. `None` for a frame, which is the device's.
    #[inline(always)]
    pub(crate) fn tail_room(&mut self) -> Option<(&mut [u8], &mut u32)> {
        match &mut self.0 {
            Kind::Block { block, end, .. } => Some((block.get_mut(*end as usize..)?, end)),
            Kind::Frame { .. } => None,
        }
    }

    /// Lets go of its memory by the shortest way there is without a context.
    #[inline]
    pub(crate) fn discard(self, blocks: &mut Blocks) {
        if let Kind::Block { block, .. } = self.0 {
            blocks.give(block);
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_frame() { "Chunk(frame)" } else { "Chunk(block)" };
        f.debug_struct(name).field("len", &self.len()).field("footprint", &self.footprint()).finish_non_exhaustive()
    }
}

/// The bytes of a [`Chunk`]. Derefs to `[u8]`; they may be written to as well. Gives the memory back when dropped.
#[must_use = "received bytes are lost with it"]
pub struct Opened<'ctx, C: Context> {
    bytes: Bytes<'ctx, C>,
    start: usize,
    end: usize,
}

enum Bytes<'ctx, C: Context> {
    Frame(Payload<'ctx, C>, u32),
    Block(Block),
}

impl<C: Context> Bytes<'_, C> {
    #[inline(always)]
    fn get(&self) -> &[u8] {
        match self {
            Self::Frame(payload, _) => payload,
            Self::Block(block) => block,
        }
    }

    #[inline(always)]
    fn get_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Frame(payload, _) => payload,
            Self::Block(block) => block,
        }
    }
}

impl<C: Context> Opened<'_, C> {
    /// A copy of bytes of a frame of another pool.
    #[cold]
    #[inline(never)]
    fn foreign(token: &Token, range: Range<usize>) -> Self {
        let copy: Option<Box<[u8]>> = token.peek(|bytes| bytes.get(range).map(Box::from)).flatten();
        let copy = copy.unwrap_or_default();
        let end = copy.len();
        Self { bytes: Bytes::Block(Block::detached(copy)), start: 0, end }
    }

    /// Ends the borrow and keeps the bytes.
    #[inline]
    pub fn into_chunk(self) -> Chunk {
        let (start, end) = (self.start as u32, self.end as u32);
        match self.bytes {
            Bytes::Frame(mut payload, footprint) => {
                payload.truncate(self.end);
                Chunk(Kind::Frame { token: payload.into_token(), start, footprint })
            }
            Bytes::Block(block) => Chunk::of_block(block, start, end),
        }
    }

    /// Drops the first `n` bytes, all of them if there are no more than that.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        self.start += n.min(self.end - self.start);
    }

    /// The bytes with at least `before` writable bytes in front of them and `after` behind them, and where they lie in that
    /// slice. `None` if their memory has no such room.
    ///
    /// In front of a payload lie the headers it came with, at least 40 bytes of them, which nobody needs any more; behind
    /// it, what its frame has left. What the padding holds before is undefined. For programs that were promised writable
    /// bytes around received data, such as those of uSockets (32 on both sides).
    #[inline]
    pub fn with_padding(&mut self, before: usize, after: usize) -> Option<(&mut [u8], Range<usize>)> {
        let from = self.start.checked_sub(before)?;
        let to = self.end.checked_add(after)?;
        if let Bytes::Frame(payload, _) = &mut self.bytes {
            if to > payload.len() {
                payload.resize(to).ok()?;
            }
        }
        let len = self.end - self.start;
        Some((self.bytes.get_mut().get_mut(from..to)?, before..before + len))
    }
}

impl<C: Context> Deref for Opened<'_, C> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // Always within: an empty slice instead of a panic all the same.
        self.bytes.get().get(self.start..self.end).unwrap_or_default()
    }
}

impl<C: Context> DerefMut for Opened<'_, C> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut().get_mut(self.start..self.end).unwrap_or_default()
    }
}

impl<C: Context> AsRef<[u8]> for Opened<'_, C> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<C: Context> fmt::Debug for Opened<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
