//! Lists of chunks, whose links lie in one place for the whole engine.

use super::NIL;
use crate::stack::chunk::Chunk;

/// The links of all lists. Grows with the most chunks that were ever queued at once, and keeps that size.
#[derive(Debug)]
pub(crate) struct Nodes {
    slots: Vec<Node>,
    free: u32,
}

#[derive(Debug)]
struct Node {
    /// `None` while the node is free.
    chunk: Option<Chunk>,
    next: u32,
}

/// A first-in-first-out list of chunks, which owns them by way of [`Nodes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL };
}

impl Nodes {
    /// Bytes of a node.
    pub(crate) const NODE: usize = size_of::<Node>();

    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: NIL }
    }

    /// Nodes in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.slots.iter().filter(|node| node.chunk.is_some()).count()
    }

    /// Bytes of memory that they take.
    pub(crate) fn footprint(&self) -> usize {
        self.slots.capacity() * Self::NODE
    }

    #[inline(always)]
    fn take(&mut self, chunk: Chunk, next: u32) -> u32 {
        let at = self.free;
        match self.slots.get_mut(at as usize) {
            Some(node) => {
                self.free = node.next;
                *node = Node { chunk: Some(chunk), next };
                at
            }
            None => self.grow(Node { chunk: Some(chunk), next }),
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, node: Node) -> u32 {
        self.slots.push(node);
        (self.slots.len() - 1) as u32
    }

    #[inline(always)]
    pub(super) fn push_back(&mut self, list: &mut List, chunk: Chunk) {
        let new = self.take(chunk, NIL);
        match self.slots.get_mut(list.tail as usize) {
            Some(tail) => tail.next = new,
            None => list.head = new,
        }
        list.tail = new;
    }

    #[inline(always)]
    pub(super) fn push_front(&mut self, list: &mut List, chunk: Chunk) {
        list.head = self.take(chunk, list.head);
        if list.tail == NIL {
            list.tail = list.head;
        }
    }

    #[inline(always)]
    pub(super) fn pop_front(&mut self, list: &mut List) -> Option<Chunk> {
        let at = list.head;
        let node = self.slots.get_mut(at as usize)?;
        let chunk = node.chunk.take();
        list.head = std::mem::replace(&mut node.next, self.free);
        self.free = at;
        if list.head == NIL {
            list.tail = NIL;
        }
        chunk
    }

    /// The chunk at the end.
    #[inline(always)]
    pub(super) fn back_mut(&mut self, list: &List) -> Option<&mut Chunk> {
        self.slots.get_mut(list.tail as usize)?.chunk.as_mut()
    }

    /// Moves everything in `other` to the end of `list`.
    #[inline]
    pub(super) fn append(&mut self, list: &mut List, other: List) {
        match self.slots.get_mut(list.tail as usize) {
            _ if other.head == NIL => return,
            Some(tail) => tail.next = other.head,
            None => list.head = other.head,
        }
        list.tail = other.tail;
    }
}
