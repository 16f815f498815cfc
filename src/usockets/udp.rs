//! UDP sockets: packets in batches of up to 1024, each with its peer, the address it was sent to and its ECN bits.
//!
//! The loop owns a UDP socket; a [`UdpSocket`] is its name. A [`UdpPacketBuffer`] belongs to the program, except that the
//! memory of the one given to [`UdpSocket::create`] becomes the socket's, to receive into: callbacks see it.

mod buffer;

pub use buffer::UdpPacketBuffer;

use super::callback::Callback;
use super::core::{Core, UdpHandler};
use super::{Loop, LoopMut, UsError};
use crate::net::{Datagram, Readiness, SocketError, UdpId, UdpPacket};
use arrayvec::ArrayVec;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::{Rc, Weak};

/// Datagrams that pass through at once: as many as one system call takes, few enough to stay in the cache.
const AT_ONCE: usize = 64;

/// Most packets that are received before other sockets have their turn. Fewer in tests, as queues of networks are seldom
/// long enough for more.
const MOST: usize = if cfg!(test) { 100 } else { UdpPacketBuffer::PACKETS };

/// Called with received packets: the socket, the buffer that they lie in, and how many there are (1 to 1024).
pub type UdpDataCallback = Box<dyn FnMut(&mut UdpSocket, &mut UdpPacketBuffer, usize)>;

/// Called when there is room again after fewer packets were sent than asked for.
pub type UdpDrainCallback = Box<dyn FnMut(&mut UdpSocket)>;

type OnData = dyn FnMut(&mut UdpSocket, &mut UdpPacketBuffer, usize);

/// A UDP socket, by its name. It keeps its loop running until it is [closed](Self::close); dropping a `UdpSocket` changes
/// nothing.
///
/// ```
/// use nethuns_rs::usockets::{Loop, UdpPacketBuffer, UdpSocket};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let loop_ = Loop::new()?;
/// let mut buffer = UdpPacketBuffer::new()?;
/// let echo = UdpSocket::create(
///     &loop_,
///     &mut buffer,
///     Some("127.0.0.1"),
///     0,
///     Some(Box::new(|socket, buffer, packets| {
///         // As they are, each back to its peer.
///         socket.send(buffer, packets).expect("the network takes packets");
///     })),
///     None,
/// )?;
/// # let to = echo.local_addr().ok_or("closed")?;
/// # let answered = move |client: &mut UdpSocket, buffer: &mut UdpPacketBuffer, packets: usize| {
/// #     assert_eq!((packets, buffer.payload(0), buffer.peer(0)), (1, &b"hello"[..], Some(to)));
/// #     client.close();
/// #     echo.close();
/// # };
/// # let client =
/// #     UdpSocket::create(&loop_, &mut UdpPacketBuffer::new()?, Some("127.0.0.1"), 0, Some(Box::new(answered)), None)?;
/// # buffer.set_packet_payload(0, 0, b"hello", to)?;
/// # client.send(&mut buffer, 1)?;
/// loop_.run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct UdpSocket {
    shared: Rc<Shared>,
}

struct Shared {
    core: Rc<Core>,
    /// `None` once it is closed, or its loop has ended.
    id: Cell<Option<UdpId>>,
    /// What is received into for `on_data`.
    buffer: RefCell<UdpPacketBuffer>,
    on_data: Option<Callback<OnData>>,
    on_drain: Callback<dyn FnMut(&mut UdpSocket)>,
    /// Packets were not taken for want of room.
    wants_room: Cell<bool>,
    /// Packets between network and buffer; empty between two calls.
    packets: RefCell<Vec<UdpPacket>>,
    /// Itself, for the callbacks.
    me: Weak<Shared>,
}

impl UdpSocket {
    /// Opens a socket at an address of this machine (`host` as a literal or a name; `None` is every address) and a port (0:
    /// any free one). Other sockets may have a chosen port too, each peer's packets go to one of them (`SO_REUSEPORT`).
    ///
    /// `on_data` is called with what is received, which lies in memory taken from `buffer`; what remains in `buffer` is a
    /// buffer for sending, and gets new memory when it is used. Without `on_data`, `buffer` stays as it is, and the program
    /// [receives](Self::receive) when it wants to. `on_drain` is called when there is room again after a short
    /// [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`InvalidHostString`](UsError::InvalidHostString); [`NetworkOperation`](UsError::NetworkOperation) if the network
    /// refuses; [`LoopNotRunning`](UsError::LoopNotRunning), [`AllocationFailed`](UsError::AllocationFailed).
    pub fn create<T>(
        loop_: &Loop<T>,
        buffer: &mut UdpPacketBuffer,
        host: Option<&str>,
        port: u16,
        on_data: Option<UdpDataCallback>,
        on_drain: Option<UdpDrainCallback>,
    ) -> Result<Self, UsError> {
        Self::create_in(loop_.as_mut(), buffer, host, port, on_data, on_drain)
    }

    /// The same from within a callback of the loop.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_in<T>(
        loop_: LoopMut<'_, T>,
        buffer: &mut UdpPacketBuffer,
        host: Option<&str>,
        port: u16,
        on_data: Option<UdpDataCallback>,
        on_drain: Option<UdpDrainCallback>,
    ) -> Result<Self, UsError> {
        let core = loop_.core();
        buffer.ensure()?;
        let shared = Rc::new_cyclic(|me| Shared {
            core: core.clone(),
            id: Cell::new(None),
            buffer: RefCell::new(UdpPacketBuffer::empty()),
            on_data: on_data.map(|callback| {
                let place = Callback::new();
                place.set(Some(callback));
                place
            }),
            on_drain: Callback::new(),
            wants_room: Cell::new(false),
            packets: RefCell::default(),
            me: me.clone(),
        });
        shared.on_drain.set(on_drain);
        shared.id.set(Some(core.open_udp(host.unwrap_or(""), port, shared.clone())?));
        if shared.on_data.is_some() {
            shared.buffer.replace(buffer.take());
        }
        Ok(Self { shared })
    }

    /// Gives the socket another address and port, as in [`create`](Self::create); empty is every address. Packets that wait to
    /// be received at the old one are lost.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and [`SocketExtNull`](UsError::SocketExtNull) if it is closed. It keeps its address then.
    pub fn bind(&self, host: &str, port: u16) -> Result<(), UsError> {
        let Shared { core, id, wants_room, .. } = &*self.shared;
        self.id()?;
        let result = core.rebind_udp(id, host, port);
        // The new one has room, and nothing will tell so.
        if wants_room.get() {
            core.udp_later(self.id()?, Readiness::WRITABLE);
        }
        result
    }

    /// Sends the first `packets` packets of a buffer (1024 at most), each to its peer, from its local address if it has one,
    /// and with its ECN bits. Returns how many the network has taken: fewer than asked for if it has no room (then `on_drain`
    /// tells when it has), or if one is refused (then sending [from that one on](Self::send_range) tells why).
    ///
    /// # Errors
    ///
    /// [`NetworkOperation`](UsError::NetworkOperation) if the first packet is refused: it has no peer or one of the wrong kind
    /// of address, is too long (65507 bytes at most), its peer cannot be reached, its local address is none of this machine's.
    /// [`SocketExtNull`](UsError::SocketExtNull) if the socket is closed.
    pub fn send(&self, buffer: &mut UdpPacketBuffer, packets: usize) -> Result<usize, UsError> {
        self.send_range(buffer, 0..packets)
    }

    /// The same of any packets of a buffer: to go on after a short count.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_range(&self, buffer: &mut UdpPacketBuffer, packets: Range<usize>) -> Result<usize, UsError> {
        let id = self.id()?;
        let end = packets.end.min(UdpPacketBuffer::PACKETS);
        let mut next = packets.start;
        while next < end {
            let some: ArrayVec<Datagram<'_>, AT_ONCE> =
                (next..end).take(AT_ONCE).map(|index| buffer.datagram(index)).collect();
            match self.shared.core.with_net(|net| net.udp_send_batch(id, &some))? {
                Ok(sent) if sent > 0 => next += sent,
                Ok(_) | Err(SocketError::WouldBlock) => {
                    self.shared.wants_room.set(true);
                    break;
                }
                Err(_) if next > packets.start => break,
                Err(error) => return Err(refused(buffer, next, error)),
            }
        }
        let sent = next.saturating_sub(packets.start);
        self.shared.core.count(|metrics| metrics.datagrams_out += sent as u64);
        Ok(sent)
    }

    /// Receives up to 1024 packets into a buffer and returns how many there were, 0 if none waits. For sockets without
    /// `on_data`; one that has it receives by itself.
    ///
    /// # Errors
    ///
    /// [`SocketExtNull`](UsError::SocketExtNull) if the socket is closed; [`NetworkOperation`](UsError::NetworkOperation),
    /// [`AllocationFailed`](UsError::AllocationFailed).
    pub fn receive(&self, buffer: &mut UdpPacketBuffer) -> Result<usize, UsError> {
        let id = self.id()?;
        match self.shared.receive(id, buffer)? {
            (0, Some(error)) => {
                Err(UsError::NetworkOperation { operation: format!("cannot receive packets: {error}") })
            }
            (packets, _) => Ok(packets),
        }
    }

    /// The port; -1 if it is closed.
    #[must_use]
    pub fn bound_port(&self) -> i32 {
        self.local_addr().map_or(-1, |local| i32::from(local.port()))
    }

    /// Address and port, unless it is closed.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        let id = self.shared.id.get()?;
        self.shared.core.with_net(|net| net.udp_local_addr(id).ok()).ok().flatten()
    }

    /// Closes the socket. No callback is called any more, and packets that wait to be received are lost.
    pub fn close(&self) {
        if let Some(id) = self.shared.id.take() {
            self.shared.core.close_udp(id);
            self.shared.forget();
        }
    }

    /// Whether it is closed, or its loop has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.id.get().is_none()
    }

    fn id(&self) -> Result<UdpId, UsError> {
        self.shared.id.get().ok_or(UsError::SocketExtNull)
    }
}

#[cold]
fn refused(buffer: &UdpPacketBuffer, index: usize, error: SocketError) -> UsError {
    let to = buffer.peer(index).map_or("nobody".to_owned(), |peer| peer.to_string());
    let length = buffer.payload_length(index);
    UsError::NetworkOperation { operation: format!("cannot send packet {index} ({length} bytes to {to}): {error}") }
}

impl Shared {
    /// Receives as many packets as there are, up to a buffer full. An error is what came after them.
    fn receive(&self, id: UdpId, buffer: &mut UdpPacketBuffer) -> Result<(usize, Option<SocketError>), UsError> {
        let mut packets = self.packets.take();
        let (mut count, mut error) = (0, None);
        buffer.ensure()?;
        while count < MOST {
            let most = AT_ONCE.min(MOST - count);
            let got = match self.core.with_net(|net| net.udp_recv_batch(id, &mut packets, most))? {
                Ok(got) => got,
                Err(SocketError::WouldBlock) => break,
                Err(other) => {
                    error = Some(other);
                    break;
                }
            };
            for packet in packets.drain(..) {
                buffer.put(count, self.core.reader(), packet);
                count += 1;
            }
            if got < most {
                break;
            }
        }
        self.packets.replace(packets);
        self.core.count(|metrics| metrics.datagrams_in += count as u64);
        Ok((count, error))
    }
}

impl UdpHandler for Shared {
    fn ready(&self, core: &Core, what: Readiness) {
        let Some(shared) = self.me.upgrade() else { return };
        let mut socket = UdpSocket { shared };
        if what.contains(Readiness::WRITABLE) && self.wants_room.replace(false) {
            core.count(|metrics| metrics.callbacks += 1);
            self.on_drain.call(|f| f(&mut socket));
        }
        let (Some(on_data), Some(id)) = (&self.on_data, self.id.get()) else { return };
        let Ok(mut buffer) = self.buffer.try_borrow_mut() else { return };
        if !what.contains(Readiness::READABLE) {
            return;
        }
        let Ok((packets, error)) = self.receive(id, &mut buffer) else { return };
        // There may be more, of which no event tells.
        if packets == MOST || error.is_some_and(|error| error != SocketError::Closed) {
            core.udp_later(id, Readiness::READABLE);
        }
        if packets > 0 {
            core.count(|metrics| metrics.callbacks += 1);
            on_data.call(|f| f(&mut socket, &mut buffer, packets));
        }
    }

    fn forget(&self) {
        self.id.set(None);
        if let Some(on_data) = &self.on_data {
            on_data.set(None);
        }
        self.on_drain.set(None);
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket").field("local", &self.local_addr()).finish()
    }
}

#[cfg(test)]
mod tests;
