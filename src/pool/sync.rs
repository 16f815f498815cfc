//! What threads share: `std` in a build, `loom` in a model (`RUSTFLAGS="--cfg loom"`).

#[cfg(not(loom))]
mod real {
    pub(crate) use crossbeam_queue::ArrayQueue as FrameQueue;
    #[cfg(feature = "net")]
    pub(crate) use std::sync::atomic::AtomicU8;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use std::sync::{Arc, Condvar, Mutex};
}

#[cfg(loom)]
mod real {
    #[cfg(feature = "net")]
    pub(crate) use loom::sync::atomic::AtomicU8;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex};

    /// The model checks our use of the queue, not the queue: that is crossbeam's own business.
    pub(crate) struct FrameQueue<T> {
        items: Mutex<std::collections::VecDeque<T>>,
        capacity: usize,
    }

    impl<T> FrameQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { items: Mutex::new(std::collections::VecDeque::new()), capacity }
        }
        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }
        pub(crate) fn pop(&self) -> Option<T> {
            self.items.lock().unwrap().pop_front()
        }
        pub(crate) fn len(&self) -> usize {
            self.items.lock().unwrap().len()
        }
    }
}

pub(crate) use real::*;
