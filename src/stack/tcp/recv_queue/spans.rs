//! Spans: ranges of sequence numbers that have been received beyond a hole, each with its bytes.
//!
//! The spans of one connection are the nodes of a treap: a search tree by sequence number whose shape is that of random
//! insertions, whatever the order in which they come, because each node has a random priority that nobody outside can
//! predict. So a peer that leaves as many holes as it can costs a logarithm per segment, and no number of holes need be
//! refused. A second list through the same nodes has them by when they last changed, for selective acknowledgements.

use super::NIL;
use super::nodes::List;
use crate::stack::tcp::seq::Seq;
use std::ops::{Index, IndexMut};

/// A range of sequence numbers without a hole, as long as it can be: no other span touches it.
#[derive(Debug)]
pub(crate) struct Span {
    pub(super) start: Seq,
    pub(super) end: Seq,
    pub(super) list: List,
    left: u32,
    right: u32,
    priority: u32,
    newer: u32,
    /// While the span is free: the next free one.
    older: u32,
}

/// The spans of all connections. Grows with the most that there ever were at once, and keeps that size.
#[derive(Debug)]
pub(crate) struct Spans {
    slots: Vec<Span>,
    free: u32,
    random: u64,
}

/// The spans of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    root: u32,
    /// The last one by sequence number.
    pub(super) last: u32,
    /// The one that changed last.
    newest: u32,
}

impl Tree {
    pub(super) const EMPTY: Self = Self { root: NIL, last: NIL, newest: NIL };

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.root == NIL
    }
}

/// Where a child hangs.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Left(u32),
    Right(u32),
}

impl Index<u32> for Spans {
    type Output = Span;

    #[inline(always)]
    fn index(&self, at: u32) -> &Span {
        &self.slots[at as usize]
    }
}

impl IndexMut<u32> for Spans {
    #[inline(always)]
    fn index_mut(&mut self, at: u32) -> &mut Span {
        &mut self.slots[at as usize]
    }
}

impl Spans {
    /// `seed` is secret: it decides the priorities.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { slots: Vec::new(), free: NIL, random: seed | 1 }
    }

    /// Bytes of memory that they take.
    pub(crate) fn footprint(&self) -> usize {
        self.slots.capacity() * size_of::<Span>()
    }

    /// Xorshift64* (Marsaglia; Vigna).
    fn priority(&mut self) -> u32 {
        let mut x = self.random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    #[inline(always)]
    fn set(&mut self, tree: &mut Tree, link: Link, child: u32) {
        match link {
            Link::Root => tree.root = child,
            Link::Left(at) => self[at].left = child,
            Link::Right(at) => self[at].right = child,
        }
    }

    /// The last span that begins at or before `seq`, and the first that begins after it; [`NIL`] where there is none.
    pub(super) fn around(&self, tree: &Tree, seq: Seq) -> (u32, u32) {
        let (mut before, mut after, mut at) = (NIL, NIL, tree.root);
        while at != NIL {
            let span = &self[at];
            if span.start.at_or_before(seq) {
                (before, at) = (at, span.right);
            } else {
                (after, at) = (at, span.left);
            }
        }
        (before, after)
    }

    /// The first span; [`NIL`] if there is none.
    pub(super) fn first(&self, tree: &Tree) -> u32 {
        let mut at = tree.root;
        while at != NIL && self[at].left != NIL {
            at = self[at].left;
        }
        at
    }

    /// Adds a span that touches no other, as the newest.
    pub(super) fn insert(&mut self, tree: &mut Tree, start: Seq, end: Seq, list: List) -> u32 {
        let priority = self.priority();
        let span = Span { start, end, list, left: NIL, right: NIL, priority, newer: NIL, older: NIL };
        let new = self.free;
        let new = match self.slots.get_mut(new as usize) {
            Some(slot) => {
                self.free = slot.older;
                *slot = span;
                new
            }
            None => {
                self.slots.push(span);
                (self.slots.len() - 1) as u32
            }
        };
        // Down to where its priority belongs …
        let (mut at, mut link) = (tree.root, Link::Root);
        while at != NIL && self[at].priority >= priority {
            if start.before(self[at].start) {
                (link, at) = (Link::Left(at), self[at].left);
            } else {
                (link, at) = (Link::Right(at), self[at].right);
            }
        }
        self.set(tree, link, new);
        // … and what was there is cut in two around it.
        let (mut lesser, mut greater) = (Link::Left(new), Link::Right(new));
        while at != NIL {
            if self[at].start.before(start) {
                self.set(tree, lesser, at);
                (lesser, at) = (Link::Right(at), self[at].right);
            } else {
                self.set(tree, greater, at);
                (greater, at) = (Link::Left(at), self[at].left);
            }
        }
        self.set(tree, lesser, NIL);
        self.set(tree, greater, NIL);
        if tree.last == NIL || self[tree.last].start.before(start) {
            tree.last = new;
        }
        self.link_newest(tree, new);
        new
    }

    /// Takes a span out and hands over its bytes.
    pub(super) fn remove(&mut self, tree: &mut Tree, span: u32) -> List {
        let start = self[span].start;
        let (mut at, mut link) = (tree.root, Link::Root);
        while at != span && at != NIL {
            if start.before(self[at].start) {
                (link, at) = (Link::Left(at), self[at].left);
            } else {
                (link, at) = (Link::Right(at), self[at].right);
            }
        }
        debug_assert_eq!(at, span);
        let (mut lesser, mut greater) = (self[span].left, self[span].right);
        loop {
            if lesser == NIL {
                self.set(tree, link, greater);
                break;
            }
            if greater == NIL {
                self.set(tree, link, lesser);
                break;
            }
            if self[lesser].priority > self[greater].priority {
                self.set(tree, link, lesser);
                (link, lesser) = (Link::Right(lesser), self[lesser].right);
            } else {
                self.set(tree, link, greater);
                (link, greater) = (Link::Left(greater), self[greater].left);
            }
        }
        if tree.last == span {
            let mut last = tree.root;
            while last != NIL && self[last].right != NIL {
                last = self[last].right;
            }
            tree.last = last;
        }
        self.unlink(tree, span);
        self.free(span)
    }

    /// Takes any span out and hands over its bytes, until there is none. What is in between is no tree.
    pub(super) fn take_any(&mut self, tree: &mut Tree) -> Option<List> {
        let span = tree.newest;
        if span == NIL {
            *tree = Tree::EMPTY;
            return None;
        }
        self.unlink(tree, span);
        Some(self.free(span))
    }

    fn free(&mut self, span: u32) -> List {
        self[span].older = self.free;
        self.free = span;
        self[span].list
    }

    /// Makes a span the newest: it has changed.
    #[inline]
    pub(super) fn touch(&mut self, tree: &mut Tree, span: u32) {
        if tree.newest != span {
            self.unlink(tree, span);
            self.link_newest(tree, span);
        }
    }

    fn link_newest(&mut self, tree: &mut Tree, span: u32) {
        let second = std::mem::replace(&mut tree.newest, span);
        (self[span].newer, self[span].older) = (NIL, second);
        if second != NIL {
            self[second].newer = span;
        }
    }

    fn unlink(&mut self, tree: &mut Tree, span: u32) {
        let Span { newer, older, .. } = self[span];
        if newer == NIL {
            tree.newest = older;
        } else {
            self[newer].older = older;
        }
        if older != NIL {
            self[older].newer = newer;
        }
    }

    /// The spans, those that changed last first.
    pub(super) fn by_age(&self, tree: &Tree) -> impl Iterator<Item = &Span> {
        let span = |at: u32| if at == NIL { None } else { Some(&self[at]) };
        std::iter::successors(span(tree.newest), move |at| span(at.older))
    }

    /// How deep the tree is.
    #[cfg(test)]
    pub(super) fn depth(&self, tree: &Tree) -> usize {
        let (mut stack, mut deepest) = (vec![(tree.root, 1)], 0);
        while let Some((at, depth)) = stack.pop() {
            if at != NIL {
                deepest = deepest.max(depth);
                stack.extend([(self[at].left, depth + 1), (self[at].right, depth + 1)]);
            }
        }
        deepest
    }
}
