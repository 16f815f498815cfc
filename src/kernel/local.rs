//! Connections within the machine, over sockets of `unix(7)`, and descriptors that come from elsewhere or go there.
//!
//! A connection of either kind is one like any other. One over a unix socket has no addresses and none of the options of
//! TCP, and it ends as a whole when the peer closes it: the kernel then says at once that both directions are over.

use super::error::told;
use super::listen::Listener;
use super::tcp::Tcp;
use super::{Kernel, Socket, canonical, options};
use crate::stack::{ListenerId, SocketError, SocketOptions, TcpId};
use mio::Interest;
use mio::unix::SourceFd;
use socket2::{Domain, SockAddr, Type};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

fn socket() -> io::Result<socket2::Socket> {
    socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
}

/// The address of a path. One that begins with a NUL is a name of Linux's abstract namespace.
fn address(path: &Path) -> Result<SockAddr, SocketError> {
    // Refused if it is empty or does not fit (108 bytes).
    if path.as_os_str().is_empty() {
        return Err(SocketError::InvalidAddress);
    }
    SockAddr::unix(path).map_err(|_| SocketError::InvalidAddress)
}

impl Kernel {
    /// Listens on a path. A socket that lies there is removed first, whoever made it; ours stays when it is closed.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`](SocketError::InvalidAddress) if the path is empty or too long,
    /// [`AddrInUse`](SocketError::AddrInUse) if something else lies there,
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers), or another error of
    /// `bind(2)`.
    pub fn unix_listen(&mut self, path: &Path, backlog: usize) -> Result<ListenerId, SocketError> {
        let address = address(path)?;
        // Of an abstract name there is no file: nothing is found then.
        if path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket()) {
            std::fs::remove_file(path).map_err(told)?;
        }
        let open = || -> io::Result<socket2::Socket> {
            let socket = socket()?;
            socket.bind(&address)?;
            socket.listen(i32::try_from(backlog.max(1)).unwrap_or(i32::MAX))?;
            Ok(socket)
        };
        let listener = Box::new(Listener::new(open().map_err(told)?));
        Ok(ListenerId(self.enter(Socket::Listener(listener), Interest::READABLE).map_err(told)?))
    }

    /// Begins to connect to a path. How it went is told as of any connect.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`](SocketError::InvalidAddress) if the path is empty or too long,
    /// [`System`](SocketError::System) with `ENOENT` if nothing is there,
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers).
    pub fn unix_connect(&mut self, path: &Path) -> Result<TcpId, SocketError> {
        let address = address(path)?;
        let socket = socket().map_err(told)?;
        let failed = match socket.connect(&address) {
            Ok(()) => None,
            Err(error) => match told(error) {
                // The listener's queue is full (connect(2)): nothing goes on by itself then.
                SocketError::WouldBlock | SocketError::ConnectionRefused => Some(SocketError::ConnectionRefused),
                other => return Err(other),
            },
        };
        self.enter_connecting(Tcp::connecting_locally(socket), failed)
    }

    /// Takes a connected stream socket over, of TCP or of unix, that was opened elsewhere. It is told of like an accepted
    /// connection. One that is over already is told to be.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`](SocketError::InvalidAddress) if it is something else, a listener too;
    /// [`NoBuffers`](SocketError::NoBuffers).
    pub fn tcp_adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> Result<TcpId, SocketError> {
        let socket = socket2::Socket::from(fd);
        let is_stream = || Ok(socket.r#type()? == Type::STREAM && !socket.is_listener()?);
        if !is_stream().map_err(|error: io::Error| told(error))? {
            return Err(SocketError::InvalidAddress);
        }
        socket.set_nonblocking(true).map_err(told)?;
        let tcp = if socket.domain().map_err(told)? == Domain::UNIX {
            Tcp::local(socket)
        } else {
            options::apply_new(&socket, options).map_err(told)?;
            let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
            Tcp::accepted(socket, peer.map(canonical))
        };
        Ok(TcpId(self.enter(Socket::Tcp(tcp), Interest::READABLE).map_err(told)?))
    }

    /// The descriptor of a connection. It stays the connection's.
    #[must_use]
    pub fn tcp_fd(&self, id: TcpId) -> Option<RawFd> {
        match self.sockets.get(id.0)? {
            Socket::Tcp(tcp) => Some(tcp.socket.as_raw_fd()),
            _ => None,
        }
    }

    /// Gives a connection away: its descriptor, non-blocking, with everything that was not received. The name means
    /// nothing any more. `None` if it does not anyway.
    pub fn tcp_into_fd(&mut self, id: TcpId) -> Option<OwnedFd> {
        let fd = self.tcp_fd(id)?;
        // It fails only for what is not in epoll.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        match self.sockets.remove(id.0)? {
            Socket::Tcp(tcp) => Some(tcp.socket.into()),
            _ => None,
        }
    }
}
