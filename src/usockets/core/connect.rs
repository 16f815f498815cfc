//! Listening and connecting.

use super::records::{Flags, Listener, Place};
use super::{ContextKey, Core, ListenKey, Pending, SocketKey, State};
use crate::net::{ConnectOptions, ListenOptions, SocketError, SocketOptions, TcpId};
use crate::usockets::UsError;
use crate::usockets::resolve;
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;

/// Connections that may wait to be accepted.
const BACKLOG: usize = 512;

/// How uSockets' connections are opened: without the Nagle algorithm.
pub(super) const SOCKET: SocketOptions =
    SocketOptions { nodelay: true, cork: false, keep_alive: None, user_timeout: None, quick_ack: false };

impl Core {
    /// Listens.
    pub(in crate::usockets) fn listen(
        &self,
        context: ContextKey,
        host: &str,
        port: u16,
        exclusive: bool,
    ) -> Result<ListenKey, UsError> {
        let addresses = local_addresses(host, port)?;
        let state = &mut *self.state.borrow_mut();
        let Some(net) = &mut state.net else { return Err(UsError::LoopNotRunning) };
        if !state.contexts.contains_key(context) {
            return Err(UsError::SocketContextExtNull);
        }
        // A port that the system chooses is nobody else's.
        let options = ListenOptions {
            backlog: BACKLOG,
            socket: SOCKET,
            reuse_port: !exclusive && port != 0,
            ..Default::default()
        };
        let mut refused = SocketError::InvalidAddress;
        for address in addresses {
            match net.tcp_listen(address, &options) {
                Ok(id) => return Ok(state.listeners.insert(Listener { id, context, make: None })),
                Err(error) => refused = error,
            }
        }
        let place = if host.is_empty() { "every address" } else { host };
        Err(UsError::NetworkOperation { operation: format!("cannot listen on {place}, port {port}: {refused}") })
    }

    /// Listens on a path.
    pub(in crate::usockets) fn listen_unix(&self, context: ContextKey, path: &Path) -> Result<ListenKey, UsError> {
        let state = &mut *self.state.borrow_mut();
        let Some(net) = &mut state.net else { return Err(UsError::LoopNotRunning) };
        if !state.contexts.contains_key(context) {
            return Err(UsError::SocketContextExtNull);
        }
        match net.unix_listen(path, BACKLOG) {
            Ok(id) => Ok(state.listeners.insert(Listener { id, context, make: None })),
            Err(SocketError::InvalidAddress) => Err(UsError::InvalidHostString { host: shown(path) }),
            Err(error) => {
                Err(UsError::NetworkOperation { operation: format!("cannot listen on {}: {error}", shown(path)) })
            }
        }
    }

    pub(in crate::usockets) fn listen_addr(&self, key: ListenKey) -> Option<SocketAddr> {
        let state = self.state.borrow();
        state.net.as_ref()?.tcp_listener_addr(state.listeners.get(key)?.id).ok()
    }

    /// Whose listener it is.
    pub(in crate::usockets) fn listener_context(&self, key: ListenKey) -> Option<ContextKey> {
        Some(self.state.borrow().listeners.get(key)?.context)
    }

    /// Says what makes the user data of a listener's sockets, in the types of its context's handler.
    pub(in crate::usockets) fn set_factory(&self, key: ListenKey, make: Rc<dyn Any>) {
        let mut state = self.state.borrow_mut();
        let old = state.listeners.get_mut(key).and_then(|listener| listener.make.replace(make));
        drop(state);
        drop(old);
    }

    pub(in crate::usockets) fn close_listener(&self, key: ListenKey) {
        let mut state = self.state.borrow_mut();
        let closed = state.listeners.remove(key);
        if let (Some(listener), Some(net)) = (&closed, &mut state.net) {
            let _ = net.tcp_unlisten(listener.id);
        }
        // With nothing borrowed: its factory may hold anything.
        drop(state);
        drop(closed);
    }

    /// Begins to connect; the name is resolved elsewhere, if it is one.
    pub(in crate::usockets) fn connect(
        &self,
        context: ContextKey,
        host: &str,
        port: u16,
        source: Option<&str>,
    ) -> Result<SocketKey, UsError> {
        if !is_host(host) {
            return Err(UsError::InvalidHostString { host: host.into() });
        }
        let source = match source.filter(|source| !source.is_empty()) {
            None => None,
            Some(source) => {
                Some(resolve::literal(source).ok_or_else(|| UsError::InvalidSourceHostString { host: source.into() })?)
            }
        };
        let handler = {
            let state = self.state.borrow();
            if state.net.is_none() {
                return Err(UsError::LoopNotRunning);
            }
            state.contexts.get(context).ok_or(UsError::SocketContextExtNull)?.handler.clone()
        };
        #[cfg(feature = "tls")]
        let session = self.client_session(context, host)?;
        let key = self.state.borrow_mut().insert(context, Place::Nowhere).ok_or(UsError::SocketContextExtNull)?;
        self.attach(key, &*handler, None);
        let state = &mut *self.state.borrow_mut();
        #[cfg(feature = "tls")]
        if let Some(socket) = state.sockets.get_mut(key) {
            socket.tls = session;
        }
        match resolve::literal(host) {
            Some(ip) => {
                let addresses = vec![SocketAddr::new(ip, port)].into_iter();
                state.try_next(Pending { socket: key, source, addresses });
            }
            None => {
                state.metrics.lookups += 1;
                let ticket = state.resolver.start(host, port);
                if let Some(socket) = state.sockets.get_mut(key) {
                    socket.at = Place::Resolving(ticket);
                }
                state.resolving.insert(ticket, Pending { socket: key, source, addresses: Vec::new().into_iter() });
            }
        }
        Ok(key)
    }

    /// Begins to connect to a path.
    pub(in crate::usockets) fn connect_unix(&self, context: ContextKey, path: &Path) -> Result<SocketKey, UsError> {
        let handler = {
            let state = self.state.borrow();
            state.contexts.get(context).ok_or(UsError::SocketContextExtNull)?.handler.clone()
        };
        // Over a path everybody is at home.
        #[cfg(feature = "tls")]
        let session = self.client_session(context, "localhost")?;
        let connecting = self.with_net(|net| net.unix_connect(path))?;
        if connecting == Err(SocketError::InvalidAddress) {
            return Err(UsError::InvalidHostString { host: shown(path) });
        }
        let key = self.state.borrow_mut().insert(context, Place::Nowhere).ok_or(UsError::SocketContextExtNull)?;
        {
            let state = &mut *self.state.borrow_mut();
            let Some(socket) = state.sockets.get_mut(key) else { return Err(UsError::SocketContextExtNull) };
            #[cfg(feature = "tls")]
            {
                socket.tls = session;
            }
            match connecting {
                Ok(id) => {
                    socket.at = Place::Net(id);
                    state.adopt_word(id, key);
                }
                Err(error) => {
                    socket.error = Some(error);
                    state.failed.push(key);
                }
            }
        }
        self.attach(key, &*handler, None);
        Ok(key)
    }

    /// A connect has failed: there may be another address.
    pub(super) fn try_again(self: &Rc<Self>, key: SocketKey, id: TcpId) {
        let next = {
            let state = &mut *self.state.borrow_mut();
            let reason = state.net.as_mut().and_then(|net| {
                let reason = net.tcp_error(id);
                net.tcp_close(id);
                reason
            });
            let Some(socket) = state.sockets.get_mut(key) else { return };
            socket.at = Place::Nowhere;
            socket.error = Some(reason.unwrap_or(SocketError::ConnectionAborted));
            state.connecting.remove(&key)
        };
        match next {
            Some(next) => self.state.borrow_mut().try_next(next),
            None => self.connect_failed(key),
        }
    }

    /// No address is left.
    pub(super) fn connect_failed(self: &Rc<Self>, key: SocketKey) {
        let told = {
            let mut state = self.state.borrow_mut();
            if !state.is_open(key) {
                return;
            }
            state.metrics.connect_errors += 1;
            let code = state.sockets.get(key).and_then(|socket| socket.error).map_or(0, errno);
            state.tell(key).map(|(handler, told)| (handler, told, code))
        };
        if let Some((handler, told, code)) = told {
            handler.connect_error(self, told, code);
        }
        self.take_down(key, None);
    }
}

impl State {
    /// Tries the addresses of a connection until one does not fail at once. If all do, that is told in the next iteration:
    /// a callback shall not be called from within `connect`.
    pub(super) fn try_next(&mut self, mut pending: Pending) {
        let key = pending.socket;
        let (Some(net), Some(socket)) = (&mut self.net, self.sockets.get_mut(key)) else { return };
        socket.at = Place::Nowhere;
        for address in pending.addresses.by_ref() {
            let options = ConnectOptions {
                local: pending.source.map(|ip| SocketAddr::new(ip, 0)),
                socket: SOCKET,
                ..Default::default()
            };
            match net.tcp_connect(address, &options) {
                Ok(id) => {
                    socket.at = Place::Net(id);
                    if !pending.addresses.as_slice().is_empty() {
                        self.connecting.insert(key, pending);
                    }
                    self.adopt_word(id, key);
                    return;
                }
                Err(error) => socket.error = Some(error),
            }
        }
        if !socket.flags.has(Flags::CLOSED) {
            self.failed.push(key);
        }
    }
}

/// A path for messages.
fn shown(path: &Path) -> String {
    path.display().to_string().replace('\0', "@")
}

/// Whether this can be the name of a host: something, without white space, control characters and NUL.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.len() <= 255 && !host.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Where to listen: an address as it stands; nothing for every address, of both kinds if the network has both.
pub(super) fn local_addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, UsError> {
    if host.is_empty() {
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]);
    }
    if let Some(ip) = resolve::literal(host) {
        // On a network without IPv6 "::" stands for all there is.
        let all = ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let fallback = all.then_some((Ipv4Addr::UNSPECIFIED, port).into());
        return Ok(std::iter::once((ip, port).into()).chain(fallback).collect());
    }
    let unknown = || UsError::InvalidHostString { host: host.into() };
    if !is_host(host) {
        return Err(unknown());
    }
    // A name of this machine: nothing runs yet that could be kept waiting, and the answer is needed now.
    let found: Vec<_> = (host, port).to_socket_addrs().map_err(|_| unknown())?.collect();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// The number of an error, `errno(3)`.
fn errno(error: SocketError) -> i32 {
    match error {
        SocketError::Closed => libc::EBADF,
        SocketError::NotConnected => libc::ENOTCONN,
        SocketError::BrokenPipe => libc::EPIPE,
        SocketError::ConnectionReset => libc::ECONNRESET,
        SocketError::ConnectionRefused => libc::ECONNREFUSED,
        SocketError::ConnectionAborted => libc::ECONNABORTED,
        SocketError::TimedOut => libc::ETIMEDOUT,
        SocketError::HostUnreachable => libc::EHOSTUNREACH,
        SocketError::NetworkUnreachable => libc::ENETUNREACH,
        SocketError::ProtocolUnreachable => libc::ENOPROTOOPT,
        SocketError::AddrInUse => libc::EADDRINUSE,
        SocketError::AddrNotAvailable | SocketError::NoPorts => libc::EADDRNOTAVAIL,
        SocketError::NoBuffers => libc::ENOBUFS,
        SocketError::MessageTooLong => libc::EMSGSIZE,
        SocketError::InvalidAddress => libc::EINVAL,
        SocketError::PermissionDenied => libc::EACCES,
        SocketError::WouldBlock => libc::EAGAIN,
        SocketError::System(errno) => i32::from(errno),
    }
}
