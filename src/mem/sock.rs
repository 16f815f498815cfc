//! A socket on an in-memory wire.

use super::clock::Clock;
use super::wire::{Inbox, Wire};
use crate::api::{
    Flags, Interest, LinkInfo, Metadata, MetadataType, Mode, Payload, PortSpec, RxDrops, Socket, Stats, Token, TxDrops,
};
use crate::errors::{Error, Refused, Result};
use crate::pool::{Geometry, PoolContext};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What happens to a packet whose receiver's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped and counted at the receiver, as on a real wire.
    #[default]
    Drop,
    /// `send` refuses it with [`Error::RingFull`]; nothing is ever lost.
    Refuse,
}

/// Configuration of an in-memory port. Frames are those of the wire: they are set by the first socket on it.
#[derive(Clone, Debug)]
pub struct MemFlags {
    /// Frames of the wire's pool.
    pub frames: usize,
    /// Bytes that a frame holds.
    pub frame_size: usize,
    /// Packets that this socket's receive queue holds.
    pub queue: usize,
    /// What this socket's `send` does when a receiver's queue is full.
    pub when_full: WhenFull,
    /// Stamp received packets with the time of `clock` (always done under simulated time).
    pub timestamps: bool,
    /// Where time comes from.
    pub clock: Clock,
}

impl Default for MemFlags {
    fn default() -> Self {
        Self {
            frames: 4096,
            frame_size: 2048,
            queue: 1024,
            when_full: WhenFull::Drop,
            timestamps: false,
            clock: Clock::Real,
        }
    }
}

impl Flags for MemFlags {}

/// What the wire knows of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// When it was received, in nanoseconds of the socket's clock, if timestamps are on.
    pub timestamp: Option<u64>,
}

impl Metadata for Meta {
    fn into_enum(self) -> MetadataType {
        MetadataType::Mem(self)
    }
    fn timestamp_ns(&self) -> Option<u64> {
        self.timestamp
    }
}

/// One end of an in-memory wire.
#[derive(Debug)]
pub struct Sock {
    name: String,
    ctx: PoolContext,
    wire: Arc<Wire>,
    inbox: Arc<Inbox>,
    /// Everyone else on the wire, as of `generation`.
    others: RefCell<Vec<Arc<Inbox>>>,
    generation: Cell<usize>,
    when_full: WhenFull,
    stamped: bool,
    clock: Clock,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    rx_packets: Cell<u64>,
    rx_bytes: Cell<u64>,
    tx_packets: Cell<u64>,
    tx_bytes: Cell<u64>,
    no_receiver: Cell<u64>,
    queue_full: Cell<u64>,
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

impl Sock {
    /// Takes note of who has joined or left.
    #[inline]
    fn refresh(&self) {
        let now = self.wire.generation();
        if now != self.generation.get() {
            self.reload(now);
        }
    }

    #[cold]
    fn reload(&self, generation: usize) {
        *self.others.borrow_mut() = self.wire.others(&self.inbox);
        self.generation.set(generation);
    }

    /// Whether a packet may be sent: under [`WhenFull::Refuse`], only if every receiver has room.
    #[inline]
    fn admit(&self) -> Result<()> {
        self.refresh();
        if self.when_full == WhenFull::Refuse && self.others.borrow().iter().any(|inbox| inbox.is_full()) {
            return Err(Error::RingFull);
        }
        Ok(())
    }

    /// Puts a packet into every other inbox.
    #[inline(always)]
    fn deliver(&self, token: Token) {
        let others = self.others.borrow();
        add(&self.counters.tx_packets, 1);
        add(&self.counters.tx_bytes, u64::from(token.size()));
        let Some((last, rest)) = others.split_last() else {
            add(&self.counters.no_receiver, 1);
            drop(token.consume(&self.ctx));
            return;
        };
        let token = if rest.is_empty() { token } else { self.copy_to(rest, token) };
        self.hand(last, token);
    }

    #[cold]
    fn copy_to(&self, inboxes: &[Arc<Inbox>], token: Token) -> Token {
        let packet = token.consume(&self.ctx);
        for inbox in inboxes {
            match self.ctx.copy_in(&packet) {
                Ok(copy) => self.hand(inbox, copy),
                Err(_) => {
                    inbox.no_frame.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        packet.into_token()
    }

    #[inline(always)]
    fn hand(&self, inbox: &Inbox, token: Token) {
        if let Err(token) = inbox.push(token) {
            inbox.full.fetch_add(1, Ordering::Relaxed);
            add(&self.counters.queue_full, 1);
            drop(token.consume(&self.ctx));
        }
    }
}

impl Socket for Sock {
    type Context = PoolContext;
    type Metadata = Meta;
    type Flags = MemFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: MemFlags) -> Result<Self> {
        let spec = PortSpec::parse_for(portspec, "mem")?;
        if let Some(queue @ 1..) = queue {
            return Err(Error::NoSuchPort {
                port: portspec.to_owned(),
                problem: format!("queue {queue} does not exist: a wire in memory has queue 0 only"),
            });
        }
        let mut options = spec.options();
        let frames = options.number("frames", 2..=1 << 24)?.unwrap_or(flags.frames);
        let frame_size = options.number("frame_size", 64..=1 << 20)?.unwrap_or(flags.frame_size);
        let depth = options.number("queue", 1..=1 << 24)?.unwrap_or(flags.queue);
        let when_full = options
            .one_of("full", &[("drop", WhenFull::Drop), ("refuse", WhenFull::Refuse)])?
            .unwrap_or(flags.when_full);
        let stamped = options.switch("timestamps")?.unwrap_or(flags.timestamps) || flags.clock.is_simulated();
        options.finish()?;
        if depth == 0 {
            return Err(Error::BadOption { option: "queue", value: "0".into(), expected: "at least 1 packet".into() });
        }
        let (wire, inbox) = Wire::join(&spec.name, Geometry::new(frames, frame_size), depth)?;
        Ok(Self {
            name: spec.name,
            ctx: PoolContext::attach(&wire.pool),
            wire,
            inbox,
            others: RefCell::default(),
            generation: Cell::new(0),
            when_full,
            stamped,
            clock: flags.clock,
            counters: Counters::default(),
        })
    }

    #[inline]
    fn context(&self) -> &PoolContext {
        &self.ctx
    }

    #[inline(always)] // a token moved through memory stalls on store forwarding
    fn recv_token(&self) -> Result<(Token, Meta)> {
        let Some(token) = self.inbox.pop() else { return Err(Error::NoPacket) };
        add(&self.counters.rx_packets, 1);
        add(&self.counters.rx_bytes, u64::from(token.size()));
        Ok((token, Meta { timestamp: self.stamped.then(|| self.clock.now_ns()) }))
    }

    #[inline]
    fn send(&self, packet: &[u8]) -> Result<()> {
        self.admit()?;
        self.deliver(self.ctx.copy_in(packet)?);
        Ok(())
    }

    #[inline]
    fn flush(&self) {
        self.refresh();
        for inbox in self.others.borrow().iter() {
            inbox.notify();
        }
    }

    #[inline]
    fn alloc(&self, len: usize) -> Result<Payload<'_, PoolContext>> {
        self.ctx.alloc(len)
    }

    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        if token.pool_id() == self.wire.pool.id() {
            if let Err(error) = self.admit() {
                return Err(Refused::new(error, token));
            }
            self.deliver(token);
            return Ok(());
        }
        match token.peek(|packet| self.send(packet)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Refused::new(error, token)),
            None => Err(Refused::new(Error::unsupported("sending a token", "its pool is gone"), token)),
        }
    }

    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: MemFlags) -> Result<Self> {
        let socket = Self::create(portspec, queue, flags)?;
        if Arc::ptr_eq(&socket.wire, &self.wire) {
            return Ok(socket);
        }
        Err(Error::unsupported(
            format!("sharing a pool with {portspec}"),
            "each wire in memory has a pool of its own: open it with `create`, packets are then copied between the two",
        ))
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        if interest != Interest::Readable || !self.inbox.is_empty() {
            return Ok(true);
        }
        if self.clock.is_simulated() {
            // Simulated time does not pass while somebody sleeps.
            return Ok(false);
        }
        Ok(self.inbox.wait(timeout.and_then(|timeout| Instant::now().checked_add(timeout))))
    }

    fn stats(&self) -> Stats {
        let counters = &self.counters;
        Stats {
            rx_packets: counters.rx_packets.get(),
            rx_bytes: counters.rx_bytes.get(),
            rx_truncated: 0,
            rx_dropped: RxDrops {
                ring_full: self.inbox.full.load(Ordering::Relaxed),
                no_frame: self.inbox.no_frame.load(Ordering::Relaxed),
                ..RxDrops::default()
            },
            tx_submitted: counters.tx_packets.get(),
            tx_packets: counters.tx_packets.get() - counters.no_receiver.get() - counters.queue_full.get(),
            tx_bytes: counters.tx_bytes.get(),
            tx_dropped: TxDrops {
                no_receiver: counters.no_receiver.get(),
                queue_full: counters.queue_full.get(),
                ..TxDrops::default()
            },
        }
    }

    fn link(&self) -> Result<LinkInfo> {
        self.refresh();
        Ok(LinkInfo {
            name: self.name.clone(),
            mtu: u32::try_from(self.wire.pool.geometry().frame_size.saturating_sub(14)).ok(),
            carrier: Some(!self.others.borrow().is_empty()),
            rx_queues: Some(1),
            tx_queues: Some(1),
            ..LinkInfo::default()
        })
    }

    fn mode(&self) -> Mode {
        let geometry = self.wire.pool.geometry();
        Mode {
            backend: "mem",
            port: self.name.clone(),
            queues: vec![0],
            frames: geometry.frames,
            frame_size: geometry.frame_size,
            ..Mode::default()
        }
    }

    fn frames_in_flight(&self) -> Option<usize> {
        Some(self.wire.in_flight())
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        self.wire.leave(&self.inbox);
    }
}

#[cfg(all(unix, not(loom)))]
impl std::os::fd::AsFd for Sock {
    /// Readable while packets wait.
    ///
    /// # Panics
    ///
    /// At the first call, if the process has no file descriptor left to make one of.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.inbox.fd()
    }
}
