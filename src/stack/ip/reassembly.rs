//! Fragments put together again (RFC 791, 3.2; RFC 815 for the idea, though here nothing is placed before it is complete).
//!
//! Each fragment keeps a block of about its own size until the last one is there; then the packet is copied together and
//! re-enters as if it had arrived whole. Until then it costs what arrived, not what a header promises.
//!
//! Memory is bounded in bytes, in datagrams and in fragments for each datagram; the oldest datagram makes room. Overlapping
//! fragments are an attack or a fault: the whole datagram is refused, and so is what still comes of it (RFC 5722, 4; RFC 8200,
//! 4.5, said for IPv6). A fragment that comes twice is ignored the second time.

use super::hash::{Keyed, number};
use super::list::{Links, List};
use crate::stack::blocks::{Block, Blocks};
use crate::stack::prf::Purpose;
use crate::stack::{Config, Instant, IpStats};
use crate::wire::checksum::Sum;
use crate::wire::ipv4;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Unfinished datagrams, at most.
const MAX_DATAGRAMS: usize = 1024;
/// Fragments of one datagram, at most: the longest over links of 576 bytes takes 119.
const MAX_PIECES: usize = 256;
/// What a datagram is charged beside the blocks of its fragments, in bytes.
const DATAGRAM_COST: usize = 256;

/// Which datagram a fragment belongs to (RFC 791, 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: u128,
    destination: u128,
    identification: u32,
    protocol: u8,
}

#[derive(Debug)]
struct Piece {
    /// Bytes of the datagram's data: first, and behind the last.
    start: u32,
    end: u32,
    /// The fragment, header and data.
    block: Block,
    header_len: u8,
}

impl Piece {
    fn data(&self) -> &[u8] {
        let header = usize::from(self.header_len);
        &self.block[header..header + (self.end - self.start) as usize]
    }
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    deadline: Instant,
    /// In the order of their offsets, without overlaps.
    pieces: Vec<Piece>,
    /// Bytes of data that are there.
    received: u32,
    /// Bytes of data there will be, once the last fragment says so.
    total: Option<u32>,
    cost: usize,
    /// Fragments overlapped or contradicted each other: nothing of it is taken any more.
    refused: bool,
    /// Which values of the ECN field were seen, one bit each.
    ecn: u8,
}

/// What has become of a fragment.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It waits for others, or was there already.
    Waits,
    /// The packet is complete: header without fragment fields, and data.
    Complete(Block),
    /// It makes no sense by itself.
    Malformed,
    /// It was dropped, with a count.
    Dropped,
}

/// All unfinished datagrams.
#[derive(Debug)]
pub(super) struct Reassembly {
    by_key: HashMap<Key, u32, Keyed>,
    slots: Vec<Datagram>,
    free: Vec<u32>,
    /// In the order of their first fragments' arrival, and so of their deadlines.
    order: List,
    links: Links,
    bytes: usize,
    limit: usize,
    timeout: Duration,
}

impl Reassembly {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            by_key: HashMap::with_hasher(Keyed::new(config.secret, Purpose::Reassembly)),
            slots: Vec::new(),
            free: Vec::new(),
            order: List::default(),
            links: Links::default(),
            bytes: 0,
            limit: config.ip.max_reassembly_bytes,
            timeout: config.ip.reassembly_timeout,
        }
    }

    /// Takes in a fragment: a packet whose header is `header`.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        blocks: &mut Blocks,
        header: &ipv4::Header,
        packet: &[u8],
        stats: &mut IpStats,
    ) -> Outcome {
        let Some(packet) = packet.get(..usize::from(header.total_len)) else { return Outcome::Malformed };
        let len = header.payload_len();
        let (start, end) = (header.fragment_offset(), header.fragment_offset() + len);
        // All but the last carry a multiple of 8 bytes, and the whole is no longer than a packet can be.
        if len == 0
            || (header.more_fragments() && !len.is_multiple_of(8))
            || end + usize::from(header.header_len) > ipv4::MAX_LEN
        {
            return Outcome::Malformed;
        }
        let key = Key {
            source: number(IpAddr::V4(header.src)),
            destination: number(IpAddr::V4(header.dst)),
            identification: header.identification.into(),
            protocol: header.protocol,
        };
        let slot = match self.by_key.get(&key) {
            Some(&slot) => slot,
            None => self.begin(now, key, blocks, stats),
        };
        let (start, end) = (start as u32, end as u32);
        let datagram = &mut self.slots[slot as usize];
        if datagram.refused {
            stats.reassembly_drops += 1;
            return Outcome::Dropped;
        }
        let at = datagram.pieces.partition_point(|piece| piece.start < start);
        if let Some(same) = datagram.pieces.get(at).filter(|piece| (piece.start, piece.end) == (start, end)) {
            let consistent = header.more_fragments() != (datagram.total == Some(end));
            if consistent && same.data() == &packet[usize::from(header.header_len)..] {
                return Outcome::Waits;
            }
            return self.refuse(slot, blocks, stats);
        }
        let overlaps = at.checked_sub(1).and_then(|before| datagram.pieces.get(before)).is_some_and(|p| p.end > start)
            || datagram.pieces.get(at).is_some_and(|piece| piece.start < end);
        let contradicts = match (datagram.total, header.more_fragments()) {
            (Some(total), true) => end >= total,
            (Some(total), false) => end != total,
            (None, false) => datagram.pieces.last().is_some_and(|piece| piece.end > end),
            (None, true) => false,
        };
        if overlaps || contradicts {
            return self.refuse(slot, blocks, stats);
        }
        if datagram.pieces.len() >= MAX_PIECES {
            return self.refuse(slot, blocks, stats);
        }
        let Some(block) = self.room(slot, packet.len(), blocks, stats) else {
            stats.reassembly_drops += 1;
            return Outcome::Dropped;
        };
        let mut piece = Piece { start, end, block, header_len: header.header_len };
        piece.block[..packet.len()].copy_from_slice(packet);
        let datagram = &mut self.slots[slot as usize];
        datagram.cost += piece.block.len();
        self.bytes += piece.block.len();
        datagram.pieces.insert(at, piece);
        datagram.received += end - start;
        datagram.ecn |= 1 << header.ecn();
        if !header.more_fragments() {
            datagram.total = Some(end);
        }
        if datagram.total == Some(datagram.received) { self.complete(slot, blocks, stats) } else { Outcome::Waits }
    }

    /// A new datagram, for which an old one may have to go.
    fn begin(&mut self, now: Instant, key: Key, blocks: &mut Blocks, stats: &mut IpStats) -> u32 {
        if self.by_key.len() >= MAX_DATAGRAMS {
            self.drop_oldest(None, blocks, stats);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Datagram {
                key,
                deadline: now,
                pieces: Vec::new(),
                received: 0,
                total: None,
                cost: 0,
                refused: false,
                ecn: 0,
            });
            self.slots.len() as u32 - 1
        });
        let datagram = &mut self.slots[slot as usize];
        (datagram.key, datagram.deadline, datagram.cost) = (key, now + self.timeout, DATAGRAM_COST);
        (datagram.received, datagram.total, datagram.refused, datagram.ecn) = (0, None, false, 0);
        self.bytes += DATAGRAM_COST;
        self.by_key.insert(key, slot);
        self.order.push(&mut self.links, slot);
        slot
    }

    /// A block for a fragment of `slot`; older datagrams make room, and the datagram itself if nothing else helps.
    fn room(&mut self, slot: u32, len: usize, blocks: &mut Blocks, stats: &mut IpStats) -> Option<Block> {
        let block = blocks.take(len);
        let needed = block.as_ref().map_or(0, |block| block.len());
        while self.bytes + needed > self.limit && self.drop_oldest(Some(slot), blocks, stats) {}
        match block {
            Some(block) if self.bytes + needed <= self.limit => Some(block),
            block => {
                if let Some(block) = block {
                    blocks.give(block);
                }
                stats.reassembly_drops += self.slots[slot as usize].pieces.len() as u64;
                self.remove(slot, blocks);
                None
            }
        }
    }

    /// Drops the oldest datagram but `spared`. Returns whether there was one.
    fn drop_oldest(&mut self, spared: Option<u32>, blocks: &mut Blocks, stats: &mut IpStats) -> bool {
        let Some(oldest) = self.order.first() else { return false };
        let oldest = if Some(oldest) == spared { self.order.second(&self.links) } else { Some(oldest) };
        let Some(oldest) = oldest else { return false };
        stats.reassembly_drops += self.slots[oldest as usize].pieces.len() as u64;
        self.remove(oldest, blocks);
        true
    }

    /// Refuses a datagram: its fragments go, its name stays until its time is over, so that what still comes of it is
    /// refused too.
    fn refuse(&mut self, slot: u32, blocks: &mut Blocks, stats: &mut IpStats) -> Outcome {
        let datagram = &mut self.slots[slot as usize];
        stats.reassembly_drops += datagram.pieces.len() as u64 + 1;
        datagram.pieces.drain(..).for_each(|piece| blocks.give(piece.block));
        self.bytes -= datagram.cost - DATAGRAM_COST;
        datagram.cost = DATAGRAM_COST;
        datagram.refused = true;
        Outcome::Dropped
    }

    fn remove(&mut self, slot: u32, blocks: &mut Blocks) {
        let datagram = &mut self.slots[slot as usize];
        datagram.pieces.drain(..).for_each(|piece| blocks.give(piece.block));
        self.bytes -= datagram.cost;
        self.by_key.remove(&datagram.key);
        self.order.remove(&mut self.links, slot);
        self.free.push(slot);
    }

    /// Copies a datagram together that has no holes.
    fn complete(&mut self, slot: u32, blocks: &mut Blocks, stats: &mut IpStats) -> Outcome {
        let datagram = &self.slots[slot as usize];
        let packet = join(datagram, blocks);
        match &packet {
            Some(_) => stats.reassembled += 1,
            None => stats.reassembly_drops += datagram.pieces.len() as u64,
        }
        self.remove(slot, blocks);
        packet.map_or(Outcome::Dropped, Outcome::Complete)
    }

    /// Gives up a datagram whose time is over. Its first fragment, if that came, is returned for the error to quote (RFC 792:
    /// none is sent without it).
    #[inline]
    pub(super) fn expire(&mut self, now: Instant, blocks: &mut Blocks) -> Option<Expired> {
        let slot = self.order.first()?;
        if self.slots[slot as usize].deadline > now {
            return None;
        }
        Some(self.give_up(slot, blocks))
    }

    #[inline(never)]
    fn give_up(&mut self, slot: u32, blocks: &mut Blocks) -> Expired {
        let datagram = &mut self.slots[slot as usize];
        let first = match datagram.pieces.first() {
            Some(piece) if piece.start == 0 => {
                let piece = datagram.pieces.remove(0);
                Some((piece.block, usize::from(piece.header_len) + piece.end as usize))
            }
            _ => None,
        };
        let refused = datagram.refused;
        self.remove(slot, blocks);
        Expired { first, refused }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.order.first().map(|slot| self.slots[slot as usize].deadline)
    }

    /// Bytes charged for what is there.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A datagram that has been given up.
#[derive(Debug)]
pub(super) struct Expired {
    /// Its first fragment and that packet's length, if it came.
    pub(super) first: Option<(Block, usize)>,
    /// It had been refused before.
    pub(super) refused: bool,
}

/// The whole packet. `None` for want of a block, or if the fragments' ECN fields contradict each other (RFC 3168, 5.3).
fn join(datagram: &Datagram, blocks: &mut Blocks) -> Option<Block> {
    const NOT_CAPABLE: u8 = 1 << 0;
    const CONGESTION: u8 = 1 << 3;
    let first = datagram.pieces.first()?;
    let header_len = usize::from(first.header_len);
    let total = u16::try_from(header_len + datagram.received as usize).ok()?;
    let congested = datagram.ecn & CONGESTION != 0;
    if congested && datagram.ecn & NOT_CAPABLE != 0 {
        return None;
    }
    let mut packet = blocks.take(total.into())?;
    packet[..header_len].copy_from_slice(&first.block[..header_len]);
    for piece in &datagram.pieces {
        let at = header_len + piece.start as usize;
        packet[at..at + piece.data().len()].copy_from_slice(piece.data());
    }
    if congested {
        packet[1] |= 3;
    }
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[6..8].fill(0);
    packet[10..12].fill(0);
    let checksum = Sum::of(&packet[..header_len]).finish();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    Some(packet)
}

#[cfg(test)]
mod tests;
