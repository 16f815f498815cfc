//! Which connection, half-open connection or TIME-WAIT record a segment is for.
//!
//! Open addressing in buckets of one cache line: eight tags (32 bits of the keyed hash) and eight packed [`Flow`]s. A
//! lookup compares a bucket's tags at once and asks its caller, who has the keys, only where one is equal; it goes on to
//! the next bucket only if this one is full. Removing an entry closes the gap with one from further on that would rather
//! lie there, so that no tombstones are left: opening and closing connections for ever leaves the table as it was.
//!
//! The highest bits of the tag choose one of 64 segments, the next ones the bucket in it. Each segment is a table of
//! its own that doubles by itself, from its tags alone. With 100 000 flows that moves 1 600 of them, some ten
//! microseconds; there is never a moment at which all of them are moved.
//!
//! The table owns no keys: whoever owns the records that its flows name keeps both in step.

mod key;
#[cfg(test)]
mod tests;

pub(crate) use key::FlowKey;

use key::Hasher;
use std::hint::black_box;

/// What a segment belongs to: an index into the storage of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flow {
    /// A connection.
    Connection(u32),
    /// A half-open connection.
    HalfOpen(u32),
    /// A TIME-WAIT record.
    TimeWait(u32),
}

impl Flow {
    /// Largest index: the kind takes the two highest bits.
    pub(crate) const MAX_INDEX: u32 = (1 << 30) - 1;

    /// Never zero, which stands for nothing.
    #[inline(always)]
    const fn pack(self) -> u32 {
        let (kind, index) = match self {
            Self::Connection(index) => (1, index),
            Self::HalfOpen(index) => (2, index),
            Self::TimeWait(index) => (3, index),
        };
        kind << 30 | (index & Self::MAX_INDEX)
    }

    #[inline(always)]
    const fn unpack(word: u32) -> Option<Self> {
        let index = word & Self::MAX_INDEX;
        match word >> 30 {
            1 => Some(Self::Connection(index)),
            2 => Some(Self::HalfOpen(index)),
            3 => Some(Self::TimeWait(index)),
            _ => None,
        }
    }
}

/// The hash of a flow's key. Not to be kept: [`FlowTable::rekey`] changes them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowHash(u32);

/// Entries of a bucket.
const SLOTS: usize = 8;
/// A segment grows beyond this part of its slots …
const FULL: (usize, usize) = (3, 4);
/// … and shrinks below this one, so far apart that a population that comes and goes does neither.
const EMPTY: (usize, usize) = (1, 16);
/// Buckets that a segment keeps when it shrinks.
const SMALLEST: usize = 8;
/// Bits of the tag that choose the segment.
const SEGMENT_BITS: u32 = 6;
const SEGMENTS: usize = 1 << SEGMENT_BITS;
/// How many buckets an entry may lie from where it belongs. By chance, with a million flows that fill 3/4, the furthest
/// lies 13 to 29 away, and each further one is half as likely: 64 is beyond chance.
const CHAIN: u32 = 64;

/// One cache line. Entries are in its first slots, without gaps.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u32; SLOTS],
    flows: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    #[inline(always)]
    fn is_full(&self) -> bool {
        self.flows[SLOTS - 1] != 0
    }

    fn len(&self) -> usize {
        self.flows.iter().take_while(|flow| **flow != 0).count()
    }

    fn entries(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        self.tags.into_iter().zip(self.flows).take_while(|(_, flow)| *flow != 0)
    }
}

/// A table that grows by itself.
struct Segment {
    /// A power of two of them.
    buckets: Box<[Bucket]>,
    len: usize,
}

impl Segment {
    fn new(buckets: usize) -> Self {
        Self { buckets: vec![Bucket::default(); buckets].into(), len: 0 }
    }

    /// The bucket in which a tag belongs: the highest bits below those that chose the segment.
    #[inline(always)]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag << SEGMENT_BITS) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn after(&self, bucket: usize) -> usize {
        (bucket + 1) & (self.buckets.len() - 1)
    }

    /// How many buckets lie between where a tag belongs and `bucket`.
    #[inline]
    fn distance(&self, tag: u32, bucket: usize) -> usize {
        bucket.wrapping_sub(self.home(tag)) & (self.buckets.len() - 1)
    }

    /// Calls `f` with the packed flows under a tag, until it returns true: where that was.
    #[inline(always)]
    fn search(&self, tag: u32, mut f: impl FnMut(u32) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(tag);
        // Ends because some bucket is never full.
        loop {
            let bucket = &self.buckets[at];
            for slot in 0..SLOTS {
                // Free slots have a tag too.
                if bucket.tags[slot] == tag && bucket.flows[slot] != 0 && f(bucket.flows[slot]) {
                    return Some((at, slot));
                }
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.after(at);
        }
    }

    /// Puts an entry in; how far from where it belongs.
    fn insert(&mut self, tag: u32, flow: u32) -> u32 {
        if (self.len + 1) * FULL.1 > self.buckets.len() * SLOTS * FULL.0 {
            self.resize(self.buckets.len() * 2);
        }
        self.place(tag, flow)
    }

    fn place(&mut self, tag: u32, flow: u32) -> u32 {
        let (mut at, mut distance) = (self.home(tag), 0);
        while self.buckets[at].is_full() {
            at = self.after(at);
            distance += 1;
        }
        let bucket = &mut self.buckets[at];
        let slot = bucket.len() % SLOTS;
        (bucket.tags[slot], bucket.flows[slot]) = (tag, flow);
        self.len += 1;
        distance
    }

    fn remove(&mut self, tag: u32, flow: u32) -> bool {
        let Some((mut at, mut slot)) = self.search(tag, |other| other == flow) else { return false };
        // While the bucket with the gap was full, entries that belong in it or before it may lie further on.
        while self.buckets[at].is_full() {
            let Some((from, which)) = self.strayed(at) else { break };
            let (tag, flow) = (self.buckets[from].tags[which], self.buckets[from].flows[which]);
            (self.buckets[at].tags[slot], self.buckets[at].flows[slot]) = (tag, flow);
            (at, slot) = (from, which);
        }
        let bucket = &mut self.buckets[at];
        let last = bucket.len() - 1;
        (bucket.tags[slot], bucket.flows[slot]) = (bucket.tags[last], bucket.flows[last]);
        (bucket.tags[last], bucket.flows[last]) = (0, 0);
        self.len -= 1;
        if self.buckets.len() > SMALLEST && self.len * EMPTY.1 < self.buckets.len() * SLOTS * EMPTY.0 {
            self.resize(self.buckets.len() / 2);
        }
        true
    }

    /// The first entry after the full bucket `at` that may lie in it. A bucket with room ends the search: nothing was
    /// ever pushed past it.
    fn strayed(&self, at: usize) -> Option<(usize, usize)> {
        let mut from = self.after(at);
        while from != at {
            let bucket = &self.buckets[from];
            let reach = from.wrapping_sub(at) & (self.buckets.len() - 1);
            if let Some(which) = bucket.entries().position(|(tag, _)| self.distance(tag, from) >= reach) {
                return Some((from, which));
            }
            if !bucket.is_full() {
                return None;
            }
            from = self.after(from);
        }
        None
    }

    #[cold]
    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(self, Self::new(buckets));
        for (tag, flow) in old.buckets.iter().flat_map(Bucket::entries) {
            self.place(tag, flow);
        }
    }
}

/// The flows of an engine by the hash of their keys.
pub(crate) struct FlowTable {
    segments: Box<[Segment; SEGMENTS]>,
    hasher: Hasher,
    secret: [u64; 2],
    len: usize,
    /// How far from its place an entry may lie before the hash is mistrusted; doubles each time it was.
    bound: u32,
    rekeys: u32,
    stray: bool,
}

impl FlowTable {
    /// An empty one. The secret should be random: it keeps others from choosing who shares a bucket.
    pub(crate) fn new(secret: [u64; 2]) -> Self {
        Self {
            segments: Box::new(std::array::from_fn(|_| Segment::new(1))),
            hasher: Hasher::fast(secret),
            secret,
            len: 0,
            bound: CHAIN,
            rekeys: 0,
            stray: false,
        }
    }

    /// The hash of a flow's key, good until the next [`rekey`](Self::rekey).
    #[inline]
    pub(crate) fn hash(&self, key: &FlowKey) -> FlowHash {
        FlowHash(self.hasher.hash(key))
    }

    #[inline(always)]
    fn segment(&self, hash: FlowHash) -> &Segment {
        &self.segments[(hash.0 >> (32 - SEGMENT_BITS)) as usize]
    }

    #[inline(always)]
    fn segment_mut(&mut self, hash: FlowHash) -> &mut Segment {
        &mut self.segments[(hash.0 >> (32 - SEGMENT_BITS)) as usize]
    }

    /// Pulls the bucket's line into the cache. Several in a row overlap, unlike lookups that wait for each.
    #[inline]
    pub(crate) fn touch(&self, hash: FlowHash) {
        let segment = self.segment(hash);
        black_box(segment.buckets[segment.home(hash.0)].flows[0]);
    }

    /// The first flow with this hash in its tag, if that is a connection, whose key may be another: the one that is probably
    /// meant.
    #[inline(always)]
    pub(crate) fn candidate(&self, hash: FlowHash) -> Option<u32> {
        let mut found = 0;
        self.segment(hash).search(hash.0, |word| {
            found = word;
            true
        })?;
        match Flow::unpack(found) {
            Some(Flow::Connection(index)) => Some(index),
            _ => None,
        }
    }

    /// The flow with this hash for which `matches` finds the key equal.
    #[inline]
    pub(crate) fn find(&self, hash: FlowHash, mut matches: impl FnMut(Flow) -> bool) -> Option<Flow> {
        let mut found = None;
        self.segment(hash).search(hash.0, |word| {
            found = Flow::unpack(word).filter(|flow| matches(*flow));
            found.is_some()
        });
        found
    }

    /// Enters a flow. It must not be there yet.
    pub(crate) fn insert(&mut self, hash: FlowHash, flow: Flow) {
        let distance = self.segment_mut(hash).insert(hash.0, flow.pack());
        self.len += 1;
        self.stray |= distance > self.bound;
    }

    /// Takes a flow out; false if it was not there.
    pub(crate) fn remove(&mut self, hash: FlowHash, flow: Flow) -> bool {
        let removed = self.segment_mut(hash).remove(hash.0, flow.pack());
        self.len -= usize::from(removed);
        removed
    }

    /// Puts `new` in the place of `old`, whose key is the same; false if `old` was not there.
    #[cfg(test)]
    pub(crate) fn replace(&mut self, hash: FlowHash, old: Flow, new: Flow) -> bool {
        let segment = self.segment_mut(hash);
        let Some((at, slot)) = segment.search(hash.0, |word| word == old.pack()) else { return false };
        segment.buckets[at].flows[slot] = new.pack();
        true
    }

    /// How many flows there are.
    #[inline]
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap that it holds.
    pub(crate) fn footprint(&self) -> usize {
        size_of::<[Segment; SEGMENTS]>() + self.segments.iter().map(|s| size_of_val(&*s.buckets)).sum::<usize>()
    }

    /// Whether an entry lies further from its place than chance explains: somebody has found keys that collide. Then
    /// [`rekey`](Self::rekey) is due, at a moment when nobody holds a [`FlowHash`].
    #[inline]
    pub(crate) fn wants_rekey(&self) -> bool {
        self.stray
    }

    /// Enters all flows anew under another key and a stronger hash. `key_of` tells a flow's key; a flow without one is
    /// dropped. Takes some tens of milliseconds per million flows, at most a few times in the life of a table.
    pub(crate) fn rekey(&mut self, mut key_of: impl FnMut(Flow) -> Option<FlowKey>) {
        self.rekeys += 1;
        self.hasher = Hasher::strong(self.secret, self.rekeys);
        self.bound = self.bound.saturating_mul(2);
        let sizes = self.segments.each_ref().map(|segment| segment.buckets.len());
        let old = std::mem::replace(&mut *self.segments, sizes.map(Segment::new));
        (self.len, self.stray) = (0, false);
        let flows = old.iter().flat_map(|segment| segment.buckets.iter().flat_map(Bucket::entries));
        for flow in flows.filter_map(|(_, word)| Flow::unpack(word)) {
            if let Some(key) = key_of(flow) {
                self.insert(self.hash(&key), flow);
            }
        }
    }
}
