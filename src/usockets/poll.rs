//! Descriptors of the program's own, as programs hold them.

use super::UsError;
use super::callback::Callback;
use super::core::{Core, PollHandler};
use crate::net::{Readiness, WatchId};
use std::cell::Cell;
use std::fmt;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};

/// A descriptor of the program's own that a loop watches: a pipe, a terminal, a timer, the socket of another library. The
/// program keeps it open meanwhile, and closes it afterwards. It keeps the loop running until it is [stopped](Self::stop),
/// unless [told otherwise](Self::set_keeps_alive).
///
/// The one that was created owns the watch: dropped, it ends it. Those that callbacks are given do not.
pub struct Poll {
    shared: Rc<Shared>,
    owns: bool,
}

/// A callback that is told what is so.
type OnReady = dyn FnMut(&Poll, Readiness);

struct Shared {
    core: Rc<Core>,
    id: WatchId,
    fd: RawFd,
    events: Cell<Readiness>,
    callback: Callback<OnReady>,
    /// Itself, for the callback.
    me: Weak<Shared>,
}

impl PollHandler for Shared {
    fn ready(&self, what: Readiness) {
        if let Some(shared) = self.me.upgrade() {
            let poll = Poll { shared, owns: false };
            self.callback.call(|f| f(&poll, what));
        }
    }

    fn forget(&self) {
        self.callback.set(None);
    }
}

impl Poll {
    pub(super) fn new(core: &Rc<Core>, fd: RawFd, events: Readiness, callback: Box<OnReady>) -> Result<Self, UsError> {
        let mut made = None;
        core.open_poll(fd, events, |id| {
            let shared = Rc::new_cyclic(|me| Shared {
                core: core.clone(),
                id,
                fd,
                events: Cell::new(events),
                callback: Callback::new(),
                me: me.clone(),
            });
            shared.callback.set(Some(callback));
            made.insert(shared).clone()
        })?;
        let shared = made.ok_or(UsError::LoopNotRunning)?;
        Ok(Self { shared, owns: true })
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.shared.fd
    }

    /// What it is watched for.
    #[must_use]
    pub fn events(&self) -> Readiness {
        if self.is_valid() { self.shared.events.get() } else { Readiness::NONE }
    }

    /// Watches it for `READABLE`, for `WRITABLE`, for both or for neither from now on. What is not asked for any more is
    /// not told, even if it was so already.
    ///
    /// # Errors
    ///
    /// [`NetworkOperation`](UsError::NetworkOperation) if it was stopped, or closed by the program;
    /// [`LoopNotRunning`](UsError::LoopNotRunning) once the loop has ended.
    pub fn change(&self, events: Readiness) -> Result<(), UsError> {
        if events == self.shared.events.get() && self.is_valid() {
            return Ok(());
        }
        self.shared.core.change_poll(self.shared.id, self.shared.fd, events)?;
        self.shared.events.set(events);
        Ok(())
    }

    /// Whether it keeps the loop running. It does from the beginning.
    pub fn set_keeps_alive(&self, keeps_alive: bool) {
        self.shared.core.set_poll_keeps_alive(self.shared.id, keeps_alive);
    }

    /// Ends watching: the callback is not called any more, and dropped when it does not run. The descriptor stays open.
    pub fn stop(&self) {
        self.shared.core.close_poll(self.shared.id);
        self.shared.callback.set(None);
    }

    /// Leaves the watch to the loop: it goes on until its callback stops it.
    pub fn detach(mut self) {
        self.owns = false;
    }

    /// Whether it is neither stopped nor its loop at an end.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.shared.core.has_poll(self.shared.id)
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        if self.owns {
            self.stop();
        }
    }
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poll").field("fd", &self.fd()).field("events", &self.events()).finish()
    }
}
