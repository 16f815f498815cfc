//! Receiving: from the rx ring to tokens, and free frames into the fill ring.
#![allow(unsafe_code)]

use super::ledger::Side;
use super::meta::Meta;
use super::queue::{Desc, Queue};
use super::sock::{Sock, add};
use super::sys;
use crate::api::{BufferDesc, Context, Token};
use crate::pool::PoolContext;
use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::os::fd::AsFd;

/// A queue is refilled when it lacks so many frames, or half of its share, or when nothing is left to receive.
const REFILL: u32 = 64;

/// Fragments of a packet whose end has not been read yet: address and length of each.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    parts: RefCell<Vec<(usize, u32)>>,
    /// How many, where the fast path can see it.
    count: Cell<u32>,
}

/// Packets taken out of the ring at a time, before the program sees the first of them.
const BURST: usize = 64;

/// Packets taken out of the ring and not yet handed over: address and length. Should the program panic over one, the
/// frames of the others are freed.
struct Burst<'a> {
    ctx: &'a PoolContext,
    packets: [MaybeUninit<(u64, u64)>; BURST],
    /// At most [`BURST`]; so many of `packets` have been written.
    filled: usize,
    /// At most `filled`.
    next: usize,
}

impl<'a> Burst<'a> {
    #[inline(always)]
    fn new(ctx: &'a PoolContext) -> Self {
        Self { ctx, packets: [const { MaybeUninit::uninit() }; BURST], filled: 0, next: 0 }
    }

    /// Adds a packet, if there is room.
    fn push(&mut self, at: usize, len: u32) {
        if let Some(slot) = self.packets.get_mut(self.filled) {
            slot.write((at as u64, u64::from(len)));
            self.filled += 1;
        }
    }

    /// The next packet, now the caller's.
    #[inline(always)]
    fn pop(&mut self) -> Option<(usize, u32)> {
        let next = self.next;
        if next >= self.filled {
            return None;
        }
        self.next = next + 1;
        // SAFETY: below `filled`, so within the array and written.
        let (at, len) = unsafe { self.packets.get_unchecked(next).assume_init() };
        Some((at as usize, len as u32))
    }
}

impl Drop for Burst<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        while let Some((at, _)) = self.pop() {
            self.forget(at);
        }
    }
}

impl Burst<'_> {
    #[cold]
    fn forget(&self, at: usize) {
        // SAFETY: taken out of the ring by `receive_from`, and nobody has made a token of it.
        unsafe { self.ctx.release(BufferDesc(at)) };
    }
}

impl Sock {
    /// Receives up to `max` packets, from the queues in turn.
    #[inline]
    pub(super) fn receive(&self, max: usize, mut f: impl FnMut(Token, Meta)) -> usize {
        if let [only] = &*self.queues {
            return self.receive_from(only, max, &mut f);
        }
        let (mut n, mut at) = (0, self.next_rx.get());
        for _ in 0..self.queues.len() {
            let Some(queue) = self.queues.get(at) else { break };
            at = if at + 1 == self.queues.len() { 0 } else { at + 1 };
            n += self.receive_from(queue, max - n, &mut f);
            if n >= max {
                // The next call begins behind the queue that used up this one's turn.
                break;
            }
        }
        self.next_rx.set(at);
        n
    }

    #[inline]
    fn receive_from(&self, queue: &Queue, max: usize, f: &mut impl FnMut(Token, Meta)) -> usize {
        if queue.rx.available() == 0 && !self.idle(queue) {
            return 0;
        }
        let timestamp = if self.timestamps { NonZeroU64::new(sys::clock_ns()) } else { None };
        let meta = Meta { queue: queue.number, timestamp };
        let pool = self.ctx.pool_id();
        let mut packets = 0;
        while packets < max {
            let mut burst = Burst::new(&self.ctx);
            if !self.take_burst(queue, max - packets, &mut burst) {
                break;
            }
            packets += burst.filled;
            while let Some((at, len)) = burst.pop() {
                // SAFETY: `take_burst` vouches for frame and length, and each packet is popped once.
                f(unsafe { Token::new(at, len, pool) }, meta);
            }
        }
        packets
    }

    /// Takes packets that are known of out of the ring, and gives the kernel free frames instead. False if there were
    /// none. Every packet in `burst` lies in a frame that the kernel had, has returned, and that is ours alone.
    #[inline(always)]
    fn take_burst(&self, queue: &Queue, max: usize, burst: &mut Burst<'_>) -> bool {
        let max = max.min(BURST);
        let mask = u64::from(self.umem.chunk()) - 1;
        let (mut bytes, ledger) = (0, self.ledger.open());
        let first = burst.packets.as_mut_ptr();
        // With half a packet in hand the next descriptor is not a packet of its own.
        let plain = if queue.fragments.count.get() == 0 { max } else { 0 };
        let mut n = 0;
        let mut taken = queue.rx.pop_while(plain, |desc| {
            let (addr, length) = (desc.addr, desc.len_and_options());
            // Options are another matter: taken for a length they are too long for any chunk. And the frame is ours
            // again, if it was given away through the fill ring and has not come back before.
            if length > mask + 1 - (addr & mask) || !ledger.take(addr, Side::Rx) {
                return false;
            }
            // SAFETY: `pop_while` calls no more than `plain` times, which is at most `BURST`.
            unsafe { first.add(n).write(MaybeUninit::new((addr, length))) };
            n += 1;
            bytes += length;
            true
        });
        burst.filled = taken;
        if taken < max && queue.rx.known() != 0 {
            (taken, bytes) = self.take_unusual(queue, max, burst, taken, bytes);
        }
        if taken == 0 {
            return false;
        }
        queue.rx.publish();
        queue.receiving.set(queue.receiving.get() - taken as u32);
        self.note_in_rings(0, taken);
        add(&self.counters.rx_packets, burst.filled as u64);
        add(&self.counters.rx_bytes, bytes);
        let share = self.umem.share();
        if share.saturating_sub(queue.receiving.get()) >= REFILL.min(share / 2) {
            self.refill(queue);
        }
        true
    }

    /// Nothing is there: what a receiver does with its time. Whether something has come meanwhile.
    #[inline]
    fn idle(&self, queue: &Queue) -> bool {
        if queue.receiving.get() < self.umem.share() {
            self.refill(queue);
        }
        if self.busy_poll || queue.zero_copy && queue.fill.needs_wakeup() {
            sys::kick_rx(queue.as_fd());
            return queue.rx.available() != 0;
        }
        false
    }

    /// The same from a descriptor on that is not one whole packet in one good frame. Returns descriptors and bytes taken
    /// in all.
    #[cold]
    #[inline(never)]
    fn take_unusual(
        &self,
        queue: &Queue,
        max: usize,
        burst: &mut Burst<'_>,
        mut taken: usize,
        mut bytes: u64,
    ) -> (usize, u64) {
        while burst.filled < max {
            let Some(desc) = queue.rx.pop() else { break };
            taken += 1;
            if let Some((at, len)) = self.examine(queue, desc) {
                bytes += u64::from(len);
                burst.push(at, len);
            }
        }
        (taken, bytes)
    }

    /// Gives free frames to the kernel, up to the queue's share.
    #[inline(never)]
    pub(super) fn refill(&self, queue: &Queue) {
        let want = self.umem.share().min(queue.fill.size()).saturating_sub(queue.receiving.get());
        // There is room for all of the share, but for what the kernel has read and not told yet.
        queue.fill.has_room(want);
        let ledger = self.ledger.open();
        let n = queue.fill.write_runs(want as usize, |run| {
            let mut places = &mut *run;
            self.ctx.take_many(places.len(), |frames| {
                let (now, later) = std::mem::take(&mut places).split_at_mut(frames.len());
                for (place, frame) in now.iter_mut().zip(frames.iter().rev()) {
                    place.write(ledger.address(frame.get()));
                    ledger.give_chunk(frame.get(), Side::Rx);
                }
                places = later;
            })
        });
        queue.fill.publish();
        queue.receiving.set(queue.receiving.get() + n as u32);
        self.note_in_rings(n, 0);
    }

    /// What a descriptor means: a packet; or a part of one, or nothing that can be believed.
    fn examine(&self, queue: &Queue, desc: Desc) -> Option<(usize, u32)> {
        let addr = desc.addr;
        let (len, options) = (desc.len_and_options() as u32, (desc.len_and_options() >> 32) as u32);
        let chunk = u64::from(self.umem.chunk());
        if !self.ledger.open().take(addr, Side::Rx) {
            // Nothing of ours to release: somebody else has it.
            add(&self.counters.rx_invalid, 1);
            return None;
        }
        let at = addr as usize;
        let within = (addr & (chunk - 1)) + u64::from(len) <= chunk;
        let more = options & libc::XDP_PKT_CONTD != 0;
        if !within || (more && !self.jumbo) {
            add(&self.counters.rx_invalid, 1);
            self.give_up(at);
            return None;
        }
        let mut parts = queue.fragments.parts.borrow_mut();
        if !more && parts.is_empty() {
            // Only an option that we do not know.
            return Some((at, len));
        }
        parts.push((at, len));
        queue.fragments.count.set(parts.len() as u32);
        if more {
            return None;
        }
        let packet = self.assemble(&parts);
        queue.fragments.count.set(0);
        for (at, _) in parts.drain(..) {
            self.give_up(at);
        }
        packet
    }

    /// Copies fragments into one big frame.
    fn assemble(&self, parts: &[(usize, u32)]) -> Option<(usize, u32)> {
        let len: usize = parts.iter().map(|(_, len)| *len as usize).sum();
        let most = self.umem.pool().geometry().big_size;
        if len > most {
            add(&self.counters.rx_oversize, 1);
            return None;
        }
        let Some(big) = self.ctx.take_big() else {
            add(&self.counters.rx_no_big_frame, 1);
            return None;
        };
        // SAFETY: the big frame was just taken and holds `most` bytes.
        let mut token = self.ctx.packet(unsafe { Token::new(big.0, len as u32, self.ctx.pool_id()) });
        let mut to = &mut token[..];
        for (at, len) in parts {
            let (piece, rest) = to.split_at_mut(*len as usize);
            // SAFETY: the fragment lies within a frame that the kernel has returned and nobody else has.
            piece.copy_from_slice(unsafe { &*self.ctx.unsafe_buffer(BufferDesc(*at), *len as usize) });
            to = rest;
        }
        let token = token.into_token();
        let len = token.size();
        Some((token.into_desc().0, len))
    }

    /// Frees the frame at this address.
    fn give_up(&self, at: usize) {
        // SAFETY: the kernel has returned the frame (the ledger said so) and no token was made of it.
        unsafe { self.ctx.release(BufferDesc(at)) }
    }

    /// Closes the queues and frees every frame that the kernel, or an unfinished packet, had.
    pub(super) fn close(&mut self) {
        let queues = std::mem::take(&mut self.queues);
        let still_written = queues.iter().any(|queue| queue.zero_copy);
        let numbers: Vec<u32> = queues.iter().map(|queue| queue.number).collect();
        for queue in &queues {
            for (at, _) in queue.fragments.parts.borrow_mut().drain(..) {
                self.give_up(at);
            }
        }
        drop(queues);
        self.umem.leave(numbers.len() as u32);
        // In copy mode closing a socket ends all access to its frames. A zero-copy card goes on writing until the kernel
        // has taken the queue away from it, some milliseconds later; until then its frames must not be anybody's.
        if !still_written || super::queue::released(self.ifindex, &numbers) {
            for at in self.ledger.drain() {
                self.give_up(at as usize);
            }
        }
        self.counters.in_rings.set(0);
        self.ctx.set_in_rings(0);
    }
}
