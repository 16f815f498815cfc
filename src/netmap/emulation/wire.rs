//! One direction of a pipe: slots of a transmit ring appear in the receive ring at the other end, with their buffers.
//!
//! ```text
//!   tx ring   | · | 7 | 8 | 9 | · |      txsync copies slots ───────▶ `filled` moves on
//!   rx ring   | · | 7 | 8 | 9 | · |      rxsync copies changed slots back ─▶ `freed` moves on
//! ```
//!
//! Both rings have as many slots, and slot k of one stands opposite slot k of the other: a buffer is at one end or at the
//! other. The two ends run on two threads and share two cursors only.

use super::bell::Bell;
use super::kring::{self, KRing};
use super::region::Region;
use super::{RxEnd, TxEnd, lock};
use crate::netmap::ring::Ring;
use crate::netmap::sys::{BUF_CHANGED, MOREFRAG, Slot};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub(super) struct Wire {
    region: Arc<Region>,
    tx_ring: Ring,
    rx_ring: Ring,
    tx: Mutex<KRing>,
    rx: Mutex<KRing>,
    /// First slot that holds no packet for the receiver; written by the sender.
    filled: AtomicU32,
    /// Last slot that the sender may not fill; written by the receiver.
    freed: AtomicU32,
    tx_claimed: AtomicBool,
    rx_claimed: AtomicBool,
    tx_bell: Arc<Bell>,
    rx_bell: Arc<Bell>,
}

impl Wire {
    /// `tx_bell` wakes who sends, `rx_bell` who receives.
    pub(super) fn new(
        region: &Arc<Region>,
        slots: u32,
        ringid: u16,
        tx_bell: &Arc<Bell>,
        rx_bell: &Arc<Bell>,
    ) -> io::Result<Self> {
        let tx = region.ring(slots, ringid, 0, true)?;
        let rx = match region.ring(slots, ringid, 1, false) {
            Ok(rx) => rx,
            Err(error) => {
                region.free_slots(&tx, 0, slots);
                region.free_ring(&tx);
                return Err(error);
            }
        };
        // As in the kernel, each receive slot names the buffer that stands opposite.
        for at in 0..slots {
            kring::put(rx, at, kring::get(tx, at));
        }
        let (tx_side, rx_side) = (KRing::new(tx, true), KRing::new(rx, false));
        Ok(Self {
            region: region.clone(),
            tx_ring: tx,
            rx_ring: rx,
            filled: AtomicU32::new(rx_side.hwtail),
            freed: AtomicU32::new(tx_side.hwtail),
            tx: Mutex::new(tx_side),
            rx: Mutex::new(rx_side),
            tx_claimed: AtomicBool::new(false),
            rx_claimed: AtomicBool::new(false),
            tx_bell: tx_bell.clone(),
            rx_bell: rx_bell.clone(),
        })
    }
}

impl TxEnd for Wire {
    fn claim(&self) -> bool {
        !self.tx_claimed.swap(true, Ordering::AcqRel)
    }

    fn release(&self) {
        self.tx_claimed.store(false, Ordering::Release);
    }

    fn ring(&self) -> Ring {
        self.tx_ring
    }

    fn sync(&self) {
        let mut tx = lock(&self.tx);
        if !tx.tx_prologue(&self.region) {
            return;
        }
        tx.hwtail = self.freed.load(Ordering::Acquire);
        let (mut at, mut whole) = (tx.hwcur, None);
        while at != tx.rhead {
            let slot = tx.slot(at);
            if !self.region.valid(slot) {
                tx.reinit(&self.region);
                return;
            }
            kring::put(self.rx_ring, at, slot);
            if slot.flags & BUF_CHANGED != 0 {
                tx.set_slot(at, Slot { flags: slot.flags & !BUF_CHANGED, ..slot });
            }
            at = tx.ring.next(at);
            if slot.flags & MOREFRAG == 0 {
                whole = Some(at);
            }
        }
        tx.hwcur = at;
        tx.finalize();
        // Only whole packets are shown to the receiver.
        if let Some(whole) = whole {
            self.filled.store(whole, Ordering::Release);
            self.rx_bell.notify();
        }
    }
}

impl RxEnd for Wire {
    fn claim(&self) -> bool {
        !self.rx_claimed.swap(true, Ordering::AcqRel)
    }

    fn release(&self) {
        self.rx_claimed.store(false, Ordering::Release);
    }

    fn ring(&self) -> Ring {
        self.rx_ring
    }

    fn sync(&self) -> bool {
        let mut rx = lock(&self.rx);
        if !rx.rx_prologue(&self.region) {
            return !rx.exhausted();
        }
        rx.hwtail = self.filled.load(Ordering::Acquire);
        let mut at = rx.hwcur;
        while at != rx.rhead {
            let slot = rx.slot(at);
            if slot.flags & BUF_CHANGED != 0 {
                if !self.region.valid(Slot { len: 0, ..slot }) {
                    rx.reinit(&self.region);
                    return !rx.exhausted();
                }
                kring::put(self.tx_ring, at, slot);
                rx.set_slot(at, Slot { flags: slot.flags & !BUF_CHANGED, ..slot });
            }
            at = rx.ring.next(at);
        }
        if at != rx.hwcur {
            rx.hwcur = at;
            self.freed.store(rx.ring.prev(at), Ordering::Release);
            self.tx_bell.notify();
        }
        rx.finalize();
        rx.stamp();
        !rx.exhausted()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Each buffer is at one end: with the sender up to and including the last freed slot, with the receiver from
        // what he has not given back up to what was filled; what lies between is an unfinished packet, the sender's.
        let (tx, rx) = (lock(&self.tx), lock(&self.rx));
        let (filled, freed) = (self.filled.load(Ordering::Acquire), self.freed.load(Ordering::Acquire));
        self.region.free_slots(&tx.ring, filled, tx.ring.distance(filled, freed) + 1);
        self.region.free_slots(&rx.ring, rx.hwcur, rx.ring.distance(rx.hwcur, filled));
        self.region.free_ring(&tx.ring);
        self.region.free_ring(&rx.ring);
    }
}
