//! The four rings between a socket and the kernel: one producer, one consumer, a power of two of slots.
//!
//! ```text
//!   producer cursor: slots written so far      consumer cursor: slots read so far      (u32, wrapping)
//!                      slot i of the ring is  slots[i & mask]
//!
//!   fill, tx           we are the Producer     the kernel consumes
//!   rx, completion     the kernel produces     we are the Consumer
//! ```
//!
//! Each side keeps a private copy of its own cursor and of what it last saw of the other's. The other cursor is loaded
//! (Acquire) only when the private copy says there is nothing left; our own is stored (Release) once per batch. What a
//! slot held is therefore read after the producer wrote it, and written after the consumer read it.
#![allow(unsafe_code)]

use super::mmap::Mapping;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// What keeps a ring's memory in place.
#[derive(Debug)]
enum Keep {
    Mapped(#[expect(dead_code, reason = "held for its Drop")] Mapping),
    #[cfg(test)]
    Double(#[expect(dead_code, reason = "held for its Drop")] std::sync::Arc<tests::Double>),
}

/// A ring's memory, and where things are in it.
#[derive(Debug)]
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    mask: u32,
    _keep: Keep,
    _slots: PhantomData<T>,
}

// SAFETY: the pointers lead into memory that `_keep` owns and that is not tied to a thread. A ring is used by one
// thread at a time on our side (its users hold `Cell`s, so they are not `Sync`).
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// A ring of `size` slots (a power of two) in a mapping.
    fn mapped(mapping: Mapping, at: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        let within = |offset: u64, bytes: usize| {
            usize::try_from(offset).ok().filter(|o| o.checked_add(bytes).is_some_and(|end| end <= mapping.len()))
        };
        let cursor = |offset| within(offset, size_of::<AtomicU32>());
        let slots = within(at.desc, size as usize * size_of::<T>());
        let (Some(producer), Some(consumer), Some(flags), Some(slots), true) =
            (cursor(at.producer), cursor(at.consumer), cursor(at.flags), slots, size.is_power_of_two())
        else {
            return Err(io::Error::other(format!("the kernel's ring layout does not fit its mapping: {at:?}")));
        };
        let base = mapping.base();
        // SAFETY: all four offsets were just checked to lie within the mapping, and so do the objects behind them.
        let (producer, consumer, flags, slots) = unsafe {
            (base.add(producer).cast(), base.add(consumer).cast(), base.add(flags).cast(), base.add(slots).cast())
        };
        Ok(Self { producer, consumer, flags, slots, mask: size - 1, _keep: Keep::Mapped(mapping), _slots: PhantomData })
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points into memory that `_keep` holds; aligned, and only ever accessed as an atomic.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn size(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    #[inline]
    fn slot(&self, cursor: u32) -> NonNull<T> {
        // SAFETY: masked, so within the `size` slots that the constructor checked to be there.
        unsafe { self.slots.add((cursor & self.mask) as usize) }
    }

    /// How many slots lie in one piece from this one on, before the ring's end.
    #[inline(always)]
    fn run(&self, cursor: u32) -> usize {
        (self.size() - (cursor & self.mask)) as usize
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        let flags = unsafe { self.flags.as_ref() };
        let asked = || flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0;
        if asked() {
            return true;
        }
        // The kernel sets the flag, looks at our cursor once more and sleeps. Without this fence our cursor might still
        // be in the store buffer while we read a flag not yet set, and nobody would wake anybody.
        fence(Ordering::SeqCst);
        asked()
    }
}

/// Our end of a ring that the kernel reads: fill, tx.
#[derive(Debug)]
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// The next slot we write. Ahead of the shared cursor until [`publish`](Self::publish).
    tail: Cell<u32>,
    /// The slot that the kernel has not yet freed, as last seen: consumer + size.
    limit: Cell<u32>,
}

impl<T: Copy> Producer<T> {
    /// The producing end of a mapped ring that nobody has used yet.
    pub(super) fn mapped(mapping: Mapping, at: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        Ok(Self::over(Ring::mapped(mapping, at, size)?))
    }

    fn over(ring: Ring<T>) -> Self {
        let tail = ring.producer().load(Ordering::Relaxed);
        let limit = ring.consumer().load(Ordering::Acquire).wrapping_add(ring.size());
        Self { ring, tail: Cell::new(tail), limit: Cell::new(limit) }
    }

    /// Slots that can be written, as far as known without asking.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        self.limit.get().wrapping_sub(self.tail.get())
    }

    /// Looks what the kernel has read meanwhile; the slots that can be written.
    #[inline]
    pub(super) fn refresh(&self) -> u32 {
        self.limit.set(self.ring.consumer().load(Ordering::Acquire).wrapping_add(self.ring.size()));
        self.room()
    }

    /// Whether `n` slots can be written.
    #[inline]
    pub(super) fn has_room(&self, n: u32) -> bool {
        self.room() >= n || self.refresh() >= n
    }

    /// The next slot, if there is one as far as [`room`](Self::room) knows.
    #[inline(always)]
    pub(super) fn slot(&self) -> Option<Slot<'_, T>> {
        let tail = self.tail.get();
        if tail == self.limit.get() { None } else { Some(Slot { producer: self, tail }) }
    }

    /// Writes the next slot. False if the ring is full as far as [`room`](Self::room) knows.
    #[inline(always)]
    #[must_use]
    pub(super) fn push(&self, value: T) -> bool {
        self.slot().map(|slot| slot.write(value)).is_some()
    }

    /// Writes slots, up to `max`: `fill` gets a run of them and returns how many it wrote, from the front. Ends when it
    /// wrote less than it could have. Returns how many were written; at most what there is [`room`](Self::room) for.
    #[inline(always)]
    pub(super) fn write_runs(&self, max: usize, mut fill: impl FnMut(&mut [MaybeUninit<T>]) -> usize) -> usize {
        let mut written = 0;
        loop {
            let tail = self.tail.get();
            let run = self.ring.run(tail).min(self.room() as usize).min(max - written);
            if run == 0 {
                return written;
            }
            // SAFETY: `run` slots from here are within the ring, and the kernel has read what was in them (`limit` was
            // loaded with Acquire) and does not look at them until `publish`, which needs `self`.
            let slots = unsafe { std::slice::from_raw_parts_mut(self.ring.slot(tail).as_ptr().cast(), run) };
            let n = fill(slots).min(run);
            self.tail.set(tail.wrapping_add(n as u32));
            written += n;
            if n < run {
                return written;
            }
        }
    }

    /// Lets the kernel see what was written.
    #[inline]
    pub(super) fn publish(&self) {
        self.ring.producer().store(self.tail.get(), Ordering::Release);
    }

    /// Slots written that the kernel has not read yet, published or not.
    #[inline]
    pub(super) fn unread(&self) -> u32 {
        self.ring.size() - self.refresh().min(self.ring.size())
    }

    /// Whether the kernel asks to be woken when something was published.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }

    /// Slots of the ring.
    pub(super) fn size(&self) -> u32 {
        self.ring.size()
    }
}

/// A slot that is free to be written.
#[derive(Debug)]
pub(super) struct Slot<'a, T> {
    producer: &'a Producer<T>,
    tail: u32,
}

impl<T: Copy> Slot<'_, T> {
    /// Writes it, unseen by the kernel until [`Producer::publish`].
    #[inline(always)]
    pub(super) fn write(self, value: T) {
        // SAFETY: within the ring; the kernel reads the slot only after `publish`, and has read what was there before,
        // because `limit` was loaded with Acquire. Our side is one thread (`Cell`).
        unsafe { self.producer.ring.slot(self.tail).write(value) };
        self.producer.tail.set(self.tail.wrapping_add(1));
    }
}

/// Our end of a ring that the kernel writes: rx, completion.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// The next slot we read. Ahead of the shared cursor until [`publish`](Self::publish).
    head: Cell<u32>,
    /// The kernel's cursor as last seen.
    seen: Cell<u32>,
}

impl<T: Copy> Consumer<T> {
    /// The consuming end of a mapped ring that nobody has used yet.
    pub(super) fn mapped(mapping: Mapping, at: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        Ok(Self::over(Ring::mapped(mapping, at, size)?))
    }

    fn over(ring: Ring<T>) -> Self {
        let head = ring.consumer().load(Ordering::Relaxed);
        let seen = ring.producer().load(Ordering::Acquire);
        Self { ring, head: Cell::new(head), seen: Cell::new(seen) }
    }

    /// Slots that can be read; asks the kernel's cursor only if none is known.
    #[inline]
    pub(super) fn available(&self) -> u32 {
        if self.known() != 0 { self.known() } else { self.refresh() }
    }

    /// Slots that can be read, as far as known without asking.
    #[inline(always)]
    pub(super) fn known(&self) -> u32 {
        self.seen.get().wrapping_sub(self.head.get())
    }

    /// Looks what the kernel has written meanwhile; the slots that can be read.
    #[inline]
    pub(super) fn refresh(&self) -> u32 {
        self.seen.set(self.ring.producer().load(Ordering::Acquire));
        self.seen.get().wrapping_sub(self.head.get())
    }

    /// Takes the next slot, if one is known of ([`available`](Self::available)). Its place is the kernel's again after
    /// [`publish`](Self::publish).
    #[inline]
    pub(super) fn pop(&self) -> Option<T> {
        let head = self.head.get();
        if head == self.seen.get() {
            return None;
        }
        // SAFETY: `slot` is within the ring; the kernel wrote it before it moved its cursor past it, which we loaded
        // with Acquire, and does not write it again until `publish`.
        let value = unsafe { self.ring.slot(head).read() };
        self.head.set(head.wrapping_add(1));
        Some(value)
    }

    /// Takes slots that are known of, up to `max`, as long as `accept` says yes; the one that it refuses is not taken.
    /// Returns how many were. `accept` must not use this ring. Reads whole runs of memory, with one look at the shared
    /// state for all of them.
    #[inline(always)]
    pub(super) fn pop_while(&self, max: usize, mut accept: impl FnMut(T) -> bool) -> usize {
        let mut taken = 0;
        loop {
            let head = self.head.get();
            let known = self.seen.get().wrapping_sub(head) as usize;
            let run = self.ring.run(head).min(known).min(max - taken);
            // SAFETY: `run` slots from here are within the ring; the kernel wrote them before it moved its cursor past
            // them, which we loaded with Acquire, and does not write them again until `publish`, which needs `self`.
            let slots = unsafe { std::slice::from_raw_parts(self.ring.slot(head).as_ptr(), run) };
            let accepted = slots.iter().position(|slot| !accept(*slot)).unwrap_or(run);
            self.head.set(head.wrapping_add(accepted as u32));
            taken += accepted;
            if accepted < run || run == 0 {
                return taken;
            }
        }
    }

    /// The slots that are known of, up to `max`, as far as they lie in one piece.
    ///
    /// # Safety
    ///
    /// While the slice is looked at, nothing is given back to the kernel ([`publish`](Self::publish)) that was taken out
    /// of it ([`skip`](Self::skip)).
    #[inline(always)]
    pub(super) unsafe fn peek(&self, max: usize) -> &[T] {
        let head = self.head.get();
        let run = self.ring.run(head).min(self.known() as usize).min(max);
        // SAFETY: `run` slots from here are within the ring; the kernel wrote them before it moved its cursor past them,
        // which we loaded with Acquire, and does not write them again before `publish`, as the caller vouches.
        unsafe { std::slice::from_raw_parts(self.ring.slot(head).as_ptr(), run) }
    }

    /// Takes one slot that was looked at.
    #[inline(always)]
    pub(super) fn skip(&self) {
        debug_assert!(self.known() != 0);
        self.head.set(self.head.get().wrapping_add(1));
    }

    /// The slot that is read next.
    #[inline(always)]
    pub(super) fn head(&self) -> u32 {
        self.head.get()
    }

    /// Gives the slots that were read back to the kernel.
    #[inline]
    pub(super) fn publish(&self) {
        self.ring.consumer().store(self.head.get(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
