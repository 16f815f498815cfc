//! Bursts: mbufs between the driver and the program, many at a time.
#![allow(unsafe_code)]

use super::mbuf::Mbuf;
use super::meta::{Clock, Meta};
use super::pool::{Adopted, Context, Tally, mbuf};
use super::thread;
use crate::api::{Context as _, Token};
use dpdk_sys as sys;
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Packets that are asked of the driver at once. What `dpdk-testpmd` takes is 32; vector drivers like powers of two.
pub(super) const RX: usize = 64;
/// Packets that are handed to the driver at once.
pub(super) const TX: usize = 32;
/// Packets that a socket keeps for a driver that has no room.
const QUEUED: usize = 64;

/// Received packets that nobody has yet. They are nobody's loan: dropped, they go home as they came.
pub(super) struct Received {
    /// Those from `at` to `len` are there.
    mbufs: [MaybeUninit<*mut sys::rte_mbuf>; RX],
    at: usize,
    len: usize,
    pub(super) queue: u16,
}

// SAFETY: mbufs may be moved between threads; these are referred to from here only.
unsafe impl Send for Received {}

impl Received {
    #[inline(always)]
    pub(super) const fn empty() -> Self {
        Self { mbufs: [MaybeUninit::uninit(); RX], at: 0, len: 0, queue: 0 }
    }

    /// Asks the driver for up to `max` packets. What was left over before must have been taken.
    #[inline(always)]
    pub(super) fn fill(&mut self, port: u16, queue: u16, max: usize) -> usize {
        debug_assert_eq!(self.at, self.len);
        thread::ensure();
        let max = max.min(RX) as u16;
        // SAFETY: the port is started and the queue this socket's alone (`Claim`); room for `max` pointers.
        let n = unsafe { sys::nd_rx_burst(port, queue, self.mbufs.as_mut_ptr().cast(), max) };
        (self.at, self.len, self.queue) = (0, usize::from(n.min(max)), queue);
        self.len
    }

    /// The next packet: whoever has it lends it ([`lend`]) or leaks it.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<Packet> {
        if self.at == self.len {
            return None;
        }
        // SAFETY: between `at` and `len`, and so written by the driver; taken once, because `at` moves on.
        let mbuf = unsafe { self.mbufs.get_unchecked(self.at).assume_init() };
        self.at += 1;
        Some(Packet(Mbuf(mbuf)))
    }

    #[inline(always)]
    pub(super) fn left(&self) -> usize {
        self.len - self.at
    }
}

impl Drop for Received {
    #[inline]
    fn drop(&mut self) {
        while let Some(Packet(mbuf)) = self.next() {
            // SAFETY: received and lent to nobody.
            unsafe { sys::nd_free(mbuf.0) }
        }
    }
}

/// A received packet, owned.
#[derive(Debug)]
#[must_use = "its frame is lost"]
pub(super) struct Packet(Mbuf);

/// How packets are lent: of which pool, and where their metadata are. Copied onto the stack for a burst, so that it
/// stays in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// The pool's id, and its mempool.
    pub(super) pool: u32,
    pub(super) frames: *mut sys::rte_mempool,
    /// Where the device writes its timestamp, and the flag that says so.
    pub(super) field: Option<(usize, u64)>,
    /// Nanoseconds per tick of it; 0 if it counts something of the device's own.
    pub(super) unit: u64,
}

// SAFETY: a mempool's pointer, compared with others and never followed.
unsafe impl Send for Reader {}

/// Makes a token of a received packet; the caller counts it as lent. `now`: the time of the burst, if stamps are wanted.
#[inline(always)]
pub(super) fn lend(
    ctx: &Context,
    packet: Packet,
    queue: u16,
    reader: Reader,
    now: Option<u64>,
) -> Result<(Token, Meta), Adopted> {
    // SAFETY: the packet is ours and given up; the frame adopted is ours, single and whole, so that its data length is
    // the packet's. The dynamic field lies within the mbuf (rte_mbuf_dyn.h).
    unsafe {
        let mut mbuf = packet.0;
        if !mbuf.is_sole(reader.frames) {
            mbuf = match ctx.pool().adopt(mbuf) {
                Adopted::Frame(mbuf) => mbuf,
                lost => return Err(lost),
            };
        }
        let mut meta = Meta {
            flags: mbuf.ol_flags(),
            timestamp: now.unwrap_or(0),
            packet_type: mbuf.packet_type(),
            rss: mbuf.rss(),
            vlan: mbuf.vlan_tci(),
            outer_vlan: mbuf.vlan_tci_outer(),
            queue,
            clock: if now.is_some() { Clock::Unix } else { Clock::None },
        };
        if let Some((offset, flag)) = reader.field {
            if meta.flags & flag != 0 {
                let ticks = mbuf.0.byte_add(offset).cast::<u64>().read_unaligned();
                meta.timestamp = ticks.wrapping_mul(reader.unit.max(1));
                meta.clock = if reader.unit == 0 { Clock::Device } else { Clock::Unix };
            }
        }
        let token = Token::new(mbuf.0.expose_provenance(), mbuf.data_len().into(), reader.pool);
        Ok((token, meta))
    }
}

/// What is put into an mbuf that is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    pub(super) flags: u64,
    pub(super) lengths: u64,
    pub(super) vlan: u16,
}

/// Packets on their way to the driver.
pub(super) struct Outgoing {
    mbufs: UnsafeCell<[*mut sys::rte_mbuf; QUEUED]>,
    /// Has in `queued` how many there are.
    tally: Arc<Tally>,
    /// Packets that the driver has taken.
    pub(super) taken: Cell<u64>,
    /// Packets that it refused for good.
    pub(super) refused: Cell<u64>,
    port: u16,
    queue: u16,
    /// The pool whose frames it sends.
    pool: u32,
    /// Packets carry orders that the driver wants to look at first.
    prepare: bool,
}

// SAFETY: mbufs may be moved between threads; these are referred to from here only.
unsafe impl Send for Outgoing {}

impl Outgoing {
    pub(super) fn new(port: u16, queue: u16, ctx: &Context, prepare: bool) -> Self {
        Self {
            mbufs: UnsafeCell::new([std::ptr::null_mut(); QUEUED]),
            tally: ctx.tally().clone(),
            taken: Cell::new(0),
            refused: Cell::new(0),
            port,
            queue,
            pool: ctx.pool_id(),
            prepare,
        }
    }

    /// Whether there is room for one more; makes some if need be.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.len() < QUEUED || {
            self.push_out();
            self.len() < QUEUED
        }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.tally.queued.load(Ordering::Relaxed)
    }

    /// Packets that were ever queued.
    pub(super) fn accepted(&self) -> u64 {
        self.taken.get() + self.refused.get() + self.len() as u64
    }

    /// Queues the packet of a token of this socket's pool.
    ///
    /// # Panics
    ///
    /// If the token is of another pool, or there is no room: [`has_room`](Self::has_room) tells.
    #[inline(always)]
    pub(super) fn push(&self, token: Token, orders: Orders) {
        assert!(token.pool_id() == self.pool);
        let at = self.len();
        let len = token.size();
        // SAFETY: the token was the loan of a frame of our pool, where only whole frames are lent; `Token::new` and
        // `resize` vouch for its length. Nobody else refers to the array, and the index is checked.
        unsafe {
            let slot = &mut (*self.mbufs.get())[at];
            let mbuf = mbuf(token.into_desc());
            mbuf.set_len(len);
            mbuf.set_ol_flags(orders.flags);
            if orders.flags != 0 {
                mbuf.set_vlan_tci(orders.vlan);
                mbuf.set_tx_offload(orders.lengths);
            }
            *slot = mbuf.0;
        }
        self.tally.queued.store(at + 1, Ordering::Relaxed);
        if at + 1 == TX {
            self.push_out();
        }
    }

    /// Hands over what is queued; keeps what the driver has no room for.
    #[inline(never)]
    pub(super) fn push_out(&self) {
        thread::ensure();
        let len = self.len();
        if len == 0 {
            return;
        }
        // SAFETY: nobody else refers to the array: the driver does not call back.
        let mbufs = unsafe { &mut *self.mbufs.get() };
        let mut at = 0;
        while at < len {
            let ready = if self.prepare { self.prepared(&mut mbufs[at..len]) } else { len - at };
            if ready == 0 {
                // The first one is one that the driver cannot send.
                // SAFETY: still ours; freed once.
                unsafe { sys::nd_free(mbufs[at]) };
                self.refused.set(self.refused.get() + 1);
                at += 1;
                continue;
            }
            // SAFETY: the port is started and the queue this socket's alone; `ready` frames that are given up as far as
            // the driver takes them.
            let n = unsafe { sys::nd_tx_burst(self.port, self.queue, mbufs[at..].as_mut_ptr(), ready as u16) };
            if n == 0 {
                break;
            }
            at += usize::from(n);
            self.taken.set(self.taken.get() + u64::from(n));
        }
        if at != 0 {
            mbufs.copy_within(at..len, 0);
            self.tally.add(-(at as isize));
            self.tally.queued.store(len - at, Ordering::Relaxed);
        }
    }

    /// Takes up to `max` packets from a port's queue and hands them over at once, as they are. Returns how many there
    /// were. What is queued already must have gone. No mbuf is touched: that costs more than all the rest.
    ///
    /// The caller has the receiving queue (`Claim`), and both ports draw on one pool.
    #[inline(always)]
    pub(super) fn relay(&self, port: u16, queue: u16, max: usize) -> usize {
        debug_assert_eq!(self.len(), 0);
        thread::ensure();
        let max = max.min(QUEUED) as u16;
        // SAFETY: both ports are started and both queues ours alone; room for `max` pointers, of which `n` are written.
        unsafe {
            let mbufs = self.mbufs.get().cast::<*mut sys::rte_mbuf>();
            let n = sys::nd_rx_burst(port, queue, mbufs, max);
            if n == 0 {
                return 0;
            }
            let sent = sys::nd_tx_burst(self.port, self.queue, mbufs, n);
            self.taken.set(self.taken.get() + u64::from(sent));
            if sent != n {
                self.keep(usize::from(sent), usize::from(n));
            }
            n.into()
        }
    }

    /// Of the packets just received, the driver took the first only: the others are queued.
    #[cold]
    #[inline(never)]
    fn keep(&self, sent: usize, n: usize) {
        // SAFETY: nobody else refers to the array.
        unsafe { (*self.mbufs.get()).copy_within(sent..n, 0) };
        self.tally.add((n - sent) as isize);
        self.tally.queued.store(n - sent, Ordering::Relaxed);
    }

    /// Asks the driver to take note of what has left. Many cannot say.
    pub(super) fn clean_up(&self) {
        // SAFETY: the port is started and the queue this socket's alone.
        unsafe { sys::rte_eth_tx_done_cleanup(self.port, self.queue, 0) };
    }

    /// How many of the first packets the driver is content with.
    #[cold]
    fn prepared(&self, mbufs: &mut [*mut sys::rte_mbuf]) -> usize {
        // SAFETY: as in `push_out`; the driver may write to the packets' checksums.
        unsafe { sys::nd_tx_prepare(self.port, self.queue, mbufs.as_mut_ptr(), mbufs.len() as u16) }.into()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let len = self.len();
        for mbuf in &self.mbufs.get_mut()[..len] {
            // SAFETY: queued and never handed over.
            unsafe { sys::nd_free(*mbuf) }
        }
        self.tally.add(-(len as isize));
        self.tally.queued.store(0, Ordering::Relaxed);
    }
}
