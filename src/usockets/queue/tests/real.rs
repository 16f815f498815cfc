use super::super::{Shared, Wake, this_thread};
use crate::usockets::error::UsError;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Counts how often it is rung.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Queue = Shared<u32, Bell>;

fn rung(shared: &Queue) -> usize {
    shared.waker.0.load(Ordering::Relaxed)
}

fn taken(shared: &Queue) -> Vec<u32> {
    let mut batch = Vec::new();
    shared.take(&mut batch).unwrap();
    batch
}

#[test]
fn only_the_first_wakes() {
    let shared = Queue::new(Bell::default());
    assert!(!shared.has_work());
    (0..100).for_each(|n| shared.push(n).unwrap());
    assert_eq!((rung(&shared), shared.has_work()), (1, true));
    assert_eq!(taken(&shared), (0..100).collect::<Vec<_>>());
    assert!(!shared.has_work() && taken(&shared).is_empty());
    shared.push(0).unwrap();
    assert_eq!(rung(&shared), 2);
    shared.wake();
    assert_eq!(rung(&shared), 3);
}

#[test]
fn the_loops_own_thread_leaves_work_and_wakes_nobody() {
    let shared = Arc::new(Queue::new(Bell::default()));
    assert!(!shared.is_on_thread() && !shared.is_running() && shared.is_valid());
    shared.enter();
    assert!(shared.is_on_thread() && shared.is_running());
    shared.push(1).unwrap();
    assert_eq!((rung(&shared), shared.has_work()), (0, true));
    taken(&shared);
    let other = shared.clone();
    std::thread::spawn(move || {
        assert!(!other.is_on_thread() && other.is_running());
        other.push(2).unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(rung(&shared), 1);
    shared.leave();
    assert!(!shared.is_on_thread() && !shared.is_running() && shared.is_valid());
}

#[test]
fn after_the_end_nothing_is_taken_and_what_was_queued_is_dropped() {
    /// Defers once more when it is dropped: under the lock this would hang.
    struct Farewell(Arc<Shared<Option<Farewell>, Bell>>, Arc<AtomicUsize>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            assert_eq!(self.0.push(None), Err(UsError::LoopNotRunning));
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let shared = Arc::new(Shared::new(Bell::default()));
    let dropped = Arc::new(AtomicUsize::new(0));
    let farewell = || Some(Farewell(shared.clone(), dropped.clone()));
    shared.push(farewell()).unwrap();
    shared.push(farewell()).unwrap();
    shared.end();
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    assert_eq!(shared.push(farewell()), Err(UsError::LoopNotRunning));
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    assert!(!shared.is_valid() && !shared.is_running());
    let mut batch = Vec::new();
    shared.take(&mut batch).unwrap();
    assert!(batch.is_empty());
    shared.end();
}

#[test]
fn a_poisoned_lock_is_told() {
    let shared = Queue::new(Bell::default());
    shared.push(1).unwrap();
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let _guard = shared.queue.lock().unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let failed = |result| matches!(result, Err(UsError::MutexLockFailed { .. }));
    assert!(failed(shared.push(2)));
    assert!(failed(shared.take(&mut Vec::new())));
    shared.end();
    assert!(!shared.is_valid());
}

#[test]
fn both_queues_keep_their_memory() {
    let shared = Queue::new(Bell::default());
    let mut batch = Vec::new();
    let mut turn = || {
        (0..100).for_each(|n| shared.push(n).unwrap());
        shared.take(&mut batch).unwrap();
        assert_eq!(batch.drain(..).count(), 100);
    };
    (0..2).for_each(|_| turn());
    let before = crate::counting::allocations();
    (0..100).for_each(|_| turn());
    assert_eq!(crate::counting::allocations(), before);
}

#[test]
fn threads_have_numbers_of_their_own() {
    let mine = this_thread();
    assert!(mine != 0 && mine == this_thread());
    let mut all: Vec<_> = (0..8).map(|_| std::thread::spawn(this_thread).join().unwrap()).collect();
    all.push(mine);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 9);
}

/// Many threads and a loop on a real network: nothing is lost, doubled, out of order or slept through.
#[test]
fn threads_and_a_loop_that_sleeps() {
    const THREADS: usize = 4;
    const EACH: u32 = 5000;
    let mut net = crate::net::Net::kernel().unwrap();
    let shared = Arc::new(Shared::<(usize, u32), _>::new(net.waker()));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    shared.push((thread, n)).unwrap();
                    if n % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    shared.enter();
    let (mut next, mut batch) = ([0; THREADS], Vec::new());
    while next != [EACH; THREADS] {
        if !shared.has_work() {
            let start = Instant::now();
            net.poll(Some(Duration::from_secs(20))).unwrap();
            assert!(start.elapsed() < Duration::from_secs(20), "slept through");
        }
        shared.take(&mut batch).unwrap();
        for (thread, n) in batch.drain(..) {
            assert_eq!(n, next[thread]);
            next[thread] += 1;
        }
    }
    shared.leave();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(!shared.has_work());
}
