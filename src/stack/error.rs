//! Why an operation on a socket failed, or a connection ended.

use std::io;

/// What went wrong with a socket. Each is an `errno` of `tcp(7)`, `udp(7)` and `ip(7)`.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketError {
    /// The handle names no socket any more.
    #[error("the socket is closed")]
    Closed,
    /// Not while the connection is in this state.
    #[error("the connection is not established")]
    NotConnected,
    /// Sending after `shutdown` or after the peer's reset.
    #[error("the sending side is shut down")]
    BrokenPipe,
    /// The peer reset the connection.
    #[error("connection reset by peer")]
    ConnectionReset,
    /// Nobody listens there.
    #[error("connection refused: nobody listens on that port")]
    ConnectionRefused,
    /// The program itself aborted it.
    #[error("connection aborted")]
    ConnectionAborted,
    /// No answer within the time that the retransmissions, probes or the user's limit allow.
    #[error("timed out: the peer does not answer")]
    TimedOut,
    /// A router says that the host cannot be reached, or nobody answers its ARP requests.
    #[error("host unreachable: no answer from it or from the gateway on the way")]
    HostUnreachable,
    /// No route leads there.
    #[error("network unreachable: no route; set a gateway or a wider prefix")]
    NetworkUnreachable,
    /// The host refuses the protocol (ICMP protocol unreachable).
    #[error("the peer does not speak this protocol")]
    ProtocolUnreachable,
    /// Somebody has that local address and port already.
    #[error("address in use")]
    AddrInUse,
    /// The local address is none of this host's.
    #[error("address not available: it is none of this interface's")]
    AddrNotAvailable,
    /// Every local port towards that peer is taken.
    #[error("no free local port towards that peer")]
    NoPorts,
    /// A limit of the configuration is reached (sockets, memory).
    #[error("out of buffers or sockets: a limit of the configuration is reached")]
    NoBuffers,
    /// The datagram is longer than 65507 bytes, or than the path takes and may not be fragmented.
    #[error("message too long")]
    MessageTooLong,
    /// A destination is needed and there is none, or the address makes no sense there.
    #[error("invalid address for this operation")]
    InvalidAddress,
    /// The program may not: a port below 1024, a firewall of this host, or a broadcast address without
    /// [`UdpOptions::broadcast`](crate::stack::UdpOptions::broadcast).
    #[error(
        "permission denied: ports below 1024 need CAP_NET_BIND_SERVICE, broadcast addresses need UdpOptions::broadcast"
    )]
    PermissionDenied,
    /// An error of the operating system that none of these names, by its `errno`. Of the kernel's sockets only.
    #[error("{}", io::Error::from_raw_os_error(i32::from(*.0)))]
    System(u16),
    /// Nothing now; an event will tell. The only "not yet" of a socket.
    #[error("would block")]
    WouldBlock,
}

impl From<SocketError> for io::Error {
    fn from(error: SocketError) -> Self {
        use io::ErrorKind as Kind;
        let kind = match error {
            SocketError::Closed | SocketError::NotConnected => Kind::NotConnected,
            SocketError::BrokenPipe => Kind::BrokenPipe,
            SocketError::ConnectionReset => Kind::ConnectionReset,
            SocketError::ConnectionRefused => Kind::ConnectionRefused,
            SocketError::ConnectionAborted => Kind::ConnectionAborted,
            SocketError::TimedOut => Kind::TimedOut,
            SocketError::HostUnreachable => Kind::HostUnreachable,
            SocketError::NetworkUnreachable => Kind::NetworkUnreachable,
            SocketError::ProtocolUnreachable => Kind::Unsupported,
            SocketError::AddrInUse => Kind::AddrInUse,
            SocketError::AddrNotAvailable | SocketError::NoPorts => Kind::AddrNotAvailable,
            SocketError::NoBuffers => Kind::OutOfMemory,
            SocketError::MessageTooLong | SocketError::InvalidAddress => Kind::InvalidInput,
            SocketError::PermissionDenied => Kind::PermissionDenied,
            SocketError::System(errno) => return io::Error::from_raw_os_error(i32::from(errno)),
            SocketError::WouldBlock => Kind::WouldBlock,
        };
        io::Error::new(kind, error)
    }
}
