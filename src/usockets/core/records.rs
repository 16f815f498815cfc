//! What the core keeps: sockets, listeners, contexts, and the words the typed layer is told by.

use super::Core;
use crate::net::{ListenerId, SocketError, TcpId};
use crate::usockets::resolve::Ticket;
#[cfg(feature = "tls")]
use crate::usockets::tls;
use crate::usockets::{PreOpen, Received};
use slotmap::new_key_type;
use std::any::Any;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

new_key_type! {
    /// Names a socket; one that has been freed is not found again.
    pub(in crate::usockets) struct SocketKey;
    /// Names a context.
    pub(in crate::usockets) struct ContextKey;
    /// Names a listener.
    pub(in crate::usockets) struct ListenKey;
}

/// What the layer above does about events of a context's sockets. The core calls it with nothing borrowed: whatever it
/// calls in turn may change everything.
pub(in crate::usockets) trait Handler {
    /// Makes user data for a socket, and says where it lies. `make` is the factory of the listener that it came from, if
    /// that has one.
    fn attach(&self, socket: SocketKey, make: Option<&dyn Any>) -> u32;
    /// Drops the user data of a socket.
    fn detach(&self, place: u32);
    /// Whether the program decides about connections by their descriptors.
    fn wants_fd(&self) -> bool;
    /// Whether a connection from there is welcome. The descriptor is -1 if it has none, or nobody wants it; over a path the
    /// peer has no address.
    fn pre_open(&self, fd: RawFd, peer: Option<SocketAddr>) -> PreOpen;
    /// A connection is there. `ip` is empty for one that we opened.
    fn open(&self, core: &Rc<Core>, socket: Told, is_client: bool, ip: &[u8]);
    /// A connection is over. `socket` is valid until the iteration ends.
    fn close(&self, core: &Rc<Core>, socket: Told, code: i32, reason: Option<SocketError>);
    /// Bytes came.
    fn data(&self, core: &Rc<Core>, socket: Told, bytes: &mut Received<'_>);
    /// There is room again after a write was cut short.
    fn writable(&self, core: &Rc<Core>, socket: Told);
    /// The peer has ended its stream.
    fn end(&self, core: &Rc<Core>, socket: Told);
    /// The time set is over.
    fn timeout(&self, core: &Rc<Core>, socket: Told);
    /// The long time set is over.
    fn long_timeout(&self, core: &Rc<Core>, socket: Told);
    /// A connection could not be opened.
    fn connect_error(&self, core: &Rc<Core>, socket: Told, code: i32);
    /// A client asks for a name that nobody has.
    fn server_name(&self, core: &Rc<Core>, context: ContextKey, name: &str);
    /// Drops the callbacks: the loop is over, and they may hold what holds them.
    fn forget(&self);
}

/// A socket as a handler is told of it: its name, and where its user data lies.
#[derive(Clone, Copy)]
pub(in crate::usockets) struct Told {
    pub(in crate::usockets) key: SocketKey,
    pub(in crate::usockets) place: u32,
}

/// What a timer's owner does when it fires.
pub(in crate::usockets) trait TimerHandler {
    /// The time has come.
    fn fire(&self);
    /// Drops the callback.
    fn forget(&self);
}

/// Bits of a socket's state.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags(u16);

impl Flags {
    /// The connection stands, or stood.
    pub(super) const ESTABLISHED: u16 = 1;
    /// Closed; freed at the end of the iteration.
    pub(super) const CLOSED: u16 = 2;
    /// Our side has ended its stream.
    pub(super) const SHUT: u16 = 4;
    /// The peer's stream has ended, and that was told.
    pub(super) const ENDED: u16 = 8;
    /// Nothing is to be read.
    pub(super) const PAUSED: u16 = 16;
    /// A write was cut short since `on_writable` was called last.
    pub(super) const WANTS_ROOM: u16 = 32;
    /// In the list of those to be read again.
    pub(super) const AGAIN: u16 = 64;
    /// In the queue of handshakes that wait their turn.
    pub(super) const LOW_PRIORITY: u16 = 128;
    /// The stream ends when all ciphertext has left.
    #[cfg(feature = "tls")]
    pub(super) const SHUT_LATER: u16 = 256;

    pub(super) fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    pub(super) fn set(&mut self, bit: u16) {
        self.0 |= bit;
    }

    pub(super) fn clear(&mut self, bit: u16) {
        self.0 &= !bit;
    }

    /// Sets the bit and says whether it was not set before.
    pub(super) fn raise(&mut self, bit: u16) -> bool {
        let news = !self.has(bit);
        self.set(bit);
        news
    }
}

/// Where a socket's connection is.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Nowhere: its connect failed at once, or it is closed.
    Nowhere,
    /// Its name is being resolved.
    Resolving(Ticket),
    /// On the network.
    Net(TcpId),
}

/// A socket.
pub(super) struct Socket {
    pub(super) at: Place,
    pub(super) context: ContextKey,
    /// Where its user data lies; the context's handler knows.
    pub(super) place: u32,
    pub(super) flags: Flags,
    /// Why it could not be opened, or is over.
    pub(super) error: Option<SocketError>,
    /// Neighbours among the sockets of its context.
    pub(super) prev: Option<SocketKey>,
    pub(super) next: Option<SocketKey>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Box<tls::Session>>,
}

impl Socket {
    pub(super) fn told(&self, key: SocketKey) -> Told {
        Told { key, place: self.place }
    }

    /// Its connection, unless it is closed or not there yet.
    pub(super) fn net(&self) -> Option<TcpId> {
        match self.at {
            Place::Net(id) if !self.flags.has(Flags::CLOSED) => Some(id),
            _ => None,
        }
    }
}

/// A listener.
pub(super) struct Listener {
    pub(super) id: ListenerId,
    pub(super) context: ContextKey,
    /// What makes the user data of its sockets, in the types of the context's handler; otherwise the context's does.
    pub(super) make: Option<Rc<dyn Any>>,
}

/// A context.
pub(super) struct Context {
    pub(super) handler: Rc<dyn Handler>,
    /// Its sockets, the latest first.
    pub(super) first: Option<SocketKey>,
    pub(super) sockets: usize,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Rc<tls::Settings>>,
}
