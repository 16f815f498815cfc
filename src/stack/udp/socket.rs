//! One UDP socket.

use super::options::{UdpOptions, UdpPacket};
use crate::stack::blocks::Block;
use crate::stack::ip::Path;
use crate::stack::{Readiness, SocketError};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// What a datagram in a queue is charged beside its memory, in bytes.
pub(super) const DATAGRAM_COST: usize = 64;

/// A socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) local: SocketAddr,
    /// To whom it is connected, and from which address of ours.
    pub(super) peer: Option<(IpAddr, SocketAddr)>,
    pub(super) options: UdpOptions,
    /// Where the last datagram went, so that the next one to there is not looked up.
    pub(super) way: Option<Way>,
    /// Received, and bytes charged for it.
    pub(super) queue: VecDeque<UdpPacket>,
    pub(super) queued: usize,
    pub(super) queue_limit: usize,
    /// Waiting for room in the device, and bytes charged for it.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: usize,
    pub(super) waiting_limit: usize,
    /// A send was refused for want of room: the program is told when there is.
    pub(super) wants_room: bool,
    /// What an ICMP error said, until the next operation.
    pub(super) error: Option<SocketError>,
    /// What is to be told; not empty while the socket is in the list of those that have something to tell.
    pub(super) news: Readiness,
}

/// A way that was looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// Whether `from` is what the route says.
    pub(super) by_route: bool,
    pub(super) path: Path,
}

/// A datagram that met a full device.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) block: Block,
    pub(super) len: usize,
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: u8,
}

impl Socket {
    /// Takes the oldest received datagram.
    pub(super) fn pop(&mut self) -> Option<UdpPacket> {
        let packet = self.queue.pop_front()?;
        self.queued -= packet.chunk.footprint() + DATAGRAM_COST;
        Some(packet)
    }

    /// Whether enough room has come to say so.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes <= self.waiting_limit / 2
    }
}
