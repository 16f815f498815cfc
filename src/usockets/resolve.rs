//! Names become addresses in threads of their own, as asking the system for them may take seconds.
//!
//! A loop [starts](Resolver::start) a lookup, is woken when one is over, and takes [what was found](Resolver::finished).
//! Threads are made on demand, four at most, and end when there was nothing to do for ten seconds. One that waits for an
//! answer holds its question and a [`Weak`] only: it keeps neither the loop nor the process alive.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Threads at the same time.
const THREADS: usize = 4;
/// How long one waits for work.
const IDLE: Duration = Duration::from_secs(10);

/// A lookup under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// What a lookup has found: one address at least, each with the port that was asked for.
pub(super) type Found = io::Result<Vec<SocketAddr>>;

/// How a name and a port become addresses.
type Lookup = dyn Fn(&str, u16) -> Found + Send + Sync;

/// The lookups of a loop. Dropping it waits for nothing.
pub(super) struct Resolver {
    desk: Arc<Desk>,
    next: Cell<u64>,
    /// Lookups that were started and neither cancelled nor taken.
    open: Cell<usize>,
}

struct Desk {
    state: Mutex<State>,
    /// There is work, or there will be none any more.
    call: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
    lookup: Arc<Lookup>,
    idle: Duration,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// What threads are looking for.
    running: Vec<Ticket>,
    done: VecDeque<(Ticket, Found)>,
    threads: usize,
    idle: usize,
    /// The resolver is gone.
    over: bool,
}

struct Job {
    ticket: Ticket,
    host: Box<str>,
    port: u16,
}

impl Resolver {
    /// `wake` is called, in any thread, when there is something to be taken.
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with(wake, Arc::new(ask_system), IDLE)
    }

    fn with(wake: impl Fn() + Send + Sync + 'static, lookup: Arc<Lookup>, idle: Duration) -> Self {
        let (state, call) = (Mutex::default(), Condvar::new());
        let desk = Arc::new(Desk { state, call, wake: Box::new(wake), lookup, idle });
        Self { desk, next: Cell::new(0), open: Cell::new(0) }
    }

    /// Starts to look for the addresses of a host.
    pub(super) fn start(&self, host: &str, port: u16) -> Ticket {
        let ticket = Ticket(self.next.replace(self.next.get() + 1));
        self.open.set(self.open.get() + 1);
        let mut state = self.desk.lock();
        state.waiting.push_back(Job { ticket, host: host.into(), port });
        if state.waiting.len() > state.idle && state.threads < THREADS {
            state.threads += 1;
            let desk = Arc::clone(&self.desk);
            let spawned = thread::Builder::new().name("resolver".to_owned()).spawn(move || work(desk));
            if let Err(error) = spawned {
                state.threads -= 1;
                // Whoever works already will come to it; if nobody does, this is the answer.
                if state.threads == 0 {
                    state.waiting.pop_back();
                    state.done.push_back((ticket, Err(error)));
                    drop(state);
                    (self.desk.wake)();
                    return ticket;
                }
            }
        }
        drop(state);
        self.desk.call.notify_one();
        ticket
    }

    /// Forgets a lookup: [`finished`](Self::finished) will not tell of it. One that was taken already is forgotten.
    pub(super) fn cancel(&self, ticket: Ticket) {
        let mut state = self.desk.lock();
        let State { waiting, running, done, .. } = &mut *state;
        let before = waiting.len() + running.len() + done.len();
        waiting.retain(|job| job.ticket != ticket);
        running.retain(|other| *other != ticket);
        done.retain(|(other, _)| *other != ticket);
        let after = waiting.len() + running.len() + done.len();
        self.open.set(self.open.get() - (before - after));
    }

    /// What a lookup has found, in the order in which they were over. Costs nothing while none is under way.
    #[inline]
    pub(super) fn finished(&self) -> Option<(Ticket, Found)> {
        if self.open.get() == 0 {
            return None;
        }
        let done = self.desk.lock().done.pop_front()?;
        self.open.set(self.open.get() - 1);
        Some(done)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        state.over = true;
        state.waiting.clear();
        drop(state);
        self.desk.call.notify_all();
    }
}

impl Desk {
    /// Nobody panics with the lock, but if somebody did the state would be whole all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, for one of the threads; `None` if it shall end.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.over {
                state.threads -= 1;
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.running.push(job.ticket);
                return Some(job);
            }
            state.idle += 1;
            let (back, timeout) = self.call.wait_timeout(state, self.idle).unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if timeout.timed_out() && state.waiting.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }

    /// A job is done.
    fn finish(&self, ticket: Ticket, found: Found) {
        let mut state = self.lock();
        let Some(at) = state.running.iter().position(|running| *running == ticket) else { return };
        state.running.swap_remove(at);
        state.done.push_back((ticket, found));
        drop(state);
        (self.wake)();
    }
}

/// What a thread does.
fn work(mut desk: Arc<Desk>) {
    while let Some(Job { ticket, host, port }) = desk.next() {
        let lookup = Arc::clone(&desk.lookup);
        let weak: Weak<Desk> = Arc::downgrade(&desk);
        drop(desk);
        let found = lookup(&host, port);
        match weak.upgrade() {
            Some(back) => desk = back,
            None => return,
        }
        desk.finish(ticket, found);
    }
}

/// `getaddrinfo(3)`.
fn ask_system(host: &str, port: u16) -> Found {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("`{host}` has no address")));
    }
    Ok(found)
}

/// The address that a host name is by itself, so that nobody need be asked: a literal address, also in the brackets of a URL
/// (RFC 3986, 3.2.2), and `localhost` with all names below it, which are the loopback address everywhere (RFC 6761, 6.3).
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse().ok().map(IpAddr::V6);
    }
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next()?;
    last.eq_ignore_ascii_case("localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests;
