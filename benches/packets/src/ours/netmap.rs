//! A loop over netmap's rings as one writes it by hand: head, tail, slots and buffers by their addresses, in the layout of
//! `net/netmap.h`. On a pipe of the emulation, that is, on the same memory and with the same two syncs as ours.
#![allow(unsafe_code)]

use crate::measured;
use crate::raw::{self, Args, BATCH};
use nethuns_rs::Result;
use nethuns_rs::netmap::raw::RawPort;
use std::hint::black_box;

/// Both contenders' pipe; each in a process of its own.
pub const ENDS: [&str; 2] = ["netmap:bench{1?emulated", "netmap:bench}1?emulated"];

/// A packet at a fixed place in a page: what copying it costs depends on where it lies in its cache lines, and on whether
/// its addresses are those of the buffers modulo 4096; left to the allocator, that is chance.
#[repr(align(4096))]
pub struct Placed([u8; 4096]);

impl Placed {
    /// Half way between the beginnings of two buffers.
    const AT: usize = 1024;

    pub fn new(packet: &[u8]) -> Box<Self> {
        let mut placed = Box::new(Self([0; 4096]));
        placed.0[Self::AT..][..packet.len()].copy_from_slice(packet);
        placed
    }

    pub fn bytes(&self, len: usize) -> &[u8] {
        &self.0[Self::AT..][..len]
    }
}

#[repr(C)]
struct Slot {
    buf_idx: u32,
    len: u16,
    flags: u16,
    ptr: u64,
}

#[repr(C)]
struct Ring {
    buf_ofs: i64,
    num_slots: u32,
    buf_size: u32,
    ringid: u16,
    dir: u16,
    head: u32,
    cur: u32,
    tail: u32,
    rest: [u8; 224],
}

const _: () = assert!(size_of::<Ring>() == 256 && size_of::<Slot>() == 16);

impl Ring {
    #[inline(always)]
    unsafe fn slot(ring: *mut Ring, at: u32) -> *mut Slot {
        // SAFETY: the slots follow the ring; the loops keep `at` below their number.
        unsafe { ring.add(1).cast::<Slot>().add(at as usize) }
    }

    /// `NETMAP_BUF`.
    #[inline(always)]
    unsafe fn buffer(ring: *mut Ring, index: u32) -> *mut u8 {
        // SAFETY: the slot's index is a buffer of this memory.
        unsafe {
            let offset = (*ring).buf_ofs as usize + index as usize * (*ring).buf_size as usize;
            ring.cast::<u8>().add(offset)
        }
    }

    #[inline(always)]
    unsafe fn next(ring: *mut Ring, at: u32) -> u32 {
        // SAFETY: the ring is there.
        if at + 1 == unsafe { (*ring).num_slots } { 0 } else { at + 1 }
    }
}

#[inline(never)]
fn send(port: &RawPort, ring: *mut Ring, want: usize, packet: &[u8]) -> usize {
    let mut n = 0;
    // SAFETY: the ring lives as long as `port`; slots from `head` to `tail` are ours; the packet fits a buffer.
    unsafe {
        let (mut head, tail) = ((*ring).head, (&raw const (*ring).tail).read_volatile());
        while n < want && head != tail {
            let slot = Ring::slot(ring, head);
            Ring::buffer(ring, (*slot).buf_idx).copy_from_nonoverlapping(packet.as_ptr(), packet.len());
            (*slot).len = packet.len() as u16;
            (*slot).flags = 0;
            head = Ring::next(ring, head);
            n += 1;
        }
        (*ring).cur = head;
        (*ring).head = head;
    }
    port.txsync();
    n
}

#[inline(never)]
fn receive(port: &RawPort, ring: *mut Ring, want: usize, sum: &mut u64) -> usize {
    let mut n = 0;
    // SAFETY: as in `send`.
    unsafe {
        if (*ring).head == (&raw const (*ring).tail).read_volatile() {
            port.rxsync();
        }
        let (mut head, tail) = ((*ring).head, (&raw const (*ring).tail).read_volatile());
        while n < want && head != tail {
            let slot = Ring::slot(ring, head);
            let word = Ring::buffer(ring, (*slot).buf_idx).cast::<u64>().read_unaligned();
            *sum = sum.wrapping_add(word).wrapping_add(u64::from((*slot).len));
            head = Ring::next(ring, head);
            n += 1;
        }
        (*ring).cur = head;
        (*ring).head = head;
    }
    n
}

pub fn by_hand(args: &Args) -> Result<()> {
    let [a, b] = ENDS.map(RawPort::open);
    let (a, b) = (a?, b?);
    let (tx, rx) = (a.tx_ring().cast::<Ring>(), b.rx_ring().cast::<Ring>());
    let packet = Placed::new(&raw::template(args.size));
    let mut sum = 0;
    measured(args.packets, |_| {
        let sent = send(&a, tx, BATCH, packet.bytes(args.size));
        let mut got = 0;
        while got < sent {
            got += receive(&b, rx, sent - got, &mut sum);
        }
        got
    });
    black_box(sum);
    Ok(())
}
