//! The kernel's error numbers in the words of the engine.

use crate::stack::SocketError;
use std::io;

/// What an error of a system call on a socket means. `errno(3)`, and the ERRORS of `tcp(7)`, `udp(7)` and `ip(7)`.
pub(super) fn meaning(error: &io::Error) -> SocketError {
    let Some(errno) = error.raw_os_error() else { return SocketError::System(0) };
    match errno {
        libc::EAGAIN | libc::EINPROGRESS | libc::EALREADY => SocketError::WouldBlock,
        libc::EBADF => SocketError::Closed,
        libc::ENOTCONN => SocketError::NotConnected,
        libc::EPIPE => SocketError::BrokenPipe,
        libc::ECONNRESET => SocketError::ConnectionReset,
        libc::ECONNREFUSED => SocketError::ConnectionRefused,
        libc::ECONNABORTED => SocketError::ConnectionAborted,
        libc::ETIMEDOUT => SocketError::TimedOut,
        libc::EHOSTUNREACH | libc::EHOSTDOWN => SocketError::HostUnreachable,
        libc::ENETUNREACH | libc::ENETDOWN | libc::ENONET => SocketError::NetworkUnreachable,
        libc::ENOPROTOOPT => SocketError::ProtocolUnreachable,
        libc::EADDRINUSE => SocketError::AddrInUse,
        libc::EADDRNOTAVAIL => SocketError::AddrNotAvailable,
        libc::ENOBUFS | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::ENOSPC => SocketError::NoBuffers,
        libc::EMSGSIZE => SocketError::MessageTooLong,
        libc::EINVAL | libc::EAFNOSUPPORT | libc::EDESTADDRREQ => SocketError::InvalidAddress,
        libc::EACCES | libc::EPERM => SocketError::PermissionDenied,
        other => SocketError::System(u16::try_from(other).unwrap_or(0)),
    }
}

/// For `map_err`.
pub(super) fn told(error: io::Error) -> SocketError {
    meaning(&error)
}
