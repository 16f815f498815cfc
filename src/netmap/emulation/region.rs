//! The memory of a port, or of several that share it: `netmap_if` objects, rings, buffers, as in the kernel's allocator.
//!
//! ```text
//!   | if 0 | if 1 | … | ring 0 | ring 1 | … | buffer 0 | buffer 1 | … |
//! ```
#![allow(unsafe_code)]

use crate::netmap::ring::Ring;
use crate::netmap::sys::{FIRST_BUFFER, Mapping, NetmapIf, NetmapRing, Slot};
use std::io;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

const IFS: usize = 64;
const IF_SIZE: usize = 1024;
const RINGS: usize = 128;
/// As in the kernel: 2288 slots.
const RING_SIZE: usize = 36_864;
const BUFFERS: u32 = 65_536;
pub(super) const BUFFER_SIZE: usize = 2048;

/// The most slots a ring object has room for.
pub(super) const MAX_SLOTS: u32 = ((RING_SIZE - size_of::<NetmapRing>()) / 16) as u32;
/// The most rings a `netmap_if` object has room for, host rings included.
pub(super) const MAX_RINGS: usize = (IF_SIZE - size_of::<NetmapIf>()) / size_of::<isize>();

const RINGS_AT: usize = IFS * IF_SIZE;
const BUFFERS_AT: usize = RINGS_AT + RINGS * RING_SIZE;
const SIZE: usize = BUFFERS_AT + BUFFERS as usize * BUFFER_SIZE;

/// Which objects of one kind are free.
#[derive(Debug)]
struct Free {
    list: Vec<u32>,
    used: Vec<bool>,
}

impl Free {
    fn new(from: u32, to: u32) -> Self {
        Self { list: (from..to).rev().collect(), used: vec![false; to as usize] }
    }

    fn take(&mut self) -> Option<u32> {
        let n = self.list.pop()?;
        self.used[n as usize] = true;
        Some(n)
    }

    /// False if the object was not in use.
    fn put(&mut self, n: u32) -> bool {
        match self.used.get_mut(n as usize) {
            Some(used) if *used => {
                *used = false;
                self.list.push(n);
                true
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Objects {
    ifs: Free,
    rings: Free,
    buffers: Free,
    /// Buffers that were given back although they were free, or do not exist.
    wrong: u32,
}

#[derive(Debug)]
pub(in crate::netmap) struct Region {
    id: u16,
    memory: std::sync::Arc<Mapping>,
    objects: Mutex<Objects>,
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

impl Region {
    pub(super) fn new(id: u16) -> io::Result<Self> {
        Ok(Self {
            id,
            memory: std::sync::Arc::new(Mapping::anonymous(SIZE)?),
            objects: Mutex::new(Objects {
                ifs: Free::new(0, IFS as u32),
                rings: Free::new(0, RINGS as u32),
                buffers: Free::new(FIRST_BUFFER, BUFFERS),
                wrong: 0,
            }),
        })
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    pub(super) fn memory(&self) -> &Mapping {
        &self.memory
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buffers in use, and buffers that were given back wrongly: both 0 once every port is closed.
    #[cfg(test)]
    pub(in crate::netmap) fn audit(&self) -> (usize, u32) {
        let objects = self.objects();
        ((BUFFERS - FIRST_BUFFER) as usize - objects.buffers.list.len(), objects.wrong)
    }

    fn at<T>(&self, offset: usize) -> NonNull<T> {
        debug_assert!(offset + size_of::<T>() <= SIZE);
        // SAFETY: every offset handed in is that of an object of the layout above.
        unsafe { self.memory.base().add(offset) }.cast()
    }

    /// The first byte of a buffer that exists.
    fn buffer(&self, index: u32) -> NonNull<u8> {
        self.at(BUFFERS_AT + index as usize * BUFFER_SIZE)
    }

    /// Whether a program may put this buffer into a slot with a packet of this length.
    #[inline]
    pub(super) fn valid(&self, slot: Slot) -> bool {
        slot.buf_idx >= FIRST_BUFFER && slot.buf_idx < BUFFERS && usize::from(slot.len) <= BUFFER_SIZE
    }

    /// Makes a ring, with buffers in its slots if `filled`.
    pub(super) fn ring(&self, slots: u32, ringid: u16, dir: u16, filled: bool) -> io::Result<Ring> {
        if !(2..=MAX_SLOTS).contains(&slots) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut objects = self.objects();
        if filled && objects.buffers.list.len() < slots as usize {
            return Err(full());
        }
        let number = objects.rings.take().ok_or_else(full)?;
        let offset = RINGS_AT + number as usize * RING_SIZE;
        let at: NonNull<NetmapRing> = self.at(offset);
        // SAFETY: the object was free, so nobody else refers to it; it lies inside the memory and has room for that many
        // slots; zeroes are a valid ring.
        let ring = unsafe {
            at.cast::<u8>().write_bytes(0, RING_SIZE);
            let ring = &mut *at.as_ptr();
            ring.buf_ofs = (BUFFERS_AT - offset) as i64;
            ring.num_slots = slots;
            ring.buf_size = BUFFER_SIZE as u32;
            ring.ringid = ringid;
            ring.dir = dir;
            Ring::new(at, slots)
        };
        for at in (0..slots).filter(|_| filled) {
            let buf_idx = objects.buffers.take().ok_or_else(full)?;
            // SAFETY: as above.
            unsafe { ring.set_slot(at, Slot { buf_idx, len: 0, flags: 0 }) };
        }
        Ok(ring)
    }

    /// Where in the memory a ring is.
    fn offset(&self, ring: &Ring) -> usize {
        (BUFFERS_AT as i64 - ring.buf_ofs()) as usize
    }

    /// Takes a ring back; its buffers have been taken out.
    pub(super) fn free_ring(&self, ring: &Ring) {
        let number = (self.offset(ring) - RINGS_AT) / RING_SIZE;
        self.objects().rings.put(number as u32);
    }

    /// Takes back the buffers in `count` slots from `from` on.
    pub(super) fn free_slots(&self, ring: &Ring, from: u32, count: u32) {
        let mut objects = self.objects();
        let mut at = from;
        for _ in 0..count {
            // SAFETY: the ring is being torn down: nobody else refers to its slots.
            let index = unsafe { ring.slot(at) }.buf_idx;
            if !objects.buffers.put(index) {
                objects.wrong += 1;
            }
            at = ring.next(at);
        }
    }

    /// Makes the `netmap_if` of a registration and returns its offset: `rings` in the order of `ring_ofs`, those that do
    /// not belong to it `None`.
    pub(super) fn describe(&self, counts: [u32; 4], rings: &[Option<Ring>]) -> io::Result<usize> {
        let number = self.objects().ifs.take().ok_or_else(full)?;
        let offset = number as usize * IF_SIZE;
        let at: NonNull<NetmapIf> = self.at(offset);
        let [tx_rings, rx_rings, host_tx_rings, host_rx_rings] = counts;
        // SAFETY: as in `ring`; `rings` are at most MAX_RINGS, for which the object has room.
        unsafe {
            at.cast::<u8>().write_bytes(0, IF_SIZE);
            let nifp = &mut *at.as_ptr();
            (nifp.tx_rings, nifp.rx_rings) = (tx_rings, rx_rings);
            (nifp.host_tx_rings, nifp.host_rx_rings) = (host_tx_rings, host_rx_rings);
            let offsets = at.add(1).cast::<isize>();
            for (i, ring) in rings.iter().take(MAX_RINGS).enumerate() {
                let to = ring.as_ref().map_or(0, |ring| self.offset(ring) as isize - offset as isize);
                offsets.add(i).write(to);
            }
        }
        Ok(offset)
    }

    /// Allocates up to `wanted` extra buffers into the list of a `netmap_if`; returns how many.
    pub(super) fn lend(&self, nifp: usize, wanted: u32) -> u32 {
        let mut objects = self.objects();
        let mut head = 0;
        let mut got = 0;
        while got < wanted {
            let Some(index) = objects.buffers.take() else { break };
            // SAFETY: the buffer was free: nobody else refers to it.
            unsafe { self.buffer(index).cast::<u32>().write(head) };
            head = index;
            got += 1;
        }
        // SAFETY: the object is the caller's, who is still registering.
        unsafe { (*self.at::<NetmapIf>(nifp).as_ptr()).bufs_head = head };
        got
    }

    /// Takes back a `netmap_if` and the buffers in its list, as the kernel does when a port is closed.
    pub(super) fn forget(&self, nifp: usize) {
        let mut objects = self.objects();
        // SAFETY: the port is closed: nobody else refers to the object.
        let mut next = unsafe { (*self.at::<NetmapIf>(nifp).as_ptr()).bufs_head };
        while (FIRST_BUFFER..BUFFERS).contains(&next) {
            // SAFETY: the index is in range; a program that puts a buffer into the list has given it up.
            let after = unsafe { self.buffer(next).cast::<u32>().read() };
            if !objects.buffers.put(next) {
                break;
            }
            next = after;
        }
        if next != 0 {
            objects.wrong += 1;
        }
        objects.ifs.put((nifp / IF_SIZE) as u32);
    }

    /// Copies a packet's fragment from a buffer of `from` into one of ours.
    pub(super) fn copy(&self, into: u32, from: &Region, slot: Slot) {
        let (from, len) = (from.buffer(slot.buf_idx), usize::from(slot.len));
        // SAFETY: callers checked both indices and the length with `valid`; the buffers are in slots that belong to the
        // kernel's side now, so no program refers to them; different slots hold different buffers, and if a program
        // cheated, `copy` tolerates the overlap.
        unsafe { self.buffer(into).copy_from(from, len) };
    }

    /// The two addresses at a packet's front: destination, source. `None` if it has none.
    pub(super) fn addresses(&self, slot: Slot) -> Option<([u8; 6], [u8; 6])> {
        if slot.len < 14 {
            return None;
        }
        // SAFETY: as in `copy`; six bytes each, inside the buffer.
        unsafe {
            let at = self.buffer(slot.buf_idx);
            Some((at.cast::<[u8; 6]>().read(), at.add(6).cast::<[u8; 6]>().read()))
        }
    }
}
