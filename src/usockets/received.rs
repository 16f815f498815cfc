//! Received bytes with room around them.
//!
//! They lie where the network or TLS has put them, and are copied only if somebody wants more room there than there is.

use crate::net::Opened;
use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};

/// A loop's memory for bytes that have to be copied; taken while it is in use.
pub(super) type Scratch = Cell<Vec<u8>>;

/// Received bytes, as [`on_received`](super::SocketContext::on_received) gets them. Derefs to `[u8]`; the bytes may be changed.
pub struct Received<'a> {
    bytes: Bytes<'a>,
    scratch: &'a Scratch,
}

enum Bytes<'a> {
    /// Where the network has put them.
    Net(Opened<'a>),
    /// Decrypted.
    Plain(&'a mut [u8]),
    Copied(Copied<'a>),
}

/// Bytes in the loop's scratch memory, which goes back when they are dropped.
struct Copied<'a> {
    memory: Vec<u8>,
    at: Range<usize>,
    scratch: &'a Scratch,
}

impl Drop for Copied<'_> {
    fn drop(&mut self) {
        self.scratch.set(std::mem::take(&mut self.memory));
    }
}

impl<'a> Received<'a> {
    #[inline]
    pub(super) fn new(opened: Opened<'a>, scratch: &'a Scratch) -> Self {
        Self { bytes: Bytes::Net(opened), scratch }
    }

    #[inline]
    pub(super) fn plain(bytes: &'a mut [u8], scratch: &'a Scratch) -> Self {
        Self { bytes: Bytes::Plain(bytes), scratch }
    }

    /// The bytes with so many writable bytes before and after them, and where they lie in that slice. What the padding
    /// holds at first is undefined. Parsers put their end marks there.
    ///
    /// Up to 32 bytes on both sides cost nothing: only the few packets in whose memory there is no such room are copied,
    /// and what TLS has decrypted is.
    pub fn with_padding(&mut self, before: u8, after: u8) -> (&mut [u8], Range<usize>) {
        let (before, after) = (usize::from(before), usize::from(after));
        let has_room = match &mut self.bytes {
            Bytes::Net(opened) => opened.with_padding(before, after).is_some(),
            Bytes::Plain(_) => before == 0 && after == 0,
            Bytes::Copied(copied) => copied.at.start >= before && copied.memory.len() - copied.at.end >= after,
        };
        if !has_room {
            self.copy(before, after);
        }
        match &mut self.bytes {
            Bytes::Net(opened) => opened.with_padding(before, after).unwrap_or_default(),
            Bytes::Plain(bytes) => {
                let len = bytes.len();
                (bytes, 0..len)
            }
            Bytes::Copied(Copied { memory, at, .. }) => {
                (&mut memory[at.start - before..at.end + after], before..before + at.len())
            }
        }
    }

    #[cold]
    fn copy(&mut self, before: usize, after: usize) {
        let mut memory = self.scratch.take();
        let len = self.len();
        memory.clear();
        memory.reserve(before + len + after);
        memory.resize(before, 0);
        memory.extend_from_slice(self);
        memory.resize(before + len + after, 0);
        self.bytes = Bytes::Copied(Copied { memory, at: before..before + len, scratch: self.scratch });
    }
}

impl Deref for Received<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Net(opened) => opened,
            Bytes::Plain(bytes) => bytes,
            Bytes::Copied(copied) => &copied.memory[copied.at.clone()],
        }
    }
}

impl DerefMut for Received<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Net(opened) => opened,
            Bytes::Plain(bytes) => bytes,
            Bytes::Copied(copied) => &mut copied.memory[copied.at.clone()],
        }
    }
}

impl fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Received, Scratch};

    #[test]
    fn there_is_always_room_and_the_bytes_stay() {
        let scratch = Scratch::default();
        let mut plain = *b"hello";
        let mut received = Received::plain(&mut plain, &scratch);
        assert_eq!(received.with_padding(0, 0), (&mut b"hello".to_owned()[..], 0..5));
        for (before, after) in [(32, 32), (3, 4), (255, 255), (0, 1)] {
            let (all, at) = received.with_padding(before, after);
            assert_eq!(all.len(), usize::from(before) + 5 + usize::from(after));
            assert_eq!((at.start, at.end), (usize::from(before), usize::from(before) + 5));
            assert_eq!(all[at.clone()], *b"hello");
            all[..at.start].fill(b'<');
            all[at.end..].fill(b'>');
            assert_eq!(*received, *b"hello");
        }
        received[0] = b'J';
        assert_eq!(received.with_padding(1, 1).0[1..6], *b"Jello");
        drop(received);
        let memory = scratch.take();
        assert!(memory.capacity() >= 515, "the memory is used again");
    }
}
