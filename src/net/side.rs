//! Beside the engine: what only the kernel has.
//!
//! ```text
//!   Engine ── Host ── packets                names without the bit
//!      │        ▲ waits for both
//!      └─ Side ─┴─ Kernel ── epoll           names with the bit: unix sockets, adopted and watched descriptors
//! ```
//!
//! A program on the engine's network may have unix sockets and descriptors of its own too. They live in a [`Kernel`] that
//! is made when the first of them is; the host waits for its epoll instance as well. Their names carry a bit that the
//! engine's do not have, so that every operation finds its way by the name. While none is open nothing of this costs
//! anything but the look at that bit.

use super::{Event, ListenerId, SocketError, TcpId, WatchId};
use crate::host::Host;
use crate::kernel::{Buffers, Kernel};
use crate::stack::Key;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Marks names of the side. The engine counts its sockets from 0, and has no memory for so many.
const MARK: u32 = 1 << 31;

#[derive(Default)]
pub(super) struct Side {
    kernel: Option<Box<Kernel>>,
    /// Readable while the kernel has events.
    descriptor: Option<Rc<OwnedFd>>,
    /// Whether the host waits for it.
    is_waited_for: bool,
    /// What bytes of the side are received into, and opened by the network's readers.
    pub(super) buffers: Rc<Buffers>,
}

impl Side {
    /// Whose socket this is, if it is one of the side's, and what it is called there.
    #[inline]
    pub(super) fn of(&mut self, key: Key) -> Option<(&mut Kernel, Key)> {
        if key.index & MARK == 0 {
            return None;
        }
        Some((self.kernel.as_deref_mut()?, Key { index: key.index & !MARK, ..key }))
    }

    /// The same, to look at it.
    #[inline]
    pub(super) fn at(&self, key: Key) -> Option<(&Kernel, Key)> {
        if key.index & MARK == 0 {
            return None;
        }
        Some((self.kernel.as_deref()?, Key { index: key.index & !MARK, ..key }))
    }

    /// The kernel, to open something there.
    pub(super) fn open(&mut self, host: &mut Host) -> Result<&mut Kernel, SocketError> {
        let kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => {
                // Only descriptors can be lacking.
                let kernel = Kernel::with(self.buffers.clone()).map_err(|_| SocketError::NoBuffers)?;
                let descriptor = kernel.descriptor().map_err(|_| SocketError::NoBuffers)?;
                self.descriptor = Some(Rc::new(descriptor));
                Box::new(kernel)
            }
        };
        host.set_extra_fd(self.descriptor.clone());
        self.is_waited_for = true;
        Ok(self.kernel.insert(kernel))
    }

    /// The kernel, while anything is open there. When nothing is any more, the host need not wait for it.
    #[inline]
    pub(super) fn kernel(&mut self, host: &mut Host) -> Option<&mut Kernel> {
        if !self.is_waited_for {
            return None;
        }
        let kernel = self.kernel.as_deref_mut()?;
        if kernel.open_sockets() == 0 {
            host.set_extra_fd(None);
            self.is_waited_for = false;
            return None;
        }
        Some(kernel)
    }

    /// The next thing to tell of the side.
    #[inline]
    pub(super) fn next_event(&mut self) -> Option<Event> {
        if !self.is_waited_for {
            return None;
        }
        Some(match self.kernel.as_deref_mut()?.next_event()? {
            Event::Accept(ListenerId(key)) => Event::Accept(ListenerId(marked(key))),
            Event::Tcp(TcpId(key), what) => Event::Tcp(TcpId(marked(key)), what),
            Event::Watch(WatchId(key), what) => Event::Watch(WatchId(marked(key)), what),
            // Datagrams are the engine's alone.
            udp @ Event::Udp(..) => udp,
        })
    }
}

/// What something of the side is called outside.
pub(super) fn marked(key: Key) -> Key {
    Key { index: key.index | MARK, ..key }
}
