//! Frames: their memory, their free lists, the way home from another thread.
//!
//! A [`Pool`] owns a block of memory cut into frames of one size, and, for engines that can deliver packets longer than
//! their frames, a second class of big ones behind them. Backends draw frames through a [`PoolContext`]:
//!
//! ```text
//!   memory: | frame 0 | frame 1 | … | frame n-1 | big 0 | big 1 | … |
//!            ◀─stride─▶                         ◀─big_stride─▶
//!   BufferDesc = offset in bytes of a packet's first byte; its frame is offset / stride
//! ```
//!
//! | who has a frame | how it comes home |
//! |---|---|
//! | a socket's own stack, or the depot of the pool | it is free |
//! | a ring of the engine | the backend takes it out and releases it |
//! | a `Payload` of the socket's own context | onto that socket's stack |
//! | a `Payload` of a cloned context, a dropped `Token` | into the home queue, from any thread |

#![allow(unsafe_code)]

mod free;
mod memory;
pub(crate) mod registry;
#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
pub(crate) mod shown;
pub(crate) mod sync;

pub use memory::Memory;
pub use registry::{Home, register};

use crate::api::{BufferDesc, Context, Token};
use crate::errors::{Error, Result};
use free::{FreeLists, Local};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use sync::FrameQueue;

#[cfg(not(loom))]
use std::sync::Arc as ListArc;
#[cfg(loom)]
use sync::Arc as ListArc;

/// How many frames of which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Number of frames.
    pub frames: usize,
    /// Bytes that a frame holds. On given memory its stride is the next power of two, at least 64, as engines want it.
    pub frame_size: usize,
    /// Number of big frames; usually 0.
    pub big_frames: usize,
    /// Bytes that a big frame holds. Its stride is the next multiple of the frames' stride.
    pub big_size: usize,
}

impl Geometry {
    /// Frames of one size.
    #[must_use]
    pub fn new(frames: usize, frame_size: usize) -> Self {
        Self { frames, frame_size, big_frames: 0, big_size: 0 }
    }

    /// Distance in bytes from one frame to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.frame_size.max(64).checked_next_power_of_two().unwrap_or(usize::MAX)
    }

    /// Distance in bytes from one big frame to the next.
    #[must_use]
    pub fn big_stride(&self) -> usize {
        self.big_size.max(1).checked_next_multiple_of(self.stride()).unwrap_or(usize::MAX)
    }

    /// Bytes of memory that all of it takes.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if there is no frame, more than 2³¹, or more bytes than an address can tell.
    pub fn bytes(&self) -> Result<usize> {
        const MOST: usize = 1 << 31;
        let refuse = |option, value: usize, expected: &str| {
            Err(Error::BadOption { option, value: value.to_string(), expected: expected.to_owned() })
        };
        if self.frames == 0 || self.frames > MOST || self.big_frames > MOST {
            return refuse("frames", self.frames, "1 to 2147483648 frames");
        }
        let small = self.stride().checked_mul(self.frames);
        let big = if self.big_frames == 0 { Some(0) } else { self.big_stride().checked_mul(self.big_frames) };
        match small.zip(big).and_then(|(s, b)| s.checked_add(b)).filter(|n| isize::try_from(*n).is_ok()) {
            Some(bytes) => Ok(bytes),
            None => refuse("frame_size", self.frame_size, "frames that fit into memory"),
        }
    }
}

/// Distance from one frame to the next, with its reciprocal, so that finding a frame takes no division.
#[derive(Clone, Copy, Debug)]
struct Stride {
    bytes: usize,
    /// ⌈2⁶⁴ / bytes⌉: exact for every offset below 2⁶⁴ / bytes, which is more than a memory can hold here.
    reciprocal: u64,
}

impl Stride {
    fn new(bytes: usize) -> Self {
        Self { bytes, reciprocal: u64::MAX / bytes as u64 + 1 }
    }

    /// Offset of a frame.
    #[inline(always)]
    fn offset(self, frame: u32) -> usize {
        frame as usize * self.bytes
    }

    /// The frame that an offset lies in.
    #[inline(always)]
    fn frame(self, offset: usize) -> u32 {
        ((offset as u128 * u128::from(self.reciprocal)) >> 64) as u32
    }
}

/// The frames. Lives as long as a socket or a context of it.
pub struct Pool {
    id: u32,
    memory: Memory,
    geometry: Geometry,
    stride: Stride,
    /// Offset of the first big frame; past every offset if there is none.
    big_start: usize,
    big_stride: usize,
    lists: ListArc<FreeLists>,
    big: FrameQueue<u32>,
    /// Somebody wants the frames back: see [`Pool::lent`].
    lent: bool,
}

impl Pool {
    /// A pool on memory of its own from the heap. Its frames are an odd number of cache lines apart, so that their first
    /// bytes do not all compete for the same sets of the cache.
    ///
    /// # Errors
    ///
    /// As [`Geometry::bytes`]; [`Error::NoMemory`].
    pub fn heap(geometry: Geometry) -> Result<Arc<Self>> {
        const LINE: usize = 64;
        geometry.bytes()?;
        let lines = geometry.frame_size.div_ceil(LINE).max(1) | 1;
        let big = geometry.big_size.checked_next_multiple_of(LINE).ok_or(Error::NoMemory)?;
        let bytes = (lines * LINE)
            .checked_mul(geometry.frames)
            .zip(big.checked_mul(geometry.big_frames))
            .and_then(|(small, big)| small.checked_add(big))
            .ok_or(Error::NoMemory)?;
        Self::with_strides(geometry, lines * LINE, big, Memory::heap(bytes)?)
    }

    /// A pool on given memory, with the strides of its geometry.
    ///
    /// # Errors
    ///
    /// As [`Geometry::bytes`]; [`Error::NoMemory`] if the memory is shorter than that.
    pub fn new(geometry: Geometry, memory: Memory) -> Result<Arc<Self>> {
        if memory.len() < geometry.bytes()? {
            return Err(Error::NoMemory);
        }
        Self::with_strides(geometry, geometry.stride(), geometry.big_stride(), memory)
    }

    /// A pool on lent memory, which is cut into pieces of `stride` bytes. Only the pieces numbered in `free` belong to the
    /// pool at first; its owner may exchange them for others, one for one. When the pool has ended and the last token of
    /// it is dropped, `heir` gets the offsets of all frames that it had then.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if a piece lies outside the memory.
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    pub(crate) fn lent(
        frame_size: usize,
        stride: usize,
        memory: Memory,
        free: Vec<u32>,
        heir: impl FnOnce(Vec<usize>) + Send + 'static,
    ) -> Result<Arc<Self>> {
        let pieces = memory.len() / stride;
        if frame_size > stride || free.iter().any(|frame| *frame as usize >= pieces) {
            return Err(Error::NoMemory);
        }
        let geometry = Geometry::new(free.len(), frame_size);
        register(|id| {
            registry::will(id, Box::new(heir));
            let mut pool = Self::assemble(id, geometry, stride, 1, memory, FreeLists::of(free));
            pool.lent = true;
            Ok(pool)
        })
    }

    fn with_strides(geometry: Geometry, stride: usize, big_stride: usize, memory: Memory) -> Result<Arc<Self>> {
        register(|id| {
            Ok(Self::assemble(id, geometry, stride, big_stride, memory, FreeLists::new(geometry.frames as u32)))
        })
    }

    fn assemble(
        id: u32,
        geometry: Geometry,
        stride: usize,
        big_stride: usize,
        memory: Memory,
        lists: FreeLists,
    ) -> Self {
        let big = FrameQueue::new(geometry.big_frames.max(1));
        let big_start = if geometry.big_frames == 0 { usize::MAX } else { stride * geometry.frames };
        for frame in 0..geometry.big_frames as u32 {
            let _ = big.push(frame);
        }
        Self {
            id,
            memory,
            geometry,
            stride: Stride::new(stride),
            big_start,
            big_stride: big_stride.max(1),
            lists: ListArc::new(lists),
            big,
            lent: false,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its frames.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Its memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Frames on loan: neither free nor in a ring. Exact when no other thread is moving frames; 0 when every token and
    /// payload has been dropped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lists.in_flight(self.geometry.big_frames, self.big.len())
    }

    /// How many sockets draw on it.
    #[must_use]
    pub fn sharers(&self) -> usize {
        self.lists.sharers()
    }

    /// Splits a token of this pool into its frame's number and its length, for queues that hold frames in bulk. `None`
    /// (with the token) if the packet does not begin where its frame does, or the frame is a big one.
    #[inline(always)]
    pub(crate) fn take_apart(&self, token: Token) -> std::result::Result<(u32, u32), Token> {
        let (desc, len) = (token.buffer_desc(), token.size());
        let frame = self.stride.frame(desc.0);
        if token.pool_id() != self.id || self.stride.offset(frame) != desc.0 || desc.0 >= self.big_start {
            return Err(token);
        }
        let _ = token.into_desc();
        Ok((frame, len))
    }

    /// The token of a frame that [`take_apart`](Self::take_apart) took apart.
    ///
    /// # Safety
    ///
    /// `frame` and `len` came out of `take_apart` of this pool and are put together again once only.
    #[inline(always)]
    pub(crate) unsafe fn frame_token(&self, frame: u32, len: u32) -> Token {
        // SAFETY: as the caller vouches, this is the loan that `take_apart` took out of its token.
        unsafe { Token::new(self.stride.offset(frame), len, self.id) }
    }

    /// Where the frame begins in which this packet lies, and how many bytes it holds.
    #[inline]
    fn frame(&self, desc: BufferDesc) -> (usize, usize) {
        if desc.0 >= self.big_start {
            let at = desc.0 - self.big_start;
            (self.big_start + at - at % self.big_stride, self.geometry.big_size)
        } else {
            (self.stride.offset(self.stride.frame(desc.0)), self.geometry.frame_size)
        }
    }

    #[inline]
    fn buffer(&self, desc: BufferDesc, len: usize) -> *mut [u8] {
        debug_assert!(desc.0 + len <= self.memory.len(), "frame {} + {len} outside the pool", desc.0);
        // Wrapping: the function is safe; whoever dereferences the pointer vouches that the descriptor is the pool's.
        std::ptr::slice_from_raw_parts_mut(self.memory.base().as_ptr().wrapping_add(desc.0), len)
    }

    #[cold]
    #[inline(never)]
    fn release_big(&self, desc: BufferDesc) {
        let frame = (desc.0 - self.big_start) / self.big_stride;
        let pushed = self.big.push(frame as u32);
        debug_assert!(pushed.is_ok(), "big frame {frame} released twice");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.lent {
            let free = self.lists.clear().into_iter().map(|frame| self.stride.offset(frame));
            registry::bequeath(self.id, free, Some(self.geometry.frames));
        }
    }
}

// SAFETY: the memory lives as long as the pool; frames are disjoint and initialised.
unsafe impl Home for Pool {
    #[inline(never)]
    unsafe fn give_back(&self, desc: BufferDesc) {
        if desc.0 >= self.big_start {
            self.release_big(desc);
        } else {
            self.lists.give_back(self.stride.frame(desc.0));
        }
    }

    unsafe fn bytes(&self, desc: BufferDesc, len: usize) -> *mut [u8] {
        self.buffer(desc, len)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("id", &self.id).field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// A handle on a pool: the [`Context`] of every backend whose frames are plain memory.
///
/// The one inside a socket has a stack of free frames and recycles onto it without an atomic; a clone has none and
/// sends frames home through the pool's queue.
#[derive(Debug)]
pub struct PoolContext {
    local: Option<Local>,
    // What handling a packet needs of the pool, copied so that it is one load away.
    id: u32,
    base: Base,
    stride: Stride,
    /// Packets that begin below this go onto the stack at once: where big frames begin, or 0 if there is no stack, or if
    /// the frame may be one that is being shown.
    own_end: usize,
    /// The frame being shown where it lies in a ring.
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    shown: shown::Note,
    pool: Arc<Pool>,
}

/// Where the pool's memory begins.
#[derive(Clone, Copy, Debug)]
struct Base(NonNull<u8>);

// SAFETY: an address, no more: who may touch which part of the memory is decided by frame ownership, as for `Memory`.
unsafe impl Send for Base {}

impl PoolContext {
    /// A handle with a stack of its own, for a socket.
    #[must_use]
    pub fn attach(pool: &Arc<Pool>) -> Self {
        Self::over(Some(Local::new(&pool.lists)), pool)
    }

    fn over(local: Option<Local>, pool: &Arc<Pool>) -> Self {
        let own_end = if local.is_some() && !pool.lent { pool.big_start } else { 0 };
        Self {
            local,
            id: pool.id,
            base: Base(pool.memory.base()),
            stride: pool.stride,
            own_end,
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            shown: shown::Note::new(),
            pool: pool.clone(),
        }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Takes a free frame; the descriptor is its first byte. The caller owns the frame until it releases it or makes a
    /// [`Token`] of it. `None` if no frame is free, or if this is a clone without a stack.
    #[inline(always)]
    #[must_use = "the frame is lost until it is released"]
    pub fn take(&self) -> Option<BufferDesc> {
        let frame = self.take_frame()?;
        Some(BufferDesc(self.stride.offset(frame)))
    }

    /// Takes a frame off this socket's own stack, if there is one; its number.
    #[cfg_attr(not(all(target_os = "linux", feature = "af_xdp")), expect(dead_code, reason = "for AF_XDP"))]
    #[inline(always)]
    pub(crate) fn take_top(&self) -> Option<u32> {
        self.local.as_ref()?.take_top()
    }

    /// Takes up to `max` free frames, as [`take`](Self::take), and calls `f` with their numbers; returns how many there
    /// were.
    #[inline(always)]
    #[cfg_attr(
        not(all(target_os = "linux", feature = "af_xdp")),
        allow(dead_code, reason = "for engines with rings of frames")
    )]
    pub(crate) fn take_many(&self, max: usize, f: impl FnMut(&[std::cell::Cell<u32>])) -> usize {
        self.local.as_ref().map_or(0, |local| local.take_many(max, f))
    }

    /// Releases many frames, none of them big: `each` is called with a function that takes the number of one. It must
    /// not use this context otherwise.
    ///
    /// # Safety
    ///
    /// As [`release`](Context::release), for each of them; and this is the context of a socket, not a clone.
    #[inline(always)]
    #[cfg_attr(
        not(all(target_os = "linux", feature = "af_xdp")),
        allow(dead_code, reason = "for engines with rings of frames")
    )]
    pub(crate) unsafe fn release_many(&self, each: impl FnOnce(&mut free::Put<'_>)) {
        debug_assert!(self.local.is_some());
        if let Some(local) = &self.local {
            local.put_many(each);
        }
    }

    /// Takes a free frame by its number, for rings that hold numbers; as [`take`](Self::take) otherwise.
    #[inline(always)]
    pub(crate) fn take_frame(&self) -> Option<u32> {
        self.local.as_ref()?.take()
    }

    /// Takes a frame back by its number. The caller owns it, or gives it for one that has left the pool.
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    #[inline(always)]
    pub(crate) fn put_frame(&self, frame: u32) {
        match &self.local {
            Some(local) => local.put(frame),
            None => self.pool.lists.give_back(frame),
        }
    }

    /// Where frames are shown that lie in a ring; `None` for a clone, and where frames never lie in rings when they come home.
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    #[inline(always)]
    pub(crate) fn window(&self) -> Option<shown::Window<'_>> {
        (self.local.is_some() && self.own_end == 0).then_some(shown::Window { ctx: self })
    }

    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    #[inline(never)]
    fn release_lent(&self, desc: BufferDesc) {
        self.put_frame(self.stride.frame(desc.0));
    }

    /// Takes a free big frame, as [`take`](Self::take).
    #[must_use = "the frame is lost until it is released"]
    pub fn take_big(&self) -> Option<BufferDesc> {
        let frame = self.pool.big.pop()?;
        Some(BufferDesc(self.pool.big_start + frame as usize * self.pool.big_stride))
    }

    /// Takes a frame, big if it must be, as a payload of `len` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if none is free, [`Error::TooBigPacket`] if no frame is that long.
    #[inline(always)]
    pub fn alloc(&self, len: usize) -> Result<crate::api::Payload<'_, Self>> {
        let geometry = &self.pool.geometry;
        let desc = if len <= geometry.frame_size {
            self.take()
        } else if len <= geometry.big_size && geometry.big_frames > 0 {
            self.take_big()
        } else {
            return Err(Error::TooBigPacket(len));
        };
        let Some(desc) = desc else { return Err(Error::NoMemory) };
        // SAFETY: the frame just came off a free list, so it is ours; its memory is initialised and holds `len` bytes.
        Ok(self.packet(unsafe { Token::new(desc.0, len as u32, self.id) }))
    }

    /// Takes a frame and copies a packet into it.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc).
    #[inline(always)]
    pub fn copy_in(&self, packet: &[u8]) -> Result<Token> {
        let mut payload = self.alloc(packet.len())?;
        payload.copy_from_slice(packet);
        Ok(payload.into_token())
    }

    /// Says how many frames, big ones included, are in this socket's rings, so that [`Pool::in_flight`] does not count them.
    #[inline]
    pub fn set_in_rings(&self, frames: usize) {
        if let Some(local) = &self.local {
            local.set_in_rings(frames);
        }
    }

    /// Free frames on this socket's own stack.
    #[must_use]
    pub fn local_free(&self) -> usize {
        self.local.as_ref().map_or(0, Local::len)
    }

    /// The first byte of the frame in which this packet lies.
    #[inline]
    #[must_use]
    pub fn frame_start(&self, desc: BufferDesc) -> BufferDesc {
        BufferDesc(self.pool.frame(desc).0)
    }
}

impl Clone for PoolContext {
    fn clone(&self) -> Self {
        Self::over(None, &self.pool)
    }
}

// SAFETY: the id comes from `register`; `Pool` keeps frames disjoint and initialised, and its memory alive and in place
// while any context holds the `Arc`; `capacity` ends at the frame's end.
unsafe impl Context for PoolContext {
    #[inline(always)]
    fn pool_id(&self) -> u32 {
        self.id
    }

    #[inline(always)]
    unsafe fn unsafe_buffer(&self, buf_idx: BufferDesc, size: usize) -> *mut [u8] {
        debug_assert!(buf_idx.0 + size <= self.pool.memory.len(), "frame {} + {size} outside the pool", buf_idx.0);
        // SAFETY: the caller vouches that the frame is the pool's, so the address is within its memory.
        std::ptr::slice_from_raw_parts_mut(unsafe { self.base.0.as_ptr().add(buf_idx.0) }, size)
    }

    #[inline(always)]
    unsafe fn release(&self, buf_idx: BufferDesc) {
        if buf_idx.0 < self.own_end {
            // SAFETY: without a stack `own_end` is 0.
            let local = unsafe { self.local.as_ref().unwrap_unchecked() };
            local.put(self.stride.frame(buf_idx.0));
        } else {
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            {
                if self.shown.take_back(buf_idx.0) {
                    return;
                }
                if self.pool.lent && self.local.is_some() {
                    return self.release_lent(buf_idx);
                }
            }
            // SAFETY: as the caller vouches.
            unsafe { self.pool.give_back(buf_idx) }
        }
    }

    #[inline]
    fn capacity(&self, buf_idx: BufferDesc) -> usize {
        let (start, size) = self.pool.frame(buf_idx);
        (start + size).saturating_sub(buf_idx.0)
    }
}
