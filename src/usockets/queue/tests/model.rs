//! Every interleaving of a loop and those who defer to it.

use super::super::{Shared, Wake};
use crate::usockets::error::UsError;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};

/// A bell that keeps ringing until somebody wakes up from it.
struct Bell {
    rings: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn new() -> Self {
        Self { rings: Mutex::new(false), heard: Condvar::new() }
    }

    /// Without end: a callback that is slept through is a deadlock, which the model reports.
    fn sleep(&self) {
        let mut rings = self.rings.lock().unwrap();
        while !*rings {
            rings = self.heard.wait(rings).unwrap();
        }
        *rings = false;
    }
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rings.lock().unwrap() = true;
        self.heard.notify_one();
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Two threads defer, one of them twice, and each callback of the first makes the loop defer another: all are run once, those
/// of one thread in their order, and never in the turn in which they were deferred.
#[test]
fn nothing_is_slept_through() {
    check(|| {
        let shared = Arc::new(Shared::<u32, Bell>::new(Bell::new()));
        let threads = [&[1, 2][..], &[3][..]].map(|numbers| {
            let shared = shared.clone();
            loom::thread::spawn(move || numbers.iter().for_each(|n| shared.push(*n).unwrap()))
        });
        shared.enter();
        let (mut seen, mut batch) = (Vec::new(), Vec::new());
        while seen.len() < 5 {
            if !shared.has_work() {
                shared.waker.sleep();
            }
            shared.take(&mut batch).unwrap();
            for number in batch.drain(..) {
                if number < 3 {
                    shared.push(number + 10).unwrap();
                }
                seen.push(number);
            }
        }
        let at = |number| seen.iter().position(|n| *n == number).unwrap();
        assert!(at(1) < at(2) && at(1) < at(11) && at(2) < at(12) && at(11) < at(12), "{seen:?}");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!shared.has_work());
    });
}

/// Counts itself when it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A loop takes once and ends, while others defer: what was accepted was taken, or is dropped by the end.
#[test]
fn nothing_is_kept_by_a_loop_that_ends() {
    check(|| {
        let shared = Arc::new(Shared::<Counted, Bell>::new(Bell::new()));
        let dropped = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1].map(|_| {
            let (shared, dropped) = (shared.clone(), dropped.clone());
            loom::thread::spawn(move || {
                let accepted = shared.push(Counted(dropped));
                assert!(matches!(accepted, Ok(()) | Err(UsError::LoopNotRunning)));
            })
        });
        let mut batch = Vec::new();
        shared.take(&mut batch).unwrap();
        shared.end();
        assert!(shared.push(Counted(dropped.clone())).is_err() && !shared.is_valid());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(dropped.load(Ordering::Relaxed) + batch.len(), 3);
    });
}
