//! `us_socket_context_t`: callbacks, listening, connecting, adopting.
#![allow(unsafe_code)]

use crate::event_loop::{LoopRef, us_loop_t};
use crate::memory::{self, Head, Kind, Object, look, text};
use crate::socket::{Connection, Listening, Owner, either, us_listen_socket_t, us_socket_t};
use crate::tls::Names;
use crate::told;
use nethuns_rs::usockets::{SocketContext, SocketContextOptions, SocketError, UsError};
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_uint, c_ushort, c_void};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::rc::Rc;

/// Callbacks of a socket.
pub(crate) type OnSocket = Option<unsafe extern "C" fn(*mut us_socket_t) -> *mut us_socket_t>;
type OnOpen = Option<unsafe extern "C" fn(*mut us_socket_t, c_int, *mut c_char, c_int) -> *mut us_socket_t>;
type OnClose = Option<unsafe extern "C" fn(*mut us_socket_t, c_int, *mut c_void) -> *mut us_socket_t>;
type OnData = Option<unsafe extern "C" fn(*mut us_socket_t, *mut c_char, c_int) -> *mut us_socket_t>;
type OnPreOpen = Option<unsafe extern "C" fn(*mut us_socket_context_t, c_int, *mut c_char, c_int) -> c_int>;
type OnServerName = Option<unsafe extern "C" fn(*mut us_socket_context_t, *const c_char)>;
type OnConnectError = Option<unsafe extern "C" fn(*mut us_socket_t, c_int) -> *mut us_socket_t>;

/// The variable that shows IPv4 peers of listeners on every address in 4 bytes.
const PLAIN_IPV4: &str = "LIBUS_PLAIN_IPV4";

/// `struct us_socket_context_options_t`
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct us_socket_context_options_t {
    key_file_name: *const c_char,
    cert_file_name: *const c_char,
    passphrase: *const c_char,
    dh_params_file_name: *const c_char,
    ca_file_name: *const c_char,
    ssl_ciphers: *const c_char,
    ssl_prefer_low_memory_usage: c_int,
}

const _: () = assert!(size_of::<us_socket_context_options_t>() == 56, "programs are compiled for this size");

/// A context in Rust.
pub(crate) enum Context {
    Plain(SocketContext<false, LoopRef, Owner>),
    Tls(SocketContext<true, LoopRef, Owner>),
}

/// `us_socket_context_t`
#[repr(C, align(16))]
pub(crate) struct us_socket_context_t {
    head: Head,
    of: *mut us_loop_t,
    context: Context,
    /// Open sockets, the newest first.
    first: Cell<*mut us_socket_t>,
    listeners: RefCell<Vec<*mut us_listen_socket_t>>,
    /// What belongs to server names; shared with children.
    pub(crate) names: Rc<Names>,
    pub(crate) on_open: Cell<OnOpen>,
    pub(crate) on_close: Cell<OnClose>,
    pub(crate) on_close_2019: Cell<OnSocket>,
    pub(crate) on_data: Cell<OnData>,
    pub(crate) on_writable: Cell<OnSocket>,
    pub(crate) on_timeout: Cell<OnSocket>,
    pub(crate) on_long_timeout: Cell<OnSocket>,
    pub(crate) on_end: Cell<OnSocket>,
    pub(crate) on_connect_error: Cell<OnConnectError>,
    pub(crate) on_server_name: Cell<OnServerName>,
    pub(crate) on_pre_open: Cell<OnPreOpen>,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_socket_context_t {
    const KIND: Kind = Kind::Context;
}

impl us_socket_context_t {
    pub(crate) fn of(&self) -> Option<&us_loop_t> {
        // SAFETY: contexts are freed before their loop.
        unsafe { look(self.of) }
    }

    /// The context in Rust, if its sockets speak TLS.
    pub(crate) fn tls(&self) -> Option<&SocketContext<true, LoopRef, Owner>> {
        match &self.context {
            Context::Plain(_) => None,
            Context::Tls(it) => Some(it),
        }
    }

    /// Puts a socket at the head of the list.
    pub(crate) fn link(&self, block: *mut us_socket_t) {
        let next = self.first.replace(block);
        // SAFETY: what is in the list is there, and so is the new one.
        unsafe {
            if let Some(next) = look(next) {
                next.prev.set(block);
            }
            if let Some(it) = look(block) {
                it.next.set(next);
            }
        }
    }

    /// Takes a socket off the list, if it is on it.
    pub(crate) fn unlink(&self, it: &us_socket_t) {
        let (prev, next) = (it.prev.replace(ptr::null_mut()), it.next.replace(ptr::null_mut()));
        // SAFETY: what is in the list is there.
        unsafe {
            if let Some(next) = look(next) {
                next.prev.set(prev);
            }
            match look(prev) {
                Some(prev) => prev.next.set(next),
                None if ptr::eq(self.first.get(), it) => self.first.set(next),
                None => {}
            }
        }
    }

    /// Whether a listener takes both kinds of addresses, and so shows the one as the other.
    pub(crate) fn maps(&self) -> bool {
        let listeners = self.listeners.borrow();
        // SAFETY: those in the list are there.
        listeners.iter().any(|listener| unsafe { look(*listener) }.is_some_and(|it| it.mapped))
    }

    pub(crate) fn forget_listener(&self, block: *mut us_listen_socket_t) {
        self.listeners.borrow_mut().retain(|listener| *listener != block);
    }

    fn close_listeners(&self) {
        let listeners = self.listeners.borrow().clone();
        for listener in listeners {
            // SAFETY: those in the list are there.
            if let Some(it) = unsafe { look(listener) } {
                it.close(listener);
            }
        }
    }

    /// The sockets that are open now. A callback may close, move or add some: what was there stays until the iteration ends.
    fn sockets(&self) -> Vec<*mut us_socket_t> {
        let next = |block: &*mut us_socket_t| {
            // SAFETY: what is in the list is there.
            unsafe { look(*block) }.map(|it| it.next.get()).filter(|next| !next.is_null())
        };
        std::iter::successors(Some(self.first.get()).filter(|first| !first.is_null()), next).collect()
    }
}

pub(crate) fn options(options: us_socket_context_options_t) -> Result<SocketContextOptions, UsError> {
    let string = |string: *const c_char| {
        // SAFETY: null or a string, as the header asks for.
        let owned = unsafe { text(string) }.map(str::to_owned);
        if owned.is_none() && !string.is_null() { Err(UsError::InvalidStringConversion) } else { Ok(owned) }
    };
    let ca_file_name = string(options.ca_file_name)?;
    Ok(SocketContextOptions {
        key_file_name: string(options.key_file_name)?,
        cert_file_name: string(options.cert_file_name)?,
        passphrase: string(options.passphrase)?,
        dh_params_file_name: string(options.dh_params_file_name)?,
        ssl_ciphers: string(options.ssl_ciphers)?,
        ssl_prefer_low_memory_usage: options.ssl_prefer_low_memory_usage != 0,
        // As with OpenSSL: who is to be trusted must be said, or everybody is.
        verify_peer: ca_file_name.is_some(),
        trust_ca_alone: true,
        ca_file_name,
        ..Default::default()
    })
}

/// A context. With `ssl` its sockets speak TLS. Null, and a line on stderr, if a file or an option cannot be used.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_create_socket_context(
    ssl: c_int,
    loop_: *mut us_loop_t,
    ext_size: c_int,
    options: us_socket_context_options_t,
) -> *mut us_socket_context_t {
    // SAFETY: null or a loop, as the header asks for.
    let Some(of) = (unsafe { look(loop_) }) else { return ptr::null_mut() };
    let context = if ssl == 0 {
        of.with(|of| of.create_socket_context(SocketContextOptions::default()).map(Context::Plain))
    } else {
        of.with(|of| of.create_socket_context(self::options(options)?).map(Context::Tls))
    };
    match context {
        Some(Ok(context)) => make(loop_, context, ext_size, Rc::default()),
        Some(Err(error)) => {
            eprintln!("libusockets: {error}");
            ptr::null_mut()
        }
        None => ptr::null_mut(),
    }
}

/// A context with the same TLS and callbacks of its own.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_create_child_socket_context(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    ext_size: c_int,
) -> *mut us_socket_context_t {
    // SAFETY: null or a context, as the header asks for.
    let Some(it) = (unsafe { look(context) }) else { return ptr::null_mut() };
    let child = match &it.context {
        Context::Plain(parent) => parent.create_child().map(Context::Plain),
        Context::Tls(parent) => parent.create_child().map(Context::Tls),
    };
    child.map_or(ptr::null_mut(), |child| make(it.of, child, ext_size, it.names.clone()))
}

fn make(of: *mut us_loop_t, context: Context, ext_size: c_int, names: Rc<Names>) -> *mut us_socket_context_t {
    let block = memory::make(size(ext_size), |head| us_socket_context_t {
        head,
        of,
        context,
        first: Cell::new(ptr::null_mut()),
        listeners: RefCell::default(),
        names,
        on_open: Cell::new(None),
        on_close: Cell::new(None),
        on_close_2019: Cell::new(None),
        on_data: Cell::new(None),
        on_writable: Cell::new(None),
        on_timeout: Cell::new(None),
        on_long_timeout: Cell::new(None),
        on_end: Cell::new(None),
        on_connect_error: Cell::new(None),
        on_server_name: Cell::new(None),
        on_pre_open: Cell::new(None),
    });
    // SAFETY: made just now.
    if let Some(it) = unsafe { look(block) } {
        told::connect(&it.context, block);
    }
    block
}

/// A size that a program gave; there are none below 0.
fn size(size: c_int) -> u32 {
    u32::try_from(size).unwrap_or(0)
}

/// Frees the context when the iteration ends. What is still open is closed without a word.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_free(_ssl: c_int, context: *mut us_socket_context_t) {
    // SAFETY: null or a context, as the header asks for.
    let Some(it) = (unsafe { look(context) }) else { return };
    it.close_listeners();
    for socket in it.sockets() {
        // SAFETY: nothing that is called meanwhile frees sockets.
        if let Some(socket) = unsafe { look(socket) } {
            socket.close_silently(0);
        }
    }
    if let Some(of) = it.of() {
        of.bury_context(context);
    }
}

/// Closes its listeners and its sockets, with `on_close` for each.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_close(_ssl: c_int, context: *mut us_socket_context_t) {
    // SAFETY: null or a context, as the header asks for.
    let Some(it) = (unsafe { look(context) }) else { return };
    it.close_listeners();
    for block in it.sockets() {
        // SAFETY: those that were there stay until the iteration ends.
        if let Some(socket) = unsafe { look(block) } {
            told::close(socket, block, 0, ptr::null_mut());
        }
    }
}

/// Sets callbacks.
macro_rules! setters {
    ($($function:ident: $field:ident, $kind:ty;)*) => {$(
        /// Sets the callback.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(_ssl: c_int, context: *mut us_socket_context_t, callback: $kind) {
            // SAFETY: null or a context, as the header asks for.
            if let Some(it) = unsafe { look(context) } {
                it.$field.set(callback);
            }
        }
    )*};
}

setters! {
    us_socket_context_on_open: on_open, OnOpen;
    us_socket_context_on_close: on_close, OnClose;
    us_socket_context_on_data: on_data, OnData;
    us_socket_context_on_writable: on_writable, OnSocket;
    us_socket_context_on_timeout: on_timeout, OnSocket;
    us_socket_context_on_long_timeout: on_long_timeout, OnSocket;
    us_socket_context_on_end: on_end, OnSocket;
    us_socket_context_on_connect_error: on_connect_error, OnConnectError;
    us_socket_context_on_server_name: on_server_name, OnServerName;
    us_compat2019_socket_context_on_close: on_close_2019, OnSocket;
}

/// The context's extension.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_ext(_ssl: c_int, context: *mut us_socket_context_t) -> *mut c_void {
    // SAFETY: null or a context, as the header asks for.
    if unsafe { look(context) }.is_none() {
        return ptr::null_mut();
    }
    // SAFETY: it is there.
    unsafe { memory::ext(context) }
}

/// The context's loop.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_loop(_ssl: c_int, context: *mut us_socket_context_t) -> *mut us_loop_t {
    // SAFETY: null or a context, as the header asks for.
    unsafe { look(context) }.map_or(ptr::null_mut(), |it| it.of)
}

/// The clock of the timeouts: sweeps of four seconds, modulo 240.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_timestamp(_ssl: c_int, context: *mut us_socket_context_t) -> c_ushort {
    // SAFETY: null or a context, as the header asks for.
    unsafe { look(context) }.map_or(0, |it| either!(Context, &it.context, it => it.timestamp()))
}

/// Listens on an address of this machine; null stands for every one. Null if that is impossible.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_listen(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    host: *const c_char,
    port: c_int,
    options: c_int,
    ext_size: c_int,
) -> *mut us_listen_socket_t {
    // SAFETY: null or a context, as the header asks for.
    let Some(it) = (unsafe { look(context) }) else { return ptr::null_mut() };
    // SAFETY: null or a string, as the header asks for.
    let (name, is_every) = (unsafe { text(host) }, host.is_null());
    let Some(name) = name.or(is_every.then_some("")) else { return ptr::null_mut() };
    let Ok(port) = u16::try_from(port) else { return ptr::null_mut() };
    let listening = match &it.context {
        Context::Plain(of) => of.listen(name, port, options).map(Listening::Plain),
        Context::Tls(of) => of.listen(name, port, options).map(Listening::Tls),
    };
    let Ok(listening) = listening else { return ptr::null_mut() };
    let (ext_size, mapped) = (size(ext_size), matches!(name, "" | "::") && std::env::var_os(PLAIN_IPV4).is_none());
    listens(it, context, listening, ext_size, mapped)
}

/// Listens on a path of the file system; what lies there is replaced. Null if that is impossible.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_listen_unix(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    path: *const c_char,
    options: c_int,
    ext_size: c_int,
) -> *mut us_listen_socket_t {
    // SAFETY: null or a context, and null or a string, as the header asks for.
    let (Some(it), Some(path)) = (unsafe { look(context) }, unsafe { memory::path(path) }) else {
        return ptr::null_mut();
    };
    let listening = match &it.context {
        Context::Plain(of) => of.listen_unix(path, options).map(Listening::Plain),
        Context::Tls(of) => of.listen_unix(path, options).map(Listening::Tls),
    };
    let Ok(listening) = listening else { return ptr::null_mut() };
    listens(it, context, listening, size(ext_size), false)
}

/// A block for a listener.
fn listens(
    it: &us_socket_context_t,
    context: *mut us_socket_context_t,
    listening: Listening,
    ext_size: u32,
    mapped: bool,
) -> *mut us_listen_socket_t {
    let factory = move || Owner::new(context, ext_size, mapped);
    let set = match (&it.context, &listening) {
        (Context::Plain(of), Listening::Plain(listener)) => of.set_ext_factory_for(listener, factory),
        (Context::Tls(of), Listening::Tls(listener)) => of.set_ext_factory_for(listener, factory),
        // A context makes listeners of its kind.
        _ => Ok(()),
    };
    if set.is_err() {
        return ptr::null_mut();
    }
    let block =
        memory::make(0, |head| us_listen_socket_t { head, listening, context, mapped, closed: Cell::new(false) });
    it.listeners.borrow_mut().push(block);
    if let Some(of) = it.of() {
        of.keep();
    }
    block
}

/// Asks about connections before they are accepted: whether the descriptor is kept, or the program's from then on.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_on_pre_open(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    callback: OnPreOpen,
) {
    // SAFETY: null or a context, as the header asks for.
    let Some(it) = (unsafe { look(context) }) else { return };
    // Only who asks has the cost of descriptors being looked up.
    if callback.is_some() && it.on_pre_open.get().is_none() {
        told::ask_before_opening(&it.context, context);
    }
    it.on_pre_open.set(callback);
}

/// Begins to connect to a path that somebody listens on. Null if that is impossible.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_connect_unix(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    path: *const c_char,
    options: c_int,
    ext_size: c_int,
) -> *mut us_socket_t {
    // SAFETY: null or a context, and null or a string, as the header asks for.
    let (Some(it), Some(path)) = (unsafe { look(context) }, unsafe { memory::path(path) }) else {
        return ptr::null_mut();
    };
    let owner = Owner::new(context, size(ext_size), false);
    let block = owner.block();
    let connection = match &it.context {
        Context::Plain(of) => of.connect_unix_with(path, options, owner).map(|socket| socket.map(Connection::Plain)),
        Context::Tls(of) => of.connect_unix_with(path, options, owner).map(|socket| socket.map(Connection::Tls)),
    };
    // Without a socket the block is freed already.
    let Ok(Some(connection)) = connection else { return ptr::null_mut() };
    // SAFETY: the socket owns its block.
    let Some(socket) = (unsafe { look(block) }) else { return ptr::null_mut() };
    socket.connection.replace(Some(connection));
    block
}

/// Makes a connection that was accepted elsewhere a socket of this context, and calls `on_open` before it returns; the
/// socket may be closed by then. Null if the descriptor is no connection; then it is closed.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_adopt_accepted_socket(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    fd: c_int,
    ext_size: c_uint,
    addr_ip: *mut c_char,
    addr_ip_length: c_int,
) -> *mut us_socket_t {
    // SAFETY: null or a context, as the header asks for.
    let Some(it) = (unsafe { look(context) }) else { return ptr::null_mut() };
    // SAFETY: a system call that changes nothing, and knows what is a descriptor.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return ptr::null_mut();
    }
    // SAFETY: it is open, and the program gives it away.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: so many bytes, as the header asks for.
    let ip = unsafe { memory::bytes(addr_ip, addr_ip_length) }.to_vec();
    let owner = Owner::new(context, ext_size, ip.len() == 16);
    let block = owner.block();
    let adopted = match &it.context {
        Context::Plain(of) => of.adopt_fd(fd, owner, &ip).map(Connection::Plain),
        Context::Tls(of) => of.adopt_fd(fd, owner, &ip).map(Connection::Tls),
    };
    // Without a socket the block is freed already.
    let Ok(connection) = adopted else { return ptr::null_mut() };
    // SAFETY: the socket owns its block, until the end of the iteration at least.
    if let Some(socket) = unsafe { look(block) } {
        // From within another `on_open` Rust does not call this one.
        told::open_by_hand(socket, block, connection, &ip);
    }
    block
}

/// The address of a host: as it stands, or the first that its name has. A name is waited for, as upstream does.
fn resolve(host: &str, of: &us_loop_t) -> Option<String> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if literal.parse::<IpAddr>().is_ok() || host == "localhost" {
        return Some(host.to_owned());
    }
    let mut found = (host, 0).to_socket_addrs().ok()?.peekable();
    let first = *found.peek()?;
    // The stack speaks IPv4 only.
    let is_kernel = of.network() == c"kernel";
    let chosen = found.find(|address| is_kernel || address.is_ipv4()).unwrap_or(first);
    Some(chosen.ip().to_string())
}

/// Begins to connect. Null if the host has no address, or `source_host` is none of ours.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn us_socket_context_connect(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    host: *const c_char,
    port: c_int,
    source_host: *const c_char,
    options: c_int,
    ext_size: c_int,
) -> *mut us_socket_t {
    // SAFETY: null or a context, as the header asks for.
    let Some(it) = (unsafe { look(context) }) else { return ptr::null_mut() };
    // SAFETY: null or strings, as the header asks for.
    let (name, source) = unsafe { (text(host), text(source_host)) };
    // getaddrinfo(3): no name is this machine.
    let Some(name) = name.or(host.is_null().then_some("localhost")) else { return ptr::null_mut() };
    let (Some(of), Ok(port)) = (it.of(), u16::try_from(port)) else { return ptr::null_mut() };
    let Some(host) = resolve(name, of) else { return ptr::null_mut() };
    // One that has no address counts for nothing, as upstream.
    let source = source.filter(|source| !source.is_empty()).and_then(|source| resolve(source, of));
    let owner = Owner::new(context, size(ext_size), false);
    let block = owner.block();
    let connection = match &it.context {
        Context::Plain(of) => {
            of.connect_with(&host, port, source.as_deref(), options, owner).map(|socket| socket.map(Connection::Plain))
        }
        Context::Tls(of) => {
            of.connect_with(&host, port, source.as_deref(), options, owner).map(|socket| socket.map(Connection::Tls))
        }
    };
    // Without a socket the block is freed already.
    let Ok(Some(connection)) = connection else { return ptr::null_mut() };
    let failed = either!(Connection, &connection, it => it.error());
    // SAFETY: the socket owns its block.
    let Some(socket) = (unsafe { look(block) }) else { return ptr::null_mut() };
    socket.connection.replace(Some(connection));
    if source.is_some() && failed == Some(SocketError::AddrNotAvailable) {
        socket.close_silently(0);
        return ptr::null_mut();
    }
    block
}

/// Takes a socket of another context over, and returns where it is now.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_socket_context_adopt_socket(
    _ssl: c_int,
    context: *mut us_socket_context_t,
    s: *mut us_socket_t,
    ext_size: c_int,
) -> *mut us_socket_t {
    // SAFETY: null or what the header asks for.
    let (Some(it), Some(socket)) = (unsafe { look(context) }, unsafe { look(s) }) else { return s };
    if socket.closed.get() {
        return s;
    }
    let Some(connection) = socket.connection.take() else { return s };
    let mut block = s;
    let mut move_to = |owner: Owner| {
        let owner = owner.move_to(context, size(ext_size));
        block = owner.block();
        owner
    };
    let adopted = match (&it.context, &connection) {
        (Context::Plain(context), Connection::Plain(socket)) => {
            context.adopt(socket, &mut move_to).map(Connection::Plain)
        }
        (Context::Tls(context), Connection::Tls(socket)) => context.adopt(socket, &mut move_to).map(Connection::Tls),
        // A socket without TLS cannot begin it, nor the other way round.
        _ => Err(UsError::SocketExtNull),
    };
    // SAFETY: the socket owns its block, the old one or the new.
    if let Some(socket) = unsafe { look(block) } {
        socket.connection.replace(Some(adopted.unwrap_or(connection)));
    }
    block
}
