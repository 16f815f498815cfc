//! A bounded queue of frames with many producers and one consumer, without a lock.
//!
//! ```text
//!  sender A ─┐ push: one fetch_add, one store
//!  sender B ─┼──▶ [ p | p | · | · | · | · | p | p ] ──▶ pop: one load, two stores (the receiver only)
//!  sender C ─┘              tail ▲           ▲ head
//! ```
//!
//! It has at least as many slots as the pool has frames, and a frame is in one place only, so that a slot that a
//! producer claims is always empty: claiming needs no compare-and-swap loop. How many packets a receiver lets pile up is
//! a separate number, [`FrameRing::is_full`], that senders ask before they push; when several of them ask at the same
//! moment the queue may briefly hold one more per sender.

use crate::pool::sync::{AtomicU64, AtomicUsize, Ordering};

/// A frame's number and the length of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) frame: u32,
    pub(super) len: u32,
}

const EMPTY: u64 = u64::MAX;

impl Entry {
    fn pack(self) -> u64 {
        u64::from(self.frame) << 32 | u64::from(self.len)
    }
    fn unpack(word: u64) -> Self {
        Self { frame: (word >> 32) as u32, len: word as u32 }
    }
}

#[repr(align(128))]
#[derive(Debug)]
struct Padded(AtomicUsize);

#[derive(Debug)]
pub(super) struct FrameRing {
    slots: Box<[AtomicU64]>,
    depth: usize,
    /// Slots claimed by producers, ever.
    tail: Padded,
    /// Slots emptied by the consumer, ever. Only the consumer writes it.
    head: Padded,
}

impl FrameRing {
    /// A queue for the frames of a pool of `frames`, called full at `depth` packets.
    pub(super) fn new(frames: usize, depth: usize) -> Self {
        let slots = (0..frames.next_power_of_two()).map(|_| AtomicU64::new(EMPTY)).collect();
        Self { slots, depth, tail: Padded(AtomicUsize::new(0)), head: Padded(AtomicUsize::new(0)) }
    }

    /// Packets in the queue.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let head = self.head.0.load(Ordering::Relaxed);
        // A head newer than the tail it is compared with: empty.
        self.tail.0.load(Ordering::Relaxed).wrapping_sub(head).min(self.slots.len())
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        let head = self.head.0.load(Ordering::Relaxed);
        let ahead = self.tail.0.load(Ordering::Relaxed).wrapping_sub(head);
        ahead >= self.depth && ahead <= self.slots.len()
    }

    /// Whether a `pop` by the consumer would find nothing.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.slot(self.head.0.load(Ordering::Relaxed)).load(Ordering::Acquire) == EMPTY
    }

    /// For a producer: whether the consumer may not have taken everything that was pushed. It errs on the side of yes.
    ///
    /// Not by the slot at the head, as [`is_empty`](Self::is_empty): between the consumer's two stores that slot is empty
    /// although the next one is not.
    #[inline]
    pub(super) fn may_hold(&self) -> bool {
        self.tail.0.load(Ordering::Relaxed) != self.head.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn slot(&self, at: usize) -> &AtomicU64 {
        &self.slots[at & (self.slots.len() - 1)]
    }

    /// Puts a packet in. The frame is the caller's, of the pool this queue was made for, and passes to the queue.
    #[inline]
    pub(super) fn push(&self, entry: Entry) {
        // AcqRel: for a slot to come round again, some frame that was taken out after this slot's last one must have
        // been pushed again. The consumer's EMPTY-store happens-before that push, whose fetch_add (or a later one, by
        // the release sequence) is read here: so the store below cannot be overwritten by that EMPTY.
        let at = self.tail.0.fetch_add(1, Ordering::AcqRel);
        self.slot(at).store(entry.pack(), Ordering::Release);
    }

    /// Takes the oldest packet out. One consumer at a time.
    #[inline]
    pub(super) fn pop(&self) -> Option<Entry> {
        let head = self.head.0.load(Ordering::Relaxed);
        let slot = self.slot(head);
        let word = slot.load(Ordering::Acquire);
        if word == EMPTY {
            return None;
        }
        slot.store(EMPTY, Ordering::Relaxed);
        self.head.0.store(head.wrapping_add(1), Ordering::Relaxed);
        Some(Entry::unpack(word))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_over_many_laps() {
        let ring = FrameRing::new(3, 2);
        for n in 0..1000u32 {
            ring.push(Entry { frame: n % 3, len: n });
            assert_eq!((ring.len(), ring.is_full(), ring.is_empty()), (1, false, false));
            ring.push(Entry { frame: (n + 1) % 3, len: n + 1 });
            assert!(ring.is_full());
            assert_eq!(ring.pop(), Some(Entry { frame: n % 3, len: n }));
            assert_eq!(ring.pop(), Some(Entry { frame: (n + 1) % 3, len: n + 1 }));
            assert_eq!(ring.pop(), None);
            assert!(ring.is_empty() && !ring.is_full() && !ring.may_hold());
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;

    /// Two senders and the receiver carry two frames through a ring of two slots, over several laps.
    #[test]
    fn no_frame_is_lost_or_doubled() {
        loom::model(|| {
            let ring = Arc::new(FrameRing::new(2, 2));
            let entry = |frame| Entry { frame, len: 60 };
            ring.push(entry(0));
            ring.push(entry(1));
            let take = || loop {
                if let Some(entry) = ring.pop() {
                    break entry;
                }
                loom::thread::yield_now();
            };
            let (a, b) = (take(), take());
            let (first, second) = (ring.clone(), ring.clone());
            let one = loom::thread::spawn(move || first.push(a));
            let two = loom::thread::spawn(move || second.push(b));
            // One comes round and goes round again, into a slot of the first lap.
            ring.push(take());
            let (c, d) = (take(), take());
            assert_eq!(c.frame + d.frame, 1);
            assert_eq!(ring.pop(), None);
            one.join().unwrap();
            two.join().unwrap();
        });
    }
}
