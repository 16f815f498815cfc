//! TLS between a socket and its handler: ciphertext comes from the network and goes there, plaintext is the program's.
//!
//! A [`Session`] knows no network. It is stepped with what came until it needs more, and what it has to say is sent
//! after each step. Ciphertext that the network does not take waits in the session; nothing more is encrypted meanwhile, so
//! at most a record or two wait. A socket that is closed leaves its session behind until the ciphertext has left.

use super::records::Flags;
use super::{ContextKey, Core, SocketKey, State};
use crate::net::{Event, Net, Readiness, SocketError, TcpId};
use crate::usockets::tls::{Session, Step};
use crate::usockets::{Received, UsError};
use std::collections::HashMap;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A closed connection whose last ciphertext has not left.
pub(super) struct Lingering(Box<Session>);

/// How a session's ciphertext fared.
enum Sent {
    All,
    Some,
    /// Nothing can be sent any more.
    None,
}

/// Gives the network what a session has to say.
fn push(net: &mut Net, id: TcpId, session: &mut Session, more: bool) -> Sent {
    while !session.outgoing().is_empty() {
        let sent = if more { net.tcp_send_more(id, session.outgoing()) } else { net.tcp_send(id, session.outgoing()) };
        match sent {
            Ok(sent) => session.sent(sent),
            // An event tells of room.
            Err(SocketError::WouldBlock) => return Sent::Some,
            // And has told of the end, or will.
            Err(_) => return Sent::None,
        }
    }
    Sent::All
}

/// Closes a connection whose ciphertext has left. What came meanwhile and nobody wants any more is taken first: with a server
/// of TLS 1.3 that are its session tickets (RFC 8446, 4.6.1), and a connection that is closed with something unread is reset
/// (RFC 1122, 4.2.2.13), which would cost the peer what it has not received yet.
fn let_go(net: &mut Net, id: TcpId) {
    // However fast the peer goes on: a few buffers full, no more.
    for _ in 0..16 {
        let Ok(Some(_)) = net.tcp_recv(id) else { break };
    }
    net.tcp_close(id);
}

/// Closes a connection: at once, or when its ciphertext has left.
pub(super) fn close(
    net: &mut Net,
    lingering: &mut HashMap<TcpId, Lingering>,
    id: TcpId,
    session: Option<Box<Session>>,
) {
    if let Some(mut session) = session
        && net.tcp_error(id).is_none()
    {
        session.close_notify();
        if let Sent::Some = push(net, id, &mut session, false) {
            net.tcp_set_user(id, 0);
            lingering.insert(id, Lingering(session));
            return;
        }
        return let_go(net, id);
    }
    net.tcp_close(id);
}

/// Delivers ciphertext of closed connections, within a time.
pub(super) fn deliver(net: &mut Net, lingering: &mut HashMap<TcpId, Lingering>, within: Duration) {
    let end = Instant::now() + within;
    while !lingering.is_empty() && Instant::now() < end {
        if net.poll(Some(Duration::from_millis(10))).is_err() {
            break;
        }
        while let Some(event) = net.next_event() {
            if let Event::Tcp(id, what) = event {
                linger_on(net, lingering, id, what);
            }
        }
    }
    for (id, _) in lingering.drain() {
        let_go(net, id);
    }
}

/// Delivers ciphertext of closed connections, within a time, and leaves all events where they are. Says whether that was
/// everything.
pub(super) fn push_all(
    net: &mut Net,
    lingering: &mut HashMap<TcpId, Lingering>,
    within: Duration,
) -> Result<bool, UsError> {
    let end = Instant::now() + within;
    loop {
        lingering.retain(|id, Lingering(session)| {
            let stays = net.tcp_error(*id).is_none() && matches!(push(net, *id, session, false), Sent::Some);
            if !stays {
                let_go(net, *id);
            }
            stays
        });
        if lingering.is_empty() || Instant::now() >= end {
            return Ok(lingering.is_empty());
        }
        let turn = net.poll(Some(Duration::from_millis(1)));
        // Events that are left keep a poll from waiting.
        if turn.map_err(|error| UsError::NetworkOperation { operation: error.to_string() })?.events {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// A connection that only lingers has room again, or is over.
fn linger_on(net: &mut Net, lingering: &mut HashMap<TcpId, Lingering>, id: TcpId, what: Readiness) {
    let Some(Lingering(session)) = lingering.get_mut(&id) else { return };
    if what.contains(Readiness::CLOSED) || !matches!(push(net, id, session, false), Sent::Some) {
        lingering.remove(&id);
        let_go(net, id);
    }
}

impl State {
    /// An event of a connection that belongs to no socket.
    pub(super) fn linger_on(&mut self, id: TcpId, what: Readiness) {
        if let Some(net) = &mut self.net {
            linger_on(net, &mut self.lingering, id, what);
        }
    }
}

impl Core {
    /// The session of a connection to `host`, if the context's sockets have TLS.
    pub(super) fn client_session(&self, context: ContextKey, host: &str) -> Result<Option<Box<Session>>, UsError> {
        let Some(settings) = self.tls_of(context) else { return Ok(None) };
        let session = Session::client(settings, host).map_err(|error| UsError::NetworkOperation {
            operation: format!("cannot begin TLS with {host}: {error}"),
        })?;
        Ok(Some(Box::new(session)))
    }

    /// Sends ciphertext that waits, and says whether none is left (as of a socket without TLS).
    pub(super) fn flush_ciphertext(&self, key: SocketKey) -> bool {
        let state = &mut *self.state.borrow_mut();
        let (Some(net), Some(socket)) = (&mut state.net, state.sockets.get_mut(key)) else { return false };
        let Some(id) = socket.net() else { return false };
        let Some(session) = &mut socket.tls else { return true };
        let Sent::All = push(net, id, session, false) else { return false };
        if socket.flags.has(Flags::SHUT_LATER) {
            socket.flags.clear(Flags::SHUT_LATER);
            let _ = net.tcp_shutdown(id, Shutdown::Write);
        }
        true
    }

    /// Deals with what a session has kept. Says whether the socket is to be read on.
    #[inline]
    pub(super) fn go_on_decrypting(self: &Rc<Self>, key: SocketKey) -> bool {
        let has_session = self.state.borrow().sockets.get(key).is_some_and(|socket| socket.tls.is_some());
        !has_session || self.decrypt(key, &[])
    }

    /// Ciphertext came. Says whether the socket is to be read on.
    pub(super) fn decrypt(self: &Rc<Self>, key: SocketKey, mut cipher: &[u8]) -> bool {
        let mut plain = std::mem::take(&mut self.state.borrow_mut().plain);
        let goes_on = self.step(key, &mut cipher, &mut plain);
        plain.clear();
        let mut state = self.state.borrow_mut();
        state.plain = plain;
        // A callback has paused the socket: the rest is for later.
        if !cipher.is_empty()
            && let Some(session) = state.sockets.get_mut(key).and_then(|socket| socket.tls.as_mut())
        {
            session.feed(cipher);
        }
        goes_on
    }

    fn step(self: &Rc<Self>, key: SocketKey, cipher: &mut &[u8], plain: &mut Vec<u8>) -> bool {
        loop {
            let step = {
                let mut state = self.state.borrow_mut();
                let Some(socket) = state.sockets.get_mut(key) else { return false };
                if socket.flags.has(Flags::CLOSED | Flags::PAUSED) {
                    return false;
                }
                let Some(session) = &mut socket.tls else { return true };
                session.step(cipher, plain)
            };
            self.flush_ciphertext(key);
            match step {
                Ok(Step::More) => return true,
                Ok(Step::Plain) => {
                    if let Some((handler, told)) = self.tell(key) {
                        handler.data(self, told, &mut Received::plain(plain, &self.scratch));
                    }
                }
                Ok(Step::Established) => {
                    self.count(|metrics| metrics.tls_handshakes += 1);
                    // What could not be written during the handshake can be written now.
                    self.room(key);
                }
                Ok(Step::UnknownName(name)) => {
                    let told = {
                        let mut state = self.state.borrow_mut();
                        let context = state.sockets.get(key).map(|socket| socket.context);
                        state.tell(key).zip(context)
                    };
                    if let Some(((handler, _), context)) = told {
                        handler.server_name(self, context, &name);
                    }
                }
                // TLS knows no connection that is open in one direction to any use: upstream closes, and so do we.
                Ok(Step::PeerClosed) => {
                    self.close(key, 0, None);
                    return false;
                }
                Err(error) => {
                    self.count(|metrics| metrics.tls_errors += 1);
                    self.state.borrow_mut().tls_errors.insert(key, error.to_string().into());
                    self.close(key, 0, Some(SocketError::ConnectionAborted));
                    return false;
                }
            }
        }
    }

    /// Encrypts and sends, and says how much of it.
    pub(super) fn encrypt(&self, key: SocketKey, bytes: &[u8], more: bool) -> usize {
        let state = &mut *self.state.borrow_mut();
        let (Some(net), Some(socket)) = (&mut state.net, state.sockets.get_mut(key)) else { return 0 };
        let Some(id) = socket.net() else { return 0 };
        let Some(session) = &mut socket.tls else { return 0 };
        if socket.flags.has(Flags::SHUT) || !socket.flags.has(Flags::ESTABLISHED) {
            return 0;
        }
        let mut written = 0;
        let mut room = matches!(push(net, id, session, false), Sent::All);
        while room && written < bytes.len() {
            let taken = session.write(&bytes[written..]);
            if taken == 0 {
                break;
            }
            written += taken;
            let more = more || written < bytes.len();
            room = matches!(push(net, id, session, more), Sent::All);
        }
        if written < bytes.len() {
            socket.flags.set(Flags::WANTS_ROOM);
            state.metrics.short_writes += 1;
        }
        state.metrics.bytes_out += written as u64;
        written
    }

    /// Tells a TLS peer that our stream ends.
    pub(super) fn say_goodbye(&self, key: SocketKey) {
        let state = &mut *self.state.borrow_mut();
        let (Some(net), Some(socket)) = (&mut state.net, state.sockets.get_mut(key)) else { return };
        let Some(id) = socket.net() else { return };
        if let Some(session) = &mut socket.tls
            && !socket.flags.has(Flags::SHUT)
        {
            session.close_notify();
            push(net, id, session, false);
        }
    }

    /// What was wrong with a connection's TLS, until the socket is freed.
    pub(in crate::usockets) fn tls_error(&self, key: SocketKey) -> Option<Box<str>> {
        self.state.borrow().tls_errors.get(&key).cloned()
    }

    /// Asks a socket's session something.
    pub(in crate::usockets) fn tls<R>(&self, key: SocketKey, ask: impl FnOnce(&Session) -> R) -> Option<R> {
        let state = self.state.borrow();
        state.sockets.get(key)?.tls.as_deref().map(ask)
    }
}
