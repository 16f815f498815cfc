//! A host: one packet socket, one engine and one clock, driven by one thread.
//!
//! ```text
//!              ┌───────────────────────────── Host ─────────────────────────────┐
//!   NIC ──▶ socket ──burst──▶ ingress ─▶ Stack ─▶ events ──▶ the program          │
//!    ▲         ▲                          │  ▲                  │ reads, writes   │
//!    │         │                    timers│  └──────────────────┘                 │
//!    └─────────┴◀── frames ── egress ◀────┘        one `poll` is one turn          │
//!              └────────────────────────────────────────────────────────────────┘
//!   other threads ──▶ Waker
//! ```
//!
//! [`Host::poll`] first sends what the program wrote since the last call, with one flush, then receives, runs timers,
//! acknowledges, and waits until there is something for the program. So the loop of a program is `poll`, events, and
//! again; nothing that it writes can be forgotten.
//!
//! # Who owns what
//!
//! The host owns the socket, but shares it with the [`Reader`]s that it hands out: received data is a
//! [`Chunk`], which is opened by a reader and then borrows the socket's frames, not the host, so that the program may
//! write to the host what it just read, without a copy. A chunk that is dropped gives its frame back.
//!
//! A host stays in its thread. What travels there is the [`HostBuilder`]; what reaches it from other threads is a
//! [`Waker`].
//!
//! | file | what it is for |
//! |---|---|
//! | `builder`, `options` | what was asked for; what is refused at once |
//! | `turn` | the turn: send, receive, wait |
//! | `gather` | when it pays to let packets gather |
//! | `sink` | frames into the socket |
//! | `sockets` | the operations of TCP and UDP |
//! | `clock`, `wait`, `waker` | time; sleeping; being woken |
//! | `stats`, `advice`, `tap` | what can be seen from outside |
//!
//! Options, checksums on a veth, several hosts on one interface: `docs/host.md`.

mod advice;
mod builder;
mod clock;
mod gather;
mod options;
mod sink;
mod sockets;
mod stats;
mod tap;
mod turn;
mod wait;
mod waker;

pub use builder::HostBuilder;
pub use clock::Clock;
pub use stats::{Counters, Stats};
pub use tap::TapStats;
pub use turn::Turn;
pub use waker::Waker;

use crate::any;
use crate::api::Socket;
use crate::errors::Result;
use crate::stack::config::TxChecksum;
use crate::stack::{self, BURST, Chunk, Event, Instant, Opened, Received, Stack};
use arrayvec::ArrayVec;
use builder::Settings;
use clock::Running;
use gather::Gather;
use sink::Outgoing;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tap::Tap;
use waker::Bell;

/// How a host waits while there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollMode {
    /// It never sleeps: the shortest latency, for a whole processor.
    Busy,
    /// It looks again and again for `spin` after the last packet or write, then sleeps: a conversation never waits for a
    /// sleeper to wake, a quiet host costs nothing.
    Adaptive {
        /// How long it stays awake for nothing.
        spin: Duration,
    },
    /// It sleeps whenever there is nothing to do: the least processor time.
    ///
    /// This one and the adaptive one let packets gather for a moment where many peers have something under way and none of
    /// them has to wait for it: see `docs/host.md`.
    Sleep,
}

impl PollMode {
    /// How long an adaptive host stays awake unless it is told otherwise: longer than the round trip on a local network.
    pub const SPIN: Duration = Duration::from_micros(50);
}

impl Default for PollMode {
    fn default() -> Self {
        Self::Adaptive { spin: Self::SPIN }
    }
}

/// What a host has to know of its socket that is not in [`Socket`].
struct Wires<S> {
    /// What is readable while packets wait; asked anew before every sleep, since some backends arm it by that.
    descriptor: Option<fn(&S) -> BorrowedFd<'_>>,
    /// When a packet arrives of which the descriptor knows nothing, in nanoseconds of the system's clock: those that a
    /// fault injector holds back.
    due: fn(&S) -> Option<Duration>,
}

/// A TCP/IP host on a packet socket. See the [module's](self) description.
///
/// ```
/// use nethuns_rs::host::Host;
/// use nethuns_rs::stack::ListenOptions;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut host = Host::open("mem:host-doc?ip=10.0.0.2/24")?;
/// let listener = host.tcp_listen("10.0.0.2:80".parse()?, &ListenOptions::default())?;
/// host.poll(Some(Duration::from_millis(1)))?;
/// assert_eq!(host.next_event(), None);
/// # Ok(())
/// # }
/// ```
pub struct Host<S: Socket = any::Sock> {
    // The engine before the socket: what it keeps goes back to a pool that is still there.
    stack: Stack,
    outgoing: Outgoing,
    burst: ArrayVec<Received, BURST>,
    socket: Rc<S>,
    wires: Wires<S>,
    tap: Option<Tap>,
    bell: Bell,
    clock: Running,
    now: Instant,
    poll: PollMode,
    gather: Gather,
    /// When something was last received or sent.
    active: Instant,
    /// When the oldest frame in the ring that has not been flushed was written.
    written: Instant,
    /// The descriptor was readable, and nothing came out.
    futile: bool,
    /// The engine has more to send than it could.
    unsent: bool,
    /// The device's word about a received checksum is good enough.
    device_checksum: bool,
    /// The device computes the checksums of what is sent.
    offload: bool,
    counters: Counters,
    /// An event that has been taken out of the engine and not been handed to the program yet.
    next: Option<Event>,
    /// A descriptor of others that is waited for too.
    extra: Option<Rc<OwnedFd>>,
}

impl Host {
    /// A host from one line: a port spec with the options of the host and of the backend, such as
    /// `af_xdp:eth0?ip=10.0.0.2/24&gw=10.0.0.1&poll=busy`.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way, with what would help.
    pub fn open(spec: &str) -> Result<Self> {
        HostBuilder::new(spec).build()
    }
}

impl<S: Socket> Host<S> {
    fn assemble(
        config: stack::Config,
        settings: &Settings,
        socket: S,
        wires: Wires<S>,
        clock: Running,
    ) -> Result<Self> {
        let tap = match &settings.tap {
            Some(path) => Some(Tap::create(path, settings.tap_snaplen, socket.mode().port, clock.unix_offset())?),
            None => None,
        };
        let now = clock.now();
        let offload = config.checksum.tx == TxChecksum::Offload;
        Ok(Self {
            stack: Stack::new(config)?,
            outgoing: Outgoing::default(),
            burst: ArrayVec::new(),
            socket: Rc::new(socket),
            wires,
            tap,
            bell: Bell::new()?,
            clock,
            now,
            poll: settings.poll,
            gather: Gather::new(now),
            active: now,
            written: now,
            futile: false,
            unsent: false,
            device_checksum: settings.device_rx_checksum,
            offload,
            counters: Counters::default(),
            next: None,
            extra: None,
        })
    }

    /// What wakes this host from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.bell.waker()
    }

    /// What opens received data. Take one before the loop: it does not borrow the host.
    #[must_use]
    pub fn reader(&self) -> Reader<S> {
        Reader(self.socket.clone())
    }

    /// The time of the current turn, in the engine's units.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The packet socket.
    #[must_use]
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The engine.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// What the engine was told, with what the link added: MTU and MAC address above all.
    #[must_use]
    pub fn config(&self) -> &stack::Config {
        self.stack.config()
    }

    /// How it waits.
    #[must_use]
    pub fn poll_mode(&self) -> PollMode {
        self.poll
    }

    /// Waits for another descriptor too, or for none any more: when it is readable, [`poll`](Self::poll) returns and says so.
    /// It is looked at once in every turn.
    pub fn set_extra_fd(&mut self, fd: Option<Rc<OwnedFd>>) {
        self.extra = fd;
    }

    /// Changes how it waits.
    pub fn set_poll_mode(&mut self, mode: PollMode) {
        self.poll = mode;
    }

    /// All counters. Costs system calls on some backends: not for every packet.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            socket: self.socket.stats(),
            stack: self.stack.stats(),
            host: self.counters,
            tap: self.tap.as_ref().map(Tap::stats),
        }
    }

    /// The last error of the socket when sending, other than a lack of room. The frames concerned were lost, as on a
    /// wire; [`Counters::tx_errors`] counts them.
    #[must_use]
    pub fn send_error(&self) -> Option<&str> {
        self.outgoing.error.as_deref()
    }
}

impl<S: Socket> fmt::Debug for Host<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config();
        f.debug_struct("Host")
            .field("port", &self.socket.mode().port)
            .field("addresses", &config.addresses)
            .field("poll", &self.poll)
            .finish_non_exhaustive()
    }
}

/// Opens received data of one host. Clones are cheap.
#[derive(Debug)]
pub struct Reader<S: Socket = any::Sock>(Rc<S>);

impl<S: Socket> Reader<S> {
    /// The bytes of a chunk of this host. Its frame goes back when they are dropped.
    #[inline]
    pub fn open(&self, chunk: Chunk) -> Opened<'_, S::Context> {
        chunk.open(self.0.context())
    }
}

impl<S: Socket> Clone for Reader<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests;
