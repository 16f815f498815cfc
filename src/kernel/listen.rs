//! Listeners, and accepting.

use super::error::{meaning, told};
use super::tcp::Tcp;
use super::{Kernel, REST, Socket, canonical, options, sys};
use crate::stack::{ListenOptions, ListenerId, SocketError, TcpId};
use socket2::{Domain, Protocol, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// A listening descriptor.
pub(super) struct Listener {
    pub(super) socket: socket2::Socket,
    /// Whether connections may be waiting: an edge came, and the queue was not seen empty since.
    waiting: bool,
}

impl Listener {
    pub(super) fn new(socket: socket2::Socket) -> Self {
        Self { socket, waiting: false }
    }

    /// An edge came. Returns whether that is news.
    pub(super) fn happened(&mut self) -> bool {
        !std::mem::replace(&mut self.waiting, true)
    }

    pub(super) fn waiting(&self) -> bool {
        self.waiting
    }
}

impl Kernel {
    /// Listens. Port 0 is any free one; `[::]` listens for both families.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](SocketError::AddrInUse), [`AddrNotAvailable`](SocketError::AddrNotAvailable),
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers).
    pub fn tcp_listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId, SocketError> {
        let open = || -> io::Result<socket2::Socket> {
            let kind = Type::STREAM.nonblocking().cloexec();
            let socket = socket2::Socket::new(Domain::for_address(local), kind, Some(Protocol::TCP))?;
            if local.is_ipv6() {
                socket.set_only_v6(false)?;
            }
            // A port whose old connections are in TIME-WAIT can be listened on (SO_REUSEADDR of socket(7)).
            socket.set_reuse_address(true)?;
            if options.reuse_port {
                socket.set_reuse_port(true)?;
            }
            options::sizes(&socket, options.receive_buffer, options.send_buffer)?;
            options::congestion(&socket, options.congestion)?;
            // Accepted connections inherit all of this.
            options::apply_new(&socket, &options.socket)?;
            socket.bind(&local.into())?;
            socket.listen(i32::try_from(options.backlog.max(1)).unwrap_or(i32::MAX))?;
            Ok(socket)
        };
        let listener = Box::new(Listener::new(open().map_err(told)?));
        let key = self.enter(Socket::Listener(listener), mio::Interest::READABLE).map_err(told)?;
        Ok(ListenerId(key))
    }

    /// The address listened on.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed); [`InvalidAddress`](SocketError::InvalidAddress) if that is a path.
    pub fn tcp_listener_addr(&self, id: ListenerId) -> Result<SocketAddr, SocketError> {
        let address = self.listener(id)?.socket.local_addr().map_err(told)?;
        address.as_socket().ok_or(SocketError::InvalidAddress)
    }

    /// Takes the next connection that waits.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock) if none waits. [`NoBuffers`](SocketError::NoBuffers) if one does and the
    /// process has no descriptor for it (`EMFILE`): it stays in the queue, and its listener is told of again once a
    /// socket has been closed here or a tenth of a second is over.
    pub fn tcp_accept(&mut self, id: ListenerId) -> Result<TcpId, SocketError> {
        loop {
            let Some(Socket::Listener(listener)) = self.sockets.get_mut(id.0) else { return Err(SocketError::Closed) };
            if !listener.waiting {
                return Err(SocketError::WouldBlock);
            }
            let (socket, peer) = match sys::accept(&listener.socket) {
                Ok(accepted) => accepted,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {
                        listener.waiting = false;
                        return Err(SocketError::WouldBlock);
                    }
                    // The connection was reset before it could be taken, or had an error of the network waiting, which
                    // accept(2) says is to be treated like nothing: the next one.
                    Some(
                        libc::EINTR
                        | libc::ECONNABORTED
                        | libc::EPROTO
                        | libc::ENOPROTOOPT
                        | libc::ENETDOWN
                        | libc::ENETUNREACH
                        | libc::EHOSTDOWN
                        | libc::EHOSTUNREACH
                        | libc::ENONET,
                    ) => continue,
                    _ => {
                        self.resting = Some(Instant::now() + REST);
                        return Err(meaning(&error));
                    }
                },
            };
            // Who has connected to a path has no address.
            let tcp = match peer {
                Some(peer) => Tcp::accepted(socket, Some(canonical(peer))),
                None => Tcp::local(socket),
            };
            return match self.enter(Socket::Tcp(tcp), mio::Interest::READABLE) {
                Ok(key) => Ok(TcpId(key)),
                Err(_) => {
                    self.resting = Some(Instant::now() + REST);
                    Err(SocketError::NoBuffers)
                }
            };
        }
    }

    /// Stops listening. Connections that wait are reset.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_unlisten(&mut self, id: ListenerId) -> Result<(), SocketError> {
        self.listener(id)?;
        self.leave(id.0);
        Ok(())
    }

    fn listener(&self, id: ListenerId) -> Result<&Listener, SocketError> {
        match self.sockets.get(id.0) {
            Some(Socket::Listener(listener)) => Ok(listener),
            _ => Err(SocketError::Closed),
        }
    }
}
