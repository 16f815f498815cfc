//! What the network tells, told on: in the order of uSockets.

use super::records::{Flags, Place};
use super::{Core, READ_AT_ONCE, SocketKey, State};
use crate::net::{Data, Readiness, SocketError, TcpId};
use crate::usockets::Received;
use slotmap::KeyData;
use std::any::Any;
use std::rc::Rc;

/// What a look at a socket that may be read brought.
enum Found {
    /// Bytes, who is told of them, and whether they are all there is for now.
    Data(Data, Rc<dyn super::Handler>, super::Told, bool),
    /// Bytes for the socket's session.
    #[cfg(feature = "tls")]
    Ciphertext(Data),
    /// The end of the peer's stream.
    End,
    /// Nothing now, or nothing more ever: then an event tells.
    Nothing,
}

impl Core {
    /// Something has happened to the connection of a socket, which is new if it was `connecting`.
    pub(super) fn tcp_event(self: &Rc<Self>, (key, connecting): (SocketKey, bool), id: TcpId, what: Readiness) {
        if connecting {
            if what.contains(Readiness::CONNECTED) {
                self.connected(key);
            } else if what.contains(Readiness::CLOSED) {
                return self.try_again(key, id);
            }
        }
        if what.contains(Readiness::WRITABLE) {
            self.room(key);
        }
        if what.intersects(Readiness::READABLE | Readiness::PEER_CLOSED) {
            self.readable(key);
        }
        if what.contains(Readiness::CLOSED) {
            self.broken(key, id);
        }
    }

    /// A connection that we opened stands.
    fn connected(self: &Rc<Self>, key: SocketKey) {
        let handler = {
            let mut state = self.state.borrow_mut();
            state.connecting.remove(&key);
            state.short.clear(super::index(key));
            let Some(socket) = state.sockets.get_mut(key) else { return };
            socket.flags.set(Flags::ESTABLISHED);
            socket.error = None;
            state.metrics.connected += 1;
            state.tell(key)
        };
        // The client speaks first, whatever `on_open` does.
        #[cfg(feature = "tls")]
        self.go_on_decrypting(key);
        if let Some((handler, told)) = handler {
            handler.open(self, told, true, &[]);
        }
    }

    /// Makes the user data of a socket.
    pub(super) fn attach(&self, key: SocketKey, handler: &dyn super::Handler, make: Option<&dyn Any>) {
        let place = handler.attach(key, make);
        if let Some(socket) = self.state.borrow_mut().sockets.get_mut(key) {
            socket.place = place;
        }
    }

    #[inline]
    pub(super) fn tell(&self, key: SocketKey) -> Option<(Rc<dyn super::Handler>, super::Told)> {
        self.state.borrow_mut().tell(key)
    }

    /// There is room again.
    pub(super) fn room(self: &Rc<Self>, key: SocketKey) {
        #[cfg(feature = "tls")]
        if !self.flush_ciphertext(key) {
            return;
        }
        let handler = {
            let mut state = self.state.borrow_mut();
            let Some(socket) = state.sockets.get_mut(key) else { return };
            if socket.flags.has(Flags::CLOSED) || !socket.flags.has(Flags::WANTS_ROOM) {
                return;
            }
            // Nothing can be written yet; the end of the handshake tells.
            #[cfg(feature = "tls")]
            if socket.tls.as_ref().is_some_and(|session| session.is_handshaking()) {
                return;
            }
            socket.flags.clear(Flags::WANTS_ROOM);
            state.tell(key)
        };
        if let Some((handler, told)) = handler {
            handler.writable(self, told);
        }
    }

    /// Reads what is there, up to a socket's share of an iteration.
    pub(super) fn readable(self: &Rc<Self>, key: SocketKey) {
        self.read(key, READ_AT_ONCE);
    }

    fn read(self: &Rc<Self>, key: SocketKey, mut share: usize) {
        loop {
            let len = match self.look(key) {
                Found::Data(data, handler, told, all) => {
                    let len = data.len();
                    handler.data(self, told, &mut Received::new(self.reader.open(data), &self.scratch));
                    if all {
                        return;
                    }
                    len
                }
                #[cfg(feature = "tls")]
                Found::Ciphertext(data) => {
                    let len = data.len();
                    self.decrypt(key, &self.reader.open(data));
                    len
                }
                Found::End => {
                    // What came before a pause that is over comes before the end.
                    #[cfg(feature = "tls")]
                    if !self.go_on_decrypting(key) {
                        return;
                    }
                    return self.ended(key);
                }
                Found::Nothing => return,
            };
            share = share.saturating_sub(len);
            if share == 0 {
                return self.read_later(key);
            }
        }
    }

    /// Takes the next bytes of a connection, if it is to be read.
    fn look(&self, key: SocketKey) -> Found {
        let state = &mut *self.state.borrow_mut();
        let (Some(net), Some(socket)) = (&mut state.net, state.sockets.get_mut(key)) else { return Found::Nothing };
        if socket.flags.has(Flags::PAUSED | Flags::ENDED | Flags::LOW_PRIORITY) {
            return Found::Nothing;
        }
        let Some(id) = socket.net() else { return Found::Nothing };
        #[cfg(feature = "tls")]
        if socket.tls.as_ref().is_some_and(|session| session.is_handshaking()) {
            if state.handshakes_left == 0 {
                socket.flags.set(Flags::LOW_PRIORITY);
                state.low_priority.push_back(key);
                return Found::Nothing;
            }
            state.handshakes_left -= 1;
        }
        match net.tcp_recv(id) {
            Ok(Some(data)) => {
                state.metrics.bytes_in += data.len() as u64;
                #[cfg(feature = "tls")]
                if socket.tls.is_some() {
                    return Found::Ciphertext(data);
                }
                let (context, told) = (socket.context, socket.told(key));
                let Some(context) = state.contexts.get(context) else { return Found::Nothing };
                state.metrics.callbacks += 1;
                Found::Data(data, context.handler.clone(), told, net.tcp_drained(id))
            }
            Ok(None) => Found::End,
            Err(_) => Found::Nothing,
        }
    }

    /// Reads a socket again in the next iteration.
    pub(super) fn read_later(&self, key: SocketKey) {
        let state = &mut *self.state.borrow_mut();
        if let Some(socket) = state.sockets.get_mut(key)
            && socket.flags.raise(Flags::AGAIN)
        {
            state.again.push_back(key);
        }
    }

    /// The peer has ended its stream. If we had ended ours the connection is over. Otherwise it is the program's to close;
    /// but with TLS a stream that ends is a connection that ends.
    pub(super) fn ended(self: &Rc<Self>, key: SocketKey) {
        let (handler, over) = {
            let mut state = self.state.borrow_mut();
            let Some(socket) = state.sockets.get_mut(key) else { return };
            if !socket.flags.raise(Flags::ENDED) {
                return;
            }
            #[cfg(feature = "tls")]
            let over = socket.tls.is_some() || socket.flags.has(Flags::SHUT);
            #[cfg(not(feature = "tls"))]
            let over = socket.flags.has(Flags::SHUT);
            (state.tell(key), over)
        };
        if over {
            self.close(key, 0, None);
        } else if let Some((handler, told)) = handler {
            handler.end(self, told);
        }
    }

    /// The connection is over: what came before that is told first.
    fn broken(self: &Rc<Self>, key: SocketKey, id: TcpId) {
        self.read(key, usize::MAX);
        let reason = {
            let mut state = self.state.borrow_mut();
            let reason = state.net.as_ref().and_then(|net| net.tcp_error(id));
            let Some(socket) = state.sockets.get_mut(key) else { return };
            if socket.flags.has(Flags::CLOSED) {
                return;
            }
            // Both streams have ended in order, and what came before that waits to be read.
            if reason.is_none() && socket.flags.has(Flags::PAUSED) && !socket.flags.has(Flags::ENDED) {
                return;
            }
            socket.error = socket.error.or(reason);
            socket.error
        };
        self.close(key, 0, reason);
    }

    /// Closes a socket: everything about it ends, and `on_close` is called before this returns. What was written is still
    /// delivered.
    pub(in crate::usockets) fn close(self: &Rc<Self>, key: SocketKey, code: i32, reason: Option<SocketError>) {
        let Some((handler, told)) = self.take_down(key, reason) else { return };
        handler.close(self, told, code, reason);
    }

    /// Closes a socket that is not connected yet, without a word.
    pub(in crate::usockets) fn close_connecting(self: &Rc<Self>, key: SocketKey) {
        let connecting = {
            let state = self.state.borrow();
            state.sockets.get(key).is_some_and(|socket| !socket.flags.has(Flags::ESTABLISHED))
        };
        if connecting {
            self.take_down(key, None);
        }
    }

    /// Closes a socket, and says who is to be told. `None` if it was closed before.
    pub(super) fn take_down(
        &self,
        key: SocketKey,
        reason: Option<SocketError>,
    ) -> Option<(Rc<dyn super::Handler>, super::Told)> {
        let state = &mut *self.state.borrow_mut();
        if !state.is_open(key) {
            return None;
        }
        let handler = state.tell(key);
        let socket = state.sockets.get_mut(key)?;
        socket.flags.set(Flags::CLOSED);
        let at = socket.at;
        socket.error = socket.error.or(reason);
        #[cfg(feature = "tls")]
        let session = socket.tls.take();
        match at {
            Place::Nowhere => {}
            Place::Resolving(ticket) => {
                state.resolver.cancel(ticket);
                state.resolving.remove(&ticket);
            }
            Place::Net(id) => {
                state.connecting.remove(&key);
                if let Some(net) = &mut state.net {
                    #[cfg(feature = "tls")]
                    super::secure::close(net, &mut state.lingering, id, session);
                    #[cfg(not(feature = "tls"))]
                    net.tcp_close(id);
                }
            }
        }
        state.clear_timeouts(key);
        state.unlink(key);
        state.closed.push(key);
        state.metrics.closed += 1;
        handler
    }
}

impl State {
    /// Whom an event of a connection is about, and whether it was connecting before.
    #[inline]
    pub(super) fn subject(&mut self, id: TcpId, what: Readiness) -> Option<(SocketKey, bool)> {
        self.metrics.events += 1;
        let key = SocketKey::from(KeyData::from_ffi(self.net.as_ref()?.tcp_user(id)?));
        let Some(socket) = self.sockets.get(key) else {
            #[cfg(feature = "tls")]
            self.linger_on(id, what);
            #[cfg(not(feature = "tls"))]
            let _ = what;
            return None;
        };
        (!socket.flags.has(Flags::CLOSED)).then(|| (key, !socket.flags.has(Flags::ESTABLISHED)))
    }

    /// Whether a socket takes part in anything.
    pub(super) fn is_open(&self, key: SocketKey) -> bool {
        self.sockets.get(key).is_some_and(|socket| !socket.flags.has(Flags::CLOSED))
    }
}
