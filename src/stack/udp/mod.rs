//! UDP (RFC 768): sockets, and which datagram goes where.
//!
//! A received datagram stays in its frame and waits in the queue of its socket, whose length in bytes is bounded. A sent one
//! is written straight into the device's frame; only if that has no room is it copied and waits for
//! [`egress`](Udp::egress).
//!
//! A datagram goes to one socket, also if it was sent to everybody on the link: its frame has one owner.

mod api;
mod options;
mod ports;
mod send;
mod socket;

pub use options::{Datagram, UdpOptions, UdpPacket};

use super::buffers::Buffers;
use super::chunk::Carrier;
use super::config::{Checksum, RxChecksum};
use super::ip::{Failure, IcmpError, IcmpErrorKind, Ip, Packet};
use super::slab::Slab;
use super::tcp::isn;
use super::{Config, Instant, Readiness, Sink, SocketError, UdpId, UdpStats};
use crate::wire::icmp::unreachable;
use crate::wire::{ipv4, udp};
use ports::Bindings;
use socket::{DATAGRAM_COST, Socket};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Sockets, at most.
const MAX_SOCKETS: usize = 1 << 20;

/// All UDP sockets.
pub(crate) struct Udp {
    /// What has been counted.
    pub(crate) stats: UdpStats,
    sockets: Slab<Socket>,
    bindings: Bindings,
    ephemeral: isn::Ports,
    ephemeral_ports: (u16, u16),
    checksum: Checksum,
    receive_buffer: usize,
    send_buffer: usize,
    /// Sockets with something to tell.
    ready: VecDeque<u32>,
    /// Sockets whose datagrams wait for room in the device.
    blocked: VecDeque<u32>,
}

impl Udp {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            stats: UdpStats::default(),
            sockets: Slab::new(MAX_SOCKETS),
            bindings: Bindings::new(config.secret),
            ephemeral: isn::Ports::new(config.secret),
            ephemeral_ports: config.tcp.ephemeral_ports,
            checksum: config.checksum,
            receive_buffer: config.udp.receive_buffer,
            send_buffer: config.udp.send_buffer,
            ready: VecDeque::new(),
            blocked: VecDeque::new(),
        }
    }

    /// Opens a socket at an address of ours or any; port 0: one that is free.
    ///
    /// # Errors
    ///
    /// [`SocketError::AddrNotAvailable`], [`SocketError::AddrInUse`]; [`SocketError::NoPorts`] if none is free;
    /// [`SocketError::NoBuffers`] if there are too many sockets.
    pub(crate) fn bind(&mut self, ip: &Ip, local: SocketAddr, options: &UdpOptions) -> Result<UdpId, SocketError> {
        if !(ip.is_local(local.ip()) || (local.ip().is_unspecified() && local.is_ipv4())) {
            return Err(SocketError::AddrNotAvailable);
        }
        let share = options.reuse_port;
        let port = match local.port() {
            // Random, and not shared with anybody (RFC 6056, 3.3.1).
            0 => {
                let taken = |port| self.bindings.is_taken(SocketAddr::new(local.ip(), port), false);
                self.ephemeral.choose_any(self.ephemeral_ports, taken).ok_or(SocketError::NoPorts)?
            }
            _ if self.bindings.is_taken(local, share) => return Err(SocketError::AddrInUse),
            port => port,
        };
        let local = SocketAddr::new(local.ip(), port);
        let socket = Socket {
            local,
            peer: None,
            options: *options,
            way: None,
            queue: VecDeque::new(),
            queued: 0,
            queue_limit: options.receive_buffer.unwrap_or(self.receive_buffer).max(1),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_limit: options.send_buffer.unwrap_or(self.send_buffer).max(1),
            wants_room: false,
            error: None,
            news: Readiness::NONE,
        };
        let key = self.sockets.insert(socket).map_err(|_| SocketError::NoBuffers)?;
        self.bindings.bind(local, share, key.index);
        Ok(key.into())
    }

    /// Connects a socket: it receives from `remote` only, and sends there unless told otherwise. `None` takes that back.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`], [`SocketError::InvalidAddress`], [`SocketError::PermissionDenied`] for a broadcast address
    /// without the option, [`SocketError::AddrInUse`] if another socket has that pair of addresses; those of
    /// [`Ip::source_for`].
    pub(crate) fn connect(&mut self, ip: &Ip, id: UdpId, remote: Option<SocketAddr>) -> Result<(), SocketError> {
        let socket = self.sockets.get_mut(id.0).ok_or(SocketError::Closed)?;
        let peer = match remote {
            None => None,
            Some(remote) if remote.port() == 0 => return Err(SocketError::InvalidAddress),
            Some(remote) if ip.is_broadcast(remote.ip()) && !socket.options.broadcast => {
                return Err(SocketError::PermissionDenied);
            }
            Some(remote) => {
                let route = ip.source_for(remote.ip())?;
                Some((if socket.local.ip().is_unspecified() { route } else { socket.local.ip() }, remote))
            }
        };
        let old = socket.peer.take();
        if let Some((local, remote)) = old {
            self.bindings.disconnect(socket.local, local, remote, id.0.index);
        }
        if let Some((local, remote)) = peer {
            if let Err(error) = self.bindings.connect(socket.local, local, remote, id.0.index) {
                // As it was before.
                if let Some((local, remote)) = old {
                    let _ = self.bindings.connect(socket.local, local, remote, id.0.index);
                }
                socket.peer = old;
                return Err(error);
            }
        }
        socket.peer = peer;
        Ok(())
    }

    /// Closes a socket. What it has received and not read is dropped, and so is what waits to be sent.
    pub(crate) fn close(&mut self, ip: &mut Ip, buffers: &mut Buffers, id: UdpId) {
        let Some(mut socket) = self.sockets.remove(id.0) else { return };
        if let Some((local, remote)) = socket.peer {
            self.bindings.disconnect(socket.local, local, remote, id.0.index);
        }
        self.bindings.unbind(socket.local, id.0.index);
        socket.queue.drain(..).for_each(|packet| buffers.leave(&packet.chunk));
        socket.waiting.drain(..).for_each(|waiting| ip.give_block(waiting.block));
    }

    /// Takes in a datagram: `packet` says where it lies in `carrier`. `checked`: its checksum is known to be right.
    ///
    /// It is kept for its socket, or answered with "port unreachable", or dropped and counted.
    #[allow(clippy::too_many_arguments)] // each is a part of the engine, or what came in
    #[inline]
    pub(crate) fn receive<S: Sink, P: Carrier>(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        buffers: &mut Buffers,
        sink: &mut S,
        packet: &Packet,
        carrier: P,
        checked: bool,
    ) {
        let bytes = carrier.get(packet.range()).unwrap_or_default();
        let Ok(header) = udp::Header::parse(bytes) else {
            self.stats.rx_malformed += 1;
            return carrier.discard(&mut buffers.blocks);
        };
        let trusted = checked || self.checksum.rx == RxChecksum::Trust;
        if !trusted && !header.verify(bytes, packet.destination, packet.source) {
            self.stats.rx_bad_checksum += 1;
            return carrier.discard(&mut buffers.blocks);
        }
        let from = SocketAddr::new(packet.source, header.src_port);
        let found = self.bindings.find(packet.destination, header.dst_port, from, packet.broadcast);
        let Some((index, socket)) = found.and_then(|index| Some((index, self.sockets.at_mut(index)?))) else {
            self.stats.rx_no_port += 1;
            if !packet.broadcast {
                let failure = Failure::Unreachable(unreachable::PORT);
                ip.send_icmp_error(now, sink, failure, carrier.get(packet.ip_range()).unwrap_or_default());
            }
            return carrier.discard(&mut buffers.blocks);
        };
        // One is taken in however long it is, or a short queue would take none.
        if socket.queued >= socket.queue_limit {
            self.stats.rx_buffer_full += 1;
            return carrier.discard(&mut buffers.blocks);
        }
        let start = packet.range().start;
        let data = start + udp::HEADER_LEN..start + usize::from(header.len);
        let len = data.len() as u64;
        let Some(chunk) = buffers.keep(carrier, data, socket.queued) else {
            self.stats.rx_no_memory += 1;
            return;
        };
        self.stats.rx_datagrams += 1;
        self.stats.rx_bytes += len;
        socket.queued += chunk.footprint() + DATAGRAM_COST;
        socket.queue.push_back(UdpPacket { chunk, from, to: packet.destination, ecn: packet.tos & 3 });
        tell(&mut self.ready, index, socket, Readiness::READABLE);
    }

    /// Takes the oldest received datagram.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`], [`SocketError::Closed`], or once what an ICMP error said.
    pub(crate) fn recv(&mut self, buffers: &mut Buffers, id: UdpId) -> Result<UdpPacket, SocketError> {
        let socket = self.sockets.get_mut(id.0).ok_or(SocketError::Closed)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let packet = socket.pop().ok_or(SocketError::WouldBlock)?;
        buffers.leave(&packet.chunk);
        Ok(packet)
    }

    /// Takes the oldest received datagrams, `most` at most; returns how many.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), if there is not even one.
    pub(crate) fn recv_batch(
        &mut self,
        buffers: &mut Buffers,
        id: UdpId,
        out: &mut Vec<UdpPacket>,
        most: usize,
    ) -> Result<usize, SocketError> {
        let socket = self.sockets.get_mut(id.0).ok_or(SocketError::Closed)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let count = most.min(socket.queue.len());
        if count == 0 && most > 0 {
            return Err(SocketError::WouldBlock);
        }
        for packet in socket.queue.drain(..count) {
            socket.queued -= packet.chunk.footprint() + DATAGRAM_COST;
            buffers.leave(&packet.chunk);
            out.push(packet);
        }
        Ok(count)
    }

    /// Takes in an error about a datagram of ours: a socket that is connected is told; a smaller path MTU is kept.
    pub(crate) fn icmp_error(&mut self, now: Instant, ip: &mut Ip, error: &IcmpError) {
        let remote = SocketAddr::new(error.remote, error.remote_port());
        let Some(index) = self.bindings.find(error.local, error.local_port(), remote, false) else { return };
        if let IcmpErrorKind::FragmentationNeeded { mtu } = error.kind {
            ip.learn_path_mtu(now, error.remote, mtu);
            return;
        }
        let Some(socket) = self.sockets.at_mut(index) else { return };
        let (Some(_), Some(error)) = (socket.peer, error.kind.error()) else { return };
        socket.error = Some(error);
        tell(&mut self.ready, index, socket, Readiness::READABLE);
    }

    /// The next socket with something to tell.
    #[inline]
    pub(crate) fn next_event(&mut self) -> Option<(UdpId, Readiness)> {
        while let Some(index) = self.ready.pop_front() {
            let (Some(key), Some(socket)) = (self.sockets.key_of(index), self.sockets.at_mut(index)) else { continue };
            let news = std::mem::take(&mut socket.news);
            // Nothing: the place of a socket that was closed has been given to another one.
            if !news.is_empty() {
                return Some((key.into(), news));
            }
        }
        None
    }

    /// The address a socket is bound to; with the address of ours that it sends from, if it is connected.
    ///
    /// # Errors
    ///
    /// [`SocketError::Closed`].
    pub(crate) fn local_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        let socket = self.sockets.get(id.0).ok_or(SocketError::Closed)?;
        let address: IpAddr = socket.peer.map_or(socket.local.ip(), |(local, _)| local);
        Ok(SocketAddr::new(address, socket.local.port()))
    }

    /// To whom a socket is connected.
    ///
    /// # Errors
    ///
    /// [`SocketError::NotConnected`], [`SocketError::Closed`].
    pub(crate) fn peer_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        let socket = self.sockets.get(id.0).ok_or(SocketError::Closed)?;
        socket.peer.map(|(_, remote)| remote).ok_or(SocketError::NotConnected)
    }

    /// Takes what an ICMP error said.
    pub(crate) fn take_error(&mut self, id: UdpId) -> Option<SocketError> {
        self.sockets.get_mut(id.0)?.error.take()
    }

    /// How many datagrams wait to be read.
    pub(crate) fn readable(&self, id: UdpId) -> usize {
        self.sockets.get(id.0).map_or(0, |socket| socket.queue.len())
    }

    /// How many sockets there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.sockets.len()
    }
}

/// Adds to what is to be told about a socket.
#[inline]
fn tell(ready: &mut VecDeque<u32>, index: u32, socket: &mut Socket, news: Readiness) {
    if socket.news.is_empty() {
        ready.push_back(index);
    }
    socket.news |= news;
}

/// Bytes of the headers in front of the data.
const HEADERS: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;

#[cfg(test)]
mod tests;
