//! Sending: from packets to the tx ring, waking the kernel, and completed frames back from the completion ring.
#![allow(unsafe_code)]

use super::ledger::Side;
use super::queue::{Desc, Queue};
use super::ring::Slot;
use super::sock::{Sock, add};
use super::sys;
use crate::api::{BufferDesc, Context, Payload, Token};
use crate::errors::{Error, Refused, Result};
use crate::pool::PoolContext;
use std::os::fd::AsFd;

/// How often the kernel may be woken without taking anything before we leave it at that.
const STALLS: u32 = 2;

/// Frames submitted by one call. Dropping it tells the counters, whatever happens in between.
struct Batch<'a> {
    sock: &'a Sock,
    /// `tx_submitted` at its beginning.
    before: u64,
    /// Frames that were in no ring before.
    fresh: usize,
}

impl Batch<'_> {
    fn packets(&self) -> usize {
        (self.sock.counters.tx_submitted.get() - self.before) as usize
    }
}

impl Drop for Batch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // The frames of the others have just completed another packet.
        add(&self.sock.counters.tx_completed, (self.packets() - self.fresh) as u64);
        self.sock.note_in_rings(self.fresh, 0);
    }
}

impl Sock {
    /// The queue that packets are sent on.
    #[inline(always)]
    fn tx_queue(&self) -> Option<&Queue> {
        // Always there: a socket has a queue until it is dropped, and `tx_at` is kept below their number.
        self.queues.get(self.tx_at.get())
    }

    #[inline(always)]
    fn batch(&self) -> Batch<'_> {
        Batch { sock: self, before: self.counters.tx_submitted.get(), fresh: 0 }
    }

    /// Puts a frame into a slot of the tx ring. It is good to send as it is.
    #[inline(always)]
    fn submit(&self, slot: Slot<'_, Desc>, batch: &mut Batch<'_>, addr: usize, len: u32, options: u32) {
        self.ledger.give(addr as u64, Side::Tx);
        batch.fresh += 1;
        self.write(slot, addr, len, options);
    }

    #[inline(always)]
    fn write(&self, slot: Slot<'_, Desc>, addr: usize, len: u32, options: u32) {
        slot.write(Desc::new(addr as u64, len, options));
        add(&self.counters.tx_submitted, 1);
        add(&self.counters.tx_bytes, u64::from(len));
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

    /// Copies a packet into a frame and that into the ring, if nothing out of the ordinary stands in the way. A frame
    /// whose packet has been sent is taken as it comes out of the completion ring: to the ledger it never left.
    #[inline(always)]
    fn put(&self, queue: &Queue, batch: &mut Batch<'_>, packet: &[u8]) -> bool {
        // An empty packet is out of the ordinary too: 0 - 1 is more than any frame holds.
        if packet.len().wrapping_sub(1) >= self.tx_most {
            return false;
        }
        let Some(slot) = queue.tx.slot() else { return false };
        let Some(sent) = queue.completion.pop() else { return self.put_fresh(queue, batch, packet) };
        if !self.ledger.has(sent, Side::Tx) {
            return self.put_behind_odd(queue, sent, batch, packet);
        }
        let at = (sent as usize & self.tx_start_mask) + self.tx_room;
        // SAFETY: the ledger says that the frame was the kernel's, to be sent, so it is ours now; the packet fits behind
        // what is left free before it.
        unsafe { (*self.ctx.unsafe_buffer(BufferDesc(at), packet.len())).copy_from_slice(packet) };
        self.write(slot, at, packet.len() as u32, 0);
        true
    }

    /// The same with a free frame.
    #[inline(never)]
    fn put_fresh(&self, queue: &Queue, batch: &mut Batch<'_>, packet: &[u8]) -> bool {
        let Some(slot) = queue.tx.slot() else { return false };
        let Some(frame) = self.ctx.take_top() else { return false };
        let at = self.ledger.open().address(frame) as usize + self.tx_room;
        // SAFETY: the frame was just taken, so it is ours alone; the rest as in `put`.
        unsafe { (*self.ctx.unsafe_buffer(BufferDesc(at), packet.len())).copy_from_slice(packet) };
        self.submit(slot, batch, at, packet.len() as u32, 0);
        true
    }

    /// What came out of the completion ring is a chunk of a big frame, or nothing that we know of.
    #[cold]
    #[inline(never)]
    fn put_behind_odd(&self, queue: &Queue, sent: u64, batch: &mut Batch<'_>, packet: &[u8]) -> bool {
        if self.reap_big(sent) {
            add(&self.counters.tx_completed, 1);
            self.note_in_rings(0, 1);
        }
        self.put_fresh(queue, batch, packet)
    }

    /// [`put`](Self::put) did not do it: makes room, takes a big frame, or says why not.
    #[cold]
    #[inline(never)]
    fn put_with_care(&self, queue: &Queue, batch: &mut Batch<'_>, packet: &[u8]) -> Result<()> {
        self.make_room(queue, 1)?;
        let token = self.copy_in(packet)?;
        match self.launch(queue, batch, token) {
            Ok(()) => Ok(()),
            Err(Refused { error, packet }) => {
                drop(packet.consume(&self.ctx));
                Err(error)
            }
        }
    }

    #[inline(always)]
    pub(super) fn send_copy(&self, packet: &[u8]) -> Result<()> {
        if let Some(queue) = self.tx_queue() {
            if self.put(queue, &mut self.batch(), packet) {
                return Ok(());
            }
        }
        self.send_with_care(packet)
    }

    #[cold]
    #[inline(never)]
    fn send_with_care(&self, packet: &[u8]) -> Result<()> {
        let Some(queue) = self.tx_queue() else { return Err(Error::Unknown) };
        self.put_with_care(queue, &mut self.batch(), packet)
    }

    #[inline]
    pub(super) fn send_copies<'a>(&self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        let Some(queue) = self.tx_queue() else { return Err(Error::Unknown) };
        let mut batch = self.batch();
        for packet in packets {
            if self.put(queue, &mut batch, packet) {
                continue;
            }
            match self.put_with_care(queue, &mut batch, packet) {
                Ok(()) => {}
                Err(error) if batch.packets() == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(batch.packets())
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
        let before = self.umem.tx_room();
        if len <= self.umem.chunk() as usize - before {
            if let Some(frame) = self.ctx.take() {
                // SAFETY: the frame was just taken; `len` bytes behind what is left free before it are within it.
                return Ok(self.ctx.packet(unsafe { Token::new(frame.0 + before, len as u32, self.ctx.pool_id()) }));
            }
        }
        self.alloc_with_care(len)
    }

    /// A big frame, or none is free: some may wait in the completion rings, or in the hands of the kernel.
    #[cold]
    #[inline(never)]
    fn alloc_with_care(&self, len: usize) -> Result<Payload<'_, PoolContext>> {
        let before = self.umem.tx_room();
        if before == 0 {
            return match self.ctx.alloc(len) {
                Err(Error::NoMemory) => {
                    self.reclaim_completed();
                    self.ctx.alloc(len)
                }
                outcome => outcome,
            };
        }
        if len > self.umem.chunk() as usize - before {
            return Err(Error::TooBigPacket(len));
        }
        self.reclaim_completed();
        let frame = self.ctx.take().ok_or(Error::NoMemory)?;
        // SAFETY: as in `alloc_frame`.
        Ok(self.ctx.packet(unsafe { Token::new(frame.0 + before, len as u32, self.ctx.pool_id()) }))
    }

    /// Sends a token, if nothing out of the ordinary stands in the way; else gives it back.
    #[inline(always)]
    fn try_launch(&self, token: Token) -> std::result::Result<(), Token> {
        let (addr, len) = (token.buffer_desc().0, token.size());
        if token.pool_id() != self.ctx.pool_id() || !self.is_plain(addr, len) {
            return Err(token);
        }
        let Some(slot) = self.tx_queue().and_then(|queue| queue.tx.slot()) else { return Err(token) };
        let _ = token.into_desc();
        self.submit(slot, &mut self.batch(), addr, len, 0);
        Ok(())
    }

    #[inline(always)]
    pub(super) fn send_one(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        match self.try_launch(token) {
            Ok(()) => Ok(()),
            Err(token) => self.send_one_with_care(token),
        }
    }

    #[cold]
    #[inline(never)]
    fn send_one_with_care(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        let Some(queue) = self.tx_queue() else { return Err(Refused::new(Error::Unknown, token)) };
        match self.make_room(queue, 1) {
            Ok(()) => self.launch(queue, &mut self.batch(), token),
            Err(error) => Err(Refused::new(error, token)),
        }
    }

    #[inline(always)]
    pub(super) fn send_loan<'ctx, C: Context>(
        &self,
        payload: Payload<'ctx, C>,
    ) -> std::result::Result<(), Refused<Payload<'ctx, C>>> {
        let ctx = payload.context();
        match self.try_launch(payload.into_token()) {
            Ok(()) => Ok(()),
            Err(token) => self.send_loan_with_care(ctx, token),
        }
    }

    #[cold]
    #[inline(never)]
    fn send_loan_with_care<'ctx, C: Context>(
        &self,
        ctx: &'ctx C,
        token: Token,
    ) -> std::result::Result<(), Refused<Payload<'ctx, C>>> {
        if token.pool_id() == self.ctx.pool_id() {
            return self.send_one_with_care(token).map_err(|r| Refused::new(r.error, ctx.packet(r.packet)));
        }
        // Of another pool: its own context is at hand, the registry need not be asked.
        let payload = ctx.packet(token);
        match self.send_copy(&payload) {
            Ok(()) => Ok(()),
            Err(error) => Err(Refused::new(error, payload)),
        }
    }

    #[inline]
    pub(super) fn send_many(&self, tokens: &mut Vec<Token>) -> Result<usize> {
        let Some(queue) = self.tx_queue() else { return Err(Error::Unknown) };
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
            Err(error) if batch.packets() == 0 => Err(error),
            _ => Ok(batch.packets()),
        }
    }

    /// Sends a token, for which there is room in the ring for one descriptor.
    #[inline(always)]
    fn launch(&self, queue: &Queue, batch: &mut Batch<'_>, token: Token) -> std::result::Result<(), Refused<Token>> {
        let (addr, len) = (token.buffer_desc().0, token.size());
        if token.pool_id() == self.ctx.pool_id() && self.is_plain(addr, len) {
            if let Some(slot) = queue.tx.slot() {
                let _ = token.into_desc();
                self.submit(slot, batch, addr, len, 0);
                return Ok(());
            }
        }
        self.launch_unusual(queue, batch, token)
    }

    /// A token of another pool, of a big frame, without room for metadata, or empty; or the ring is full.
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
        let Some(slot) = queue.tx.slot() else { return Err(Refused::new(Error::RingFull, token)) };
        if token.pool_id() == self.ctx.pool_id() && addr >= self.big_start {
            return self.launch_big(queue, batch, token);
        }
        // A copy, which is a plain packet of our own pool, or a big one.
        match token.peek(|packet| self.copy_in(packet)) {
            Some(Ok(copy)) if copy.buffer_desc().0 < self.big_start => {
                self.submit(slot, batch, copy.into_desc().0, len, 0);
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
            let pushed = queue.tx.push(Desc::new(at as u64, piece as u32, options));
            debug_assert!(pushed, "room was checked");
            (at, left) = (at + piece, left - piece);
        }
        batch.fresh += 1;
        add(&self.counters.tx_submitted, 1);
        add(&self.counters.tx_bytes, len as u64);
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
        let ctx = payload.context();
        self.send_with_checksum(payload.into_token(), start, offset)
            .map_err(|refused| Refused::new(refused.error, ctx.packet(refused.packet)))
    }

    /// The same with a token.
    #[inline]
    pub(super) fn send_with_checksum(
        &self,
        token: Token,
        start: u16,
        offset: u16,
    ) -> std::result::Result<(), Refused<Token>> {
        let metadata = self.umem.tx_metadata() as usize;
        let (addr, len) = (token.buffer_desc().0, token.size());
        let within = u32::from(start) + u32::from(offset) + 2 <= len;
        if metadata == 0 || !within || token.pool_id() != self.ctx.pool_id() || !self.is_plain(addr, len) {
            return Err(self.no_checksum(token, start, offset));
        }
        let Some(queue) = self.tx_queue() else { return Err(Refused::new(Error::Unknown, token)) };
        if queue.tx.room() == 0 {
            if let Err(error) = self.make_room(queue, 1) {
                return Err(Refused::new(error, token));
            }
        }
        let Some(slot) = queue.tx.slot() else { return Err(Refused::new(Error::RingFull, token)) };
        let at = token.into_desc().0;
        // SAFETY: `is_plain` says that `metadata` bytes before the packet are within its frame, which is ours alone.
        let request = unsafe { &mut *self.ctx.unsafe_buffer(BufferDesc(at - metadata), metadata) };
        request.fill(0);
        request[..8].copy_from_slice(&u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM).to_ne_bytes());
        request[8..10].copy_from_slice(&start.to_ne_bytes());
        request[10..12].copy_from_slice(&offset.to_ne_bytes());
        self.submit(slot, &mut self.batch(), at, len, libc::XDP_TX_METADATA);
        Ok(())
    }

    /// Why a checksum cannot be left to the kernel.
    #[cold]
    fn no_checksum(&self, token: Token, start: u16, offset: u16) -> Refused<Token> {
        let error = if self.umem.tx_metadata() == 0 {
            Error::unsupported("checksum offload", "open the socket with the option `tx_checksum`")
        } else if u32::from(start) + u32::from(offset) + 2 > token.size() {
            let expected = format!("a place for the checksum within the packet of {} bytes", token.size());
            Error::BadOption { option: "checksum", value: format!("{start}+{offset}"), expected }
        } else {
            Error::unsupported(
                "checksum offload for a packet from elsewhere",
                "it needs room for metadata before the packet: copy it into one from `alloc` of this socket",
            )
        };
        Refused::new(error, token)
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
        let Some(queue) = self.tx_queue() else { return false };
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
        // Room for the completions of what is sent now.
        queue.completion.publish();
        if queue.tx.unread() != 0 && (!self.need_wakeup || queue.tx.needs_wakeup()) {
            self.wake(queue);
        }
    }

    /// After sending: takes frames whose packets have been sent, unless they are so few that they can wait to be sent
    /// again.
    #[inline]
    pub(super) fn reap_many(&self, queue: &Queue) {
        if queue.completion.refresh() > self.tx_keep {
            self.reap(queue);
        }
    }

    /// Takes all there are, from all queues.
    pub(super) fn reap_all(&self) {
        self.queues.iter().for_each(|queue| self.reap(queue));
    }

    /// In copy mode the kernel sends within the call, but only as many packets as its budget allows.
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
    #[inline(never)]
    pub(super) fn reap(&self, queue: &Queue) {
        if queue.completion.refresh() == 0 {
            return;
        }
        let (mut frames, ledger) = (0, self.ledger.open());
        while queue.completion.known() != 0 {
            // SAFETY: the ledger says that the frames were the kernel's, to be sent, and are ours now. Each is one chunk of
            // the UMEM, so that they have the same number.
            unsafe {
                self.ctx.release_many(|put| {
                    frames += queue.completion.pop_while(usize::MAX, |addr| {
                        let known = ledger.take(addr, Side::Tx);
                        if known {
                            put.push(ledger.chunk(addr));
                        }
                        known
                    });
                });
            }
            // What stopped it: a chunk of a big frame, or nothing that we know of.
            if let Some(addr) = queue.completion.pop() {
                frames += usize::from(self.reap_big(addr));
            }
        }
        queue.completion.publish();
        add(&self.counters.tx_completed, frames as u64);
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
