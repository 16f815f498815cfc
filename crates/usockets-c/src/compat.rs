//! The functions of 2019 that had other parameters than those of today (`LIBUS_COMPAT_2019`). Their third, the setter of
//! `on_close`, is with the other setters.
#![allow(unsafe_code)]

use crate::context::{us_socket_context_connect, us_socket_context_t};
use crate::socket::{us_socket_close, us_socket_t};
use std::ffi::{c_char, c_int};
use std::ptr;

/// `us_socket_close` without code and reason.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_compat2019_socket_close(ssl: c_int, s: *mut us_socket_t) -> *mut us_socket_t {
    // SAFETY: as the caller promises.
    unsafe { us_socket_close(ssl, s, 0, ptr::null_mut()) }
}

/// `us_socket_context_connect` without a source.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_compat2019_socket_context_connect(
    ssl: c_int,
    context: *mut us_socket_context_t,
    host: *const c_char,
    port: c_int,
    options: c_int,
    ext_size: c_int,
) -> *mut us_socket_t {
    // SAFETY: as the caller promises.
    unsafe { us_socket_context_connect(ssl, context, host, port, ptr::null(), options, ext_size) }
}
