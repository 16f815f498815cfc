//! Received bytes, whichever network brought them.

use crate::stack::{self, Chunk};
use crate::{any, host, kernel};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

/// Received bytes that nobody has looked at yet. [`Reader::open`] lets them be read and written.
#[derive(Debug)]
pub struct Data(pub(super) Bytes);

#[derive(Debug)]
pub(super) enum Bytes {
    Kernel(kernel::Buffer),
    Host(Chunk),
}

impl Data {
    /// How many bytes there are; never none of a connection's, perhaps none in a datagram.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Bytes::Kernel(buffer) => buffer.len(),
            Bytes::Host(chunk) => chunk.len(),
        }
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A datagram that was received.
#[derive(Debug)]
pub struct UdpPacket {
    /// Its bytes.
    pub data: Data,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address it was sent to.
    pub to: IpAddr,
    /// The ECN bits of its IP header (RFC 3168).
    pub ecn: u8,
}

impl From<kernel::Packet> for UdpPacket {
    fn from(packet: kernel::Packet) -> Self {
        let kernel::Packet { data, from, to, ecn } = packet;
        Self { data: Data(Bytes::Kernel(data)), from, to, ecn }
    }
}

impl From<stack::UdpPacket> for UdpPacket {
    fn from(packet: stack::UdpPacket) -> Self {
        let stack::UdpPacket { chunk, from, to, ecn } = packet;
        Self { data: Data(Bytes::Host(chunk)), from, to, ecn }
    }
}

/// Opens what its network has received. A handle of its own, so that the network can be used while bytes are looked at.
#[derive(Clone)]
pub struct Reader(pub(super) Home);

#[derive(Clone)]
pub(super) enum Home {
    Kernel(Rc<kernel::Buffers>),
    /// With what the side receives into.
    Host(host::Reader, Rc<kernel::Buffers>),
}

impl Reader {
    /// Lets the bytes be read and written. What they lie in is used again once the result is dropped.
    ///
    /// # Panics
    ///
    /// If the bytes were received by another network.
    #[inline]
    #[must_use]
    pub fn open(&self, data: Data) -> Opened<'_> {
        match (&self.0, data.0) {
            (Home::Kernel(buffers), Bytes::Kernel(buffer)) => Opened(Open::Kernel(buffers.open(buffer))),
            (Home::Host(reader, _), Bytes::Host(chunk)) => Opened(Open::Host(reader.open(chunk))),
            (Home::Host(_, side), Bytes::Kernel(buffer)) => Opened(Open::Kernel(side.open(buffer))),
            _ => foreign(),
        }
    }
}

#[cold]
fn foreign() -> ! {
    panic!("bytes of one network given to the reader of another")
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

/// Received bytes, open. Derefs to `[u8]`.
pub struct Opened<'a>(Open<'a>);

enum Open<'a> {
    Kernel(kernel::Opened<'a>),
    Host(stack::Opened<'a, any::Context>),
}

impl Opened<'_> {
    /// The bytes with at least `before` writable bytes in front of them and `after` behind them, and where they lie in that
    /// slice. `None` if there is no such room where they lie: up to 32 bytes on both sides there always is with the kernel,
    /// and nearly always with the engine. What the padding holds before is undefined.
    #[inline]
    pub fn with_padding(&mut self, before: usize, after: usize) -> Option<(&mut [u8], Range<usize>)> {
        match &mut self.0 {
            Open::Kernel(opened) => {
                let len = opened.len();
                let from = kernel::PADDING.checked_sub(before)?;
                let to = kernel::PADDING + len + after;
                Some((opened.padded().get_mut(from..to)?, before..before + len))
            }
            Open::Host(opened) => opened.with_padding(before, after),
        }
    }
}

impl Deref for Opened<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Open::Kernel(opened) => opened,
            Open::Host(opened) => opened,
        }
    }
}

impl DerefMut for Opened<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Open::Kernel(opened) => opened,
            Open::Host(opened) => opened,
        }
    }
}

impl AsRef<[u8]> for Opened<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} bytes)", self.len())
    }
}
