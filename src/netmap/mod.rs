//! netmap: cards, the host's rings, VALE switches and pipes, in memory shared with the kernel.
//!
//! ```text
//!            Sock                          memory (mmap)                       kernel, card, switch, other end
//!   recv_each ◀── token ◀── swap ◀── rx ring | slots | ── rxsync ◀── packets arrive in the slots' buffers
//!        │                    ▲
//!        ▼                    │ spare
//!      pool of extra buffers ─┤
//!        ▲                    │ old
//!        │                    ▼
//!   send_token ─── token ──▶ swap ──▶ tx ring | slots | ── txsync ──▶ packets leave from the slots' buffers
//! ```
//!
//! | who has a buffer | when |
//! |---|---|
//! | a slot of a ring | from registration on, one each; before `head` the kernel may use it, from `head` up to `tail` we may |
//! | the pool | the port's extra buffers ([`NetmapFlags::extra_buf`]) |
//! | a program, as token or payload | a received packet's buffer, exchanged for a spare one, or one from `alloc` |
//!
//! Buffers are exchanged one for one, so that the pool always has as many as it was given. Sockets that share a pool
//! ([`create_sharing`](crate::api::Socket::create_sharing)) exchange buffers between their rings without a copy. When
//! the last socket and context of a pool are gone and the last token is dropped, its buffers go back to the kernel and
//! the port is closed.
//!
//! # Without a kernel module
//!
//! `netmap:p{1?emulated`, or `NETHUNS_NETMAP=emulated` in the environment, opens the port in this process: pipes, VALE
//! switches and a few cards with the same memory layout and the same rules. [`mode`](crate::api::Socket::mode) tells.
//!
//! Facts and limits: `docs/netmap.md`.

mod buffers;
mod device;
mod emulation;
mod error;
mod kernel;
mod layout;
mod port;
#[doc(hidden)]
pub mod raw;
mod ring;
mod rx;
mod sock;
mod sys;
#[cfg(test)]
mod tests;
mod tx;

pub use error::Error;
pub use sock::Sock;

use crate::api::{Flags, Metadata, MetadataType};

/// Configuration of a netmap port. Everything else is an option of the port spec: `emulated`, `extra_buf`, `rings`,
/// `slots`, `mem_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetmapFlags {
    /// Buffers of the pool, beyond those in the rings: so many packets can be held or prepared at the same time.
    pub extra_buf: u32,
}

impl Default for NetmapFlags {
    fn default() -> Self {
        Self { extra_buf: 1024 }
    }
}

impl Flags for NetmapFlags {}

/// A point in time, in seconds and microseconds since the Unix epoch, as in C's `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeVal {
    /// Seconds.
    pub tv_sec: i64,
    /// Microseconds, below one million.
    pub tv_usec: i64,
}

impl From<libc::timeval> for TimeVal {
    #[expect(clippy::useless_conversion, reason = "the fields are narrower on some systems")]
    fn from(time: libc::timeval) -> Self {
        Self { tv_sec: time.tv_sec.into(), tv_usec: time.tv_usec.into() }
    }
}

/// What netmap tells of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// When the kernel was last asked for packets before this one was received: one time for all packets of a sync.
    pub timestamp: TimeVal,
    /// The ring it came from.
    pub queue: u32,
}

impl Metadata for Meta {
    fn into_enum(self) -> MetadataType {
        MetadataType::Netmap(self)
    }

    fn timestamp_ns(&self) -> Option<u64> {
        let TimeVal { tv_sec, tv_usec } = self.timestamp;
        let ns =
            u64::try_from(tv_sec).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(tv_usec).ok()? * 1000)?;
        (ns > 0).then_some(ns)
    }

    fn queue(&self) -> u32 {
        self.queue
    }
}
