//! Doubly linked lists of indices, for what is kept in an order and taken out of its middle.

const NONE: u32 = u32::MAX;

/// The links of all indices; each index is in one list at most.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<(u32, u32)>);

/// One list: its ends.
#[derive(Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl List {
    /// The index that has been in it longest.
    #[inline]
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The one after it.
    pub(super) fn second(&self, links: &Links) -> Option<u32> {
        self.first().map(|first| links.0[first as usize].1).filter(|second| *second != NONE)
    }

    /// Adds an index that is in no list.
    pub(super) fn push(&mut self, links: &mut Links, index: u32) {
        let at = index as usize;
        if links.0.len() <= at {
            links.0.resize(at + 1, (NONE, NONE));
        }
        links.0[at] = (self.last, NONE);
        match self.last {
            NONE => self.first = index,
            last => links.0[last as usize].1 = index,
        }
        self.last = index;
    }

    /// Takes an index out that is in this list.
    pub(super) fn remove(&mut self, links: &mut Links, index: u32) {
        let Some(&(before, after)) = links.0.get(index as usize) else { return };
        match before {
            NONE => self.first = after,
            before => links.0[before as usize].1 = after,
        }
        match after {
            NONE => self.last = before,
            after => links.0[after as usize].0 = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_order_whatever_is_taken_out() {
        let (mut links, mut list, mut model) = (Links::default(), List::default(), Vec::new());
        let mut random = crate::stack::random::Random(1);
        for _ in 0..10_000 {
            let index = random.below(20) as u32;
            match model.iter().position(|other| *other == index) {
                Some(at) => {
                    model.remove(at);
                    list.remove(&mut links, index);
                }
                None => {
                    model.push(index);
                    list.push(&mut links, index);
                }
            }
            assert_eq!(list.first(), model.first().copied());
            assert_eq!(list.second(&links), model.get(1).copied());
            assert_eq!(list.last, model.last().copied().unwrap_or(NONE));
        }
        for index in model {
            assert_eq!(list.first(), Some(index));
            list.remove(&mut links, index);
        }
        assert_eq!(list.first(), None);
    }
}
