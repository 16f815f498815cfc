//! The operations on UDP sockets.

use super::{Datagram, UdpOptions, UdpPacket};
use crate::stack::{Instant, Sink, SocketError, Stack, UdpId};
use std::net::SocketAddr;

impl Stack {
    /// Opens a UDP socket at an address of ours, or at any if it is unspecified; port 0: one that is free.
    ///
    /// # Errors
    ///
    /// [`SocketError::AddrNotAvailable`] if the address is none of ours, [`SocketError::AddrInUse`];
    /// [`SocketError::NoPorts`] if no port is free; [`SocketError::NoBuffers`] if there are too many sockets.
    pub fn udp_bind(&mut self, local: SocketAddr, options: &UdpOptions) -> Result<UdpId, SocketError> {
        self.udp.bind(&self.ip, local, options)
    }

    /// Connects a UDP socket: it receives from `remote` only, sends there unless told otherwise, and hears of ICMP errors.
    /// `None` takes that back.
    ///
    /// # Errors
    ///
    /// [`SocketError::InvalidAddress`]; [`SocketError::NetworkUnreachable`] without a route;
    /// [`SocketError::PermissionDenied`] for a broadcast address without the option; [`SocketError::AddrInUse`] if another
    /// socket has that pair of addresses; [`SocketError::Closed`].
    pub fn udp_connect(&mut self, id: UdpId, remote: Option<SocketAddr>) -> Result<(), SocketError> {
        self.udp.connect(&self.ip, id, remote)
    }

    /// Sends a datagram: writes it into a frame of `sink` at once, or, if that has no room, keeps it for
    /// [`egress`](Self::egress) within the socket's send buffer.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if the send buffer is full too: [`Readiness::WRITABLE`](crate::stack::Readiness::WRITABLE)
    /// tells when it is not. [`SocketError::MessageTooLong`]; [`SocketError::InvalidAddress`] without a destination;
    /// [`SocketError::NetworkUnreachable`] without a route; [`SocketError::AddrNotAvailable`] if the source is none of ours;
    /// [`SocketError::PermissionDenied`] for a broadcast address without the option; [`SocketError::NoBuffers`];
    /// [`SocketError::Closed`]. On a connected socket also, once, what an ICMP error said about an earlier one.
    pub fn udp_send<S: Sink>(
        &mut self,
        now: Instant,
        id: UdpId,
        sink: &mut S,
        datagram: &Datagram<'_>,
    ) -> Result<(), SocketError> {
        self.udp.send(now, &mut self.ip, sink, id, datagram)
    }

    /// Sends datagrams in order until one is refused; returns how many were not.
    ///
    /// # Errors
    ///
    /// As [`udp_send`](Self::udp_send), if the first one is refused.
    pub fn udp_send_batch<S: Sink>(
        &mut self,
        now: Instant,
        id: UdpId,
        sink: &mut S,
        datagrams: &[Datagram<'_>],
    ) -> Result<usize, SocketError> {
        self.udp.send_batch(now, &mut self.ip, sink, id, datagrams)
    }

    /// Takes the oldest received datagram.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if there is none; [`SocketError::Closed`]. On a connected socket also, once, what an ICMP
    /// error said about a datagram that was sent.
    pub fn udp_recv(&mut self, id: UdpId) -> Result<UdpPacket, SocketError> {
        self.udp.recv(&mut self.buffers, id)
    }

    /// Takes the oldest received datagrams, `most` at most, and adds them to `out`; returns how many.
    ///
    /// # Errors
    ///
    /// As [`udp_recv`](Self::udp_recv), if there is not even one.
    pub fn udp_recv_batch(&mut self, id: UdpId, out: &mut Vec<UdpPacket>, most: usize) -> Result<usize, SocketError> {
        self.udp.recv_batch(&mut self.buffers, id, out, most)
    }

    /// How many received datagrams wait.
    #[must_use]
    pub fn udp_readable(&self, id: UdpId) -> usize {
        self.udp.readable(id)
    }

    /// The address a UDP socket is bound to. If it is connected, the one it sends from.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub fn udp_local_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        self.udp.local_addr(id)
    }

    /// To whom a UDP socket is connected.
    ///
    /// # Errors
    ///
    /// [`SocketError::NotConnected`], [`SocketError::Closed`].
    pub fn udp_peer_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        self.udp.peer_addr(id)
    }

    /// What an ICMP error said about a datagram of a connected socket; told once.
    pub fn udp_error(&mut self, id: UdpId) -> Option<SocketError> {
        self.udp.take_error(id)
    }

    /// Closes a UDP socket. What waits in it, to be read or sent, is dropped.
    pub fn udp_close(&mut self, id: UdpId) {
        self.udp.close(&mut self.ip, &mut self.buffers, id);
    }
}
