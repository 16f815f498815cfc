//! Sending: a packet is copied into the buffer of a slot, or its own buffer is exchanged for the slot's.
#![allow(unsafe_code)]

use super::buffers::{Buffers, prefetch};
use super::ring::{Ring, SlotCell};
use super::sys::{BUF_CHANGED, REPORT, Slot};
use crate::api::Token;
use crate::pool::PoolContext;
use std::cell::Cell;

/// One transmit ring. Cursors are kept here and published to shared memory by [`publish`](Self::publish).
#[derive(Debug)]
pub(super) struct Tx {
    ring: Ring,
    queue: u32,
    /// First free slot, and in the upper half the first one that is not ours. In one word, so that it takes one comparison
    /// to see that neither has moved.
    ends: Cell<u64>,
    /// `head` when the kernel last looked.
    synced: Cell<u32>,
}

#[inline(always)]
fn ends(head: u32, tail: u32) -> u64 {
    u64::from(tail) << 32 | u64::from(head)
}

impl Tx {
    pub(super) fn new(queue: u32, ring: Ring) -> Self {
        let (head, tail) = (ring.head(), ring.tail());
        Self { ring, queue, ends: Cell::new(ends(head, tail)), synced: Cell::new(head) }
    }

    #[inline(always)]
    fn head(&self) -> u32 {
        self.ends.get() as u32
    }

    #[inline(always)]
    fn tail(&self) -> u32 {
        (self.ends.get() >> 32) as u32
    }

    #[inline(always)]
    fn set_head(&self, head: u32) {
        self.ends.set(ends(head, self.tail()));
    }

    pub(super) fn queue(&self) -> u32 {
        self.queue
    }

    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.head() != self.tail()
    }

    /// Packets that the kernel has not been told of.
    #[inline]
    pub(super) fn unsent(&self) -> u32 {
        self.ring.distance(self.synced.get(), self.head())
    }

    /// Packets whose slots have not come back.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        self.ring.num_slots() - 1 - self.ring.distance(self.head(), self.tail())
    }

    /// Copies a packet into the next slot. False if the slot holds no buffer; nothing is sent then.
    ///
    /// # Safety
    ///
    /// The ring [has room](Self::has_room), and the packet is not longer than a buffer.
    #[inline(always)]
    pub(super) unsafe fn copy(&self, packet: &[u8], buffers: &Buffers) -> bool {
        let at = self.head();
        // SAFETY: there is room, so the slot is ours.
        let slot = unsafe { self.ring.slot(at) };
        let new = Slot { len: packet.len() as u16, flags: 0, ..slot };
        if !buffers.hold(new) {
            return false;
        }
        // SAFETY: the buffer exists and is this slot's, which is ours; the packet fits, as the caller vouches.
        unsafe {
            buffers.fill(slot.buf_idx, packet);
            self.ring.set_slot(at, new);
        }
        self.set_head(self.ring.next(at));
        true
    }

    /// Copies packets into slots: `packet`, and what `more` gives, until the ring is full or comes to its last slot, or one
    /// cannot be taken. Counts them and their bytes in `done`, and returns the packet that was not taken.
    #[inline(always)]
    pub(super) fn copy_each<'a>(
        &self,
        mut packet: &'a [u8],
        more: &mut impl Iterator<Item = &'a [u8]>,
        longest: usize,
        buffers: &Buffers,
        done: &mut (u64, u64),
    ) -> Option<&'a [u8]> {
        let (ring, buffers) = (self.ring, *buffers);
        let (first, tail) = (self.head(), self.tail());
        // SAFETY: from `head` up to `tail`, slots are ours until `publish`, and the ring lives as long as we. If `more` uses
        // this socket they may become the kernel's: that is noticed below, before another one is looked at.
        let slots = unsafe { ring.slots(first, ring.run(first, tail)) };
        let place = |slot: &SlotCell| buffers.place(slot.buf_idx());
        let (mut n, mut bytes) = (0, 0);
        let mut to = slots.first().and_then(place);
        let left = loop {
            let Some(buffer) = to.filter(|_| packet.len() <= longest) else { break Some(packet) };
            // There is a slot, since it had a buffer.
            if let Some(slot) = slots.get(n) {
                slot.set_len(packet.len() as u16);
            }
            n += 1;
            bytes += packet.len() as u64;
            // The next buffer is on its way to the cache while this one is filled.
            to = slots.get(n).and_then(place);
            if let Some(next) = to {
                prefetch(next, packet.len());
            }
            // SAFETY: the buffer is that of a slot of ours, and the packet is no longer than a frame.
            unsafe { buffer.as_ptr().copy_from_nonoverlapping(packet.as_ptr(), packet.len()) };
            let at = first + n as u32;
            let ends = ends(if to.is_some() { at } else { ring.wrap(at) }, tail);
            self.ends.set(ends);
            match more.next() {
                Some(next) if self.ends.get() == ends => packet = next,
                left => break left,
            }
        };
        done.0 += n as u64;
        done.1 += bytes;
        left
    }

    /// Puts a token's frame into the next slot and the slot's buffer into the pool. The token comes back if the packet
    /// does not begin where its frame does, or the slot holds no buffer.
    ///
    /// # Safety
    ///
    /// The ring [has room](Self::has_room), and the token is of the context's pool, whose frames are `buffers`.
    #[inline(always)]
    pub(super) unsafe fn exchange(&self, token: Token, ctx: &PoolContext, buffers: &Buffers) -> Result<u32, Token> {
        let at = self.head();
        // SAFETY: there is room, so the slot is ours.
        let old = unsafe { self.ring.slot(at) };
        if !buffers.hold(Slot { len: 0, ..old }) {
            return Err(token);
        }
        let (frame, len) = ctx.pool().take_apart(token)?;
        // SAFETY: as above. The frame is the ring's now, its old buffer ours.
        unsafe { self.ring.set_slot(at, Slot { buf_idx: frame, len: len as u16, flags: BUF_CHANGED }) };
        ctx.put_frame(old.buf_idx);
        self.set_head(self.ring.next(at));
        Ok(len)
    }

    /// Asks to hear when the last packet is sent: completions are otherwise reported now and then.
    pub(super) fn ask_for_report(&self) {
        let last = self.ring.prev(self.head());
        // SAFETY: called with packets the kernel has not seen, so the slot before `head` is ours.
        unsafe {
            let slot = self.ring.slot(last);
            self.ring.set_slot(last, Slot { flags: slot.flags | REPORT, ..slot });
        }
    }

    /// Shows the kernel what there is to send.
    #[inline]
    pub(super) fn publish(&self) {
        self.ring.set_head(self.head());
    }

    /// Takes note of what a sync achieved. Returns how many packets the kernel refused: it then resets `head`.
    pub(super) fn refresh(&self) -> u32 {
        let (head, tail, slots) = (self.ring.head(), self.ring.tail(), self.ring.num_slots());
        let head = if head < slots { head } else { 0 };
        let refused = self.ring.distance(head, self.head());
        self.ends.set(ends(head, if tail < slots { tail } else { head }));
        self.synced.set(head);
        refused
    }
}
