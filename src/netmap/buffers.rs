//! The buffers of a memory, by their indices.
#![allow(unsafe_code)]

use super::sys::{FIRST_BUFFER, Slot};
use std::ptr::NonNull;

/// Where buffers are. Whoever has one keeps the memory alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffers {
    base: NonNull<u8>,
    size: u32,
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
        Self { base, size, usable: total.saturating_sub(FIRST_BUFFER) }
    }

    /// Whether a slot names a buffer that exists and a length that fits it.
    #[inline(always)]
    pub(super) fn hold(&self, slot: Slot) -> bool {
        self.exist(slot.buf_idx) && u32::from(slot.len) <= self.size
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
