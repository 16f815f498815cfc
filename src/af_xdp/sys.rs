//! The system calls of AF_XDP sockets, one function each. Nothing here decides anything.
//!
//! Source: `<linux/if_xdp.h>`, `Documentation/networking/af_xdp.rst`, `net/xdp/xsk.c` of Linux.
#![allow(unsafe_code)]

use crate::pool::Memory;
use libc::{c_int, socklen_t};
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

const SO_BUSY_POLL: c_int = 46;
const SO_PREFER_BUSY_POLL: c_int = 69;
const SO_BUSY_POLL_BUDGET: c_int = 70;

/// The value that the system call returned, or the thread's `errno`.
fn check(returned: c_int) -> io::Result<c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// A new AF_XDP socket.
pub(super) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set<T>(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live value, which the kernel only reads.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const *value).cast(), size_of::<T>() as socklen_t)
    };
    check(done).map(drop)
}

/// Reads a plain structure of integers; what an older kernel does not fill stays 0.
fn get<T: Plain>(fd: BorrowedFd<'_>, option: c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as socklen_t;
    // SAFETY: pointer and length are those of a live buffer; the kernel writes at most `len` bytes.
    let done =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value.as_mut_ptr().cast(), &raw mut len) };
    check(done)?;
    // SAFETY: `T` is made of integers (`Plain`), for which zeroes and whatever the kernel wrote are values.
    Ok(unsafe { value.assume_init() })
}

/// Structures made of integers only.
///
/// # Safety
///
/// Every bit pattern is a value of the type.
unsafe trait Plain {}
// SAFETY: integers only, see `<linux/if_xdp.h>`.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_options {}

/// What a UMEM is registered with, besides its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct UmemShape {
    /// Bytes of the memory that are UMEM, from its beginning.
    pub len: usize,
    /// Bytes of a chunk.
    pub chunk: u32,
    /// `XDP_UMEM_*`.
    pub flags: u32,
    /// Bytes before a sent packet that belong to its metadata; only with `XDP_UMEM_TX_METADATA_LEN`.
    pub tx_metadata: u32,
}

/// `XDP_UMEM_REG`. The kernel pins the pages until the last socket on the UMEM is gone, so memory that is unmapped
/// earlier is not reused under its hands.
pub(super) fn register_umem(fd: BorrowedFd<'_>, memory: &Memory, shape: UmemShape) -> io::Result<()> {
    let UmemShape { len, chunk, flags, tx_metadata } = shape;
    debug_assert!(len <= memory.len());
    let mut reg = libc::xdp_umem_reg {
        addr: memory.base().as_ptr() as u64,
        len: len.min(memory.len()) as u64,
        chunk_size: chunk,
        headroom: 0,
        flags,
        tx_metadata_len: 0,
    };
    reg.tx_metadata_len = tx_metadata;
    set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &reg)
}

/// Sets the size of one of the four rings (`XDP_RX_RING`, …), in slots.
pub(super) fn set_ring_size(fd: BorrowedFd<'_>, ring: c_int, slots: u32) -> io::Result<()> {
    set(fd, libc::SOL_XDP, ring, &slots)
}

/// `XDP_MAX_TX_SKB_BUDGET` of <linux/if_xdp.h> since Linux 6.17; libc does not have it yet.
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;

/// How many packets one call may transmit in copy mode, from 32 up to the size of the tx ring. An older kernel keeps to 32
/// and this is no error.
pub(super) fn set_tx_budget(fd: BorrowedFd<'_>, packets: u32) {
    let _ = set(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &packets);
}

/// `XDP_MMAP_OFFSETS`: where in the mapped rings the cursors lie.
pub(super) fn offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    get(fd, libc::XDP_MMAP_OFFSETS)
}

/// `XDP_STATISTICS`.
pub(super) fn statistics(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_statistics> {
    get(fd, libc::XDP_STATISTICS)
}

/// `XDP_OPTIONS`: whether the bound socket is zero-copy.
pub(super) fn is_zero_copy(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let options: libc::xdp_options = get(fd, libc::XDP_OPTIONS)?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// Binds to a queue of an interface; with a second socket, on that one's UMEM.
pub(super) fn bind(
    fd: BorrowedFd<'_>,
    ifindex: u32,
    queue: u32,
    flags: u16,
    umem_of: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let shared = if umem_of.is_some() { libc::XDP_SHARED_UMEM } else { 0 };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags | shared,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: umem_of.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    let len = size_of::<libc::sockaddr_xdp>() as socklen_t;
    // SAFETY: pointer and length are those of a live address, which the kernel only reads.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

/// Preferred busy polling: how long, and how many packets per turn.
pub(super) fn set_busy_poll(fd: BorrowedFd<'_>, time: Duration, budget: u16) -> io::Result<()> {
    let micros = c_int::try_from(time.as_micros()).unwrap_or(c_int::MAX).max(1);
    set(fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1i32)?;
    set(fd, libc::SOL_SOCKET, SO_BUSY_POLL, &micros)?;
    set(fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &c_int::from(budget))
}

/// Wakes the kernel to transmit; 0 or an `errno`.
#[inline]
pub(super) fn kick_tx(fd: BorrowedFd<'_>) -> c_int {
    // SAFETY: no buffer and no address are given.
    let done = unsafe { libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if done >= 0 { 0 } else { errno() }
}

/// Wakes the kernel to receive, which is also what drives busy polling; 0 or an `errno`.
#[inline]
pub(super) fn kick_rx(fd: BorrowedFd<'_>) -> c_int {
    let none = std::ptr::null_mut();
    // SAFETY: no buffer and no address are given.
    let done = unsafe {
        libc::recvfrom(fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, std::ptr::null_mut(), std::ptr::null_mut())
    };
    if done >= 0 { 0 } else { errno() }
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// `ppoll(2)`: how many descriptors are ready. An interruption by a signal counts as none.
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let at = timeout.as_ref().map_or(std::ptr::null(), |t| &raw const *t);
    // SAFETY: pointer and length are those of a live slice; `at` is null or a live value; no signal mask is given.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, at, std::ptr::null()) };
    match check(ready) {
        Ok(ready) => Ok(ready as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// An epoll instance that is readable while one of the descriptors is.
pub(super) fn epoll_of<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the descriptor was just made and is nobody else's.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    for (n, fd) in fds.enumerate() {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: n as u64 };
        // SAFETY: both descriptors are open; the event is a live value, which the kernel only reads.
        check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })?;
    }
    Ok(epoll)
}

/// Puts an interface into promiscuous mode for as long as the returned socket is open: the kernel counts such wishes
/// and takes this one back with the descriptor, even after `kill -9` (packet(7), `PACKET_MR_PROMISC`).
pub(super) fn promiscuous(ifindex: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers. Protocol 0: the socket receives nothing.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a structure of integers and bytes, for which zeroes are a value.
    let mut wish: libc::packet_mreq = unsafe { zeroed() };
    wish.mr_ifindex = ifindex as c_int;
    wish.mr_type = libc::PACKET_MR_PROMISC as u16;
    use std::os::fd::AsFd;
    set(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &wish)?;
    Ok(fd)
}

/// Nanoseconds since the Unix epoch.
pub(super) fn clock_ns() -> u64 {
    // SAFETY: a structure of integers, for which zeroes are a value.
    let mut now: libc::timespec = unsafe { zeroed() };
    // SAFETY: a live value for the kernel to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
