//! Receiving: from the rx ring to tokens, and free frames into the fill ring.
#![allow(unsafe_code)]

use super::ledger::Side;
use super::meta::Meta;
use super::queue::Queue;
use super::sock::{Sock, add};
use super::sys;
use crate::api::{BufferDesc, Context, Token};
use libc::xdp_desc;
use std::cell::{Cell, RefCell};
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

/// A batch being received. Whatever happens in between, dropping it tells the kernel and the pool what was taken.
struct Batch<'a> {
    sock: &'a Sock,
    queue: &'a Queue,
    packets: usize,
    frames: u32,
    bytes: u64,
}

impl Drop for Batch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let counters = &self.sock.counters;
        self.queue.rx.publish();
        add(&counters.rx_packets, self.packets as u64);
        add(&counters.rx_bytes, self.bytes);
        self.queue.receiving.set(self.queue.receiving.get() - self.frames);
        self.sock.note_in_rings(0, self.frames as usize);
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
        let mask = u64::from(self.umem.chunk()) - 1;
        let mut batch = Batch { sock: self, queue, packets: 0, frames: 0, bytes: 0 };
        while batch.packets < max {
            let Some(desc) = queue.rx.pop() else { break };
            batch.frames += 1;
            let within = (desc.addr & mask) + u64::from(desc.len) <= mask + 1;
            // The frame is ours again, if it was given away through the fill ring and has not come back before.
            let known = self.ledger.take(desc.addr, Side::Rx);
            if !(known && within && desc.options | queue.fragments.count.get() == 0) {
                let Some(token) = self.unusual(queue, desc, known, within) else { continue };
                batch.packets += 1;
                batch.bytes += u64::from(token.size());
                f(token, meta);
                continue;
            }
            batch.packets += 1;
            batch.bytes += u64::from(desc.len);
            // SAFETY: the ledger says that the frame was the kernel's and is ours now; the packet lies within its chunk.
            f(unsafe { Token::new(desc.addr as usize, desc.len, pool) }, meta);
        }
        let packets = batch.packets;
        drop(batch);
        let share = self.umem.share();
        if share.saturating_sub(queue.receiving.get()) >= REFILL.min(share / 2) {
            self.refill(queue);
        }
        packets
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

    /// Gives free frames to the kernel, up to the queue's share.
    #[inline]
    pub(super) fn refill(&self, queue: &Queue) {
        let share = self.umem.share().min(queue.fill.size());
        let want = share.saturating_sub(queue.receiving.get());
        if want == 0 || !queue.fill.has_room(want) && queue.fill.room() == 0 {
            return;
        }
        let mut n = 0;
        while n < want {
            if queue.fill.room() == 0 {
                break;
            }
            let Some(frame) = self.ctx.take() else { break };
            self.ledger.give(frame.0 as u64, Side::Rx);
            let pushed = queue.fill.push(frame.0 as u64);
            debug_assert!(pushed);
            n += 1;
        }
        queue.fill.publish();
        queue.receiving.set(queue.receiving.get() + n);
        self.note_in_rings(n as usize, 0);
    }

    /// A descriptor that is not one whole packet in one good frame.
    #[cold]
    #[inline(never)]
    fn unusual(&self, queue: &Queue, desc: xdp_desc, known: bool, within: bool) -> Option<Token> {
        if !known {
            // Not ours to release: it belongs to whoever has it.
            add(&self.counters.rx_invalid, 1);
            return None;
        }
        let at = desc.addr as usize;
        let more = desc.options & libc::XDP_PKT_CONTD != 0;
        if !within || (more && !self.jumbo) {
            add(&self.counters.rx_invalid, 1);
            self.give_up(at);
            return None;
        }
        let mut parts = queue.fragments.parts.borrow_mut();
        if !more && parts.is_empty() {
            // Only an option that we do not know. SAFETY: as in `receive_from`: the ledger and the length were checked.
            return Some(unsafe { Token::new(at, desc.len, self.ctx.pool_id()) });
        }
        parts.push((at, desc.len));
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
    fn assemble(&self, parts: &[(usize, u32)]) -> Option<Token> {
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
        Some(token.into_token())
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
