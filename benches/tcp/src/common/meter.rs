//! What a stretch of a program costs: CPU time of this thread, time that passed, allocations.
#![allow(unsafe_code, reason = "clock_gettime")]

use super::heap;

/// Sums over stretches.
#[derive(Default)]
pub struct Meter {
    cpu_ns: u64,
    wall_ns: u64,
    allocations: u64,
}

impl Meter {
    /// Calls `f` and adds up what it cost.
    pub fn time<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let before = heap::allocations();
        let (wall, cpu) = (now(libc::CLOCK_MONOTONIC), now(libc::CLOCK_THREAD_CPUTIME_ID));
        let result = f();
        self.cpu_ns += now(libc::CLOCK_THREAD_CPUTIME_ID) - cpu;
        self.wall_ns += now(libc::CLOCK_MONOTONIC) - wall;
        self.allocations += heap::allocations() - before;
        result
    }

    /// Prints the line that the harness reads. `bytes` is the heap that one open connection takes.
    pub fn print(&self, packets: u64, bytes: f64) {
        println!(
            "{{\"packets\":{packets},\"cpu_ns\":{},\"wall_ns\":{},\"allocations\":{},\"bytes\":{bytes:.1}}}",
            self.cpu_ns, self.wall_ns, self.allocations
        );
    }
}

fn now(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is this frame's.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
