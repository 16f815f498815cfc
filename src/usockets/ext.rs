//! User data of sockets: typed, in pages, without a box per socket.
//!
//! A page never moves, and a socket's handle holds its page, so a guard of the data borrows from the handle alone. A place
//! says whose data lies there: a handle that outlived its socket finds nothing. Data that somebody still looks at when its
//! socket is freed stays until nobody does.

use super::core::SocketKey;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::rc::Rc;

/// Places of a page.
const PAGE: u32 = 64;

/// A page of user data.
pub(super) type Page<S> = Rc<[Place<S>]>;

/// Where the data of one socket lies.
pub(super) struct Place<S> {
    owner: Cell<Option<SocketKey>>,
    data: RefCell<Option<S>>,
}

impl<S> Place<S> {
    fn is(&self, owner: SocketKey) -> bool {
        self.owner.get() == Some(owner)
    }

    /// The data, if it is this socket's. `None` as well while it is borrowed mutably.
    pub(super) fn get(&self, owner: SocketKey) -> Option<Ref<'_, S>> {
        if !self.is(owner) {
            return None;
        }
        Ref::filter_map(self.data.try_borrow().ok()?, Option::as_ref).ok()
    }

    /// The data, if it is this socket's. `None` as well while it is borrowed.
    pub(super) fn get_mut(&self, owner: SocketKey) -> Option<RefMut<'_, S>> {
        if !self.is(owner) {
            return None;
        }
        RefMut::filter_map(self.data.try_borrow_mut().ok()?, Option::as_mut).ok()
    }

    /// Takes the data of this socket away, to be kept elsewhere. `None` if it is not there, or borrowed. The place stays
    /// its owner's until that is [dropped](Pages::drop_at).
    pub(super) fn take(&self, owner: SocketKey) -> Option<S> {
        if !self.is(owner) {
            return None;
        }
        self.data.try_borrow_mut().ok()?.take()
    }
}

/// The pages of a context.
pub(super) struct Pages<S> {
    pages: RefCell<Vec<Page<S>>>,
    free: RefCell<Vec<u32>>,
    /// Places that were given back while their data was looked at.
    looked_at: RefCell<Vec<u32>>,
}

impl<S> Pages<S> {
    pub(super) fn new() -> Self {
        Self { pages: RefCell::default(), free: RefCell::default(), looked_at: RefCell::default() }
    }

    /// Keeps data of a socket, and says where.
    pub(super) fn put(&self, owner: SocketKey, data: S) -> u32 {
        self.look_again();
        let place = self.free.borrow_mut().pop();
        let place = place.unwrap_or_else(|| self.grow());
        if let Some((page, index)) = self.page(place) {
            page[index].owner.set(Some(owner));
            page[index].data.replace(Some(data));
        }
        place
    }

    fn grow(&self) -> u32 {
        let mut pages = self.pages.borrow_mut();
        let first = pages.len() as u32 * PAGE;
        pages.push((0..PAGE).map(|_| Place { owner: Cell::new(None), data: RefCell::new(None) }).collect());
        self.free.borrow_mut().extend((first + 1..first + PAGE).rev());
        first
    }

    /// The page of a place, and where in it.
    pub(super) fn page(&self, place: u32) -> Option<(Page<S>, usize)> {
        let page = self.pages.borrow().get((place / PAGE) as usize)?.clone();
        Some((page, (place % PAGE) as usize))
    }

    /// Drops the data of a socket, if it has not been taken away, or leaves that for later while somebody looks at it.
    pub(super) fn drop_at(&self, place: u32) {
        let Some((page, index)) = self.page(place) else { return };
        if page[index].owner.take().is_none() {
            return;
        }
        let data = page[index].data.try_borrow_mut().map(|mut data| data.take());
        match data {
            Ok(data) => {
                self.free.borrow_mut().push(place);
                drop(data);
            }
            Err(_) => self.looked_at.borrow_mut().push(place),
        }
    }

    /// Drops what was looked at before and is not any more.
    fn look_again(&self) {
        let count = self.looked_at.borrow().len();
        for _ in 0..count {
            let Some(place) = self.looked_at.borrow_mut().pop() else { break };
            let Some((page, index)) = self.page(place) else { continue };
            let data = page[index].data.try_borrow_mut().map(|mut data| data.take());
            match data {
                Ok(data) => {
                    self.free.borrow_mut().push(place);
                    drop(data);
                }
                Err(_) => self.looked_at.borrow_mut().insert(0, place),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pages;
    use crate::usockets::core::SocketKey;
    use slotmap::SlotMap;
    use std::rc::Rc;

    fn keys(n: usize) -> Vec<SocketKey> {
        let mut map = SlotMap::with_key();
        (0..n).map(|_| map.insert(())).collect()
    }

    #[test]
    fn data_is_its_owners_and_goes_with_it() {
        let (pages, keys) = (Pages::new(), keys(200));
        let drops = Rc::new(());
        let places: Vec<_> = keys.iter().map(|key| pages.put(*key, drops.clone())).collect();
        assert_eq!(Rc::strong_count(&drops), 201);
        let (page, index) = pages.page(places[70]).unwrap();
        assert!(page[index].get(keys[70]).is_some() && page[index].get(keys[71]).is_none());
        pages.drop_at(places[70]);
        pages.drop_at(places[70]);
        assert!(page[index].get(keys[70]).is_none());
        assert_eq!(Rc::strong_count(&drops), 200);
        assert_eq!(pages.put(keys[71], drops.clone()), places[70], "places are used again");
        drop((pages, page));
        assert_eq!(Rc::strong_count(&drops), 1);
    }

    #[test]
    fn data_that_is_looked_at_stays() {
        let (pages, keys) = (Pages::new(), keys(2));
        let place = pages.put(keys[0], String::from("here"));
        let (page, index) = pages.page(place).unwrap();
        let look = page[index].get(keys[0]).unwrap();
        assert!(page[index].get_mut(keys[0]).is_none());
        pages.drop_at(place);
        assert_eq!(*look, "here");
        assert!(page[index].get(keys[0]).is_none(), "nobody else finds it");
        let other = pages.put(keys[1], String::from("there"));
        assert_ne!(other, place);
        drop(look);
        assert_eq!(pages.put(keys[0], String::from("again")), place);
    }
}
