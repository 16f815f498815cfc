//! What DPDK says while something is set up: kept, so that an error can quote it.
//!
//! DPDK reports a failure as a bare `errno` and explains it in its log. The log goes through a stream of ours: while a
//! step of ours runs its lines are kept and end up in the error, at any other time they go to standard error as usual.
#![allow(unsafe_code)]

use dpdk_sys as sys;
use std::ffi::{c_char, c_void};
use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

struct Kept {
    on: bool,
    /// Lines go to standard error as well: the user asked for a log level of his own.
    tee: bool,
    text: Vec<u8>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { on: false, tee: false, text: Vec::new() });
static STREAM: Once = Once::new();
/// More than this DPDK does not say in a step that fails; what it says in one that succeeds nobody reads.
const MOST: usize = 64 << 10;

/// Where the stream writes to.
unsafe extern "C" fn write(_cookie: *mut c_void, from: *const c_char, len: usize) -> sys::__ssize_t {
    // SAFETY: stdio calls this with a buffer of `len` bytes of its own.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len) };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.on && kept.text.len() + len <= MOST {
        kept.text.extend_from_slice(bytes);
    }
    if !kept.on || kept.tee {
        let _ = std::io::stderr().write_all(bytes);
    }
    len as sys::__ssize_t
}

/// Puts the stream in place. Once, before EAL starts.
pub(super) fn install(tee: bool) {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).tee = tee;
    STREAM.call_once(|| {
        let calls = sys::cookie_io_functions_t { read: None, write: Some(write), seek: None, close: None };
        // SAFETY: the mode is a C string, the functions live as long as the program; the stream is never closed, so
        // DPDK may write to it from any thread at any time.
        unsafe {
            let stream = sys::fopencookie(std::ptr::null_mut(), c"w".as_ptr(), calls);
            if !stream.is_null() {
                sys::rte_openlog_stream(stream);
            }
        }
    });
}

/// Runs a step and returns what DPDK logged meanwhile, in one line. Steps are taken one at a time (see
/// [`port`](super::port)).
pub(super) fn quietly<T>(step: impl FnOnce() -> T) -> (T, String) {
    {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.on = true;
        kept.text.clear();
    }
    let result = step();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.on = false;
    let said = digest(&String::from_utf8_lossy(&kept.text));
    kept.text.clear();
    (result, said)
}

/// The last lines that say something, without repetition.
fn digest(log: &str) -> String {
    const LINES: usize = 4;
    let chatter = [
        "Detected ",
        "Multi-process socket",
        "Selected IOVA",
        "VFIO support",
        "Static memory layout",
        "Failed to register mp action callback",
        "Driver cannot attach the device",
        "Failed to attach device on primary process",
    ];
    let mut lines: Vec<&str> = Vec::new();
    for line in log.lines().map(str::trim) {
        if !line.is_empty() && !chatter.iter().any(|word| line.contains(word)) && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_digest_is_short_and_leaves_chatter_out() {
        assert_eq!(digest(""), "");
        assert_eq!(digest("EAL: Detected CPU lcores: 2\nEAL: no\nEAL: no\n\n"), "EAL: no");
        assert_eq!(digest("a\nb\nc\nd\ne\n"), "b; c; d; e");
    }
}
