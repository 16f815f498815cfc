//! A loop without types: the network, the sockets on it and their contexts, and the order in which things are told.
//!
//! ```text
//!   Loop<T>, SocketContext<SSL, T, S>, Socket<SSL, S>     typed, hold callbacks and user data
//!        │  calls                          ▲  Handler
//!        ▼                                 │
//!   Core ── RefCell<State> ── Net, sockets, contexts, timers, wheels
//! ```
//!
//! All of a loop's state is in one cell. It is borrowed for the length of one step and never while something outside is
//! called, so a callback may call anything. Whatever is found by name after a callback is looked up again, because the
//! callback may have closed it.

mod accept;
mod connect;
mod dispatch;
mod operations;
mod polls;
mod records;
mod run;
#[cfg(feature = "tls")]
mod secure;
mod udp;

pub(super) use operations::Is;
pub(super) use polls::PollHandler;
pub(super) use records::{ContextKey, Handler, ListenKey, SocketKey, TimerHandler, Told};
pub(super) use run::Hooks;
#[cfg(feature = "usockets-udp")]
pub(super) use udp::UdpHandler;

use super::UsError;
use super::metrics::Metrics;
use super::received::Scratch;
use super::resolve::{Resolver, Ticket};
use super::sweep::Wheel;
use super::timers::{TimerId, Timers};
use crate::net::{self, Net, Reader, SocketError};
use polls::Polls;
use records::{Context, Flags, Listener, Place, Socket};
use slotmap::{Key, SlotMap};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use udp::UdpSockets;

/// The time between two sweeps of the timeouts.
pub(super) const SWEEP: Duration = Duration::from_secs(4);

/// Sweeps in a minute: the unit of long timeouts.
const SWEEPS_PER_MINUTE: u32 = 15;

/// Most bytes that are read from one socket before the others have their turn.
const READ_AT_ONCE: usize = 512 << 10;

/// Most handshakes that go on in one iteration; connections that stand come before those that begin.
const HANDSHAKES_AT_ONCE: u32 = 5;

/// How long closed connections may take to deliver what they owe when a loop ends.
const LINGER: Duration = Duration::from_secs(30);

/// A loop.
pub(super) struct Core {
    state: RefCell<State>,
    /// Borrowed during a sweep.
    sweeping: RefCell<()>,
    /// Opens what the network has received; apart, so that received bytes can be looked at while the network is used.
    reader: Reader,
    /// What the network is called.
    name: Box<str>,
    /// For received bytes that have to be copied.
    scratch: Scratch,
}

/// What a loop consists of.
struct State {
    /// `None` once the loop has ended. There are no sockets then.
    net: Option<Net>,
    sockets: SlotMap<SocketKey, Socket>,
    contexts: SlotMap<ContextKey, Context>,
    listeners: SlotMap<ListenKey, Listener>,
    udp: UdpSockets,
    polls: Polls,
    timers: Timers,
    timer_handlers: HashMap<TimerId, Rc<dyn TimerHandler>>,
    /// Timeouts in sweeps, and long ones in minutes, by the index of a socket's key.
    short: Wheel,
    long: Wheel,
    /// The keys by their index.
    keys: Vec<SocketKey>,
    /// When the next sweep is due.
    next_sweep: Instant,
    /// Sweeps so far.
    sweeps: u32,
    /// Sockets closed in this iteration.
    closed: Vec<SocketKey>,
    /// Sockets to be read without an event: they were resumed, or had more than their share.
    again: VecDeque<SocketKey>,
    /// Handshakes that wait for their turn.
    low_priority: VecDeque<SocketKey>,
    handshakes_left: u32,
    /// Sockets whose connect failed at once.
    failed: Vec<SocketKey>,
    resolver: Resolver,
    /// Whom a resolved name belongs to.
    resolving: HashMap<Ticket, Pending>,
    /// The other addresses of names, while a connection to one of them is being tried.
    connecting: HashMap<SocketKey, Pending>,
    /// Ciphertext of closed connections that has not left.
    #[cfg(feature = "tls")]
    lingering: HashMap<crate::net::TcpId, secure::Lingering>,
    /// What was wrong with the TLS of sockets closed for it.
    #[cfg(feature = "tls")]
    tls_errors: HashMap<SocketKey, Box<str>>,
    /// What plaintext is decrypted into; used again and again.
    #[cfg(feature = "tls")]
    plain: Vec<u8>,
    iteration: u64,
    /// The time, as of the latest poll.
    now: Instant,
    metrics: Metrics,
}

/// A connection that is being opened.
struct Pending {
    socket: SocketKey,
    source: Option<std::net::IpAddr>,
    /// Addresses that have not been tried.
    addresses: std::vec::IntoIter<SocketAddr>,
}

/// The index of a key: small, and unique among the sockets that exist.
fn index(key: SocketKey) -> u32 {
    key.data().as_ffi() as u32
}

impl Core {
    pub(super) fn new(network: net::Builder) -> Result<Rc<Self>, UsError> {
        let net = network.build().map_err(|error| UsError::LoopCreation { message: error.to_string() })?;
        let waker = net.waker();
        let now = Instant::now();
        Ok(Rc::new(Self {
            sweeping: RefCell::new(()),
            reader: net.reader(),
            name: net.name().into(),
            scratch: Scratch::default(),
            state: RefCell::new(State {
                net: Some(net),
                sockets: SlotMap::with_key(),
                contexts: SlotMap::with_key(),
                listeners: SlotMap::with_key(),
                udp: UdpSockets::default(),
                polls: Polls::default(),
                timers: Timers::new(),
                timer_handlers: HashMap::new(),
                short: Wheel::new(),
                long: Wheel::new(),
                keys: Vec::new(),
                next_sweep: now + SWEEP,
                sweeps: 0,
                closed: Vec::new(),
                again: VecDeque::new(),
                low_priority: VecDeque::new(),
                handshakes_left: HANDSHAKES_AT_ONCE,
                failed: Vec::new(),
                resolver: Resolver::new(move || waker.wake()),
                resolving: HashMap::new(),
                connecting: HashMap::new(),
                #[cfg(feature = "tls")]
                lingering: HashMap::new(),
                #[cfg(feature = "tls")]
                tls_errors: HashMap::new(),
                #[cfg(feature = "tls")]
                plain: Vec::new(),
                iteration: 0,
                now,
                metrics: Metrics::default(),
            }),
        }))
    }

    /// What wakes the loop from other threads. `None` once it has ended.
    pub(super) fn waker(&self) -> Option<net::Waker> {
        self.state.borrow().net.as_ref().map(Net::waker)
    }

    pub(super) fn network(&self) -> &str {
        &self.name
    }

    pub(super) fn iteration(&self) -> u64 {
        self.state.borrow().iteration
    }

    /// Figures of the loop so far.
    pub(super) fn metrics(&self) -> Metrics {
        let state = self.state.borrow();
        let mut metrics = state.metrics.clone();
        metrics.sockets_open = state.sockets.len() as u64;
        metrics.timers_open = state.timers.len() as u64;
        metrics
    }

    /// Counts something.
    pub(super) fn count(&self, what: impl FnOnce(&mut Metrics)) {
        what(&mut self.state.borrow_mut().metrics);
    }

    /// Does something with the network.
    pub(super) fn with_net<R>(&self, what: impl FnOnce(&mut Net) -> R) -> Result<R, UsError> {
        self.state.borrow_mut().net.as_mut().map(what).ok_or(UsError::LoopNotRunning)
    }
}

/// Contexts.
impl Core {
    /// Adds a context.
    pub(super) fn open_context(
        &self,
        handler: Rc<dyn Handler>,
        #[cfg(feature = "tls")] tls: Option<Rc<super::tls::Settings>>,
    ) -> Result<ContextKey, UsError> {
        let mut state = self.state.borrow_mut();
        if state.net.is_none() {
            return Err(UsError::LoopNotRunning);
        }
        let context = Context {
            handler,
            first: None,
            sockets: 0,
            #[cfg(feature = "tls")]
            tls,
        };
        Ok(state.contexts.insert(context))
    }

    /// Closes all listeners and sockets of a context; each socket's `on_close` is called.
    pub(super) fn close_context(self: &Rc<Self>, context: ContextKey) {
        self.close_listeners(context);
        // Those that there are: `on_close` may well connect anew.
        let sockets: Vec<_> = {
            let state = self.state.borrow();
            let first = state.contexts.get(context).and_then(|context| context.first);
            std::iter::successors(first, |key| state.sockets.get(*key)?.next).collect()
        };
        for socket in sockets {
            self.close(socket, 0, None);
        }
    }

    /// Ends the listeners of a context.
    pub(super) fn close_listeners(&self, context: ContextKey) {
        let mut closed = Vec::new();
        let State { net, listeners, .. } = &mut *self.state.borrow_mut();
        listeners.retain(|_, listener| {
            let stays = listener.context != context;
            if !stays {
                if let Some(net) = net {
                    let _ = net.tcp_unlisten(listener.id);
                }
                closed.extend(listener.make.take());
            }
            stays
        });
        // `closed` was declared first, so factories are dropped when nothing is borrowed any more.
    }

    /// Removes a context whose sockets are closed.
    pub(super) fn remove_context(&self, context: ContextKey) {
        let removed = self.state.borrow_mut().contexts.remove(context);
        // Outside the borrow: dropping callbacks drops what they hold.
        if let Some(context) = removed {
            context.handler.forget();
        }
    }

    pub(super) fn has_context(&self, context: ContextKey) -> bool {
        self.state.borrow().contexts.contains_key(context)
    }

    /// How many sockets a context has.
    pub(super) fn sockets_of(&self, context: ContextKey) -> usize {
        self.state.borrow().contexts.get(context).map_or(0, |context| context.sockets)
    }

    /// The time in sweeps, modulo 240.
    pub(super) fn timestamp(&self) -> u16 {
        (self.state.borrow().sweeps % 240) as u16
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls_of(&self, context: ContextKey) -> Option<Rc<super::tls::Settings>> {
        self.state.borrow().contexts.get(context)?.tls.clone()
    }
}

/// Timers.
impl Core {
    pub(super) fn open_timer(&self) -> Result<TimerId, UsError> {
        let mut state = self.state.borrow_mut();
        if state.net.is_none() {
            return Err(UsError::TimerCreation { message: UsError::LoopNotRunning.to_string() });
        }
        Ok(state.timers.open())
    }

    /// Sets a timer that exists, and who is told when it fires.
    pub(super) fn set_timer(
        &self,
        timer: TimerId,
        first: Option<Duration>,
        every: Option<Duration>,
        handler: Option<Rc<dyn TimerHandler>>,
    ) -> Result<(), UsError> {
        let mut state = self.state.borrow_mut();
        if state.net.is_none() {
            return Err(UsError::TimerLoopNull);
        }
        if !state.timers.set(timer, Instant::now(), first, every) {
            return Err(UsError::TimerExtNull);
        }
        let old = handler.and_then(|handler| state.timer_handlers.insert(timer, handler));
        drop(state);
        drop(old);
        Ok(())
    }

    /// Closes a timer, and says whether it was open.
    pub(super) fn close_timer(&self, timer: TimerId) -> bool {
        let mut state = self.state.borrow_mut();
        let handler = state.timer_handlers.remove(&timer);
        let open = state.timers.close(timer);
        drop(state);
        drop(handler);
        open
    }

    pub(super) fn has_timer(&self, timer: TimerId) -> bool {
        self.state.borrow().timers.is_open(timer)
    }
}

impl State {
    /// Takes a socket in.
    fn insert(&mut self, context: ContextKey, at: Place) -> Option<SocketKey> {
        let list = self.contexts.get_mut(context)?;
        let next = list.first;
        let key = self.sockets.insert(Socket {
            at,
            context,
            place: u32::MAX,
            flags: Flags::default(),
            error: None,
            prev: None,
            next,
            #[cfg(feature = "tls")]
            tls: None,
        });
        list.first = Some(key);
        list.sockets += 1;
        if let Some(next) = next.and_then(|next| self.sockets.get_mut(next)) {
            next.prev = Some(key);
        }
        let place = index(key) as usize;
        if self.keys.len() <= place {
            self.keys.resize(place + 1, SocketKey::null());
        }
        self.keys[place] = key;
        Some(key)
    }

    /// Takes a socket out of its context's list.
    fn unlink(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let (prev, next, context) = (socket.prev.take(), socket.next.take(), socket.context);
        if let Some(next) = next.and_then(|next| self.sockets.get_mut(next)) {
            next.prev = prev;
        }
        let Some(list) = self.contexts.get_mut(context) else { return };
        list.sockets -= 1;
        match prev {
            None => list.first = next,
            Some(prev) => {
                if let Some(prev) = self.sockets.get_mut(prev) {
                    prev.next = next;
                }
            }
        }
    }

    /// Puts a socket into the list of another context.
    fn link(&mut self, key: SocketKey, context: ContextKey) {
        let Some(list) = self.contexts.get_mut(context) else { return };
        let next = list.first.replace(key);
        list.sockets += 1;
        if let Some(next) = next.and_then(|next| self.sockets.get_mut(next)) {
            next.prev = Some(key);
        }
        if let Some(socket) = self.sockets.get_mut(key) {
            (socket.prev, socket.next, socket.context) = (None, next, context);
        }
    }

    /// Forgets both timeouts of a socket.
    fn clear_timeouts(&mut self, key: SocketKey) {
        self.short.clear(index(key));
        self.long.clear(index(key));
    }

    /// Who is to be told of something about a socket, which is counted.
    fn tell(&mut self, key: SocketKey) -> Option<(Rc<dyn Handler>, Told)> {
        self.metrics.callbacks += 1;
        self.handler(key)
    }

    /// Who is told of a socket.
    fn handler(&self, key: SocketKey) -> Option<(Rc<dyn Handler>, Told)> {
        let socket = self.sockets.get(key)?;
        Some((self.contexts.get(socket.context)?.handler.clone(), socket.told(key)))
    }

    /// A socket's word for the network: its key as a number, never 0.
    fn adopt_word(&mut self, id: crate::net::TcpId, key: SocketKey) {
        if let Some(net) = &mut self.net {
            net.tcp_set_user(id, key.data().as_ffi());
        }
    }

    /// Notes why something cannot go on.
    fn fail(&mut self, key: SocketKey, error: SocketError) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.error = Some(error);
        }
    }
}
