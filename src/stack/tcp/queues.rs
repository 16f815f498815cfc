//! Records that wait in line: where half-open connections and TIME-WAIT records are stored.
//!
//! Each record is in one of a few queues, in the order of the times at which it was put there. All that wait in one
//! queue wait equally long, so the first one is due first, and nothing but the heads is ever looked at. Records are named
//! by small indices, which are used again; who keeps an index takes care that it is current.

use crate::stack::Instant;

/// Marks a link that leads to a queue's head instead of a record.
const HEAD: u32 = 1 << 31;
/// In `next` of a free place that is the last one, and in `prev` of every free place.
const NONE: u32 = u32::MAX;

/// Links of the ring that its queue's head closes, and the time at which the record was put there.
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    prev: u32,
    since: Instant,
}

const _: () = assert!(size_of::<Link>() == 16);

/// Records of one kind in `QUEUES` queues. Memory grows with the largest number there ever was, and is kept.
pub(crate) struct Queues<T, const QUEUES: usize> {
    records: Vec<T>,
    links: Vec<Link>,
    /// First and last record of each queue; the head itself if there is none.
    heads: [(u32, u32); QUEUES],
    free: u32,
    len: usize,
}

impl<T: Copy, const QUEUES: usize> Queues<T, QUEUES> {
    /// Without records.
    pub(crate) fn new() -> Self {
        let heads = std::array::from_fn(|queue| (HEAD | queue as u32, HEAD | queue as u32));
        Self { records: Vec::new(), links: Vec::new(), heads, free: NONE, len: 0 }
    }

    /// Puts a record at the end of a queue. The caller keeps the number of records under 2³⁰.
    pub(crate) fn push(&mut self, queue: usize, now: Instant, record: T) -> u32 {
        let index = self.free;
        self.len += 1;
        if index == NONE {
            self.records.push(record);
            self.links.push(Link { next: NONE, prev: NONE, since: now });
            self.link(self.links.len() as u32 - 1, queue, now)
        } else {
            self.free = self.links[index as usize].next;
            self.records[index as usize] = record;
            self.link(index, queue, now)
        }
    }

    /// The link of a record, if there is one at this place.
    fn taken(&self, index: u32) -> Option<Link> {
        self.links.get(index as usize).copied().filter(|link| link.prev != NONE)
    }

    /// The record at this place.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.taken(index)?;
        self.records.get(index as usize)
    }

    /// The record at this place.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.taken(index)?;
        self.records.get_mut(index as usize)
    }

    /// When the record was put into its queue.
    pub(crate) fn since(&self, index: u32) -> Option<Instant> {
        self.taken(index).map(|link| link.since)
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let link = self.taken(index)?;
        self.unlink(link);
        self.links[index as usize] = Link { next: self.free, prev: NONE, since: link.since };
        self.free = index;
        self.len -= 1;
        Some(self.records[index as usize])
    }

    /// Puts a record at the end of a queue, out of the one it is in.
    pub(crate) fn requeue(&mut self, index: u32, queue: usize, now: Instant) {
        if let Some(link) = self.taken(index) {
            self.unlink(link);
            self.link(index, queue, now);
        }
    }

    /// The first record of a queue, and when it was put there.
    #[inline]
    pub(crate) fn front(&self, queue: usize) -> Option<(u32, Instant)> {
        let first = self.heads[queue].0;
        (first & HEAD == 0).then(|| (first, self.links[first as usize].since))
    }

    /// How many records there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All records, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.records).filter(|(index, _)| self.taken(*index).is_some())
    }

    /// Bytes of heap that it holds.
    pub(crate) fn footprint(&self) -> usize {
        self.records.capacity() * size_of::<T>() + self.links.capacity() * size_of::<Link>()
    }

    fn link(&mut self, index: u32, queue: usize, since: Instant) -> u32 {
        let own = HEAD | queue as u32;
        let last = std::mem::replace(&mut self.heads[queue].1, index);
        self.links[index as usize] = Link { next: own, prev: last, since };
        if last == own {
            self.heads[queue].0 = index;
        } else {
            self.links[last as usize].next = index;
        }
        index
    }

    fn unlink(&mut self, link: Link) {
        if link.prev & HEAD != 0 {
            self.heads[(link.prev ^ HEAD) as usize % QUEUES].0 = link.next;
        } else {
            self.links[link.prev as usize].next = link.next;
        }
        if link.next & HEAD != 0 {
            self.heads[(link.next ^ HEAD) as usize % QUEUES].1 = link.prev;
        } else {
            self.links[link.next as usize].prev = link.prev;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::random::Random;
    use std::collections::VecDeque;

    #[test]
    fn queues_do_what_deques_do() {
        let mut random = Random(12);
        let mut queues = Queues::<u64, 3>::new();
        let mut deques: [VecDeque<(u32, u64)>; 3] = Default::default();
        for step in 0..60_000u64 {
            let now = Instant::from_nanos(step);
            let (queue, other) = (random.below(3) as usize, random.below(3) as usize);
            let some = deques[other].get(random.below(1 + deques[other].len() as u64) as usize).copied();
            match (random.below(if (step / 3000) % 2 == 0 { 5 } else { 10 }), some) {
                (0..3, _) => deques[queue].push_back((queues.push(queue, now, step), step)),
                (3, Some((index, value))) => {
                    queues.requeue(index, queue, now);
                    assert_eq!(queues.since(index), Some(now));
                    deques[other].retain(|(at, _)| *at != index);
                    deques[queue].push_back((index, value));
                }
                (_, Some((index, value))) => {
                    assert_eq!(queues.remove(index), Some(value));
                    assert_eq!((queues.remove(index), queues.get(index), queues.since(index)), (None, None, None));
                    queues.requeue(index, queue, now);
                    deques[other].retain(|(at, _)| *at != index);
                }
                _ => {}
            }
            for (queue, deque) in deques.iter().enumerate() {
                assert_eq!(queues.front(queue).map(|(index, _)| index), deque.front().map(|(index, _)| *index));
                assert!(deque.front().is_none_or(|(index, value)| queues.get(*index) == Some(value)));
            }
            assert_eq!(queues.len(), deques.iter().map(VecDeque::len).sum::<usize>());
        }
        let mut all: Vec<(u32, u64)> = deques.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(queues.iter().map(|(index, value)| (index, *value)).collect::<Vec<_>>(), all);
        assert!(!all.is_empty() && queues.records.len() < 20_000, "places are used again");
        assert!(queues.get(u32::MAX).is_none() && queues.get_mut(1 << 31).is_none());
    }
}
