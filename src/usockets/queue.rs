//! The way from other threads to a loop: callbacks that it shall run.
//!
//! ```text
//!   any thread                                       the loop
//!   push ─▶ [ receives ]  ◀── take: swap ──▶  [ runs ] ─▶ empty, for the next swap
//!     └ if it was empty: wake
//! ```
//!
//! Two queues alternate: one receives, behind the lock, while the other, which only the loop knows, is run without it. So
//! no callback runs or is dropped under the lock, a callback may push others, and those have their turn in the next
//! iteration. Both queues keep their memory.
//!
//! No callback is slept through: who finds the queue empty wakes the loop after pushing, and the loop takes the queue after
//! it woke up. The loop's own thread wakes nobody; instead the loop looks ([`Shared::has_work`]) before it goes to sleep.
//! The models in `tests.rs` run every interleaving of it.

use super::error::UsError;
#[cfg(loom)]
use loom::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread_local,
};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Makes a loop that waits go on.
pub(super) trait Wake {
    /// Ends the wait that is under way, or else the next one.
    fn wake(&self);
}

#[cfg(not(loom))]
impl Wake for crate::net::Waker {
    fn wake(&self) {
        crate::net::Waker::wake(self);
    }
}

/// What a loop shares with its handles. `C` is a callback.
#[derive(Debug)]
pub(super) struct Shared<C, W> {
    /// The queue that receives; `None` once the loop has ended.
    queue: Mutex<Option<Vec<C>>>,
    /// Whether there is something in it, so that a loop without work does not take the lock.
    work: AtomicBool,
    /// The thread that runs the loop, see [`this_thread`]; 0: none does.
    thread: AtomicU64,
    ended: AtomicBool,
    /// Whether [`wake`](Self::wake) was called since the loop looked last.
    called: AtomicBool,
    waker: W,
}

impl<C: Send, W: Wake> Shared<C, W> {
    /// Of a loop that exists and does not run yet. What is pushed already waits for it.
    pub(super) fn new(waker: W) -> Self {
        Self {
            queue: Mutex::new(Some(Vec::new())),
            work: AtomicBool::new(false),
            thread: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            called: AtomicBool::new(false),
            waker,
        }
    }

    /// Gives the loop a callback. It will be run once, or dropped if the loop ends before.
    ///
    /// # Errors
    ///
    /// [`UsError::LoopNotRunning`] after the loop has ended; [`UsError::MutexLockFailed`]. The callback is dropped then.
    pub(super) fn push(&self, callback: C) -> Result<(), UsError> {
        let mut guard = self.queue.lock().map_err(|_| poisoned("defer a callback"))?;
        let Some(queue) = guard.as_mut() else {
            // Unlocked before the callback is dropped: it may own something that defers a farewell.
            drop(guard);
            return Err(UsError::LoopNotRunning);
        };
        queue.push(callback);
        let first = queue.len() == 1;
        if first {
            self.work.store(true, Ordering::Release);
        }
        drop(guard);
        if first && !self.is_on_thread() {
            self.waker.wake();
        }
        Ok(())
    }

    /// Whether callbacks wait. The loop asks before it sleeps, as its own thread wakes nobody, and does not sleep then.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.work.load(Ordering::Acquire)
    }

    /// For the loop: exchanges the queue that receives for `other`, which must be empty. Nothing happens if no callback
    /// waits.
    ///
    /// # Errors
    ///
    /// [`UsError::MutexLockFailed`].
    #[inline]
    pub(super) fn take(&self, other: &mut Vec<C>) -> Result<(), UsError> {
        debug_assert!(other.is_empty(), "callbacks would be queued again");
        if !self.has_work() {
            return Ok(());
        }
        let mut queue = self.queue.lock().map_err(|_| poisoned("take the deferred callbacks"))?;
        self.work.store(false, Ordering::Relaxed);
        if let Some(queue) = queue.as_mut() {
            std::mem::swap(queue, other);
        }
        Ok(())
    }

    /// Ends the loop's wait, or its next one.
    pub(super) fn wake(&self) {
        self.called.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// For the loop: whether [`wake`](Self::wake) was called since this was last asked, however often.
    #[inline]
    pub(super) fn take_call(&self) -> bool {
        self.called.load(Ordering::Relaxed) && self.called.swap(false, Ordering::AcqRel)
    }

    /// The loop begins to run on the calling thread.
    pub(super) fn enter(&self) {
        self.thread.store(this_thread(), Ordering::Release);
    }

    /// The loop does not run any more, for now.
    pub(super) fn leave(&self) {
        self.thread.store(0, Ordering::Release);
    }

    /// Whether the loop runs on the calling thread.
    #[inline]
    pub(super) fn is_on_thread(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == this_thread()
    }

    /// Whether the loop runs.
    pub(super) fn is_running(&self) -> bool {
        self.thread.load(Ordering::Acquire) != 0
    }

    /// Whether the loop exists.
    pub(super) fn is_valid(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    /// The loop has ended: what is queued is dropped, and nothing is taken any more.
    pub(super) fn end(&self) {
        self.leave();
        self.ended.store(true, Ordering::Release);
        // What a panicked thread has left is dropped as well.
        let left = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Unlocked, as in `push`.
        drop(left);
    }
}

#[cold]
fn poisoned(operation: &str) -> UsError {
    UsError::MutexLockFailed { operation: operation.to_owned() }
}

/// The number of the calling thread: never 0, and no other's, ever.
fn this_thread() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests;
