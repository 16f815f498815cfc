//! Names and indexes of interfaces (`if_nameindex(3)`).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};

/// The index of an interface; `None` if there is no such interface.
pub fn index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is NUL-terminated and outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}

/// The names of all interfaces in the order of their indexes; empty if the system does not tell.
pub fn all() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: takes nothing; null on failure.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return names;
    }
    let mut entry = list;
    // SAFETY: the list ends with an entry whose index is zero and whose name is null; up to there entries are valid
    // and names NUL-terminated, until the list is freed.
    unsafe {
        while (*entry).if_index != 0 && !(*entry).if_name.is_null() {
            names.push(CStr::from_ptr((*entry).if_name).to_string_lossy().into_owned());
            entry = entry.add(1);
        }
        libc::if_freenameindex(list);
    }
    names
}
