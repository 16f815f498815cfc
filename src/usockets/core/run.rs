//! One iteration after the other, and the end.

use super::records::{Flags, Place};
use super::{Core, HANDSHAKES_AT_ONCE, LINGER, State};
use crate::net::{Event, Net, SocketError};
use crate::usockets::UsError;
use slotmap::SlotMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What the typed loop does around the core's work.
pub(in crate::usockets) trait Hooks {
    /// Before the iteration waits.
    fn pre(&self);
    /// Whether other threads, or callbacks, have asked for something.
    fn has_deferred(&self) -> bool;
    /// Tells of wake-ups, runs what other threads have asked for, and says how much that was.
    fn deferred(&self) -> Result<usize, UsError>;
    /// When everything of the iteration is done, and closed sockets are gone.
    fn post(&self);
}

/// Most events of one iteration: a network that always has another one must not keep timers waiting.
const EVENTS_AT_ONCE: usize = 8192;

/// The smaller of two that may not be there.
fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Core {
    /// Whether anything keeps the loop going: a socket of any kind, a listener, a timer or a watched descriptor.
    pub(in crate::usockets) fn is_alive(&self) -> bool {
        let state = self.state.borrow();
        state.sockets.len() + state.listeners.len() + state.timers.len() + state.udp.len() + state.polls.keeping() > 0
    }

    /// One iteration. Waits for `timeout` at most; without one, for as long as nothing is to be done.
    pub(in crate::usockets) fn turn(
        self: &Rc<Self>,
        timeout: Option<Duration>,
        hooks: &dyn Hooks,
    ) -> Result<(), UsError> {
        {
            let mut state = self.state.borrow_mut();
            state.iteration += 1;
            state.handshakes_left = HANDSHAKES_AT_ONCE;
        }
        hooks.pre();
        self.wait(if hooks.has_deferred() { Some(Duration::ZERO) } else { timeout })?;
        let begun = self.state.borrow().now;
        let deferred = hooks.deferred()?;
        self.resolved();
        self.fire_timers();
        self.handshakes();
        self.udp_go_on();
        self.events();
        self.go_on();
        self.sweep();
        self.free_closed();
        hooks.post();
        let mut state = self.state.borrow_mut();
        state.metrics.iterations += 1;
        state.metrics.deferred += deferred as u64;
        let busy = begun.elapsed();
        state.metrics.busy.record(busy);
        Ok(())
    }

    /// Waits for the network.
    fn wait(&self, timeout: Option<Duration>) -> Result<(), UsError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let Some(net) = &mut state.net else { return Err(UsError::LoopNotRunning) };
        let busy = !(state.again.is_empty()
            && state.low_priority.is_empty()
            && state.failed.is_empty()
            && !state.udp.is_busy()
            && state.closed.is_empty());
        let before = Instant::now();
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            let sweep = (!state.short.is_empty() || !state.long.is_empty()).then_some(state.next_sweep);
            let due = earlier(state.timers.next_deadline(), sweep);
            earlier(due.map(|due| due.saturating_duration_since(before)), timeout)
        };
        net.poll(timeout).map_err(|error| UsError::NetworkOperation { operation: error.to_string() })?;
        state.now = Instant::now();
        state.metrics.waiting.record(state.now - before);
        Ok(())
    }

    /// Names whose addresses are known now.
    fn resolved(self: &Rc<Self>) {
        loop {
            let mut state = self.state.borrow_mut();
            let Some((ticket, result)) = state.resolver.finished() else { break };
            let Some(mut pending) = state.resolving.remove(&ticket) else { continue };
            let key = pending.socket;
            match result {
                Ok(addresses) => {
                    pending.addresses = addresses.into_iter();
                    state.fail(key, SocketError::HostUnreachable);
                    state.try_next(pending);
                }
                Err(_) => {
                    state.fail(key, SocketError::HostUnreachable);
                    state.failed.push(key);
                }
            }
        }
    }

    fn fire_timers(&self) {
        loop {
            let mut state = self.state.borrow_mut();
            let now = state.now;
            let Some(id) = state.timers.expired(now) else { break };
            let handler = state.timer_handlers.get(&id).cloned();
            state.metrics.timers += 1;
            drop(state);
            if let Some(handler) = handler {
                handler.fire();
            }
        }
    }

    fn events(self: &Rc<Self>) {
        for _ in 0..EVENTS_AT_ONCE {
            let mut state = self.state.borrow_mut();
            match state.net.as_mut().and_then(Net::next_event) {
                None => break,
                Some(Event::Tcp(id, what)) => {
                    let Some(socket) = state.subject(id, what) else { continue };
                    drop(state);
                    self.tcp_event(socket, id, what);
                }
                Some(Event::Accept(id)) => {
                    drop(state);
                    self.accept_event(id);
                }
                Some(Event::Watch(id, what)) => {
                    drop(state);
                    self.poll_event(id, what);
                }
                Some(Event::Udp(id, what)) => {
                    state.metrics.events += 1;
                    drop(state);
                    self.udp_event(id, what);
                }
            }
        }
    }

    /// Handshakes that waited for their turn, before new ones.
    fn handshakes(self: &Rc<Self>) {
        let waiting = self.state.borrow().low_priority.len();
        for _ in 0..waiting {
            let mut state = self.state.borrow_mut();
            if state.handshakes_left == 0 {
                break;
            }
            let Some(key) = state.low_priority.pop_front() else { break };
            let Some(socket) = state.sockets.get_mut(key) else { continue };
            socket.flags.clear(Flags::LOW_PRIORITY);
            drop(state);
            self.readable(key);
        }
    }

    /// Sockets that are read without an event, and connects that failed at once. What is added meanwhile waits for the
    /// next iteration.
    fn go_on(self: &Rc<Self>) {
        let again = self.state.borrow().again.len();
        for _ in 0..again {
            let next = self.state.borrow_mut().take_again();
            match next {
                // Nothing can come or go any more: whether the peer has heard of our end is not the program's to wait for.
                Some((key, true)) => self.close(key, 0, None),
                Some((key, false)) => {
                    // What came before it was paused may be left.
                    #[cfg(feature = "tls")]
                    if !self.go_on_decrypting(key) {
                        continue;
                    }
                    self.readable(key);
                }
                None => {}
            }
        }
        let failed = std::mem::take(&mut self.state.borrow_mut().failed);
        for key in failed {
            self.connect_failed(key);
        }
    }

    /// Timeouts, every four seconds.
    fn sweep(self: &Rc<Self>) {
        {
            let mut state = self.state.borrow_mut();
            let now = state.now;
            if state.next_sweep > now {
                return;
            }
            state.realign(now);
        }
        self.sweep_now();
    }

    /// A sweep, whatever the time is: that of the timeouts moves on by one. Not from within a sweep: callbacks that are
    /// running are not entered again, so timeouts would be lost.
    pub(in crate::usockets) fn sweep_now(self: &Rc<Self>) {
        let Ok(_sweeping) = self.sweeping.try_borrow_mut() else { return };
        self.state.borrow_mut().count_sweep();
        loop {
            let due = {
                let mut state = self.state.borrow_mut();
                state.short.due().and_then(|index| state.timed_out(index))
            };
            let Some((handler, told)) = due else { break };
            handler.timeout(self, told);
        }
        loop {
            let due = {
                let mut state = self.state.borrow_mut();
                state.long.due().and_then(|index| state.timed_out(index))
            };
            let Some((handler, told)) = due else { break };
            handler.long_timeout(self, told);
        }
    }

    /// Frees the sockets closed in this iteration, with their user data.
    fn free_closed(&self) {
        loop {
            let freed = {
                let mut state = self.state.borrow_mut();
                let Some(key) = state.closed.pop() else { break };
                let handler = state.handler(key);
                state.sockets.remove(key);
                #[cfg(feature = "tls")]
                state.tls_errors.remove(&key);
                handler
            };
            if let Some((handler, told)) = freed {
                handler.detach(told.place);
            }
        }
    }

    /// Delivers what closed connections owe, within a time, and says whether that was everything. Nothing is told meanwhile.
    pub(in crate::usockets) fn drain(&self, within: Duration) -> Result<bool, UsError> {
        let state = &mut *self.state.borrow_mut();
        let Some(net) = &mut state.net else { return Ok(true) };
        #[cfg(feature = "tls")]
        let within = {
            let begun = Instant::now();
            if !super::secure::push_all(net, &mut state.lingering, within)? {
                return Ok(false);
            }
            within.saturating_sub(begun.elapsed())
        };
        net.drain(within).map_err(|error| UsError::NetworkOperation { operation: error.to_string() })
    }

    /// The loop is over: closes what is left without a word, delivers what closed connections owe, and lets go of
    /// callbacks and user data.
    pub(in crate::usockets) fn end(&self) {
        let mut state = self.state.borrow_mut();
        let Some(mut net) = state.net.take() else { return };
        for (_, socket) in &state.sockets {
            if let Place::Net(id) = socket.at
                && !socket.flags.has(Flags::CLOSED)
            {
                net.tcp_close(id);
            }
        }
        for (_, listener) in &state.listeners {
            let _ = net.tcp_unlisten(listener.id);
        }
        state.udp.close(&mut net);
        #[cfg(feature = "tls")]
        super::secure::deliver(&mut net, &mut state.lingering, LINGER);
        let sockets = std::mem::replace(&mut state.sockets, SlotMap::with_key());
        let contexts = std::mem::replace(&mut state.contexts, SlotMap::with_key());
        let timers = std::mem::take(&mut state.timer_handlers);
        let udp = std::mem::take(&mut state.udp);
        let polls = std::mem::take(&mut state.polls);
        let listeners = std::mem::replace(&mut state.listeners, SlotMap::with_key());
        state.closed.clear();
        state.again.clear();
        state.low_priority.clear();
        state.failed.clear();
        state.resolving.clear();
        state.connecting.clear();
        state.timers = crate::usockets::timers::Timers::new();
        drop(state);
        // With nothing borrowed: user data and callbacks may do anything when they are dropped.
        for (_, socket) in &sockets {
            if let Some(context) = contexts.get(socket.context) {
                context.handler.detach(socket.place);
            }
        }
        contexts.values().for_each(|context| context.handler.forget());
        timers.values().for_each(|timer| timer.forget());
        udp.forget();
        polls.forget();
        drop(listeners);
        // Nothing can be told of a failure here: the program has no socket left that it could concern.
        if !std::thread::panicking() {
            let _ = net.drain(LINGER);
        }
    }
}

impl State {
    /// The next socket to be read, and whether both of its streams have ended.
    fn take_again(&mut self) -> Option<(super::SocketKey, bool)> {
        let key = self.again.pop_front()?;
        let flags = &mut self.sockets.get_mut(key)?.flags;
        flags.clear(Flags::AGAIN);
        Some((key, flags.has(Flags::ENDED) && flags.has(Flags::SHUT)))
    }

    /// Time moves on by one sweep, however late it is.
    fn count_sweep(&mut self) {
        self.sweeps = self.sweeps.wrapping_add(1);
        self.short.tick();
        if self.sweeps.is_multiple_of(super::SWEEPS_PER_MINUTE) {
            self.long.tick();
        }
    }

    /// Sets the next sweep to the first of its phase that lies ahead.
    pub(super) fn realign(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next_sweep);
        let missed = late.as_nanos() / super::SWEEP.as_nanos();
        self.next_sweep += super::SWEEP * u32::try_from(missed + 1).unwrap_or(u32::MAX);
    }

    /// The socket at this index and who is told of its timeout.
    fn timed_out(&mut self, index: u32) -> Option<(Rc<dyn super::Handler>, super::Told)> {
        let key = *self.keys.get(index as usize)?;
        self.metrics.timeouts += 1;
        self.tell(key)
    }
}
