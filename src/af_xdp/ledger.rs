//! Which frames a socket has given to the kernel.
//!
//! One byte per chunk of the UMEM, written by the socket's owner only. It costs a load and a store per packet and buys
//! two things. A descriptor that comes out of a ring is believed only if its frame was given away through the ring's
//! partner, so no fault of a driver makes one frame into two tokens. And when the socket is closed, the frames that the
//! kernel still has, wherever it keeps them, are known one by one and go back to the pool.

use std::cell::Cell;

/// Why the kernel has a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Side {
    /// To receive into it (fill and rx ring).
    Rx = 0x20,
    /// To send it (tx and completion ring).
    Tx = 0x40,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    /// 0, a [`Side`], or, at the first chunk of a big frame, [`Side::Tx`] and how many of its chunks are still out.
    marks: Box<[Cell<u8>]>,
    shift: u32,
}

impl Ledger {
    /// For so many chunks of `1 << shift` bytes.
    pub(super) fn new(chunks: usize, shift: u32) -> Self {
        Self { marks: (0..chunks).map(|_| Cell::new(0)).collect(), shift }
    }

    /// The ledger for a batch.
    #[inline(always)]
    pub(super) fn open(&self) -> Open<'_> {
        Open { marks: &self.marks, shift: self.shift }
    }

    /// As [`Open::give`].
    #[inline(always)]
    pub(super) fn give(&self, addr: u64, side: Side) {
        self.open().give(addr, side);
    }

    /// Whether the kernel has the chunk at this address from this side, as one of its own.
    #[inline(always)]
    pub(super) fn has(&self, addr: u64, side: Side) -> bool {
        self.marks.get((addr >> self.shift) as usize).is_some_and(|mark| mark.get() == side as u8)
    }

    /// As [`Open::take`].
    #[cfg(test)]
    fn take(&self, addr: u64, side: Side) -> bool {
        self.open().take(addr, side)
    }

    /// Notes that the kernel gets `chunks` chunks of the big frame that begins at this address, to send them.
    pub(super) fn give_big(&self, start: u64, chunks: u8) {
        debug_assert!((1..Side::Tx as u8).contains(&chunks));
        if let Some(mark) = self.marks.get((start >> self.shift) as usize) {
            debug_assert_eq!(mark.get(), 0, "big frame at {start:#x} is with the kernel already");
            mark.set(Side::Tx as u8 | chunks);
        }
    }

    /// Notes that the kernel returned one chunk of the big frame that begins at this address. `Some(true)` if it was the
    /// last, `None` if the kernel had none.
    pub(super) fn take_big(&self, start: u64) -> Option<bool> {
        let mark = self.marks.get((start >> self.shift) as usize)?;
        let left = mark.get() & !(Side::Tx as u8);
        if mark.get() & Side::Tx as u8 == 0 || left == 0 {
            return None;
        }
        mark.set(if left == 1 { 0 } else { mark.get() - 1 });
        Some(left == 1)
    }

    /// Empties the ledger: the addresses of the chunks, or first chunks, that the kernel had.
    pub(super) fn drain(&self) -> impl Iterator<Item = u64> {
        let shift = self.shift;
        self.marks.iter().enumerate().filter(|(_, mark)| mark.replace(0) != 0).map(move |(n, _)| (n as u64) << shift)
    }
}

/// The ledger, by value: it stays in registers while a batch is worked through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open<'a> {
    marks: &'a [Cell<u8>],
    shift: u32,
}

impl Open<'_> {
    /// Notes that the kernel gets the chunk at this address.
    #[inline(always)]
    pub(super) fn give(self, addr: u64, side: Side) {
        if let Some(mark) = self.marks.get((addr >> self.shift) as usize) {
            debug_assert_eq!(mark.get(), 0, "chunk at {addr:#x} is with the kernel already");
            mark.set(side as u8);
        }
    }

    /// As [`give`](Self::give), for the chunk of this number.
    #[inline(always)]
    pub(super) fn give_chunk(self, chunk: u32, side: Side) {
        if let Some(mark) = self.marks.get(chunk as usize) {
            debug_assert_eq!(mark.get(), 0, "chunk {chunk} is with the kernel already");
            mark.set(side as u8);
        }
    }

    /// The number of the chunk at this address.
    #[inline(always)]
    pub(super) fn chunk(self, addr: u64) -> u32 {
        (addr >> self.shift) as u32
    }

    /// Where a chunk begins.
    #[inline(always)]
    pub(super) fn address(self, chunk: u32) -> u64 {
        u64::from(chunk) << self.shift
    }

    /// Notes that the kernel returned the chunk at this address. False if it had no such chunk from this side: then the
    /// address is not to be believed.
    #[inline(always)]
    #[must_use]
    pub(super) fn take(self, addr: u64, side: Side) -> bool {
        match self.marks.get((addr >> self.shift) as usize) {
            Some(mark) if mark.get() == side as u8 => {
                mark.set(0);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_comes_back_and_only_once() {
        let ledger = Ledger::new(4, 12);
        ledger.give(0x1000, Side::Rx);
        assert!(!ledger.take(0x1100, Side::Tx), "given for the other side");
        assert!(ledger.take(0x1100, Side::Rx), "anywhere within the chunk");
        assert!(!ledger.take(0x1100, Side::Rx), "twice");
        assert!(!ledger.take(0x4000, Side::Rx) && !ledger.take(u64::MAX, Side::Rx), "outside the UMEM");
    }

    #[test]
    fn a_big_frame_comes_back_with_its_last_chunk() {
        let ledger = Ledger::new(8, 12);
        ledger.give_big(0x4000, 3);
        assert!(!ledger.take(0x4000, Side::Tx), "not as a small one");
        assert_eq!((ledger.take_big(0x4000), ledger.take_big(0x4000)), (Some(false), Some(false)));
        assert_eq!((ledger.take_big(0x4000), ledger.take_big(0x4000)), (Some(true), None));
        ledger.give(0x1000, Side::Tx);
        assert_eq!(ledger.take_big(0x1000), None, "a small one is no big one");
    }

    #[test]
    fn drain_tells_each_frame_once() {
        let ledger = Ledger::new(8, 12);
        ledger.give(0x0, Side::Rx);
        ledger.give(0x2000, Side::Tx);
        ledger.give_big(0x4000, 2);
        assert_eq!(ledger.drain().collect::<Vec<_>>(), [0x0, 0x2000, 0x4000]);
        assert_eq!(ledger.drain().count(), 0);
    }
}
