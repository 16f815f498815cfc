//! Datagrams out.

use super::socket::{Socket, Waiting, Way};
use super::{Datagram, HEADERS, Udp, tell};
use crate::stack::config::TxChecksum;
use crate::stack::ip::{Ip, LEAST_PATH_MTU, Outgoing};
use crate::stack::{Full, Instant, Readiness, Sink, SocketError, UdpId};
use crate::wire::checksum::{Sum, copy_and_sum};
use crate::wire::{protocol, udp};
use std::net::{IpAddr, SocketAddr};

/// A datagram of which all is known.
struct Ready<'a> {
    from: IpAddr,
    by_route: bool,
    to: SocketAddr,
    ecn: u8,
    bytes: &'a [u8],
}

impl Udp {
    /// Sends a datagram. If the device has no room it waits in the socket's send buffer.
    ///
    /// # Errors
    ///
    /// [`SocketError::WouldBlock`] if the send buffer is full too: an event tells when it is not.
    /// [`SocketError::MessageTooLong`]; [`SocketError::InvalidAddress`] without a destination;
    /// [`SocketError::PermissionDenied`] for a broadcast address without the option; [`SocketError::NoBuffers`];
    /// [`SocketError::Closed`]; those of [`Ip::path`]; or once what an ICMP error said.
    pub(crate) fn send<S: Sink>(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        sink: &mut S,
        id: UdpId,
        datagram: &Datagram<'_>,
    ) -> Result<(), SocketError> {
        let socket = self.sockets.get_mut(id.0).ok_or(SocketError::Closed)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let ready = complete(ip, socket, datagram)?;
        if socket.waiting.is_empty() {
            match put(now, ip, sink, socket, &ready, self.checksum.tx)? {
                Ok(()) => {
                    self.stats.tx_datagrams += 1;
                    self.stats.tx_bytes += ready.bytes.len() as u64;
                    return Ok(());
                }
                Err(Full) => self.blocked.push_back(id.0.index),
            }
        }
        let result = keep(ip, socket, &ready);
        if socket.waiting.is_empty() {
            // Not kept, so there is nothing to wait for.
            self.blocked.pop_back();
        }
        result
    }

    /// Sends datagrams in order until one is refused; returns how many were not.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), if the first one is refused.
    pub(crate) fn send_batch<S: Sink>(
        &mut self,
        now: Instant,
        ip: &mut Ip,
        sink: &mut S,
        id: UdpId,
        datagrams: &[Datagram<'_>],
    ) -> Result<usize, SocketError> {
        for (n, datagram) in datagrams.iter().enumerate() {
            match self.send(now, ip, sink, id, datagram) {
                Ok(()) => {}
                Err(error) if n == 0 => return Err(error),
                Err(_) => return Ok(n),
            }
        }
        Ok(datagrams.len())
    }

    /// Sends what met a full device. Returns whether something is left.
    pub(crate) fn egress<S: Sink>(&mut self, now: Instant, ip: &mut Ip, sink: &mut S) -> bool {
        while let Some(&index) = self.blocked.front() {
            let Some(socket) = self.sockets.at_mut(index) else {
                self.blocked.pop_front();
                continue;
            };
            while let Some(waiting) = socket.waiting.pop_front() {
                let bytes = waiting.block.get(..waiting.len).unwrap_or_default();
                let ready = Ready { from: waiting.from, by_route: false, to: waiting.to, ecn: waiting.ecn, bytes };
                match put(now, ip, sink, socket, &ready, self.checksum.tx) {
                    Ok(Err(Full)) => {
                        socket.waiting.push_front(waiting);
                        self.news_of_room(index);
                        return true;
                    }
                    Ok(Ok(())) => {
                        self.stats.tx_datagrams += 1;
                        self.stats.tx_bytes += waiting.len as u64;
                    }
                    // What could be sent before cannot be any more; as if it had been lost on the way.
                    Err(_) => {}
                }
                socket.waiting_bytes -= waiting.block.len();
                ip.give_block(waiting.block);
            }
            self.news_of_room(index);
            self.blocked.pop_front();
        }
        false
    }

    fn news_of_room(&mut self, index: u32) {
        if let Some(socket) = self.sockets.at_mut(index) {
            if socket.wants_room && socket.has_room() {
                socket.wants_room = false;
                tell(&mut self.ready, index, socket, Readiness::WRITABLE);
            }
        }
    }
}

/// Fills in what the program left to the socket and the routes.
fn complete<'a>(ip: &Ip, socket: &Socket, datagram: &Datagram<'a>) -> Result<Ready<'a>, SocketError> {
    let to = datagram.to.or(socket.peer.map(|(_, remote)| remote)).ok_or(SocketError::InvalidAddress)?;
    if to.port() == 0 {
        return Err(SocketError::InvalidAddress);
    }
    if datagram.bytes.len() > udp::MAX_DATA_V4 {
        return Err(SocketError::MessageTooLong);
    }
    let own = datagram.from.or(socket.peer.map(|(local, _)| local)).or_else(|| {
        let bound = socket.local.ip();
        (!bound.is_unspecified()).then_some(bound)
    });
    let from = match (own, socket.way) {
        (Some(own), _) => own,
        (None, Some(way)) if way.by_route && way.to == to.ip() => way.from,
        (None, _) => ip.source_for(to.ip())?,
    };
    Ok(Ready { from, by_route: own.is_none(), to, ecn: datagram.ecn & 3, bytes: datagram.bytes })
}

/// Writes a datagram into a frame, or into the hands of ARP.
fn put<S: Sink>(
    now: Instant,
    ip: &mut Ip,
    sink: &mut S,
    socket: &mut Socket,
    ready: &Ready<'_>,
    checksum: TxChecksum,
) -> Result<Result<(), Full>, SocketError> {
    let remote = ready.to.ip();
    let mut way = match socket.way {
        Some(way) if way.to == remote && way.from == ready.from => way,
        _ => {
            if ip.is_broadcast(remote) && !socket.options.broadcast {
                return Err(SocketError::PermissionDenied);
            }
            Way { from: ready.from, to: remote, by_route: ready.by_route, path: ip.path(now, ready.from, remote)? }
        }
    };
    let total = HEADERS + ready.bytes.len();
    // Every path is taken to carry this much, so there is nothing to look up.
    let fits = total <= usize::from(LEAST_PATH_MTU) || total <= usize::from(ip.path_mtu(remote));
    if !fits && socket.options.dont_fragment {
        return Err(SocketError::MessageTooLong);
    }
    let packet = Outgoing {
        local: ready.from,
        remote,
        protocol: protocol::UDP,
        ttl: 0,
        tos: ready.ecn,
        // What fits is sent so that a smaller path shows; what does not is cut here (`ip(7)`, IP_PMTUDISC_WANT).
        dont_fragment: fits,
    };
    let checksum = match checksum {
        // The device sees single fragments only.
        TxChecksum::Offload if !fits => TxChecksum::Compute,
        // Nobody can damage it.
        _ if way.path.is_loopback() => TxChecksum::Omit,
        checksum => checksum,
    };
    let len = udp::HEADER_LEN + ready.bytes.len();
    let header = udp::Emit { src_port: socket.local.port(), dst_port: ready.to.port(), len: len as u16 };
    let sent = ip.send(now, sink, &mut way.path, &packet, len, |out| {
        let Some((front, data)) = out.split_first_chunk_mut() else { return };
        match checksum {
            TxChecksum::Compute => {
                let sum = copy_and_sum(data, ready.bytes);
                header.write(front, Sum::pseudo(ready.from, remote, protocol::UDP, len).add(sum));
            }
            TxChecksum::Offload => {
                data.copy_from_slice(ready.bytes);
                header.write_with(front, Sum::pseudo(ready.from, remote, protocol::UDP, len).folded());
            }
            TxChecksum::Omit => {
                data.copy_from_slice(ready.bytes);
                header.write_with(front, 0);
            }
        }
    });
    socket.way = Some(way);
    Ok(sent)
}

/// Keeps a datagram until the device has room.
fn keep(ip: &mut Ip, socket: &mut Socket, ready: &Ready<'_>) -> Result<(), SocketError> {
    // The first one is kept however long it is.
    if socket.waiting_bytes >= socket.waiting_limit {
        socket.wants_room = true;
        return Err(SocketError::WouldBlock);
    }
    let mut block = ip.take_block(ready.bytes.len()).ok_or(SocketError::NoBuffers)?;
    block[..ready.bytes.len()].copy_from_slice(ready.bytes);
    socket.waiting_bytes += block.len();
    let (from, to, ecn) = (ready.from, ready.to, ready.ecn);
    socket.waiting.push_back(Waiting { block, len: ready.bytes.len(), from, to, ecn });
    Ok(())
}
