//! Where things are in the memory of a registered port. Everything that is found there is checked before it is used.
//!
//! ```text
//!   memory: … netmap_if ─ ring_ofs[ ] ─▶ netmap_ring … slots     buffers: | 0 | 1 | 2 | …
//!                │                          └ buf_ofs ──────────────────────▲
//!                └ bufs_head ─▶ extra buffer ─▶ next ─▶ … ─▶ 0     (a list through the buffers' first four bytes)
//!   ring_ofs: transmit rings, the host's transmit rings, receive rings, the host's receive rings
//! ```
#![allow(unsafe_code)]

use super::device::Device;
use super::error::Error;
use super::ring::Ring;
use super::sys::{self, FIRST_BUFFER, NetmapIf, NetmapRing, Register};
use std::ops::Range;
use std::ptr::NonNull;

/// A ring and its number among the rings of its kind.
pub(super) type Numbered = (u32, Ring);

/// A registered port and where its parts are.
#[derive(Debug)]
pub(super) struct Layout {
    nifp: usize,
    pub(super) tx: Vec<Numbered>,
    pub(super) rx: Vec<Numbered>,
    /// Offset of buffer 0.
    buffers: usize,
    /// Bytes of a buffer.
    pub(super) buf_size: u32,
    /// Buffers that there are.
    pub(super) total: u32,
    device: Box<dyn Device>,
}

impl Layout {
    /// Finds the rings of a registration.
    pub(super) fn find(device: Box<dyn Device>, port: &str) -> Result<Self, Error> {
        let bad = |what| Error::Layout { port: port.to_owned(), what };
        let answer = *device.answer();
        let nifp = usize::try_from(answer.offset).map_err(|_| bad("the offset of the netmap_if"))?;
        let len = device.memory().len();
        let fits = |at: usize, size: usize| at.is_multiple_of(8) && at.checked_add(size).is_some_and(|end| end <= len);
        if !fits(nifp, size_of::<NetmapIf>()) {
            return Err(bad("the offset of the netmap_if"));
        }
        // SAFETY: inside the mapping and aligned (just checked); the kernel wrote it before it answered.
        let counts = unsafe {
            let nifp = device.memory().base().add(nifp).cast::<NetmapIf>();
            [
                (*nifp.as_ptr()).tx_rings,
                (*nifp.as_ptr()).host_tx_rings,
                (*nifp.as_ptr()).rx_rings,
                (*nifp.as_ptr()).host_rx_rings,
            ]
        };
        let [tx, host_tx, rx, host_rx] = counts.map(|n| n as usize);
        if counts.iter().any(|n| *n > 0x1_0000) || !fits(nifp + 56, (tx + host_tx + rx + host_rx) * 8) {
            return Err(bad("the number of rings"));
        }
        let mut layout = Self { nifp, tx: Vec::new(), rx: Vec::new(), buffers: 0, buf_size: 0, total: 0, device };
        for (first, rings, host, sends) in [(0, tx, host_tx, true), (tx + host_tx, rx, host_rx, false)] {
            let other = if sends { rx } else { tx };
            let range = owned(&answer, rings, other, host).ok_or_else(|| bad("the ring of this registration"))?;
            for at in range {
                let ring = layout.ring(first + at).ok_or_else(|| bad("the place of a ring"))?;
                let number = if at >= rings { at - rings } else { at };
                if sends { &mut layout.tx } else { &mut layout.rx }.push((number as u32, ring));
            }
        }
        if layout.tx.is_empty() || layout.rx.is_empty() {
            return Err(bad("the number of rings"));
        }
        Ok(layout)
    }

    /// The ring at one place of `ring_ofs`. All rings must agree on the buffers.
    fn ring(&mut self, at: usize) -> Option<Ring> {
        let memory = self.device.memory();
        // SAFETY: `find` checked that the array lies inside the mapping.
        let offset = unsafe { memory.base().add(self.nifp + 56 + at * 8).cast::<isize>().read() };
        // 0 stands for a ring that this registration does not have.
        let start = self.nifp.checked_add_signed(offset).filter(|start| offset != 0 && start % 8 == 0)?;
        let slots_at = start.checked_add(size_of::<NetmapRing>()).filter(|end| *end <= memory.len())?;
        // SAFETY: the ring without its slots lies inside the mapping (just checked).
        let ring: NonNull<NetmapRing> = unsafe { memory.base().add(start) }.cast();
        // SAFETY: as above.
        let num_slots = unsafe { (*ring.as_ptr()).num_slots };
        if num_slots < 2 || (num_slots as usize).checked_mul(16)?.checked_add(slots_at)? > memory.len() {
            return None;
        }
        // SAFETY: the ring and its slots lie inside the mapping, which lives as long as the device, that is, as long as
        // `self`; whoever copies the handle keeps `self` alive.
        let ring = unsafe { Ring::new(ring, num_slots) };
        let buffers = start.checked_add_signed(isize::try_from(ring.buf_ofs()).ok()?)?;
        let size = ring.buf_size();
        if size < 64 || buffers % 4 != 0 || buffers > memory.len() || ring.head().max(ring.tail()) >= num_slots {
            return None;
        }
        if self.buf_size != 0 && (self.buf_size, self.buffers) != (size, buffers) {
            return None;
        }
        (self.buf_size, self.buffers) = (size, buffers);
        self.total = u32::try_from((memory.len() - buffers) / size as usize).ok()?;
        (self.total > FIRST_BUFFER).then_some(ring)
    }

    pub(super) fn device(&self) -> &dyn Device {
        &*self.device
    }

    pub(super) fn answer(&self) -> &Register {
        self.device.answer()
    }

    /// The memory of the buffers, from buffer 0 on.
    pub(super) fn buffers(&self) -> (NonNull<u8>, usize) {
        // SAFETY: `ring` checked that buffer 0 lies inside the mapping.
        let base = unsafe { self.device.memory().base().add(self.buffers) };
        (base, self.total as usize * self.buf_size as usize)
    }

    fn bufs_head(&self) -> *mut u32 {
        // SAFETY: `find` checked that the netmap_if lies inside the mapping.
        unsafe { &raw mut (*self.device.memory().base().add(self.nifp).cast::<NetmapIf>().as_ptr()).bufs_head }
    }

    /// The first four bytes of a buffer that exists.
    fn link(&self, index: u32) -> NonNull<u32> {
        debug_assert!(index < self.total);
        // SAFETY: the buffer lies inside the mapping: indices are below `total`.
        unsafe { self.buffers().0.add(index as usize * self.buf_size as usize) }.cast()
    }

    /// Takes the extra buffers of the registration out of their list.
    pub(super) fn take_extra(&self) -> Vec<u32> {
        let mut extra = Vec::new();
        if self.answer().extra_bufs == 0 {
            return extra;
        }
        // SAFETY: see `bufs_head`. The list is the program's from registration to close.
        let mut next = unsafe { self.bufs_head().read_volatile() };
        while (FIRST_BUFFER..self.total).contains(&next) && extra.len() < self.answer().extra_bufs as usize {
            extra.push(next);
            // SAFETY: see `link`; buffers in the list are ours.
            next = unsafe { self.link(next).read() };
        }
        // From now on they are in slots or with the program; a list that went stale would be freed twice.
        // SAFETY: see `bufs_head`.
        unsafe { self.bufs_head().write_volatile(0) };
        extra
    }

    /// Puts buffers, by their offsets, into the list that the kernel takes back when the port is closed.
    pub(super) fn give_extra(&self, offsets: &[usize]) {
        let mut head = 0;
        for offset in offsets {
            let index = (offset / self.buf_size as usize) as u32;
            // SAFETY: see `link`; the caller owns these buffers and gives them up.
            unsafe { self.link(index).write(head) };
            head = index;
        }
        // SAFETY: see `bufs_head`.
        unsafe { self.bufs_head().write_volatile(head) };
    }
}

/// Which of the rings of one direction a registration has, host rings counted behind the others: as the kernel decides.
fn owned(answer: &Register, rings: usize, other: usize, host: usize) -> Option<Range<usize>> {
    let one = usize::from(answer.ringid);
    match answer.mode {
        sys::REG_ALL_NIC => Some(0..rings),
        // Where one direction has fewer rings than the other, its first one stands in.
        sys::REG_ONE_NIC if one < rings.max(other) => {
            let at = if one < rings { one } else { 0 };
            Some(at..at + 1)
        }
        sys::REG_SW => Some(rings..rings + host),
        sys::REG_ONE_SW => {
            let at = rings + if one < host { one } else { 0 };
            Some(at..at + 1)
        }
        _ => None,
    }
}
