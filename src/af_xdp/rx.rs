//! Receiving: from the rx ring to tokens, and free frames into the fill ring.
#![allow(unsafe_code)]

use super::ledger::Side;
use super::meta::Meta;
use super::queue::{Desc, Queue};
use super::sock::{Sock, add};
use super::sys;
use crate::api::{BufferDesc, Context, Token};
use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;
use std::os::fd::AsFd;

/// A queue is refilled when it lacks so many frames, or half of its share, or when nothing is left to receive.
const REFILL: u32 = 128;

/// Fragments of a packet whose end has not been read yet: address and length of each.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    parts: RefCell<Vec<(usize, u32)>>,
    /// How many, where the fast path can see it.
    count: Cell<u32>,
}

/// Descriptors being handed over where they lie in the ring. Dropping it, also when the program panics over a packet,
/// tells the kernel and the counters how many have been taken, and gives the kernel free frames instead.
struct Batch<'a> {
    sock: &'a Sock,
    queue: &'a Queue,
    /// Where the ring was read from.
    start: u32,
    /// Descriptors that were no packet of their own.
    others: u32,
}

impl<'a> Batch<'a> {
    /// `None` from within a batch of the same queue: the program receives from a function that it gave to `recv_each`.
    /// What lies in the ring must stay there until the outer batch is over.
    #[inline(always)]
    fn begin(sock: &'a Sock, queue: &'a Queue) -> Option<Self> {
        if queue.handing_over.replace(true) {
            return None;
        }
        Some(Self { sock, queue, start: queue.rx.head(), others: 0 })
    }

    fn taken(&self) -> u32 {
        self.queue.rx.head().wrapping_sub(self.start)
    }

    fn packets(&self) -> usize {
        (self.taken() - self.others) as usize
    }
}

impl Drop for Batch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let (sock, queue, taken) = (self.sock, self.queue, self.taken());
        queue.rx.publish();
        queue.handing_over.set(false);
        queue.receiving.set(queue.receiving.get() - taken);
        sock.note_in_rings(0, taken as usize);
        add(&sock.counters.rx_packets, self.packets() as u64);
        let share = sock.umem.share();
        if share.saturating_sub(queue.receiving.get()) >= REFILL.min(share / 2) {
            sock.refill(queue);
        }
    }
}

impl Sock {
    /// Receives up to `max` packets, from the queues in turn.
    #[inline(always)]
    pub(super) fn receive(&self, max: usize, mut f: impl FnMut(Token, Meta)) -> usize {
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

    #[inline(always)]
    fn receive_from(&self, queue: &Queue, max: usize, f: &mut impl FnMut(Token, Meta)) -> usize {
        if queue.rx.available() == 0 && !self.idle(queue) {
            return 0;
        }
        let timestamp = if self.timestamps { NonZeroU64::new(sys::clock_ns()) } else { None };
        let meta = Meta { queue: queue.number, timestamp };
        let Some(mut batch) = Batch::begin(self, queue) else { return 0 };
        let ledger = self.ledger.open();
        let mut outside = self.outside(queue);
        loop {
            let left = max - batch.packets();
            if left == 0 || queue.rx.available() == 0 {
                break;
            }
            // SAFETY: nothing of this ring is given back to the kernel before `batch` is dropped: another batch cannot begin.
            let run = unsafe { queue.rx.peek(left) };
            for desc in run {
                queue.rx.skip();
                let (addr, length) = (desc.addr, desc.len_and_options());
                // A sum that overflows is past the end of the chunk (or right at it, which is not worth an instruction to
                // tell); so is anything with options, which are far too long for a length. And the frame is ours again,
                // if it was given away through the fill ring and has not come back before.
                let within = (addr | outside).checked_add(length).is_some();
                let (at, len) = if within && ledger.take(addr, Side::Rx) {
                    (addr as usize, length as u32)
                } else {
                    let packet = self.examine(queue, *desc);
                    outside = self.outside(queue);
                    let Some(packet) = packet else {
                        batch.others += 1;
                        // Looks again, behind it: a second way through this loop would cost every packet.
                        break;
                    };
                    packet
                };
                add(&self.counters.rx_bytes, u64::from(len));
                // SAFETY: the ledger, or `examine`, vouches that the frame was the kernel's and is ours now, and that the
                // packet lies within it; each descriptor is taken once.
                f(unsafe { Token::new(at, len, self.ctx.pool_id()) }, meta);
            }
        }
        batch.packets()
    }

    /// The bits of an address that are not its offset in a chunk. With half a packet in hand all of them: no descriptor is
    /// a packet of its own then, but the other half.
    #[inline(always)]
    fn outside(&self, queue: &Queue) -> u64 {
        if queue.fragments.count.get() == 0 { !(u64::from(self.umem.chunk()) - 1) } else { u64::MAX }
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
                for (place, frame) in now.iter_mut().zip(frames) {
                    let frame = frame.get();
                    place.write(ledger.address(frame));
                    ledger.give_chunk(frame, Side::Rx);
                }
                places = later;
            })
        });
        queue.fill.publish();
        queue.receiving.set(queue.receiving.get() + n as u32);
        self.note_in_rings(n, 0);
    }

    /// What a descriptor means: a packet; or a part of one, or nothing that can be believed.
    #[cold]
    #[inline(never)]
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
