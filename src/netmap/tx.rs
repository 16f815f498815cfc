//! Sending: a packet is copied into the buffer of a slot, or its own buffer is exchanged for the slot's.
#![allow(unsafe_code)]

use super::buffers::Buffers;
use super::ring::Ring;
use super::sys::{BUF_CHANGED, REPORT, Slot};
use crate::api::Token;
use crate::pool::PoolContext;
use std::cell::Cell;

/// One transmit ring. Cursors are kept here and published to shared memory by [`publish`](Self::publish).
#[derive(Debug)]
pub(super) struct Tx {
    ring: Ring,
    queue: u32,
    /// First free slot.
    head: Cell<u32>,
    /// First slot that is not ours.
    tail: Cell<u32>,
    /// `head` when the kernel last looked.
    synced: Cell<u32>,
}

impl Tx {
    pub(super) fn new(queue: u32, ring: Ring) -> Self {
        let (head, tail) = (ring.head(), ring.tail());
        Self { ring, queue, head: Cell::new(head), tail: Cell::new(tail), synced: Cell::new(head) }
    }

    pub(super) fn queue(&self) -> u32 {
        self.queue
    }

    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.head.get() != self.tail.get()
    }

    /// Packets that the kernel has not been told of.
    #[inline]
    pub(super) fn unsent(&self) -> u32 {
        self.ring.distance(self.synced.get(), self.head.get())
    }

    /// Packets whose slots have not come back.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        self.ring.num_slots() - 1 - self.ring.distance(self.head.get(), self.tail.get())
    }

    /// Copies a packet into the next slot. False if the slot holds no buffer; nothing is sent then.
    ///
    /// # Safety
    ///
    /// The ring [has room](Self::has_room), and the packet is not longer than a buffer.
    #[inline(always)]
    pub(super) unsafe fn copy(&self, packet: &[u8], buffers: &Buffers) -> bool {
        let at = self.head.get();
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
        self.head.set(self.ring.next(at));
        true
    }

    /// Copies packets into slots: `packet`, and what `more` gives, until the ring is full or one cannot be taken. Counts
    /// them and their bytes in `done`, and returns the packet that was not taken.
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
        let (first, tail) = (self.head.get(), self.tail.get());
        let mut at = first;
        let left = loop {
            if at == tail || packet.len() > longest {
                break Some(packet);
            }
            // SAFETY: before `tail`, the slot is ours.
            let slot = unsafe { ring.slot(at) };
            if !buffers.exist(slot.buf_idx) {
                break Some(packet);
            }
            done.1 += packet.len() as u64;
            // SAFETY: the buffer exists and is this slot's; the packet is no longer than a frame.
            unsafe {
                ring.set_slot(at, Slot { len: packet.len() as u16, flags: 0, ..slot });
                at = ring.next(at);
                buffers.fill(slot.buf_idx, packet);
            }
            match more.next() {
                Some(next) => packet = next,
                None => break None,
            }
        };
        self.head.set(at);
        done.0 += u64::from(ring.distance(first, at));
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
        let at = self.head.get();
        // SAFETY: there is room, so the slot is ours.
        let old = unsafe { self.ring.slot(at) };
        if !buffers.hold(Slot { len: 0, ..old }) {
            return Err(token);
        }
        let (frame, len) = ctx.pool().take_apart(token)?;
        // SAFETY: as above. The frame is the ring's now, its old buffer ours.
        unsafe { self.ring.set_slot(at, Slot { buf_idx: frame, len: len as u16, flags: BUF_CHANGED }) };
        ctx.put_frame(old.buf_idx);
        self.head.set(self.ring.next(at));
        Ok(len)
    }

    /// Asks to hear when the last packet is sent: completions are otherwise reported now and then.
    pub(super) fn ask_for_report(&self) {
        let last = self.ring.prev(self.head.get());
        // SAFETY: called with packets the kernel has not seen, so the slot before `head` is ours.
        unsafe {
            let slot = self.ring.slot(last);
            self.ring.set_slot(last, Slot { flags: slot.flags | REPORT, ..slot });
        }
    }

    /// Shows the kernel what there is to send.
    #[inline]
    pub(super) fn publish(&self) {
        self.ring.set_head(self.head.get());
    }

    /// Takes note of what a sync achieved. Returns how many packets the kernel refused: it then resets `head`.
    pub(super) fn refresh(&self) -> u32 {
        let (head, tail, slots) = (self.ring.head(), self.ring.tail(), self.ring.num_slots());
        let head = if head < slots { head } else { 0 };
        let refused = self.ring.distance(head, self.head.get());
        self.head.set(head);
        self.tail.set(if tail < slots { tail } else { head });
        self.synced.set(head);
        refused
    }
}
