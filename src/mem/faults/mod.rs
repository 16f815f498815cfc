//! A fault injector over any socket: seeded loss, duplication, reordering, corruption, delay and rate.
//!
//! ```
//! use nethuns_rs::api::Socket;
//! use nethuns_rs::mem::{Clock, MemFlags, SimClock, Sock, faults::{Faults, Injector, Plan, Profile}};
//! use std::time::Duration;
//!
//! # fn main() -> nethuns_rs::Result<()> {
//! let clock = SimClock::new();
//! let slow = Profile { delay: Duration::from_millis(20), ..Profile::default() };
//! let plan = Plan { tx: slow, ..Plan::default() }.seeded(7).on(Clock::Simulated(clock.clone()));
//! let a = Faults::new(Sock::create("mem:faults-doc", None, MemFlags::default())?, plan)?;
//! let b = Sock::create("mem:faults-doc", None, MemFlags::default())?;
//!
//! a.send(b"late")?;
//! assert!(b.recv().is_err());
//! clock.advance_to(a.next_due().expect("one packet is on its way"));
//! a.flush();
//! assert_eq!(&*b.recv()?.0, b"late");
//! # Ok(())
//! # }
//! ```
//!
//! Each direction has a line of its own with its own dice: what happens to the n-th packet of a direction depends on
//! the seed, the lengths of the packets and the times of the calls on the plan's clock, on nothing else.
//!
//! Packets on their way are frames of the wrapped socket's pool, at most [`Profile::limit`] of them in each direction.
//! They move on when the socket is used (`recv`, `send`, `flush`, `wait`, `drain`, [`Injector::poll`]): nothing runs in
//! the background. On real time `wait` wakes up for them; on a simulated clock [`Injector::next_due`] says how far to
//! advance. What is still on its way when the socket is dropped goes home to its pool.
//!
//! A packet that a frame cannot hold is refused at once. One that the wrapped socket refuses when it is due (longer than
//! the link's MTU, say) is lost and counted as `tx_dropped.invalid`; one that it has no room for waits.
//!
//! As options of a port spec, through [`any`](crate::any) or [`Faults::create`](crate::api::Socket::create):
//! `mem:a?loss=1%&delay=10ms&seed=7`. `loss`, `dup`, `reorder`, `corrupt` are probabilities, `delay`, `jitter`, `hold`
//! durations, `rate` bits per second, `gap`, `limit` packets; `faults=rx|tx|both` chooses the direction.

mod line;
mod plan;
mod rng;
mod socket;

pub use line::Injected;
pub use plan::{FaultFlags, Plan, Profile};

use crate::api::{Context, Interest, Socket, Token};
use crate::errors::{Error, Result};
use line::{Fate, Line};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::{Duration, Instant};

/// A socket whose packets suffer what a [`Plan`] says.
pub struct Faults<S: Socket> {
    inner: S,
    plan: Plan,
    seed: u64,
    /// A moment, and what the plan's clock showed then.
    started: (Instant, u64),
    rx: RefCell<Line<(Token, S::Metadata)>>,
    tx: RefCell<Tx>,
    rx_clean: bool,
    tx_clean: bool,
    received: Cell<u64>,
    received_bytes: Cell<u64>,
    /// Packets taken out of the wrapped socket.
    pulled: Cell<u64>,
    /// What the wrapped socket said while packets were still on their way: reported after them.
    failed: Cell<Option<Error>>,
}

/// What can be asked of a fault injector without knowing what it wraps.
pub trait Injector {
    /// The seed: put it into a plan or a port spec (`seed=`) to see the same again.
    fn seed(&self) -> u64;

    /// What shall go wrong.
    fn plan(&self) -> &Plan;

    /// What has gone wrong so far: with received packets, and with sent ones.
    fn injected(&self) -> (Injected, Injected);

    /// When the next packet that is on its way arrives, in nanoseconds of the plan's clock; it may have arrived.
    /// `None` if none is on its way.
    fn next_due(&self) -> Option<u64>;

    /// Takes in what has arrived at the wrapped socket, and hands it what is due to leave.
    fn poll(&self);
}

/// The sending direction.
#[derive(Debug)]
struct Tx {
    line: Line<Load>,
    /// Arrived at the wrapped socket, which had no room for it.
    blocked: Option<Load>,
    /// Refused by the wrapped socket for good.
    invalid: u64,
    /// Bytes of packets that never got to the wrapped socket.
    dropped_bytes: u64,
}

/// A packet to be sent: a frame of the wrapped socket's pool, or a copy where that socket lends none.
#[derive(Debug)]
enum Load {
    Frame(Token),
    Copy(Vec<u8>),
}

impl Load {
    fn len(&self) -> usize {
        match self {
            Load::Frame(token) => token.size() as usize,
            Load::Copy(bytes) => bytes.len(),
        }
    }
}

fn flip(packet: &mut [u8], bit: usize) {
    if let Some(byte) = packet.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

impl<S: Socket> Faults<S>
where
    S::Metadata: Clone,
{
    /// Wraps a socket.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if a probability of the plan is outside 0 to 1, or a rate, gap or limit is 0.
    pub fn new(inner: S, plan: Plan) -> Result<Self> {
        let (plan, seed) = plan.settle()?;
        Ok(Self {
            rx_clean: plan.rx.is_clean(),
            tx_clean: plan.tx.is_clean(),
            // Dice of their own, so that what one direction does leaves the other as it is.
            rx: RefCell::new(Line::new(plan.rx.clone(), seed)),
            tx: RefCell::new(Tx {
                line: Line::new(plan.tx.clone(), !seed),
                blocked: None,
                invalid: 0,
                dropped_bytes: 0,
            }),
            inner,
            started: (Instant::now(), plan.clock.now_ns()),
            plan,
            seed,
            received: Cell::new(0),
            received_bytes: Cell::new(0),
            pulled: Cell::new(0),
            failed: Cell::new(None),
        })
    }

    /// The wrapped socket.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Now on the plan's clock. Real time runs on from where it stood at the start: a system clock that is set meanwhile
    /// delays nothing.
    fn now(&self) -> u64 {
        if self.plan.clock.is_simulated() {
            return self.plan.clock.now_ns();
        }
        let (start, then) = self.started;
        then.saturating_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// A copy of a packet in a frame of the wrapped socket.
    fn copy_frame(&self, packet: &[u8]) -> Result<Token> {
        let mut copy = self.inner.alloc(packet.len())?;
        copy.copy_from_slice(packet);
        Ok(copy.into_token())
    }

    fn load(&self, packet: &[u8]) -> Result<Load> {
        match self.copy_frame(packet) {
            Ok(token) => Ok(Load::Frame(token)),
            Err(Error::Unsupported { .. }) => match self.inner.mode().frame_size {
                most @ 1.. if most < packet.len() => Err(Error::TooBigPacket(packet.len())),
                _ => Ok(Load::Copy(packet.to_vec())),
            },
            Err(error) => Err(error),
        }
    }

    /// Sends a packet on its way.
    fn submit(&self, tx: &mut Tx, mut load: Load) {
        let (now, len) = (self.now(), load.len());
        let Fate::Passes { corrupt, twice } = tx.line.fate(len) else {
            tx.dropped_bytes += len as u64;
            return self.discard(load);
        };
        if let Some(bit) = corrupt {
            load = match load {
                Load::Frame(token) => {
                    let mut packet = self.context().packet(token);
                    flip(&mut packet, bit);
                    Load::Frame(packet.into_token())
                }
                Load::Copy(mut bytes) => {
                    flip(&mut bytes, bit);
                    Load::Copy(bytes)
                }
            };
        }
        let mut copy = None;
        if twice {
            let made = match load {
                Load::Frame(token) => {
                    let packet = self.context().packet(token);
                    let made = self.load(&packet);
                    load = Load::Frame(packet.into_token());
                    made
                }
                Load::Copy(ref bytes) => Ok(Load::Copy(bytes.clone())),
            };
            match made {
                Ok(_) => tx.line.injected.duplicated += 1,
                Err(_) => tx.line.injected.not_duplicated += 1,
            }
            copy = made.ok();
        }
        for load in [Some(load), copy].into_iter().flatten() {
            if let Err(load) = tx.line.enter(now, len, load) {
                tx.dropped_bytes += len as u64;
                self.discard(load);
            }
        }
        self.push_due(tx);
    }

    /// The hot way home.
    fn discard(&self, load: Load) {
        if let Load::Frame(token) = load {
            drop(self.context().packet(token));
        }
    }

    /// Hands over what is due to leave. Whether anything was.
    fn push(&self) -> bool {
        !self.tx_clean && self.push_due(&mut self.tx.borrow_mut())
    }

    fn push_due(&self, tx: &mut Tx) -> bool {
        let now = self.now();
        let mut any = false;
        while let Some(load) = tx.blocked.take().or_else(|| tx.line.pop(now)) {
            let len = load.len() as u64;
            let refused = match load {
                Load::Frame(token) => {
                    self.inner.send_token(token).err().map(|refused| (refused.error, Load::Frame(refused.packet)))
                }
                Load::Copy(bytes) => self.inner.send(&bytes).err().map(|error| (error, Load::Copy(bytes))),
            };
            match refused {
                None => any = true,
                Some((error, load)) if error.is_transient() => {
                    tx.blocked = Some(load);
                    break;
                }
                Some((_, load)) => {
                    tx.invalid += 1;
                    tx.dropped_bytes += len;
                    self.discard(load);
                }
            }
        }
        any
    }

    /// Takes a packet out of the wrapped socket and lets it set out. False if there is none, or no more.
    fn pull_one(&self, rx: &mut Line<(Token, S::Metadata)>, now: u64) -> bool {
        let failed = self.failed.take();
        if failed.is_some() {
            self.failed.set(failed);
            return false;
        }
        match self.inner.recv_token() {
            Ok((token, meta)) => {
                self.pulled.set(self.pulled.get() + 1);
                self.arrive(rx, now, token, meta);
                true
            }
            Err(Error::NoPacket) => false,
            Err(error) => {
                self.failed.set(Some(error));
                false
            }
        }
    }

    fn arrive(&self, rx: &mut Line<(Token, S::Metadata)>, now: u64, token: Token, meta: S::Metadata) {
        let len = token.size() as usize;
        let mut packet = self.context().packet(token);
        let Fate::Passes { corrupt, twice } = rx.fate(len) else { return };
        if let Some(bit) = corrupt {
            flip(&mut packet, bit);
        }
        let mut copy = None;
        if twice {
            copy = self.copy_frame(&packet).ok();
            match copy {
                Some(_) => rx.injected.duplicated += 1,
                None => rx.injected.not_duplicated += 1,
            }
        }
        for token in [Some(packet.into_token()), copy].into_iter().flatten() {
            if let Err((token, _)) = rx.enter(now, len, (token, meta.clone())) {
                drop(self.context().packet(token));
            }
        }
    }

    /// Where packets take time, it must not matter when the program asks for them: takes in all there are.
    fn pull(&self, rx: &mut Line<(Token, S::Metadata)>, now: u64) {
        if rx.profile.is_timed() {
            // Bounded, should the sender be faster than this.
            for _ in 0..rx.profile.limit {
                if !self.pull_one(rx, now) {
                    break;
                }
            }
        }
    }

    /// Sees to it that the next packet that can be received, if any, stands in the line. Whether there is one.
    fn prepare(&self, rx: &mut Line<(Token, S::Metadata)>, now: u64) -> bool {
        self.pull(rx, now);
        // Bounded, should all be lost and the sender be faster than this.
        for _ in 0..rx.profile.limit {
            if rx.next_due().is_some_and(|due| due <= now) {
                return true;
            }
            if rx.profile.is_timed() || !self.pull_one(rx, now) {
                return false;
            }
        }
        rx.next_due().is_some_and(|due| due <= now)
    }

    /// The next packet that has arrived, from the line or out of the wrapped socket.
    fn next(&self) -> Result<(Token, S::Metadata)> {
        let mut rx = self.rx.borrow_mut();
        let now = self.now();
        self.prepare(&mut rx, now);
        if let Some(packet) = rx.pop(now) {
            return Ok(packet);
        }
        if rx.len() > 0 {
            // The end, or a failure, is reported once nothing is on its way any more; a pool run dry may recover.
            self.failed.set(self.failed.take().filter(|error| !error.is_transient()));
            return Err(Error::NoPacket);
        }
        Err(self.failed.take().unwrap_or(Error::NoPacket))
    }

    /// Whether receiving has something to tell.
    fn readable(&self) -> bool {
        let mut rx = self.rx.borrow_mut();
        let ready = self.prepare(&mut rx, self.now());
        let failed = self.failed.take().filter(|error| !error.is_transient());
        let over = failed.is_some() && rx.len() == 0;
        self.failed.set(failed);
        ready || over
    }

    fn count(&self, token: &Token) {
        self.received.set(self.received.get() + 1);
        self.received_bytes.set(self.received_bytes.get() + u64::from(token.size()));
    }

    /// How long a waiter may sleep for the sake of packets on their way; for real time.
    fn until_due(&self, interest: Interest) -> Option<Duration> {
        let now = self.now();
        let tx = self.tx.borrow();
        let blocked = tx.blocked.as_ref().map(|_| now + RETRY);
        let rx = if interest == Interest::Writable { None } else { self.rx.borrow().next_due() };
        let due = [blocked, tx.line.next_due(), rx].into_iter().flatten().min()?;
        Some(Duration::from_nanos(due.saturating_sub(now)))
    }
}

/// How soon a waiter tries again what nothing will wake it for, in nanoseconds.
const RETRY: u64 = 50_000;

impl<S: Socket> Injector for Faults<S>
where
    S::Metadata: Clone,
{
    fn seed(&self) -> u64 {
        self.seed
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn injected(&self) -> (Injected, Injected) {
        (self.rx.borrow().injected, self.tx.borrow().line.injected)
    }

    fn next_due(&self) -> Option<u64> {
        let tx = self.tx.borrow();
        let blocked = tx.blocked.as_ref().map(|_| 0);
        [blocked, tx.line.next_due(), self.rx.borrow().next_due()].into_iter().flatten().min()
    }

    fn poll(&self) {
        if !self.rx_clean {
            self.pull(&mut self.rx.borrow_mut(), self.now());
        }
        if self.push() {
            self.inner.flush();
        }
    }
}

impl<S: Socket + fmt::Debug> fmt::Debug for Faults<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("inner", &self.inner).field("plan", &self.plan).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
