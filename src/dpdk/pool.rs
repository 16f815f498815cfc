//! Frames: mbufs of a mempool, lent by the library's rules.
//!
//! ```text
//!              driver takes                       Token / Payload
//!   mempool ──────────────▶ receive ring ──recv──▶ on loan ──send──▶ transmit ring ─┐
//!      ▲ ▲                                            │ drop                        │ driver returns
//!      │ └───── in bulk ◀── stack of the socket ◀─────┤ (socket's own context)      │
//!      │                                              └──▶ mempool (any other)      │
//!      └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A frame on loan is one mbuf of the pool's own, single-segment, with a reference count of 1: what a driver delivers
//! otherwise is copied into such a one first (see [`Pool::adopt`]). Returning it is then a pointer put back, whoever
//! does it: a mempool takes frames from every thread, with an id (see [`thread`](super::thread)) through that thread's
//! cache, without one through its ring, whose `mt_rts` discipline lets no thread wait for another that was preempted.
//!
//! The driver keeps pointers into a pool until its port is closed, and a ring between two ports holds frames of pools
//! whose sockets may be gone. So a mempool is freed when its last context is gone *and* every frame is back; until then
//! it rests in [`GRAVEYARD`], where dropped tokens still find it.
#![allow(unsafe_code)]

use super::DpdkFlags;
use super::eal::Eal;
use super::log::quietly;
use super::mbuf::Mbuf;
use crate::api::{BufferDesc, Context as ContextTrait, Payload, Token};
use crate::errors::{Error, Result};
use crate::pool::{Home, register};
use dpdk_sys as sys;
use std::cell::{Cell, UnsafeCell};
use std::ffi::{CString, c_uint, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bytes before a packet that a driver leaves free.
pub(super) const HEADROOM: usize = sys::RTE_PKTMBUF_HEADROOM as usize;
/// Frames a socket keeps on its own stack at most.
const STACK: usize = 64;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A mempool of mbufs, all of one size.
pub(super) struct Mempool {
    raw: NonNull<sys::rte_mempool>,
    count: u32,
    /// Bytes that an mbuf holds behind the headroom.
    room: usize,
    /// Where its memory lies: begin and end of each piece.
    pieces: Box<[(usize, usize)]>,
}

/// Notes a piece of a mempool's memory.
unsafe extern "C" fn note_piece(
    _: *mut sys::rte_mempool,
    opaque: *mut c_void,
    piece: *mut sys::rte_mempool_memhdr,
    _: c_uint,
) {
    // SAFETY: `Mempool::new` passes its vector and the mempool a header of its own.
    unsafe {
        let begin = (*piece).addr.addr();
        (*opaque.cast::<Vec<(usize, usize)>>()).push((begin, begin + (*piece).len));
    }
}

// SAFETY: a mempool may be used from every thread (rte_mempool.h); `raw` is freed on drop only.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    fn new(name: &str, count: u32, cache: u32, buffer: u16) -> Result<Self> {
        let c_name = CString::new(name).map_err(|_| Error::Unknown)?;
        let ops = c"ring_mt_rts".as_ptr();
        // SAFETY: EAL runs; the names are C strings that are copied. Then a read of this thread's rte_errno.
        let ((raw, errno), _) = quietly(|| unsafe {
            let raw = sys::rte_pktmbuf_pool_create_by_ops(c_name.as_ptr(), count, cache, 0, buffer, -1, ops);
            (raw, sys::nd_errno())
        });
        let raw = NonNull::new(raw).ok_or_else(|| no_pool(count, buffer, errno))?;
        let mut pieces: Vec<(usize, usize)> = Vec::new();
        // SAFETY: the callback is given the vector, which outlives the call.
        unsafe { sys::rte_mempool_mem_iter(raw.as_ptr(), Some(note_piece), (&raw mut pieces).cast()) };
        Ok(Self { raw, count, room: usize::from(buffer) - HEADROOM, pieces: pieces.into() })
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }

    /// Whether an mbuf's header at this address lies in its memory.
    fn contains(&self, at: usize) -> bool {
        let end = at.saturating_add(sys::ND_MBUF_SIZE as usize);
        self.pieces.iter().any(|piece| piece.0 <= at && end <= piece.1)
    }

    fn is_whole(&self) -> bool {
        // SAFETY: the mempool is alive; counting reads ring and caches.
        unsafe { sys::rte_mempool_avail_count(self.as_ptr()) == self.count }
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        // SAFETY: nothing refers to it any more: every frame is in it, or its port was never started (see `Pool`).
        unsafe { sys::rte_mempool_free(self.as_ptr()) }
    }
}

#[cold]
fn no_pool(count: u32, buffer: u16, errno: i32) -> Error {
    let bytes = u64::from(count) * (u64::from(buffer) + sys::ND_MBUF_SIZE as u64 + 64);
    let mib = bytes.div_ceil(1 << 20);
    let help = match Eal::running() {
        Some(eal) if eal.hugepages() => format!(
            "{count} mbufs of {buffer} bytes take {mib} MiB of huge pages: reserve more (sysctl vm.nr_hugepages={}), or \
             ask for fewer (num_mbufs)",
            mib / 2 + 32
        ),
        _ => format!(
            "{count} mbufs of {buffer} bytes take {mib} MiB of the memory EAL was started with: give it more (-m in \
             {}), or ask for fewer (num_mbufs)",
            super::eal::ARGS_VARIABLE
        ),
    };
    Error::System { what: "making a pool of mbufs".into(), help, source: std::io::Error::from_raw_os_error(errno) }
}

/// Where the frames of one context are, written by its thread alone and read by any. What it lends itself is what it
/// has, less what lies on its stack or is queued to be sent: two numbers that change anyway, so that counting loans
/// costs nothing per packet.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Tally {
    /// Frames that came to it (from the driver, from the mempool), less those that it gave to either. Frames that it
    /// lent may come home by another way: it may be negative elsewhere.
    held: AtomicIsize,
    /// On the stack.
    free: AtomicUsize,
    /// On their way to the driver.
    pub(super) queued: AtomicUsize,
}

impl Tally {
    /// Counts frames that came (or, negative, went).
    #[inline(always)]
    pub(super) fn add(&self, n: isize) {
        // One thread writes: no read-modify-write is needed.
        self.held.store(self.held.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    fn lent(&self) -> isize {
        let idle = self.free.load(Ordering::Relaxed) + self.queued.load(Ordering::Relaxed);
        self.held.load(Ordering::Relaxed) - idle as isize
    }
}

/// The frames of a port, or of several that share them.
pub(super) struct Pool {
    id: u32,
    frames: Mempool,
    /// For packets longer than a frame.
    big: Option<Mempool>,
    /// Loans of contexts that are gone, less the tokens that went home by themselves.
    settled: AtomicIsize,
    tallies: Mutex<Vec<Arc<Tally>>>,
    /// Ports and contexts. At 0 the pool is freed, or goes to the graveyard.
    users: AtomicUsize,
}

/// Every pool there is, for [`flush_caches`].
static POOLS: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());
/// Pools without users whose frames are not all back.
static GRAVEYARD: Mutex<Vec<Arc<Pool>>> = Mutex::new(Vec::new());

/// Frees the pools of the graveyard whose last frame has come back.
pub(super) fn sweep() {
    lock(&GRAVEYARD).retain(|pool| !pool.is_whole());
}

/// Empties this thread's caches of every pool.
pub(super) fn flush_caches() {
    let pools: Vec<Arc<Pool>> = lock(&POOLS).iter().filter_map(Weak::upgrade).collect();
    for pool in &pools {
        for mempool in pool.mempools() {
            // SAFETY: the mempool is alive; the cache is this thread's own.
            unsafe { sys::nd_cache_flush(mempool.as_ptr()) }
        }
    }
}

/// How large the frames for long packets are, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Big {
    pub(super) count: u32,
    /// Bytes of the longest packet.
    pub(super) len: u16,
}

impl Pool {
    /// Makes the mempools.
    pub(super) fn create(flags: &DpdkFlags, big: Option<Big>) -> Result<PoolRef> {
        sweep();
        let pool = register(|id| {
            let frames = Mempool::new(
                &format!("nethuns-{id}"),
                flags.num_mbufs,
                flags.mbuf_cache_size,
                flags.mbuf_default_buf_size,
            )?;
            let big = match big {
                None => None,
                Some(Big { count, len }) => {
                    Some(Mempool::new(&format!("nethuns-{id}-big"), count, 0, len + HEADROOM as u16)?)
                }
            };
            Ok(Self {
                id,
                frames,
                big,
                settled: AtomicIsize::new(0),
                tallies: Mutex::default(),
                users: AtomicUsize::new(1),
            })
        })?;
        let mut pools = lock(&POOLS);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(&pool));
        Ok(PoolRef(pool))
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn frames(&self) -> &Mempool {
        &self.frames
    }

    pub(super) fn big(&self) -> Option<&Mempool> {
        self.big.as_ref()
    }

    /// The longest packet that a frame holds.
    pub(super) fn longest(&self) -> usize {
        self.big.as_ref().map_or(0, |big| big.room).max(self.frames.room)
    }

    pub(super) fn count(&self) -> usize {
        self.frames.count as usize
    }

    pub(super) fn frame_size(&self) -> usize {
        self.frames.room
    }

    fn mempools(&self) -> impl Iterator<Item = &Mempool> {
        std::iter::once(&self.frames).chain(&self.big)
    }

    fn is_whole(&self) -> bool {
        self.mempools().all(Mempool::is_whole)
    }

    /// Frames on loan.
    pub(super) fn in_flight(&self) -> usize {
        let lent: isize = lock(&self.tallies).iter().map(|tally| tally.lent()).sum();
        usize::try_from(lent + self.settled.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The mempool that a packet of `len` bytes fits.
    fn fitting(&self, len: usize) -> Option<&Mempool> {
        self.mempools().find(|mempool| len <= mempool.room)
    }

    /// Makes a frame that can be lent of what a driver delivered: itself if it is one already, else a copy: of packets
    /// in several segments, of frames of another pool (a ring between two ports hands over the sender's), of borrowed
    /// buffers. The original goes home.
    ///
    /// # Safety
    ///
    /// The packet is the caller's, who gives it up; the frame returned is the caller's.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn adopt(&self, mbuf: Mbuf) -> Adopted {
        // SAFETY: the packet is ours; copying reads every segment of it and fills a fresh frame, which is in one
        // segment because the packet fits; then the original is freed, segment by segment, each to its own pool.
        unsafe {
            if self.mempools().any(|mempool| mbuf.is_sole(mempool.as_ptr())) {
                return Adopted::Frame(mbuf);
            }
            let adopted = match self.fitting(mbuf.pkt_len() as usize) {
                None => Adopted::TooLong,
                Some(mempool) => match NonNull::new(sys::rte_pktmbuf_copy(mbuf.0, mempool.as_ptr(), 0, u32::MAX)) {
                    Some(copy) => Adopted::Frame(Mbuf(copy.as_ptr())),
                    None => Adopted::NoFrame,
                },
            };
            sys::nd_free(mbuf.0);
            adopted
        }
    }

    /// Puts frames back.
    ///
    /// # Safety
    ///
    /// They are single frames of this pool and the caller's, who gives them up; all of one mempool.
    #[inline(always)]
    unsafe fn put(&self, mbufs: &mut [*mut sys::rte_mbuf]) {
        let Some(first) = mbufs.first() else { return };
        let mempool = match &self.big {
            None => self.frames.as_ptr(),
            // SAFETY: as the caller vouches.
            Some(_) => unsafe { Mbuf(*first).pool() },
        };
        // SAFETY: as the caller vouches: what goes in is what came out, with a reference count of 1 and one segment.
        unsafe { sys::nd_put_bulk(mempool, mbufs.as_mut_ptr(), mbufs.len() as u32) }
    }
}

/// What became of a received packet.
pub(super) enum Adopted {
    Frame(Mbuf),
    /// There was no frame to copy it into.
    NoFrame,
    /// It is longer than any frame.
    TooLong,
}

// SAFETY: an mbuf's buffer lies in its mempool, which lives as long as the pool; frames are disjoint; the memory is
// mapped zeroed by EAL.
unsafe impl Home for Pool {
    unsafe fn give_back(&self, desc: BufferDesc) {
        self.settled.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: as the caller vouches, the frame is of this pool and given up.
        unsafe { self.put(&mut [mbuf(desc).0]) }
        if self.users.load(Ordering::Acquire) == 0 {
            sweep();
        }
    }

    unsafe fn bytes(&self, desc: BufferDesc, len: usize) -> *mut [u8] {
        // SAFETY: as the caller vouches, the frame is on loan: its header is not written to meanwhile.
        std::ptr::slice_from_raw_parts_mut(unsafe { mbuf(desc).data() }, len)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("id", &self.id).field("frames", &self.frames.count).finish_non_exhaustive()
    }
}

/// The mbuf behind a descriptor.
#[inline(always)]
pub(super) fn mbuf(desc: BufferDesc) -> Mbuf {
    Mbuf(std::ptr::with_exposed_provenance_mut(desc.0))
}

/// A user of a pool. The last one to go frees it, once every frame is back.
#[derive(Debug)]
pub(super) struct PoolRef(Arc<Pool>);

impl std::ops::Deref for PoolRef {
    type Target = Pool;
    #[inline(always)]
    fn deref(&self) -> &Pool {
        &self.0
    }
}

impl Clone for PoolRef {
    fn clone(&self) -> Self {
        self.0.users.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for PoolRef {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            // In first, then looked at: a token dropped meanwhile sweeps after it has put its frame back.
            lock(&GRAVEYARD).push(self.0.clone());
            sweep();
        }
    }
}

/// A socket's stack of free frames; how many there are is in the [`Tally`].
struct Stack {
    slots: UnsafeCell<[*mut sys::rte_mbuf; STACK]>,
    limit: usize,
}

// SAFETY: plain memory; the frames on it belong to whoever has the stack.
unsafe impl Send for Stack {}

/// A handle on the frames of a port: its [`Context`](crate::api::Context).
///
/// The one inside a socket keeps a few free frames at hand; a clone may live on any thread and returns each frame to
/// the mempool. Both keep the frames alive after the socket is gone.
pub struct Context {
    /// The pool's, at hand.
    id: u32,
    /// Whether every frame is of `frames`.
    one_size: bool,
    frames: NonNull<sys::rte_mempool>,
    tally: Arc<Tally>,
    stack: Option<Box<Stack>>,
    pool: PoolRef,
    /// Not to be shared between threads: one of them writes the tally.
    one_thread: PhantomData<Cell<()>>,
}

// SAFETY: the mempool's pointer is good on every thread, for as long as `pool` is.
unsafe impl Send for Context {}

impl Context {
    fn with(pool: PoolRef, stack: Option<Box<Stack>>) -> Self {
        let tally = Arc::new(Tally::default());
        lock(&pool.tallies).push(tally.clone());
        let (id, one_size, frames) = (pool.id, pool.big.is_none(), pool.frames.raw);
        Self { id, one_size, frames, tally, stack, pool, one_thread: PhantomData }
    }

    /// The context of a socket.
    pub(super) fn attach(pool: PoolRef) -> Self {
        let limit = (pool.count() / 16).clamp(1, STACK);
        Self::with(pool, Some(Box::new(Stack { slots: UnsafeCell::new([std::ptr::null_mut(); STACK]), limit })))
    }

    #[inline(always)]
    pub(super) fn pool(&self) -> &PoolRef {
        &self.pool
    }

    #[inline(always)]
    pub(super) fn frames(&self) -> *mut sys::rte_mempool {
        self.frames.as_ptr()
    }

    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// A frame of this pool for a packet of `len` bytes, on loan.
    #[inline(always)]
    pub(super) fn alloc(&self, len: usize) -> Result<Payload<'_, Self>> {
        let taken = if len <= self.pool.frames.room { self.take() } else { self.take_big(len)? };
        let Some(mbuf) = taken else { return Err(Error::NoMemory) };
        // SAFETY: the frame just came out of its mempool, so it is ours, whole and direct; `len` is within its room.
        unsafe {
            mbuf.reset(HEADROOM as u16);
            Ok(self.packet(Token::new(mbuf.0.expose_provenance(), len as u32, self.id)))
        }
    }

    #[inline(always)]
    fn take(&self) -> Option<Mbuf> {
        let stack = self.stack.as_ref()?;
        let mut len = self.tally.free.load(Ordering::Relaxed);
        if len == 0 {
            len = self.refill(stack)?;
        }
        self.tally.free.store(len - 1, Ordering::Relaxed);
        // SAFETY: below `free` the slots hold free frames; nobody else refers to the array (no call in between).
        Some(Mbuf(unsafe { (*stack.slots.get())[len - 1] }))
    }

    /// Fetches frames for an empty stack. How many there are now.
    #[cold]
    #[inline(never)]
    fn refill(&self, stack: &Stack) -> Option<usize> {
        for want in [stack.limit.div_ceil(2), 1] {
            // SAFETY: room for `want` pointers; the stack is empty and not referred to.
            if unsafe { sys::nd_get_bulk(self.frames(), stack.slots.get().cast(), want as u32) } == 0 {
                self.tally.add(want as isize);
                self.tally.free.store(want, Ordering::Relaxed);
                return Some(want);
            }
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn take_big(&self, len: usize) -> Result<Option<Mbuf>> {
        let big = self.pool.big.as_ref().filter(|big| len <= big.room).ok_or(Error::TooBigPacket(len))?;
        let mut mbuf = std::ptr::null_mut();
        // SAFETY: room for one pointer.
        let found = unsafe { sys::nd_get_bulk(big.as_ptr(), &mut mbuf, 1) } == 0;
        Ok(found.then(|| {
            self.tally.add(1);
            Mbuf(mbuf)
        }))
    }

    /// Gives the stack's frames to the mempool, down to `keep`.
    #[inline]
    pub(super) fn spill(&self, keep: usize) {
        let Some(stack) = &self.stack else { return };
        let len = self.tally.free.load(Ordering::Relaxed);
        if len > keep {
            // SAFETY: slots below `free` hold free frames of `frames`; they leave the stack before it is used again.
            unsafe {
                let slots = &mut *stack.slots.get();
                sys::nd_put_bulk(self.frames(), slots[keep..len].as_mut_ptr(), (len - keep) as u32);
            }
            self.tally.add(-((len - keep) as isize));
            self.tally.free.store(keep, Ordering::Relaxed);
        }
    }

    /// Gives back what does not go on a stack.
    ///
    /// # Safety
    ///
    /// As [`release`](ContextTrait::release).
    #[cold]
    #[inline(never)]
    unsafe fn put_back(&self, mbuf: Mbuf) {
        self.tally.add(-1);
        // SAFETY: as the caller vouches.
        unsafe { self.pool.put(&mut [mbuf.0]) }
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        Self::with(self.pool.clone(), None)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.spill(0);
        let mut tallies = lock(&self.pool.tallies);
        tallies.retain(|tally| !Arc::ptr_eq(tally, &self.tally));
        // What it lent and did not get back comes home in other ways: those count in `settled`, or in another tally.
        self.pool.settled.fetch_add(self.tally.lent(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("pool", &*self.pool).finish_non_exhaustive()
    }
}

// SAFETY: the id comes from `register`. The memory lies in a mempool that the `PoolRef` keeps; frames are disjoint mbufs,
// never moved, and `capacity` ends where the mbuf's buffer does. Only an mbuf that is nobody else's is lent (`adopt`).
unsafe impl ContextTrait for Context {
    #[inline(always)]
    fn pool_id(&self) -> u32 {
        self.id
    }

    #[inline(always)]
    unsafe fn unsafe_buffer(&self, buf_idx: BufferDesc, size: usize) -> *mut [u8] {
        // SAFETY: as the caller vouches, the frame is on loan to him: nobody writes to its header meanwhile.
        std::ptr::slice_from_raw_parts_mut(unsafe { mbuf(buf_idx).data() }, size)
    }

    #[inline(always)]
    unsafe fn release(&self, buf_idx: BufferDesc) {
        let mbuf = mbuf(buf_idx);
        // SAFETY: as the caller vouches, the frame is of this pool and given up; below `free` the slots are taken, and
        // the index is checked.
        unsafe {
            let small = self.one_size || mbuf.pool() == self.frames();
            let Some(stack) = self.stack.as_ref().filter(|_| small) else { return self.put_back(mbuf) };
            let mut len = self.tally.free.load(Ordering::Relaxed);
            if len >= stack.limit {
                self.spill(stack.limit / 2);
                len = stack.limit / 2;
            }
            (*stack.slots.get())[len] = mbuf.0;
            self.tally.free.store(len + 1, Ordering::Relaxed);
        }
    }

    #[inline]
    fn capacity(&self, buf_idx: BufferDesc) -> usize {
        // A descriptor can be kept after its token is gone, and shown to the wrong context.
        if !self.pool.mempools().any(|mempool| mempool.contains(buf_idx.0)) || !buf_idx.0.is_multiple_of(8) {
            return 0;
        }
        // SAFETY: the header lies in memory that is mapped as long as the pool lives. On loan, nobody writes to it; a
        // descriptor without its loan reads some number, which nothing relies on.
        unsafe { mbuf(buf_idx).room() }
    }
}
