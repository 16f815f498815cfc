//! The contract between a pool of frames and the types that lend them.
#![allow(unsafe_code)]

use super::{BufferDesc, Payload, Token};

/// A handle on a pool of frames: gives access to lent frames and takes them back.
///
/// The context inside a socket recycles into a free list of that socket; a clone of it may live on any thread, keeps
/// the pool's memory alive and sends frames home through a queue that never fills up.
///
/// # Safety
///
/// [`Payload`] trusts an implementation to keep these promises:
///
/// * [`pool_id`](Self::pool_id) is an id of [`pool::register`](crate::pool::register) and never changes; clones share it.
/// * [`unsafe_buffer`](Self::unsafe_buffer) returns, for a descriptor on loan and a size within its capacity, memory
///   that is initialised, inside the pool, disjoint from every other frame on loan, and that stays where it is for as
///   long as any context of the pool lives.
/// * [`capacity`](Self::capacity) never exceeds what `unsafe_buffer` can serve.
pub unsafe trait Context: Sized + Clone + Send + 'static {
    /// The pool's id. Unique in the process and never used again.
    fn pool_id(&self) -> u32;

    /// The memory of a frame, `size` bytes from where its packet begins.
    ///
    /// # Safety
    ///
    /// `buf_idx` is on loan from this pool to the caller, `size` is within its [`capacity`](Self::capacity), and no
    /// reference into the frame conflicts with the use the caller makes of the pointer.
    unsafe fn unsafe_buffer(&self, buf_idx: BufferDesc, size: usize) -> *mut [u8];

    /// Takes a frame back. Called when a [`Payload`] is dropped. Never fails, never waits.
    ///
    /// # Safety
    ///
    /// `buf_idx` is on loan from this pool to the caller, who gives it up.
    unsafe fn release(&self, buf_idx: BufferDesc);

    /// How many bytes the frame holds from where its packet begins; 0 if packets of this pool cannot grow.
    fn capacity(&self, buf_idx: BufferDesc) -> usize {
        let _ = buf_idx;
        0
    }

    /// Whether the token is of this pool.
    #[inline(always)]
    fn check_token(&self, token: &Token) -> bool {
        token.pool_id() == self.pool_id()
    }

    /// Turns a token into a payload that can be read and written.
    ///
    /// # Panics
    ///
    /// If the token is of another pool. It is not lost: its frame goes home as the panic unwinds.
    #[inline(always)]
    fn packet<'ctx>(&'ctx self, token: Token) -> Payload<'ctx, Self> {
        Payload::new(token, self)
    }
}
