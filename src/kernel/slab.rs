//! Where sockets lie: slots with a generation, so that a handle which outlived its socket finds nothing.

use crate::stack::Key;

/// Slots of sockets. A slot's place is half of the socket's name, and of the word that epoll keeps for it.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    /// The slot that was freed last, and so on through `next`.
    free: Option<u32>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    /// One more with each socket that leaves.
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Free { next: Option<u32> },
    Taken(T),
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: None, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The key that the next [`insert`](Self::insert) will give. `None` beyond 2³² sockets.
    pub(super) fn next_key(&self) -> Option<Key> {
        match self.free {
            Some(index) => Some(Key { index, generation: self.slots[index as usize].generation }),
            None => Some(Key { index: u32::try_from(self.slots.len()).ok()?, generation: 0 }),
        }
    }

    /// Puts a socket where [`next_key`](Self::next_key) says.
    pub(super) fn insert(&mut self, value: T) {
        self.len += 1;
        match self.free {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                if let Content::Free { next } = slot.content {
                    self.free = next;
                }
                slot.content = Content::Taken(value);
            }
            None => self.slots.push(Slot { generation: 0, content: Content::Taken(value) }),
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(Slot { generation, content: Content::Taken(value) }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(Slot { generation, content: Content::Taken(value) }) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let Content::Taken(value) = std::mem::replace(&mut slot.content, Content::Free { next: self.free }) else {
            return None;
        };
        self.free = Some(key.index);
        self.len -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_key_names_one_value_for_ever() {
        let mut slab = Slab::new();
        let mut keys = Vec::new();
        for value in 0..100 {
            keys.push(slab.next_key().unwrap());
            slab.insert(value);
        }
        for (value, key) in keys.iter().enumerate().filter(|(value, _)| value % 2 == 0) {
            assert_eq!(slab.remove(*key), Some(value));
            assert_eq!(slab.remove(*key), None);
        }
        assert_eq!(slab.len(), 50);
        // What was freed last is used first, under another generation.
        let again = slab.next_key().unwrap();
        slab.insert(1000);
        assert_eq!((again.index, again.generation), (98, 1));
        assert_eq!((slab.get(again), slab.get(keys[98])), (Some(&1000), None));
        assert_eq!(slab.get_mut(keys[98]), None);
        for (value, key) in keys.iter().enumerate().filter(|(value, _)| value % 2 == 1) {
            assert_eq!(slab.get(*key), Some(&value));
        }
    }
}
