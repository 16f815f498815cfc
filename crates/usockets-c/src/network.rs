//! Which network loops are on: `NETHUNS_NET`, or what the program says.
#![allow(unsafe_code)]

use crate::event_loop::us_loop_t;
use crate::memory::{look, text};
use nethuns_rs::net::Builder;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

/// What the program has said about loops to come; `None` leaves it to the environment.
static CONFIGURED: Mutex<Option<String>> = Mutex::new(None);

/// Hints that were given out, by their address.
static HINTS: Mutex<BTreeMap<usize, &'static CStr>> = Mutex::new(BTreeMap::new());

/// The network of a loop that is made with this hint.
pub(crate) fn of(hint: *const c_void) -> nethuns_rs::Result<Builder> {
    // Programs pass hints that concern other libraries: whatever is not one of ours is not looked at.
    let hinted = HINTS.lock().unwrap_or_else(PoisonError::into_inner).get(&hint.addr()).copied();
    if let Some(network) = hinted.and_then(|network| network.to_str().ok()) {
        return Ok(Builder::new().spec(network));
    }
    let configured = CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match configured {
        Some(network) => Ok(Builder::new().spec(network)),
        None => Builder::from_env(),
    }
}

/// Loops that are made from now on are on this network: `kernel`, or the port spec of a stack of their own. With null or
/// nothing, on the one that `NETHUNS_NET` names. -1 if that is no text.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_stack_configure(network: *const c_char) -> c_int {
    // SAFETY: null or a string, as the header asks for.
    let spec = unsafe { text(network) };
    if spec.is_none() && !network.is_null() {
        return -1;
    }
    let mut configured = CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner);
    *configured = spec.filter(|spec| !spec.is_empty()).map(str::to_owned);
    0
}

/// A hint for `us_create_loop` that names a network; null if it is no text. It stays valid for ever.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_stack_hint(network: *const c_char) -> *mut c_void {
    // SAFETY: null or a string, as the header asks for.
    let Some(spec) = (unsafe { text(network) }) else { return std::ptr::null_mut() };
    let mut hints = HINTS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = hints.values().find(|known| known.to_bytes() == spec.as_bytes()).copied();
    let hint = match (known, CString::new(spec)) {
        (Some(known), _) => known,
        (None, Ok(spec)) => Box::leak(spec.into_boxed_c_str()),
        // A C string has no NUL within.
        (None, Err(_)) => return std::ptr::null_mut(),
    };
    hints.insert(hint.as_ptr().addr(), hint);
    hint.as_ptr().cast_mut().cast()
}

/// The network that a loop is on: `kernel`, or a port spec. It stays valid as long as the loop. Null without a loop.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_transport_name(loop_: *const us_loop_t) -> *const c_char {
    // SAFETY: null or a loop, as the header asks for.
    unsafe { look(loop_) }.map_or(std::ptr::null(), |it| it.network().as_ptr())
}
