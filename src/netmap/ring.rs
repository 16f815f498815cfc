//! A ring in shared memory.
//!
//! ```text
//!            head            tail
//!              ▼               ▼
//!   | kernel's | ours ........ | kernel's |        rx: ours = packets received, not yet given back
//!              └──▶ we advance └──▶ a sync advances    tx: ours = room for packets
//! ```
//!
//! Slots from `head` up to `tail` are ours and nobody else touches them; all others are the kernel's. A slot that is ours
//! holds one buffer, whose index we may exchange for that of another buffer of the same memory.
#![allow(unsafe_code)]

use super::sys::{NetmapRing, NetmapSlot, Slot};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

/// A slot, for who has it by the protocol: see [`Ring::slots`].
#[repr(transparent)]
pub(super) struct SlotCell(UnsafeCell<NetmapSlot>);

impl SlotCell {
    #[inline(always)]
    pub(super) fn get(&self) -> Slot {
        // One load, not three. SAFETY: slots are 16 bytes on multiples of 8; whoever has the cell uses it while the slot is
        // his, so that nobody writes it meanwhile; a slot is eight bytes without padding, and any bytes are one.
        unsafe { std::mem::transmute::<u64, Slot>(self.0.get().cast::<u64>().read()) }
    }

    #[inline(always)]
    pub(super) fn set(&self, slot: Slot) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.0.get()).slot).write(slot) }
    }

    /// The index of its buffer.
    #[inline(always)]
    pub(super) fn buf_idx(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0.get()).slot.buf_idx).read() }
    }

    /// Makes it say that its buffer holds a packet of `len` bytes, and no flag.
    #[inline(always)]
    pub(super) fn set_len(&self, len: u16) {
        // Length and flags, 16 bits each, are the slot's second four bytes: one store, not two.
        // SAFETY: as above.
        unsafe {
            self.0.get().cast::<[u16; 2]>().add(1).cast::<u32>().write(std::mem::transmute::<[u16; 2], u32>([len, 0]))
        }
    }
}

/// A handle on a ring. Copies lead to the same ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    ring: NonNull<NetmapRing>,
    slots: NonNull<NetmapSlot>,
    num_slots: u32,
}

// SAFETY: an address in shared memory; `new` vouches that it stays valid. Who may touch which slot is decided by the
// protocol above, on both sides.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// # Safety
    ///
    /// `ring` is a `netmap_ring` followed by `num_slots` slots, all inside memory that outlives every copy of the handle.
    pub(super) unsafe fn new(ring: NonNull<NetmapRing>, num_slots: u32) -> Self {
        // SAFETY: the slots follow the ring, as the caller vouches.
        let slots = unsafe { ring.add(1) }.cast();
        Self { ring, slots, num_slots }
    }

    /// Where it is.
    pub(super) fn address(&self) -> *mut u8 {
        self.ring.as_ptr().cast()
    }

    /// Whether both lead to the same ring.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.ring == other.ring
    }

    #[inline(always)]
    pub(super) fn num_slots(&self) -> u32 {
        self.num_slots
    }

    /// The slot after `at`.
    #[inline(always)]
    pub(super) fn next(&self, at: u32) -> u32 {
        self.wrap(at + 1)
    }

    /// The slot at `at`, or the first one if `at` is behind the last one.
    #[inline(always)]
    pub(super) fn wrap(&self, at: u32) -> u32 {
        if at == self.num_slots { 0 } else { at }
    }

    /// The slot before `at`.
    #[inline]
    pub(super) fn prev(&self, at: u32) -> u32 {
        if at == 0 { self.num_slots - 1 } else { at - 1 }
    }

    /// How many slots lie from `from` up to `to`, or up to the last one if `to` comes after it.
    #[inline(always)]
    pub(super) fn run(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { self.num_slots - from }
    }

    /// How many slots lie from `from` up to `to`.
    #[inline]
    pub(super) fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + self.num_slots - from }
    }

    // The cursors are read and written volatile: the kernel may move `tail` whenever somebody polls the descriptor.

    #[inline]
    pub(super) fn head(&self) -> u32 {
        // SAFETY: `new` vouches for the ring.
        unsafe { (&raw const (*self.ring.as_ptr()).head).read_volatile() }
    }

    #[inline]
    pub(super) fn cur(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.ring.as_ptr()).cur).read_volatile() }
    }

    #[inline]
    pub(super) fn tail(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.ring.as_ptr()).tail).read_volatile() }
    }

    /// Gives slots up to `head` to the kernel, and asks to be woken when `tail` moves past it.
    #[inline]
    pub(super) fn set_head(&self, head: u32) {
        // SAFETY: as above; these two are the program's to write.
        unsafe {
            (&raw mut (*self.ring.as_ptr()).cur).write_volatile(head);
            (&raw mut (*self.ring.as_ptr()).head).write_volatile(head);
        }
    }

    /// For the kernel's side, that is, the emulation.
    #[inline]
    pub(super) fn set_tail(&self, tail: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.ring.as_ptr()).tail).write_volatile(tail) }
    }

    pub(super) fn buf_ofs(&self) -> i64 {
        // SAFETY: as above; constant after registration.
        unsafe { (*self.ring.as_ptr()).buf_ofs }
    }

    pub(super) fn buf_size(&self) -> u32 {
        // SAFETY: as above; constant after registration.
        unsafe { (*self.ring.as_ptr()).buf_size }
    }

    pub(super) fn flags(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.ring.as_ptr()).flags).read_volatile() }
    }

    pub(super) fn set_flags(&self, flags: u32) {
        // SAFETY: as above; the program's to write.
        unsafe { (&raw mut (*self.ring.as_ptr()).flags).write_volatile(flags) }
    }

    /// When the last sync was.
    #[inline]
    pub(super) fn timestamp(&self) -> libc::timeval {
        // SAFETY: as above.
        unsafe { (&raw const (*self.ring.as_ptr()).ts).read_volatile() }
    }

    pub(super) fn set_timestamp(&self, ts: libc::timeval) {
        // SAFETY: as above; called by the emulation's side of a sync.
        unsafe { (&raw mut (*self.ring.as_ptr()).ts).write_volatile(ts) }
    }

    /// # Safety
    ///
    /// `at` is below [`num_slots`](Self::num_slots), and the slot is the caller's by the protocol.
    #[inline(always)]
    pub(super) unsafe fn slot(&self, at: u32) -> Slot {
        debug_assert!(at < self.num_slots);
        // SAFETY: inside the ring, as the caller vouches, and his.
        unsafe { (*self.slots.as_ptr().add(at as usize).cast::<SlotCell>()).get() }
    }

    /// Slots that follow one another in memory.
    ///
    /// # Safety
    ///
    /// `from + n` is at most [`num_slots`](Self::num_slots); a cell is used only while its slot is the caller's by the
    /// protocol and the ring's memory is there.
    #[inline(always)]
    pub(super) unsafe fn slots<'a>(&self, from: u32, n: u32) -> &'a [SlotCell] {
        debug_assert!(from + n <= self.num_slots);
        // SAFETY: inside the ring and aligned, as `new` and the caller vouch; cells may be written by others.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().add(from as usize).cast(), n as usize) }
    }

    /// # Safety
    ///
    /// As [`slot`](Self::slot).
    #[inline(always)]
    pub(super) unsafe fn set_slot(&self, at: u32, slot: Slot) {
        debug_assert!(at < self.num_slots);
        // SAFETY: as above.
        unsafe { (*self.slots.as_ptr().add(at as usize).cast::<SlotCell>()).set(slot) }
    }
}
