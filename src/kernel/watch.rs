//! Descriptors of the program's own, watched beside the sockets: pipes, terminals, timers, whatever `epoll(7)` takes.
//!
//! They belong to the program, which keeps them open while they are watched. They are told of by level: with every poll,
//! as long as what is asked for is so.

use super::error::told;
use super::{Kernel, Socket, sys};
use crate::stack::{Key, Readiness, SocketError};
use std::os::fd::{AsRawFd, RawFd};

/// A watched descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub Key);

impl From<Key> for WatchId {
    fn from(key: Key) -> Self {
        Self(key)
    }
}

pub(super) struct Watch {
    fd: RawFd,
    /// What is asked for, of `READABLE` and `WRITABLE`. With neither the descriptor is not in epoll.
    wants: Readiness,
    /// What is so and was not told.
    pending: Readiness,
}

impl Watch {
    pub(super) fn descriptor(&self) -> RawFd {
        self.fd
    }

    /// An event of epoll. Returns whether the descriptor is to be entered among those with something to tell.
    pub(super) fn happened(&mut self, event: &mio::event::Event) -> bool {
        let mut news = Readiness::NONE;
        if event.is_readable() {
            news |= Readiness::READABLE;
        }
        if event.is_writable() {
            news |= Readiness::WRITABLE;
        }
        // EPOLLERR, and EPOLLHUP as in `Tcp::news`: whoever reads or writes now does not have to wait.
        if event.is_error() || (event.is_read_closed() && event.is_write_closed()) {
            news |= Readiness::CLOSED | self.wants;
        }
        let first = self.pending.is_empty() && !news.is_empty();
        self.pending |= news;
        first
    }

    /// What is to be told now, as far as it is still asked for.
    pub(super) fn take_told(&mut self) -> Readiness {
        let all = Readiness::READABLE | Readiness::WRITABLE;
        let what = std::mem::take(&mut self.pending).without(all.without(self.wants));
        if self.wants.is_empty() { Readiness::NONE } else { what }
    }
}

impl Kernel {
    /// Watches a descriptor of the program's own: for `READABLE`, for `WRITABLE`, for both or for the time being for
    /// neither.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl(2)`: [`PermissionDenied`](SocketError::PermissionDenied) for a regular file,
    /// [`Closed`](SocketError::Closed) if there is no such descriptor, [`System`](SocketError::System) with `EEXIST` if it
    /// is watched already, [`NoBuffers`](SocketError::NoBuffers).
    pub fn watch(&mut self, fd: RawFd, what: Readiness) -> Result<WatchId, SocketError> {
        let key = self.sockets.next_key().ok_or(SocketError::NoBuffers)?;
        let wants = asked(what);
        sys::watch(self.poll.as_raw_fd(), fd, key, Readiness::NONE, wants).map_err(told)?;
        self.sockets.insert(Socket::Watch(Watch { fd, wants, pending: Readiness::NONE }));
        Ok(WatchId(key))
    }

    /// Changes what a descriptor is watched for. What is not asked for any more is not told, even if it was so already.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch); [`Closed`](SocketError::Closed) as well if it is not watched.
    pub fn rewatch(&mut self, id: WatchId, what: Readiness) -> Result<(), SocketError> {
        let epoll = self.poll.as_raw_fd();
        let Some(Socket::Watch(watch)) = self.sockets.get_mut(id.0) else { return Err(SocketError::Closed) };
        let wants = asked(what);
        sys::watch(epoll, watch.fd, id.0, watch.wants, wants).map_err(told)?;
        watch.wants = wants;
        Ok(())
    }

    /// Ends watching. The descriptor stays open.
    pub fn unwatch(&mut self, id: WatchId) {
        let Some(Socket::Watch(watch)) = self.sockets.get(id.0) else { return };
        // It fails only for a descriptor that was closed, and is not in epoll any more.
        let _ = sys::watch(self.poll.as_raw_fd(), watch.fd, id.0, watch.wants, Readiness::NONE);
        self.sockets.remove(id.0);
    }
}

/// The part that can be asked for.
fn asked(what: Readiness) -> Readiness {
    [Readiness::READABLE, Readiness::WRITABLE]
        .into_iter()
        .filter(|bit| what.contains(*bit))
        .fold(Readiness::NONE, |all, bit| all | bit)
}
