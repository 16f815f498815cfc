//! What the loop tells in Rust, told on in C.
//!
//! Callbacks of a C program nest as they like, also `on_close` within `on_close`, which Rust's do not. So a socket that the
//! program closes is told of here, by [`close`], and what Rust says about it afterwards is not news.
#![allow(unsafe_code)]

use crate::context::{Context, us_socket_context_t};
use crate::event_loop::{LoopRef, RECV_BUFFER_PADDING};
use crate::memory::look;
use crate::socket::{Connection, Owner, READABLE, WRITABLE, address_bytes, us_socket_t};
use nethuns_rs::usockets::{PreOpen, Socket, SocketContext};
use std::ffi::{CString, c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::ptr;

/// What a connection without a descriptor has in its place.
const NO_DESCRIPTOR: RawFd = -2;

/// Lets a context in Rust call back the one in C.
pub(crate) fn connect(context: &Context, block: *mut us_socket_context_t) {
    match context {
        Context::Plain(it) => wire(it, block),
        Context::Tls(it) => wire(it, block),
    }
}

fn wire<const SSL: bool>(context: &SocketContext<SSL, LoopRef, Owner>, block: *mut us_socket_context_t)
where
    Connection: From<Socket<SSL, Owner>>,
{
    // Listeners and connects say how large an extension they want.
    context.set_ext_factory(move || Owner::new(block, 0, false));
    context.on_server_name(move |_, name| {
        // SAFETY: the context lives in its block.
        let Some(callback) = (unsafe { look(block) }).and_then(|it| it.on_server_name.get()) else { return };
        if let Ok(name) = CString::new(name) {
            // SAFETY: a callback of the program, called as the header says.
            unsafe { callback(block, name.as_ptr()) };
        }
    });
    context.on_open(|socket, is_client, ip| {
        let block = block_of(socket);
        // SAFETY: an open socket's block is there.
        let Some(it) = (unsafe { look(block) }) else { return };
        if it.connection.borrow().is_none() {
            it.connection.replace(Some(socket.clone().into()));
        }
        opened(it, block, is_client, ip);
    });
    context.on_close(|socket, _, _| {
        let block = block_of(socket);
        // SAFETY: the block is there until the end of the iteration.
        if let Some(it) = unsafe { look(block) } {
            // What the network ends has neither code nor reason, whatever it was.
            close(it, block, 0, ptr::null_mut());
        }
    });
    context.on_received(|socket, received| {
        let block = block_of(socket);
        // SAFETY: an open socket's block is there.
        let Some(it) = (unsafe { look(block) }) else { return };
        let Some(callback) = it.context().and_then(|context| context.on_data.get()) else { return };
        let (bytes, data) = received.with_padding(RECV_BUFFER_PADDING, RECV_BUFFER_PADDING);
        // No network gives more than half a megabyte at once.
        let length = c_int::try_from(data.len()).unwrap_or(c_int::MAX);
        // SAFETY: the range lies within the bytes, and the pointer may be used for all of them.
        let data = unsafe { bytes.as_mut_ptr().add(data.start) };
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block, data.cast(), length) };
    });
    context.on_writable(|socket| {
        // SAFETY: an open socket's block is there.
        let Some(it) = (unsafe { look(block_of(socket)) }) else { return };
        it.short.set(false);
        if it.events.get() & WRITABLE != 0 {
            it.events.set(it.events.get() & !WRITABLE);
            tell(socket, |context| context.on_writable.get());
        }
    });
    context.on_end(|socket| {
        // SAFETY: an open socket's block is there.
        if let Some(it) = unsafe { look(block_of(socket)) } {
            it.events.set(it.events.get() & !READABLE);
            tell(socket, |context| context.on_end.get());
        }
    });
    context.on_timeout(|socket| tell(socket, |context| context.on_timeout.get()));
    context.on_long_timeout(|socket| tell(socket, |context| context.on_long_timeout.get()));
    context.on_connect_error(|socket, _| {
        let block = block_of(socket);
        // SAFETY: the block is there until the end of the iteration.
        if let Some(it) = unsafe { look(block) } {
            not_connected(it, block);
        }
    });
}

/// The block of a socket in Rust.
fn block_of<const SSL: bool>(socket: &Socket<SSL, Owner>) -> *mut us_socket_t {
    socket.ext().map_or(ptr::null_mut(), |owner| owner.block())
}

/// Opens a socket of which Rust has not told.
pub(crate) fn open_by_hand(it: &us_socket_t, block: *mut us_socket_t, connection: Connection, ip: &[u8]) {
    if !it.established.get() && it.connection.borrow().is_none() && !it.closed.get() {
        it.connection.replace(Some(connection));
        opened(it, block, false, ip);
    }
}

/// Asks the program about connections before they are accepted.
pub(crate) fn ask_before_opening(context: &Context, block: *mut us_socket_context_t) {
    let ask = move |fd: RawFd, peer: Option<SocketAddr>| {
        // SAFETY: the context lives in its block.
        let Some(it) = (unsafe { look(block) }) else { return PreOpen::Keep };
        let Some(callback) = it.on_pre_open.get() else { return PreOpen::Keep };
        let (mut ip, length) = peer.map_or(([0; 16], 0), |peer| address_bytes(peer.ip(), it.maps()));
        // Programs return -1 to say that they have taken it, so one without a descriptor is shown as another number.
        let fd = if fd < 0 { NO_DESCRIPTOR } else { fd };
        // SAFETY: a callback of the program, called as the header says.
        let answer = unsafe { callback(block, fd, ip.as_mut_ptr().cast(), length) };
        if answer == fd { PreOpen::Keep } else { PreOpen::Export }
    };
    match context {
        Context::Plain(it) => it.on_pre_open_fd(ask),
        Context::Tls(it) => it.on_pre_open_fd(ask),
    }
}

fn opened(it: &us_socket_t, block: *mut us_socket_t, is_client: bool, ip: &[u8]) {
    it.established.set(true);
    it.events.set(READABLE);
    let Some(callback) = it.context().and_then(|context| context.on_open.get()) else { return };
    let ip = match *ip {
        [a, b, c, d] => Some(IpAddr::from(Ipv4Addr::new(a, b, c, d))),
        _ => <[u8; 16]>::try_from(ip).ok().map(|ip| IpAddr::from(Ipv6Addr::from(ip))),
    };
    let address = ip.map(|ip| address_bytes(ip, it.mapped));
    let (ip, length) = match address {
        Some((mut bytes, length)) => (&raw mut bytes, length),
        None => (ptr::null_mut(), 0),
    };
    // SAFETY: a callback of the program, called as the header says.
    unsafe { callback(block, is_client.into(), ip.cast(), length) };
}

/// Tells of something that needs no more words.
fn tell<const SSL: bool>(
    socket: &Socket<SSL, Owner>,
    which: impl FnOnce(&us_socket_context_t) -> crate::context::OnSocket,
) {
    let block = block_of(socket);
    // SAFETY: an open socket's block is there.
    let Some(it) = (unsafe { look(block) }) else { return };
    if let Some(callback) = it.context().and_then(which) {
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block) };
    }
}

/// Tells a socket that wanted to be told that it can be written to.
pub(crate) fn writable_at_once(block: *mut us_socket_t) {
    // SAFETY: those that are freed have been taken off the loop's list.
    let Some(it) = (unsafe { look(block) }) else { return };
    it.curious.set(false);
    if it.closed.get() || it.short.get() || it.events.get() & WRITABLE == 0 {
        return;
    }
    it.events.set(it.events.get() & !WRITABLE);
    if let Some(callback) = it.context().and_then(|context| context.on_writable.get()) {
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block) };
    }
}

/// Closes a socket and tells of it, with the code and the reason of the program: they are its own, and untouched.
pub(crate) fn close(it: &us_socket_t, block: *mut us_socket_t, code: c_int, reason: *mut c_void) -> *mut us_socket_t {
    if !it.close_silently(code) {
        return block;
    }
    let Some(context) = it.context() else { return block };
    if let Some(callback) = context.on_close.get() {
        // SAFETY: a callback of the program, called as the header says.
        return unsafe { callback(block, code, reason) };
    }
    match context.on_close_2019.get() {
        // SAFETY: as above.
        Some(callback) => unsafe { callback(block) },
        None => block,
    }
}

/// A connection could not be opened. Programs of 2019 know no word for that: they are told that it was, and is closed.
fn not_connected(it: &us_socket_t, block: *mut us_socket_t) {
    let Some(context) = it.context() else { return };
    if let Some(callback) = context.on_connect_error.get() {
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block, 0) };
    } else if context.on_close_2019.get().is_some() {
        opened(it, block, true, &[]);
        close(it, block, 0, ptr::null_mut());
    }
    it.close_silently(0);
}
