//! The rings against a double of the kernel: the same memory layout, the other side played by the test.
#![allow(unsafe_code)]

use super::*;
use std::cell::UnsafeCell;
use std::sync::Arc;

/// A ring's memory without a kernel. Slots are wide enough for any ring's.
#[derive(Debug)]
pub(super) struct Double {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    slots: Box<[UnsafeCell<u64>]>,
}

// SAFETY: slots are handed over by the two cursors, which is what these tests check

unsafe impl Sync for Double {}
// SAFETY: plain memory.
unsafe impl Send for Double {}

impl Double {
    fn new(size: u32, start: u32) -> Arc<Self> {
        Arc::new(Self {
            producer: AtomicU32::new(start),
            consumer: AtomicU32::new(start),
            flags: AtomicU32::new(0),
            slots: (0..size).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn ring(self: &Arc<Self>) -> Ring<u64> {
        Ring {
            producer: NonNull::from(&self.producer),
            consumer: NonNull::from(&self.consumer),
            flags: NonNull::from(&self.flags),
            slots: NonNull::new(self.slots.as_ptr().cast_mut().cast()).unwrap(),
            mask: self.slots.len() as u32 - 1,
            _keep: Keep::Double(self.clone()),
            _slots: PhantomData,
        }
    }

    /// The kernel writes a slot, if there is room.
    fn produce(&self, value: u64) -> bool {
        let (p, c) = (self.producer.load(Ordering::Relaxed), self.consumer.load(Ordering::Acquire));
        if p.wrapping_sub(c) as usize == self.slots.len() {
            return false;
        }
        // SAFETY: the consumer has given the slot back, or it was never used.
        unsafe { *self.slots[p as usize & (self.slots.len() - 1)].get() = value };
        self.producer.store(p.wrapping_add(1), Ordering::Release);
        true
    }

    /// The kernel reads a slot, if there is one.
    fn consume(&self) -> Option<u64> {
        let (p, c) = (self.producer.load(Ordering::Acquire), self.consumer.load(Ordering::Relaxed));
        if p == c {
            return None;
        }
        // SAFETY: the producer has published the slot.
        let value = unsafe { *self.slots[c as usize & (self.slots.len() - 1)].get() };
        self.consumer.store(c.wrapping_add(1), Ordering::Release);
        Some(value)
    }
}

/// Cursors are 32 bits wide and wrap; a start shortly before that takes every test across.
const NEAR_WRAP: u32 = u32::MAX - 5;

#[test]
fn producer_stops_when_full_and_goes_on_when_read() {
    for start in [0, NEAR_WRAP] {
        let kernel = Double::new(4, start);
        let tx = Producer::over(kernel.ring());
        for n in 0..4 {
            assert!(tx.push(n), "slot {n}");
        }
        assert!(!tx.push(4));
        assert_eq!((tx.room(), tx.refresh(), tx.unread()), (0, 0, 4));
        assert_eq!(kernel.consume(), None, "not published yet");
        tx.publish();
        assert_eq!(kernel.consume(), Some(0));
        assert!(!tx.push(4), "known room only grows by refresh");
        assert!(tx.has_room(1) && !tx.has_room(2));
        assert!(tx.push(4));
        tx.publish();
        let rest: Vec<u64> = std::iter::from_fn(|| kernel.consume()).collect();
        assert_eq!(rest, [1, 2, 3, 4]);
        assert_eq!(tx.unread(), 0);
    }
}

#[test]
fn consumer_gives_slots_back_only_when_published() {
    for start in [0, NEAR_WRAP] {
        let kernel = Double::new(4, start);
        let rx = Consumer::over(kernel.ring());
        assert_eq!((rx.available(), rx.pop()), (0, None));
        for n in 10..14 {
            assert!(kernel.produce(n));
        }
        assert!(!kernel.produce(14), "full");
        assert_eq!(rx.pop(), None, "nothing is known without asking");
        assert_eq!(rx.available(), 4);
        assert_eq!((rx.pop(), rx.pop()), (Some(10), Some(11)));
        assert!(!kernel.produce(14), "read, but not given back");
        rx.publish();
        assert!(kernel.produce(14) && kernel.produce(15) && !kernel.produce(16));
        assert_eq!(rx.available(), 2, "the old view lasts until it is used up");
        assert_eq!(rx.refresh(), 4);
        let rest: Vec<u64> = std::iter::from_fn(|| rx.pop()).collect();
        assert_eq!(rest, [12, 13, 14, 15]);
    }
}

#[test]
fn runs_go_round_the_end_of_the_ring() {
    for start in [0, 3, NEAR_WRAP] {
        let kernel = Double::new(8, start);
        let tx = Producer::over(kernel.ring());
        let mut next = 0;
        let mut write = |max: usize, most: usize| {
            tx.write_runs(max, |run| {
                let n = run.len().min(most);
                for place in &mut run[..n] {
                    place.write(next);
                    next += 1;
                }
                n
            })
        };
        assert_eq!(write(5, 100), 5);
        assert_eq!(write(100, 100), 3, "no more than there is room for");
        assert_eq!(write(100, 100), 0);
        tx.publish();
        for n in 0..8 {
            assert_eq!(kernel.consume(), Some(n));
        }
        assert_eq!(tx.refresh(), 8);
        assert_eq!(write(8, 1), 1, "ends when less was written than could have been");
        assert_eq!(tx.unread(), 1);

        let kernel = Double::new(8, start);
        let rx = Consumer::over(kernel.ring());
        for n in 0..8 {
            assert!(kernel.produce(n));
        }
        assert_eq!(rx.pop_while(100, |_| true), 0, "nothing is known without asking");
        assert_eq!((rx.refresh(), rx.known()), (8, 8));
        let mut seen = Vec::new();
        let mut take = |max: usize, stop: u64| {
            rx.pop_while(max, |value| {
                if value != stop {
                    seen.push(value);
                }
                value != stop
            })
        };
        assert_eq!(take(3, 100), 3);
        assert_eq!(take(100, 6), 3, "what is refused is not taken");
        assert_eq!(take(100, 100), 2);
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
        rx.publish();
        assert!(kernel.produce(8));
    }
}

#[test]
fn wakeup_flag_is_the_kernels() {
    let kernel = Double::new(2, 0);
    let tx = Producer::over(kernel.ring());
    assert!(!tx.needs_wakeup());
    kernel.flags.store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    assert!(tx.needs_wakeup());
}

#[test]
fn a_layout_outside_its_mapping_is_refused() {
    use std::os::fd::AsFd;
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    // Any readable file will do as memory that is never touched; it cannot be mapped writable and shared.
    assert!(Mapping::new(file.as_fd(), 4096, 0).is_err());
}

/// Two real threads, many times round a small ring, in batches of changing size.
#[test]
fn two_threads_lose_and_invent_nothing() {
    const N: u64 = 200_000;
    let (to, from) = (Double::new(64, NEAR_WRAP), Double::new(64, NEAR_WRAP));
    let (tx, rx) = (Producer::over(to.ring()), Consumer::over(from.ring()));
    // The kernel: reads what we send and sends it back.
    let kernel = std::thread::spawn(move || {
        let mut done = 0;
        while done < N {
            if let Some(value) = to.consume() {
                while !from.produce(value) {
                    std::thread::yield_now();
                }
                done += 1;
            } else {
                std::thread::yield_now();
            }
        }
    });
    let (mut sent, mut got) = (0, 0);
    while got < N {
        let batch = u32::try_from(sent % 31 + 1).unwrap();
        if tx.has_room(batch) {
            for _ in 0..batch {
                if sent < N {
                    assert!(tx.push(sent));
                    sent += 1;
                }
            }
            tx.publish();
        }
        for _ in 0..rx.available().min(17) {
            assert_eq!(rx.pop(), Some(got));
            got += 1;
        }
        rx.publish();
        std::thread::yield_now();
    }
    kernel.join().unwrap();
    assert_eq!((tx.unread(), rx.available()), (0, 0));
}
