//! Blocks of heap memory, used again and again: send buffers, copied payloads, packets that wait or are put together.
//!
//! ```text
//!              take                          give
//!   free list ─────▶ the engine, or a program ─────▶ free list          (the owner's thread: no atomic)
//!       ▲                      │ dropped, on any thread
//!       │ when the list is     ▼
//!       └── empty ────────── home                                       (shared: lives as long as the last block)
//! ```
//!
//! A block that a program holds in a [`Chunk`](super::Chunk) may be dropped anywhere, even after the engine is gone, so each
//! knows its home. What is in use is what its owner counts as out, without what its home counts as dropped.

use crossbeam_queue::ArrayQueue;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that the smallest blocks hold.
const SMALLEST: usize = 256;
/// Bytes that the largest recycled blocks hold: an IP packet of 65535 bytes with an Ethernet header and room to spare. The
/// classes between are powers of two.
pub(crate) const LARGEST: usize = (64 << 10) + 256;
const CLASSES: usize = 9;
/// Bytes of free blocks kept of each class; more go back to the allocator.
const KEPT_BYTES: usize = 8 << 20;
/// Blocks of each class that wait at home until their owner fetches them, at most, and their bytes.
const HOME_BLOCKS: usize = 256;
const HOME_BYTES: usize = 4 << 20;

/// The class of blocks that hold at least `len` bytes; `None` beyond the largest.
#[inline(always)]
const fn class_for(len: usize) -> Option<usize> {
    if len > LARGEST {
        return None;
    }
    let class = (usize::BITS - (len.saturating_sub(1) / SMALLEST).leading_zeros()) as usize;
    // The largest class is a little more than a power of two.
    Some(if class < CLASSES { class } else { CLASSES - 1 })
}

/// Bytes that a block of each class holds.
const SIZES: [usize; CLASSES] = {
    let mut sizes = [LARGEST; CLASSES];
    let mut class = 0;
    while class < CLASSES - 1 {
        sizes[class] = SMALLEST << class;
        class += 1;
    }
    sizes
};

/// Free blocks of each class that are kept, at most.
const KEPT: [usize; CLASSES] = {
    let mut kept = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        kept[class] = KEPT_BYTES / SIZES[class];
        class += 1;
    }
    kept
};

/// Where blocks go that are dropped rather than given back.
struct Home {
    /// Their memory, without a reference to the home: a block in here would keep it alive for ever.
    bytes: [ArrayQueue<Box<[u8]>>; CLASSES],
    dropped: AtomicU64,
}

/// Heap memory of a fixed size, all of it initialised. Derefs to its whole capacity.
pub(crate) struct Block {
    bytes: Box<[u8]>,
    /// `None` for memory outside the accounting.
    home: Option<Arc<Home>>,
}

impl Block {
    /// Memory that no [`Blocks`] counts.
    pub(crate) fn detached(bytes: Box<[u8]>) -> Self {
        Self { bytes, home: None }
    }
}

impl Deref for Block {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Block {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let Some(home) = &self.home else { return };
        let len = bytes.len();
        if let Some(class) = class_for(len) {
            if len == SIZES[class] {
                // Full: the allocator gets it.
                let _ = home.bytes[class].push(bytes);
            }
        }
        home.dropped.fetch_add(len as u64, Ordering::Relaxed);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("capacity", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// The free blocks of one engine, and the account of those in use.
pub(crate) struct Blocks {
    free: [Vec<Block>; CLASSES],
    home: Arc<Home>,
    limit: u64,
    /// Bytes handed out and not given back by hand: in use, or dropped.
    out: u64,
}

impl Blocks {
    /// An account of at most `limit` bytes of capacity in use. Nothing is allocated beforehand.
    pub(crate) fn new(limit: usize) -> Self {
        let bytes = std::array::from_fn(|class| ArrayQueue::new((HOME_BYTES / SIZES[class]).min(HOME_BLOCKS)));
        Self {
            free: Default::default(),
            home: Arc::new(Home { bytes, dropped: AtomicU64::new(0) }),
            limit: limit as u64,
            out: 0,
        }
    }

    /// Bytes of capacity in use, those that programs hold included.
    #[inline]
    pub(crate) fn in_use(&self) -> usize {
        // A block is counted as out before anybody can drop it, so the difference never falls below zero.
        (self.out - self.home.dropped.load(Ordering::Relaxed)) as usize
    }

    /// Most bytes that may be in use.
    #[inline]
    #[cfg(test)]
    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A block of at least `min_len` bytes, which hold whatever they held before; `None` if the limit does not allow it.
    #[inline]
    pub(crate) fn take(&mut self, min_len: usize) -> Option<Block> {
        // Requests and responses: a constant class.
        if min_len <= SMALLEST {
            return self.take_of(Some(0), SMALLEST);
        }
        let class = class_for(min_len);
        let size = class.map_or(min_len, |class| SIZES[class]);
        self.take_of(class, size)
    }

    #[inline(always)]
    fn take_of(&mut self, class: Option<usize>, size: usize) -> Option<Block> {
        if size as u64 > self.limit.saturating_sub(self.in_use() as u64) {
            return None;
        }
        self.out += size as u64;
        match class.and_then(|class| self.free[class].pop()) {
            Some(block) => Some(block),
            None => Some(self.fetch(class, size)),
        }
    }

    /// A block that has come home, or a new one.
    #[cold]
    #[inline(never)]
    fn fetch(&self, class: Option<usize>, size: usize) -> Block {
        let bytes = class.and_then(|class| self.home.bytes[class].pop());
        Block { bytes: bytes.unwrap_or_else(|| vec![0; size].into_boxed_slice()), home: Some(self.home.clone()) }
    }

    /// Takes a block back. One that is not ours goes to its own home.
    #[inline]
    pub(crate) fn give(&mut self, block: Block) {
        let ours = block.home.as_ref().is_some_and(|home| Arc::ptr_eq(home, &self.home));
        if ours && block.bytes.len() == SMALLEST && self.free[0].len() < KEPT[0] {
            self.out -= SMALLEST as u64;
            self.free[0].push(block);
            return;
        }
        self.give_any(block, ours);
    }

    #[inline(never)]
    fn give_any(&mut self, block: Block, ours: bool) {
        let len = block.bytes.len();
        match class_for(len) {
            Some(class) if ours && self.free[class].len() < KEPT[class] => {
                self.out -= len as u64;
                self.free[class].push(block);
            }
            _ if ours => self.release(block),
            _ => drop(block),
        }
    }

    /// Gives a block of ours to the allocator.
    #[cold]
    #[inline(never)]
    fn release(&mut self, mut block: Block) {
        // An empty one is dropped without being counted a second time.
        self.out -= std::mem::take(&mut block.bytes).len() as u64;
    }

    /// Bytes of free blocks kept.
    pub(crate) fn idle(&self) -> usize {
        let own: usize = self.free.iter().enumerate().map(|(class, list)| list.len() * SIZES[class]).sum();
        let home: usize = self.home.bytes.iter().enumerate().map(|(class, q)| q.len() * SIZES[class]).sum();
        own + home
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks")
            .field("in_use", &self.in_use())
            .field("limit", &self.limit)
            .field("idle", &self.idle())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
