//! Memory for packets.

use crate::net::{Datagram, Reader, UdpPacket};
use crate::usockets::UsError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Memory for 1024 packets of up to 64 KiB, to be received or sent. Of its 64 MiB only what packets lie in is ever touched.
///
/// A packet is its payload, its peer, its local address and its ECN bits. They are set when it is received, and used when it
/// is sent: a packet that was received and is sent again goes back to whom it came from, as an answer from the address that
/// was asked.
///
/// Packets are counted from 0. One that does not exist (from 1024 on) is empty, and what is set of it is lost.
pub struct UdpPacketBuffer {
    /// Slots of [`PACKET_SIZE`](Self::PACKET_SIZE) bytes; empty, as `packets`, until it is needed.
    memory: Box<[u8]>,
    packets: Box<[Packet]>,
}

#[derive(Clone, Copy, Default)]
struct Packet {
    length: usize,
    peer: Option<SocketAddr>,
    local: Option<IpAddr>,
    ecn: u8,
}

impl UdpPacketBuffer {
    /// How many packets it holds (`LIBUS_UDP_MAX_NUM`).
    pub const PACKETS: usize = 1024;
    /// Room for the payload of each, in bytes (`LIBUS_UDP_MAX_SIZE`).
    pub const PACKET_SIZE: usize = 64 << 10;

    /// A buffer of empty packets.
    ///
    /// # Errors
    ///
    /// [`AllocationFailed`](UsError::AllocationFailed) if there is no memory for it.
    pub fn new() -> Result<Self, UsError> {
        let mut buffer = Self::empty();
        buffer.ensure()?;
        Ok(buffer)
    }

    /// A buffer that takes its memory when it needs it.
    pub(super) fn empty() -> Self {
        Self { memory: Box::default(), packets: Box::default() }
    }

    /// Takes the memory out.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::empty())
    }

    /// Sees to it that there is memory.
    pub(super) fn ensure(&mut self) -> Result<(), UsError> {
        const ALL: usize = UdpPacketBuffer::PACKETS * UdpPacketBuffer::PACKET_SIZE;
        if self.memory.is_empty() {
            // Zeroed memory comes untouched, but ends the process if there is none: that is tried before.
            Vec::<u8>::new().try_reserve_exact(ALL).map_err(|_| UsError::AllocationFailed)?;
            self.memory = vec![0; ALL].into_boxed_slice();
            self.packets = vec![Packet::default(); Self::PACKETS].into_boxed_slice();
        }
        Ok(())
    }

    /// A packet to be changed, with its slot.
    fn packet_mut(&mut self, index: usize) -> Option<(&mut Packet, &mut [u8])> {
        self.ensure().ok()?;
        let slot = index.checked_mul(Self::PACKET_SIZE)?;
        Some((self.packets.get_mut(index)?, self.memory.get_mut(slot..)?.get_mut(..Self::PACKET_SIZE)?))
    }

    /// The payload of a packet.
    #[inline]
    #[must_use]
    pub fn payload(&self, index: usize) -> &[u8] {
        let Some(packet) = self.packets.get(index) else { return &[] };
        let slot = index * Self::PACKET_SIZE;
        &self.memory[slot..slot + packet.length]
    }

    /// All the room for the payload of a packet, 64 KiB; what of it is payload says [`payload_length`](Self::payload_length).
    #[must_use]
    pub fn payload_mut(&mut self, index: usize) -> &mut [u8] {
        self.packet_mut(index).map_or(&mut [], |(_, slot)| slot)
    }

    /// The length of a packet's payload, in bytes.
    #[must_use]
    pub fn payload_length(&self, index: usize) -> usize {
        self.packets.get(index).map_or(0, |packet| packet.length)
    }

    /// Sets the length of a packet's payload, in bytes; 64 KiB at most, of which the network takes 65507.
    pub fn set_payload_length(&mut self, index: usize, length: usize) {
        if let Some((packet, _)) = self.packet_mut(index) {
            packet.length = length.min(Self::PACKET_SIZE);
        }
    }

    /// Whom a packet is from, or goes to.
    #[must_use]
    pub fn peer(&self, index: usize) -> Option<SocketAddr> {
        self.packets.get(index)?.peer
    }

    /// Says whom a packet goes to.
    pub fn set_peer(&mut self, index: usize, peer: SocketAddr) {
        if let Some((packet, _)) = self.packet_mut(index) {
            packet.peer = Some(peer);
        }
    }

    /// Our address that a packet was sent to, or will be sent from. A packet that was sent to many (a multicast or broadcast
    /// address) has that address here.
    #[must_use]
    pub fn local_ip(&self, index: usize) -> Option<IpAddr> {
        self.packets.get(index)?.local
    }

    /// Says which of our addresses a packet will be sent from; `None`: that of the socket, or of the route.
    pub fn set_local_ip(&mut self, index: usize, local: Option<IpAddr>) {
        if let Some((packet, _)) = self.packet_mut(index) {
            packet.local = local;
        }
    }

    /// The ECN bits of a packet (RFC 3168): 0 not capable, 1 and 2 capable, 3 congestion was met.
    #[must_use]
    pub fn ecn(&self, index: usize) -> u8 {
        self.packets.get(index).map_or(0, |packet| packet.ecn)
    }

    /// Sets the ECN bits with which a packet will be sent, 0 to 3.
    pub fn set_ecn(&mut self, index: usize, ecn: u8) {
        if let Some((packet, _)) = self.packet_mut(index) {
            packet.ecn = ecn & 3;
        }
    }

    /// Writes a packet to be sent to `peer`: puts `bytes` at `offset` of its payload, which ends there. With offset 0 a new
    /// packet begins, without a local address and ECN bits; with a larger one it goes on, so that it can be put together of
    /// pieces.
    ///
    /// # Errors
    ///
    /// [`NetworkOperation`](UsError::NetworkOperation) if there is no such packet, or the bytes do not fit its 64 KiB; then
    /// nothing changes. [`AllocationFailed`](UsError::AllocationFailed).
    pub fn set_packet_payload(
        &mut self,
        index: usize,
        offset: usize,
        bytes: &[u8],
        peer: SocketAddr,
    ) -> Result<(), UsError> {
        self.ensure()?;
        let end = offset.saturating_add(bytes.len());
        let room = self.packet_mut(index).and_then(|(packet, slot)| Some((packet, slot.get_mut(offset..end)?)));
        let Some((packet, room)) = room else {
            let operation = format!(
                "cannot write bytes {offset} to {end} of packet {index}: there are {} packets of {} bytes",
                Self::PACKETS,
                Self::PACKET_SIZE
            );
            return Err(UsError::NetworkOperation { operation });
        };
        room.copy_from_slice(bytes);
        if offset == 0 {
            *packet = Packet::default();
        }
        packet.length = end;
        packet.peer = Some(peer);
        Ok(())
    }

    /// A packet as it is sent.
    #[inline]
    pub(super) fn datagram(&self, index: usize) -> Datagram<'_> {
        let packet = self.packets.get(index).copied().unwrap_or_default();
        // What was sent to many is answered from an address of our own.
        let many = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        };
        let from = packet.local.filter(|local| !many(local));
        Datagram { to: packet.peer, from, ecn: packet.ecn, bytes: self.payload(index) }
    }

    /// Puts a received packet into a slot.
    #[inline]
    pub(super) fn put(&mut self, index: usize, reader: &Reader, received: UdpPacket) {
        let UdpPacket { data, from, to, ecn } = received;
        let bytes = reader.open(data);
        let Some((packet, slot)) = self.packet_mut(index) else { return };
        // No datagram is larger than a slot.
        let length = bytes.len().min(slot.len());
        slot[..length].copy_from_slice(&bytes[..length]);
        let local = (!to.is_unspecified()).then_some(to);
        *packet = Packet { length, peer: Some(from), local, ecn };
    }
}

impl fmt::Debug for UdpPacketBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UdpPacketBuffer")
    }
}
