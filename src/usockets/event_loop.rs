//! Loops, as programs hold them, and the way into them from other threads.

use super::callback::Callback;
use super::core::{Core, Hooks};
use super::metrics::Metrics;
use super::queue::Shared;
use super::timer::Timer;
use super::{Poll, SocketContext, SocketContextOptions, UsError};
use crate::net::{self, Readiness, Waker};
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::fmt;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A callback that another thread asks a loop to run, once.
#[allow(clippy::type_complexity)]
pub enum LoopCallback<T: 'static> {
    /// Of its own.
    Box(Box<dyn for<'a> FnOnce(LoopMut<'a, T>) + Send + 'static>),
    /// Shared by several.
    Arc(Arc<dyn for<'a> Fn(LoopMut<'a, T>) + Send + Sync + 'static>),
    /// A function; costs no allocation.
    Fn(for<'a> fn(LoopMut<'a, T>)),
}

impl<T> fmt::Debug for LoopCallback<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Box(_) => "LoopCallback::Box",
            Self::Arc(_) => "LoopCallback::Arc",
            Self::Fn(_) => "LoopCallback::Fn",
        })
    }
}

type Queue<T> = Shared<LoopCallback<T>, Waker>;

/// A callback around the iterations.
type OnLoop<T> = Callback<dyn for<'a> FnMut(LoopMut<'a, T>)>;

/// What a loop and all that refers to it share.
pub(super) struct Inner<T: 'static> {
    pub(super) core: Rc<Core>,
    ext: RefCell<Option<T>>,
    queue: Arc<Queue<T>>,
    /// Callbacks that are being run; empty between two iterations.
    running: RefCell<Vec<LoopCallback<T>>>,
    /// Whether deferred callbacks are run.
    defers: Cell<bool>,
    pre: OnLoop<T>,
    post: OnLoop<T>,
    wakeup: OnLoop<T>,
}

impl<T> Hooks for Rc<Inner<T>> {
    fn pre(&self) {
        self.pre.call(|f| f(LoopMut { inner: self }));
    }

    fn has_deferred(&self) -> bool {
        self.defers.get() && self.queue.has_work()
    }

    fn deferred(&self) -> Result<usize, UsError> {
        if self.queue.take_call() {
            self.wakeup.call(|f| f(LoopMut { inner: self }));
        }
        if !self.has_deferred() {
            return Ok(0);
        }
        let mut callbacks = self.running.take();
        self.queue.take(&mut callbacks)?;
        let count = callbacks.len();
        for callback in callbacks.drain(..) {
            let it = LoopMut { inner: self };
            match callback {
                LoopCallback::Box(f) => f(it),
                LoopCallback::Arc(f) => f(it),
                LoopCallback::Fn(f) => f(it),
            }
        }
        self.running.replace(callbacks);
        Ok(count)
    }

    fn post(&self) {
        self.post.call(|f| f(LoopMut { inner: self }));
    }
}

thread_local! {
    /// Whether a loop runs on this thread.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Says that a loop runs on this thread, as long as it lives.
struct Running<'a, T: 'static>(&'a Queue<T>);

impl<'a, T> Running<'a, T> {
    fn enter(queue: &'a Queue<T>) -> Result<Self, UsError> {
        if RUNNING.replace(true) {
            return Err(UsError::LoopAlreadyRunning);
        }
        queue.enter();
        Ok(Self(queue))
    }
}

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        self.0.leave();
        RUNNING.set(false);
    }
}

/// An event loop, and the owner of everything on it: sockets, listeners, timers, user data. It belongs to the thread that
/// made it.
///
/// ```
/// use nethuns_rs::usockets::{Loop, SocketContextOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let loop_ = Loop::new()?; // on the network that NETHUNS_NET names; without it, the kernel's
/// let echo = loop_.create_socket_context::<false, ()>(SocketContextOptions::default())?;
/// echo.on_data(|socket, data| {
///     socket.write(data, false);
/// });
/// echo.on_end(|socket| socket.close(0));
/// let listener = echo.listen("127.0.0.1", 0, 0)?;
/// # let port = u16::try_from(listener.port())?;
/// # let client = loop_.create_socket_context::<false, ()>(SocketContextOptions::default())?;
/// # client.on_open(|socket, _, _| {
/// #     socket.write(b"hello", false);
/// # });
/// # client.on_data(move |socket, data| {
/// #     assert_eq!(data, b"hello");
/// #     listener.close();
/// #     socket.close(0);
/// # });
/// # client.connect("127.0.0.1", port, None, 0)?;
/// loop_.run()?; // until no socket, listener or timer is left
/// # Ok(())
/// # }
/// ```
pub struct Loop<T: 'static> {
    inner: Rc<Inner<T>>,
}

impl Loop<()> {
    /// A loop on the network that `NETHUNS_NET` names; without it, the kernel's.
    ///
    /// # Errors
    ///
    /// [`LoopCreation`](UsError::LoopCreation) if the network cannot be opened.
    pub fn new() -> Result<Self, UsError> {
        Self::with_ext(())
    }
}

impl<T> Loop<T> {
    /// The same with user data.
    ///
    /// # Errors
    ///
    /// [`LoopCreation`](UsError::LoopCreation) if the network cannot be opened.
    pub fn with_ext(ext: T) -> Result<Self, UsError> {
        let network = net::Builder::from_env().map_err(|error| UsError::LoopCreation { message: error.to_string() })?;
        Self::on_network(network, ext)
    }

    /// A loop on this network, with user data.
    ///
    /// # Errors
    ///
    /// [`LoopCreation`](UsError::LoopCreation) if it cannot be opened.
    pub fn on_network(network: net::Builder, ext: T) -> Result<Self, UsError> {
        let core = Core::new(network)?;
        let waker = core.waker().ok_or(UsError::LoopNotRunning)?;
        let inner = Inner {
            core,
            ext: RefCell::new(Some(ext)),
            queue: Arc::new(Shared::new(waker)),
            running: RefCell::default(),
            defers: Cell::new(true),
            pre: Callback::new(),
            post: Callback::new(),
            wakeup: Callback::new(),
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// What callbacks are given: the loop without the right to run it.
    #[must_use]
    pub fn as_mut(&self) -> LoopMut<'_, T> {
        LoopMut { inner: &self.inner }
    }

    /// The way in from other threads.
    #[must_use]
    pub fn handle(&self) -> LoopHandle<T> {
        self.as_mut().handle()
    }

    /// The network it is on: `kernel`, or the port spec of the engine's.
    #[must_use]
    pub fn network(&self) -> &str {
        self.inner.core.network()
    }

    /// A timer. It keeps the loop running until it is closed.
    ///
    /// # Errors
    ///
    /// [`TimerCreation`](UsError::TimerCreation).
    pub fn create_timer(&self) -> Result<Timer<T>, UsError> {
        Timer::new(&self.inner.core)
    }

    /// A context: sockets with the same callbacks, TLS (if `SSL`) and type of user data.
    ///
    /// # Errors
    ///
    /// [`SocketContextCreation`](UsError::SocketContextCreation) if a file or an option cannot be used,
    /// [`InvalidStringConversion`](UsError::InvalidStringConversion).
    pub fn create_socket_context<const SSL: bool, S: Default>(
        &self,
        options: SocketContextOptions,
    ) -> Result<SocketContext<SSL, T, S>, UsError> {
        self.as_mut().create_socket_context(options)
    }

    /// The same for user data that has no default: `make` makes it for each socket.
    ///
    /// # Errors
    ///
    /// As [`create_socket_context`](Self::create_socket_context).
    pub fn create_socket_context_with<const SSL: bool, S>(
        &self,
        options: SocketContextOptions,
        make: impl FnMut() -> S + 'static,
    ) -> Result<SocketContext<SSL, T, S>, UsError> {
        SocketContext::new(&self.inner, options, Box::new(make))
    }

    /// Calls this in every iteration before it waits.
    pub fn on_pre(&self, callback: impl FnMut(LoopMut<'_, T>) + 'static) {
        self.inner.pre.set(Some(Box::new(callback)));
    }

    /// Calls this at the end of every iteration, when closed sockets are gone.
    pub fn on_post(&self, callback: impl FnMut(LoopMut<'_, T>) + 'static) {
        self.inner.post.set(Some(Box::new(callback)));
    }

    /// Calls this in every iteration before which [`LoopHandle::wake`] was called, once however often that was, and before
    /// what was deferred is run.
    pub fn on_wakeup(&self, callback: impl FnMut(LoopMut<'_, T>) + 'static) {
        self.inner.wakeup.set(Some(Box::new(callback)));
    }

    /// Figures of the loop so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.inner.core.metrics()
    }

    /// Iterations so far, with the one under way.
    #[must_use]
    pub fn iteration_number(&self) -> u64 {
        self.inner.core.iteration()
    }

    /// Whether anything keeps the loop running: a socket (a closed one too, until its iteration ends), a listener or a timer.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.inner.core.is_alive()
    }

    /// Delivers what closed connections owe their peers, for so long at most, and returns whether that was everything. No
    /// callback is called; what happens meanwhile is told by the next iteration. For programs that [step](Self::step) a
    /// loop and end without dropping it: dropping does the same.
    ///
    /// # Errors
    ///
    /// [`NetworkOperation`](UsError::NetworkOperation) if the network itself fails.
    pub fn drain(&self, timeout: Duration) -> Result<bool, UsError> {
        self.inner.core.drain(timeout)
    }

    /// One iteration, which waits for `timeout` at most; without one, until something is to be done. Returns whether
    /// anything is left that keeps the loop running. For programs that have a loop of their own.
    ///
    /// # Errors
    ///
    /// [`LoopAlreadyRunning`](UsError::LoopAlreadyRunning) from within a callback;
    /// [`NetworkOperation`](UsError::NetworkOperation) if the network itself fails.
    pub fn step(&mut self, timeout: Option<Duration>) -> Result<bool, UsError> {
        let _running = Running::enter(&self.inner.queue)?;
        self.inner.core.turn(timeout, &self.inner)?;
        Ok(self.inner.core.is_alive())
    }

    /// Runs until no socket, listener or timer is left and nothing is deferred; then delivers what closed connections owe.
    ///
    /// # Errors
    ///
    /// [`LoopAlreadyRunning`](UsError::LoopAlreadyRunning) if a loop runs on this thread;
    /// [`NetworkOperation`](UsError::NetworkOperation) if the network itself fails.
    pub fn run(self) -> Result<(), UsError> {
        self.run_to_the_end()
    }

    /// The same, but what is deferred is not run.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_simple(self) -> Result<(), UsError> {
        self.inner.defers.set(false);
        self.run_to_the_end()
    }

    fn run_to_the_end(&self) -> Result<(), UsError> {
        let _running = Running::enter(&self.inner.queue)?;
        while self.inner.core.is_alive() || self.inner.has_deferred() {
            self.inner.core.turn(None, &self.inner)?;
        }
        Ok(())
    }
}

impl<T> Drop for Loop<T> {
    fn drop(&mut self) {
        // Callbacks may hold what holds them, so they are dropped here and not with the last reference.
        self.inner.queue.end();
        self.inner.core.end();
        self.inner.pre.set(None);
        self.inner.post.set(None);
        self.inner.wakeup.set(None);
        let ext = self.inner.ext.try_borrow_mut().map(|mut ext| ext.take());
        drop(ext);
    }
}

impl<T> fmt::Debug for Loop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loop({})", self.network())
    }
}

/// A loop as its callbacks see it: everything but running it.
pub struct LoopMut<'a, T: 'static> {
    inner: &'a Rc<Inner<T>>,
}

impl<'a, T> LoopMut<'a, T> {
    pub(super) fn of(inner: &'a Rc<Inner<T>>) -> Self {
        Self { inner }
    }

    #[cfg(feature = "usockets-udp")]
    pub(super) fn core(&self) -> &'a Rc<Core> {
        &self.inner.core
    }

    /// The way in from other threads.
    #[must_use]
    pub fn handle(&self) -> LoopHandle<T> {
        LoopHandle { queue: self.inner.queue.clone() }
    }

    /// The network it is on: `kernel`, or the port spec of the engine's.
    #[must_use]
    pub fn network(&self) -> &'a str {
        self.inner.core.network()
    }

    /// A timer. It keeps the loop running until it is closed.
    ///
    /// # Errors
    ///
    /// [`TimerCreation`](UsError::TimerCreation).
    pub fn create_timer<S: 'static>(&self) -> Result<Timer<S>, UsError> {
        Timer::new(&self.inner.core)
    }

    /// As [`Loop::create_socket_context`].
    ///
    /// # Errors
    ///
    /// As [`Loop::create_socket_context`].
    pub fn create_socket_context<const SSL: bool, S: Default>(
        &self,
        options: SocketContextOptions,
    ) -> Result<SocketContext<SSL, T, S>, UsError> {
        SocketContext::new(self.inner, options, Box::new(S::default))
    }

    /// Delivers what closed connections owe their peers, as [`Loop::drain`]. For programs that end within a callback.
    ///
    /// # Errors
    ///
    /// As [`Loop::drain`].
    pub fn drain(&self, timeout: Duration) -> Result<bool, UsError> {
        self.inner.core.drain(timeout)
    }

    /// Lets the time of the timeouts move on by a sweep (four seconds), and calls what is due. The loop does so by itself;
    /// this is for tests that do not want to wait (`us_internal_timer_sweep`). Does nothing within a sweep.
    pub fn sweep(&self) {
        self.inner.core.sweep_now();
    }

    /// Whether anything keeps the loop running, as [`Loop::is_alive`].
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.inner.core.is_alive()
    }

    /// Watches a descriptor of the program's own, which the program keeps open meanwhile, for `READABLE`, for `WRITABLE`, for
    /// both or for the time being for neither. The callback is told what of it is so in every iteration as long as it is so;
    /// with `CLOSED` there is an error or a hang-up, and then nothing that was asked for has to be waited for.
    ///
    /// # Errors
    ///
    /// [`NetworkOperation`](UsError::NetworkOperation) if `epoll(7)` does not take it: no descriptor, a regular file, one
    /// that is watched already; [`LoopNotRunning`](UsError::LoopNotRunning) once the loop has ended.
    pub fn create_poll(
        &self,
        fd: RawFd,
        events: Readiness,
        callback: impl FnMut(&Poll, Readiness) + 'static,
    ) -> Result<Poll, UsError> {
        Poll::new(&self.inner.core, fd, events, Box::new(callback))
    }

    /// Runs this in the next iteration.
    ///
    /// # Errors
    ///
    /// As [`LoopHandle::defer`].
    pub fn defer(&self, callback: impl FnOnce(LoopMut<'_, T>) + Send + 'static) -> Result<(), UsError> {
        self.handle().defer(callback)
    }

    /// The loop's user data: `None` when the loop has ended, or while it is borrowed mutably.
    #[must_use]
    pub fn ext(&self) -> Option<Ref<'a, T>> {
        Ref::filter_map(self.inner.ext.try_borrow().ok()?, Option::as_ref).ok()
    }

    /// The loop's user data: `None` when the loop has ended, or while it is borrowed.
    #[must_use]
    pub fn ext_mut(&self) -> Option<RefMut<'a, T>> {
        RefMut::filter_map(self.inner.ext.try_borrow_mut().ok()?, Option::as_mut).ok()
    }

    /// The loop's user data.
    ///
    /// # Errors
    ///
    /// [`LoopExtNull`](UsError::LoopExtNull) when the loop has ended, or while it is borrowed mutably.
    pub fn try_ext(&self) -> Result<Ref<'a, T>, UsError> {
        self.ext().ok_or(UsError::LoopExtNull)
    }

    /// Figures of the loop so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.inner.core.metrics()
    }

    /// Iterations so far, with the one under way.
    #[must_use]
    pub fn iteration_number(&self) -> u64 {
        self.inner.core.iteration()
    }
}

impl<T> Clone for LoopMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for LoopMut<'_, T> {}

impl<T> fmt::Debug for LoopMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoopMut({})", self.network())
    }
}

/// The way into a loop from any thread. Harmless once the loop has ended.
pub struct LoopHandle<T: 'static> {
    queue: Arc<Queue<T>>,
}

impl<T> LoopHandle<T> {
    /// Whether the calling thread is the one that runs the loop.
    #[must_use]
    pub fn is_on_loop_thread(&self) -> bool {
        self.queue.is_on_thread()
    }

    /// Whether the loop runs.
    #[must_use]
    pub fn is_loop_running(&self) -> bool {
        self.queue.is_running()
    }

    /// Whether the loop exists.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.queue.is_valid()
    }

    /// The calling thread must be the one that runs the loop.
    ///
    /// # Errors
    ///
    /// [`LoopNotRunning`](UsError::LoopNotRunning), [`NotOnLoopThread`](UsError::NotOnLoopThread).
    pub fn check_thread(&self) -> Result<(), UsError> {
        if !self.is_loop_running() {
            Err(UsError::LoopNotRunning)
        } else if !self.is_on_loop_thread() {
            Err(UsError::NotOnLoopThread)
        } else {
            Ok(())
        }
    }

    /// Runs this on the loop's thread, in its next iteration; a loop that does not run yet keeps it until it does. A loop
    /// that ends drops what it has not run.
    ///
    /// # Errors
    ///
    /// [`LoopNotRunning`](UsError::LoopNotRunning) once the loop has ended, [`MutexLockFailed`](UsError::MutexLockFailed).
    pub fn defer(&self, callback: impl FnOnce(LoopMut<'_, T>) + Send + 'static) -> Result<(), UsError> {
        self.defer_callback(LoopCallback::Box(Box::new(callback)))
    }

    /// The same in any of the forms of [`LoopCallback`].
    ///
    /// # Errors
    ///
    /// As [`defer`](Self::defer).
    pub fn defer_callback(&self, callback: LoopCallback<T>) -> Result<(), UsError> {
        self.queue.push(callback)
    }

    /// Makes the loop go through an iteration.
    pub fn wake(&self) {
        self.queue.wake();
    }
}

impl<T> Clone for LoopHandle<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<T> fmt::Debug for LoopHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("valid", &self.is_valid()).field("running", &self.is_loop_running()).finish()
    }
}
