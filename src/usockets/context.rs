//! Socket contexts and listeners, as programs hold them.

use super::core::{ContextKey, Core, ListenKey};
use super::event_loop::{Inner, LoopMut};
use super::socket::Socket;
use super::typed::{Factory, Typed};
use super::{Received, SocketContextOptions, UsError};
use crate::net::SocketError;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

/// For [`SocketContext::listen`]: nobody else may listen on the port (`LIBUS_LISTEN_EXCLUSIVE_PORT`). Without it, others may
/// who do not insist either, and connections are spread over all (`SO_REUSEPORT`).
pub const LISTEN_EXCLUSIVE_PORT: i32 = 1;

/// What becomes of a connection that waits to be accepted, see [`SocketContext::on_pre_open_fd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreOpen {
    /// It becomes a socket.
    Keep,
    /// It is reset.
    Refuse,
    /// It is the program's, which was told its descriptor. One that has none is refused.
    Export,
}

/// Sockets with the same callbacks, the same TLS (if `SSL`) and the same type of user data `S`, on a loop with user data `T`.
///
/// Clones are the same context. When the last one is dropped its listeners and sockets are closed; a context that its own
/// callbacks hold lives until it is [closed](Self::close) and released by them, or its loop ends.
///
/// # Callbacks
///
/// Each can be set at any time, also from within itself. A callback may call anything, `close` included: then `on_close` is
/// called before `close` returns. Only one that is running is not entered again: what is closed from within `on_close` is told
/// when that returns.
pub struct SocketContext<const SSL: bool, T: 'static, S: 'static> {
    inner: Rc<Owner<SSL, T, S>>,
}

struct Owner<const SSL: bool, T: 'static, S: 'static> {
    of: Rc<Inner<T>>,
    key: ContextKey,
    typed: Rc<Typed<SSL, S>>,
}

impl<const SSL: bool, T, S> Drop for Owner<SSL, T, S> {
    fn drop(&mut self) {
        self.of.core.close_context(self.key);
        self.of.core.remove_context(self.key);
    }
}

impl<const SSL: bool, T, S> SocketContext<SSL, T, S> {
    pub(super) fn new(
        of: &Rc<Inner<T>>,
        options: SocketContextOptions,
        make: Box<dyn FnMut() -> S>,
    ) -> Result<Self, UsError> {
        options.check()?;
        #[cfg(feature = "tls")]
        let tls = if SSL { Some(super::tls::Settings::load(&options)?) } else { None };
        #[cfg(not(feature = "tls"))]
        if SSL {
            return Err(UsError::SocketContextCreation { message: super::NO_TLS.into() });
        }
        Self::with(
            of,
            make,
            #[cfg(feature = "tls")]
            tls,
        )
    }

    fn with(
        of: &Rc<Inner<T>>,
        make: Box<dyn FnMut() -> S>,
        #[cfg(feature = "tls")] tls: Option<Rc<super::tls::Settings>>,
    ) -> Result<Self, UsError> {
        let typed = Rc::new(Typed::new(make));
        let key = of.core.open_context(
            typed.clone(),
            #[cfg(feature = "tls")]
            tls,
        )?;
        Ok(Self { inner: Rc::new(Owner { of: of.clone(), key, typed }) })
    }

    fn core(&self) -> &Rc<Core> {
        &self.inner.of.core
    }

    /// Asked before a connection is accepted: `false` refuses it, with a reset and without any other callback.
    /// Connections over a path, which come from no address, are not asked about.
    pub fn on_pre_open(&self, mut callback: impl FnMut(SocketAddr) -> bool + 'static) {
        self.inner.typed.wants_fd.set(false);
        self.inner.typed.pre_open.set(Some(Box::new(move |_, peer| match peer.map(&mut callback) {
            Some(false) => PreOpen::Refuse,
            _ => PreOpen::Keep,
        })));
    }

    /// The same in the place of [`on_pre_open`](Self::on_pre_open), for programs that hand connections on: it is told the
    /// descriptor of the connection (-1 if our engine made it) and the peer's address (`None` over a path). With
    /// [`PreOpen::Export`] the descriptor is the program's from then on, also to [adopt](Self::adopt_fd) or to close it
    /// within the callback. Until the answer it must not be closed otherwise.
    pub fn on_pre_open_fd(&self, callback: impl FnMut(RawFd, Option<SocketAddr>) -> PreOpen + 'static) {
        self.inner.typed.wants_fd.set(true);
        self.inner.typed.pre_open.set(Some(Box::new(callback)));
    }

    /// A connection stands: accepted, or (`is_client`) opened by us. The last argument is the peer's address in 4 or 16
    /// bytes; empty for a client. With TLS this is before the handshake.
    pub fn on_open(&self, callback: impl FnMut(&mut Socket<SSL, S>, bool, &[u8]) + 'static) {
        self.inner.typed.open.set(Some(Box::new(callback)));
    }

    /// A connection is closed: with the code of [`Socket::close`], or 0 and the reason (if there is one) when the peer or the
    /// network ended it. The user data is there until the iteration ends.
    pub fn on_close(&self, callback: impl FnMut(&mut Socket<SSL, S>, i32, Option<SocketError>) + 'static) {
        self.inner.typed.close.set(Some(Box::new(callback)));
    }

    /// Bytes came, at least one. They lie where the network has put them, and may be changed.
    pub fn on_data(&self, mut callback: impl FnMut(&mut Socket<SSL, S>, &mut [u8]) + 'static) {
        self.on_received(move |socket, received| callback(socket, received));
    }

    /// The same in the place of [`on_data`](Self::on_data), for programs that want to write around the bytes too: see
    /// [`Received::with_padding`].
    pub fn on_received(&self, callback: impl FnMut(&mut Socket<SSL, S>, &mut Received<'_>) + 'static) {
        self.inner.typed.data.set(Some(Box::new(callback)));
    }

    /// There is room again after a write was cut short.
    pub fn on_writable(&self, callback: impl FnMut(&mut Socket<SSL, S>) + 'static) {
        self.inner.typed.writable.set(Some(Box::new(callback)));
    }

    /// The time of [`Socket::set_timeout`] is over.
    pub fn on_timeout(&self, callback: impl FnMut(&mut Socket<SSL, S>) + 'static) {
        self.inner.typed.timeout.set(Some(Box::new(callback)));
    }

    /// The time of [`Socket::set_long_timeout`] is over.
    pub fn on_long_timeout(&self, callback: impl FnMut(&mut Socket<SSL, S>) + 'static) {
        self.inner.typed.long_timeout.set(Some(Box::new(callback)));
    }

    /// A connection could not be opened; the code is the reason's number (`errno(3)`), [`Socket::error`] the reason. The socket
    /// is gone afterwards, without `on_close`.
    pub fn on_connect_error(&self, callback: impl FnMut(&mut Socket<SSL, S>, i32) + 'static) {
        self.inner.typed.connect_error.set(Some(Box::new(callback)));
    }

    /// The peer has ended its stream; ours can go on until the socket is closed. Not called if ours was ended before (then
    /// `on_close` is), nor with TLS (then a stream that ends closes the socket).
    pub fn on_end(&self, callback: impl FnMut(&mut Socket<SSL, S>) + 'static) {
        self.inner.typed.end.set(Some(Box::new(callback)));
    }

    /// A client asks for a server name that is not known here; it may be added now. TLS only.
    pub fn on_server_name(&self, callback: impl FnMut(&ServerNames, &str) + 'static) {
        self.inner.typed.server_name.set(Some(Box::new(callback)));
    }

    /// Makes the user data of sockets that come from now on.
    pub fn set_ext_factory(&self, make: impl FnMut() -> S + 'static) {
        self.inner.typed.make.set(Some(Box::new(make)));
    }

    /// The same for the sockets of one listener of this context, in the place of the context's.
    ///
    /// # Errors
    ///
    /// [`SocketContextExtNull`](UsError::SocketContextExtNull) if it is closed, or another context's.
    pub fn set_ext_factory_for(
        &self,
        listener: &ListenSocket<SSL, T>,
        make: impl FnMut() -> S + 'static,
    ) -> Result<(), UsError> {
        let owner = self.core().listener_context(listener.key);
        if !Rc::ptr_eq(&listener.core, self.core()) || owner != Some(self.inner.key) {
            return Err(UsError::SocketContextExtNull);
        }
        let factory = Factory::new();
        factory.set(Some(Box::new(make)));
        self.core().set_factory(listener.key, Rc::new(factory));
        Ok(())
    }

    /// Listens on an address of this machine (`host` as a literal or a name; empty is every address) and a port (0: any free
    /// one). `options` is 0 or [`LISTEN_EXCLUSIVE_PORT`].
    ///
    /// # Errors
    ///
    /// [`InvalidHostString`](UsError::InvalidHostString), [`NetworkOperation`](UsError::NetworkOperation) if the network
    /// refuses, [`SocketContextExtNull`](UsError::SocketContextExtNull) and [`LoopNotRunning`](UsError::LoopNotRunning) if
    /// context or loop are gone.
    pub fn listen(&self, host: &str, port: u16, options: i32) -> Result<ListenSocket<SSL, T>, UsError> {
        let exclusive = options & LISTEN_EXCLUSIVE_PORT != 0;
        let key = self.core().listen(self.inner.key, host, port, exclusive)?;
        Ok(ListenSocket { core: self.core().clone(), key, of: PhantomData })
    }

    /// Begins to connect to a host, by literal address or by name (which another thread resolves; its addresses are tried
    /// one after the other). `source_host` is one of our addresses. `on_open` or `on_connect_error` tell how it went. The
    /// `Option` is that of uSockets, where nothing is returned for names that cannot be resolved; here that is told by
    /// `on_connect_error`, and there always is a socket.
    ///
    /// # Errors
    ///
    /// [`InvalidHostString`](UsError::InvalidHostString), [`InvalidSourceHostString`](UsError::InvalidSourceHostString),
    /// [`SocketContextExtNull`](UsError::SocketContextExtNull) and [`LoopNotRunning`](UsError::LoopNotRunning) if context or
    /// loop are gone; with TLS [`NetworkOperation`](UsError::NetworkOperation) if the host cannot be a server's name.
    pub fn connect(
        &self,
        host: &str,
        port: u16,
        source_host: Option<&str>,
        options: i32,
    ) -> Result<Option<Socket<SSL, S>>, UsError> {
        // There are none yet; those of uSockets concern listeners.
        let _ = options;
        let key = self.core().connect(self.inner.key, host, port, source_host)?;
        let told = self.core().told(key);
        Ok(told.and_then(|told| self.inner.typed.name(self.core(), told)))
    }

    /// The same, with user data for the socket.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with(
        &self,
        host: &str,
        port: u16,
        source_host: Option<&str>,
        options: i32,
        ext: S,
    ) -> Result<Option<Socket<SSL, S>>, UsError> {
        self.inner.typed.given.replace(Some(ext));
        let result = self.connect(host, port, source_host, options);
        // Not taken if there was an error before a socket was made.
        let left = self.inner.typed.given.take();
        drop(left);
        result
    }

    /// Listens on a path of the file system, or, if it begins with a NUL, on a name of Linux's abstract namespace. A socket
    /// that lies there is replaced, whoever made it; ours stays when it is closed. Its sockets have no addresses, and
    /// `on_open` is told none. The same on every network: this is always the kernel's. There are no `options` yet.
    ///
    /// # Errors
    ///
    /// [`InvalidHostString`](UsError::InvalidHostString) if the path is empty or longer than 107 bytes, and as
    /// [`listen`](Self::listen).
    pub fn listen_unix(&self, path: impl AsRef<Path>, options: i32) -> Result<ListenSocket<SSL, T>, UsError> {
        let _ = options;
        let key = self.core().listen_unix(self.inner.key, path.as_ref())?;
        Ok(ListenSocket { core: self.core().clone(), key, of: PhantomData })
    }

    /// Begins to connect to a path that somebody listens on. `on_open` or `on_connect_error` tell how it went. There are no
    /// `options` yet.
    ///
    /// # Errors
    ///
    /// [`InvalidHostString`](UsError::InvalidHostString) if the path is empty or longer than 107 bytes, and as
    /// [`connect`](Self::connect).
    pub fn connect_unix(&self, path: impl AsRef<Path>, options: i32) -> Result<Option<Socket<SSL, S>>, UsError> {
        let _ = options;
        let key = self.core().connect_unix(self.inner.key, path.as_ref())?;
        let told = self.core().told(key);
        Ok(told.and_then(|told| self.inner.typed.name(self.core(), told)))
    }

    /// The same, with user data for the socket.
    ///
    /// # Errors
    ///
    /// As [`connect_unix`](Self::connect_unix).
    pub fn connect_unix_with(
        &self,
        path: impl AsRef<Path>,
        options: i32,
        ext: S,
    ) -> Result<Option<Socket<SSL, S>>, UsError> {
        self.inner.typed.given.replace(Some(ext));
        let result = self.connect_unix(path, options);
        // As in `connect_with`.
        let left = self.inner.typed.given.take();
        drop(left);
        result
    }

    /// Makes a connection of the kernel's that was accepted elsewhere, of TCP or over a path, a socket of this context.
    /// `on_open` is called with `ip` before this returns, so the socket may be closed already then; with TLS ours is the
    /// server's side.
    ///
    /// # Errors
    ///
    /// [`NetworkOperation`](UsError::NetworkOperation) if the descriptor is no connection (it is closed then),
    /// [`SocketContextExtNull`](UsError::SocketContextExtNull) and [`LoopNotRunning`](UsError::LoopNotRunning) if context or
    /// loop are gone.
    pub fn adopt_fd(&self, fd: OwnedFd, ext: S, ip: &[u8]) -> Result<Socket<SSL, S>, UsError> {
        self.inner.typed.given.replace(Some(ext));
        let result = self.core().adopt_fd(self.inner.key, fd, ip);
        // As in `connect_with`.
        let left = self.inner.typed.given.take();
        drop(left);
        let told = self.core().told(result?).ok_or(UsError::SocketExtNull)?;
        self.inner.typed.name(self.core(), told).ok_or(UsError::SocketExtNull)
    }

    /// Takes a socket of another context over. Its user data is converted, its timeouts end; what it has read, written,
    /// shut down and paused stays, and no callback is called.
    ///
    /// # Errors
    ///
    /// [`SocketExtNull`](UsError::SocketExtNull) if the socket is closed, or its user data borrowed;
    /// [`SocketContextExtNull`](UsError::SocketContextExtNull) if this context is.
    pub fn adopt<S0: 'static>(
        &self,
        socket: &Socket<SSL, S0>,
        convert: impl FnOnce(S0) -> S,
    ) -> Result<Socket<SSL, S>, UsError> {
        if !Rc::ptr_eq(&socket.core, self.core()) {
            return Err(UsError::SocketExtNull);
        }
        let key = socket.key;
        self.core().adopt(key, self.inner.key, || {
            let data = socket.page[socket.place].take(key)?;
            Some(self.inner.typed.pages.put(key, convert(data)))
        })?;
        let told = self.core().told(key).ok_or(UsError::SocketExtNull)?;
        self.inner.typed.name(self.core(), told).ok_or(UsError::SocketExtNull)
    }

    /// A context with the same TLS, callbacks of its own and perhaps another type of user data.
    ///
    /// # Errors
    ///
    /// [`SocketContextExtNull`](UsError::SocketContextExtNull), [`LoopNotRunning`](UsError::LoopNotRunning).
    pub fn create_child<S2: Default>(&self) -> Result<SocketContext<SSL, T, S2>, UsError> {
        if !self.is_valid() {
            return Err(UsError::SocketContextExtNull);
        }
        SocketContext::with(
            &self.inner.of,
            Box::new(S2::default),
            #[cfg(feature = "tls")]
            self.core().tls_of(self.inner.key),
        )
    }

    /// Closes all of its listeners and sockets; `on_close` is called for each. The context can be used again.
    pub fn close(&self) {
        self.core().close_context(self.inner.key);
    }

    /// Whether its loop has not ended.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.core().has_context(self.inner.key)
    }

    /// How many sockets it has, those that are being connected included.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.core().sockets_of(self.inner.key)
    }

    /// The clock of the timeouts: sweeps of four seconds, modulo 240.
    #[must_use]
    pub fn timestamp(&self) -> u16 {
        self.core().timestamp()
    }

    /// The loop it belongs to.
    #[must_use]
    pub fn loop_mut(&self) -> LoopMut<'_, T> {
        LoopMut::of(&self.inner.of)
    }
}

impl<T, S> SocketContext<true, T, S> {
    /// Serves a name (SNI) with options of its own; `*.example.org` stands for one label in the place of the asterisk. A
    /// pattern that is there already gets the new options; connections that stand keep the old ones. TLS only.
    ///
    /// # Errors
    ///
    /// As of the context's own options: [`SocketContextCreation`](UsError::SocketContextCreation), also for a pattern that
    /// cannot be a name, and for options without a certificate.
    pub fn add_server_name(&self, pattern: &str, options: &SocketContextOptions) -> Result<(), UsError> {
        self.server_names().add(pattern, options)
    }

    /// Serves a name no longer. Connections that stand go on.
    ///
    /// # Errors
    ///
    /// [`SocketContextCreation`](UsError::SocketContextCreation) if it was not there.
    pub fn remove_server_name(&self, pattern: &str) -> Result<(), UsError> {
        self.server_names().remove(pattern)
    }

    fn server_names(&self) -> ServerNames {
        ServerNames::new(self.core().clone(), self.inner.key)
    }
}

impl<const SSL: bool, T, S> Clone for SocketContext<SSL, T, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<const SSL: bool, T, S> fmt::Debug for SocketContext<SSL, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketContext").field("ssl", &SSL).field("sockets", &self.sockets()).finish()
    }
}

/// The names that a context serves, for `on_server_name`.
pub struct ServerNames {
    core: Rc<Core>,
    context: ContextKey,
}

impl ServerNames {
    pub(super) fn new(core: Rc<Core>, context: ContextKey) -> Self {
        Self { core, context }
    }

    /// As [`SocketContext::add_server_name`].
    ///
    /// # Errors
    ///
    /// As [`SocketContext::add_server_name`].
    pub fn add(&self, pattern: &str, options: &SocketContextOptions) -> Result<(), UsError> {
        options.check()?;
        #[cfg(feature = "tls")]
        return self.core.tls_of(self.context).ok_or(UsError::SocketContextExtNull)?.add_server_name(pattern, options);
        #[cfg(not(feature = "tls"))]
        Err(UsError::SocketContextCreation { message: format!("cannot serve {pattern}: {}", super::NO_TLS) })
    }

    /// As [`SocketContext::remove_server_name`].
    ///
    /// # Errors
    ///
    /// As [`SocketContext::remove_server_name`].
    pub fn remove(&self, pattern: &str) -> Result<(), UsError> {
        #[cfg(feature = "tls")]
        if self.core.tls_of(self.context).ok_or(UsError::SocketContextExtNull)?.remove_server_name(pattern) {
            return Ok(());
        }
        Err(UsError::SocketContextCreation { message: format!("{pattern} is none of the names served") })
    }
}

impl fmt::Debug for ServerNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerNames")
    }
}

/// A listener, by its name. Its context owns it: dropping a `ListenSocket` changes nothing.
pub struct ListenSocket<const SSL: bool, T: 'static> {
    core: Rc<Core>,
    key: ListenKey,
    of: PhantomData<fn() -> T>,
}

impl<const SSL: bool, T> ListenSocket<SSL, T> {
    /// Ends listening. Connections that nobody has accepted are reset, the others live on.
    pub fn close(&self) {
        self.core.close_listener(self.key);
    }

    /// The port; -1 if it is closed.
    #[must_use]
    pub fn port(&self) -> i32 {
        self.local_addr().map_or(-1, |local| i32::from(local.port()))
    }

    /// Address and port, unless it is closed.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.core.listen_addr(self.key)
    }
}

impl<const SSL: bool, T> Clone for ListenSocket<SSL, T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), key: self.key, of: PhantomData }
    }
}

impl<const SSL: bool, T> fmt::Debug for ListenSocket<SSL, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenSocket").field("local", &self.local_addr()).finish()
    }
}
