//! Loss, reordering and duplicates, from the sequence numbers of stamps.
//!
//! Per stream, a window of the last [`WINDOW`] numbers remembers which have been seen:
//!
//! | a packet whose number is | counts as |
//! |---|---|
//! | above the highest so far | new; the numbers it skips are lost until they turn up |
//! | in the window, not seen yet | reordered, and no longer lost |
//! | in the window, seen | a duplicate |
//! | lower, but sent later than the highest | the generator was started again: a new run |
//! | below the window | late: reordered beyond what can be told from a duplicate |

use crate::stamp::{Stamp, widen};
use serde::Serialize;
use std::collections::BTreeMap;

/// How far back a packet is recognised, in sequence numbers.
pub const WINDOW: u64 = 1 << 16;

/// Streams that are followed; packets of further ones are counted in [`Sequences::untracked`].
pub const STREAMS: usize = 256;

/// What has become of a stream, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Different packets received.
    pub received: u64,
    /// Numbers between the first and the highest that never came.
    pub lost: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets that had come before.
    pub duplicates: u64,
    /// Packets older than the window.
    pub late: u64,
    /// How often the generator began again.
    pub restarts: u64,
    /// The lowest number of the latest run: above 0, the meter was not there at the start or its first packets were lost.
    pub first: u64,
}

impl Order {
    fn add(&mut self, other: &Order) {
        self.received += other.received;
        self.lost += other.lost;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.late += other.late;
        self.restarts += other.restarts;
        self.first = self.first.max(other.first);
    }
}

#[derive(Debug)]
struct Stream {
    /// Counts of this and earlier runs; `lost` is of earlier runs only.
    order: Order,
    highest: u64,
    /// When the highest was sent, in the 48 bits of the stamp.
    highest_time: u64,
    /// Different packets of this run.
    received: u64,
    /// Bit `n % WINDOW`: whether number `n`, from the window below the highest, was seen.
    seen: Box<[u64]>,
}

impl Stream {
    fn new(stamp: &Stamp) -> Self {
        let mut stream = Self {
            order: Order { first: stamp.sequence, ..Order::default() },
            highest: stamp.sequence,
            highest_time: stamp.time_ns,
            received: 0,
            seen: vec![0; (WINDOW / 64) as usize].into_boxed_slice(),
        };
        stream.take(stamp.sequence);
        stream
    }

    /// Marks a number; whether it had not been seen.
    #[inline]
    fn take(&mut self, n: u64) -> bool {
        let (word, bit) = ((n % WINDOW / 64) as usize, 1 << (n % 64));
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        if new {
            self.received += 1;
            self.order.received += 1;
        }
        new
    }

    #[inline]
    fn forget(&mut self, n: u64) {
        self.seen[(n % WINDOW / 64) as usize] &= !(1 << (n % 64));
    }

    #[inline]
    fn note(&mut self, stamp: &Stamp) {
        let n = widen(stamp.sequence, self.highest);
        if n > self.highest {
            if n - self.highest >= WINDOW {
                self.seen.fill(0);
            } else {
                for skipped in self.highest + 1..=n {
                    self.forget(skipped);
                }
            }
            self.highest = n;
            self.highest_time = stamp.time_ns;
            self.take(n);
        } else if n < self.highest && stamp.age_ns(self.highest_time) < 0 {
            self.restart(stamp);
        } else if self.highest - n >= WINDOW {
            self.order.late += 1;
        } else if self.take(n) {
            self.order.reordered += 1;
            self.order.first = self.order.first.min(n);
        } else {
            self.order.duplicates += 1;
        }
    }

    #[cold]
    fn restart(&mut self, stamp: &Stamp) {
        self.order.lost += self.lost();
        self.order.restarts += 1;
        self.order.first = stamp.sequence;
        self.highest = stamp.sequence;
        self.highest_time = stamp.time_ns;
        self.received = 0;
        self.seen.fill(0);
        self.take(stamp.sequence);
    }

    /// Numbers of this run that are missing.
    fn lost(&self) -> u64 {
        (self.highest - self.order.first + 1).saturating_sub(self.received)
    }

    fn order(&self) -> Order {
        Order { lost: self.order.lost + self.lost(), ..self.order }
    }
}

/// All streams.
#[derive(Debug, Default)]
pub struct Sequences {
    streams: BTreeMap<u16, Stream>,
    /// Packets of more streams than are followed.
    pub untracked: u64,
}

impl Sequences {
    /// Notes a packet's stamp, as it was decoded.
    #[inline]
    pub fn note(&mut self, stamp: &Stamp) {
        match self.streams.get_mut(&stamp.stream) {
            Some(stream) => stream.note(stamp),
            None => self.begin(stamp),
        }
    }

    #[cold]
    fn begin(&mut self, stamp: &Stamp) {
        if self.streams.len() < STREAMS {
            self.streams.insert(stamp.stream, Stream::new(stamp));
        } else {
            self.untracked += 1;
        }
    }

    /// Whether there has been any stamp.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Each stream.
    pub fn streams(&self) -> impl Iterator<Item = (u16, Order)> + '_ {
        self.streams.iter().map(|(id, stream)| (*id, stream.order()))
    }

    /// All streams together; `first` is the highest of them.
    #[must_use]
    pub fn total(&self) -> Order {
        let mut total = Order::default();
        for (_, order) in self.streams() {
            total.add(&order);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in the order of arrival, each sent at a time that grows with it.
    fn run(numbers: impl IntoIterator<Item = u64>) -> Order {
        let mut sequences = Sequences::default();
        for n in numbers {
            sequences.note(&Stamp { stream: 1, sequence: n, time_ns: 1_000 + n * 10 });
        }
        sequences.total()
    }

    #[test]
    fn nothing_wrong() {
        assert_eq!(run(0..200_000), Order { received: 200_000, ..Order::default() });
        assert_eq!(run(500..600), Order { received: 100, first: 500, ..Order::default() });
    }

    #[test]
    fn losses_are_holes() {
        let order = run((0..300_000).filter(|n| n % 10 != 3));
        assert_eq!((order.received, order.lost, order.reordered), (270_000, 30_000, 0));
        // A hole far beyond the window.
        assert_eq!(run([0, 1, 10 * WINDOW]).lost, 10 * WINDOW - 2);
    }

    #[test]
    fn swapped_neighbours_are_reordered_not_lost() {
        let order = run((0..100_000u64).map(|n| n ^ 1));
        assert_eq!((order.received, order.lost, order.reordered, order.duplicates), (100_000, 0, 50_000, 0));
        // The first to come need not be the first.
        assert_eq!(run([3, 0, 1, 2]), Order { received: 4, reordered: 3, ..Order::default() });
    }

    #[test]
    fn duplicates_and_what_is_too_old() {
        let order = run((0..1000).flat_map(|n| [n, n]));
        assert_eq!((order.received, order.duplicates, order.lost), (1000, 1000, 0));
        let order = run((0..WINDOW + 10).chain([WINDOW - 1, 12, 3]));
        assert_eq!((order.duplicates, order.late), (2, 1));
        // The same slots of the window, used again.
        let order = run((0..4 * WINDOW).filter(|n| n % 3 != 1));
        assert_eq!((order.duplicates, order.lost), (0, 4 * WINDOW / 3));
    }

    #[test]
    fn a_generator_that_begins_again_loses_nothing() {
        let mut sequences = Sequences::default();
        let mut time = 0;
        for length in [1000, 2000, 500u64] {
            for n in (0..length).filter(|n| n % 100 != 50) {
                time += 10;
                sequences.note(&Stamp { stream: 4, sequence: n, time_ns: time });
            }
            time += 1_000_000;
        }
        let order = sequences.total();
        assert_eq!((order.restarts, order.lost, order.received), (2, 35, 3465));
        assert_eq!((order.reordered, order.duplicates, order.late), (0, 0, 0));
    }

    #[test]
    fn numbers_wrap_with_their_48_bits() {
        let top = 1u64 << 48;
        let mut sequences = Sequences::default();
        for n in top - 500..top + 500 {
            sequences.note(&Stamp { stream: 1, sequence: n % top, time_ns: n % top });
        }
        let order = sequences.total();
        assert_eq!((order.received, order.lost, order.restarts, order.late), (1000, 0, 0, 0));
    }

    #[test]
    fn streams_are_apart_and_bounded() {
        let mut sequences = Sequences::default();
        for n in 0..10 {
            for stream in 0..STREAMS as u16 + 5 {
                sequences.note(&Stamp { stream, sequence: n * (1 + u64::from(stream == 3)), time_ns: n });
            }
        }
        assert_eq!(sequences.untracked, 50);
        assert_eq!(sequences.total().lost, 9);
        assert_eq!(sequences.streams().filter(|(_, order)| order.lost > 0).map(|(id, _)| id).collect::<Vec<_>>(), [3]);
    }
}
