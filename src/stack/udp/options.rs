//! What a program says and is told about datagrams.

use crate::stack::Chunk;
use std::net::{IpAddr, SocketAddr};

/// How a UDP socket is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpOptions {
    /// Several sockets may have this address and port, if all of them say so; each peer's datagrams go to one of them
    /// (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Bytes of memory that received datagrams may take while they wait; `None`: as configured.
    pub receive_buffer: Option<usize>,
    /// The same of datagrams that wait for room in the device; `None`: as configured.
    pub send_buffer: Option<usize>,
    /// Whether datagrams may be sent to everybody on the link (`SO_BROADCAST`).
    pub broadcast: bool,
    /// Whether a datagram that does not reach its destination in one piece is refused with
    /// [`MessageTooLong`](crate::stack::SocketError::MessageTooLong) instead of being cut into fragments (`IP_MTU_DISCOVER`).
    pub dont_fragment: bool,
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Where to; `None`: to whom the socket is connected.
    pub to: Option<SocketAddr>,
    /// The source address; `None`: that of the socket, or of the route.
    pub from: Option<IpAddr>,
    /// The ECN bits of the IP header (RFC 3168), 0 to 3.
    pub ecn: u8,
    /// What is in it, 65507 bytes at most.
    pub bytes: &'a [u8],
}

/// A datagram that was received.
#[derive(Debug)]
pub struct UdpPacket {
    /// What is in it.
    pub chunk: Chunk,
    /// Whom it is from.
    pub from: SocketAddr,
    /// The address that it was sent to: one of ours, or a broadcast address.
    pub to: IpAddr,
    /// The ECN bits of the IP header (RFC 3168), 0 to 3.
    pub ecn: u8,
}
