//! The SYN queue: connections that have answered a SYN and wait for the acknowledgement.
//!
//! Anybody can fill it without showing himself, so a record is one cache line and its number has a limit. The connection
//! is made when the acknowledgement comes. Until then the SYN-ACK is repeated after 1, 2, 4 … seconds (RFC 6298), and
//! given up when the last repetition has waited in vain.
//!
//! The engine keeps the queue and the flow table in step: what is inserted, removed, evicted or given up here is entered
//! and taken out there.

use super::queues::Queues;
use super::seq::Seq;
use super::table::{Flow, FlowKey};
use crate::stack::{Instant, Key};
use std::ops::BitOr;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// How long the SYN-ACK waits for its first repetition (RFC 6298, 2.1).
const FIRST: Duration = Duration::from_secs(1);
/// How long it waits at most.
const LONGEST: Duration = Duration::from_secs(120);
/// Different waits: from 1 s doubled seven times. Later repetitions wait as long as the last one.
const WAITS: usize = 8;

/// How long a SYN-ACK that was repeated so often waits.
fn wait(repeated: usize) -> Duration {
    FIRST.saturating_mul(1 << repeated.min(WAITS - 1)).min(LONGEST)
}

/// Which options the SYN carried, and we agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestFlags(u8);

impl RequestFlags {
    /// Window scaling.
    pub(crate) const WINDOW_SCALE: Self = Self(1);
    /// Selective acknowledgements.
    pub(crate) const SACK: Self = Self(2);
    /// Timestamps.
    pub(crate) const TIMESTAMPS: Self = Self(4);

    /// Whether all of `other` is in it.
    #[inline]
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for RequestFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A half-open connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Both ends.
    pub(crate) key: FlowKey,
    /// The peer's initial sequence number.
    pub(crate) irs: Seq,
    /// Ours.
    pub(crate) iss: Seq,
    /// The SYN's timestamp.
    pub(crate) ts_recent: u32,
    /// Who listens.
    pub(crate) listener: Key,
    /// What the peer takes in one segment, in bytes.
    pub(crate) mss: u16,
    /// By how many bits the peer's windows are shifted.
    pub(crate) window_scale: u8,
    /// Options.
    pub(crate) flags: RequestFlags,
    /// How often the SYN-ACK has been repeated because nothing came.
    pub(crate) retransmits: u8,
}

const _: () = assert!(size_of::<Request>() <= 64);

/// What is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// The SYN-ACK of this one is to be sent again.
    Resend(u32),
    /// This one has been given up, and is no longer there.
    GiveUp(u32, Request),
}

/// The limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// The half-open connections of all listeners.
pub(crate) struct HalfOpen {
    /// By how often the SYN-ACK was repeated.
    requests: Queues<Request, WAITS>,
    /// How many each listener has, by its place.
    counts: Vec<u32>,
    limit: usize,
    retries: u32,
}

impl HalfOpen {
    /// For at most `limit` at a time; each SYN-ACK is repeated at most `retries` times, 255 if that is more.
    pub(crate) fn new(limit: usize, retries: u32) -> Self {
        let limit = limit.min(Flow::MAX_INDEX as usize);
        Self { requests: Queues::new(), counts: Vec::new(), limit, retries: retries.min(255) }
    }

    /// Takes in a request whose SYN-ACK is sent now.
    ///
    /// # Errors
    ///
    /// If the limit is reached: send a cookie, or [`evict`](Self::evict) one, or drop the SYN.
    pub(crate) fn insert(&mut self, now: Instant, request: Request) -> Result<u32, QueueFull> {
        if self.is_full() {
            return Err(QueueFull);
        }
        let listener = request.listener.index as usize;
        if listener >= self.counts.len() {
            self.counts.resize(listener + 1, 0);
        }
        self.counts[listener] += 1;
        Ok(self.requests.push(usize::from(request.retransmits).min(WAITS - 1), now, request))
    }

    /// The request at this place.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Request> {
        self.requests.get(index)
    }

    /// When the SYN-ACK was sent, by [`insert`](Self::insert) or [`due`](Self::due). The acknowledgement tells a
    /// round-trip time only if it was sent once (Karn; RFC 6298, 3).
    pub(crate) fn sent_at(&self, index: u32) -> Option<Instant> {
        self.requests.since(index)
    }

    /// Takes a request out.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Request> {
        let request = self.requests.remove(index)?;
        if let Some(count) = self.counts.get_mut(request.listener.index as usize) {
            *count = count.saturating_sub(1);
        }
        Some(request)
    }

    /// One request whose time has come: to be called until there is none.
    #[inline]
    pub(crate) fn due(&mut self, now: Instant) -> Option<Due> {
        // Nearly always, and asked in every turn of the engine.
        if self.requests.len() == 0 { None } else { self.first_due(now) }
    }

    fn first_due(&mut self, now: Instant) -> Option<Due> {
        for queue in 0..WAITS {
            let Some((index, since)) = self.requests.front(queue) else { continue };
            if since + wait(queue) > now {
                continue;
            }
            let request = self.requests.get_mut(index)?;
            if u32::from(request.retransmits) >= self.retries {
                return self.remove(index).map(|request| Due::GiveUp(index, request));
            }
            request.retransmits += 1;
            let queue = usize::from(request.retransmits).min(WAITS - 1);
            self.requests.requeue(index, queue, now);
            return Some(Due::Resend(index));
        }
        None
    }

    /// When [`due`](Self::due) must be called next.
    pub(crate) fn next(&self) -> Option<Instant> {
        (0..WAITS).filter_map(|queue| self.requests.front(queue).map(|(_, since)| since + wait(queue))).min()
    }

    /// How many requests this listener has.
    pub(crate) fn of_listener(&self, listener: Key) -> u32 {
        self.counts.get(listener.index as usize).copied().unwrap_or(0)
    }

    /// Takes out all requests of a listener, calling `each` with them. Looks at all of the queue.
    pub(crate) fn remove_listener(&mut self, listener: Key, mut each: impl FnMut(u32, Request)) {
        if self.of_listener(listener) == 0 {
            return;
        }
        let its = |(index, request): (u32, &Request)| (request.listener == listener).then_some(index);
        let indices: Vec<u32> = self.requests.iter().filter_map(its).collect();
        for index in indices {
            if let Some(request) = self.remove(index) {
                each(index, request);
            }
        }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether the limit is reached.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.requests.len() >= self.limit
    }

    /// Bytes of heap that it holds.
    pub(crate) fn footprint(&self) -> usize {
        self.requests.footprint() + self.counts.capacity() * size_of::<u32>()
    }
}
