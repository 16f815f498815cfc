//! A process without memory, alone in its process: the limit is everybody's.
#![cfg(all(target_os = "linux", feature = "usockets-udp"))]
#![allow(unsafe_code)]

use nethuns_rs::usockets::{UdpPacketBuffer, UsError};

/// Limits the memory that may be mapped, in bytes.
fn limit(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the structure lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
}

#[test]
fn a_buffer_for_which_there_is_no_memory_is_refused() {
    let status = std::fs::read_to_string("/proc/self/statm").expect("how much is mapped");
    let pages: u64 = status.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number");
    // Of the 64 MiB of a buffer a half.
    limit(pages * 4096 + (32 << 20));
    let refused = UdpPacketBuffer::new().map(|_| ());
    limit(libc::RLIM_INFINITY);
    assert_eq!(refused, Err(UsError::AllocationFailed));
    assert!(UdpPacketBuffer::new().is_ok());
}
