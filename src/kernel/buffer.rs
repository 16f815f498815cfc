//! Memory that received bytes lie in, used again and again.
//!
//! ```text
//!   Buffers ──take──▶ Buffer (recv writes it) ──▶ the program ──open──▶ Opened ──drop──▶ Buffers
//! ```
//!
//! A buffer belongs to whoever holds it, so a network can be used while its bytes are looked at. In the steady state one
//! buffer goes round and nothing is allocated. One that is dropped unopened is freed, and made anew when it is needed.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Most bytes that one receive from a connection takes.
pub const STREAM: usize = 512 << 10;

/// Room for the largest datagram.
pub(super) const DATAGRAM: usize = 64 << 10;

/// Bytes before and after the received ones that may be written too: parsers put their end marks there.
pub const PADDING: usize = 32;

/// Buffers for streams that are kept for the next receive; a program holds one at a time, unless it collects them.
const KEPT_STREAMS: usize = 4;

/// Those for datagrams, which come in batches.
const KEPT_DATAGRAMS: usize = 1024;

/// Received bytes, owned.
pub struct Buffer {
    /// Padding, room, padding.
    memory: Box<[u8]>,
    len: usize,
}

impl Buffer {
    fn new(room: usize) -> Self {
        // Zeroed by the system as far as it is used: what is never received is never touched.
        Self { memory: vec![0; room + 2 * PADDING].into_boxed_slice(), len: 0 }
    }

    /// Where to receive into: all the room there is.
    #[inline]
    pub(super) fn room(&mut self) -> &mut [u8] {
        let end = self.memory.len() - PADDING;
        &mut self.memory[PADDING..end]
    }

    /// How much was received.
    #[inline]
    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.memory.len() - 2 * PADDING);
    }

    /// The received bytes with [`PADDING`] writable bytes on either side.
    #[inline]
    pub fn padded(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len + 2 * PADDING]
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[PADDING..PADDING + self.len]
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[PADDING..PADDING + self.len]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

/// Buffers that wait for their next use. What was used last, and is in the cache, is used first.
#[derive(Debug, Default)]
pub struct Buffers {
    streams: RefCell<Vec<Buffer>>,
    datagrams: RefCell<Vec<Buffer>>,
}

impl Buffers {
    #[inline]
    pub(super) fn stream(&self) -> Buffer {
        self.streams.borrow_mut().pop().unwrap_or_else(|| Buffer::new(STREAM))
    }

    #[inline]
    pub(super) fn datagram(&self) -> Buffer {
        self.datagrams.borrow_mut().pop().unwrap_or_else(|| Buffer::new(DATAGRAM))
    }

    /// Keeps a buffer for its next use, or frees it if there are enough.
    #[inline]
    pub(super) fn give_back(&self, buffer: Buffer) {
        let (kept, most) = if buffer.memory.len() < STREAM {
            (&self.datagrams, KEPT_DATAGRAMS)
        } else {
            (&self.streams, KEPT_STREAMS)
        };
        let mut kept = kept.borrow_mut();
        if kept.len() < most {
            kept.push(buffer);
        }
    }

    /// Lets the bytes be read and written; the buffer comes back here when that is over.
    #[inline]
    pub fn open(&self, buffer: Buffer) -> Opened<'_> {
        Opened { buffer: Some(buffer), home: self }
    }
}

/// Received bytes, open. Derefs to `[u8]`; its buffer is used again once this is dropped.
#[derive(Debug)]
pub struct Opened<'a> {
    /// `None` while it is dropped only.
    buffer: Option<Buffer>,
    home: &'a Buffers,
}

impl Opened<'_> {
    /// The received bytes with [`PADDING`] writable bytes on either side.
    #[inline]
    pub fn padded(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], Buffer::padded)
    }
}

impl Deref for Opened<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or(&[])
    }
}

impl DerefMut for Opened<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or(&mut [])
    }
}

impl Drop for Opened<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.home.give_back(buffer);
        }
    }
}
