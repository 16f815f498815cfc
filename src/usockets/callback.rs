//! Callbacks: set at any time, also from within themselves, and never entered twice.

use std::cell::{Cell, RefCell};

/// A place for one callback.
pub(super) struct Callback<F: ?Sized> {
    current: RefCell<Option<Box<F>>>,
    /// What was set while the current one was running: takes its place when it returns.
    next: Cell<Option<Option<Box<F>>>>,
}

impl<F: ?Sized> Callback<F> {
    pub(super) const fn new() -> Self {
        Self { current: RefCell::new(None), next: Cell::new(None) }
    }

    /// Sets it; the one before is dropped, once it does not run any more.
    pub(super) fn set(&self, callback: Option<Box<F>>) {
        // What is dropped may set callbacks again: nothing is borrowed then.
        let old = match self.current.try_borrow_mut() {
            Ok(mut current) => std::mem::replace(&mut *current, callback),
            Err(_) => self.next.replace(Some(callback)).flatten(),
        };
        drop(old);
    }

    /// Whether it is running.
    pub(super) fn is_running(&self) -> bool {
        self.current.try_borrow_mut().is_err()
    }

    /// Calls it. `None` if there is none, or it is running.
    #[inline]
    pub(super) fn call<R>(&self, call: impl FnOnce(&mut F) -> R) -> Option<R> {
        let mut current = self.current.try_borrow_mut().ok()?;
        let result = current.as_deref_mut().map(call);
        let old = self.next.take().map(|next| std::mem::replace(&mut *current, next));
        drop(current);
        drop(old);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::Callback;
    use std::rc::Rc;

    #[test]
    fn one_that_is_set_while_it_runs_comes_after() {
        let callback: Rc<Callback<dyn FnMut() -> u32>> = Rc::new(Callback::new());
        assert_eq!(callback.call(|f| f()), None);
        let held = callback.clone();
        callback.set(Some(Box::new(move || {
            assert!(held.is_running());
            assert_eq!(held.call(|f| f()), None, "it is not entered twice");
            held.set(Some(Box::new(|| 2)));
            1
        })));
        assert_eq!(callback.call(|f| f()), Some(1));
        assert_eq!(callback.call(|f| f()), Some(2));
        assert!(!callback.is_running());
        callback.set(None);
        assert_eq!(callback.call(|f| f()), None);
        assert_eq!(Rc::strong_count(&callback), 1, "what it held is dropped");
    }
}
