//! Everything that is counted, in one place and under one name each.

use super::tap::TapStats;
use crate::{api, stack};
use std::fmt;

/// What a host does besides what its socket and its engine count. Totals since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Rounds of sending, receiving and timers.
    pub turns: u64,
    /// Bursts received that were not empty.
    pub bursts: u64,
    /// Looks at the socket that found nothing while the host was not sleeping.
    pub spins: u64,
    /// Sleeps until something comes.
    pub sleeps: u64,
    /// Sleeps while packets gather.
    pub pauses: u64,
    /// Calls of a waker that the host took note of.
    pub wakes: u64,
    /// Flushes of the socket.
    pub flushes: u64,
    /// Times the socket had no room for a frame, not even after a flush.
    pub tx_full: u64,
    /// Frames that the socket refused for another reason; they are lost.
    pub tx_errors: u64,
    /// Events handed to the program.
    pub events: u64,
}

impl Counters {
    /// Each counter with its name.
    #[must_use]
    pub fn each(&self) -> [(&'static str, u64); 10] {
        [
            ("turns", self.turns),
            ("bursts", self.bursts),
            ("spins", self.spins),
            ("sleeps", self.sleeps),
            ("pauses", self.pauses),
            ("wakes", self.wakes),
            ("flushes", self.flushes),
            ("tx_full", self.tx_full),
            ("tx_errors", self.tx_errors),
            ("events", self.events),
        ]
    }
}

/// Counters of the socket, the engine and the host at one moment.
///
/// `Display` prints a table of those that are not zero, and what the round trips were like; `{:#}` prints all.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Of the packet socket.
    pub socket: api::Stats,
    /// Of the engine.
    pub stack: stack::Stats,
    /// Of the host.
    pub host: Counters,
    /// Of the tap, if there is one.
    pub tap: Option<TapStats>,
}

impl Stats {
    /// Each counter as `group.name` with its value; the round trips are in `stack.rtt`. The groups are `socket`, `host`, those of the engine (`ip`, `tcp`,
    /// `udp`, `memory`) and `tap`.
    pub fn each(&self) -> impl Iterator<Item = (String, u64)> + use<> {
        let socket = &self.socket;
        let mut all: Vec<(String, u64)> = [
            ("rx_packets", socket.rx_packets),
            ("rx_bytes", socket.rx_bytes),
            ("rx_truncated", socket.rx_truncated),
            ("tx_submitted", socket.tx_submitted),
            ("tx_packets", socket.tx_packets),
            ("tx_bytes", socket.tx_bytes),
        ]
        .map(|(name, value)| (format!("socket.{name}"), value))
        .into();
        all.extend(socket.rx_dropped.causes().map(|(cause, n)| (format!("socket.rx_dropped.{cause}"), n)));
        all.extend(socket.tx_dropped.causes().map(|(cause, n)| (format!("socket.tx_dropped.{cause}"), n)));
        all.extend(self.host.each().map(|(name, value)| (format!("host.{name}"), value)));
        all.extend(self.stack.each());
        if let Some(tap) = &self.tap {
            all.extend(
                [("packets", tap.packets), ("dropped", tap.dropped), ("bytes", tap.bytes)]
                    .map(|(name, value)| (format!("tap.{name}"), value)),
            );
        }
        all.into_iter()
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.each().filter(|(_, value)| *value != 0 || f.alternate()).collect();
        let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in all {
            writeln!(f, "{name:width$}  {value:>15}")?;
        }
        write!(f, "{}", self.stack.rtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_the_table_shows_what_is_not_zero() {
        let mut stats = Stats { tap: Some(TapStats::default()), ..Stats::default() };
        stats.host.turns = 12;
        stats.stack.tcp.retransmitted_segments = 3;
        stats.socket.rx_dropped.ring_full = 4;
        let names: BTreeSet<String> = stats.each().map(|(name, _)| name).collect();
        assert_eq!(names.len(), stats.each().count());
        assert_eq!(stats.to_string().lines().count(), 4);
        for line in ["host.turns", "tcp.retransmitted_segments", "socket.rx_dropped.ring_full"] {
            assert!(stats.to_string().contains(line), "{stats}");
        }
        assert_eq!(format!("{stats:#}").lines().count(), names.len() + 1);
    }
}
