//! The operations of TCP and UDP: those of the engine, with the time filled in.
//!
//! Whatever they give to be sent leaves with the next [`poll`](Host::poll) or [`flush`](Host::flush).

use super::Host;
use crate::api::Socket;
use crate::stack::{
    Chunk, ConnectOptions, ListenOptions, ListenerId, SocketError, SocketOptions, State, TcpId, TcpInfo,
};
use std::io::IoSlice;
use std::net::{Shutdown, SocketAddr};

/// TCP.
impl<S: Socket> Host<S> {
    /// Listens on an address; port 0 takes a free one, an unspecified IP address means all of the host's.
    ///
    /// # Errors
    ///
    /// [`SocketError::AddrInUse`], [`SocketError::AddrNotAvailable`], [`SocketError::NoBuffers`].
    pub fn tcp_listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId, SocketError> {
        self.stack.tcp_listen(local, options)
    }

    /// Where a listener listens.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_listener_addr(&self, id: ListenerId) -> Result<SocketAddr, SocketError> {
        self.stack.tcp_listener_addr(id)
    }

    /// The next connection that somebody has opened to a listener.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if there is none; [`Event::Accept`](crate::stack::Event::Accept) tells.
    #[inline]
    pub fn tcp_accept(&mut self, id: ListenerId) -> Result<TcpId, SocketError> {
        self.stack.tcp_accept(self.now, id)
    }

    /// Ends a listener. Connections that have not been accepted are reset.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_unlisten(&mut self, id: ListenerId) -> Result<(), SocketError> {
        self.stack.tcp_unlisten(self.clock.now(), id)
    }

    /// Begins to open a connection; an event tells the outcome.
    ///
    /// # Errors
    ///
    /// What can be known at once: [`SocketError::NetworkUnreachable`], [`SocketError::NoPorts`],
    /// [`SocketError::AddrInUse`] and the like.
    pub fn tcp_connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<TcpId, SocketError> {
        self.stack.tcp_connect(self.clock.now(), remote, options)
    }

    /// Takes bytes to be sent. Returns how many; if it is not all of them, an event tells when there is room again.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if there is no room at all; otherwise why nothing can be sent any more.
    #[inline]
    pub fn tcp_send(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        self.stack.tcp_send(self.now, id, bytes)
    }

    /// The same from several slices.
    ///
    /// # Errors
    ///
    /// As [`tcp_send`](Self::tcp_send).
    #[inline]
    pub fn tcp_sendv(&mut self, id: TcpId, parts: &[IoSlice<'_>]) -> Result<usize, SocketError> {
        self.stack.tcp_sendv(self.now, id, parts)
    }

    /// How many bytes [`tcp_send`](Self::tcp_send) would take now.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_send_room(&self, id: TcpId) -> Result<usize, SocketError> {
        self.stack.tcp_send_room(id)
    }

    /// The next received bytes, where they lie; a [`Reader`](super::Reader) opens them. `None` at the end of the peer's
    /// stream.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if there are none yet; otherwise why none will come.
    #[inline]
    pub fn tcp_recv(&mut self, id: TcpId) -> Result<Option<Chunk>, SocketError> {
        self.stack.tcp_recv(self.now, id)
    }

    /// Copies received bytes into a buffer. Returns how many; 0 at the end of the peer's stream, and for an empty buffer.
    ///
    /// # Errors
    ///
    /// As [`tcp_recv`](Self::tcp_recv).
    pub fn tcp_read(&mut self, id: TcpId, buffer: &mut [u8]) -> Result<usize, SocketError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let chunk = match self.stack.tcp_recv(self.now, id) {
                Ok(Some(chunk)) => chunk,
                Err(error) if filled == 0 => return Err(error),
                Ok(None) | Err(_) => break,
            };
            let (n, rest) = chunk.read(self.socket.context(), &mut buffer[filled..]);
            filled += n;
            if let Some(rest) = rest {
                self.stack.tcp_unread(id, rest);
            }
        }
        Ok(filled)
    }

    /// Puts the rest of a chunk back, to be received again.
    #[inline]
    pub fn tcp_unread(&mut self, id: TcpId, chunk: Chunk) {
        self.stack.tcp_unread(id, chunk);
    }

    /// Bytes that can be received now.
    #[must_use]
    pub fn tcp_readable(&self, id: TcpId) -> usize {
        self.stack.tcp_readable(id)
    }

    /// Ends one direction of a connection, or both.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`], [`SocketError::NotConnected`].
    pub fn tcp_shutdown(&mut self, id: TcpId, how: Shutdown) -> Result<(), SocketError> {
        self.stack.tcp_shutdown(self.now, id, how)
    }

    /// Gives a connection up. What was sent is still delivered.
    pub fn tcp_close(&mut self, id: TcpId) {
        self.stack.tcp_close(self.now, id);
    }

    /// Resets a connection and gives it up.
    pub fn tcp_abort(&mut self, id: TcpId) {
        self.stack.tcp_abort(self.now, id);
    }

    /// The options of a connection.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_options(&self, id: TcpId) -> Result<SocketOptions, SocketError> {
        self.stack.tcp_options(id)
    }

    /// Changes the options of a connection.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_set_options(&mut self, id: TcpId, options: &SocketOptions) -> Result<(), SocketError> {
        self.stack.tcp_set_options(self.now, id, options)
    }

    /// Our end of a connection.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_local_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        self.stack.tcp_local_addr(id)
    }

    /// The peer's end.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_peer_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        self.stack.tcp_peer_addr(id)
    }

    /// Why a connection is over; `None` if it is not, or ended well.
    #[must_use]
    pub fn tcp_error(&self, id: TcpId) -> Option<SocketError> {
        self.stack.tcp_error(id)
    }

    /// The state of a connection (RFC 9293, 3.3.2).
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_state(&self, id: TcpId) -> Result<State, SocketError> {
        self.stack.tcp_state(id)
    }

    /// Round trip times, windows and counters of a connection.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, SocketError> {
        self.stack.tcp_info(id)
    }

    /// The listener that a connection came by; `None` if we opened it.
    #[must_use]
    pub fn tcp_listener_of(&self, id: TcpId) -> Option<ListenerId> {
        self.stack.tcp_listener_of(id)
    }

    /// Ties a number to a connection, such as the place of its record in the program.
    pub fn tcp_set_user(&mut self, id: TcpId, user: u64) {
        self.stack.tcp_set_user(id, user);
    }

    /// The number that was tied to a connection; 0 before.
    #[inline]
    #[must_use]
    pub fn tcp_user(&self, id: TcpId) -> Option<u64> {
        self.stack.tcp_user(id)
    }

    /// Connections that the program has closed and that still have something to deliver.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.stack.orphans()
    }
}
