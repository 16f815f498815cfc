//! What a connection has received and the program has not read: bytes in order, and spans beyond holes.
//!
//! ```text
//!   read     in order: a list of chunks     hole    span         hole  span
//!   ········[chunk][chunk][chunk··········]        [chunk][chunk]     [chunk]
//!                                          ▲
//!                                       RCV.NXT
//! ```
//!
//! Chunks are frames kept where they were received, or blocks with copies; [`Buffers::should_copy`] decides. Small copies
//! that follow one another share a block, so that memory is a small multiple of the bytes whatever the size of segments.
//! Bytes received first win: what a later segment says about them is not looked at. The number of holes is bounded by
//! nothing but the memory that the spans take.

mod nodes;
mod spans;

pub(crate) use nodes::Nodes;
pub(crate) use spans::Spans;

use super::seq::Seq;
use crate::stack::buffers::{Buffers, OVERHEAD, Reader};
use crate::stack::chunk::{Carrier, Chunk};
use nodes::List;
use spans::Tree;
use std::ops::Range;

/// Room for whatever comes.
const PLENTY: usize = usize::MAX;
/// No node.
const NIL: u32 = u32::MAX;
/// Bytes of the largest block that small payloads are collected in.
const COLLECT: usize = 16 << 10;
/// Most bytes by which a segment may lie beyond RCV.NXT: the largest window there is (RFC 7323, 2.3).
const REACH: u32 = 1 << 30;

/// The received bytes of one connection. Call [`clear`](Self::clear) before it is dropped: its memory is the engine's.
#[derive(Debug)]
pub(crate) struct RecvQueue {
    list: List,
    spans: Tree,
    /// Bytes in the spans.
    beyond: u32,
    /// Bytes in the list: no more than a window, which is less than 2³⁰.
    readable: u32,
    footprint: usize,
}

impl Default for RecvQueue {
    fn default() -> Self {
        Self { list: List::EMPTY, spans: Tree::EMPTY, beyond: 0, readable: 0, footprint: 0 }
    }
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Bytes that became readable: RCV.NXT moves by as many.
    pub(crate) ready: u32,
    /// Bytes of the segment that had not been received before and were kept.
    pub(crate) fresh: u32,
    /// The first run of bytes of the segment that had been received before: it goes in front of the selective
    /// acknowledgements (RFC 2883, 4: one such run is told per segment).
    pub(crate) duplicate: Option<(Seq, Seq)>,
    /// Something was not kept, for want of memory.
    pub(crate) dropped: bool,
}

impl RecvQueue {
    /// Bytes in order, waiting to be read.
    #[inline(always)]
    pub(crate) fn readable(&self) -> usize {
        self.readable as usize
    }

    /// Whether something has been received beyond a hole.
    #[inline(always)]
    pub(crate) fn has_gaps(&self) -> bool {
        !self.spans.is_empty()
    }

    /// Bytes received beyond a hole.
    #[inline]
    pub(crate) fn out_of_order(&self) -> usize {
        self.beyond as usize
    }

    /// Bytes of memory that all of it takes: frames and blocks at their true size.
    #[inline(always)]
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> usize {
        self.footprint
    }

    /// Queues a payload that is next in order, where there are no holes. Returns whether there was memory for it.
    #[inline(always)]
    pub(crate) fn push<P: Carrier>(&mut self, buffers: &mut Buffers, packet: P, range: Range<usize>) -> bool {
        debug_assert!(!self.has_gaps());
        let range = clip(&packet, range);
        let len = range.len();
        if len == 0 {
            packet.discard(&mut buffers.blocks);
            return true;
        }
        let reader = self.reader();
        let Some(cost) = store(&mut self.list, buffers, packet, range, reader, PLENTY) else { return false };
        self.footprint += cost;
        self.readable += len as u32;
        true
    }

    /// Takes in the payload of a segment, which begins at `seq` and lies in `range` of its packet. The caller has cut it to
    /// the right edge of the window. What lies before `rcv_nxt`, and what has been received before, is cut off; what is in
    /// order is queued, what is not is kept beyond its hole as long as [`footprint`](Self::footprint) stays within `limit`.
    #[inline]
    #[must_use]
    pub(crate) fn receive<P: Carrier>(
        &mut self,
        buffers: &mut Buffers,
        rcv_nxt: Seq,
        seq: Seq,
        packet: P,
        range: Range<usize>,
        limit: usize,
    ) -> Placed {
        let range = clip(&packet, range);
        let len = range.len() as u32;
        if seq == rcv_nxt && self.spans.is_empty() {
            let kept = self.push(buffers, packet, range);
            let ready = if kept { len } else { 0 };
            return Placed { ready, fresh: ready, duplicate: None, dropped: !kept };
        }
        self.place(buffers, rcv_nxt, seq, packet, range, limit)
    }

    /// [`receive`](Self::receive) where something is out of order.
    #[inline(never)]
    fn place<P: Carrier>(
        &mut self,
        buffers: &mut Buffers,
        rcv_nxt: Seq,
        seq: Seq,
        packet: P,
        range: Range<usize>,
        limit: usize,
    ) -> Placed {
        let end = seq + range.len() as u32;
        let mut placed = Placed::default();
        let mut at = seq;
        if at.before(rcv_nxt) {
            at = rcv_nxt.min(end);
            placed.note_duplicate(seq, at);
        }
        if end.since(rcv_nxt) > REACH && at != end {
            placed.dropped = true;
            at = end;
        }
        // Finds the runs of new bytes. Each is put in place when the next one is found: the last one takes the packet.
        let mut run = None;
        while at != end {
            let (before, after) = self.around(buffers, at);
            if before != NIL && at.before(buffers.spans[before].end) {
                let to = buffers.spans[before].end.min(end);
                placed.note_duplicate(at, to);
                buffers.spans.touch(&mut self.spans, before);
                at = to;
                continue;
            }
            let to = if after == NIL { end } else { buffers.spans[after].start.min(end) };
            if let Some((from, to)) = run.replace((at, to)) {
                let bytes = &packet[part(&range, seq, from, to)];
                self.place_run(buffers, rcv_nxt, (from, to), limit, &mut placed, |list, buffers, _, room| {
                    copy(list, buffers, bytes, room)
                });
            }
            at = to;
        }
        match run {
            Some((from, to)) => {
                let part = part(&range, seq, from, to);
                self.place_run(buffers, rcv_nxt, (from, to), limit, &mut placed, |list, buffers, reader, room| {
                    store(list, buffers, packet, part, reader, room)
                });
            }
            None => packet.discard(&mut buffers.blocks),
        }
        if placed.ready > 0 {
            placed.ready += self.close_holes(buffers, rcv_nxt + placed.ready);
        }
        placed
    }

    /// The spans around a sequence number. Most segments continue the last span, or begin a new one behind it.
    #[inline]
    fn around(&self, buffers: &Buffers, seq: Seq) -> (u32, u32) {
        let last = self.spans.last;
        if last != NIL && buffers.spans[last].start.at_or_before(seq) {
            return (last, NIL);
        }
        buffers.spans.around(&self.spans, seq)
    }

    /// Puts a run of new bytes in order, or into the span that it belongs to. `put` adds them to the end of a list, for no
    /// more memory than told, and tells what they take.
    fn place_run(
        &mut self,
        buffers: &mut Buffers,
        rcv_nxt: Seq,
        (from, to): (Seq, Seq),
        limit: usize,
        placed: &mut Placed,
        put: impl FnOnce(&mut List, &mut Buffers, Reader, usize) -> Option<usize>,
    ) {
        let len = to.since(from);
        if from == rcv_nxt {
            let reader = self.reader();
            match put(&mut self.list, buffers, reader, PLENTY) {
                Some(cost) => {
                    self.footprint += cost;
                    self.readable += len;
                    placed.fresh += len;
                    placed.ready += len;
                }
                None => placed.dropped = true,
            }
            return;
        }
        let room = limit.saturating_sub(self.footprint);
        let (before, after) = self.around(buffers, from);
        let continues = before != NIL && buffers.spans[before].end == from;
        let precedes = after != NIL && buffers.spans[after].start == to;
        let mut list = if continues { buffers.spans[before].list } else { List::EMPTY };
        let Some(cost) = put(&mut list, buffers, Reader::Blocked, room) else {
            placed.dropped = true;
            return;
        };
        self.footprint += cost;
        self.beyond += len;
        placed.fresh += len;
        match (continues, precedes) {
            (true, false) => {
                let span = &mut buffers.spans[before];
                (span.end, span.list) = (to, list);
                buffers.spans.touch(&mut self.spans, before);
            }
            (true, true) => {
                let end = buffers.spans[after].end;
                let rest = buffers.spans.remove(&mut self.spans, after);
                buffers.nodes.append(&mut list, rest);
                let span = &mut buffers.spans[before];
                (span.end, span.list) = (end, list);
                buffers.spans.touch(&mut self.spans, before);
            }
            (false, true) => {
                // Its order among the spans stays what it is.
                let span = &mut buffers.spans[after];
                buffers.nodes.append(&mut list, span.list);
                (span.start, span.list) = (from, list);
                buffers.spans.touch(&mut self.spans, after);
            }
            (false, false) => {
                buffers.spans.insert(&mut self.spans, from, to, list);
            }
        }
    }

    /// How soon what is next in order will be read.
    #[inline(always)]
    fn reader(&self) -> Reader {
        if self.readable == 0 { Reader::Ready } else { Reader::Behind }
    }

    /// Moves what has become contiguous to the bytes in order; returns how many bytes.
    fn close_holes(&mut self, buffers: &mut Buffers, rcv_nxt: Seq) -> u32 {
        // What is in order ends at the first span at most, and no span touches the next.
        let first = buffers.spans.first(&self.spans);
        if first == NIL || buffers.spans[first].start != rcv_nxt {
            return 0;
        }
        let len = buffers.spans[first].end.since(rcv_nxt);
        let list = buffers.spans.remove(&mut self.spans, first);
        buffers.nodes.append(&mut self.list, list);
        self.beyond -= len;
        self.readable += len;
        len
    }

    /// Takes the next bytes in order out.
    #[inline]
    pub(crate) fn pop(&mut self, buffers: &mut Buffers) -> Option<Chunk> {
        let chunk = buffers.nodes.pop_front(&mut self.list)?;
        self.readable -= chunk.len() as u32;
        self.footprint -= chunk.footprint() + OVERHEAD;
        buffers.leave(&chunk);
        Some(chunk)
    }

    /// Puts back what was not read.
    #[inline]
    pub(crate) fn unread(&mut self, buffers: &mut Buffers, chunk: Chunk) {
        if chunk.is_empty() {
            return chunk.discard(&mut buffers.blocks);
        }
        self.readable += chunk.len() as u32;
        self.footprint += chunk.footprint() + OVERHEAD;
        buffers.enter(&chunk);
        buffers.nodes.push_front(&mut self.list, chunk);
    }

    /// Ranges received beyond a hole, those that changed last first (RFC 2018, 4); returns how many there are.
    pub(crate) fn sack_blocks(&self, buffers: &Buffers, out: &mut [(Seq, Seq); 4]) -> usize {
        out.iter_mut()
            .zip(buffers.spans.by_age(&self.spans))
            .map(|(block, span)| *block = (span.start, span.end))
            .count()
    }

    /// Gives everything back.
    pub(crate) fn clear(&mut self, buffers: &mut Buffers) {
        while let Some(chunk) = self.pop(buffers) {
            chunk.discard(&mut buffers.blocks);
        }
        self.clear_out_of_order(buffers);
    }

    /// Gives back what lies beyond holes, which the peer has to send again: it was never acknowledged for good
    /// (RFC 2018, 8).
    pub(crate) fn clear_out_of_order(&mut self, buffers: &mut Buffers) {
        while let Some(mut list) = buffers.spans.take_any(&mut self.spans) {
            while let Some(chunk) = buffers.nodes.pop_front(&mut list) {
                self.footprint -= chunk.footprint() + OVERHEAD;
                buffers.leave(&chunk);
                chunk.discard(&mut buffers.blocks);
            }
        }
        self.beyond = 0;
    }
}

impl Placed {
    fn note_duplicate(&mut self, from: Seq, to: Seq) {
        if from != to {
            self.duplicate = self.duplicate.or(Some((from, to)));
        }
    }
}

/// The range within the packet, and no longer than a window.
#[inline(always)]
fn clip<P: Carrier>(packet: &P, range: Range<usize>) -> Range<usize> {
    let start = range.start.min(packet.len());
    start..range.end.clamp(start, packet.len()).min(start + REACH as usize)
}

/// Where the bytes `from` to `to` of a segment lie in its packet.
#[inline(always)]
fn part(range: &Range<usize>, seq: Seq, from: Seq, to: Seq) -> Range<usize> {
    range.start + from.since(seq) as usize..range.start + to.since(seq) as usize
}

/// Adds part of a packet to the end of a list, for at most `room` bytes of memory; returns what it takes, `None` if there
/// is not that much.
#[inline(always)]
fn store<P: Carrier>(
    list: &mut List,
    buffers: &mut Buffers,
    packet: P,
    range: Range<usize>,
    reader: Reader,
    room: usize,
) -> Option<usize> {
    // In order there is always room.
    let fits = |packet: &P| room == PLENTY || packet.footprint().saturating_add(OVERHEAD) <= room;
    if buffers.should_copy(&packet, range.len(), reader) || !fits(&packet) {
        let copied = copy(list, buffers, &packet[range.clone()], room);
        // A copy was to save memory. If there is no block for it, the packet itself will do, as long as it may.
        if copied.is_some() || buffers.no_frames_left::<P>() || !fits(&packet) {
            packet.discard(&mut buffers.blocks);
            return copied;
        }
    }
    let chunk = packet.into_chunk(range);
    let cost = chunk.footprint() + OVERHEAD;
    buffers.enter(&chunk);
    buffers.nodes.push_back(list, chunk);
    Some(cost)
}

/// Adds a copy of bytes to the end of a list, as [`store`]: all of them or none.
#[inline(never)]
fn copy(list: &mut List, buffers: &mut Buffers, bytes: &[u8], room: usize) -> Option<usize> {
    let (mut fits, mut last) = (0, 0);
    if let Some(chunk) = buffers.nodes.back_mut(list) {
        if let Some((free, _)) = chunk.tail_room() {
            fits = free.len().min(bytes.len());
            last = chunk.footprint();
        }
    }
    let (now, rest) = bytes.split_at(fits);
    let mut new = None;
    if !rest.is_empty() {
        // Each block is twice as large as the one before it, so that many small payloads make few of them.
        let want = rest.len().max((2 * last).min(COLLECT));
        let block = buffers.blocks.take(want).or_else(|| buffers.blocks.take(rest.len()))?;
        if block.len() + OVERHEAD > room {
            buffers.blocks.give(block);
            return None;
        }
        new = Some(block);
    }
    if let Some((free, end)) = buffers.nodes.back_mut(list).and_then(Chunk::tail_room).filter(|_| fits > 0) {
        free[..fits].copy_from_slice(now);
        *end += fits as u32;
    }
    buffers.count_copy();
    let Some(mut block) = new else { return Some(0) };
    block[..rest.len()].copy_from_slice(rest);
    let cost = block.len() + OVERHEAD;
    buffers.nodes.push_back(list, Chunk::of_block(block, 0, rest.len() as u32));
    Some(cost)
}

#[cfg(test)]
mod tests;
