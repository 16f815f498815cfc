//! `us_poll_t`, as which programs look at sockets: to pause and to resume them.
#![allow(unsafe_code)]

use crate::event_loop::us_loop_t;
use crate::memory::{self, look};
use crate::socket::us_socket_t;
use std::ffi::{c_int, c_void};
use std::ptr;

/// What is polled for.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_events(p: *mut us_socket_t) -> c_int {
    // SAFETY: null or a socket, as the header asks for.
    unsafe { look(p) }.map_or(0, |it| it.events.get())
}

/// Polls for these events from now on. Without `LIBUS_SOCKET_READABLE` a socket is paused.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_change(p: *mut us_socket_t, _loop: *mut us_loop_t, events: c_int) {
    // SAFETY: null or a socket, as the header asks for.
    if let Some(it) = unsafe { look(p) } {
        it.change(p, events);
    }
}

/// Polls for nothing any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_stop(p: *mut us_socket_t, loop_: *mut us_loop_t) {
    // SAFETY: as the caller promises.
    unsafe { us_poll_change(p, loop_, 0) };
}

/// The extension.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_ext(p: *mut us_socket_t) -> *mut c_void {
    // SAFETY: null or a socket, as the header asks for.
    if unsafe { look(p) }.is_none() {
        return ptr::null_mut();
    }
    // SAFETY: it is there.
    unsafe { memory::ext(p) }
}
