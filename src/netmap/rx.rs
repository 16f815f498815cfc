//! Receiving: a packet is shown to the program in the buffer that it came in. If the program is done with it when the
//! callback returns, the buffer has never left its slot; if it keeps it, a spare one takes its place.
//!
//! ```text
//!   slot | 7 |  ──▶ callback(Token(7)) ──▶ dropped:  | 7 |
//!                                     └──▶ kept:     | 42* |  ◀── spare 42 of the pool; * = NS_BUF_CHANGED
//! ```
//!
//! A spare buffer is held ready before a packet is shown, so that keeping it can never fail. Whenever the callback runs no
//! slot is without a buffer, and the pool's context has noted which packet the callback is looking at, so that it may
//! panic, or receive from the same socket: [`Rx::settle`] then finds the slot and puts `head` behind it.
#![allow(unsafe_code)]

use super::buffers::Buffers;
use super::ring::Ring;
use super::sys::{BUF_CHANGED, MOREFRAG, Slot, TIMESTAMP};
use super::{Meta, TimeVal};
use crate::api::{RxDrops, Token};
use crate::pool::PoolContext;
use crate::pool::shown::Fate;
use std::cell::Cell;

/// One receive ring. Cursors are kept here and published to shared memory.
#[derive(Debug)]
pub(super) struct Rx {
    ring: Ring,
    queue: u32,
    /// First slot that is ours.
    head: Cell<u32>,
    /// First slot that is not.
    tail: Cell<u32>,
    /// Slots given back since the kernel last looked.
    owed: Cell<u32>,
    stamp: Cell<TimeVal>,
}

/// The buffer that a slot gets whose own is kept; one for all rings of a socket. 0, which is never ours, stands for none.
#[derive(Debug, Default)]
pub(super) struct Spare(Cell<u32>);

impl Spare {
    /// Whether there is one, or the pool has one to give.
    #[inline(always)]
    fn ready(&self, ctx: &PoolContext) -> bool {
        self.0.get() != 0 || self.fetch(ctx)
    }

    #[inline(never)]
    fn fetch(&self, ctx: &PoolContext) -> bool {
        let spare = ctx.take_frame();
        self.0.set(spare.unwrap_or(0));
        ctx.set_in_rings(usize::from(spare.is_some()));
        spare.is_some()
    }

    /// What a slot says that gets it.
    #[inline(always)]
    fn slot(&self, ctx: &PoolContext) -> Slot {
        ctx.set_in_rings(0);
        Slot { buf_idx: self.0.replace(0), len: 0, flags: BUF_CHANGED }
    }

    /// Gives it back to the pool.
    pub(super) fn give_back(&self, ctx: &PoolContext) {
        if self.0.get() != 0 {
            ctx.put_frame(self.0.replace(0));
            ctx.set_in_rings(0);
        }
    }
}

/// What receiving counts, over all rings of a socket.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) packets: Cell<u64>,
    pub(super) bytes: Cell<u64>,
    oversize: Cell<u64>,
    invalid: Cell<u64>,
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

impl Counters {
    pub(super) fn drops(&self) -> RxDrops {
        RxDrops { oversize: self.oversize.get(), invalid: self.invalid.get(), ..RxDrops::default() }
    }
}

impl Rx {
    pub(super) fn new(queue: u32, ring: Ring) -> Self {
        ring.set_flags(ring.flags() | TIMESTAMP);
        let (head, tail) = (Cell::new(ring.head()), Cell::new(ring.tail()));
        Self { ring, queue, head, tail, owed: Cell::new(0), stamp: Cell::default() }
    }

    pub(super) fn queue(&self) -> u32 {
        self.queue
    }

    /// Whether slots wait to be read.
    #[inline]
    pub(super) fn waiting(&self) -> bool {
        self.head.get() != self.tail.get()
    }

    /// Whether the kernel should soon be told what it got back: it fills no slot that it does not know to be free.
    #[inline]
    pub(super) fn overdue(&self) -> bool {
        self.owed.get() > self.ring.num_slots() / 4
    }

    /// Gives what has been read back to the kernel, which learns of it with the next sync.
    #[inline]
    pub(super) fn publish(&self) {
        let head = self.head.get();
        self.owed.set(self.owed.get() + self.ring.distance(self.ring.head(), head));
        self.ring.set_head(head);
    }

    /// Takes note of what a sync brought.
    pub(super) fn refresh(&self) {
        let (head, tail) = (self.ring.head(), self.ring.tail());
        // The kernel moves `head` only if it refuses it; then what it says holds.
        self.head.set(if head < self.ring.num_slots() { head } else { 0 });
        self.tail.set(if tail < self.ring.num_slots() { tail } else { self.head.get() });
        self.owed.set(0);
        self.stamp.set(self.ring.timestamp().into());
    }

    /// Shows up to `max` packets to `f`, as long as there is a spare buffer.
    #[inline(always)]
    pub(super) fn receive(
        &self,
        max: usize,
        ctx: &PoolContext,
        buffers: &Buffers,
        spare: &Spare,
        counters: &Counters,
        f: &mut impl FnMut(Token, Meta),
    ) -> usize {
        let (mut at, tail) = (self.head.get(), self.tail.get());
        if at == tail {
            return 0;
        }
        let Some(window) = ctx.window().filter(|_| spare.ready(ctx)) else { return 0 };
        let meta = Meta { timestamp: self.stamp.get(), queue: self.queue };
        // Copies, which no store of the callback can change.
        let (ring, room) = (self.ring, *buffers);
        let (mut n, mut bytes) = (0, 0);
        let unwinding = Unwinding { rx: self, ctx, spare };
        let ours = loop {
            // SAFETY: below the number of slots (`refresh`, `run`) and before `tail`, slots are ours. If `f` receives from
            // this socket they may become the kernel's: that is noticed below, before another one is looked at.
            let slots = unsafe { ring.slots(at, (ring.run(at, tail) as usize).min(max - n) as u32) };
            let before = n;
            let outcome = 'run: {
                for cell in slots {
                    let slot = cell.get();
                    let Some(len) = room.whole(slot) else { break 'run Err(Stop::Special) };
                    bytes += u64::from(len);
                    n += 1;
                    let offset = window.offset(slot.buf_idx);
                    // SAFETY: the buffer exists (`whole`) and is this slot's, which is ours; below, or by whoever settles
                    // it, the slot gets the spare one if it is not back.
                    f(unsafe { window.token(offset, len) }, meta);
                    if !window.is_back(offset) {
                        if window.settle() == Fate::Settled {
                            break 'run Err(Stop::Settled);
                        }
                        cell.set(spare.slot(ctx));
                        if !spare.ready(ctx) {
                            break 'run Err(Stop::NoSpare);
                        }
                    }
                }
                Ok(())
            };
            at = ring.wrap(at + (n - before) as u32);
            match outcome {
                // `f` has received from this socket.
                Err(Stop::Settled) => break false,
                Err(Stop::NoSpare) => break true,
                Err(Stop::Special) => match self.gather(at, tail, buffers, counters) {
                    // Shown in the next turn.
                    Gathered::Packet { last } => at = last,
                    Gathered::Nothing { end } => at = end,
                    Gathered::Unfinished => break true,
                },
                Ok(()) => {}
            }
            if n == max || at == tail {
                break true;
            }
        };
        std::mem::forget(unwinding);
        if ours {
            window.settle();
            self.head.set(at);
        }
        self.publish();
        add(&counters.packets, n as u64);
        add(&counters.bytes, bytes);
        n
    }

    /// Puts the spare buffer into a slot that is ours and whose own is the program's now.
    #[inline(always)]
    fn replace(&self, at: u32, ctx: &PoolContext, spare: &Spare) {
        // SAFETY: `at` was shown by `receive`, and is ours until `publish`.
        unsafe { self.ring.set_slot(at, spare.slot(ctx)) };
    }

    /// Settles what a callback is looking at on this ring, or was when it panicked: unless it is back, it is the
    /// program's. Comes before whatever gives slots to the kernel.
    #[inline(always)]
    pub(super) fn settle(&self, ctx: &PoolContext, spare: &Spare) {
        if let Some(window) = ctx.window() {
            match window.settle() {
                Fate::Settled => {}
                Fate::Back(frame) => drop(self.pass(frame)),
                Fate::Kept(frame) => {
                    if let Some(at) = self.pass(frame) {
                        self.replace(at, ctx, spare);
                    }
                }
            }
        }
    }

    /// Puts `head` behind the slot of this frame, which is being shown, and says which slot it is. `receive` does so at its
    /// end only.
    #[cold]
    #[inline(never)]
    fn pass(&self, frame: u32) -> Option<u32> {
        let (mut at, tail) = (self.head.get(), self.tail.get());
        while at != tail {
            // SAFETY: from `head` up to `tail`, slots are ours.
            let found = unsafe { self.ring.slot(at) }.buf_idx == frame;
            let next = self.ring.next(at);
            self.head.set(next);
            if found {
                return Some(at);
            }
            at = next;
        }
        // Somebody else has written into the ring: what waits in it is given up.
        None
    }

    /// A packet in several slots, or a slot that makes no sense. Fragments are put together in one buffer.
    #[cold]
    #[inline(never)]
    fn gather(&self, start: u32, tail: u32, buffers: &Buffers, counters: &Counters) -> Gathered {
        let (mut end, mut len, mut valid, mut whole) = (start, 0, true, false);
        while end != tail && !whole {
            // SAFETY: from `start` up to `tail`, slots are ours.
            let slot = unsafe { self.ring.slot(end) };
            valid &= buffers.hold(slot);
            len += usize::from(slot.len);
            whole = slot.flags & MOREFRAG == 0;
            end = self.ring.next(end);
        }
        if !whole && self.ring.distance(start, tail) < self.ring.num_slots() - 1 {
            return Gathered::Unfinished;
        }
        if !valid {
            add(&counters.invalid, 1);
            return Gathered::Nothing { end };
        }
        // A packet that fills the ring and goes on will never be whole.
        if !whole || len > buffers.size() || u16::try_from(len).is_err() {
            add(&counters.oversize, 1);
            return Gathered::Nothing { end };
        }
        // SAFETY: as above.
        let first = unsafe { self.ring.slot(start) };
        let (mut at, mut filled) = (self.ring.next(start), usize::from(first.len));
        while at != end {
            // SAFETY: the slots are ours, all were found valid, and together they fit one buffer.
            unsafe {
                let slot = self.ring.slot(at);
                buffers.append(first.buf_idx, filled, slot);
                filled += usize::from(slot.len);
            }
            at = self.ring.next(at);
        }
        // The packet is shown in its last slot; the buffers of the two change places.
        let last = self.ring.prev(end);
        let whole = Slot { len: len as u16, flags: BUF_CHANGED, ..first };
        // SAFETY: as above.
        unsafe {
            let other = self.ring.slot(last);
            self.ring.set_slot(start, Slot { len: 0, flags: BUF_CHANGED, ..other });
            self.ring.set_slot(last, whole);
        }
        Gathered::Packet { last }
    }
}

/// Puts a ring in order when a callback panics: whoever called [`Rx::receive`] finds nothing being shown.
struct Unwinding<'a> {
    rx: &'a Rx,
    ctx: &'a PoolContext,
    spare: &'a Spare,
}

impl Drop for Unwinding<'_> {
    #[cold]
    fn drop(&mut self) {
        self.rx.settle(self.ctx, self.spare);
    }
}

/// Why a run of slots was not shown to its end.
enum Stop {
    /// A slot that does not simply hold a packet.
    Special,
    /// No spare buffer is left.
    NoSpare,
    /// The callback has received from this socket, and what lies behind may be the kernel's again.
    Settled,
}

enum Gathered {
    /// The packet, whole, in the slot `last`.
    Packet { last: u32 },
    /// Nothing usable up to `end`.
    Nothing { end: u32 },
    /// The rest has not come yet.
    Unfinished,
}
