//! The parts that every contender shares (`raw_xsk.c`), for contenders in Rust: the source of packets, the XDP
//! programs at the far ends, the meter. Included by path: the peers stand outside the workspace.
#![allow(dead_code, unsafe_code, reason = "every contender uses a part of it; all of it is C")]

use std::ffi::{CString, c_char, c_int, c_void};

/// Packets per batch: `BATCH` of `raw_xsk.h`.
pub const BATCH: usize = 64;
/// Rounds of a batch that are moved before measuring begins.
pub const WARM_UP: usize = 256;
/// Slots of each ring.
pub const RING: u32 = 2048;
/// Frames of a UMEM.
pub const FRAMES: u32 = 4096;
/// Bytes of a frame.
pub const FRAME_SIZE: u32 = 2048;

unsafe extern "C" {
    fn source_open(ifname: *const c_char, len: u32) -> *mut c_void;
    fn source_burst(source: *mut c_void, n: u32);
    fn frame_template(frame: *mut u8, len: u32);
    fn guard_drop(ifname: *const c_char);
    fn guard_redirect(ifname: *const c_char) -> c_int;
    fn guard_add(map: c_int, queue: u32, xsk: c_int);
    fn meter_start(rounds: u64) -> *mut c_void;
    fn meter_part(meter: *mut c_void);
    fn meter_part_end(meter: *mut c_void);
    fn meter_end(meter: *mut c_void, packets: u64);
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("an interface's name has no NUL byte")
}

/// The common transmitter. The C side ends the process if anything fails.
pub struct Source(*mut c_void);

impl Source {
    pub fn open(interface: &str, len: usize) -> Self {
        // SAFETY: the string lives through the call.
        Self(unsafe { source_open(c_string(interface).as_ptr(), len as u32) })
    }

    /// Sends one batch and returns when it has left (on a veth pair: arrived).
    pub fn burst(&mut self) {
        // SAFETY: the pointer is `source_open`'s; `&mut` keeps to one thread.
        unsafe { source_burst(self.0, BATCH as u32) }
    }
}

/// The frame that everybody sends.
pub fn template(len: usize) -> Vec<u8> {
    let mut frame = vec![0; len.max(14)];
    // SAFETY: the frame has room for `len` bytes and for the header.
    unsafe { frame_template(frame.as_mut_ptr(), len as u32) };
    frame
}

/// Drops everything that arrives at `interface`, in its driver, until the process ends.
pub fn drop_all(interface: &str) {
    // SAFETY: the string lives through the call.
    unsafe { guard_drop(c_string(interface).as_ptr()) }
}

/// Redirects queue 0 of `interface` to the socket `xsk` until the process ends.
pub fn redirect(interface: &str, xsk: c_int) {
    // SAFETY: the string lives through the call; descriptors are checked by the kernel.
    unsafe { guard_add(guard_redirect(c_string(interface).as_ptr()), 0, xsk) }
}

/// Runs `round` often enough to move `packets`, after some to warm up, and prints what it cost. A round
/// gets a [`Part`] to mark what it wants to be timed apart, and returns how many packets it moved: a batch, or it is an
/// error.
pub fn measure(packets: u64, mut round: impl FnMut(&mut Part) -> usize) {
    let rounds = packets / BATCH as u64;
    let mut check = |part: &mut Part| {
        let got = round(part);
        if got != BATCH {
            eprintln!("{got} of {BATCH} packets arrived");
            std::process::exit(1);
        }
    };
    // SAFETY: the pointer is used by this thread alone and given up at `meter_end`.
    unsafe {
        let mut warm = Part(meter_start(0));
        for _ in 0..WARM_UP {
            check(&mut warm);
        }
        let mut part = Part(meter_start(rounds));
        for _ in 0..rounds {
            check(&mut part);
        }
        meter_end(part.0, rounds * BATCH as u64);
    }
}

/// A stretch of a round that is timed apart.
pub struct Part(*mut c_void);

impl Part {
    #[inline]
    pub fn time<R>(&mut self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the pointer is `meter_start`'s and lives as long as `measure` runs.
        unsafe { meter_part(self.0) };
        let result = f();
        // SAFETY: as above.
        unsafe { meter_part_end(self.0) };
        result
    }
}

/// What the command line of every contender says: `MODE PORT… [--size N] [--packets N]`.
pub struct Args {
    pub mode: String,
    pub ports: Vec<String>,
    pub size: usize,
    pub packets: u64,
}

impl Args {
    pub fn parse() -> Self {
        let mut all = Self { mode: String::new(), ports: Vec::new(), size: 60, packets: 100_000 };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number =
                || args.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{arg} needs a number"));
            match arg.as_str() {
                "--size" => all.size = number() as usize,
                "--packets" => all.packets = number(),
                _ if all.mode.is_empty() => all.mode = arg,
                _ => all.ports.push(arg),
            }
        }
        all
    }
}
