//! System calls that neither the standard library nor `socket2` has.
#![allow(unsafe_code)]

use crate::stack::{Key, Readiness};
use socket2::{SockAddr, SockAddrStorage, Socket};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The next connection of a listener, non-blocking, and its peer: one call, where `Socket::accept` needs two.
pub(super) fn accept(listener: &Socket) -> io::Result<(Socket, Option<SocketAddr>)> {
    let mut storage = SockAddrStorage::zeroed();
    let mut len = storage.size_of();
    // SAFETY: the address lives through the call, and its size is told; the descriptor is new and nobody else's.
    unsafe {
        let fd = libc::accept4(
            listener.as_raw_fd(),
            (&raw mut storage).cast(),
            &raw mut len,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        );
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((Socket::from_raw_fd(fd), SockAddr::new(storage, len).as_socket()))
    }
}

/// Changes what a descriptor of the program's own is watched for (`epoll_ctl(2)`), level-triggered: from `had` to `wants`, of
/// `READABLE` and `WRITABLE`. With neither it is not in epoll. `mio` knows edges only.
pub(super) fn watch(epoll: RawFd, fd: RawFd, key: Key, had: Readiness, wants: Readiness) -> io::Result<()> {
    let operation = match (had.is_empty(), wants.is_empty()) {
        (true, true) => return Ok(()),
        (true, false) => libc::EPOLL_CTL_ADD,
        (false, false) => libc::EPOLL_CTL_MOD,
        (false, true) => libc::EPOLL_CTL_DEL,
    };
    let bits = |what: Readiness, bits: i32| if wants.contains(what) { bits as u32 } else { 0 };
    let events = bits(Readiness::READABLE, libc::EPOLLIN) | bits(Readiness::WRITABLE, libc::EPOLLOUT);
    let mut event = libc::epoll_event { events, u64: key.to_bits() };
    // SAFETY: the structure lives through the call.
    let done = unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Another descriptor of the same file.
pub(super) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: it takes numbers, and fails for a descriptor that is not open; the new one is nobody else's.
    unsafe {
        let copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0);
        if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(copy)) }
    }
}

/// Sets an option whose value is a number.
pub(super) fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value lives through the call, and its size is told.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives without taking (`MSG_PEEK`).
pub(super) fn peek(socket: &Socket, room: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the room lives through the call, and its size is told.
    let got = unsafe {
        libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_PEEK | libc::MSG_DONTWAIT)
    };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Bytes received and not read.
pub(super) fn received(socket: &Socket) -> usize {
    // `SIOCINQ` of `linux/sockios.h`.
    queued(socket, libc::FIONREAD)
}

/// Bytes written and not acknowledged.
pub(super) fn unacknowledged(socket: &Socket) -> usize {
    // `SIOCOUTQ` of `linux/sockios.h`.
    queued(socket, libc::TIOCOUTQ)
}

fn queued(socket: &Socket, which: libc::Ioctl) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one int.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), which, &raw mut bytes) };
    if done == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// `struct tcp_info` of `linux/tcp.h`, as far as it is used here. An older kernel fills less of it; the rest stays zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names are those of the header")]
pub(super) struct RawInfo {
    pub(super) state: u8,
    pub(super) ca_state: u8,
    pub(super) retransmits: u8,
    pub(super) probes: u8,
    pub(super) backoff: u8,
    pub(super) options: u8,
    /// Ours in the upper half, the peer's in the lower.
    pub(super) window_scales: u8,
    pub(super) flags: u8,
    pub(super) rto: u32,
    pub(super) ato: u32,
    pub(super) snd_mss: u32,
    pub(super) rcv_mss: u32,
    pub(super) unacked: u32,
    pub(super) sacked: u32,
    pub(super) lost: u32,
    pub(super) retrans: u32,
    pub(super) fackets: u32,
    pub(super) last_data_sent: u32,
    pub(super) last_ack_sent: u32,
    pub(super) last_data_recv: u32,
    pub(super) last_ack_recv: u32,
    pub(super) pmtu: u32,
    pub(super) rcv_ssthresh: u32,
    pub(super) rtt: u32,
    pub(super) rttvar: u32,
    pub(super) snd_ssthresh: u32,
    pub(super) snd_cwnd: u32,
    pub(super) advmss: u32,
    pub(super) reordering: u32,
    pub(super) rcv_rtt: u32,
    pub(super) rcv_space: u32,
    pub(super) total_retrans: u32,
    pub(super) pacing_rate: u64,
    pub(super) max_pacing_rate: u64,
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    pub(super) segs_out: u32,
    pub(super) segs_in: u32,
    pub(super) notsent_bytes: u32,
    pub(super) min_rtt: u32,
    pub(super) data_segs_in: u32,
    pub(super) data_segs_out: u32,
    pub(super) delivery_rate: u64,
    pub(super) busy_time: u64,
    pub(super) rwnd_limited: u64,
    pub(super) sndbuf_limited: u64,
    pub(super) delivered: u32,
    pub(super) delivered_ce: u32,
    pub(super) bytes_sent: u64,
    pub(super) bytes_retrans: u64,
    pub(super) dsack_dups: u32,
    pub(super) reord_seen: u32,
    pub(super) rcv_ooopack: u32,
    pub(super) snd_wnd: u32,
    pub(super) rcv_wnd: u32,
    pub(super) rehash: u32,
}

/// `TCP_INFO` of `tcp(7)`.
pub(super) fn tcp_info(socket: &Socket) -> io::Result<RawInfo> {
    let mut info = RawInfo::default();
    let mut len = size_of::<RawInfo>() as libc::socklen_t;
    // SAFETY: every byte of the structure is part of a number, it lives through the call, and its size is told.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut len)
    };
    if done == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

/// Makes sure that the process may have `wanted` descriptors, and says how many it may have now.
pub(super) fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        if limit.rlim_cur >= wanted {
            return Ok(limit.rlim_cur);
        }
        // The hard limit too, where the process may (CAP_SYS_RESOURCE).
        let both = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const both) == 0 {
            return Ok(wanted);
        }
        limit.rlim_cur = limit.rlim_max.min(wanted);
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// Forgets the peer of a UDP socket (`AF_UNSPEC` in `connect(2)`).
pub(super) fn disconnect(socket: &Socket) -> io::Result<()> {
    let nobody = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    // SAFETY: the address lives through the call, and its size is told.
    let done =
        unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, size_of::<libc::sockaddr>() as libc::socklen_t) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
