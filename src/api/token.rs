//! A frame on loan, away from its context.
#![allow(unsafe_code)]

use super::{BufferDesc, BufferRef, Context, Payload};
use crate::pool::registry;
use std::fmt;
use std::mem::ManuallyDrop;

/// Ownership of one frame without a borrow of its context: 16 bytes that can be stored, sent to another thread, put
/// into a channel.
///
/// Not `Clone`. Dropping one sends the frame home through the registry of pools (the cold path: tens of nanoseconds);
/// turning it into a [`Payload`] and dropping that is the hot path.
///
/// ```compile_fail
/// fn twice(token: nethuns_rs::api::Token) -> (nethuns_rs::api::Token, nethuns_rs::api::Token) {
///     (token.clone(), token)
/// }
/// ```
#[must_use = "dropping a token gives its frame back"]
pub struct Token {
    idx: BufferDesc,
    /// Length in the low half, pool id in the high half. Two words, so that a token travels in registers: as three
    /// fields it would go through memory and stall on store forwarding.
    len_and_pool: u64,
}

impl Token {
    /// Makes the token of a frame. For backends; a program gets its tokens from a socket.
    ///
    /// # Safety
    ///
    /// The frame `idx` belongs to the pool with the id `buffer_pool` and is the caller's alone, who gives it up to the
    /// token; its first `len` bytes are initialised and within its capacity.
    #[inline(always)]
    pub unsafe fn new(idx: usize, len: u32, buffer_pool: u32) -> Self {
        Self { idx: BufferDesc(idx), len_and_pool: u64::from(buffer_pool) << 32 | u64::from(len) }
    }

    /// Which frame.
    #[inline(always)]
    #[must_use]
    pub fn buffer_desc(&self) -> BufferDesc {
        self.idx
    }

    /// A name for the frame, for logs.
    #[inline]
    #[must_use]
    pub fn buffer_ref(&self) -> BufferRef {
        self.idx.into()
    }

    /// The packet's length in bytes.
    #[inline(always)]
    #[must_use]
    pub fn size(&self) -> u32 {
        self.len_and_pool as u32
    }

    /// The id of the pool the frame belongs to.
    #[inline(always)]
    #[must_use]
    pub fn pool_id(&self) -> u32 {
        (self.len_and_pool >> 32) as u32
    }

    /// Whether the frame belongs to the pool of this context.
    #[inline]
    #[must_use]
    pub fn check_token<Ctx: Context>(&self, ctx: &Ctx) -> bool {
        ctx.check_token(self)
    }

    /// Turns the token into a payload that can be read and written.
    ///
    /// # Panics
    ///
    /// If the frame belongs to another pool; it goes home as the panic unwinds.
    #[inline(always)]
    pub fn consume<Ctx: Context>(self, ctx: &Ctx) -> Payload<'_, Ctx> {
        ctx.packet(self)
    }

    /// Calls `f` with the packet's bytes, wherever its pool is; `None` if every socket and context of that pool is gone.
    /// A cold path, for code that has no context at hand.
    pub fn peek<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let home = registry::find(self.pool_id())?;
        // SAFETY: the token is the loan, `new` vouched for pool and length, `home` keeps the memory alive, and writing
        // needs the token by value, which the borrow excludes.
        let bytes = unsafe { &*home.bytes(self.idx, self.size() as usize) };
        Some(f(bytes))
    }

    /// Gives the frame up to the caller: nothing sends it home any more. For backends whose rings take it over.
    #[inline]
    #[must_use = "the frame is lost until it is released"]
    pub fn into_desc(self) -> BufferDesc {
        ManuallyDrop::new(self).idx
    }

    #[inline]
    pub(crate) fn set_len(&mut self, len: u32) {
        self.len_and_pool = self.len_and_pool >> 32 << 32 | u64::from(len);
    }
}

impl Drop for Token {
    #[cold]
    fn drop(&mut self) {
        match registry::find(self.pool_id()) {
            // SAFETY: the token is the loan and ends here; `new` vouched that the frame is of this pool.
            Some(home) => unsafe { home.give_back(self.idx) },
            // No home: socket and contexts are gone. If the memory was its own it went with them; if it was lent, its
            // lender waits for the frame.
            None => registry::bequeath(self.pool_id(), [self.idx.0], None),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("idx", &self.idx.0)
            .field("len", &self.size())
            .field("pool", &self.pool_id())
            .finish()
    }
}
