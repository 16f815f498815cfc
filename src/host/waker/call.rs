//! The word between a host that may sleep and those that call it.
//!
//! ```text
//!   host                                       callers
//!   lie_down: AWAKE ─▶ ASLEEP                  make: anything ─▶ CALLED, and ring if it was ASLEEP
//!     fails if it was CALLED: no sleep
//!   sleeps until it rings
//!   get_up:   ASLEEP ─▶ AWAKE, or still CALLED
//!   take:     CALLED ─▶ AWAKE
//! ```
//!
//! No call is lost: before `lie_down` it prevents the sleep, after it it rings. The models below run every interleaving.

use crate::pool::sync::{AtomicU8, Ordering};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const CALLED: u8 = 2;

#[derive(Debug)]
pub(super) struct Call(AtomicU8);

impl Call {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// For callers. Returns whether the host sleeps and must be rung for; only one of several callers is told so.
    pub(super) fn make(&self) -> bool {
        // Release: what the caller did before is seen by the host when it finds the call.
        self.0.swap(CALLED, Ordering::AcqRel) == ASLEEP
    }

    /// For the host: whether somebody has called since it asked last.
    #[inline]
    pub(super) fn take(&self) -> bool {
        // The look without a write is what a host that polls busily pays for.
        self.0.load(Ordering::Relaxed) == CALLED && self.0.swap(AWAKE, Ordering::AcqRel) == CALLED
    }

    /// For the host: announces a sleep. False if somebody has called.
    pub(super) fn lie_down(&self) -> bool {
        self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// For the host, after a sleep. A call that came meanwhile stays.
    pub(super) fn get_up(&self) {
        let _ = self.0.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::Call;
    use crate::pool::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

    /// The word, a bell that keeps ringing until it is silenced, and work that callers leave.
    struct Desk {
        call: Call,
        bell: (Mutex<bool>, Condvar),
        work: AtomicU64,
    }

    impl Desk {
        fn new() -> Arc<Self> {
            Arc::new(Self { call: Call::new(), bell: (Mutex::new(false), Condvar::new()), work: AtomicU64::new(0) })
        }

        fn call(&self) {
            self.work.fetch_add(1, Ordering::Relaxed);
            if self.call.make() {
                *self.bell.0.lock().unwrap() = true;
                self.bell.1.notify_one();
            }
        }

        /// A sleep without end: if nobody rings the model deadlocks, and says so.
        fn sleep(&self) {
            if self.call.lie_down() {
                let mut rings = self.bell.0.lock().unwrap();
                while !*rings {
                    rings = self.bell.1.wait(rings).unwrap();
                }
                *rings = false;
                drop(rings);
                self.call.get_up();
            }
        }
    }

    /// Two callers leave work; the host sleeps whenever it finds no call, and gets all of it.
    #[test]
    fn no_call_is_lost() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let desk = Desk::new();
            let callers: Vec<_> = (0..2)
                .map(|_| {
                    let desk = desk.clone();
                    loom::thread::spawn(move || desk.call())
                })
                .collect();
            let mut seen = 0;
            while seen < 2 {
                if desk.call.take() {
                    seen = desk.work.load(Ordering::Relaxed);
                } else {
                    desk.sleep();
                }
            }
            callers.into_iter().for_each(|caller| caller.join().unwrap());
        });
    }
}
