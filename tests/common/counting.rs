//! An allocator that counts what each thread allocates. A test binary makes it its own by
//! `#[global_allocator] static ALLOCATOR: common::counting::Counting = common::counting::Counting;`
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting.
pub struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

/// How often the calling thread has allocated.
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// How many bytes the calling thread has allocated and nobody on it has freed.
#[allow(dead_code, reason = "most tests count allocations only")]
pub fn bytes() -> i64 {
    BYTES.with(Cell::get)
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        let _ = BYTES.try_with(|n| n.set(n.get() + layout.size() as i64));
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = BYTES.try_with(|n| n.set(n.get() - layout.size() as i64));
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(at, layout) }
    }
}
