//! Between the core and a context's callbacks: gives them typed sockets, and keeps the user data.

use super::PreOpen;
use super::callback::Callback;
use super::core::{ContextKey, Core, Handler, SocketKey, Told};
use super::ext::Pages;
use super::received::Received;
use super::socket::Socket;
use crate::net::SocketError;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

/// A callback that is told of a socket.
type OnSocket<const SSL: bool, S> = Callback<dyn FnMut(&mut Socket<SSL, S>)>;

/// What makes user data.
pub(super) type Factory<S> = Callback<dyn FnMut() -> S>;

/// The callbacks and the user data of a context.
// The signatures are what a reader looks for here.
#[allow(clippy::type_complexity)]
pub(super) struct Typed<const SSL: bool, S: 'static> {
    pub(super) pages: Pages<S>,
    /// Makes the user data of accepted connections, and of those opened without any.
    pub(super) make: Factory<S>,
    pub(super) pre_open: Callback<dyn FnMut(RawFd, Option<SocketAddr>) -> PreOpen>,
    /// Whether that one wants descriptors.
    pub(super) wants_fd: Cell<bool>,
    pub(super) open: Callback<dyn FnMut(&mut Socket<SSL, S>, bool, &[u8])>,
    pub(super) close: Callback<dyn FnMut(&mut Socket<SSL, S>, i32, Option<SocketError>)>,
    pub(super) data: Callback<dyn FnMut(&mut Socket<SSL, S>, &mut Received<'_>)>,
    pub(super) writable: OnSocket<SSL, S>,
    pub(super) timeout: OnSocket<SSL, S>,
    pub(super) long_timeout: OnSocket<SSL, S>,
    pub(super) end: OnSocket<SSL, S>,
    pub(super) connect_error: Callback<dyn FnMut(&mut Socket<SSL, S>, i32)>,
    pub(super) server_name: Callback<dyn FnMut(&super::ServerNames, &str)>,
    /// The user data of the connection that is being opened now, if the program gave it.
    pub(super) given: RefCell<Option<S>>,
    /// Sockets closed from within `on_close`: told of when it returns.
    closes: RefCell<VecDeque<(Told, i32, Option<SocketError>)>>,
}

impl<const SSL: bool, S> Typed<SSL, S> {
    pub(super) fn new(make: Box<dyn FnMut() -> S>) -> Self {
        let typed = Self {
            pages: Pages::new(),
            make: Callback::new(),
            pre_open: Callback::new(),
            wants_fd: Cell::new(false),
            open: Callback::new(),
            close: Callback::new(),
            data: Callback::new(),
            writable: Callback::new(),
            timeout: Callback::new(),
            long_timeout: Callback::new(),
            end: Callback::new(),
            connect_error: Callback::new(),
            server_name: Callback::new(),
            given: RefCell::new(None),
            closes: RefCell::default(),
        };
        typed.make.set(Some(make));
        typed
    }

    /// A socket's name. `None` if it has no user data here, and so no business.
    #[inline]
    pub(super) fn name(&self, core: &Rc<Core>, told: Told) -> Option<Socket<SSL, S>> {
        let (page, place) = self.pages.page(told.place)?;
        Some(Socket { core: core.clone(), key: told.key, page, place })
    }

    #[inline]
    fn tell(&self, core: &Rc<Core>, told: Told, what: &OnSocket<SSL, S>) {
        if let Some(mut socket) = self.name(core, told) {
            what.call(|f| f(&mut socket));
        }
    }
}

impl<const SSL: bool, S> Handler for Typed<SSL, S> {
    fn attach(&self, socket: SocketKey, make: Option<&dyn Any>) -> u32 {
        let given = self.given.borrow_mut().take();
        let given = given.or_else(|| make?.downcast_ref::<Factory<S>>()?.call(|f| f()));
        // A factory that opens connections itself has none left for them: their sockets have no user data.
        match given.or_else(|| self.make.call(|f| f())) {
            Some(data) => self.pages.put(socket, data),
            None => u32::MAX,
        }
    }

    fn detach(&self, place: u32) {
        self.pages.drop_at(place);
    }

    fn wants_fd(&self) -> bool {
        self.wants_fd.get()
    }

    fn pre_open(&self, fd: RawFd, peer: Option<SocketAddr>) -> PreOpen {
        self.pre_open.call(|f| f(fd, peer)).unwrap_or(PreOpen::Keep)
    }

    fn open(&self, core: &Rc<Core>, told: Told, is_client: bool, ip: &[u8]) {
        if let Some(mut socket) = self.name(core, told) {
            self.open.call(|f| f(&mut socket, is_client, ip));
        }
    }

    fn close(&self, core: &Rc<Core>, told: Told, code: i32, reason: Option<SocketError>) {
        self.closes.borrow_mut().push_back((told, code, reason));
        if self.close.is_running() {
            return;
        }
        loop {
            let next = self.closes.borrow_mut().pop_front();
            let Some((told, code, reason)) = next else { break };
            if let Some(mut socket) = self.name(core, told) {
                self.close.call(|f| f(&mut socket, code, reason));
            }
        }
    }

    #[inline]
    fn data(&self, core: &Rc<Core>, told: Told, bytes: &mut Received<'_>) {
        if let Some(mut socket) = self.name(core, told) {
            self.data.call(|f| f(&mut socket, bytes));
        }
    }

    fn writable(&self, core: &Rc<Core>, told: Told) {
        self.tell(core, told, &self.writable);
    }

    fn end(&self, core: &Rc<Core>, told: Told) {
        self.tell(core, told, &self.end);
    }

    fn timeout(&self, core: &Rc<Core>, told: Told) {
        self.tell(core, told, &self.timeout);
    }

    fn long_timeout(&self, core: &Rc<Core>, told: Told) {
        self.tell(core, told, &self.long_timeout);
    }

    fn connect_error(&self, core: &Rc<Core>, told: Told, code: i32) {
        if let Some(mut socket) = self.name(core, told) {
            self.connect_error.call(|f| f(&mut socket, code));
        }
    }

    fn server_name(&self, core: &Rc<Core>, context: ContextKey, name: &str) {
        let names = super::ServerNames::new(core.clone(), context);
        self.server_name.call(|f| f(&names, name));
    }

    fn forget(&self) {
        self.pre_open.set(None);
        self.open.set(None);
        self.close.set(None);
        self.data.set(None);
        self.writable.set(None);
        self.timeout.set(None);
        self.long_timeout.set(None);
        self.end.set(None);
        self.connect_error.set(None);
        self.server_name.set(None);
        self.make.set(None);
    }
}
