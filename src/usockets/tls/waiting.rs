//! Bytes that wait for something: for the rest of their record, or for the network.

use super::record::MAX_RECORD;
use super::settings::Settings;
use std::cell::RefCell;
use std::mem;

/// A queue of bytes whose memory is there only while it is not empty.
#[derive(Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    /// Where they begin: what lies before was taken.
    from: usize,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.from
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..]
    }

    /// The memory, in which `more` bytes fit behind those that are there.
    pub(super) fn room(&mut self, more: usize, settings: &Settings) -> &mut Vec<u8> {
        self.reserve(more, settings);
        &mut self.bytes
    }

    fn reserve(&mut self, more: usize, settings: &Settings) {
        if self.bytes.capacity() == 0 && more > 0 {
            self.bytes = settings.buffers.take();
        }
        if self.from > 0 && self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.drain(..mem::take(&mut self.from));
        }
        if settings.buffers.exact {
            self.bytes.reserve_exact(more);
        } else {
            self.bytes.reserve(more);
        }
    }

    /// Prepares for `more` bytes that will come by and by, unless memory is to be saved until they do.
    pub(super) fn expect(&mut self, more: usize, settings: &Settings) {
        if !settings.buffers.exact {
            self.reserve(more, settings);
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8], settings: &Settings) {
        self.reserve(bytes.len(), settings);
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends `n` zeros, to be written over.
    pub(super) fn append_zeros(&mut self, n: usize, settings: &Settings) {
        self.reserve(n, settings);
        self.bytes.resize(self.bytes.len() + n, 0);
    }

    /// Takes `n` bytes off the front, or all there are.
    pub(super) fn discard(&mut self, n: usize, settings: &Settings) {
        self.from += n.min(self.len());
        if self.is_empty() {
            self.clear(settings);
        }
    }

    /// Empties the queue and gives its memory back.
    pub(super) fn clear(&mut self, settings: &Settings) {
        self.from = 0;
        if self.bytes.capacity() > 0 {
            settings.buffers.give_back(mem::take(&mut self.bytes));
        }
    }

    /// How much memory it holds.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// The memory of queues that are empty, for those that are not.
pub(super) struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
    /// Nothing is spared: a queue holds what it needs and no more.
    pub(super) exact: bool,
}

impl Buffers {
    /// So many are spared at most: a megabyte of them.
    const SPARE: usize = (1 << 20) / MAX_RECORD;

    pub(super) fn new(exact: bool) -> Self {
        Self { spare: RefCell::default(), exact }
    }

    fn take(&self) -> Vec<u8> {
        if self.exact {
            return Vec::new();
        }
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(MAX_RECORD))
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        // One that has grown beyond a record has held what was fed to a paused session.
        if !self.exact && spare.len() < Self::SPARE && buffer.capacity() <= 2 * MAX_RECORD {
            buffer.clear();
            spare.push(buffer);
        }
    }
}
