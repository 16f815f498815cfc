//! A VALE switch: learns which address is behind which port and copies packets between the ports' private memories.
//!
//! A packet for an unknown or a group address goes to every other port. A port whose receive ring is full loses the
//! packet; nobody is told, as in the kernel.

use super::bell::Bell;
use super::kring::KRing;
use super::region::Region;
use super::{RxEnd, RxEnds, TxEnd, TxEnds, lock};
use crate::netmap::ring::Ring;
use crate::netmap::sys::{BUF_CHANGED, MOREFRAG, Slot};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Addresses that a switch remembers; a newer one may take the place of an older.
const ADDRESSES: usize = 1024;

#[derive(Debug)]
pub(super) struct Switch {
    state: Mutex<State>,
}

/// An address and the number of the port behind it.
type Station = ([u8; 6], u32);

#[derive(Debug)]
struct State {
    ports: Vec<(u32, Weak<ValePort>)>,
    next: u32,
    table: Box<[Option<Station>]>,
}

impl Switch {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { ports: Vec::new(), next: 0, table: vec![None; ADDRESSES].into() }) }
    }

    /// Attaches a port.
    pub(super) fn attach(self: &Arc<Self>, port: &Arc<ValePort>) {
        let mut state = lock(&self.state);
        state.ports.retain(|(_, port)| port.strong_count() > 0);
        let number = state.next;
        state.next = number.wrapping_add(1);
        state.ports.push((number, Arc::downgrade(port)));
    }
}

impl State {
    fn slot(address: [u8; 6]) -> usize {
        // FNV: any spread will do.
        let hash =
            address.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        hash as usize % ADDRESSES
    }

    fn learn(&mut self, address: [u8; 6], port: u32) {
        self.table[Self::slot(address)] = Some((address, port));
    }

    fn find(&self, address: [u8; 6]) -> Option<u32> {
        self.table[Self::slot(address)].filter(|(known, _)| *known == address).map(|(_, port)| port)
    }
}

/// A port of a switch, with memory of its own.
#[derive(Debug)]
pub(super) struct ValePort {
    switch: Arc<Switch>,
    region: Arc<Region>,
    tx: Vec<ValeRing>,
    rx: Vec<ValeRing>,
    pub(super) rx_bell: Arc<Bell>,
    /// Never rung: everything is sent by the time a sync returns.
    pub(super) tx_bell: Arc<Bell>,
}

#[derive(Debug)]
struct ValeRing {
    ring: Ring,
    claimed: AtomicBool,
    side: Mutex<KRing>,
}

impl ValePort {
    pub(super) fn new(
        switch: Arc<Switch>,
        region: Arc<Region>,
        (tx_rings, rx_rings): (u16, u16),
        (tx_slots, rx_slots): (u32, u32),
    ) -> io::Result<Arc<Self>> {
        // Made empty and filled, so that a failure half way gives back what there is.
        let mut port = Self {
            switch,
            region,
            tx: Vec::new(),
            rx: Vec::new(),
            rx_bell: Arc::new(Bell::new()?),
            tx_bell: Arc::new(Bell::new()?),
        };
        for (rings, slots, sends) in [(tx_rings, tx_slots, true), (rx_rings, rx_slots, false)] {
            for id in 0..rings {
                let ring = port.region.ring(slots, id, u16::from(!sends), true)?;
                let side = Mutex::new(KRing::new(ring, sends));
                let ring = ValeRing { ring, claimed: AtomicBool::new(false), side };
                if sends { &mut port.tx } else { &mut port.rx }.push(ring);
            }
        }
        let port = Arc::new(port);
        port.switch.attach(&port);
        Ok(port)
    }

    pub(super) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Its rings as the ends of a registration.
    pub(super) fn ends(self: &Arc<Self>) -> (TxEnds, RxEnds) {
        let end = |at| Arc::new(End { port: self.clone(), at });
        ((0..self.tx.len()).map(|i| end(i) as _).collect(), (0..self.rx.len()).map(|i| end(i) as _).collect())
    }

    /// Sends what a program has published on one of its rings.
    fn send(self: &Arc<Self>, ring: usize) {
        let mut tx = lock(&self.tx[ring].side);
        if !tx.tx_prologue(&self.region) {
            return;
        }
        let mut state = lock(&self.switch.state);
        let me = state.ports.iter().find(|(_, p)| std::ptr::eq(p.as_ptr(), Arc::as_ptr(self))).map(|(n, _)| *n);
        let (mut first, mut at, mut fragments, mut broken) = (tx.hwcur, tx.hwcur, 0, false);
        while at != tx.rhead {
            let slot = tx.slot(at);
            broken = !self.region.valid(slot);
            if broken {
                break;
            }
            if slot.flags & BUF_CHANGED != 0 {
                tx.set_slot(at, Slot { flags: slot.flags & !BUF_CHANGED, ..slot });
            }
            at = tx.ring.next(at);
            fragments += 1;
            if slot.flags & MOREFRAG == 0 {
                if let Some(me) = me {
                    self.forward(&mut state, me, &tx, ring, first, fragments);
                }
                (first, fragments) = (at, 0);
            }
        }
        // An unfinished packet waits for its rest; all else is sent, or lost.
        tx.hwcur = first;
        tx.hwtail = tx.ring.prev(first);
        if broken {
            tx.reinit(&self.region)
        } else {
            tx.finalize()
        }
        for (_, port) in state.ports.iter().filter(|(number, _)| Some(*number) != me) {
            if let Some(port) = port.upgrade() {
                port.rx_bell.notify();
            }
        }
    }

    /// Copies one packet to where it should go.
    fn forward(&self, state: &mut State, me: u32, tx: &KRing, ring: usize, first: u32, fragments: u32) {
        const GROUP: u8 = 1;
        let Some((to, from)) = self.region.addresses(tx.slot(first)) else { return };
        if from[0] & GROUP == 0 {
            state.learn(from, me);
        }
        let known = if to[0] & GROUP == 0 { state.find(to) } else { None };
        for (number, port) in &state.ports {
            if *number == me || known.is_some_and(|known| known != *number) {
                continue;
            }
            if let Some(port) = port.upgrade() {
                port.receive(&self.region, tx, ring % port.rx.len(), first, fragments);
            }
        }
    }

    /// Puts a packet into a receive ring if it has room.
    fn receive(&self, from: &Region, tx: &KRing, ring: usize, first: u32, fragments: u32) {
        let mut rx = lock(&self.rx[ring].side);
        let room = rx.ring.num_slots() - 1 - rx.ring.distance(rx.hwcur, rx.hwtail);
        if fragments > room {
            return;
        }
        let (mut source, mut at) = (first, rx.hwtail);
        for _ in 0..fragments {
            let (slot, own) = (tx.slot(source), rx.slot(at));
            if self.region.valid(Slot { len: 0, ..own }) {
                self.region.copy(own.buf_idx, from, slot);
            }
            rx.set_slot(at, Slot { len: slot.len, flags: slot.flags & MOREFRAG, ..own });
            (source, at) = (tx.ring.next(source), rx.ring.next(at));
        }
        rx.hwtail = at;
    }
}

impl Drop for ValePort {
    fn drop(&mut self) {
        for ring in self.tx.iter().chain(&self.rx) {
            // Every slot of a port holds a buffer of its own.
            self.region.free_slots(&ring.ring, 0, ring.ring.num_slots());
            self.region.free_ring(&ring.ring);
        }
    }
}

/// One ring of a port, in the hands of a registration.
#[derive(Debug)]
struct End {
    port: Arc<ValePort>,
    at: usize,
}

impl TxEnd for End {
    fn claim(&self) -> bool {
        !self.port.tx[self.at].claimed.swap(true, Ordering::AcqRel)
    }

    fn release(&self) {
        self.port.tx[self.at].claimed.store(false, Ordering::Release);
    }

    fn ring(&self) -> Ring {
        self.port.tx[self.at].ring
    }

    fn sync(&self) {
        self.port.send(self.at);
    }
}

impl RxEnd for End {
    fn claim(&self) -> bool {
        !self.port.rx[self.at].claimed.swap(true, Ordering::AcqRel)
    }

    fn release(&self) {
        self.port.rx[self.at].claimed.store(false, Ordering::Release);
    }

    fn ring(&self) -> Ring {
        self.port.rx[self.at].ring
    }

    fn sync(&self) -> bool {
        let mut rx = lock(&self.port.rx[self.at].side);
        if !rx.rx_prologue(&self.port.region) {
            return !rx.exhausted();
        }
        let mut at = rx.hwcur;
        while at != rx.rhead {
            let slot = rx.slot(at);
            if !self.port.region.valid(Slot { len: 0, ..slot }) {
                rx.reinit(&self.port.region);
                return !rx.exhausted();
            }
            if slot.flags & BUF_CHANGED != 0 {
                rx.set_slot(at, Slot { flags: slot.flags & !BUF_CHANGED, ..slot });
            }
            at = rx.ring.next(at);
        }
        rx.hwcur = at;
        rx.finalize();
        rx.stamp();
        !rx.exhausted()
    }
}
