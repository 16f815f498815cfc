//! How a receiver that sleeps learns of packets, without a sender paying for one that does not.
//!
//! ```text
//!   receiver                                 sender
//!   armed = true                             push
//!   ── fence ──                              ── fence ──        (at its flush)
//!   nothing there? ──▶ sleep                 armed and something there? ──▶ ring
//! ```
//!
//! Each side writes, then looks at what the other wrote. With a sequentially consistent fence in between on both sides,
//! one of them sees the other: either the receiver finds the packet and does not sleep, or the sender finds it armed. The
//! model below runs every interleaving.

use crate::pool::sync::{AtomicBool, Condvar, Mutex, Ordering, fence};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

#[cfg(unix)]
use std::sync::OnceLock;

#[derive(Debug)]
pub(super) struct Bell {
    /// Somebody waits, or has the file descriptor: the next flush must ring.
    armed: AtomicBool,
    sleep: Mutex<()>,
    woken: Condvar,
    /// What the file descriptor is of; made when somebody asks for it.
    #[cfg(unix)]
    #[cfg_attr(all(loom, not(test)), allow(dead_code, reason = "only models ask for it then"))]
    pair: OnceLock<Pair>,
}

#[cfg_attr(all(loom, not(test)), allow(dead_code, reason = "only models ask for the descriptor then"))]
impl Bell {
    pub(super) fn new() -> Self {
        Self {
            armed: AtomicBool::new(false),
            sleep: Mutex::new(()),
            woken: Condvar::new(),
            #[cfg(unix)]
            pair: OnceLock::new(),
        }
    }

    /// What is looked at after this, and not there, will be told by a ring when it comes.
    #[inline]
    fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// For senders, after they pushed: wakes whoever waits, if something is `waiting` to be taken.
    #[inline]
    pub(super) fn notify(&self, waiting: impl FnOnce() -> bool) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && waiting() {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        if self.armed.swap(false, Ordering::AcqRel) {
            // Whoever armed it under this lock sleeps by now.
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.woken.notify_all();
            #[cfg(unix)]
            if let Some(pair) = self.pair.get() {
                pair.ring();
            }
        }
    }

    /// For the receiver: sleeps until it is `ready`, at most until `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>, ready: impl Fn() -> bool) -> bool {
        // A sender that never flushes wakes nobody: look again now and then.
        const SLICE: Duration = Duration::from_millis(10);
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.arm();
            if ready() {
                return true;
            }
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            guard = self.woken.wait_timeout(guard, left.min(SLICE)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether somebody has the descriptor.
    #[cfg(unix)]
    #[inline]
    pub(super) fn is_polled(&self) -> bool {
        self.pair.get().is_some()
    }

    /// For a receiver that found nothing: makes the descriptor silent, and looks again.
    #[cfg(unix)]
    #[cold]
    pub(super) fn silence<T>(&self, take: impl FnOnce() -> Option<T>) -> Option<T> {
        if let Some(pair) = self.pair.get() {
            pair.silence();
        }
        self.arm();
        let found = take();
        if found.is_some() {
            // More may be there than this one: stay readable until nothing is found again.
            self.ring();
        }
        found
    }

    #[cfg(unix)]
    fn pair(&self, waiting: impl FnOnce() -> bool) -> &Pair {
        let pair = self.pair.get_or_init(Pair::new);
        self.arm();
        if waiting() {
            self.ring();
        }
        pair
    }

    /// A descriptor that is readable while something is `waiting` to be taken.
    #[cfg(all(unix, not(loom)))]
    pub(super) fn fd(&self, waiting: impl FnOnce() -> bool) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.pair(waiting).0.as_fd()
    }
}

/// Two ends of a socket pair: what is written to the second makes the first readable.
#[cfg(all(unix, not(loom)))]
#[derive(Debug)]
struct Pair(std::os::unix::net::UnixStream, std::os::unix::net::UnixStream);

#[cfg(all(unix, not(loom)))]
impl Pair {
    fn new() -> Self {
        let pair = std::os::unix::net::UnixStream::pair().and_then(|(reader, writer)| {
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(Self(reader, writer))
        });
        // `AsFd` cannot fail; a process without descriptors left cannot go on anyway.
        pair.expect("a socket pair for the readiness of an in-memory port")
    }

    fn ring(&self) {
        // A full pair is readable already.
        let _ = std::io::Write::write(&mut &self.1, &[1]);
    }

    fn silence(&self) {
        let mut rings = [0; 64];
        while matches!(std::io::Read::read(&mut &self.0, &mut rings), Ok(n) if n > 0) {}
    }
}

/// Its double in the model: how many rings have not been read.
#[cfg(loom)]
#[derive(Debug)]
struct Pair(Mutex<usize>);

#[cfg(loom)]
#[cfg_attr(not(test), allow(dead_code, reason = "for models"))]
impl Pair {
    fn new() -> Self {
        Self(Mutex::new(0))
    }
    fn ring(&self) {
        *self.0.lock().unwrap() += 1;
    }
    fn silence(&self) {
        *self.0.lock().unwrap() = 0;
    }
    fn is_readable(&self) -> bool {
        *self.0.lock().unwrap() > 0
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::mem::ring::{Entry, FrameRing};
    use crate::pool::sync::Arc;

    fn entry(frame: u32) -> Entry {
        Entry { frame, len: 60 }
    }

    fn send(ring: &FrameRing, bell: &Bell, frame: u32) {
        ring.push(entry(frame));
        bell.notify(|| ring.may_hold());
    }

    /// A receiver sleeps for each of two packets, which two senders bring. In the model no sleep ever times out: one ring
    /// too few is a deadlock, which it reports.
    #[test]
    fn nobody_sleeps_beside_a_packet() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let shared = Arc::new((FrameRing::new(2, 2), Bell::new()));
            let senders: Vec<_> = (0..2)
                .map(|frame| {
                    let shared = shared.clone();
                    loom::thread::spawn(move || send(&shared.0, &shared.1, frame))
                })
                .collect();
            let (ring, bell) = (&shared.0, &shared.1);
            let mut seen = 0;
            for _ in 0..2 {
                assert!(bell.wait(None, || !ring.is_empty()));
                seen += ring.pop().expect("it was ready").frame + 1;
            }
            assert_eq!(seen, 3);
            senders.into_iter().for_each(|sender| sender.join().unwrap());
        });
    }

    /// A receiver that polls the descriptor and takes until it finds nothing: whatever is left afterwards makes the
    /// descriptor readable.
    #[test]
    fn the_descriptor_does_not_forget_a_packet() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let shared = Arc::new((FrameRing::new(2, 2), Bell::new()));
            let (ring, bell) = (&shared.0, &shared.1);
            assert!(!bell.pair(|| !ring.is_empty()).is_readable());
            let theirs = shared.clone();
            let sender = loom::thread::spawn(move || {
                send(&theirs.0, &theirs.1, 0);
                send(&theirs.0, &theirs.1, 1);
            });
            let mut taken = 0;
            for _ in 0..2 {
                let found = ring.pop().or_else(|| bell.silence(|| ring.pop()));
                taken += u32::from(found.is_some());
            }
            sender.join().unwrap();
            let pair = bell.pair.get().expect("made above");
            assert!(taken == 2 || pair.is_readable(), "{taken} taken, the rest forgotten");
        });
    }
}
