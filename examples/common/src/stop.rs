//! Ending a run: a signal, and what follows from it.

use crate::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says that it is time to end. Clones say the same.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    now: AtomicBool,
    when_idle: AtomicBool,
}

impl Stop {
    /// Set by ctrl-C, SIGTERM and SIGHUP: the run ends, drains and prints its summary. A second signal ends the process
    /// at once, with status 130.
    ///
    /// # Errors
    ///
    /// If no handler can be installed.
    pub fn on_signal() -> Result<Self, Failure> {
        let stop = Self::default();
        let handle = stop.clone();
        ctrlc::set_handler(move || {
            if handle.0.now.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        })
        .map_err(|e| Failure::new(format!("ctrl-C cannot be caught: {e}")))?;
        Ok(stop)
    }

    /// Whether it is time.
    #[inline]
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.now.load(Ordering::Relaxed)
    }

    /// It is time.
    pub fn request(&self) {
        self.0.now.store(true, Ordering::Relaxed);
    }

    /// It is time as soon as nothing is left to receive.
    pub fn when_idle(&self) {
        self.0.when_idle.store(true, Ordering::Release);
    }

    /// Whether whoever finds nothing to receive should end. Ask before looking: what was sent before
    /// [`when_idle`](Self::when_idle) is then seen.
    #[inline]
    #[must_use]
    pub fn if_idle(&self) -> bool {
        self.0.when_idle.load(Ordering::Acquire)
    }
}
