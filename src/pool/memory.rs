//! The memory behind a pool.
#![allow(unsafe_code)]

use crate::errors::{Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;

const PAGE: usize = 4096;

/// A block of initialised memory that frames are cut from.
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
    hugepages: bool,
    kind: Kind,
}

enum Kind {
    Heap(Layout),
    #[cfg(target_os = "linux")]
    Mapped,
    Foreign(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Any + Send + Sync>),
}

// SAFETY: plain memory. Who may touch which part of it is decided by frame ownership, not by this handle.
unsafe impl Send for Memory {}
// SAFETY: as above; the handle itself is immutable.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory from the heap, aligned to 4096 bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`].
    pub fn heap(len: usize) -> Result<Self> {
        let layout = Layout::from_size_align(len.max(1), PAGE).map_err(|_| Error::NoMemory)?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::NoMemory)?;
        Ok(Self { base, len, hugepages: false, kind: Kind::Heap(layout) })
    }

    /// Zeroed anonymous memory from `mmap(2)`, populated, on huge pages of the default size if `hugepages`.
    ///
    /// # Errors
    ///
    /// [`Error::System`]; for huge pages it says how to reserve them.
    #[cfg(target_os = "linux")]
    pub fn mapped(len: usize, hugepages: bool) -> Result<Self> {
        const HUGE: usize = 2 << 20;
        let unit = if hugepages { HUGE } else { PAGE };
        let len = len.max(1).checked_next_multiple_of(unit).ok_or(Error::NoMemory)?;
        let huge = if hugepages { libc::MAP_HUGETLB } else { 0 };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | huge;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            let source = std::io::Error::last_os_error();
            let help = if hugepages {
                format!("reserve huge pages: sysctl vm.nr_hugepages={}", len / HUGE)
            } else {
                "ask for fewer or smaller frames".to_owned()
            };
            return Err(Error::System { what: format!("mapping {len} bytes for frames"), help, source });
        }
        let base = NonNull::new(base.cast()).ok_or(Error::NoMemory)?;
        Ok(Self { base, len, hugepages, kind: Kind::Mapped })
    }

    /// Memory of somebody else, kept alive by `owner`.
    ///
    /// # Safety
    ///
    /// `len` bytes from `base` are initialised, readable and writable for as long as `owner` lives, and nothing else
    /// in this process refers to them but through frames of the pool.
    pub unsafe fn foreign(base: NonNull<u8>, len: usize, owner: Box<dyn Any + Send + Sync>) -> Self {
        Self { base, len, hugepages: false, kind: Kind::Foreign(owner) }
    }

    /// Where it begins.
    #[inline]
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its length in bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it lies on huge pages.
    #[must_use]
    pub fn hugepages(&self) -> bool {
        self.hugepages
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match &self.kind {
            // SAFETY: allocated in `heap` with this layout and freed nowhere else.
            Kind::Heap(layout) => unsafe { dealloc(self.base.as_ptr(), *layout) },
            #[cfg(target_os = "linux")]
            Kind::Mapped => {
                // SAFETY: mapped in `mapped` with this length and unmapped nowhere else.
                unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
            }
            Kind::Foreign(_) => {}
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.len).field("hugepages", &self.hugepages).finish_non_exhaustive()
    }
}
