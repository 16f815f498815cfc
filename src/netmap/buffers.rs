//! The buffers of a memory, by their indices.
#![allow(unsafe_code)]

use super::sys::{FIRST_BUFFER, MOREFRAG, Slot};
use std::ptr::NonNull;

/// Cache lines of a buffer that are asked for before it is filled.
const LINES: usize = 8;

/// Asks for the first lines of a buffer that a packet of `len` bytes will soon be copied into. Of a long packet the processor
/// fetches the others by itself, once it sees the first; for a short one asking costs more than it saves.
#[inline(always)]
pub(super) fn prefetch(buffer: NonNull<u8>, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len >= 64 * LINES {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in 0..LINES {
            // SAFETY: a hint; any address will do.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(buffer.as_ptr().wrapping_add(64 * line).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (buffer, len);
}

/// Where buffers are. Whoever has one keeps the memory alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffers {
    base: NonNull<u8>,
    size: u32,
    /// The longest packet that a slot can say and a buffer holds.
    longest: u32,
    /// Buffers a slot may name, less the first two.
    usable: u32,
}

// SAFETY: an address and two numbers; who may touch which buffer is decided by the ring protocol and frame ownership.
unsafe impl Send for Buffers {}

impl Buffers {
    /// # Safety
    ///
    /// `total` buffers of `size` bytes lie behind `base`, in memory that outlives every copy of the handle.
    pub(super) unsafe fn new(base: NonNull<u8>, size: u32, total: u32) -> Self {
        Self { base, size, longest: size.min(u16::MAX.into()), usable: total.saturating_sub(FIRST_BUFFER) }
    }

    /// Whether a slot names a buffer that exists and a length that fits it.
    #[inline(always)]
    pub(super) fn hold(&self, slot: Slot) -> bool {
        self.exist(slot.buf_idx) && u32::from(slot.len) <= self.size
    }

    /// The length of the packet that a slot holds, if it holds a whole one in a buffer that exists.
    #[inline(always)]
    pub(super) fn whole(&self, slot: Slot) -> Option<u32> {
        // Above the length stands the flag that says that the packet goes on: one comparison for both.
        let len = u32::from(slot.flags & MOREFRAG) << 16 | u32::from(slot.len);
        (self.exist(slot.buf_idx) && len <= self.longest).then_some(len)
    }

    /// Whether there is a buffer of this index that a slot may name.
    #[inline(always)]
    pub(super) fn exist(&self, index: u32) -> bool {
        index.wrapping_sub(FIRST_BUFFER) < self.usable
    }

    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    #[inline(always)]
    fn at(&self, index: u32) -> *mut u8 {
        self.base.as_ptr().wrapping_add(index as usize * self.size as usize)
    }

    /// Copies a packet into a buffer.
    ///
    /// # Safety
    ///
    /// The index passed [`hold`](Self::hold), the buffer is the caller's alone, and the packet is not longer than it.
    #[inline(always)]
    pub(super) unsafe fn fill(&self, index: u32, packet: &[u8]) {
        // SAFETY: the buffer lies inside the memory and nothing else refers to it, as the caller vouches.
        unsafe { self.at(index).copy_from_nonoverlapping(packet.as_ptr(), packet.len()) }
    }

    /// Where the buffer of this index is, if there is one that a slot may name.
    #[inline(always)]
    pub(super) fn place(&self, index: u32) -> Option<NonNull<u8>> {
        // SAFETY: a buffer that exists lies inside the memory.
        self.exist(index).then(|| unsafe { self.base.add(index as usize * self.size as usize) })
    }

    /// Copies what a slot holds behind the first `offset` bytes of another buffer.
    ///
    /// # Safety
    ///
    /// Slot and index passed [`hold`](Self::hold), both buffers are the caller's alone and different, and the bytes fit.
    pub(super) unsafe fn append(&self, index: u32, offset: usize, slot: Slot) {
        // SAFETY: as in `fill`; `copy_from` tolerates a peer who put one buffer into two slots.
        unsafe { self.at(index).add(offset).copy_from(self.at(slot.buf_idx), usize::from(slot.len)) }
    }
}
