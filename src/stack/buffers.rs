//! The memory that queues of sockets share: blocks, nodes of queues, and the account of received frames that are kept.
//!
//! A queue of an idle socket holds none of it.

use super::blocks::Blocks;
use super::chunk::{Carrier, Chunk};
use super::tcp::recv_queue::{Nodes, Spans};
use super::tcp::send_buffer::Ring;
use std::ops::Range;

/// What a chunk in a queue of TCP is charged beyond its memory: its links, and the span it may be alone in.
pub(super) const OVERHEAD: usize = 96;
/// Rings of send buffers kept while none needs them.
const RINGS: usize = 256;
/// Most pieces that a ring which is kept has room for: 2 KB.
const RING_ROOM: usize = 64;

/// How soon a payload will be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// As soon as the program is told: nothing waits in front of it.
    Ready,
    /// When the program has read what waits in front of it.
    Behind,
    /// When a hole in front of it has been closed.
    Blocked,
}

/// One engine's memory for queues.
#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) blocks: Blocks,
    pub(super) nodes: Nodes,
    pub(super) spans: Spans,
    #[allow(clippy::vec_box, reason = "the boxes go into send buffers as they are")]
    rings: Vec<Box<Ring>>,
    /// Received frames in queues of sockets, now and at most.
    kept_frames: usize,
    max_kept_frames: usize,
    copied: u64,
}

impl Buffers {
    /// At most `max_block_bytes` bytes of blocks in use, and at most `max_kept_frames` frames kept. `seed` is secret: peers
    /// must not be able to guess what is derived from it.
    pub(crate) fn new(max_block_bytes: usize, max_kept_frames: usize, seed: u64) -> Self {
        Self {
            blocks: Blocks::new(max_block_bytes),
            nodes: Nodes::new(),
            spans: Spans::new(seed),
            rings: Vec::new(),
            kept_frames: 0,
            max_kept_frames,
            copied: 0,
        }
    }

    /// Keeps `range` of a packet for a queue in which `backlog` bytes wait already. `None` if there is no memory for a copy
    /// that would have to be made. When the chunk leaves the queue, say so by [`leave`](Self::leave).
    pub(crate) fn keep<P: Carrier>(&mut self, packet: P, range: Range<usize>, backlog: usize) -> Option<Chunk> {
        let range = range.start.min(packet.len())..range.end.min(packet.len());
        let reader = if backlog == 0 { Reader::Ready } else { Reader::Behind };
        if !self.should_copy(&packet, range.len(), reader) {
            let chunk = packet.into_chunk(range);
            self.enter(&chunk);
            return Some(chunk);
        }
        let bytes = packet.get(range.clone()).unwrap_or_default();
        let Some(mut block) = self.blocks.take(bytes.len()) else {
            return self.keep_for_want_of_blocks(packet, range);
        };
        let end = bytes.len();
        block[..end].copy_from_slice(bytes);
        self.copied += 1;
        packet.discard(&mut self.blocks);
        Some(Chunk::of_block(block, 0, end as u32))
    }

    /// Whether a payload of `len` bytes is copied out of the memory that its packet came in.
    ///
    /// Not copying is cheapest, as long as frames do not run out and somebody reads them soon. So a payload stays where it is,
    /// unless
    ///
    /// * as many frames as configured are kept: the device needs the others to receive into; or
    /// * it fills less than a quarter of its memory and the reader is behind: a queue of small payloads, each holding a whole
    ///   frame, would take many times its length. A reader that keeps up never meets this; or
    /// * it fills less than half of its memory and cannot be read yet: what lies beyond a hole may take twice the window, so
    ///   a window full of such payloads has to fit into that.
    #[inline]
    pub(super) fn should_copy<P: Carrier>(&self, packet: &P, len: usize, reader: Reader) -> bool {
        self.no_frames_left::<P>()
            || match reader {
                Reader::Ready => false,
                Reader::Behind => len < packet.footprint() / 4,
                Reader::Blocked => len < (packet.footprint() + OVERHEAD) / 2,
            }
    }

    /// Whether this is a frame of the device, of which no more may be kept.
    #[inline(always)]
    pub(super) fn no_frames_left<P: Carrier>(&self) -> bool {
        P::IS_FRAME && self.kept_frames >= self.max_kept_frames
    }

    /// A copy was wanted to save memory, and there is no block for it: the frame will do, if frames are not what runs out.
    #[cold]
    #[inline(never)]
    fn keep_for_want_of_blocks<P: Carrier>(&mut self, packet: P, range: Range<usize>) -> Option<Chunk> {
        if self.no_frames_left::<P>() {
            return None;
        }
        let chunk = packet.into_chunk(range);
        self.enter(&chunk);
        Some(chunk)
    }

    /// Takes note that a chunk is put into a queue.
    #[inline(always)]
    pub(crate) fn enter(&mut self, chunk: &Chunk) {
        self.kept_frames += usize::from(chunk.is_frame());
    }

    /// Takes note that a chunk leaves a queue: it is the program's now, or about to be dropped.
    #[inline(always)]
    pub(crate) fn leave(&mut self, chunk: &Chunk) {
        debug_assert!(self.kept_frames > 0 || !chunk.is_frame(), "a chunk leaves that never came");
        self.kept_frames = self.kept_frames.saturating_sub(usize::from(chunk.is_frame()));
    }

    /// Takes note that a payload was copied.
    #[inline(always)]
    pub(crate) fn count_copy(&mut self) {
        self.copied += 1;
    }

    /// An empty ring for a send buffer of more than one block.
    #[cold]
    pub(super) fn take_ring(&mut self) -> Box<Ring> {
        self.rings.pop().unwrap_or_default()
    }

    /// Takes an empty ring back.
    #[cold]
    pub(super) fn give_ring(&mut self, ring: Box<Ring>) {
        if ring.capacity() <= RING_ROOM && self.rings.len() < RINGS {
            self.rings.push(ring);
        }
    }

    /// Bytes of memory that it takes for queues, blocks not counted.
    pub(crate) fn overhead(&self) -> usize {
        self.nodes.footprint() + self.spans.footprint()
    }

    /// Received frames in queues.
    #[inline]
    pub(crate) fn kept_frames(&self) -> usize {
        self.kept_frames
    }

    /// How many payloads were copied.
    #[inline]
    pub(crate) fn copied(&self) -> u64 {
        self.copied
    }
}

#[cfg(test)]
mod tests;
