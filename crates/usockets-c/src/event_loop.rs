//! `us_loop_t`.
#![allow(unsafe_code)]

use crate::context::us_socket_context_t;
use crate::memory::{self, Head, Kind, Object, look};
use crate::network;
use crate::socket::{Owner, us_listen_socket_t, us_socket_t};
use crate::udp::us_udp_socket_t;
use nethuns_rs::usockets::{Loop, LoopCallback, LoopHandle, LoopMut, SocketContext, SocketContextOptions};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_longlong, c_uint, c_void};
use std::ptr;
use std::time::Duration;

/// Most bytes that are given to `on_data` at once; `LIBUS_RECV_BUFFER_LENGTH`.
const RECV_BUFFER_LENGTH: usize = 512 << 10;
/// Bytes before and after them that `on_data` may write to; `LIBUS_RECV_BUFFER_PADDING`.
pub(crate) const RECV_BUFFER_PADDING: u8 = 32;

/// How long closed sockets may take to deliver what they owe.
const LINGER: Duration = Duration::from_secs(30);
/// The same when the process ends: some of them may have their peers in it, and those do not read any more.
const LINGER_AT_EXIT: Duration = Duration::from_secs(10);

/// What a loop calls around its iterations.
pub(crate) type OnLoop = Option<unsafe extern "C" fn(*mut us_loop_t)>;

/// The user data of a loop in Rust: the block that belongs to it.
#[derive(Default)]
pub(crate) struct LoopRef(Cell<*mut us_loop_t>);

/// Blocks that are freed at the end of the iteration.
enum Grave {
    Socket(*mut us_socket_t),
    Listener(*mut us_listen_socket_t),
    Context(*mut us_socket_context_t),
}

/// `us_loop_t`
#[repr(C, align(16))]
pub(crate) struct us_loop_t {
    head: Head,
    /// The only thing here that other threads touch.
    handle: LoopHandle<LoopRef>,
    pre: OnLoop,
    post: OnLoop,
    name: CString,
    /// What keeps the loop running: sockets until they are freed, listeners, timers that do not fall through.
    polls: Cell<usize>,
    /// Whether it runs: then the loop itself is borrowed, and what callbacks need they get from the anchor.
    running: Cell<bool>,
    /// Whether it is to be freed as soon as it does not run any more.
    free_later: Cell<bool>,
    /// The loop itself; borrowed while it runs.
    of: RefCell<Option<Loop<LoopRef>>>,
    /// A context without sockets, which leads to the loop also while it runs.
    anchor: RefCell<Option<SocketContext<false, LoopRef, Owner>>>,
    graves: RefCell<Vec<Grave>>,
    /// UDP sockets, which programs do not free.
    udp: RefCell<Vec<*mut us_udp_socket_t>>,
    /// The next loop of the thread.
    next: Cell<*mut us_loop_t>,
    /// Sockets that want to be told that they can be written to, though no write of theirs was cut short.
    curious: RefCell<Vec<*mut us_socket_t>>,
    /// What `us_socket_send_buffer` lends.
    sending: RefCell<Vec<u8>>,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_loop_t {
    const KIND: Kind = Kind::Loop;
}

impl us_loop_t {
    /// The network it is on.
    pub(crate) fn network(&self) -> &CStr {
        &self.name
    }

    /// The loop in Rust, for whatever may be done while it runs.
    pub(crate) fn with<R>(&self, f: impl FnOnce(LoopMut<'_, LoopRef>) -> R) -> Option<R> {
        let anchor = self.anchor.borrow();
        Some(f(anchor.as_ref()?.loop_mut()))
    }

    /// Something keeps the loop running.
    pub(crate) fn keep(&self) {
        self.polls.set(self.polls.get() + 1);
    }

    /// It does so no longer.
    pub(crate) fn let_go(&self) {
        self.polls.set(self.polls.get().saturating_sub(1));
    }

    /// Frees a block that a socket has moved out of, when the iteration ends.
    pub(crate) fn bury_socket(&self, block: *mut us_socket_t) {
        self.graves.borrow_mut().push(Grave::Socket(block));
    }

    /// Frees a closed listener when the iteration ends.
    pub(crate) fn bury_listener(&self, block: *mut us_listen_socket_t) {
        self.graves.borrow_mut().push(Grave::Listener(block));
    }

    /// Frees a context when the iteration ends: by then its sockets are.
    pub(crate) fn bury_context(&self, block: *mut us_socket_context_t) {
        self.graves.borrow_mut().push(Grave::Context(block));
    }

    /// Frees what is buried.
    fn clear_graves(&self) {
        let graves = self.graves.take();
        for grave in &graves {
            match *grave {
                // SAFETY: each block was buried once, by the function that took it from the program.
                Grave::Socket(block) => unsafe { memory::free(block) },
                // SAFETY: as above.
                Grave::Listener(block) => unsafe { memory::free(block) },
                Grave::Context(_) => {}
            }
        }
        for grave in graves {
            if let Grave::Context(block) = grave {
                // SAFETY: as above; nothing refers to contexts but sockets and listeners, which are gone.
                unsafe { memory::free(block) };
            }
        }
    }

    /// Tells a socket in the next iteration that it can be written to.
    pub(crate) fn tell_writable(&self, socket: *mut us_socket_t) {
        let first = self.curious.borrow().is_empty();
        self.curious.borrow_mut().push(socket);
        if first {
            // It fails only when the loop has ended, and then there is nobody to be told.
            let _ = self.handle.defer_callback(LoopCallback::Fn(tell_curious));
        }
    }

    /// Forgets about a socket that was to be told, as it goes.
    pub(crate) fn forget_curious(&self, socket: *mut us_socket_t) {
        self.curious.borrow_mut().retain(|curious| *curious != socket);
    }

    /// A buffer to prepare writes in.
    pub(crate) fn send_buffer(&self) -> *mut u8 {
        let mut buffer = self.sending.borrow_mut();
        if buffer.is_empty() {
            *buffer = vec![0; RECV_BUFFER_LENGTH];
        }
        buffer.as_mut_ptr()
    }

    /// Keeps a UDP socket until the loop is freed.
    pub(crate) fn add_udp(&self, block: *mut us_udp_socket_t) {
        self.udp.borrow_mut().push(block);
        self.keep();
    }

    fn run(&self) {
        if self.running.replace(true) {
            return;
        }
        while self.polls.get() > 0 {
            let Ok(mut of) = self.of.try_borrow_mut() else { break };
            let Some(of) = of.as_mut() else { break };
            if let Err(error) = of.step(None) {
                eprintln!("libusockets: the loop on {} stops: {error}", self.name.to_string_lossy());
                break;
            }
        }
        self.running.set(false);
        self.drain(LINGER);
    }

    /// Delivers what closed sockets owe: the program may end without freeing the loop.
    fn drain(&self, linger: Duration) {
        if let Some(Err(error)) = self.with(|of| of.drain(linger)) {
            eprintln!("libusockets: cannot deliver what is left: {error}");
        }
    }

    /// The end of everything on the loop.
    fn end(&self) {
        // The sockets first, then the contexts that they refer to.
        drop(self.of.take());
        for socket in self.udp.take() {
            // SAFETY: made by `us_create_udp_socket`, and the loop's since.
            unsafe { memory::free(socket) };
        }
        self.anchor.take();
        self.clear_graves();
    }
}

thread_local! {
    /// The loops of this thread. Nothing here is dropped, so it can be looked at until the very end.
    static LOOPS: Cell<*mut us_loop_t> = const { Cell::new(ptr::null_mut()) };
}

/// Delivers what closed sockets owe when the process ends, as the kernel would.
extern "C" fn at_exit() {
    let mut block = LOOPS.get();
    // SAFETY: freed loops are taken off the list.
    while let Some(it) = unsafe { look(block) } {
        // A program that ends in the middle of something, such as a signal, ends without this.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| it.drain(LINGER_AT_EXIT)));
        block = it.next.get();
    }
}

fn register(block: *mut us_loop_t) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: the function is there as long as the process is. Without memory for it, nothing is delivered at the end.
        unsafe { libc::atexit(at_exit) };
    });
    // SAFETY: made just now.
    if let Some(it) = unsafe { look(block) } {
        it.next.set(LOOPS.replace(block));
    }
}

fn unregister(block: *mut us_loop_t, it: &us_loop_t) {
    if LOOPS.get() == block {
        LOOPS.set(it.next.get());
        return;
    }
    let mut other = LOOPS.get();
    // SAFETY: freed loops are taken off the list.
    while let Some(before) = unsafe { look(other) } {
        other = before.next.get();
        if other == block {
            before.next.set(it.next.get());
        }
    }
}

/// The block of a loop that Rust calls back with.
fn block(of: LoopMut<'_, LoopRef>) -> *mut us_loop_t {
    of.ext().map_or(ptr::null_mut(), |it| it.0.get())
}

/// Tells those who wanted to be told.
fn tell_curious(of: LoopMut<'_, LoopRef>) {
    // SAFETY: the loop runs, so its block is there.
    let Some(it) = (unsafe { look(block(of)) }) else { return };
    let mut left = it.curious.borrow().len();
    // One at a time: each may close any other, which takes it off the list.
    while left > 0 {
        left -= 1;
        let socket = match it.curious.borrow_mut() {
            mut curious if !curious.is_empty() => curious.remove(0),
            _ => break,
        };
        crate::told::writable_at_once(socket);
    }
    if !it.curious.borrow().is_empty() {
        let _ = it.handle.defer_callback(LoopCallback::Fn(tell_curious));
    }
}

fn call(callback: OnLoop, block: *mut us_loop_t) {
    if let Some(callback) = callback {
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block) };
    }
}

/// A loop on the network that the hint, `us_stack_configure` or `NETHUNS_NET` names. Null, and a line on stderr, if that
/// network cannot be opened.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_create_loop(
    hint: *mut c_void,
    wakeup: OnLoop,
    pre: OnLoop,
    post: OnLoop,
    ext_size: c_uint,
) -> *mut us_loop_t {
    match create(hint, wakeup, pre, post, ext_size) {
        Ok(block) => block,
        Err(message) => {
            eprintln!("libusockets: {message}");
            ptr::null_mut()
        }
    }
}

fn create(
    hint: *const c_void,
    wakeup: OnLoop,
    pre: OnLoop,
    post: OnLoop,
    ext_size: c_uint,
) -> Result<*mut us_loop_t, String> {
    let network = network::of(hint).map_err(|error| error.to_string())?;
    let of = Loop::on_network(network, LoopRef::default()).map_err(|error| error.to_string())?;
    let anchor = of
        .create_socket_context::<false, Owner>(SocketContextOptions::default())
        .map_err(|error| format!("cannot create the loop: {error}"))?;
    let block = memory::make(ext_size, |head| us_loop_t {
        head,
        handle: of.handle(),
        pre,
        post,
        name: CString::new(of.network()).unwrap_or_default(),
        polls: Cell::new(0),
        running: Cell::new(false),
        free_later: Cell::new(false),
        of: RefCell::new(None),
        anchor: RefCell::new(Some(anchor)),
        graves: RefCell::default(),
        udp: RefCell::default(),
        next: Cell::new(ptr::null_mut()),
        curious: RefCell::default(),
        sending: RefCell::default(),
    });
    if let Some(it) = of.as_mut().ext() {
        it.0.set(block);
    }
    of.on_wakeup(move |_| call(wakeup, block));
    of.on_pre(move |_| {
        // SAFETY: the loop lives in its block.
        if let Some(it) = unsafe { look(block) } {
            call(it.pre, block);
        }
    });
    of.on_post(move |_| {
        // SAFETY: as above.
        if let Some(it) = unsafe { look(block) } {
            it.clear_graves();
            call(it.post, block);
        }
    });
    // SAFETY: made just now.
    if let Some(it) = unsafe { look(block) } {
        it.of.replace(Some(of));
    }
    register(block);
    Ok(block)
}

/// Frees the loop: its sockets are closed without a word, and what they owe is delivered. Within a callback of the loop
/// that happens when it has stopped.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_loop_free(loop_: *mut us_loop_t) {
    // SAFETY: null or a loop, as the header asks for.
    let Some(it) = (unsafe { look(loop_) }) else { return };
    if it.running.get() {
        it.free_later.set(true);
        return;
    }
    unregister(loop_, it);
    it.end();
    // SAFETY: the program's last use of it; what referred to it is gone.
    unsafe { memory::free(loop_) };
}

/// The loop's extension.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_loop_ext(loop_: *mut us_loop_t) -> *mut c_void {
    // SAFETY: null or a loop, as the header asks for.
    if unsafe { look(loop_) }.is_none() {
        return ptr::null_mut();
    }
    // SAFETY: it is there.
    unsafe { memory::ext(loop_) }
}

/// Runs the loop until nothing keeps it running. It can be run again.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_loop_run(loop_: *mut us_loop_t) {
    // SAFETY: null or a loop, as the header asks for.
    let Some(it) = (unsafe { look(loop_) }) else { return };
    if it.running.get() {
        return;
    }
    it.run();
    if it.free_later.get() {
        // SAFETY: it was freed by the program from within.
        unsafe { us_loop_free(loop_) };
    }
}

/// Makes the loop call its `wakeup_cb`, once however often this is called before it does. From any thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_wakeup_loop(loop_: *mut us_loop_t) {
    // SAFETY: null or a loop, as the header asks for. Of its fields only the handle is touched, which is for any thread.
    if let Some(it) = unsafe { look(loop_) } {
        it.handle.wake();
    }
}

/// Does nothing: timeouts need no other loop to count them.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_loop_integrate(_loop: *mut us_loop_t) {}

/// Iterations so far, with the one under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_loop_iteration_number(loop_: *mut us_loop_t) -> c_longlong {
    // SAFETY: null or a loop, as the header asks for.
    let Some(it) = (unsafe { look(loop_) }) else { return 0 };
    it.with(|of| of.iteration_number()).map_or(0, |number| number.cast_signed())
}

/// Lets four seconds pass for timeouts, at once. Upstream's tests call it.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_internal_timer_sweep(loop_: *mut us_loop_t) {
    // SAFETY: null or a loop, as the header asks for.
    if let Some(it) = unsafe { look(loop_) } {
        it.with(|of| of.sweep());
    }
}
