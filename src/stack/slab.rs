//! Where sockets live: storage in chunks that never moves what it holds, found again by generation-checked [`Key`]s.
//!
//! The slab owns its values from [`insert`](Slab::insert) to [`remove`](Slab::remove). A place that becomes free is the
//! next to be used (its lines are still in the cache), under a new generation: a key that outlived its value finds
//! nothing. A place whose generations are used up is never used again, so that no key ever comes twice.
//! Growing adds a chunk and touches nothing that is there; chunks are kept until the slab is dropped.

use super::event::Key;

#[cfg(test)]
mod tests;

/// Places in a chunk.
const CHUNK: usize = 64;

/// Most places of a slab: an index leaves two bits for others in a word (see `tcp::table::Flow`).
const MAX_PLACES: usize = 1 << 30;

/// A place. With an explicit tag, in this order: whether a place is taken is read from the line in which its value
/// begins, not from wherever the compiler finds a spare bit in the value.
#[repr(u32)]
enum Slot<T> {
    /// Free; the generation that the next value gets.
    Vacant { next: u32 },
    /// Taken, under this generation.
    Full { generation: u32, value: T },
}

/// Begins a cache line: slots whose size is a multiple of 64 bytes begin lines too.
#[repr(align(64))]
struct Chunk<T>([Slot<T>; CHUNK]);

/// Values of one kind, up to a limit.
pub(crate) struct Slab<T> {
    chunks: Vec<Box<Chunk<T>>>,
    /// Free places, the last one first. Has room for all places from when they are made.
    free: Vec<u32>,
    len: usize,
    limit: usize,
}

impl<T> Slab<T> {
    /// An empty one for at most `limit` values at a time. Allocates nothing yet.
    pub(crate) fn new(limit: usize) -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0, limit: limit.min(MAX_PLACES) }
    }

    /// Takes a value in.
    ///
    /// # Errors
    ///
    /// The value, if the limit is reached.
    pub(crate) fn insert(&mut self, value: T) -> Result<Key, T> {
        let Some(key) = self.reserve() else { return Err(value) };
        self.fill(key, value);
        Ok(key)
    }

    /// Takes in a value that knows its own key. `make` is not called if the limit is reached.
    #[cfg(test)]
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Option<Key> {
        let key = self.reserve()?;
        self.fill(key, make(key));
        Some(key)
    }

    /// The place that the next value gets. It is not taken yet.
    fn reserve(&mut self) -> Option<Key> {
        if self.len >= self.limit {
            return None;
        }
        if self.free.is_empty() {
            self.grow()?;
        }
        let index = *self.free.last()?;
        match self.slot(index)? {
            Slot::Vacant { next } => Some(Key { index, generation: *next }),
            Slot::Full { .. } => None,
        }
    }

    fn fill(&mut self, key: Key, value: T) {
        if let Some(slot) = self.slot_mut(key.index) {
            *slot = Slot::Full { generation: key.generation, value };
            self.free.pop();
            self.len += 1;
        }
    }

    #[cold]
    fn grow(&mut self) -> Option<()> {
        let first = self.chunks.len() * CHUNK;
        if first + CHUNK > MAX_PLACES {
            return None;
        }
        // Generations begin at one: a key of zeros names nothing.
        self.chunks.push(Box::new(Chunk(std::array::from_fn(|_| Slot::Vacant { next: 1 }))));
        self.free.reserve(first + CHUNK);
        self.free.extend((first as u32..(first + CHUNK) as u32).rev());
        Some(())
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let index = index as usize;
        self.chunks.get(index / CHUNK).map(|chunk| &chunk.0[index % CHUNK])
    }

    #[inline(always)]
    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK).map(|chunk| &mut chunk.0[index % CHUNK])
    }

    /// The value with this key.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slot(key.index)? {
            Slot::Full { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value with this key.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slot_mut(key.index)? {
            Slot::Full { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value at this place, whatever its generation: for indices that are known to be alive.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&T> {
        match self.slot(index)? {
            Slot::Full { value, .. } => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// The value at this place, whatever its generation.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slot_mut(index)? {
            Slot::Full { value, .. } => Some(value),
            Slot::Vacant { .. } => None,
        }
    }

    /// The value at this place, whatever its generation, with its key.
    #[inline]
    pub(crate) fn entry_at(&mut self, index: u32) -> Option<(Key, &mut T)> {
        match self.slot_mut(index)? {
            Slot::Full { generation, value } => Some((Key { index, generation: *generation }, value)),
            Slot::Vacant { .. } => None,
        }
    }

    /// The key of the value at this place.
    #[inline]
    pub(crate) fn key_of(&self, index: u32) -> Option<Key> {
        match self.slot(index)? {
            Slot::Full { generation, .. } => Some(Key { index, generation: *generation }),
            Slot::Vacant { .. } => None,
        }
    }

    /// Gives the value at this place a new key: the old one names nothing from now on. (A place whose generations are used
    /// up keeps its last key.)
    pub(crate) fn renew(&mut self, index: u32) {
        if let Some(Slot::Full { generation, .. }) = self.slot_mut(index) {
            *generation = generation.saturating_add(1);
        }
    }

    /// Gives the value with this key back.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.remove_at(key.index)
    }

    /// Gives the value at this place back, whatever its generation.
    pub(crate) fn remove_at(&mut self, index: u32) -> Option<T> {
        let slot = self.slot_mut(index)?;
        let Slot::Full { generation, .. } = slot else { return None };
        let (next, retired) = generation.overflowing_add(1);
        let Slot::Full { value, .. } = std::mem::replace(slot, Slot::Vacant { next }) else { return None };
        self.len -= 1;
        if !retired {
            self.free.push(index);
        }
        Some(value)
    }

    /// How many values there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the limit is reached.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// How many values there may be.
    #[cfg(test)]
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of heap that the slab itself holds, what its values own apart.
    pub(crate) fn footprint(&self) -> usize {
        self.chunks.len() * size_of::<Chunk<T>>()
            + self.chunks.capacity() * size_of::<Box<Chunk<T>>>()
            + self.free.capacity() * size_of::<u32>()
    }

    /// All keys with their values, by place.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.chunks.iter().flat_map(|chunk| &chunk.0).zip(0..).filter_map(|(slot, index)| match slot {
            Slot::Full { generation, value } => Some((Key { index, generation: *generation }, value)),
            Slot::Vacant { .. } => None,
        })
    }

    /// All keys with their values, by place.
    #[cfg(test)]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.chunks.iter_mut().flat_map(|chunk| &mut chunk.0).zip(0..).filter_map(|(slot, index)| match slot {
            Slot::Full { generation, value } => Some((Key { index, generation: *generation }, value)),
            Slot::Vacant { .. } => None,
        })
    }

    /// All keys, by place.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.iter().map(|(key, _)| key)
    }
}
