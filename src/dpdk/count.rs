//! The driver's counters, made to grow.
//!
//! A driver counts since the port was started, for every socket on it together, and some begin anew when they lose their
//! peer (memif). A socket's statistics are totals since *it* was created and never fall.

use dpdk_sys::rte_eth_stats;
use std::cell::Cell;

/// A counter that may begin anew.
#[derive(Debug, Default)]
struct Growing {
    last: Cell<u64>,
    sum: Cell<u64>,
}

impl Growing {
    fn from(now: u64) -> Self {
        Self { last: Cell::new(now), sum: Cell::new(0) }
    }

    /// What it has grown by in all. If it has begun anew, what was not seen before that is `unseen`.
    fn read(&self, now: u64, unseen: impl FnOnce(u64) -> u64) -> u64 {
        let last = self.last.replace(now);
        let sum = self.sum.get();
        self.sum.set(if now >= last { sum + (now - last) } else { unseen(sum) + now });
        self.sum.get()
    }

    fn total(&self, now: u64) -> u64 {
        self.read(now, |sum| sum)
    }
}

/// The counters of a port as one socket sees them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The transmit queue, if the driver's count for it alone is wanted.
    queue: Option<usize>,
    sent: Growing,
    failed: Growing,
    missed: Growing,
    errors: Growing,
    no_mbuf: Growing,
    oversize: Growing,
    rx_bytes: Growing,
    tx_bytes: Growing,
}

/// What the driver has counted since the socket was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) missed: u64,
    pub(super) errors: u64,
    pub(super) no_mbuf: u64,
    pub(super) oversize: u64,
    pub(super) rx_bytes: u64,
    pub(super) tx_bytes: u64,
}

impl Counts {
    /// Begins with the driver's counters as they are. `queue`: where sent packets are counted by queue.
    pub(super) fn new(now: &rte_eth_stats, oversize: u64, queue: Option<usize>) -> Self {
        Self {
            queue,
            sent: Growing::from(Self::sent(now, queue)),
            failed: Growing::from(now.oerrors),
            missed: Growing::from(now.imissed),
            errors: Growing::from(now.ierrors),
            no_mbuf: Growing::from(now.rx_nombuf),
            oversize: Growing::from(oversize),
            rx_bytes: Growing::from(now.ibytes),
            tx_bytes: Growing::from(now.obytes),
        }
    }

    fn sent(now: &rte_eth_stats, queue: Option<usize>) -> u64 {
        queue.map_or(now.opackets, |queue| now.q_opackets.get(queue).copied().unwrap_or(0))
    }

    /// Takes note of the driver's counters. `taken`: packets of this socket that it has taken.
    pub(super) fn read(&self, now: &rte_eth_stats, oversize: u64, taken: u64) -> Counted {
        let mine = Self::sent(now, self.queue);
        // A driver that does not count by queue leaves 0 there: that it took them is all that is known then.
        let sent = if self.queue.is_some() && mine == 0 {
            taken
        } else {
            // Begun anew: nobody knows how far it had come, but what it took before is out of its hands.
            self.sent.read(mine, |_| taken.saturating_sub(mine)).min(taken)
        };
        Counted {
            sent,
            failed: self.failed.total(now.oerrors).min(taken - sent),
            missed: self.missed.total(now.imissed),
            errors: self.errors.total(now.ierrors),
            no_mbuf: self.no_mbuf.total(now.rx_nombuf),
            oversize: self.oversize.total(oversize),
            rx_bytes: self.rx_bytes.total(now.ibytes),
            tx_bytes: self.tx_bytes.total(now.obytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_begin_with_the_socket_and_never_fall() {
        let mut driver = rte_eth_stats { opackets: 100, oerrors: 7, imissed: 3, ..Default::default() };
        let counts = Counts::new(&driver, 0, None);
        assert_eq!(counts.read(&driver, 0, 0).missed, 0);
        (driver.opackets, driver.oerrors, driver.imissed) = (150, 9, 5);
        let read = counts.read(&driver, 0, 60);
        assert_eq!((read.sent, read.failed, read.missed), (50, 2, 2));
        // The peer has gone and come: the driver begins anew, with everything before it out of its hands.
        driver = rte_eth_stats { opackets: 4, imissed: 1, ..Default::default() };
        let read = counts.read(&driver, 0, 64);
        assert_eq!((read.sent, read.missed), (64, 3));
        driver.opackets = 5;
        assert_eq!(counts.read(&driver, 0, 66).sent, 65);
    }

    #[test]
    fn drivers_that_do_not_count_by_queue_are_taken_at_their_word() {
        let mut driver = rte_eth_stats { opackets: 9, ..Default::default() };
        let counts = Counts::new(&driver, 0, Some(3));
        assert_eq!(counts.read(&driver, 0, 5).sent, 5);
        driver.q_opackets[3] = 4;
        assert_eq!(counts.read(&driver, 0, 5).sent, 4);
        assert_eq!(Counts::new(&driver, 0, Some(99)).read(&driver, 0, 8).sent, 8, "more queues than counters");
    }
}
