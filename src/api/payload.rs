//! A frame on loan that can be read and written.
#![allow(unsafe_code)]

use super::{Context, Token};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// The bytes of one packet. Derefs to `[u8]`; its frame goes home when it is dropped (the hot path: no atomic, no
/// look-up where the context is the socket's own).
///
/// It borrows the context, so it cannot outlive it:
///
/// ```compile_fail
/// use nethuns_rs::{api::Socket, mem};
/// let packet = {
///     let socket = mem::Sock::create("mem:x", None, mem::MemFlags::default()).unwrap();
///     socket.recv().unwrap().0
/// };
/// ```
///
/// Use [`into_token`](Self::into_token) for what should travel further.
#[repr(C)]
pub struct Payload<'ctx, Ctx: Context> {
    token: ManuallyDrop<Token>,
    ctx: &'ctx Ctx,
}

impl<'ctx, Ctx: Context> Payload<'ctx, Ctx> {
    #[inline(always)]
    pub(super) fn new(token: Token, ctx: &'ctx Ctx) -> Self {
        if token.pool_id() != ctx.pool_id() {
            foreign(token, ctx.pool_id());
        }
        Self { token: ManuallyDrop::new(token), ctx }
    }

    /// Ends the borrow and keeps the frame.
    #[inline(always)]
    pub fn into_token(self) -> Token {
        let mut me = ManuallyDrop::new(self);
        // SAFETY: `me` is never dropped or used again, so the token is moved out exactly once.
        unsafe { ManuallyDrop::take(&mut me.token) }
    }

    /// The context it borrows.
    #[inline]
    #[must_use]
    pub fn context(&self) -> &'ctx Ctx {
        self.ctx
    }

    /// The id of the pool its frame belongs to.
    #[inline]
    #[must_use]
    pub fn pool_id(&self) -> u32 {
        self.token.pool_id()
    }

    /// How many bytes the packet can grow to in its frame.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ctx.capacity(self.token.buffer_desc()).max(self.len())
    }

    /// Cuts the packet to `len` bytes; does nothing if it is no longer than that.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.token.set_len(len as u32);
        }
    }

    /// Makes the packet `len` bytes long. Bytes that it gains hold whatever the frame held before.
    ///
    /// # Errors
    ///
    /// [`Error::TooBigPacket`](super::Error::TooBigPacket) beyond [`capacity`](Self::capacity).
    #[inline]
    pub fn resize(&mut self, len: usize) -> super::Result<()> {
        if len > self.capacity() {
            return Err(super::Error::TooBigPacket(len));
        }
        self.token.set_len(len as u32);
        Ok(())
    }

    #[inline(always)]
    fn bytes(&self) -> *mut [u8] {
        // SAFETY: the token is the loan; `new` checked the pool, `Token::new` and `resize` vouch for the length.
        unsafe { self.ctx.unsafe_buffer(self.token.buffer_desc(), self.token.size() as usize) }
    }
}

#[cold]
#[inline(never)]
fn foreign(token: Token, pool: u32) -> ! {
    panic!("token of pool {} given to pool {pool}", token.pool_id())
}

impl<Ctx: Context> Deref for Payload<'_, Ctx> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the memory lives as long as the context, which 'ctx borrows, and the loan makes it ours alone.
        unsafe { &*self.bytes() }
    }
}

impl<Ctx: Context> DerefMut for Payload<'_, Ctx> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` excludes every other reference into the frame.
        unsafe { &mut *self.bytes() }
    }
}

impl<Ctx: Context> AsRef<[u8]> for Payload<'_, Ctx> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<Ctx: Context> Drop for Payload<'_, Ctx> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the loan ends here: nobody can reach the token any more. `new` checked the pool.
        unsafe { self.ctx.release(self.token.buffer_desc()) }
    }
}

impl<Ctx: Context> fmt::Debug for Payload<'_, Ctx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("token", &*self.token).finish_non_exhaustive()
    }
}
