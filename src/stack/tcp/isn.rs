//! Numbers that others must not guess: initial sequence numbers, offsets of timestamps, local ports.

use super::seq::Seq;
use super::table::FlowKey;
use crate::stack::Instant;
use crate::stack::prf::{Prf, Purpose};
use std::net::{IpAddr, SocketAddr};

#[cfg(test)]
mod tests;

/// Where the numbers of new connections begin.
pub(crate) struct Isn {
    sequence: Prf,
    timestamp: Prf,
}

impl Isn {
    /// Of the engine's secret.
    pub(crate) fn new(secret: [u64; 2]) -> Self {
        Self {
            sequence: Prf::new(secret, Purpose::InitialSequence),
            timestamp: Prf::new(secret, Purpose::TimestampOffset),
        }
    }

    /// The initial sequence number of a connection that begins now: a clock of 4 µs, which keeps a new incarnation clear
    /// of the old one's segments, from a point that differs by four-tuple and secret (RFC 6528, 3).
    pub(crate) fn initial(&self, now: Instant, key: &FlowKey) -> Seq {
        let clock = (now.as_micros() / 4) as u32;
        Seq(clock.wrapping_add(self.sequence.hash(&key.bytes()) as u32))
    }

    /// What is added to the timestamp clock on the wire, so that it tells nobody how long this host is up or which
    /// connections are its own (RFC 7323, 7.1). The same for every incarnation of a four-tuple: timestamps go on where
    /// the last one's ended, as the peer's TIME-WAIT wants it (RFC 6191), and a SYN cookie needs no memory of it.
    pub(crate) fn timestamp_offset(&self, key: &FlowKey) -> u32 {
        self.timestamp.hash(&key.bytes()) as u32
    }
}

/// Counters of [`Ports`]: destinations that share one move each other's ports, nothing worse.
const COUNTERS: usize = 1024;

/// Chooses local ports.
pub(crate) struct Ports {
    prf: Prf,
    counters: Box<[u32; COUNTERS]>,
    /// How many random numbers have been drawn.
    drawn: u64,
}

impl Ports {
    /// Of the engine's secret.
    pub(crate) fn new(secret: [u64; 2]) -> Self {
        let prf = Prf::new(secret, Purpose::Ports);
        let counters = Box::new(std::array::from_fn(|n| prf.hash(&[0, n as u8, (n >> 8) as u8]) as u32));
        Self { prf, counters, drawn: 0 }
    }

    fn random(&mut self) -> u32 {
        self.drawn += 1;
        let mut bytes = [1; 9];
        bytes[1..].copy_from_slice(&self.drawn.to_le_bytes());
        self.prf.hash(&bytes) as u32
    }

    /// A port of `range`, first to last, for a connection to `remote`, for which `in_use` is false; `None` if there is
    /// none. Each port is asked for at most once.
    ///
    /// The double-hash of RFC 6056, 3.3.4: towards one destination ports follow each other, so that one comes again as
    /// late as possible, from a point and by a counter that others do not know; the steps vary (3.3.5), so that no
    /// connection tells how many others there were.
    pub(crate) fn choose(
        &mut self,
        range: (u16, u16),
        local: IpAddr,
        remote: SocketAddr,
        mut in_use: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let (first, count) = span(range)?;
        let hash = self.prf.hash(&FlowKey::from_ips(local, 0, remote.ip(), remote.port()).bytes());
        let (offset, which) = (hash as u32, (hash >> 32) as usize % COUNTERS);
        let start = self.counters[which];
        let step = 1 + self.random() % 8;
        // The sum wraps before the remainder is taken: once in 2³² ports the order skips, which nobody can tell.
        let begin = offset.wrapping_add(start) % count;
        let (n, port) = scan(first, count, begin, |port| !in_use(port))?;
        self.counters[which] = start.wrapping_add(n).wrapping_add(step);
        Some(port)
    }

    /// A port of `range`, first to last, for a socket without a peer, for which `in_use` is false; `None` if there is
    /// none. Begins at a random one (RFC 6056, 3.3.1); each port is asked for at most once.
    pub(crate) fn choose_any(&mut self, range: (u16, u16), mut in_use: impl FnMut(u16) -> bool) -> Option<u16> {
        let (first, count) = span(range)?;
        let begin = self.random() % count;
        scan(first, count, begin, |port| !in_use(port)).map(|(_, port)| port)
    }
}

/// First port and number of ports; zero is no port.
fn span((first, last): (u16, u16)) -> Option<(u16, u32)> {
    let first = first.max(1);
    (first <= last).then(|| (first, u32::from(last - first) + 1))
}

/// The first free one of `count` ports from `begin` on, round, and how many were passed over.
fn scan(first: u16, count: u32, begin: u32, mut free: impl FnMut(u16) -> bool) -> Option<(u32, u16)> {
    // Both terms are under 2¹⁶, and the remainder leaves the port within its range.
    let ports = (0..count).map(|n| (n, first + ((begin + n) % count) as u16));
    ports.into_iter().find(|(_, port)| free(*port))
}
