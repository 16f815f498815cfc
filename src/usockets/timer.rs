//! Timers, as programs hold them.

use super::UsError;
use super::callback::Callback;
use super::core::{Core, TimerHandler};
use super::timers::TimerId;
use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// A timer of a loop. It keeps the loop running until it is closed, also when it does not count.
///
/// The one that was created owns the timer: dropped, it closes it. Those that callbacks are given do not.
pub struct Timer<T: 'static> {
    shared: Rc<Shared<T>>,
    owns: bool,
}

struct Shared<T: 'static> {
    core: Rc<Core>,
    id: TimerId,
    ext: RefCell<Option<T>>,
    callback: Callback<dyn FnMut(Timer<T>)>,
    /// Itself, for the callback.
    me: Weak<Shared<T>>,
}

impl<T> TimerHandler for Shared<T> {
    fn fire(&self) {
        if let Some(shared) = self.me.upgrade() {
            self.callback.call(|f| f(Timer { shared, owns: false }));
        }
    }

    fn forget(&self) {
        self.callback.set(None);
    }
}

impl<T> Timer<T> {
    pub(super) fn new(core: &Rc<Core>) -> Result<Self, UsError> {
        let id = core.open_timer()?;
        let shared = Rc::new_cyclic(|me| Shared {
            core: core.clone(),
            id,
            ext: RefCell::new(None),
            callback: Callback::new(),
            me: me.clone(),
        });
        Ok(Self { shared, owns: true })
    }

    /// Calls `callback` in `ms` milliseconds, and every `repeat_ms` from then on; 0 is not at all. With `ms` 0 the first time
    /// is after `repeat_ms`; with both 0 the timer is stopped. Negative times are as 0.
    ///
    /// # Errors
    ///
    /// [`TimerExtNull`](UsError::TimerExtNull) if the timer is closed, [`TimerLoopNull`](UsError::TimerLoopNull) if its loop
    /// has ended.
    pub fn set(&self, ms: i32, repeat_ms: i32, callback: impl FnMut(Timer<T>) + 'static) -> Result<(), UsError> {
        self.arm(ms, repeat_ms)?;
        self.shared.callback.set(Some(Box::new(callback)));
        Ok(())
    }

    /// Sets the times anew; the callback stays.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn reset(&self, ms: i32, repeat_ms: i32) -> Result<(), UsError> {
        self.arm(ms, repeat_ms)
    }

    fn arm(&self, ms: i32, repeat_ms: i32) -> Result<(), UsError> {
        let time = |ms: i32| u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        let (first, every) = (time(ms), time(repeat_ms));
        self.shared.core.set_timer(self.shared.id, first.or(every), every, Some(self.shared.clone()))
    }

    /// Closes the timer: its callback is not called any more, and dropped when it does not run.
    ///
    /// # Errors
    ///
    /// [`TimerExtNull`](UsError::TimerExtNull) if it was closed already.
    pub fn close(self) -> Result<(), UsError> {
        self.shut()
    }

    fn shut(&self) -> Result<(), UsError> {
        let open = self.shared.core.close_timer(self.shared.id);
        self.shared.callback.set(None);
        if open { Ok(()) } else { Err(UsError::TimerExtNull) }
    }

    /// Leaves the timer to the loop: it goes on until its callback closes it.
    pub fn detach(mut self) {
        self.owns = false;
    }

    /// Whether it is neither closed nor its loop at an end.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.shared.core.has_timer(self.shared.id)
    }

    /// Gives it user data; what it had is dropped, unless it is borrowed now: then this does nothing.
    pub fn set_ext(&self, ext: T) {
        let old = self.shared.ext.try_borrow_mut().map(|mut place| place.replace(ext));
        drop(old);
    }

    /// Its user data, if it was given any. `None` as well while it is borrowed mutably.
    #[must_use]
    pub fn ext(&self) -> Option<Ref<'_, T>> {
        Ref::filter_map(self.shared.ext.try_borrow().ok()?, Option::as_ref).ok()
    }

    /// Its user data, if it was given any. `None` as well while it is borrowed.
    #[must_use]
    pub fn ext_mut(&self) -> Option<RefMut<'_, T>> {
        RefMut::filter_map(self.shared.ext.try_borrow_mut().ok()?, Option::as_mut).ok()
    }
}

impl<T> Drop for Timer<T> {
    fn drop(&mut self) {
        if self.owns {
            // It may have been closed already.
            let _ = self.shut();
        }
    }
}

impl<T> fmt::Debug for Timer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("valid", &self.is_valid()).finish()
    }
}
