//! What programs do with sockets. A name whose socket is closed is answered as a closed socket would: nothing is written,
//! nothing happens.

use super::records::{Flags, Socket};
use super::{ContextKey, Core, SocketKey, State, Told};
use crate::net::{Net, Readiness, SocketError, TcpId};
use crate::usockets::UsError;
use std::io::IoSlice;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::RawFd;
use std::time::Instant;

/// What is asked about a socket's state.
#[derive(Clone, Copy)]
pub(in crate::usockets) enum Is {
    /// Closed or freed.
    Closed,
    /// Our stream has ended.
    ShutDown,
    /// Connected, and not closed.
    Established,
    /// Open, and not to be read for now.
    Paused,
    /// Not freed: its user data is there.
    Known,
}

/// What became of bytes that were given to the network.
enum Sent {
    Bytes(usize),
    /// They must be encrypted first.
    #[cfg(feature = "tls")]
    NeedsTls,
}

impl Core {
    pub(in crate::usockets) fn is(&self, key: SocketKey, what: Is) -> bool {
        let state = self.state.borrow();
        let Some(socket) = state.sockets.get(key) else { return matches!(what, Is::Closed) };
        match what {
            Is::Closed => socket.flags.has(Flags::CLOSED),
            Is::ShutDown => socket.flags.has(Flags::SHUT),
            Is::Established => socket.flags.has(Flags::ESTABLISHED) && !socket.flags.has(Flags::CLOSED),
            Is::Paused => socket.flags.has(Flags::PAUSED) && !socket.flags.has(Flags::CLOSED),
            Is::Known => true,
        }
    }

    /// Writes what there is room for, and says how much that was.
    pub(in crate::usockets) fn write(&self, key: SocketKey, bytes: &[u8], more: bool) -> usize {
        let sent =
            self.send(
                key,
                bytes.len(),
                |net, id| {
                    if more { net.tcp_send_more(id, bytes) } else { net.tcp_send(id, bytes) }
                },
            );
        match sent {
            Sent::Bytes(sent) => sent,
            #[cfg(feature = "tls")]
            Sent::NeedsTls => self.encrypt(key, bytes, more),
        }
    }

    /// Writes two pieces as one.
    pub(in crate::usockets) fn write2(&self, key: SocketKey, header: &[u8], payload: &[u8]) -> usize {
        let sent = self.send(key, header.len() + payload.len(), |net, id| {
            net.tcp_sendv(id, &[IoSlice::new(header), IoSlice::new(payload)])
        });
        match sent {
            Sent::Bytes(sent) => sent,
            #[cfg(feature = "tls")]
            Sent::NeedsTls => {
                // A header without a payload has nothing to wait for.
                let written = self.encrypt(key, header, !payload.is_empty());
                if written < header.len() { written } else { written + self.encrypt(key, payload, false) }
            }
        }
    }

    /// Gives bytes to the network; a short count means that room is to be told of.
    #[inline]
    fn send(
        &self,
        key: SocketKey,
        len: usize,
        send: impl FnOnce(&mut Net, TcpId) -> Result<usize, SocketError>,
    ) -> Sent {
        let state = &mut *self.state.borrow_mut();
        let (Some(net), Some(socket)) = (&mut state.net, state.sockets.get_mut(key)) else { return Sent::Bytes(0) };
        let Some(id) = socket.net() else { return Sent::Bytes(0) };
        #[cfg(feature = "tls")]
        if socket.tls.is_some() {
            return Sent::NeedsTls;
        }
        if socket.flags.has(Flags::SHUT) || !socket.flags.has(Flags::ESTABLISHED) || len == 0 {
            return Sent::Bytes(0);
        }
        let sent = send(net, id).unwrap_or(0);
        if sent < len {
            socket.flags.set(Flags::WANTS_ROOM);
            state.metrics.short_writes += 1;
        }
        state.metrics.bytes_out += sent as u64;
        Sent::Bytes(sent)
    }

    /// Sends what waits for more.
    pub(in crate::usockets) fn flush(&self, key: SocketKey) {
        self.on_net(key, |_, net, id| {
            let _ = net.tcp_flush(id);
        });
    }

    /// Ends our stream after what was written.
    pub(in crate::usockets) fn shutdown(&self, key: SocketKey) {
        #[cfg(feature = "tls")]
        self.say_goodbye(key);
        let over = self.on_net(key, |socket, net, id| {
            if !socket.flags.has(Flags::ESTABLISHED) || !socket.flags.raise(Flags::SHUT) {
                return false;
            }
            socket.flags.clear(Flags::WANTS_ROOM);
            #[cfg(feature = "tls")]
            if socket.tls.as_ref().is_some_and(|session| !session.outgoing().is_empty()) {
                socket.flags.set(Flags::SHUT_LATER);
                return false;
            }
            let _ = net.tcp_shutdown(id, Shutdown::Write);
            socket.flags.has(Flags::ENDED)
        });
        // Both streams have ended: it is closed in this iteration or the next, not from within `shutdown`.
        if over == Some(true) {
            self.read_later(key);
        }
    }

    /// Ends reading: what came before is still told, then the end.
    pub(in crate::usockets) fn shutdown_read(&self, key: SocketKey) {
        let ends = self.on_net(key, |_, net, id| {
            let _ = net.tcp_shutdown(id, Shutdown::Read);
        });
        if ends.is_some() {
            self.read_later(key);
        }
    }

    /// Lets received data wait, or no longer.
    pub(in crate::usockets) fn set_reading(&self, key: SocketKey, reading: bool) {
        let changed = self.on_net(key, |socket, net, id| {
            if reading != socket.flags.has(Flags::PAUSED) {
                return false;
            }
            if reading {
                socket.flags.clear(Flags::PAUSED);
            } else {
                socket.flags.set(Flags::PAUSED);
            }
            let _ = net.tcp_set_reading(id, reading);
            true
        });
        // What came meanwhile may be in our hands already, or have been told of while nobody listened.
        if reading && changed == Some(true) {
            self.read_later(key);
        }
    }

    pub(in crate::usockets) fn polls_for(&self, key: SocketKey) -> Readiness {
        let state = self.state.borrow();
        let mut what = Readiness::NONE;
        let Some(flags) = state.sockets.get(key).filter(|socket| socket.net().is_some()).map(|socket| socket.flags)
        else {
            return what;
        };
        if !flags.has(Flags::ESTABLISHED) {
            return Readiness::WRITABLE;
        }
        if !flags.has(Flags::PAUSED | Flags::ENDED) {
            what |= Readiness::READABLE;
        }
        if flags.has(Flags::WANTS_ROOM) {
            what |= Readiness::WRITABLE;
        }
        what
    }

    pub(in crate::usockets) fn fd(&self, key: SocketKey) -> Option<RawFd> {
        self.on_net(key, |_, net, id| net.tcp_fd(id)).flatten()
    }

    pub(in crate::usockets) fn local_addr(&self, key: SocketKey) -> Option<SocketAddr> {
        self.on_net(key, |_, net, id| net.tcp_local_addr(id).ok()).flatten()
    }

    pub(in crate::usockets) fn peer_addr(&self, key: SocketKey) -> Option<SocketAddr> {
        self.on_net(key, |_, net, id| net.tcp_peer_addr(id).ok()).flatten()
    }

    pub(in crate::usockets) fn error(&self, key: SocketKey) -> Option<SocketError> {
        self.state.borrow().sockets.get(key)?.error
    }

    /// Where the socket's user data lies, if it has not been freed.
    pub(in crate::usockets) fn told(&self, key: SocketKey) -> Option<Told> {
        Some(self.state.borrow().sockets.get(key)?.told(key))
    }

    /// Sets the timeout in seconds, rounded up to sweeps of four; 0 is none.
    pub(in crate::usockets) fn set_timeout(&self, key: SocketKey, seconds: u32) {
        let state = &mut *self.state.borrow_mut();
        if !state.is_open(key) {
            return;
        }
        let index = super::index(key);
        match seconds.div_ceil(super::SWEEP.as_secs() as u32) {
            0 => state.short.clear(index),
            sweeps => {
                state.wind_up();
                state.short.set(index, sweeps);
            }
        }
    }

    /// Sets the long timeout in minutes; 0 is none.
    pub(in crate::usockets) fn set_long_timeout(&self, key: SocketKey, minutes: u32) {
        let state = &mut *self.state.borrow_mut();
        if !state.is_open(key) {
            return;
        }
        let index = super::index(key);
        match minutes {
            0 => state.long.clear(index),
            minutes => {
                state.wind_up();
                state.long.set(index, minutes);
            }
        }
    }

    /// Moves a socket to another context. `swap` takes its user data from the old one, and says where it lies with the new
    /// one. Timeouts are cleared; what was read, shut down and asked for stays.
    pub(in crate::usockets) fn adopt(
        &self,
        key: SocketKey,
        context: ContextKey,
        swap: impl FnOnce() -> Option<u32>,
    ) -> Result<(), UsError> {
        let (old, told) = {
            let state = self.state.borrow();
            if !state.is_open(key) {
                return Err(UsError::SocketExtNull);
            }
            if !state.contexts.contains_key(context) {
                return Err(UsError::SocketContextExtNull);
            }
            state.handler(key).ok_or(UsError::SocketExtNull)?
        };
        let place = swap().ok_or(UsError::SocketExtNull)?;
        old.detach(told.place);
        let state = &mut *self.state.borrow_mut();
        let is_open = state.is_open(key);
        if is_open {
            state.unlink(key);
        }
        // The program's own conversion may have closed it; then the new context drops its user data.
        if let Some(socket) = state.sockets.get_mut(key) {
            (socket.place, socket.context) = (place, context);
        }
        if is_open {
            state.link(key, context);
            state.clear_timeouts(key);
        }
        Ok(())
    }

    /// Does something with a socket's connection, if it has one and is open.
    fn on_net<R>(&self, key: SocketKey, what: impl FnOnce(&mut Socket, &mut Net, TcpId) -> R) -> Option<R> {
        let state = &mut *self.state.borrow_mut();
        let socket = state.sockets.get_mut(key)?;
        let id = socket.net()?;
        Some(what(socket, state.net.as_mut()?, id))
    }
}

impl State {
    /// Timeouts are counted in sweeps from now on: while there were none, nobody minded the clock.
    fn wind_up(&mut self) {
        if self.short.is_empty() && self.long.is_empty() {
            let now = Instant::now();
            if self.next_sweep <= now {
                self.realign(now);
            }
        }
    }
}
