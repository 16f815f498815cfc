//! Descriptors of the program's own, watched by the loop.

use super::Core;
use crate::net::{Readiness, SocketError, WatchId};
use crate::usockets::UsError;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::rc::Rc;

/// What a descriptor's owner does about events. Called with nothing borrowed.
pub(in crate::usockets) trait PollHandler {
    /// Something that was asked for is so.
    fn ready(&self, what: Readiness);
    /// The loop is over: drops the callback, as it may hold what holds it.
    fn forget(&self);
}

/// The watched descriptors of a loop.
#[derive(Default)]
pub(super) struct Polls {
    open: HashMap<WatchId, Entry>,
    /// Those that keep the loop running.
    keeping: usize,
}

struct Entry {
    handler: Rc<dyn PollHandler>,
    keeps_alive: bool,
}

impl Polls {
    /// How many keep the loop running.
    pub(super) fn keeping(&self) -> usize {
        self.keeping
    }

    /// Drops the callbacks.
    pub(super) fn forget(self) {
        self.open.values().for_each(|entry| entry.handler.forget());
    }
}

fn refused(fd: RawFd, error: SocketError) -> UsError {
    UsError::NetworkOperation { operation: format!("cannot watch descriptor {fd}: {error}") }
}

impl Core {
    /// Watches a descriptor; it keeps the loop running.
    pub(in crate::usockets) fn open_poll(
        &self,
        fd: RawFd,
        what: Readiness,
        handler: impl FnOnce(WatchId) -> Rc<dyn PollHandler>,
    ) -> Result<(), UsError> {
        let id = self.with_net(|net| net.watch(fd, what))?.map_err(|error| refused(fd, error))?;
        let entry = Entry { handler: handler(id), keeps_alive: true };
        let mut state = self.state.borrow_mut();
        state.polls.open.insert(id, entry);
        state.polls.keeping += 1;
        Ok(())
    }

    /// Changes what a descriptor is watched for.
    pub(in crate::usockets) fn change_poll(&self, id: WatchId, fd: RawFd, what: Readiness) -> Result<(), UsError> {
        self.with_net(|net| net.rewatch(id, what))?.map_err(|error| refused(fd, error))
    }

    /// Says whether a watched descriptor keeps the loop running.
    pub(in crate::usockets) fn set_poll_keeps_alive(&self, id: WatchId, keeps_alive: bool) {
        let polls = &mut self.state.borrow_mut().polls;
        let Some(entry) = polls.open.get_mut(&id) else { return };
        polls.keeping -= usize::from(entry.keeps_alive);
        polls.keeping += usize::from(keeps_alive);
        entry.keeps_alive = keeps_alive;
    }

    /// Ends watching.
    pub(in crate::usockets) fn close_poll(&self, id: WatchId) {
        let mut state = self.state.borrow_mut();
        if let Some(net) = &mut state.net {
            net.unwatch(id);
        }
        let closed = state.polls.open.remove(&id);
        state.polls.keeping -= usize::from(closed.as_ref().is_some_and(|entry| entry.keeps_alive));
        drop(state);
        // With nothing borrowed: its callback may hold anything.
        drop(closed);
    }

    pub(in crate::usockets) fn has_poll(&self, id: WatchId) -> bool {
        self.state.borrow().polls.open.contains_key(&id)
    }

    /// Something that was asked for is so.
    pub(super) fn poll_event(&self, id: WatchId, what: Readiness) {
        let handler = {
            let state = &mut *self.state.borrow_mut();
            state.metrics.events += 1;
            let Some(entry) = state.polls.open.get(&id) else { return };
            state.metrics.callbacks += 1;
            entry.handler.clone()
        };
        handler.ready(what);
    }
}
