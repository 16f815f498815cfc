//! Paths that take smaller packets than our interface, as routers have told (RFC 1191).
//!
//! An entry is forgotten after ten minutes, so that a path that has grown is found out (RFC 1191, 6.3). Their number is
//! bounded; the oldest makes room.

use super::hash::{Keyed, number};
use crate::stack::Instant;
use crate::stack::prf::Purpose;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Nothing smaller is believed: a forged message could make us send uselessly small packets. The value of Linux
/// (`ip(7)`, `min_pmtu`).
pub(in crate::stack) const LEAST: u16 = 552;

const LIFETIME: Duration = Duration::from_secs(600);
const MAX: usize = 4096;

/// Path MTUs by destination.
#[derive(Debug)]
pub(super) struct PathMtus {
    known: HashMap<u128, (u16, Instant), Keyed>,
    /// In the order of their expiry; an entry that was lowered since then stands here again, later.
    order: VecDeque<(Instant, u128)>,
}

impl PathMtus {
    pub(super) fn new(secret: [u64; 2]) -> Self {
        Self { known: HashMap::with_hasher(Keyed::new(secret, Purpose::PathMtus)), order: VecDeque::new() }
    }

    /// What is known about a destination.
    #[inline]
    pub(super) fn get(&self, remote: IpAddr) -> Option<u16> {
        if self.known.is_empty() { None } else { self.known.get(&number(remote)).map(|(mtu, _)| *mtu) }
    }

    /// Lowers what is known to `mtu`. A message never raises it (RFC 1191, 6.3).
    pub(super) fn lower(&mut self, now: Instant, remote: IpAddr, mtu: u16) {
        let mtu = mtu.max(LEAST);
        let remote = number(remote);
        if self.known.get(&remote).is_some_and(|(known, _)| *known <= mtu) {
            return;
        }
        if self.order.len() >= MAX {
            self.forget_first();
        }
        let expires = now + LIFETIME;
        self.known.insert(remote, (mtu, expires));
        self.order.push_back((expires, remote));
    }

    fn forget_first(&mut self) {
        if let Some((expires, remote)) = self.order.pop_front() {
            if self.known.get(&remote).is_some_and(|(_, current)| *current == expires) {
                self.known.remove(&remote);
            }
        }
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(expires, _)| *expires <= now) {
            self.forget_first();
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.order.front().map(|(expires, _)| *expires)
    }
}

/// The next smaller usual MTU, for routers that name none (RFC 1191, 7.1, table 7-1).
pub(super) fn plateau_below(length: u16) -> u16 {
    const PLATEAUS: [u16; 10] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
    PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(68)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn is_lowered_never_raised_and_forgotten_after_ten_minutes() {
        let mut mtus = PathMtus::new([1, 2]);
        let at = Instant::from_millis;
        mtus.lower(at(0), host(1), 1400);
        mtus.lower(at(1_000), host(1), 1450);
        assert_eq!(mtus.get(host(1)), Some(1400));
        mtus.lower(at(2_000), host(1), 1300);
        assert_eq!(mtus.get(host(1)), Some(1300));
        mtus.lower(at(3_000), host(2), 68);
        assert_eq!(mtus.get(host(2)), Some(LEAST));
        mtus.expire(at(600_000));
        assert_eq!(mtus.get(host(1)), Some(1300), "lowered again 2 s later: counts from then");
        assert_eq!(mtus.next_expiry(), Some(at(602_000)));
        mtus.expire(at(602_000));
        assert_eq!((mtus.get(host(1)), mtus.get(host(2))), (None, Some(LEAST)));
        mtus.expire(at(603_000));
        assert_eq!((mtus.get(host(2)), mtus.next_expiry()), (None, None));
    }

    #[test]
    fn their_number_is_bounded_and_the_oldest_go() {
        let mut mtus = PathMtus::new([1, 2]);
        for n in 0..2 * MAX as u32 {
            mtus.lower(Instant::from_millis(n.into()), host(n), 1000);
        }
        assert!(mtus.known.len() <= MAX && mtus.order.len() <= MAX);
        assert_eq!((mtus.get(host(0)), mtus.get(host(2 * MAX as u32 - 1))), (None, Some(1000)));
    }

    #[test]
    fn plateaus_fall_strictly() {
        assert_eq!(plateau_below(65535), 32000);
        assert_eq!(plateau_below(1500), 1492);
        assert_eq!(plateau_below(1492), 1006);
        assert_eq!(plateau_below(20), 68);
    }
}
