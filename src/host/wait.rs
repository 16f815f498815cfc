//! Sleeping until a descriptor is readable.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Sleeps until one of the descriptors is readable (or broken), at most `timeout` (`None`: for ever), and tells which
/// are. A signal ends the sleep early.
///
/// The time is kept to the nanosecond where `ppoll` exists, less the kernel's timer slack (50 µs unless the thread's is
/// set: `prctl(2)`), and never cut short; elsewhere it is rounded up to a millisecond.
pub(super) fn readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    // A negative descriptor is ignored (`poll(2)`).
    let mut polled =
        fds.map(|fd| libc::pollfd { fd: fd.map_or(-1, |fd| fd.as_raw_fd()), events: libc::POLLIN, revents: 0 });
    if poll(&mut polled, timeout) < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok([false; N]) } else { Err(error) };
    }
    Ok(polled.map(|fd| fd.revents != 0))
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "openbsd"))]
fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> libc::c_int {
    // SAFETY: a `timespec` of zeros is valid; its fields differ between systems, so it is not written as a literal.
    let mut limit: libc::timespec = unsafe { std::mem::zeroed() };
    if let Some(timeout) = timeout {
        limit.tv_sec = libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX);
        limit.tv_nsec = timeout.subsec_nanos() as _;
    }
    let limit = if timeout.is_some() { &raw const limit } else { std::ptr::null() };
    // SAFETY: both structures outlive the call, and the number of descriptors is the array's.
    unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, limit, std::ptr::null()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "openbsd")))]
fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> libc::c_int {
    let ms =
        timeout.map_or(-1, |t| libc::c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX));
    // SAFETY: the array outlives the call, and the number of descriptors is its own.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn what_is_readable_is_told() {
        let (a, mut b) = UnixStream::pair().unwrap();
        assert_eq!(readable([Some(a.as_fd()), Some(b.as_fd())], Some(Duration::ZERO)).unwrap(), [false, false]);
        b.write_all(b"x").unwrap();
        assert_eq!(readable([Some(a.as_fd()), Some(b.as_fd())], None).unwrap(), [true, false]);
        assert_eq!(readable([None, Some(a.as_fd())], None).unwrap(), [false, true]);
    }

    #[test]
    fn short_sleeps_are_neither_cut_nor_rounded_to_milliseconds() {
        // Whatever else runs on the machine: of many tries the best one counts.
        let mut best = Duration::MAX;
        for _ in 0..50 {
            let start = Instant::now();
            readable([None, None], Some(Duration::from_micros(300))).unwrap();
            assert!(start.elapsed() >= Duration::from_micros(300));
            best = best.min(start.elapsed());
        }
        if cfg!(target_os = "linux") {
            assert!(best < Duration::from_micros(1000), "{best:?}");
        }
    }
}
