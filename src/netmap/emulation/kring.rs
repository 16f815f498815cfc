//! The kernel's side of a ring: its own cursors, and the checks that every sync begins with.
#![allow(unsafe_code)]

use super::region::Region;
use crate::netmap::ring::Ring;
use crate::netmap::sys::{FIRST_BUFFER, Slot};
use std::time::{SystemTime, UNIX_EPOCH};

/// Cursors in the names of netmap's own sources.
#[derive(Debug)]
pub(super) struct KRing {
    pub(super) ring: Ring,
    /// What the program last published, once checked.
    pub(super) rhead: u32,
    rcur: u32,
    /// The tail that the program was last told.
    rtail: u32,
    /// First slot not yet processed.
    pub(super) hwcur: u32,
    /// First slot that is not the program's.
    pub(super) hwtail: u32,
}

impl KRing {
    /// A ring with all slots but one free to send into, or nothing received.
    pub(super) fn new(ring: Ring, sends: bool) -> Self {
        let tail = if sends { ring.num_slots() - 1 } else { 0 };
        ring.set_tail(tail);
        Self { ring, rhead: 0, rcur: 0, rtail: tail, hwcur: 0, hwtail: tail }
    }

    /// A slot. The protocol gives it to the kernel's side now.
    #[inline]
    pub(super) fn slot(&self, at: u32) -> Slot {
        // SAFETY: every cursor here is below the number of slots (checked by the prologues, kept by `next`).
        unsafe { self.ring.slot(at) }
    }

    #[inline]
    pub(super) fn set_slot(&self, at: u32, slot: Slot) {
        // SAFETY: as above.
        unsafe { self.ring.set_slot(at, slot) }
    }

    /// Reads what the program published before sending. False if it makes no sense; the ring is then reset.
    pub(super) fn tx_prologue(&mut self, region: &Region) -> bool {
        let (head, cur) = (self.ring.head(), self.ring.cur());
        let sane = between(self.rhead, head, self.rtail, self.ring.num_slots())
            && between(head, cur, self.rtail, self.ring.num_slots());
        self.accept(sane, head, cur, region)
    }

    /// The same before receiving.
    pub(super) fn rx_prologue(&mut self, region: &Region) -> bool {
        let (head, cur) = (self.ring.head(), self.ring.cur());
        let sane = between(self.hwcur, head, self.hwtail, self.ring.num_slots())
            && between(head, cur, self.hwtail, self.ring.num_slots());
        self.accept(sane, head, cur, region)
    }

    fn accept(&mut self, sane: bool, head: u32, cur: u32, region: &Region) -> bool {
        if !sane {
            self.reinit(region);
            return false;
        }
        // A tail that the program overwrote is put right.
        if self.ring.tail() != self.rtail {
            self.ring.set_tail(self.rtail);
        }
        (self.rhead, self.rcur) = (head, cur);
        true
    }

    /// Resets a ring whose program broke the rules: cursors back to what is known to be true, slots that are no buffers
    /// emptied.
    pub(super) fn reinit(&mut self, region: &Region) {
        for at in 0..self.ring.num_slots() {
            let slot = self.slot(at);
            if !region.valid(slot) {
                let buf_idx = if slot.buf_idx < FIRST_BUFFER || !region.valid(Slot { len: 0, ..slot }) {
                    0
                } else {
                    slot.buf_idx
                };
                self.set_slot(at, Slot { buf_idx, len: 0, ..slot });
            }
        }
        (self.rhead, self.rcur, self.rtail) = (self.hwcur, self.hwcur, self.hwtail);
        self.ring.set_head(self.hwcur);
        self.ring.set_tail(self.hwtail);
    }

    /// Tells the program the new tail.
    #[inline]
    pub(super) fn finalize(&mut self) {
        self.rtail = self.hwtail;
        self.ring.set_tail(self.hwtail);
    }

    /// Stamps a receive ring with the time of the sync. As the kernel does by default, whether NR_TIMESTAMP is set or not.
    pub(super) fn stamp(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.ring.set_timestamp(libc::timeval { tv_sec: now.as_secs() as _, tv_usec: now.subsec_micros() as _ });
    }

    /// Whether the program has seen everything there is.
    pub(super) fn exhausted(&self) -> bool {
        self.rhead == self.hwtail
    }
}

/// Reads the slot of a ring whose cursors somebody else minds. The protocol gives the slot to the caller.
#[inline]
pub(super) fn get(ring: Ring, at: u32) -> Slot {
    debug_assert!(at < ring.num_slots());
    // SAFETY: `at` is a cursor of the opposite ring, which has as many slots.
    unsafe { ring.slot(at) }
}

/// Writes the slot of a ring whose cursors somebody else minds. The protocol gives the slot to the caller.
#[inline]
pub(super) fn put(ring: Ring, at: u32, slot: Slot) {
    debug_assert!(at < ring.num_slots());
    // SAFETY: as in `get`.
    unsafe { ring.set_slot(at, slot) }
}

/// Whether `at` is a slot, and lies from `from` up to and including `to` on a ring of `slots`.
fn between(from: u32, at: u32, to: u32, slots: u32) -> bool {
    let ahead = |n: u32| if n >= from { n - from } else { n + slots - from };
    at < slots && ahead(at) <= ahead(to)
}
