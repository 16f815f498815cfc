//! What is kept only while something is missing: which ranges the receiver holds, and what was resent when.
//!
//! A range that is known already costs one search, whatever its size, so an acknowledgement costs what it newly tells
//! and not what it repeats.

use std::collections::VecDeque;

use super::ring::{RESENT, Ring};
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// Lives from the first selective acknowledgement or retransmission until all has been acknowledged.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// Selectively acknowledged ranges, ascending; they begin and end where records do and do not touch each other.
    ranges: Vec<(Seq, Seq)>,
    /// Retransmissions in the order in which they were sent: where the record began, and when. Entries that a later
    /// event has overtaken stay until they come to the front.
    resent: VecDeque<(Seq, Instant)>,
}

impl Holes {
    /// Takes in a block that lies between the oldest unacknowledged byte and the next one to be sent. `mark` is called
    /// for each stretch of it that is not known yet and tells which records it held in full.
    pub(super) fn insert(&mut self, left: Seq, right: Seq, mut mark: impl FnMut(Seq, Seq) -> Option<(Seq, Seq)>) {
        let first = self.ranges.partition_point(|range| range.1.before(left));
        if self.ranges.get(first).is_some_and(|range| range.0.at_or_before(left) && right.at_or_before(range.1)) {
            return;
        }
        let (mut next, mut from) = (first, left);
        let mut union: Option<(Seq, Seq)> = None;
        let mut extend = |range: (Seq, Seq)| {
            union = Some(union.map_or(range, |known| (known.0.min(range.0), known.1.max(range.1))));
        };
        loop {
            let range = self.ranges.get(next).copied().filter(|range| range.0.at_or_before(right));
            let to = range.map_or(right, |range| range.0);
            if from.before(to) {
                if let Some(marked) = mark(from, to) {
                    extend(marked);
                }
            }
            let Some(range) = range else { break };
            extend(range);
            from = from.max(range.1);
            next += 1;
        }
        let Some(union) = union else { return };
        if first == next {
            self.ranges.insert(first, union);
        } else {
            self.ranges[first] = union;
            self.ranges.drain(first + 1..next);
        }
    }

    /// Forgets what lies before `una`.
    pub(super) fn acknowledge(&mut self, una: Seq) {
        let gone = self.ranges.partition_point(|range| range.1.at_or_before(una));
        if gone > 0 {
            self.ranges.drain(..gone);
        }
        if let Some(first) = self.ranges.first_mut() {
            first.0 = first.0.max(una);
        }
    }

    /// Forgets what the receiver said that it holds: it has thrown it away.
    pub(super) fn renege(&mut self) {
        self.ranges.clear();
    }

    /// Nothing is in flight any more.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.resent.clear();
    }

    /// The ranges, for tests.
    #[cfg(test)]
    pub(super) fn ranges(&self) -> &[(Seq, Seq)] {
        &self.ranges
    }

    /// A retransmission was sent.
    pub(super) fn push_resent(&mut self, start: Seq, now: Instant) {
        self.resent.push_back((start, now));
    }

    /// Index of the retransmission that has been in flight for the longest time.
    pub(super) fn oldest_resent(&mut self, ring: &Ring) -> Option<usize> {
        while let Some(&(start, sent)) = self.resent.front() {
            if ring.una().before(ring.nxt()) {
                let index = ring.find(start.max(ring.una()));
                if ring.get(index).is_some_and(|record| record.sent == sent && record.has(RESENT)) {
                    return Some(index);
                }
            }
            self.resent.pop_front();
        }
        None
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.ranges.capacity() * size_of::<(Seq, Seq)>()
            + self.resent.capacity() * size_of::<(Seq, Instant)>()
    }
}
