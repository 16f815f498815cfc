//! Sending: from packets to the tx ring, waking the kernel, and completed frames back from the completion ring.
#![allow(unsafe_code)]

use super::ledger::Side;
use super::queue::Queue;
use super::sock::{Sock, add};
use super::sys;
use crate::api::{BufferDesc, Context, Payload, Token};
use crate::errors::{Error, Refused, Result};
use crate::pool::PoolContext;
use libc::xdp_desc;
use std::os::fd::AsFd;

/// How often the kernel may be woken without taking anything before we leave it at that.
const STALLS: u32 = 2;

/// Frames submitted by one call. Dropping it tells the counters, whatever happens in between.
struct Batch<'a> {
    sock: &'a Sock,
    packets: usize,
    bytes: u64,
}

impl Drop for Batch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        add(&self.sock.counters.tx_submitted, self.packets as u64);
        add(&self.sock.counters.tx_bytes, self.bytes);
        self.sock.note_in_rings(self.packets, 0);
    }
}

impl Sock {
    /// The queue that packets are sent on.
    #[inline(always)]
    fn tx_queue(&self) -> Result<&Queue> {
        // Always there: a socket has a queue until it is dropped, and `tx_at` is kept below their number.
        self.queues.get(self.tx_at.get()).ok_or(Error::Unknown)
    }

    #[inline(always)]
    fn batch(&self) -> Batch<'_> {
        Batch { sock: self, packets: 0, bytes: 0 }
    }

    /// Puts a frame into the tx ring, where there is room and the frame is good to send as it is.
    #[inline(always)]
    fn submit(&self, queue: &Queue, batch: &mut Batch<'_>, addr: usize, len: u32, options: u32) {
        self.ledger.give(addr as u64, Side::Tx);
        let pushed = queue.tx.push(xdp_desc { addr: addr as u64, len, options });
        debug_assert!(pushed, "room was checked");
        batch.packets += 1;
        batch.bytes += u64::from(len);
    }

    /// Whether a packet of this pool, at this address and of this length, is one descriptor as it lies.
    #[inline(always)]
    fn is_plain(&self, addr: usize, len: u32) -> bool {
        let chunk = self.umem.chunk() as usize;
        let offset = addr & (chunk - 1);
        len != 0
            && offset + len as usize <= chunk
            && offset >= self.umem.tx_metadata() as usize
            && addr < self.big_start
    }

    #[inline]
    pub(super) fn send_copy(&self, packet: &[u8]) -> Result<()> {
        let queue = self.tx_queue()?;
        if queue.tx.room() == 0 {
            self.make_room(queue, 1)?;
        }
        let token = self.copy_in(packet)?;
        let mut batch = self.batch();
        self.launch(queue, &mut batch, token).map_err(Error::from)
    }

    #[inline]
    pub(super) fn send_copies<'a>(&self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        let queue = self.tx_queue()?;
        let mut batch = self.batch();
        for packet in packets {
            let sent = if queue.tx.room() == 0 { self.make_room(queue, 1) } else { Ok(()) }
                .and_then(|()| self.copy_in(packet))
                .and_then(|token| self.launch(queue, &mut batch, token).map_err(Error::from));
            match sent {
                Ok(()) => {}
                Err(error) if batch.packets == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(batch.packets)
    }

    /// A frame with the packet in it.
    #[inline(always)]
    fn copy_in(&self, packet: &[u8]) -> Result<Token> {
        let mut payload = self.alloc_frame(packet.len())?;
        payload.copy_from_slice(packet);
        Ok(payload.into_token())
    }

    #[inline]
    pub(super) fn alloc_frame(&self, len: usize) -> Result<Payload<'_, PoolContext>> {
        if self.umem.tx_metadata() != 0 {
            return self.alloc_behind_metadata(len);
        }
        match self.ctx.alloc(len) {
            Err(Error::NoMemory) => {
                // Frames may wait in the completion rings, or in the hands of the kernel.
                self.reclaim_completed();
                self.ctx.alloc(len)
            }
            outcome => outcome,
        }
    }

    #[cold]
    fn alloc_behind_metadata(&self, len: usize) -> Result<Payload<'_, PoolContext>> {
        let room = self.metadata_room();
        if len > self.umem.chunk() as usize - room {
            return Err(Error::TooBigPacket(len));
        }
        let frame = self.ctx.take().or_else(|| {
            self.reclaim_completed();
            self.ctx.take()
        });
        let frame = frame.ok_or(Error::NoMemory)?;
        // SAFETY: the frame was just taken; `len` bytes behind `room` are within it.
        Ok(self.ctx.packet(unsafe { Token::new(frame.0 + room, len as u32, self.ctx.pool_id()) }))
    }

    /// Bytes before an allocated packet: its metadata, rounded up to a cache line.
    fn metadata_room(&self) -> usize {
        (self.umem.tx_metadata() as usize).next_multiple_of(64)
    }

    #[inline]
    pub(super) fn send_one(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        let queue = match self.tx_queue() {
            Ok(queue) if queue.tx.room() != 0 => queue,
            Ok(queue) => match self.make_room(queue, 1) {
                Ok(()) => queue,
                Err(error) => return Err(Refused::new(error, token)),
            },
            Err(error) => return Err(Refused::new(error, token)),
        };
        self.launch(queue, &mut self.batch(), token)
    }

    #[inline]
    pub(super) fn send_many(&self, tokens: &mut Vec<Token>) -> Result<usize> {
        let queue = self.tx_queue()?;
        let mut batch = self.batch();
        // Taken from the back so that every step is one move; what is left is put right at the end.
        tokens.reverse();
        let outcome = loop {
            if queue.tx.room() == 0 {
                if let Err(error) = self.make_room(queue, 1) {
                    break Err(error);
                }
            }
            let Some(token) = tokens.pop() else { break Ok(()) };
            if let Err(Refused { error, packet }) = self.launch(queue, &mut batch, token) {
                tokens.push(packet);
                break Err(error);
            }
        };
        tokens.reverse();
        match outcome {
            Err(error) if batch.packets == 0 => Err(error),
            _ => Ok(batch.packets),
        }
    }

    /// Sends a token, for which there is room in the ring for one descriptor.
    #[inline(always)]
    fn launch(&self, queue: &Queue, batch: &mut Batch<'_>, token: Token) -> std::result::Result<(), Refused<Token>> {
        let (addr, len) = (token.buffer_desc().0, token.size());
        if token.pool_id() != self.ctx.pool_id() || !self.is_plain(addr, len) {
            return self.launch_unusual(queue, batch, token);
        }
        let _ = token.into_desc();
        self.submit(queue, batch, addr, len, 0);
        Ok(())
    }

    /// A token of another pool, of a big frame, without room for metadata, or empty.
    #[cold]
    #[inline(never)]
    fn launch_unusual(
        &self,
        queue: &Queue,
        batch: &mut Batch<'_>,
        token: Token,
    ) -> std::result::Result<(), Refused<Token>> {
        let (addr, len) = (token.buffer_desc().0, token.size());
        if len == 0 {
            let error = Error::unsupported("sending an empty packet", "the kernel refuses it: send at least one byte");
            return Err(Refused::new(error, token));
        }
        if token.pool_id() == self.ctx.pool_id() && addr >= self.big_start {
            return self.launch_big(queue, batch, token);
        }
        // A copy, which is a plain packet of our own pool, or a big one.
        match token.peek(|packet| self.copy_in(packet)) {
            Some(Ok(copy)) if copy.buffer_desc().0 < self.big_start => {
                self.submit(queue, batch, copy.buffer_desc().0, len, 0);
                let _ = copy.into_desc();
            }
            Some(Ok(copy)) => {
                if let Err(Refused { error, packet }) = self.launch_big(queue, batch, copy) {
                    drop(packet.consume(&self.ctx));
                    return Err(Refused::new(error, token));
                }
            }
            Some(Err(error)) => return Err(Refused::new(error, token)),
            None => return Err(Refused::new(Error::unsupported("sending a token", "its pool is gone"), token)),
        }
        if token.pool_id() == self.ctx.pool_id() {
            drop(token.consume(&self.ctx));
        }
        Ok(())
    }

    /// A packet that lies in several chunks, one behind the other: as many descriptors.
    fn launch_big(
        &self,
        queue: &Queue,
        batch: &mut Batch<'_>,
        token: Token,
    ) -> std::result::Result<(), Refused<Token>> {
        let chunk = self.umem.chunk() as usize;
        let (start, len) = (token.buffer_desc().0, token.size() as usize);
        let first = chunk - start % chunk;
        let pieces = 1 + len.saturating_sub(first).div_ceil(chunk) as u32;
        if !self.jumbo && pieces > 1 {
            return Err(Refused::new(Error::TooBigPacket(len), token));
        }
        if !queue.tx.has_room(pieces) {
            if let Err(error) = self.make_room(queue, pieces) {
                return Err(Refused::new(error, token));
            }
        }
        self.ledger.give_big(self.ctx.frame_start(token.into_desc()).0 as u64, pieces as u8);
        let (mut at, mut left) = (start, len);
        while left > 0 {
            let piece = left.min(chunk - at % chunk);
            let options = if piece < left { libc::XDP_PKT_CONTD } else { 0 };
            let pushed = queue.tx.push(xdp_desc { addr: at as u64, len: piece as u32, options });
            debug_assert!(pushed, "room was checked");
            (at, left) = (at + piece, left - piece);
        }
        batch.packets += 1;
        batch.bytes += len as u64;
        Ok(())
    }

    /// Sends a packet whose checksum the kernel or the card computes: over everything from byte `start` to the end, put
    /// at `start + offset`, where the sum of the pseudo-header must stand already (as for `CHECKSUM_PARTIAL`). For UDP
    /// over IPv4 without options: `start` 34, `offset` 6. The packet must come from [`alloc`](crate::api::Socket::alloc)
    /// of this socket or have been received by it, so that there is room before it.
    ///
    /// # Errors
    ///
    /// As [`send_payload`](crate::api::Socket::send_payload), and [`Error::Unsupported`] without `tx_checksum`.
    pub fn send_checksum<'ctx>(
        &self,
        payload: Payload<'ctx, PoolContext>,
        start: u16,
        offset: u16,
    ) -> std::result::Result<(), Refused<Payload<'ctx, PoolContext>>> {
        let refuse = |error, payload| Err(Refused::new(error, payload));
        let metadata = self.umem.tx_metadata() as usize;
        if metadata == 0 {
            let error = Error::unsupported("checksum offload", "open the socket with the option `tx_checksum`");
            return refuse(error, payload);
        }
        if usize::from(start) + usize::from(offset) + 2 > payload.len() {
            let expected = format!("a place for the checksum within the packet of {} bytes", payload.len());
            let value = format!("{start}+{offset}");
            return refuse(Error::BadOption { option: "checksum", value, expected }, payload);
        }
        let ctx = payload.context();
        let token = payload.into_token();
        let (addr, len) = (token.buffer_desc().0, token.size());
        if token.pool_id() != self.ctx.pool_id() || !self.is_plain(addr, len) {
            let error = Error::unsupported(
                "checksum offload for a packet from elsewhere",
                "it needs room for metadata before the packet: copy it into one from `alloc` of this socket",
            );
            return refuse(error, ctx.packet(token));
        }
        let queue = match self.tx_queue() {
            Ok(queue) if queue.tx.room() != 0 => queue,
            Ok(queue) => match self.make_room(queue, 1) {
                Ok(()) => queue,
                Err(error) => return refuse(error, ctx.packet(token)),
            },
            Err(error) => return refuse(error, ctx.packet(token)),
        };
        let at = token.into_desc().0;
        // SAFETY: `is_plain` says that `metadata` bytes before the packet are within its frame, which is ours alone.
        let request = unsafe { &mut *self.ctx.unsafe_buffer(BufferDesc(at - metadata), metadata) };
        request.fill(0);
        request[..8].copy_from_slice(&u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM).to_ne_bytes());
        request[8..10].copy_from_slice(&start.to_ne_bytes());
        request[10..12].copy_from_slice(&offset.to_ne_bytes());
        self.submit(queue, &mut self.batch(), at, len, libc::XDP_TX_METADATA);
        Ok(())
    }

    /// The ring is full as far as known: looks again, sends what is in it, and takes back what is done.
    #[cold]
    #[inline(never)]
    fn make_room(&self, queue: &Queue, slots: u32) -> Result<()> {
        if queue.tx.has_room(slots) {
            return Ok(());
        }
        self.transmit(queue);
        self.reap(queue);
        if queue.tx.has_room(slots) {
            return Ok(());
        }
        match self.counters.tx_errno.get() {
            libc::ENETDOWN => Err(Error::System {
                what: format!("{}: sending", self.interface),
                help: format!("`ip link set {} up`", self.interface),
                source: std::io::Error::from_raw_os_error(libc::ENETDOWN),
            }),
            _ => Err(Error::RingFull),
        }
    }

    /// No frame is free: looks for those that have been sent.
    #[cold]
    #[inline(never)]
    fn reclaim_completed(&self) {
        for queue in &*self.queues {
            self.transmit(queue);
            self.reap(queue);
        }
    }

    /// Whether a packet can be sent now.
    pub(super) fn writable(&self) -> bool {
        let Ok(queue) = self.tx_queue() else { return false };
        self.reap(queue);
        if !queue.tx.has_room(1) {
            return false;
        }
        match self.ctx.take() {
            Some(frame) => {
                // SAFETY: just taken, and given up again.
                unsafe { self.ctx.release(frame) };
                true
            }
            None => false,
        }
    }

    /// Lets the kernel see what is in the tx ring, and wakes it where it must be woken.
    #[inline]
    pub(super) fn transmit(&self, queue: &Queue) {
        queue.tx.publish();
        if queue.tx.unread() != 0 && (!self.need_wakeup || queue.tx.needs_wakeup()) {
            self.wake(queue);
        }
    }

    /// In copy mode the kernel sends within the call, but only 32 packets at a time.
    #[inline(never)]
    fn wake(&self, queue: &Queue) {
        let (mut before, mut stalls) = (queue.tx.unread(), 0);
        loop {
            let errno = sys::kick_tx(queue.as_fd());
            self.counters.tx_errno.set(errno);
            match errno {
                // The rest must wait: for another call, or until completions have been taken.
                0 | libc::EAGAIN => {}
                // In copy mode: the interface has dropped one packet, which is complete nevertheless.
                libc::EBUSY if !queue.zero_copy => add(&self.counters.tx_refused, 1),
                // The kernel is short of memory, the interface is down or gone: the packets stay in the ring.
                _ => return,
            }
            let now = queue.tx.unread();
            if now == 0 || queue.zero_copy {
                return;
            }
            if now == before {
                stalls += 1;
                if stalls > STALLS {
                    return;
                }
                self.reap(queue);
            }
            before = now;
        }
    }

    /// Takes frames whose packets have been sent.
    #[inline]
    pub(super) fn reap(&self, queue: &Queue) {
        let mut n = queue.completion.available();
        if n == 0 {
            return;
        }
        let (mut packets, mut frames) = (0, 0);
        while n > 0 {
            let Some(addr) = queue.completion.pop() else { break };
            n -= 1;
            if self.ledger.take(addr, Side::Tx) {
                // SAFETY: the ledger says that the frame was the kernel's, to be sent, and is ours now.
                unsafe { self.ctx.release(BufferDesc(addr as usize)) };
                packets += 1;
                frames += 1;
            } else if self.reap_big(addr) {
                packets += 1;
                frames += 1;
            }
        }
        queue.completion.publish();
        add(&self.counters.tx_completed, packets);
        self.note_in_rings(0, frames);
    }

    /// One chunk of a big frame has been sent. Whether it was the last.
    #[cold]
    #[inline(never)]
    fn reap_big(&self, addr: u64) -> bool {
        if (addr as usize) < self.big_start || addr as usize >= self.umem.pool().memory().len() {
            return false;
        }
        let frame = self.ctx.frame_start(BufferDesc(addr as usize));
        if self.ledger.take_big(frame.0 as u64) != Some(true) {
            return false;
        }
        // SAFETY: all chunks of the frame were the kernel's, to be sent, and are ours now.
        unsafe { self.ctx.release(frame) };
        true
    }
}
