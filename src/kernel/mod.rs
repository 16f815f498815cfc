//! The operations of the engine's sockets over the kernel's non-blocking ones.
//!
//! ```text
//!   program ──tcp_send──▶ send(2)                        epoll (mio, edge-triggered)
//!           ──tcp_recv──▶ recv(2) into a Buffer                 │
//!           ◀─next_event── one Readiness per socket ◀── poll ◀──┘
//! ```
//!
//! A [`Kernel`] belongs to one thread and owns every descriptor that it has opened. Names, events, options and errors
//! are those of [`stack`](crate::stack); what they mean on both is the table in [`net`](crate::net).
//!
//! It makes the system calls of a careful loop written by hand and no others: one `epoll_wait` for all sockets, one
//! `recv` per arrival (one that brings less than there was room for is not repeated), one `send` per answer; an accepted
//! connection inherits its options from the listener; its descriptor is asked for room (`EPOLLOUT`) only once a send was
//! cut short, and leaves epoll by being closed.
//!
//! Connections over sockets of `unix(7)` and connections that were opened elsewhere are connections like any other (`local`).
//! Descriptors of the program's own are watched beside them, level-triggered (`watch`).
//!
//! # Edges
//!
//! epoll tells of a change once. That no change is lost follows from three rules: a receive that brought less than asked
//! had emptied the queue, so whatever comes later is a change (over a unix socket that is not certain, and it is
//! repeated); a send that was cut short has made the kernel remember that somebody waits for room (`SOCK_NOSPACE`), so
//! freed room is a change; `epoll_ctl` looks at the socket itself, so what happened before a descriptor was entered is
//! told at once.

mod buffer;
mod error;
mod listen;
mod local;
mod mmsg;
mod options;
mod slab;
mod sys;
mod tcp;
mod udp;
mod watch;

#[cfg(test)]
mod tests;

pub use buffer::{Buffer, Buffers, Opened, PADDING, STREAM};
pub use mmsg::Packet;
pub use watch::WatchId;

use crate::errors::{Error, Result};
use crate::stack::{Key, ListenerId, Readiness, TcpId, UdpId};
use listen::Listener;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tcp::Tcp;
use udp::Udp;
use watch::Watch;

/// The word in epoll that means the waker. No socket has it: its generation and index are both the last ones.
const WAKER: mio::Token = mio::Token(usize::MAX);

/// Descriptors reported by one `epoll_wait`.
const BATCH: usize = 1024;

/// How long accepting rests when the process has no descriptors left, unless a socket is closed before.
const REST: Duration = Duration::from_millis(100);

/// The kernel's network, for one thread.
pub struct Kernel {
    poll: mio::Poll,
    events: mio::Events,
    sockets: Slab<Socket>,
    /// Sockets with something to tell, each once.
    told: VecDeque<Key>,
    /// Listeners that may have connections waiting: told of again with every poll.
    eager: Vec<Key>,
    /// Listeners that rest because the process has no descriptors left, until when.
    resting: Option<Instant>,
    buffers: Rc<Buffers>,
    receiver: mmsg::Receiver,
    sender: mmsg::Sender,
    waker: Arc<mio::Waker>,
}

/// Anything with a descriptor.
enum Socket {
    Tcp(Tcp),
    Listener(Box<Listener>),
    Udp(Box<Udp>),
    Watch(Watch),
}

/// One thing to tell. Each socket is told of once, however much has happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connections wait to be accepted.
    Accept(ListenerId),
    /// Of a connection.
    Tcp(TcpId, Readiness),
    /// Of a UDP socket.
    Udp(UdpId, Readiness),
    /// Of a descriptor of the program's own.
    Watch(WatchId, Readiness),
}

/// What one poll has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Whether there are events to take.
    pub events: bool,
    /// Whether somebody called [`Waker::wake`].
    pub woken: bool,
}

/// Wakes a [`Kernel::poll`] from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<mio::Waker>);

impl Waker {
    /// Ends the poll that is under way, or else the next one. Many calls before that are one.
    pub fn wake(&self) {
        // An eventfd: it fails only if its counter is full, and then it is awake already.
        let _ = self.0.wake();
    }
}

impl Kernel {
    /// Opens an epoll instance.
    ///
    /// # Errors
    ///
    /// If the process has no descriptors left.
    pub fn new() -> Result<Self> {
        Self::with(Rc::default())
    }

    /// The same with buffers that others open too.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with(buffers: Rc<Buffers>) -> Result<Self> {
        let failed = |source| Error::System {
            what: "opening epoll".into(),
            help: "raise the limit of open files: ulimit -n".into(),
            source,
        };
        let poll = mio::Poll::new().map_err(failed)?;
        let waker = mio::Waker::new(poll.registry(), WAKER).map_err(failed)?;
        Ok(Self {
            poll,
            events: mio::Events::with_capacity(BATCH),
            sockets: Slab::new(),
            told: VecDeque::new(),
            eager: Vec::new(),
            resting: None,
            buffers,
            receiver: mmsg::Receiver::new(),
            sender: mmsg::Sender::new(),
            waker: Arc::new(waker),
        })
    }

    /// Makes sure that the process may have that many sockets open, and some files beside them, by raising its limit of
    /// open files (`RLIMIT_NOFILE`).
    ///
    /// # Errors
    ///
    /// If the hard limit is lower and the process may not raise it.
    pub fn allow_sockets(sockets: usize) -> Result<()> {
        let wanted = u64::try_from(sockets).unwrap_or(u64::MAX).saturating_add(64);
        let permission = |have: &str| Error::Permission {
            what: format!("{sockets} sockets, with a limit of {have} open files"),
            help: format!(
                "raise the hard limit first (ulimit -Hn {wanted}, or LimitNOFILE of systemd), or run as root"
            ),
        };
        match sys::raise_descriptor_limit(wanted) {
            Ok(have) if have >= wanted => Ok(()),
            Ok(have) => Err(permission(&have.to_string())),
            Err(_) => Err(permission("fewer")),
        }
    }

    /// Waits for something to happen to a socket, for somebody to call [`Waker::wake`], or for the time to be over: `None`
    /// is for ever, zero does not wait, anything else is rounded up to milliseconds, as `epoll_wait(2)` counts. Does not
    /// wait either while events are left from before. A signal ends it early.
    ///
    /// # Errors
    ///
    /// What `epoll_wait` fails with.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Turn> {
        let timeout = self.may_wait(timeout);
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(source) => {
                return Err(Error::System {
                    what: "waiting for sockets (epoll_wait)".into(),
                    help: String::new(),
                    source,
                });
            }
        }
        let Self { events, sockets, told, eager, .. } = self;
        let mut woken = false;
        for event in &*events {
            if event.token() == WAKER {
                woken = true;
                continue;
            }
            let key = Key::from_bits(event.token().0 as u64);
            // A socket may have been closed since the event was entered.
            let news = match sockets.get_mut(key) {
                None => false,
                Some(Socket::Tcp(tcp)) => tcp.happened(event),
                Some(Socket::Udp(udp)) => udp.happened(event),
                Some(Socket::Listener(listener)) => {
                    let news = listener.happened();
                    if news {
                        eager.push(key);
                    }
                    news
                }
                Some(Socket::Watch(watch)) => watch.happened(event),
            };
            if news {
                told.push_back(key);
            }
        }
        Ok(Turn { events: !self.told.is_empty(), woken })
    }

    /// The next thing to tell.
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some(key) = self.told.pop_front() {
            match self.sockets.get_mut(key) {
                Some(Socket::Tcp(tcp)) => {
                    let what = tcp.take_told();
                    if !what.is_empty() {
                        return Some(Event::Tcp(TcpId(key), what));
                    }
                }
                Some(Socket::Udp(udp)) => {
                    let what = udp.take_told();
                    if !what.is_empty() {
                        return Some(Event::Udp(UdpId(key), what));
                    }
                }
                Some(Socket::Watch(watch)) => {
                    let what = watch.take_told();
                    if !what.is_empty() {
                        return Some(Event::Watch(WatchId(key), what));
                    }
                }
                Some(Socket::Listener(listener)) if listener.waiting() => {
                    return Some(Event::Accept(ListenerId(key)));
                }
                None | Some(Socket::Listener(_)) => {}
            }
        }
        None
    }

    /// Another descriptor of the epoll instance: readable while there are events to be collected by a poll.
    ///
    /// # Errors
    ///
    /// If the process has no descriptors left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        sys::duplicate(self.poll.as_raw_fd())
    }

    /// For a loop that waits elsewhere: how long it may, for the sake of this network. Zero if there is something to be
    /// told without a poll.
    pub fn may_wait(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        self.tell_eager();
        if self.told.is_empty() { self.until_rested(timeout) } else { Some(Duration::ZERO) }
    }

    /// Ends a [`poll`](Self::poll) from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.waker))
    }

    /// What opens received bytes.
    #[must_use]
    pub fn buffers(&self) -> Rc<Buffers> {
        Rc::clone(&self.buffers)
    }

    /// Open sockets of any kind, and watched descriptors.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Listeners whose queue was not seen empty are told of again; those that rested long enough are tried again.
    fn tell_eager(&mut self) {
        let rested = self.resting.is_some_and(|until| Instant::now() >= until);
        if rested {
            self.resting = None;
        }
        let Self { sockets, told, eager, resting, .. } = self;
        if resting.is_some() {
            return;
        }
        eager.retain(|key| {
            let waits = matches!(sockets.get(*key), Some(Socket::Listener(listener)) if listener.waiting());
            if waits && !told.contains(key) {
                told.push_back(*key);
            }
            waits
        });
    }

    /// The timeout, cut to the moment at which resting listeners are tried again.
    fn until_rested(&self, timeout: Option<Duration>) -> Option<Duration> {
        let Some(until) = self.resting else { return timeout };
        let rest = until.saturating_duration_since(Instant::now());
        Some(timeout.map_or(rest, |timeout| timeout.min(rest)))
    }

    /// Enters a descriptor into epoll under the name that its socket will have, and puts the socket there.
    fn enter(&mut self, socket: Socket, interest: mio::Interest) -> io::Result<Key> {
        let key = self.sockets.next_key().ok_or_else(|| io::Error::from_raw_os_error(libc::ENFILE))?;
        let token = mio::Token(key.to_bits() as usize);
        self.poll.registry().register(&mut mio::unix::SourceFd(&socket.descriptor()), token, interest)?;
        self.sockets.insert(socket);
        Ok(key)
    }

    /// Closes a socket's descriptor, which takes it out of epoll too.
    fn leave(&mut self, key: Key) {
        drop(self.sockets.remove(key));
        // There is a descriptor for a resting listener now.
        self.resting = None;
    }

    /// Something to tell that no edge will bring.
    fn tell(told: &mut VecDeque<Key>, key: Key, pending: &mut Readiness, what: Readiness) {
        if pending.is_empty() {
            told.push_back(key);
        }
        *pending |= what;
    }
}

impl Socket {
    fn descriptor(&self) -> i32 {
        match self {
            Self::Tcp(tcp) => tcp.socket.as_raw_fd(),
            Self::Listener(listener) => listener.socket.as_raw_fd(),
            Self::Udp(udp) => udp.socket.as_raw_fd(),
            Self::Watch(watch) => watch.descriptor(),
        }
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("sockets", &self.sockets.len()).finish_non_exhaustive()
    }
}

/// An address of IPv4 as such, however a socket of both families writes it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
