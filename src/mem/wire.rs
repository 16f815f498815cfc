//! The wire: its pool, the inboxes on it, and how a receiver that waits is woken.

#![allow(unsafe_code)]

use super::bell::Bell;
use super::ring::{Entry, FrameRing};
use crate::api::Token;
use crate::errors::{Error, Result};
use crate::pool::{Geometry, Pool};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

static WIRES: LazyLock<Mutex<HashMap<String, Weak<Wire>>>> = LazyLock::new(Mutex::default);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sockets that hear each other, and their frames.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) pool: Arc<Pool>,
    inboxes: Mutex<Vec<Arc<Inbox>>>,
    /// Counts joins and leaves, so that senders know when their list of receivers is stale.
    generation: AtomicUsize,
}

impl Wire {
    /// Joins the wire of that name, or makes it, with frames of this geometry.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if the wire is there with smaller frames; those of [`Pool::heap`].
    pub(super) fn join(name: &str, geometry: Geometry, queue: usize) -> Result<(Arc<Self>, Arc<Inbox>)> {
        let mut wires = lock(&WIRES);
        let wire = match wires.get(name).and_then(Weak::upgrade) {
            Some(wire) => {
                let there = wire.pool.geometry().frame_size;
                if geometry.frame_size > there {
                    return Err(Error::BadOption {
                        option: "frame_size",
                        value: geometry.frame_size.to_string(),
                        expected: format!("at most {there}, the size of the frames that wire `{name}` was made with"),
                    });
                }
                wire
            }
            None => {
                let pool = Pool::heap(geometry)?;
                let wire = Arc::new(Self { pool, inboxes: Mutex::default(), generation: AtomicUsize::new(1) });
                wires.retain(|_, wire| wire.strong_count() > 0);
                wires.insert(name.to_owned(), Arc::downgrade(&wire));
                wire
            }
        };
        let inbox = Arc::new(Inbox::new(wire.pool.clone(), queue));
        lock(&wire.inboxes).push(inbox.clone());
        wire.generation.fetch_add(1, Ordering::Release);
        Ok((wire, inbox))
    }

    pub(super) fn leave(&self, inbox: &Arc<Inbox>) {
        lock(&self.inboxes).retain(|other| !Arc::ptr_eq(other, inbox));
        self.generation.fetch_add(1, Ordering::Release);
        inbox.clear();
    }

    #[inline]
    pub(super) fn generation(&self) -> usize {
        self.generation.load(Ordering::Acquire)
    }

    /// Everyone but `me`.
    pub(super) fn others(&self, me: &Arc<Inbox>) -> Vec<Arc<Inbox>> {
        lock(&self.inboxes).iter().filter(|other| !Arc::ptr_eq(other, me)).cloned().collect()
    }

    /// Frames on loan to programs: those in inboxes are on the wire.
    pub(super) fn in_flight(&self) -> usize {
        let queued: usize = lock(&self.inboxes).iter().map(|inbox| inbox.len()).sum();
        self.pool.in_flight().saturating_sub(queued)
    }
}

/// What has arrived at one socket. Whatever is left in it goes home with it.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: FrameRing,
    /// Where its frames belong.
    pool: Arc<Pool>,
    /// Packets that found the queue full.
    pub(super) full: AtomicU64,
    /// Packets for which there was no frame to copy them into.
    pub(super) no_frame: AtomicU64,
    /// Wakes the receiver.
    bell: Bell,
}

impl Inbox {
    fn new(pool: Arc<Pool>, depth: usize) -> Self {
        Self {
            queue: FrameRing::new(pool.geometry().frames, depth),
            pool,
            full: AtomicU64::new(0),
            no_frame: AtomicU64::new(0),
            bell: Bell::new(),
        }
    }

    /// Puts a packet of this wire's pool in; gives it back if the queue is full.
    #[inline(always)]
    pub(super) fn push(&self, token: Token) -> std::result::Result<(), Token> {
        if self.queue.is_full() {
            return Err(token);
        }
        let (frame, len) = self.pool.take_apart(token)?;
        self.queue.push(Entry { frame, len });
        Ok(())
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Takes the oldest packet out. Called by the socket that the inbox is of, and by nobody else.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<Token> {
        match self.take() {
            #[cfg(unix)]
            None if self.bell.is_polled() => self.bell.silence(|| self.take()),
            packet => packet,
        }
    }

    #[inline(always)]
    fn take(&self) -> Option<Token> {
        let entry = self.queue.pop()?;
        // SAFETY: `push` took the token apart; the queue hands each entry out once, to its one consumer: the socket that
        // owns the inbox, or `drop`.
        Some(unsafe { self.pool.frame_token(entry.frame, entry.len) })
    }

    fn clear(&self) {
        while self.take().is_some() {}
    }

    /// Called by senders at flush: wakes whoever waits.
    #[inline]
    pub(super) fn notify(&self) {
        self.bell.notify(|| self.queue.may_hold());
    }

    /// Waits until there is a packet, at most until `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        self.bell.wait(deadline, || !self.is_empty())
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// A descriptor that is readable while packets wait.
    #[cfg(all(unix, not(loom)))]
    pub(super) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.bell.fd(|| !self.is_empty())
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.clear();
    }
}
