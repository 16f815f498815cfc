//! The turn of a host: what was written goes out, what has come goes in, and then it waits.

use super::sink::Out;
use super::{Host, PollMode, wait};
use crate::api::{Interest, Metadata, Socket};
use crate::capture::Direction;
use crate::errors::{Error, Result};
use crate::stack::{BURST, Event, Instant, Received, Stack};
use std::os::fd::AsFd;
use std::time::Duration;

/// The sink, from fields of the host other than the engine.
macro_rules! out {
    ($host:expr) => {
        Out {
            socket: &*$host.socket,
            outgoing: &mut $host.outgoing,
            counters: &mut $host.counters,
            tap: $host.tap.as_mut(),
            now: $host.now,
            offload: $host.offload,
        }
    };
}

/// Bursts that are received before the program gets its say.
const BURSTS: usize = 4;
pub(super) use out;

/// Frames in the ring that are not left to wait for company.
const FLUSH_AT: usize = 64;
/// How long they may wait for it, longer than the program takes to handle a few events.
const LINGER: Duration = Duration::from_micros(20);
/// How soon a full ring, or a descriptor that is readable for nothing, is looked at again.
const NAP: Duration = Duration::from_micros(50);
/// How long a wait on a socket without a descriptor may keep a waker waiting.
const DEAF: Duration = Duration::from_millis(1);

/// What a call of [`Host::poll`] came back with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Frames received.
    pub received: usize,
    /// There are events to be taken by [`Host::next_event`].
    pub events: bool,
    /// Somebody called a [`Waker`](super::Waker).
    pub woken: bool,
    /// The descriptor of [`Host::set_extra_fd`] is readable.
    pub extra: bool,
}

impl<S: Socket> Host<S> {
    /// Sends what was written since the last call, then receives, runs timers, acknowledges and waits, until there are
    /// events, somebody called a [`Waker`](super::Waker), or `timeout` is over. `None` waits for ever, zero not at all.
    ///
    /// While packets keep coming in, frames that go out are gathered for 20 µs, 64 of them at most, and leave together.
    ///
    /// Events that the program has not taken yet make it one turn without waiting. On a simulated clock it never waits.
    ///
    /// # Errors
    ///
    /// Of receiving: the interface has gone, the capture file has ended. What was received before has been taken in, and
    /// events may be there. A next call tries again.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Turn> {
        self.turns(timeout, |_| false)
    }

    /// [`poll`](Self::poll), which also returns once it is `enough`.
    fn turns(&mut self, timeout: Option<Duration>, enough: impl Fn(&Stack) -> bool) -> Result<Turn> {
        self.now = self.clock.now();
        let until = timeout.map(|timeout| self.now + timeout);
        let mut turn = Turn::default();
        if self.outgoing.unflushed != 0 && self.now.saturating_since(self.written) >= LINGER {
            self.flush_ring();
        }
        loop {
            self.counters.turns += 1;
            self.write();
            if let Some(pause) = self.gather.pause(self.now) {
                self.pause(pause, until);
            }
            let outcome = self.receive();
            // While more comes in, more will have to go out: what is written waits for company.
            if !matches!(outcome, Ok(1..)) || self.outgoing.unflushed >= FLUSH_AT {
                self.flush_ring();
            }
            self.stack.advance(self.now, &mut out!(self));
            turn.woken |= self.bell.take();
            turn.events = self.has_event();
            turn.extra = self.extra.is_some() && self.looks_at_extra();
            let received = outcome?;
            turn.received += received;
            if turn.events || turn.woken || turn.extra {
                break;
            }
            let idle = received == 0 && self.outgoing.unflushed == 0;
            let over = until.is_some_and(|until| until <= self.now) || idle && self.clock.is_simulated();
            if over || enough(&self.stack) {
                self.flush_ring();
                break;
            }
            if idle {
                self.rest(until);
            }
            self.now = self.clock.now();
        }
        self.counters.wakes += u64::from(turn.woken);
        Ok(turn)
    }

    /// What has happened, one thing at a time; `None` once all has been told.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.next.take().or_else(|| self.stack.next_event());
        self.counters.events += u64::from(event.is_some());
        event
    }

    /// Sends what was written, now. `poll` does it too.
    pub fn flush(&mut self) {
        self.now = self.clock.now();
        self.write();
        self.flush_ring();
    }

    /// Delivers what connections that the program has closed still owe their peers, at most for `timeout`, and closes the
    /// socket. Connections that are still open are not waited for. True if everything was delivered.
    ///
    /// Dropping a host instead closes at once.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn close(mut self, timeout: Duration) -> Result<bool> {
        let start = std::time::Instant::now();
        let left = || timeout.saturating_sub(start.elapsed());
        while self.stack.orphans() != 0 || self.unsent {
            if left().is_zero() {
                return Ok(false);
            }
            let turn = self.turns(Some(left()), |stack| stack.orphans() == 0)?;
            while self.next_event().is_some() {}
            if self.clock.is_simulated() && turn == Turn::default() {
                return Ok(false);
            }
        }
        self.flush();
        self.socket.drain(left())
    }

    #[inline]
    fn has_event(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.stack.next_event();
        }
        self.next.is_some()
    }

    /// Whether the descriptor of others is readable.
    #[cold]
    fn looks_at_extra(&self) -> bool {
        wait::readable([self.extra.as_ref().map(|fd| fd.as_fd())], Some(Duration::ZERO)).is_ok_and(|[ready]| ready)
    }

    /// Everything that is to be sent goes into the ring.
    fn write(&mut self) {
        let before = self.outgoing.unflushed;
        let mut out = out!(self);
        let left = !out.catch_up() || self.stack.egress(self.now, &mut out);
        if self.outgoing.unflushed > before {
            self.active = self.now;
            if before == 0 {
                self.written = self.now;
            }
        }
        self.unsent = left || self.outgoing.is_waiting();
    }

    /// What is in the ring leaves.
    fn flush_ring(&mut self) {
        if self.outgoing.unflushed != 0 {
            out!(self).flush();
        }
    }

    /// Takes in what has come. Returns how many frames.
    #[inline]
    fn receive(&mut self) -> Result<usize> {
        let mut received = 0;
        for _ in 0..BURSTS {
            let burst = &mut self.burst;
            let trusted = self.device_checksum;
            let outcome = self.socket.recv_each(BURST, |token, meta| {
                let checked = trusted && meta.l4_checksum_is_good();
                // As many as there is room for were asked for.
                let _ = burst.try_push(Received { token, checked });
            });
            let n = match outcome {
                Ok(0) => break,
                Ok(n) => n,
                Err(Error::NoPacket) => break,
                Err(error) if received == 0 => return Err(error),
                Err(_) => break,
            };
            received += n;
            self.take_in();
            if n < BURST {
                break;
            }
        }
        if received != 0 {
            self.active = self.now;
            self.futile = false;
        }
        self.gather.took(self.now, received);
        Ok(received)
    }

    #[inline]
    fn take_in(&mut self) {
        self.counters.bursts += 1;
        if let Some(tap) = &mut self.tap {
            // Looked at through the context and put back: without it every look would go through the registry of pools.
            for at in 0..self.burst.len() {
                let Received { token, checked } = self.burst.remove(at);
                let frame = token.consume(self.socket.context());
                tap.note(self.now, &frame, Direction::Received);
                self.burst.insert(at, Received { token: frame.into_token(), checked });
            }
        }
        self.stack.ingress(self.now, self.socket.context(), self.burst.drain(..), &mut out!(self));
    }

    /// Lets packets gather until then, unless there is something else to do.
    fn pause(&mut self, until: Instant, timeout: Option<Instant>) {
        if self.poll == PollMode::Busy || self.unsent || self.clock.is_simulated() || self.has_event() {
            return;
        }
        let deadlines = [timeout, self.stack.poll_at()];
        let until = deadlines.into_iter().flatten().fold(until, Instant::min);
        if until <= self.now {
            return;
        }
        self.flush_ring();
        // What has gone by since then is little next to the pause.
        if self.bell.lie_down() {
            self.counters.pauses += 1;
            let extra = self.extra.as_ref().map(|fd| fd.as_fd());
            let rung = wait::readable([Some(self.bell.as_fd()), extra], Some(until.saturating_since(self.now)));
            self.bell.get_up(rung.is_ok_and(|[rung, _]| rung));
        }
        self.now = self.clock.now();
    }

    /// There is nothing to do until something comes: stays awake, or sleeps.
    fn rest(&mut self, until: Option<Instant>) {
        if let Some(tap) = &mut self.tap {
            tap.tick(self.now);
        }
        let awake = match self.poll {
            PollMode::Busy => true,
            PollMode::Adaptive { spin } => self.now.saturating_since(self.active) < spin,
            PollMode::Sleep => false,
        };
        if awake {
            self.counters.spins += 1;
            std::hint::spin_loop();
            return;
        }
        let deadlines = [until, self.stack.poll_at(), self.tap.as_ref().and_then(|tap| tap.due())];
        let deadline = deadlines.into_iter().flatten().min();
        let mut limit = deadline.map(|deadline| deadline.saturating_since(self.now));
        if let Some(due) = (self.wires.due)(&self.socket) {
            limit = Some(limit.map_or(due, |limit| limit.min(due)));
        }
        if self.unsent || self.futile {
            limit = Some(limit.map_or(NAP, |limit| limit.min(NAP)));
        }
        if limit != Some(Duration::ZERO) {
            self.sleep(limit);
        }
    }

    fn sleep(&mut self, limit: Option<Duration>) {
        if !self.bell.lie_down() {
            return;
        }
        self.counters.sleeps += 1;
        let ready = match self.wires.descriptor {
            Some(descriptor) => {
                let packets = if self.futile { None } else { Some(descriptor(&self.socket)) };
                let extra = self.extra.as_ref().map(|fd| fd.as_fd());
                wait::readable([Some(self.bell.as_fd()), packets, extra], limit)
            }
            None => {
                let slice = limit.map_or(DEAF, |limit| limit.min(DEAF));
                // Whatever it says, the next turn looks.
                let _ = self.socket.wait(Interest::Readable, Some(slice));
                Ok([true, false, false])
            }
        };
        // Without memory for it (the only error there is) the turns go on without sleep.
        let [rung, readable, _] = ready.unwrap_or([true, true, false]);
        self.bell.get_up(rung);
        // Until a packet comes out.
        self.futile = readable;
    }
}
