//! One context type over two kinds of frames: those of a [`pool`](crate::pool), and mbufs.
//!
//! Only with feature `dpdk`: without it every backend's context is a [`PoolContext`], and so is [`Context`].
//!
//! `Socket::context` hands out a reference, so an [`any::Sock`](super::Sock) needs a context of the common type to refer
//! to, and it must be *the* context of the backend's socket, the one with the stack of free frames, not a clone. So the
//! backend's socket lives on the heap, where it does not move, and beside it a context that points into it.
#![allow(unsafe_code)]

use super::sock::Port;
use crate::api::{BufferDesc, Context as ContextTrait};
use crate::dpdk;
use crate::pool::PoolContext;
use std::fmt;
use std::ptr::NonNull;

/// The context of an [`any::Sock`](super::Sock).
pub struct Context(Kind);

enum Kind {
    Pool(PoolContext),
    Dpdk(dpdk::Context),
    /// That of a backend's socket; such a one never leaves the [`Held`] that made it.
    SocketPool(NonNull<PoolContext>),
    SocketDpdk(NonNull<dpdk::Context>),
}

// SAFETY: contexts may be sent. A pointer goes only with the `Held` that owns what it points to.
unsafe impl Send for Context {}

/// Does the same with whichever context it is.
macro_rules! each {
    ($me:expr, $ctx:ident => $what:expr) => {
        match &$me.0 {
            Kind::Pool($ctx) => $what,
            Kind::Dpdk($ctx) => $what,
            Kind::SocketPool(pointer) => {
                // SAFETY: whoever has a reference to this context has one to its `Held`, whose socket is alive, does not
                // move, and is referred to by shared references only.
                let $ctx = unsafe { pointer.as_ref() };
                $what
            }
            Kind::SocketDpdk(pointer) => {
                // SAFETY: as above.
                let $ctx = unsafe { pointer.as_ref() };
                $what
            }
        }
    };
}

impl Clone for Context {
    fn clone(&self) -> Self {
        each!(self, ctx => Self::from(ctx.clone()))
    }
}

impl From<PoolContext> for Context {
    fn from(ctx: PoolContext) -> Self {
        Self(Kind::Pool(ctx))
    }
}

impl From<dpdk::Context> for Context {
    fn from(ctx: dpdk::Context) -> Self {
        Self(Kind::Dpdk(ctx))
    }
}

/// A context of a backend, to be pointed to.
pub(super) trait Point {
    fn point(&self) -> Context;
}

impl Point for PoolContext {
    fn point(&self) -> Context {
        Context(Kind::SocketPool(self.into()))
    }
}

impl Point for dpdk::Context {
    fn point(&self) -> Context {
        Context(Kind::SocketDpdk(self.into()))
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, ctx => ctx.fmt(f))
    }
}

// SAFETY: every promise is kept by the context behind it, and it stays the same one.
unsafe impl ContextTrait for Context {
    #[inline]
    fn pool_id(&self) -> u32 {
        each!(self, ctx => ctx.pool_id())
    }

    #[inline]
    unsafe fn unsafe_buffer(&self, buf_idx: BufferDesc, size: usize) -> *mut [u8] {
        // SAFETY: as the caller vouches.
        each!(self, ctx => unsafe { ctx.unsafe_buffer(buf_idx, size) })
    }

    #[inline]
    unsafe fn release(&self, buf_idx: BufferDesc) {
        // SAFETY: as the caller vouches.
        each!(self, ctx => unsafe { ctx.release(buf_idx) })
    }

    #[inline]
    fn capacity(&self, buf_idx: BufferDesc) -> usize {
        each!(self, ctx => ctx.capacity(buf_idx))
    }
}

/// A backend's socket, and the context that points into it.
pub(super) struct Held {
    /// From a `Box`; a pointer, because moving a `Box` would claim the socket for itself.
    port: NonNull<Port>,
    ctx: Context,
}

// SAFETY: the port may be sent, and is owned alone.
unsafe impl Send for Held {}

impl Held {
    pub(super) fn new(port: Port) -> Self {
        let port = NonNull::from(Box::leak(Box::new(port)));
        // SAFETY: just made; the reference ends with the statement.
        let ctx = unsafe { port.as_ref() }.point();
        Self { port, ctx }
    }

    #[inline]
    pub(super) fn port(&self) -> &Port {
        // SAFETY: alive until we are dropped, and never referred to by `&mut` before.
        unsafe { self.port.as_ref() }
    }

    #[inline]
    pub(super) fn context(&self) -> &Context {
        &self.ctx
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: leaked in `new` and freed here only; `ctx`, which points into it, is not used any more, and dropping
        // it does nothing.
        drop(unsafe { Box::from_raw(self.port.as_ptr()) });
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port().fmt(f)
    }
}
