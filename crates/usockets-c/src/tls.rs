//! Server names (SNI): each with options of its own, and with a pointer that means something to the program.
#![allow(unsafe_code)]

use crate::context::{options, us_socket_context_options_t, us_socket_context_t};
use crate::memory::{look, text};
use crate::socket::{Connection, us_socket_t};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

/// What belongs to the names of a context, by pattern in lower case.
#[derive(Default)]
pub(crate) struct Names(RefCell<BTreeMap<String, *mut c_void>>);

impl Names {
    /// What belongs to the pattern that a name fits; of several, the one whose last labels are the name's own.
    fn find(&self, name: &str) -> Option<*mut c_void> {
        let name = normal(name);
        let names = self.0.borrow();
        let fits = names.iter().filter(|(pattern, _)| fits(pattern, &name));
        let exact = |pattern: &str| pattern.rsplit('.').map(|label| label != "*").collect::<Vec<_>>();
        fits.max_by_key(|(pattern, _)| exact(pattern)).map(|(_, user)| *user)
    }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whether a name is one that the pattern stands for; an asterisk stands for one label.
fn fits(pattern: &str, name: &str) -> bool {
    let (mut labels, mut others) = (pattern.split('.'), name.split('.'));
    loop {
        match (labels.next(), others.next()) {
            (None, None) => return true,
            (Some(label), Some(other)) if label == "*" || label == other => {}
            _ => return false,
        }
    }
}

/// Serves a name with options of its own. Ignored for a pattern that is there; a line on stderr if it cannot be.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_add_server_name(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    pattern: *const c_char,
    options: us_socket_context_options_t,
    user: *mut c_void,
) {
    // SAFETY: null or a context, and null or a string, as the header asks for.
    let (Some(it), Some(pattern)) = (unsafe { look(context) }, unsafe { text(pattern) }) else { return };
    let Some(tls) = it.tls() else { return };
    let name = normal(pattern);
    if it.names.0.borrow().contains_key(&name) {
        return;
    }
    match self::options(options).and_then(|options| tls.add_server_name(pattern, &options)) {
        Ok(()) => drop(it.names.0.borrow_mut().insert(name, user)),
        Err(error) => eprintln!("libusockets: {error}"),
    }
}

/// Serves a name no longer. Connections that stand go on.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_remove_server_name(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    pattern: *const c_char,
) {
    // SAFETY: null or a context, and null or a string, as the header asks for.
    let (Some(it), Some(pattern)) = (unsafe { look(context) }, unsafe { text(pattern) }) else { return };
    if let Some(tls) = it.tls() {
        it.names.0.borrow_mut().remove(&normal(pattern));
        // What is not there needs no removing.
        let _ = tls.remove_server_name(pattern);
    }
}

/// What was given with the name, or with the pattern that it fits; null if there is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_find_server_name_userdata(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    pattern: *const c_char,
) -> *mut c_void {
    // SAFETY: null or a context, and null or a string, as the header asks for.
    let (Some(it), Some(name)) = (unsafe { look(context) }, unsafe { text(pattern) }) else { return ptr::null_mut() };
    it.names.find(name).unwrap_or(ptr::null_mut())
}

/// What was given with the name that the peer has asked for; null if there is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_server_name_userdata(_ssl: c_int, s: *mut us_socket_t) -> *mut c_void {
    // SAFETY: null or a socket, as the header asks for.
    let Some(it) = (unsafe { look(s) }) else { return ptr::null_mut() };
    let name = it.with(|connection| match connection {
        Connection::Plain(_) => None,
        Connection::Tls(it) => it.server_name(),
    });
    let found = name.flatten().and_then(|name| it.context()?.names.find(&name));
    found.unwrap_or(ptr::null_mut())
}

/// Null: the TLS here is rustls, whose contexts are not OpenSSL's.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_get_native_handle(
    _ssl: c_int,
    _context: *mut us_socket_context_t,
) -> *mut c_void {
    ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::{Names, normal};
    use std::ptr;

    #[test]
    fn a_name_finds_the_pattern_with_the_most_of_its_own_labels() {
        let names = Names::default();
        let patterns = ["*.example.org", "www.example.org", "*.*.org", "*"];
        for (number, pattern) in patterns.iter().enumerate() {
            names.0.borrow_mut().insert(normal(pattern), ptr::without_provenance_mut(number + 1));
        }
        let find = |name: &str| names.find(name).map(|user| user.addr());
        assert_eq!(find("www.example.org"), Some(2));
        assert_eq!(find("WWW.Example.ORG."), Some(2));
        assert_eq!(find("mail.example.org"), Some(1));
        assert_eq!(find("mail.elsewhere.org"), Some(3));
        assert_eq!(find("localhost"), Some(4));
        assert_eq!(find("a.b.example.org"), None);
    }
}
