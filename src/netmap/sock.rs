//! The socket.
#![allow(unsafe_code)]

use super::buffers::Buffers;
use super::layout::Layout;
use super::port::{Kind, Port};
use super::rx::{Counters, Rx, Spare};
use super::sys::BUFFER_LIMIT;
use super::tx::Tx;
use super::{Meta, NetmapFlags};
use crate::api::{Interest, LinkInfo, Mode, Payload, Socket, Stats, Token, TxDrops};
use crate::errors::{Error, Refused, Result};
use crate::pool::{Memory, Pool, PoolContext};
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A netmap port: one or several ring pairs behind one handle.
#[derive(Debug)]
pub struct Sock {
    ctx: PoolContext,
    buffers: Buffers,
    rx: Box<[Rx]>,
    tx: Box<[Tx]>,
    spare: Spare,
    /// The receive ring to look into next (while a callback runs: its own), and the transmit ring in use.
    rx_at: Cell<usize>,
    tx_at: Cell<usize>,
    received: Counters,
    submitted: Cell<u64>,
    tx_bytes: Cell<u64>,
    refused: Cell<u64>,
    /// What a sync hands over has left: pipes give slots back only when the other end has read them.
    leaves_at_once: bool,
    wanted: u32,
    port: Port,
    // After the context: a pool that ends with it puts its buffers into this memory.
    pub(super) layout: Arc<Layout>,
}

impl Sock {
    /// Puts a socket together: a port that is open, and the pool that its rings exchange buffers with.
    fn assemble(port: Port, layout: Arc<Layout>, pool: &Arc<Pool>) -> Self {
        let base = pool.memory().base();
        // SAFETY: the pool's memory are the buffers of this layout, or of one with the same memory (`create_sharing`
        // compares ids); the context keeps the pool alive as long as the socket.
        let buffers = unsafe { Buffers::new(base, layout.buf_size, layout.total) };
        Self {
            ctx: PoolContext::attach(pool),
            buffers,
            rx: layout.rx.iter().map(|(queue, ring)| Rx::new(*queue, *ring)).collect(),
            tx: layout.tx.iter().map(|(queue, ring)| Tx::new(*queue, *ring)).collect(),
            spare: Spare::default(),
            rx_at: Cell::new(0),
            tx_at: Cell::new(0),
            received: Counters::default(),
            submitted: Cell::new(0),
            tx_bytes: Cell::new(0),
            refused: Cell::new(0),
            leaves_at_once: port.kind == Kind::Pipe || port.emulated,
            wanted: port.extra_bufs,
            port,
            layout,
        }
    }

    /// Gives read slots back to the kernel and learns what has arrived.
    #[cold]
    #[inline(never)]
    pub(super) fn rxsync(&self) -> Result<()> {
        self.settle();
        self.rx.iter().for_each(Rx::publish);
        self.layout.device().rxsync().map_err(|error| self.failed("receiving", error))?;
        self.rx.iter().for_each(Rx::refresh);
        Ok(())
    }

    /// See [`Rx::settle`].
    fn settle(&self) {
        self.rx[self.rx_at.get()].settle(&self.ctx, &self.spare);
    }

    /// Hands packets to the kernel and learns what has left.
    fn txsync(&self) -> Result<()> {
        self.tx.iter().for_each(Tx::publish);
        self.layout.device().txsync().map_err(|error| self.failed("sending", error))?;
        let refused: u32 = self.tx.iter().map(Tx::refresh).sum();
        self.refused.set(self.refused.get() + u64::from(refused));
        Ok(())
    }

    #[cold]
    fn failed(&self, what: &str, source: io::Error) -> Error {
        Error::System {
            what: format!("{what} on netmap port {}", self.port.label),
            help: "the interface may be down or gone; `dmesg | tail` has netmap's own words".to_owned(),
            source,
        }
    }

    /// A transmit ring with room.
    #[inline(always)]
    fn room(&self) -> Result<&Tx> {
        let tx = &self.tx[self.tx_at.get()];
        if tx.has_room() { Ok(tx) } else { self.make_room() }
    }

    #[cold]
    #[inline(never)]
    fn make_room(&self) -> Result<&Tx> {
        // Another ring with room first: one that is full is busy.
        for synced in [false, true] {
            if let Some(at) = self.tx.iter().position(Tx::has_room) {
                self.tx_at.set(at);
                return Ok(&self.tx[at]);
            }
            if !synced {
                self.txsync()?;
            }
        }
        Err(Error::RingFull)
    }

    #[inline(always)]
    fn count(&self, bytes: usize) {
        self.submitted.set(self.submitted.get() + 1);
        self.tx_bytes.set(self.tx_bytes.get() + bytes as u64);
    }

    /// A slot that names no buffer: somebody else has written into the ring.
    #[cold]
    fn no_buffer(&self) -> Error {
        super::Error::Layout { port: self.port.label.clone(), what: "the buffer of a transmit slot" }.into()
    }

    /// Packets accepted that have not left.
    fn pending(&self) -> u64 {
        let of = |tx: &Tx| if self.leaves_at_once { tx.unsent() } else { tx.pending() };
        self.tx.iter().map(|tx| u64::from(of(tx))).sum()
    }
}

impl Socket for Sock {
    type Context = PoolContext;
    type Metadata = Meta;
    type Flags = NetmapFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: NetmapFlags) -> Result<Self> {
        let port = Port::parse(portspec, queue, &flags)?;
        let layout = Arc::new(port.open()?);
        let (base, len) = layout.buffers();
        let extra = layout.take_extra();
        // SAFETY: the buffers are initialised memory inside the mapping, which the layout keeps alive. Besides the pool's
        // frames they are the rings', which nobody reaches but through the ring protocol.
        let memory = unsafe { Memory::foreign(base, len, Box::new(layout.clone())) };
        let heir = layout.clone();
        let size = layout.buf_size.min(BUFFER_LIMIT) as usize;
        let pool = Pool::lent(size, layout.buf_size as usize, memory, extra, move |offsets| heir.give_extra(&offsets))?;
        Ok(Self::assemble(port, layout, &pool))
    }

    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: NetmapFlags) -> Result<Self> {
        let mem_id = self.layout.answer().mem_id;
        let port = Port::parse(portspec, queue, &flags)?;
        let unshared = |why: String| {
            Error::unsupported(
                format!("sharing the buffers of {} with {portspec}", self.port.label),
                format!("{why}: open it with `create`, packets are then copied between the two"),
            )
        };
        if port.emulated != self.port.emulated {
            return Err(unshared("one of them is emulated".to_owned()));
        }
        let port = port.sharing(mem_id);
        let layout = Arc::new(port.open()?);
        let theirs = layout.answer().mem_id;
        if theirs != mem_id || (layout.buf_size, layout.total) != (self.layout.buf_size, self.layout.total) {
            return Err(unshared(format!("it has memory {theirs}, not {mem_id}")));
        }
        Ok(Self::assemble(port, layout, self.ctx.pool()))
    }

    #[inline(always)]
    fn context(&self) -> &PoolContext {
        &self.ctx
    }

    #[inline]
    fn recv_token(&self) -> Result<(Token, Meta)> {
        let mut received = None;
        self.recv_each(1, |token, meta| received = Some((token, meta)))?;
        received.ok_or(Error::NoPacket)
    }

    #[inline(always)]
    fn recv_each(&self, max: usize, mut f: impl FnMut(Token, Meta)) -> Result<usize> {
        self.settle();
        if max == 0 {
            return Ok(0);
        }
        let mut synced = false;
        if self.rx.iter().any(Rx::overdue) {
            self.rxsync()?;
            synced = true;
        }
        let rings = self.rx.len();
        loop {
            // One place for a packet's way out: what is written once is compiled into one loop.
            let mut n = 0;
            for _ in 0..rings {
                let at = self.rx_at.get();
                n += self.rx[at].receive(max - n, &self.ctx, &self.buffers, &self.spare, &self.received, &mut f);
                // Also for the next call: it begins behind the last ring, so that a busy one does not starve the others.
                self.rx_at.set(if at + 1 < rings { at + 1 } else { 0 });
                if n == max {
                    break;
                }
            }
            if n > 0 || synced {
                return Ok(n);
            }
            self.rxsync()?;
            synced = true;
        }
    }

    #[inline]
    fn send(&self, packet: &[u8]) -> Result<()> {
        if packet.len() > self.ctx.pool().geometry().frame_size {
            return Err(Error::TooBigPacket(packet.len()));
        }
        let tx = self.room()?;
        // SAFETY: `room` found room; the length was just checked.
        if unsafe { tx.copy(packet, &self.buffers) } {
            self.count(packet.len());
            return Ok(());
        }
        Err(self.no_buffer())
    }

    #[inline(always)]
    fn send_batch<'a>(&self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        let longest = self.ctx.pool().geometry().frame_size;
        let mut packets = packets.into_iter();
        let mut left = packets.next();
        let mut done = (0, 0);
        let outcome = loop {
            let Some(packet) = left else { break Ok(()) };
            if packet.len() > longest {
                break Err(Error::TooBigPacket(packet.len()));
            }
            match self.room() {
                Ok(tx) => {
                    let before = done.0;
                    left = tx.copy_each(packet, &mut packets, longest, &self.buffers, &mut done);
                    if left.is_some() && done.0 == before {
                        break Err(self.no_buffer());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.submitted.set(self.submitted.get() + done.0);
        self.tx_bytes.set(self.tx_bytes.get() + done.1);
        match outcome {
            Err(error) if done.0 == 0 => Err(error),
            _ => Ok(done.0 as usize),
        }
    }

    fn flush(&self) {
        for tx in self.tx.iter().filter(|tx| tx.unsent() > 0) {
            tx.ask_for_report();
        }
        if self.pending() > 0 {
            // `flush` reports nothing; what could not be sent stays in the ring and the next `send` says why.
            let _ = self.txsync();
        }
    }

    #[inline]
    fn alloc(&self, len: usize) -> Result<Payload<'_, PoolContext>> {
        self.ctx.alloc(len)
    }

    #[inline]
    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        let tx = match self.room() {
            Ok(tx) => tx,
            Err(error) => return Err(Refused::new(error, token)),
        };
        let token = if token.pool_id() == self.ctx.pool().id() {
            // SAFETY: `room` found room; the token is of our pool, whose frames are the buffers of our rings' memory.
            match unsafe { tx.exchange(token, &self.ctx, &self.buffers) } {
                Ok(len) => {
                    self.count(len as usize);
                    return Ok(());
                }
                Err(token) => token,
            }
        } else {
            token
        };
        match token.peek(|packet| self.send(packet)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Refused::new(error, token)),
            None => Err(Refused::new(Error::unsupported("sending a token", "its pool is gone"), token)),
        }
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        let (readable, writable) = (interest != Interest::Writable, interest != Interest::Readable);
        if readable {
            if self.rx.iter().any(Rx::waiting) {
                return Ok(true);
            }
            self.rxsync()?;
        }
        if writable && !self.tx.iter().any(Tx::has_room) {
            self.txsync()?;
        }
        if (readable && self.rx.iter().any(Rx::waiting)) || (writable && self.tx.iter().any(Tx::has_room)) {
            return Ok(true);
        }
        self.layout.device().wait(readable, writable, timeout).map_err(|error| self.failed("waiting", error))
    }

    fn stats(&self) -> Stats {
        let submitted = self.submitted.get();
        let refused = self.refused.get();
        Stats {
            rx_packets: self.received.packets.get(),
            rx_bytes: self.received.bytes.get(),
            rx_truncated: 0,
            rx_dropped: self.received.drops(),
            tx_submitted: submitted,
            tx_packets: submitted.saturating_sub(self.pending() + refused),
            tx_bytes: self.tx_bytes.get(),
            tx_dropped: TxDrops { invalid: refused, ..TxDrops::default() },
        }
    }

    fn link(&self) -> Result<LinkInfo> {
        let mut link = if self.port.kind == Kind::Card && !self.port.emulated {
            LinkInfo::of_interface(&self.port.name)?
        } else {
            let mtu = self.layout.buf_size.saturating_sub(14);
            LinkInfo { name: self.port.label.clone(), mtu: Some(mtu), ..LinkInfo::default() }
        };
        let answer = self.layout.answer();
        link.rx_queues = Some(answer.rx_rings.into());
        link.tx_queues = Some(answer.tx_rings.into());
        Ok(link)
    }

    fn frames_in_flight(&self) -> Option<usize> {
        self.settle();
        Some(self.ctx.pool().in_flight())
    }

    fn mode(&self) -> Mode {
        let geometry = self.ctx.pool().geometry();
        let mut notes = Vec::new();
        if self.port.emulated {
            notes.push("emulated in this process, no kernel module involved".to_owned());
        }
        notes.push(format!("memory {}", self.layout.answer().mem_id));
        let got = self.layout.answer().extra_bufs;
        if got < self.wanted {
            notes.push(format!("{got} of {} extra buffers", self.wanted));
        }
        let mut queues: Vec<u32> = self.rx.iter().map(Rx::queue).chain(self.tx.iter().map(Tx::queue)).collect();
        queues.sort_unstable();
        queues.dedup();
        Mode {
            backend: "netmap",
            port: self.port.label.clone(),
            queues,
            frames: geometry.frames,
            frame_size: geometry.frame_size,
            // Of a card only its driver knows: netmap's generic mode copies, and does not tell.
            zero_copy: match self.port.kind {
                Kind::Pipe => Some(true),
                Kind::Vale => Some(false),
                Kind::Card => None,
            },
            notes,
            ..Mode::default()
        }
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        self.settle();
        self.spare.give_back(&self.ctx);
    }
}

impl std::os::fd::AsFd for Sock {
    /// Readable while packets wait that no call to this socket has seen yet.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.layout.device().fd()
    }
}
