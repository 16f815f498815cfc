//! `us_socket_t`, and what listeners have in common with it.
#![allow(unsafe_code)]

use crate::context::us_socket_context_t;
use crate::event_loop::{LoopRef, us_loop_t};
use crate::memory::{self, Head, Kind, Object, bytes, look};
use nethuns_rs::usockets::{ListenSocket, Socket};
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::net::IpAddr;
use std::ptr;

/// `LIBUS_SOCKET_READABLE` of upstream on Linux: `EPOLLIN`.
pub(crate) const READABLE: c_int = 1;
/// `LIBUS_SOCKET_WRITABLE` of upstream on Linux: `EPOLLOUT`.
pub(crate) const WRITABLE: c_int = 4;

/// A connection in Rust.
pub(crate) enum Connection {
    Plain(Socket<false, Owner>),
    Tls(Socket<true, Owner>),
}

/// Does the same with either kind of a thing.
macro_rules! either {
    ($kind:ident, $it:expr, $name:ident => $do:expr) => {
        match $it {
            $kind::Plain($name) => $do,
            $kind::Tls($name) => $do,
        }
    };
}
pub(crate) use either;

impl From<Socket<false, Owner>> for Connection {
    fn from(socket: Socket<false, Owner>) -> Self {
        Self::Plain(socket)
    }
}

impl From<Socket<true, Owner>> for Connection {
    fn from(socket: Socket<true, Owner>) -> Self {
        Self::Tls(socket)
    }
}

/// The user data of a socket in Rust: owns the block that the program knows.
pub(crate) struct Owner(*mut us_socket_t);

impl Owner {
    /// A block for a socket of this context. It keeps the loop running, and is in the context's list until it is closed.
    pub(crate) fn new(context: *mut us_socket_context_t, ext_size: u32, mapped: bool) -> Self {
        // SAFETY: contexts outlive what makes their sockets.
        let Some(it) = (unsafe { look(context) }) else { return Self::default() };
        let block = memory::make(ext_size, |head| us_socket_t {
            head,
            events: Cell::new(WRITABLE),
            closed: Cell::new(false),
            established: Cell::new(false),
            short: Cell::new(false),
            curious: Cell::new(false),
            mapped,
            context: Cell::new(context),
            prev: Cell::new(ptr::null_mut()),
            next: Cell::new(ptr::null_mut()),
            connection: RefCell::new(None),
        });
        it.link(block);
        if let Some(of) = it.of() {
            of.keep();
        }
        Self(block)
    }

    pub(crate) fn block(&self) -> *mut us_socket_t {
        self.0
    }

    /// Moves to another context, and to another block if this one's extension is too small. What the program knew is then
    /// freed at the end of the iteration.
    pub(crate) fn move_to(mut self, context: *mut us_socket_context_t, ext_size: u32) -> Self {
        // SAFETY: an open socket's block is there, and so are the contexts.
        let (Some(it), Some(to)) = (unsafe { look(self.0) }, unsafe { look(context) }) else { return self };
        it.unlink();
        if ext_size > memory::ext_size(it) {
            let block = memory::make(ext_size, |head| us_socket_t {
                head,
                events: it.events.clone(),
                closed: Cell::new(false),
                established: it.established.clone(),
                short: it.short.clone(),
                curious: Cell::new(false),
                mapped: it.mapped,
                context: Cell::new(context),
                prev: Cell::new(ptr::null_mut()),
                next: Cell::new(ptr::null_mut()),
                connection: RefCell::new(it.connection.take()),
            });
            // SAFETY: both are there.
            unsafe { memory::copy_ext(self.0, block) };
            it.closed.set(true);
            if let Some(of) = to.of() {
                if it.curious.replace(false) {
                    of.forget_curious(self.0);
                    of.tell_writable(block);
                    // SAFETY: made just now.
                    unsafe { look(block) }.inspect(|new| new.curious.set(true));
                }
                of.bury_socket(self.0);
            }
            self.0 = block;
        } else {
            it.context.set(context);
        }
        to.link(self.0);
        self
    }
}

impl Default for Owner {
    /// Owns nothing.
    fn default() -> Self {
        Self(ptr::null_mut())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the block is this one's.
        let Some(it) = (unsafe { look(self.0) }) else { return };
        it.unlink();
        if let Some(of) = it.of() {
            of.let_go();
            if it.curious.get() {
                of.forget_curious(self.0);
            }
        }
        // SAFETY: the socket is freed, and with it the block; what it holds of the socket's page is not used any more.
        unsafe { memory::free(self.0) };
    }
}

/// `us_socket_t`
#[repr(C, align(16))]
pub(crate) struct us_socket_t {
    head: Head,
    /// What is polled for, as upstream would.
    pub(crate) events: Cell<c_int>,
    pub(crate) closed: Cell<bool>,
    pub(crate) established: Cell<bool>,
    /// Whether a write was cut short, so that the network tells when there is room.
    pub(crate) short: Cell<bool>,
    /// Whether it is to be told anyway.
    pub(crate) curious: Cell<bool>,
    /// Whether IPv4 addresses are shown as IPv6 ones, as those of a listener for both kinds.
    pub(crate) mapped: bool,
    context: Cell<*mut us_socket_context_t>,
    pub(crate) prev: Cell<*mut us_socket_t>,
    pub(crate) next: Cell<*mut us_socket_t>,
    /// None before it is opened, and after it has moved to another block.
    pub(crate) connection: RefCell<Option<Connection>>,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_socket_t {
    const KIND: Kind = Kind::Socket;
}

impl us_socket_t {
    pub(crate) fn context(&self) -> Option<&us_socket_context_t> {
        // SAFETY: contexts are freed after their sockets.
        unsafe { look(self.context.get()) }
    }

    pub(crate) fn of(&self) -> Option<&us_loop_t> {
        self.context()?.of()
    }

    /// Takes it off its context's list, if it is there.
    pub(crate) fn unlink(&self) {
        if let Some(context) = self.context() {
            context.unlink(self);
        }
    }

    /// Does something with the connection, if there is one.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Connection) -> R) -> Option<R> {
        self.connection.borrow().as_ref().map(f)
    }

    /// Closes it in Rust, where nobody is told: the caller tells, or nobody is to be.
    pub(crate) fn close_silently(&self, code: c_int) -> bool {
        if self.closed.replace(true) {
            return false;
        }
        self.unlink();
        self.with(|connection| either!(Connection, connection, it => it.close(code)));
        true
    }

    /// Its descriptor; -1 if it has none.
    pub(crate) fn fd(&self) -> c_int {
        self.with(|connection| either!(Connection, connection, it => it.fd())).flatten().unwrap_or(-1)
    }

    fn wrote(&self, written: usize, length: usize) -> c_int {
        if written < length && !self.closed.get() && self.established.get() && !self.is_shut_down() {
            self.short.set(true);
            self.events.set(self.events.get() | WRITABLE);
        }
        c_int::try_from(written).unwrap_or(c_int::MAX)
    }

    fn is_shut_down(&self) -> bool {
        self.with(|connection| either!(Connection, connection, it => it.is_shut_down())).unwrap_or(false)
    }

    /// Lets it be told of what the program wants to be told of.
    pub(crate) fn change(&self, block: *mut us_socket_t, events: c_int) {
        let events = events & (READABLE | WRITABLE);
        let before = self.events.replace(events);
        if self.closed.get() || events == before {
            return;
        }
        if (events ^ before) & READABLE != 0 {
            self.with(|connection| {
                either!(Connection, connection, it => if events & READABLE != 0 { it.resume() } else { it.pause() });
            });
        }
        if events & !before & WRITABLE != 0
            && self.established.get()
            && !self.short.get()
            && !self.curious.replace(true)
        {
            if let Some(of) = self.of() {
                of.tell_writable(block);
            }
        }
    }
}

/// A listener in Rust.
pub(crate) enum Listening {
    Plain(ListenSocket<false, LoopRef>),
    Tls(ListenSocket<true, LoopRef>),
}

/// `us_listen_socket_t`. Programs cast it to a socket; as one it is neither established nor closed, and has a port.
#[repr(C, align(16))]
pub(crate) struct us_listen_socket_t {
    pub(crate) head: Head,
    pub(crate) listening: Listening,
    pub(crate) context: *mut us_socket_context_t,
    /// Whether it takes both kinds of addresses, and shows IPv4 ones as IPv6 ones.
    pub(crate) mapped: bool,
    pub(crate) closed: Cell<bool>,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_listen_socket_t {
    const KIND: Kind = Kind::Listener;
}

impl us_listen_socket_t {
    /// Ends listening, and frees the block at the end of the iteration.
    pub(crate) fn close(&self, block: *mut us_listen_socket_t) {
        if self.closed.replace(true) {
            return;
        }
        either!(Listening, &self.listening, it => it.close());
        // SAFETY: contexts are freed after their listeners.
        let Some(context) = (unsafe { look(self.context) }) else { return };
        context.forget_listener(block);
        if let Some(of) = context.of() {
            of.let_go();
            of.bury_listener(block);
        }
    }
}

/// Ends listening. Connections that were accepted live on.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_listen_socket_close(_ssl: c_int, listener: *mut us_listen_socket_t) {
    // SAFETY: null or a listener, as the header asks for.
    if let Some(it) = unsafe { look(listener) } {
        it.close(listener);
    }
}

/// Writes bytes, and returns how many were taken: all, or fewer if there is no room for more now; then `on_writable` tells
/// when there is.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_write(
    _ssl: c_int,
    s: *mut us_socket_t,
    data: *const c_char,
    length: c_int,
    msg_more: c_int,
) -> c_int {
    // SAFETY: null or a socket, as the header asks for.
    let Some(it) = (unsafe { look(s) }) else { return 0 };
    // SAFETY: so many bytes, as the header asks for.
    let data = unsafe { bytes(data, length) };
    let written = it.with(|connection| either!(Connection, connection, it => it.write(data, msg_more != 0)));
    it.wrote(written.unwrap_or(0), data.len())
}

/// The same for a header and a payload, as if they were one.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_write2(
    _ssl: c_int,
    s: *mut us_socket_t,
    header: *const c_char,
    header_length: c_int,
    payload: *const c_char,
    payload_length: c_int,
) -> c_int {
    // SAFETY: null or a socket, as the header asks for.
    let Some(it) = (unsafe { look(s) }) else { return 0 };
    // SAFETY: so many bytes each, as the header asks for.
    let (header, payload) = unsafe { (bytes(header, header_length), bytes(payload, payload_length)) };
    let written = it.with(|connection| either!(Connection, connection, it => it.write2(header, payload)));
    it.wrote(written.unwrap_or(0), header.len() + payload.len())
}

/// A buffer of `LIBUS_RECV_BUFFER_LENGTH` bytes in which a write can be prepared; the loop's, and the same with every call.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_send_buffer(_ssl: c_int, s: *mut us_socket_t) -> *mut c_char {
    // SAFETY: null or a socket, as the header asks for.
    let of = unsafe { look(s) }.and_then(us_socket_t::of);
    of.map_or(ptr::null_mut(), |of| of.send_buffer().cast())
}

/// Calls `on_timeout` in so many seconds, in steps of four; 0 is never.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_timeout(_ssl: c_int, s: *mut us_socket_t, seconds: c_uint) {
    // SAFETY: null or a socket, as the header asks for.
    if let Some(it) = unsafe { look(s) } {
        it.with(|connection| either!(Connection, connection, it => it.set_timeout(seconds)));
    }
}

/// Calls `on_long_timeout` in so many minutes; 0 is never.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_long_timeout(_ssl: c_int, s: *mut us_socket_t, minutes: c_uint) {
    // SAFETY: null or a socket, as the header asks for.
    if let Some(it) = unsafe { look(s) } {
        it.with(|connection| either!(Connection, connection, it => it.set_long_timeout(minutes)));
    }
}

/// The socket's extension.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_ext(_ssl: c_int, s: *mut us_socket_t) -> *mut c_void {
    // SAFETY: null or a socket, as the header asks for.
    if unsafe { look(s) }.is_none() {
        return ptr::null_mut();
    }
    // SAFETY: it is there.
    unsafe { memory::ext(s) }
}

/// The socket's context.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context(_ssl: c_int, s: *mut us_socket_t) -> *mut us_socket_context_t {
    // SAFETY: null, a socket or a listener, as the header asks for.
    unsafe {
        if let Some(it) = look(s) {
            return it.context.get();
        }
        look(s.cast::<us_listen_socket_t>()).map_or(ptr::null_mut(), |it| it.context)
    }
}

/// Sends what waits for more.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_flush(_ssl: c_int, s: *mut us_socket_t) {
    // SAFETY: null or a socket, as the header asks for.
    if let Some(it) = unsafe { look(s) } {
        it.with(|connection| either!(Connection, connection, it => it.flush()));
    }
}

/// Ends our stream after what was written.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_shutdown(_ssl: c_int, s: *mut us_socket_t) {
    // SAFETY: null or a socket, as the header asks for.
    let Some(it) = (unsafe { look(s) }) else { return };
    if it.closed.get() || !it.established.get() {
        return;
    }
    it.with(|connection| either!(Connection, connection, it => it.shutdown()));
    it.short.set(false);
    it.events.set(it.events.get() & READABLE);
}

/// Ends reading: what came before is still told, then the end.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_shutdown_read(_ssl: c_int, s: *mut us_socket_t) {
    // SAFETY: null or a socket, as the header asks for.
    if let Some(it) = unsafe { look(s) } {
        it.with(|connection| either!(Connection, connection, it => it.shutdown_read()));
    }
}

/// Whether our stream has been ended.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_is_shut_down(_ssl: c_int, s: *mut us_socket_t) -> c_int {
    // SAFETY: null or a socket, as the header asks for.
    unsafe { look(s) }.is_some_and(us_socket_t::is_shut_down).into()
}

/// Whether it is closed.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_is_closed(_ssl: c_int, s: *mut us_socket_t) -> c_int {
    // SAFETY: null, a socket or a listener, as the header asks for.
    unsafe {
        if let Some(it) = look(s) {
            return it.closed.get().into();
        }
        look(s.cast::<us_listen_socket_t>()).is_none_or(|it| it.closed.get()).into()
    }
}

/// Whether it is connected, or was until it was closed.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_is_established(_ssl: c_int, s: *mut us_socket_t) -> c_int {
    // SAFETY: null or a socket, as the header asks for.
    unsafe { look(s) }.is_some_and(|it| it.established.get()).into()
}

/// Closes the socket, and calls `on_close` with code and reason before it returns what that does.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn us_socket_close(
    _ssl: c_int,
    s: *mut us_socket_t,
    code: c_int,
    reason: *mut c_void,
) -> *mut us_socket_t {
    // SAFETY: null, a socket or a listener, as the header asks for.
    unsafe {
        if let Some(it) = look(s) {
            return crate::told::close(it, s, code, reason);
        }
        us_listen_socket_close(0, s.cast());
    }
    s
}

/// Closes a socket that is not connected yet, without `on_close`.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_close_connecting(_ssl: c_int, s: *mut us_socket_t) -> *mut us_socket_t {
    // SAFETY: null or a socket, as the header asks for.
    if let Some(it) = unsafe { look(s) } {
        if !it.established.get() {
            it.close_silently(0);
        }
    }
    s
}

/// Copies the peer's address, 4 or 16 bytes, to `buf`, and says in `length` how many: 0 if there is none, or no room.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_remote_address(_ssl: c_int, s: *mut us_socket_t, buf: *mut c_char, length: *mut c_int) {
    // SAFETY: a number, as the header asks for.
    let Some(length) = (unsafe { length.as_mut() }) else { return };
    // SAFETY: null or a socket, as the header asks for.
    let it = unsafe { look(s) };
    let room = std::mem::take(length);
    let address = it.and_then(|it| {
        let ip = it.with(|connection| either!(Connection, connection, it => it.remote_address()))??;
        Some(address_bytes(ip, it.mapped))
    });
    let Some((bytes, count)) = address else { return };
    if count <= room && !buf.is_null() {
        // SAFETY: the program says that there is room for this.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buf.cast(), count as usize) };
        *length = count;
    }
}

/// An address as 4 or 16 bytes; `mapped`, always as 16 (RFC 4291, section 2.5.5.2).
pub(crate) fn address_bytes(ip: IpAddr, mapped: bool) -> ([u8; 16], c_int) {
    match ip {
        IpAddr::V4(ip) if !mapped => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            (bytes, 4)
        }
        IpAddr::V4(ip) => (ip.to_ipv6_mapped().octets(), 16),
        IpAddr::V6(ip) => (ip.octets(), 16),
    }
}

/// Our port; -1 if there is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_local_port(_ssl: c_int, s: *mut us_socket_t) -> c_int {
    // SAFETY: null, a socket or a listener, as the header asks for.
    unsafe {
        if let Some(it) = look(s) {
            return it.with(|connection| either!(Connection, connection, it => it.local_port())).unwrap_or(-1);
        }
        look(s.cast::<us_listen_socket_t>()).map_or(-1, |it| either!(Listening, &it.listening, it => it.port()))
    }
}

/// The peer's port; -1 if there is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_remote_port(_ssl: c_int, s: *mut us_socket_t) -> c_int {
    // SAFETY: null or a socket, as the header asks for.
    let Some(it) = (unsafe { look(s) }) else { return -1 };
    it.with(|connection| either!(Connection, connection, it => it.remote_port())).unwrap_or(-1)
}

/// The descriptor, as a pointer: -1 if there is none, as on a stack of our own. Null with TLS, which is not OpenSSL's.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_get_native_handle(_ssl: c_int, s: *mut us_socket_t) -> *mut c_void {
    // SAFETY: null or a socket, as the header asks for.
    let Some(it) = (unsafe { look(s) }) else { return ptr::null_mut() };
    if it.with(|connection| matches!(connection, Connection::Tls(_))).unwrap_or(false) {
        return ptr::null_mut();
    }
    ptr::without_provenance_mut(it.fd() as usize)
}
