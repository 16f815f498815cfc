//! Free frames, and the way home from other threads.
//!
//! ```text
//!   socket A            depot (lock, moved in bulk)            socket B
//!  ┌─────────┐  spill  ┌──────────────────────────┐  refill  ┌─────────┐
//!  │ Local   │────────▶│ every free frame nobody  │─────────▶│ Local   │
//!  │ (stack) │◀────────│ has taken to his stack   │◀─────────│ (stack) │
//!  └─▲─────┬─┘  refill └──────────────────────────┘  spill   └─▲─────┬─┘
//!    │     ▼                                                   │     ▼
//!  release take       home (queue, any thread pushes)        release take
//!                ──▶  as many slots as there are frames  ──▶ refill
//! ```
//!
//! A frame is in one place at a time and `home` has a slot for each, so a release never fails, waits or loses a frame.
//! A socket keeps at most [`Tally::limit`] frames to itself, even while it is alone: frames received on one socket and
//! sent on another find their way back, and who joins later finds the depot filled. The lock is taken once per half a
//! stack.

use super::sync::{Arc, AtomicUsize, FrameQueue, Mutex, Ordering};
use std::cell::Cell;

/// Frames a socket may keep on its own stack: two batches.
const MOST: usize = 128;

/// What one socket has, readable from every thread; written by its owner only (no read-modify-write needed).
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Tally {
    /// Frames on the owner's stack.
    free: AtomicUsize,
    /// Frames in the owner's rings: the kernel's, or queued for transmission.
    rings: AtomicUsize,
    /// How many frames the stack may hold before it spills. Set by whoever joins or leaves the pool.
    limit: AtomicUsize,
}

/// The part of a pool's free lists that threads share.
pub(crate) struct FreeLists {
    frames: usize,
    home: FrameQueue<u32>,
    depot: Mutex<Vec<u32>>,
    tallies: Mutex<Vec<Arc<Tally>>>,
}

impl FreeLists {
    /// All frames free, in the depot; the lowest number comes out first.
    pub(crate) fn new(frames: u32) -> Self {
        Self::of((0..frames).rev().collect())
    }

    /// These frames free, in the depot; the last comes out first. They may be exchanged one by one for others, so that
    /// their number is all that stays.
    pub(crate) fn of(free: Vec<u32>) -> Self {
        Self {
            frames: free.len(),
            home: FrameQueue::new(free.len().max(1)),
            depot: Mutex::new(free),
            tallies: Mutex::new(Vec::new()),
        }
    }

    /// Takes every frame that is free and on nobody's stack: for a pool that ends.
    pub(crate) fn clear(&self) -> Vec<u32> {
        let mut free = std::mem::take(&mut *lock(&self.depot));
        free.extend(std::iter::from_fn(|| self.home.pop()));
        free
    }

    /// Gives a frame back from any thread. The caller owns it; that is what `Token` and `Payload` are for.
    #[inline]
    pub(crate) fn give_back(&self, frame: u32) {
        if self.home.push(frame).is_err() {
            // There is a slot for every frame: only a frame that was released twice gets here.
            double_release(frame);
        }
    }

    /// Frames that are neither free nor in a ring, of these and of `others` that rings may hold too, `others_free` of
    /// which are free. Exact when no other thread is moving frames.
    pub(crate) fn in_flight(&self, others: usize, others_free: usize) -> usize {
        let tallies = lock(&self.tallies);
        let held: usize =
            tallies.iter().map(|t| t.free.load(Ordering::Relaxed) + t.rings.load(Ordering::Relaxed)).sum();
        let at_home = lock(&self.depot).len() + self.home.len();
        (self.frames + others).saturating_sub(held + at_home + others_free)
    }

    /// How many sockets draw on these lists.
    pub(crate) fn sharers(&self) -> usize {
        lock(&self.tallies).len()
    }

    fn join(&self, tally: &Arc<Tally>) {
        let mut tallies = lock(&self.tallies);
        tallies.push(tally.clone());
        self.set_limits(&tallies);
    }

    fn leave(&self, tally: &Arc<Tally>) {
        let mut tallies = lock(&self.tallies);
        tallies.retain(|t| !Arc::ptr_eq(t, tally));
        self.set_limits(&tallies);
    }

    fn set_limits(&self, tallies: &[Arc<Tally>]) {
        // A quarter of the pool between all of them; none, where frames are so few that each is missed.
        let limit = (self.frames / (4 * tallies.len().max(1))).min(MOST);
        for tally in tallies {
            tally.limit.store(limit, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for FreeLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreeLists").field("frames", &self.frames).finish_non_exhaustive()
    }
}

#[cold]
#[inline(never)]
fn double_release(frame: u32) {
    debug_assert!(false, "frame {frame} released twice");
}

#[cfg(not(loom))]
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
#[cfg(loom)]
fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// A socket's own stack of free frames: no lock, no atomic read-modify-write. One thread at a time (`!Sync`).
pub(crate) struct Local {
    lists: Arc<FreeLists>,
    slots: Box<[Cell<u32>]>,
    tally: Arc<Tally>,
}

impl Local {
    pub(crate) fn new(lists: &Arc<FreeLists>) -> Self {
        let tally =
            Arc::new(Tally { free: AtomicUsize::new(0), rings: AtomicUsize::new(0), limit: AtomicUsize::new(1) });
        lists.join(&tally);
        let slots = (0..lists.frames.min(MOST)).map(|_| Cell::new(0)).collect();
        Self { lists: lists.clone(), slots, tally }
    }

    /// A free frame, if there is one here, at home or in the depot.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<u32> {
        self.take_top().or_else(|| self.refill())
    }

    /// The frame on top of the stack, if there is one: does not look elsewhere.
    #[inline(always)]
    pub(crate) fn take_top(&self) -> Option<u32> {
        // Below the bottom of an empty stack there is no slot.
        let top = self.tally.free.load(Ordering::Relaxed).wrapping_sub(1);
        let frame = self.slots.get(top)?.get();
        self.tally.free.store(top, Ordering::Relaxed);
        Some(frame)
    }

    /// Takes up to `max` frames and calls `f` with them, in as many slices as it takes; returns how many there were.
    #[inline(always)]
    pub(crate) fn take_many(&self, max: usize, mut f: impl FnMut(&[Cell<u32>])) -> usize {
        let mut taken = 0;
        while taken < max {
            let len = self.tally.free.load(Ordering::Relaxed);
            let n = len.min(max - taken);
            if n == 0 {
                let Some(frame) = self.refill() else { break };
                f(&[Cell::new(frame)]);
                taken += 1;
                continue;
            }
            // First off the stack: whatever `f` does, a frame is handed out once.
            self.tally.free.store(len - n, Ordering::Relaxed);
            f(&self.slots[len - n..len]);
            taken += n;
        }
        taken
    }

    /// Puts frames on the stack: `each` is called with a function that takes one.
    #[inline(always)]
    pub(crate) fn put_many(&self, each: impl FnOnce(&mut Put<'_>)) {
        let limit = self.tally.limit.load(Ordering::Relaxed).min(self.slots.len());
        let mut put = Put { local: self, len: self.tally.free.load(Ordering::Relaxed), limit };
        each(&mut put);
        self.tally.free.store(put.len, Ordering::Relaxed);
    }

    /// Puts a frame on the stack.
    #[inline(always)]
    pub(crate) fn put(&self, frame: u32) {
        let len = self.tally.free.load(Ordering::Relaxed);
        match self.slots.get(len) {
            Some(slot) if len < self.tally.limit.load(Ordering::Relaxed) => {
                slot.set(frame);
                self.tally.free.store(len + 1, Ordering::Relaxed);
            }
            _ => self.spill(frame),
        }
    }

    /// Says how many frames are in this socket's rings.
    #[inline]
    pub(crate) fn set_in_rings(&self, frames: usize) {
        self.tally.rings.store(frames, Ordering::Relaxed);
    }

    /// Frames on the stack.
    pub(crate) fn len(&self) -> usize {
        self.tally.free.load(Ordering::Relaxed)
    }

    /// The stack is empty: fetch what came home, then what the depot has, and take one of them.
    #[cold]
    #[inline(never)]
    fn refill(&self) -> Option<u32> {
        let limit = self.tally.limit.load(Ordering::Relaxed);
        // Leaves room on the stack for what will be put there next.
        let want = limit.div_ceil(2).max(1);
        let mut len = 0;
        while len < want {
            let Some(frame) = self.lists.home.pop() else { break };
            self.slots[len].set(frame);
            len += 1;
        }
        if len < want {
            let mut depot = lock(&self.lists.depot);
            let from = depot.len() - depot.len().min(want - len);
            // In reverse, so that the frame the depot would have given first is taken first here too.
            for frame in depot.drain(from..) {
                self.slots[len].set(frame);
                len += 1;
            }
        }
        let taken = len.checked_sub(1)?;
        self.tally.free.store(taken, Ordering::Relaxed);
        Some(self.slots[taken].get())
    }

    /// The stack is as full as it may be: half of it, and `frame`, go to the depot.
    #[cold]
    #[inline(never)]
    fn spill(&self, frame: u32) {
        let len = self.tally.free.load(Ordering::Relaxed);
        let keep = (self.tally.limit.load(Ordering::Relaxed) / 2).min(len);
        let mut depot = lock(&self.lists.depot);
        // Never allocates: the depot was made with room for every frame.
        depot.push(frame);
        depot.extend(self.slots[keep..len].iter().map(Cell::get));
        self.tally.free.store(keep, Ordering::Relaxed);
    }
}

/// Frames on their way onto a stack. Nothing else may use the stack meanwhile.
pub(crate) struct Put<'a> {
    local: &'a Local,
    len: usize,
    limit: usize,
}

impl Put<'_> {
    #[inline(always)]
    #[cfg_attr(
        not(all(target_os = "linux", feature = "af_xdp")),
        allow(dead_code, reason = "for engines with rings of frames")
    )]
    pub(crate) fn push(&mut self, frame: u32) {
        if self.len >= self.limit {
            self.local.tally.free.store(self.len, Ordering::Relaxed);
            self.local.spill(frame);
            self.len = self.local.len();
        } else if let Some(slot) = self.local.slots.get(self.len) {
            slot.set(frame);
            self.len += 1;
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let len = self.tally.free.load(Ordering::Relaxed);
        self.lists.leave(&self.tally);
        lock(&self.lists.depot).extend(self.slots[..len].iter().map(Cell::get));
        self.tally.free.store(0, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("tally", &self.tally).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
