//! `us_poll_t`: descriptors of the program's own, and sockets as programs look at them to pause and to resume them.
#![allow(unsafe_code)]

use crate::event_loop::us_loop_t;
use crate::memory::{self, Head, Kind, Object, look};
use crate::socket::{READABLE, WRITABLE, us_socket_t};
use nethuns_rs::usockets::{Poll, Readiness};
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_uint, c_void};
use std::ptr;
use std::rc::Rc;

/// What `us_poll_on_event` sets.
type OnEvent = Option<unsafe extern "C" fn(*mut us_poll_t, c_int)>;

/// The type of upstream's polls that have a callback in their extension.
const TYPE_CALLBACK: c_int = 3;

/// The extension of such a poll, as upstream lays it out.
#[repr(C)]
struct Callback {
    of: *mut us_loop_t,
    expects_the_loop: c_int,
    leaves_ready: c_int,
    callback: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// `us_poll_t`
#[repr(C, align(16))]
pub(crate) struct us_poll_t {
    head: Head,
    of: *mut us_loop_t,
    fd: Cell<c_int>,
    kind: Cell<c_int>,
    events: Cell<c_int>,
    on_event: Cell<OnEvent>,
    /// Whether it lets the loop end.
    fallthrough: bool,
    watch: RefCell<Option<Poll>>,
    /// Where it is: what Rust calls back with.
    at: Rc<Cell<*mut us_poll_t>>,
}

// SAFETY: `repr(C)`, begins with its `Head`, the only one of its kind.
unsafe impl Object for us_poll_t {
    const KIND: Kind = Kind::Poll;
}

fn readiness(events: c_int) -> Readiness {
    let readable = if events & READABLE != 0 { Readiness::READABLE } else { Readiness::NONE };
    let writable = if events & WRITABLE != 0 { Readiness::WRITABLE } else { Readiness::NONE };
    readable | writable
}

impl us_poll_t {
    fn start(&self, events: c_int) {
        self.events.set(events & (READABLE | WRITABLE));
        if let Some(watch) = &*self.watch.borrow() {
            // It fails if the program has closed the descriptor: then there is nothing to be told.
            let _ = watch.change(readiness(events));
            return;
        }
        let at = self.at.clone();
        // SAFETY: polls are freed before their loop.
        let watch = unsafe { look(self.of) }.and_then(|of| {
            of.with(|of| of.create_poll(self.fd.get(), readiness(events), move |_, what| ready(at.get(), what)))
        });
        match watch {
            Some(Ok(watch)) => {
                // What keeps the loop running is counted here, from the making of the poll to its end.
                watch.set_keeps_alive(false);
                self.watch.replace(Some(watch));
            }
            Some(Err(error)) => eprintln!("libusockets: {error}"),
            None => {}
        }
    }
}

/// Something is so of a descriptor.
fn ready(block: *mut us_poll_t, what: Readiness) {
    // SAFETY: a poll that is freed is not watched any more.
    let Some(it) = (unsafe { look(block) }) else { return };
    let mut events = 0;
    for (flag, event) in [(Readiness::READABLE, READABLE), (Readiness::WRITABLE, WRITABLE)] {
        // With an error or a hang-up nothing has to be waited for.
        if what.contains(flag) || what.contains(Readiness::CLOSED) {
            events |= event & it.events.get();
        }
    }
    if let Some(callback) = it.on_event.get() {
        // SAFETY: a callback of the program, called as the header says.
        unsafe { callback(block, events) };
    } else if it.kind.get() == TYPE_CALLBACK && memory::ext_size(it) as usize >= size_of::<Callback>() {
        // SAFETY: the extension is large enough, aligned, and of a program that has chosen this type.
        let Callback { of, expects_the_loop, leaves_ready, callback } =
            unsafe { memory::ext(block).cast::<Callback>().read() };
        if leaves_ready == 0 {
            let mut count = [0_u8; 8];
            // SAFETY: eight bytes, as of eventfd(2) and timerfd_create(2); what they say does not matter.
            unsafe { libc::read(it.fd.get(), count.as_mut_ptr().cast(), count.len()) };
        }
        if let Some(callback) = callback {
            // SAFETY: as upstream would call it.
            unsafe { callback(if expects_the_loop == 0 { block.cast() } else { of.cast() }) };
        }
    } else {
        // There is nobody to be told, again and again.
        it.start(0);
    }
}

/// A poll. Unless it falls through it keeps the loop running until it is freed. Null if there is no loop.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_create_poll(loop_: *mut us_loop_t, fallthrough: c_int, ext_size: c_uint) -> *mut us_poll_t {
    // SAFETY: null or a loop, as the header asks for.
    let Some(of) = (unsafe { look(loop_) }) else { return ptr::null_mut() };
    let fallthrough = fallthrough != 0;
    if !fallthrough {
        of.keep();
    }
    let at = Rc::new(Cell::new(ptr::null_mut()));
    let block = memory::make(ext_size, |head| us_poll_t {
        head,
        of: loop_,
        fd: Cell::new(-1),
        kind: Cell::new(0),
        events: Cell::new(0),
        on_event: Cell::new(None),
        fallthrough,
        watch: RefCell::new(None),
        at: at.clone(),
    });
    at.set(block);
    block
}

/// Frees a poll. The descriptor stays open.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_free(p: *mut us_poll_t, _loop: *mut us_loop_t) {
    // SAFETY: null, a poll or a socket, as the header asks for. Sockets are not the program's to be freed.
    let Some(it) = (unsafe { look(p) }) else { return };
    if !it.fallthrough {
        // SAFETY: polls are freed before their loop.
        if let Some(of) = unsafe { look(it.of) } {
            of.let_go();
        }
    }
    // SAFETY: the program's last use of it. The closure that calls back may still run, and does not look at it any more.
    unsafe { memory::free(p) };
}

/// Says which descriptor a poll is of.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_init(p: *mut us_poll_t, fd: c_int, poll_type: c_int) {
    // SAFETY: null, a poll or a socket, as the header asks for.
    if let Some(it) = unsafe { look(p) } {
        it.fd.set(fd);
        it.kind.set(poll_type);
    }
}

/// Sets what is called when something is so that is polled for, in every iteration as long as it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_on_event(p: *mut us_poll_t, callback: OnEvent) {
    // SAFETY: null, a poll or a socket, as the header asks for.
    if let Some(it) = unsafe { look(p) } {
        it.on_event.set(callback);
    }
}

/// Begins to poll for these events.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_start(p: *mut us_poll_t, loop_: *mut us_loop_t, events: c_int) {
    // SAFETY: null, a poll or a socket, as the header asks for.
    match unsafe { look(p) } {
        Some(it) => it.start(events),
        // SAFETY: as the caller promises.
        None => unsafe { us_poll_change(p, loop_, events) },
    }
}

/// Polls for these events from now on. Without `LIBUS_SOCKET_READABLE` a socket is paused.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_change(p: *mut us_poll_t, _loop: *mut us_loop_t, events: c_int) {
    // SAFETY: null, a poll or a socket, as the header asks for.
    unsafe {
        if let Some(it) = look(p) {
            if it.watch.borrow().is_some() && events != it.events.get() {
                it.start(events);
            }
        } else if let Some(it) = look(p.cast::<us_socket_t>()) {
            it.change(p.cast(), events);
        }
    }
}

/// Polls for nothing any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_stop(p: *mut us_poll_t, loop_: *mut us_loop_t) {
    // SAFETY: null, a poll or a socket, as the header asks for.
    unsafe {
        if let Some(it) = look(p) {
            it.events.set(0);
            let watch = it.watch.take();
            drop(watch);
        } else {
            us_poll_change(p, loop_, 0);
        }
    }
}

/// What is polled for.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_events(p: *mut us_poll_t) -> c_int {
    // SAFETY: null, a poll or a socket, as the header asks for.
    unsafe {
        match look(p) {
            Some(it) => it.events.get(),
            None => look(p.cast::<us_socket_t>()).map_or(0, |it| it.events.get()),
        }
    }
}

/// The extension.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_ext(p: *mut us_poll_t) -> *mut c_void {
    // SAFETY: null, a poll or a socket, as the header asks for.
    unsafe {
        if look(p).is_some() {
            return memory::ext(p);
        }
        let socket = p.cast::<us_socket_t>();
        if look(socket).is_some() { memory::ext(socket) } else { ptr::null_mut() }
    }
}

/// The descriptor; -1 if there is none.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_fd(p: *mut us_poll_t) -> c_int {
    // SAFETY: null, a poll or a socket, as the header asks for.
    unsafe {
        match look(p) {
            Some(it) => it.fd.get(),
            None => look(p.cast::<us_socket_t>()).map_or(-1, us_socket_t::fd),
        }
    }
}

/// Gives a poll an extension of another size, whose beginning is kept. It is where the result points to from then on. Sockets
/// stay as they are: `us_socket_context_adopt_socket` is for them.
#[unsafe(no_mangle)]
unsafe extern "C" fn us_poll_resize(p: *mut us_poll_t, _loop: *mut us_loop_t, ext_size: c_uint) -> *mut us_poll_t {
    // SAFETY: null, a poll or a socket, as the header asks for.
    let Some(it) = (unsafe { look(p) }) else { return p };
    let block = memory::make(ext_size, |head| us_poll_t {
        head,
        of: it.of,
        fd: it.fd.clone(),
        kind: it.kind.clone(),
        events: it.events.clone(),
        on_event: it.on_event.clone(),
        fallthrough: it.fallthrough,
        watch: RefCell::new(it.watch.take()),
        at: it.at.clone(),
    });
    it.at.set(block);
    // SAFETY: both are there; the old one is not used any more.
    unsafe {
        memory::copy_ext(p, block);
        memory::free(p);
    }
    block
}
