//! The mapping of one ring, shared with the kernel.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A mapped ring; unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: memory without ties to a thread; who reads and writes what is the business of `ring`.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes of the socket's ring at `offset` (`XDP_PGOFF_RX_RING`, …).
    pub(super) fn new(fd: BorrowedFd<'_>, len: usize, offset: i64) -> io::Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd.as_raw_fd(), offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self { base, len })
    }

    /// Its first byte.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length and unmapped nowhere else; `ring` keeps it as long as its pointers.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
