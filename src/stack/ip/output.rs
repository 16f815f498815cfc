//! Packets out.

use super::fragment::Cut;
use super::neighbour::{BROADCAST, LinkHeader, Reach};
use super::{Ip, MAX_LOOPBACK_BYTES};
use crate::stack::blocks::Block;
use crate::stack::{Full, Instant, Sink, SocketError};
use crate::wire::ipv4::{self, HEADER_LEN};
use crate::wire::{ethernet, vlan};
use std::net::{IpAddr, Ipv4Addr};

/// Where packets to one destination go next, found once and kept by the sender. It may always be used: one that holds no
/// longer is looked up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// An entry of the neighbour cache, or one of the numbers below.
    pub(super) next: u32,
    pub(super) generation: u32,
}

const LOOPBACK: u32 = u32::MAX;
const UNRESOLVED: u32 = u32::MAX - 1;

impl Default for Path {
    /// Not looked up yet.
    fn default() -> Self {
        Self { next: UNRESOLVED, generation: 0 }
    }
}

impl Path {
    const INSIDE: Self = Self { next: LOOPBACK, generation: 0 };

    /// Whether packets stay inside the engine: nobody can damage them there.
    #[inline]
    pub(crate) fn is_loopback(&self) -> bool {
        self.next == LOOPBACK
    }

    /// Whether packets go to everybody on the link.
    #[inline]
    pub(crate) fn is_broadcast(&self) -> bool {
        self.next == BROADCAST
    }
}

/// What the IP header of a packet to be sent says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    /// An address of ours.
    pub(crate) local: IpAddr,
    /// Whom it is for.
    pub(crate) remote: IpAddr,
    /// What it carries, one of [`wire::protocol`](crate::wire::protocol).
    pub(crate) protocol: u8,
    /// Routers that may forward it; 0: as configured.
    pub(crate) ttl: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub(crate) tos: u8,
    /// Whether it must arrive in one piece.
    pub(crate) dont_fragment: bool,
}

impl Ip {
    /// Looks up the way from an address of ours to `remote`.
    ///
    /// # Errors
    ///
    /// [`SocketError::NetworkUnreachable`] without a route, [`SocketError::AddrNotAvailable`] if `local` is none of ours,
    /// [`SocketError::InvalidAddress`] if the two make no sense together.
    pub(crate) fn path(&mut self, now: Instant, local: IpAddr, remote: IpAddr) -> Result<Path, SocketError> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (local, remote) else {
            return Err(if local.is_ipv4() == remote.is_ipv4() || local.is_ipv4() {
                SocketError::NetworkUnreachable
            } else {
                SocketError::AddrNotAvailable
            });
        };
        if dst.is_unspecified() {
            return Err(SocketError::InvalidAddress);
        }
        if !self.is_local(local) {
            return Err(SocketError::AddrNotAvailable);
        }
        if self.is_local(remote) {
            return Ok(Path::INSIDE);
        }
        if src.is_loopback() {
            return Err(SocketError::InvalidAddress);
        }
        match self.hop(dst) {
            None => Err(SocketError::NetworkUnreachable),
            Some(Hop::Everybody) => Ok(self.path_to(BROADCAST)),
            Some(Hop::Via(address)) => {
                Ok(self.neighbours.known(now, address).map_or_else(Path::default, |index| self.path_to(index)))
            }
        }
    }

    fn path_to(&self, index: u32) -> Path {
        Path { next: index, generation: self.neighbours.generation(index) }
    }

    /// Who takes packets to a destination that is not ours.
    fn hop(&self, dst: Ipv4Addr) -> Option<Hop> {
        if self.is_broadcast_v4(dst) {
            return (!self.own.is_empty()).then_some(Hop::Everybody);
        }
        if dst.is_multicast() {
            return None;
        }
        let route = self.routes.find(dst.into())?;
        Some(Hop::Via(route.via.unwrap_or(dst.into())))
    }

    /// Sends a packet with `len` bytes of data, which `fill` writes; what they held before is undefined but initialised.
    ///
    /// It is held back if ARP has to ask first. It is dropped with a count if there is no route, or if it is longer than the
    /// interface takes and must not be fragmented.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is no room now; nothing was sent and `fill` was not called.
    #[inline]
    pub(crate) fn send<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        path: &mut Path,
        packet: &Outgoing,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (packet.local, packet.remote) else {
            self.stats.tx_no_route += 1;
            return Ok(());
        };
        if packet.dont_fragment && self.is_ready(path, len) {
            let header = self.header(packet, src, dst, len + HEADER_LEN);
            return self.put(now, sink, path, &header, fill);
        }
        self.send_slowly(now, sink, path, packet, (src, dst), len, fill)
    }

    /// Whether [`send_ready`](Self::send_ready) will do: the path holds, and `len` bytes of data fit into a frame.
    #[inline(always)]
    pub(crate) fn is_ready(&self, path: &Path, len: usize) -> bool {
        len <= usize::from(self.mtu).saturating_sub(HEADER_LEN) && self.neighbours.is_ready(path)
    }

    /// [`send`](Self::send) of what must not be fragmented, between two IPv4 addresses, where everything
    /// [is ready](Self::is_ready): nothing but writing the frame. For the few places where it matters that `fill` becomes a
    /// part of it.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn send_ready<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        path: &Path,
        (src, dst): (Ipv4Addr, Ipv4Addr),
        protocol: u8,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let total = len + HEADER_LEN;
        let header = ipv4::Emit {
            src,
            dst,
            protocol,
            ttl: self.ttl,
            tos: 0,
            // Nobody fragments it, so nobody needs to tell its fragments apart (RFC 6864, 4.1).
            identification: 0,
            fragment: ipv4::Fragment::DONT,
            total_len: total as u16,
        };
        self.put(now, sink, path, &header, fill)
    }

    /// Writes a frame on a path that holds.
    #[inline(always)]
    fn put<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        path: &Path,
        header: &ipv4::Emit,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let link_len = if self.vlan.is_none() { ethernet::HEADER_LEN } else { vlan::HEADER_LEN };
        let Some(hot) = self.neighbours.hot(path) else { return Ok(()) };
        let link = &hot.header;
        match sink.emit(link_len + usize::from(header.total_len), |frame| write(frame, link, link_len, header, fill)) {
            Ok(()) => {
                hot.used = now;
                self.stats.tx_frames += 1;
                Ok(())
            }
            Err(Full) => self.full(),
        }
    }

    #[cold]
    pub(super) fn full(&mut self) -> Result<(), Full> {
        self.stats.tx_full += 1;
        Err(Full)
    }

    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn send_slowly<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        path: &mut Path,
        packet: &Outgoing,
        (src, dst): (Ipv4Addr, Ipv4Addr),
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        let total = len.saturating_add(HEADER_LEN);
        if self.is_local(packet.remote) {
            *path = Path::INSIDE;
            return self.send_inside(packet, src, dst, total, fill);
        }
        let limit = if packet.dont_fragment { self.mtu } else { self.path_mtu(packet.remote) };
        let too_long = total > usize::from(limit);
        if total > ipv4::MAX_LEN || (packet.dont_fragment && too_long) {
            self.stats.tx_too_long += 1;
            return Ok(());
        }
        if too_long && self.cut.is_some() {
            return self.full();
        }
        let reach = if self.neighbours.hot(path).is_some() {
            Reach::Known(path.next)
        } else {
            match self.hop(dst) {
                Some(_) if src.is_loopback() => {
                    self.stats.tx_no_route += 1;
                    return Ok(());
                }
                Some(Hop::Everybody) => Reach::Known(BROADCAST),
                Some(Hop::Via(address)) => self.neighbours.reach(now, address, &mut self.stats),
                None => {
                    self.stats.tx_no_route += 1;
                    return Ok(());
                }
            }
        };
        match reach {
            Reach::Known(index) if !too_long => {
                *path = self.path_to(index);
                let header = self.header(packet, src, dst, total);
                self.put(now, sink, path, &header, fill)
            }
            Reach::Known(index) => {
                *path = self.path_to(index);
                let Some(block) = self.build(packet, src, dst, total, fill) else { return Ok(()) };
                self.cut = Some(Cut::new(block, total, *path, limit));
                self.send_fragments(now, sink);
                Ok(())
            }
            Reach::Ask(index) | Reach::Asked(index) => {
                if let Some(block) = self.build(packet, src, dst, total, fill) {
                    self.neighbours.hold(index, block, &mut self.stats);
                }
                if let (Reach::Ask(_), Some(Hop::Via(address))) = (reach, self.hop(dst)) {
                    if self.ask(sink, address, ethernet::BROADCAST).is_err() {
                        self.neighbours.ask_again(now, index);
                    }
                }
                Ok(())
            }
            Reach::NoRoom => {
                self.stats.tx_unresolved += 1;
                Ok(())
            }
        }
    }

    fn header(&mut self, packet: &Outgoing, src: Ipv4Addr, dst: Ipv4Addr, total: usize) -> ipv4::Emit {
        let (identification, fragment) = if packet.dont_fragment {
            (0, ipv4::Fragment::DONT)
        } else {
            (self.identification.next(packet), ipv4::Fragment::MAY)
        };
        ipv4::Emit {
            src,
            dst,
            protocol: packet.protocol,
            ttl: if packet.ttl == 0 { self.ttl } else { packet.ttl },
            tos: packet.tos,
            identification,
            fragment,
            total_len: total as u16,
        }
    }

    /// The packet in a block, if there is memory.
    fn build(
        &mut self,
        packet: &Outgoing,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        total: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Option<Block> {
        let header = self.header(packet, src, dst, total);
        let Some(mut block) = self.blocks.take(total) else {
            self.stats.tx_no_memory += 1;
            return None;
        };
        if let Some((front, data)) = block.get_mut(..total).and_then(|packet| packet.split_first_chunk_mut()) {
            header.write(front);
            fill(data);
        }
        Some(block)
    }

    /// Packets to ourselves wait for the next turn, so that a program is never called back while it sends.
    fn send_inside(
        &mut self,
        packet: &Outgoing,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        total: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Full> {
        if total > ipv4::MAX_LEN {
            self.stats.tx_too_long += 1;
            return Ok(());
        }
        if self.loopback_bytes + total > MAX_LOOPBACK_BYTES {
            return self.full();
        }
        if let Some(block) = self.build(packet, src, dst, total, fill) {
            self.stats.loopback_packets += 1;
            self.loopback_bytes += block.len();
            self.loopback.push_back(block);
        }
        Ok(())
    }

    /// Sends a packet that has waited for its neighbour. Gives it back if there is no room.
    fn send_held<S: Sink>(&mut self, now: Instant, sink: &mut S, index: u32, block: Block) -> Result<(), Block> {
        let Ok(header) = ipv4::Header::parse(&block) else { return Ok(()) };
        let total = usize::from(header.total_len);
        let path = self.path_to(index);
        if total > usize::from(self.mtu) {
            if self.cut.is_some() {
                return Err(block);
            }
            let limit = self.path_mtu(header.dst.into());
            self.cut = Some(Cut::new(block, total, path, limit));
            self.send_fragments(now, sink);
            return Ok(());
        }
        let link_len = self.link_len();
        let Some(hot) = self.neighbours.hot(&path) else { return Ok(()) };
        let sent = sink.emit(link_len + total, |frame| {
            if let Some((link, packet)) = frame.split_at_mut_checked(link_len) {
                link.copy_from_slice(&hot.header[..link_len]);
                packet.copy_from_slice(&block[..total]);
            }
        });
        match sent {
            Ok(()) => {
                hot.used = now;
                self.stats.tx_frames += 1;
                self.blocks.give(block);
                Ok(())
            }
            Err(Full) => {
                self.stats.tx_full += 1;
                Err(block)
            }
        }
    }

    /// Sends what waits for a neighbour that is known by now; the rest later if there is no room.
    pub(super) fn release<S: Sink>(&mut self, now: Instant, sink: &mut S, index: u32) -> Result<(), Full> {
        while let Some(block) = self.neighbours.take_held(index) {
            if let Err(block) = self.send_held(now, sink, index, block) {
                self.neighbours.put_back(index, block);
                self.unblocked.push_back(index);
                return Err(Full);
            }
        }
        Ok(())
    }

    /// Sends what met a full device.
    pub(super) fn send_waiting<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        self.send_fragments(now, sink);
        for _ in 0..self.unblocked.len() {
            let Some(index) = self.unblocked.pop_front() else { return };
            if self.release(now, sink, index).is_err() {
                return;
            }
        }
    }
}

/// The next station of a packet.
enum Hop {
    Via(IpAddr),
    Everybody,
}

/// Writes a frame: Ethernet header, IP header, data.
#[inline(always)]
fn write(frame: &mut [u8], link: &LinkHeader, link_len: usize, header: &ipv4::Emit, fill: impl FnOnce(&mut [u8])) {
    // Both lengths are constants here, so each copy is a few moves.
    let packet =
        if link_len == ethernet::HEADER_LEN { front(frame, &link[..ethernet::HEADER_LEN]) } else { front(frame, link) };
    if let Some((front, data)) = packet.split_first_chunk_mut() {
        header.write(front);
        fill(data);
    }
}

/// Copies to the front of a slice; returns what is behind.
#[inline(always)]
fn front<'a>(frame: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    match frame.split_at_mut_checked(bytes.len()) {
        Some((front, rest)) => {
            front.copy_from_slice(bytes);
            rest
        }
        None => &mut [],
    }
}
