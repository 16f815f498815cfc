//! The operations of TCP and UDP: those of the engine, with the time filled in.
//!
//! Whatever they give to be sent leaves with the next [`poll`](Host::poll) or [`flush`](Host::flush).

use super::Host;
use super::sink::Out;
use super::turn::out;
use crate::api::Socket;
use crate::stack::{
    Chunk, ConnectOptions, Datagram, ListenOptions, ListenerId, SocketError, SocketOptions, State, TcpId, TcpInfo,
    UdpId, UdpOptions, UdpPacket,
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

    /// Whether nothing is left to be received now, not even the end of the stream: an event tells when there is.
    #[inline]
    #[must_use]
    pub fn tcp_drained(&self, id: TcpId) -> bool {
        self.stack.tcp_drained(id)
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

    /// Those of the [`orphans`](Self::orphans) whose peer has not acknowledged everything.
    #[must_use]
    pub fn owing(&self) -> usize {
        self.stack.owing()
    }
}

/// UDP.
impl<S: Socket> Host<S> {
    /// Binds a socket to an address; port 0 takes a free one, an unspecified IP address means all of the host's.
    ///
    /// # Errors
    ///
    /// [`SocketError::AddrInUse`], [`SocketError::AddrNotAvailable`], [`SocketError::NoPorts`],
    /// [`SocketError::NoBuffers`].
    pub fn udp_bind(&mut self, local: SocketAddr, options: &UdpOptions) -> Result<UdpId, SocketError> {
        self.stack.udp_bind(local, options)
    }

    /// Chooses one peer: only its datagrams are received, and datagrams without a destination go there. `None` chooses
    /// all again.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`], [`SocketError::NetworkUnreachable`].
    pub fn udp_connect(&mut self, id: UdpId, remote: Option<SocketAddr>) -> Result<(), SocketError> {
        self.stack.udp_connect(id, remote)
    }

    /// Sends a datagram: it is in the ring at once, if there is room, and leaves with the next [`poll`](Self::poll) or
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if there is no room; an event tells when there is. Otherwise why it cannot be sent.
    #[inline]
    pub fn udp_send(&mut self, id: UdpId, datagram: &Datagram<'_>) -> Result<(), SocketError> {
        self.stack.udp_send(self.now, id, &mut out!(self), datagram)
    }

    /// Sends datagrams until one is refused. Returns how many were taken.
    ///
    /// # Errors
    ///
    /// As [`udp_send`](Self::udp_send), if the first one is refused.
    #[inline]
    pub fn udp_send_batch(&mut self, id: UdpId, datagrams: &[Datagram<'_>]) -> Result<usize, SocketError> {
        self.stack.udp_send_batch(self.now, id, &mut out!(self), datagrams)
    }

    /// The next received datagram, where it lies.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if there is none; an error that ICMP reported, once.
    #[inline]
    pub fn udp_recv(&mut self, id: UdpId) -> Result<UdpPacket, SocketError> {
        self.stack.udp_recv(id)
    }

    /// Up to `max` received datagrams, appended to `out`. Returns how many.
    ///
    /// # Errors
    ///
    /// As [`udp_recv`](Self::udp_recv), if there is not even one.
    #[inline]
    pub fn udp_recv_batch(&mut self, id: UdpId, out: &mut Vec<UdpPacket>, max: usize) -> Result<usize, SocketError> {
        self.stack.udp_recv_batch(id, out, max)
    }

    /// Where a socket is bound.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn udp_local_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        self.stack.udp_local_addr(id)
    }

    /// To whom a socket is connected.
    ///
    /// # Errors
    ///
    /// [`SocketError::NotConnected`], [`SocketError::Closed`].
    pub fn udp_peer_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        self.stack.udp_peer_addr(id)
    }

    /// How many received datagrams wait.
    #[must_use]
    pub fn udp_readable(&self, id: UdpId) -> usize {
        self.stack.udp_readable(id)
    }

    /// What an ICMP error said about a datagram of a connected socket; told once.
    pub fn udp_error(&mut self, id: UdpId) -> Option<SocketError> {
        self.stack.udp_error(id)
    }

    /// Closes a socket. What waits in it, to be read or sent, is dropped; what is in the ring leaves.
    pub fn udp_close(&mut self, id: UdpId) {
        self.stack.udp_close(id);
    }
}
