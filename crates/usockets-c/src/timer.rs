//! `us_timer_t`.
#![allow(unsafe_code)]

use crate::event_loop::us_loop_t;
use crate::memory::{self, Head, Kind, Object, look};
use nethuns_rs::usockets::Timer;
use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

/// What a timer calls.
type OnTimer = Option<unsafe extern "C" fn(*mut us_timer_t)>;

/// `us_timer_t`
#[repr(C, align(16))]
pub(crate) struct us_timer_t {
    head: Head,
    of: *mut us_loop_t,
    timer: Timer<()>,
    callback: Cell<OnTimer>,
    /// Whether it has been told what to call in Rust.
    begun: Cell<bool>,
    /// Whether it lets the loop end.
    fallthrough: bool,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_timer_t {
    const KIND: Kind = Kind::Timer;
}

/// A timer, stopped. Unless it falls through it keeps the loop running until it is closed. Null if there is no loop.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_create_timer(loop_: *mut us_loop_t, fallthrough: c_int, ext_size: c_uint) -> *mut us_timer_t {
    // SAFETY: null or a loop, as the header asks for.
    let Some(it) = (unsafe { look(loop_) }) else { return ptr::null_mut() };
    let Some(Ok(timer)) = it.with(|of| of.create_timer::<()>()) else { return ptr::null_mut() };
    let fallthrough = fallthrough != 0;
    if !fallthrough {
        it.keep();
    }
    memory::make(ext_size, |head| us_timer_t {
        head,
        of: loop_,
        timer,
        callback: Cell::new(None),
        begun: Cell::new(false),
        fallthrough,
    })
}

/// The timer's extension.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_timer_ext(timer: *mut us_timer_t) -> *mut c_void {
    // SAFETY: null or a timer, as the header asks for.
    if unsafe { look(timer) }.is_none() {
        return ptr::null_mut();
    }
    // SAFETY: it is there.
    unsafe { memory::ext(timer) }
}

/// Stops the timer and frees it at once; also from within its callback.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_timer_close(timer: *mut us_timer_t) {
    // SAFETY: null or a timer, as the header asks for.
    let Some(it) = (unsafe { look(timer) }) else { return };
    if !it.fallthrough {
        // SAFETY: a timer is closed before its loop is freed.
        if let Some(of) = unsafe { look(it.of) } {
            of.let_go();
        }
    }
    // SAFETY: the program's last use of it. The closure that calls back may still run, and does not look at it any more.
    unsafe { memory::free(timer) };
}

/// Calls `callback` in `ms` milliseconds, and every `repeat_ms` after that if it is not 0. With `ms` 0 the timer is stopped.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_timer_set(timer: *mut us_timer_t, callback: OnTimer, ms: c_int, repeat_ms: c_int) {
    // SAFETY: null or a timer, as the header asks for.
    let Some(it) = (unsafe { look(timer) }) else { return };
    it.callback.set(callback);
    // Upstream's timers stop at 0, whatever the period (timerfd_settime(2): it_value 0 disarms).
    let repeat_ms = if ms <= 0 { 0 } else { repeat_ms };
    // Both fail only when the loop has ended.
    let _ = if it.begun.replace(true) {
        it.timer.reset(ms, repeat_ms)
    } else {
        it.timer.set(ms, repeat_ms, move |_| {
            // SAFETY: a closed timer calls no more, and one that is not is there.
            let Some(callback) = (unsafe { look(timer) }).and_then(|it| it.callback.get()) else { return };
            // SAFETY: a callback of the program, called as the header says. It may free the timer.
            unsafe { callback(timer) };
        })
    };
}

/// The timer's loop.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_timer_loop(timer: *mut us_timer_t) -> *mut us_loop_t {
    // SAFETY: null or a timer, as the header asks for.
    unsafe { look(timer) }.map_or(ptr::null_mut(), |it| it.of)
}
