//! How somebody who waits for a ring is woken: an `eventfd` that is rung only when somebody asked for it.

use crate::netmap::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

#[derive(Debug)]
pub(super) struct Bell {
    event: File,
    /// The next change must ring.
    armed: AtomicBool,
    /// Somebody has the descriptor: it must tell the truth from now on.
    shown: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { event: sys::eventfd()?, armed: AtomicBool::new(false), shown: AtomicBool::new(false) })
    }

    /// Something has changed: ring if somebody waits.
    #[inline]
    pub(super) fn notify(&self) {
        // Pairs with the fence in `arm`: either the waiter sees the change, or this sees the waiter.
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::AcqRel) {
            // A counter that is full is readable already.
            let _ = (&self.event).write(&1u64.to_ne_bytes());
        }
    }

    /// Silences the bell and asks for it to be rung. The caller looks at the ring *afterwards*.
    pub(super) fn arm(&self) {
        let _ = (&self.event).read(&mut [0; 8]);
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// The descriptor, for somebody outside. From now on it is kept true.
    pub(super) fn show(&self) -> BorrowedFd<'_> {
        self.shown.store(true, Ordering::Relaxed);
        self.fd()
    }

    pub(super) fn is_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }
}
