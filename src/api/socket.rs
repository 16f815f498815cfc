//! The socket trait: everything a backend can do, with defaults for what it need not do itself.

use super::{Batch, Channel, Context, LinkInfo, Metadata, Mode, NethunsPopper, NethunsPusher, Payload, Stats, Token};
use crate::errors::{Error, Refused, Result};
use std::fmt::Debug;
use std::time::Duration;

/// Configuration of a backend. What its struct has no field for is an option of the port spec.
pub trait Flags: Clone + Debug {}

/// What [`Socket::wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// A packet to receive.
    Readable,
    /// Room in the transmit ring, or completed transmissions.
    Writable,
    /// Either.
    Both,
}

/// A port that packets come out of and go into.
///
/// A socket belongs to one thread at a time (`Send`, not `Sync`); tokens, contexts and channels cross threads.
///
/// Only the first six functions must be written by a backend; the others have defaults built from them. Packets are
/// Ethernet frames without their checksum (FCS), as raw bytes.
pub trait Socket: Send + Sized {
    /// Its handle on the pool of frames.
    type Context: Context;
    /// What it knows of a received packet.
    type Metadata: Metadata;
    /// Its configuration.
    type Flags: Flags;

    /// Opens a port: `name` or `scheme:name?option=value&…` (see [`PortSpec`](super::PortSpec)). `queue` chooses one
    /// queue of a multi-queue interface; `None` opens all of them behind this one handle.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way, with what would help: see [`Error`].
    fn create(portspec: &str, queue: Option<usize>, flags: Self::Flags) -> Result<Self>;

    /// The handle on the pool of frames. Clone it for other threads.
    fn context(&self) -> &Self::Context;

    /// Receives one packet as a token, which does not borrow the socket.
    ///
    /// # Errors
    ///
    /// [`Error::NoPacket`] if none is waiting, [`Error::EndOfFile`] at the end of a capture file.
    fn recv_token(&self) -> Result<(Token, Self::Metadata)>;

    /// Copies a packet into the transmission ring. It leaves with the next [`flush`](Self::flush) at the latest.
    ///
    /// # Errors
    ///
    /// [`Error::RingFull`] or [`Error::NoMemory`] if there is no room now, [`Error::TooBigPacket`].
    fn send(&self, packet: &[u8]) -> Result<()>;

    /// Sends what is queued, at once, and takes note of what has been completed.
    fn flush(&self);

    /// Receives one packet. Its frame goes home when the payload is dropped.
    ///
    /// # Errors
    ///
    /// As [`recv_token`](Self::recv_token).
    #[inline]
    fn recv(&self) -> Result<(Payload<'_, Self::Context>, Self::Metadata)> {
        let (token, meta) = self.recv_token()?;
        Ok((self.context().packet(token), meta))
    }

    /// Receives up to `max` packets and calls `f` with each, without storing them in between. Returns how many there
    /// were; 0 if none is waiting. `f` may send on this socket, but must not receive from it.
    ///
    /// # Errors
    ///
    /// As [`recv_token`](Self::recv_token), except that no packet is no error; an error after the first packet is
    /// reported by the next call.
    #[inline]
    fn recv_each(&self, max: usize, mut f: impl FnMut(Token, Self::Metadata)) -> Result<usize> {
        for n in 0..max {
            match self.recv_token() {
                Ok((token, meta)) => f(token, meta),
                Err(Error::NoPacket) => return Ok(n),
                Err(error) if n == 0 => return Err(error),
                Err(_) => return Ok(n),
            }
        }
        Ok(max)
    }

    /// Receives up to `max` packets and appends them to `out`, which allocates only if it must grow.
    ///
    /// # Errors
    ///
    /// As [`recv_each`](Self::recv_each).
    #[inline]
    fn recv_batch(&self, out: &mut Vec<(Token, Self::Metadata)>, max: usize) -> Result<usize> {
        self.recv_each(max, |token, meta| out.push((token, meta)))
    }

    /// Fills what is left of a channel's batch with received packets.
    ///
    /// # Errors
    ///
    /// As [`recv_each`](Self::recv_each).
    #[inline]
    fn recv_tokens<const N: usize>(&self, batch: &mut Batch<N>) -> Result<usize> {
        self.recv_each(batch.remaining_capacity(), |token, _| batch.push(token))
    }

    /// Copies packets into the transmission ring until one is refused. Returns how many were accepted.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), if the first one is refused.
    #[inline]
    fn send_batch<'a>(&self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        let mut n = 0;
        for packet in packets {
            match self.send(packet) {
                Ok(()) => n += 1,
                Err(error) if n == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(n)
    }

    /// A frame of this socket's pool for a packet of `len` bytes, to be filled in place and given to
    /// [`send_payload`](Self::send_payload). It holds whatever the frame held before.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if no frame is free, [`Error::TooBigPacket`], [`Error::Unsupported`] by a backend that
    /// cannot lend frames for sending.
    fn alloc(&self, len: usize) -> Result<Payload<'_, Self::Context>> {
        let _ = len;
        Err(Error::unsupported("allocating a frame", "this backend sends copies only: use `send`"))
    }

    /// Sends the packet of a token: without a copy if its frame is of this socket's pool, with one otherwise.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the token comes back with the error.
    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        match token.peek(|bytes| self.send(bytes)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Refused::new(error, token)),
            None => Err(Refused::new(Error::unsupported("sending a token", "its pool is gone"), token)),
        }
    }

    /// Sends a payload: without a copy if its frame is of this socket's pool, with one otherwise.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the payload comes back with the error.
    #[inline]
    fn send_payload<'ctx, C: Context>(
        &self,
        payload: Payload<'ctx, C>,
    ) -> std::result::Result<(), Refused<Payload<'ctx, C>>> {
        if payload.pool_id() == self.context().pool_id() {
            let ctx = payload.context();
            return self.send_token(payload.into_token()).map_err(|r| Refused::new(r.error, ctx.packet(r.packet)));
        }
        match self.send(&payload) {
            Ok(()) => Ok(()),
            Err(error) => Err(Refused::new(error, payload)),
        }
    }

    /// Sends the packet of a token and leaves its checksum to the device: the sum over everything from byte `start` to the
    /// end, put at `start + offset`, where the sum of the pseudo-header must stand already (as for the kernel's
    /// `CHECKSUM_PARTIAL`). For UDP over IPv4 without options: `start` 34, `offset` 6. The frame must come from
    /// [`alloc`](Self::alloc) of this socket. [`Mode::tx_checksum`] tells whether there is a device that does it.
    ///
    /// # Errors
    ///
    /// As [`send_token`](Self::send_token), and [`Error::Unsupported`]; the token comes back with the error.
    fn send_token_checksum(&self, token: Token, start: u16, offset: u16) -> std::result::Result<(), Refused<Token>> {
        let _ = (start, offset);
        let help = "this port has no device that computes them, or was opened without `tx_checksum`";
        Err(Refused::new(Error::unsupported("checksum offload", help), token))
    }

    /// Sends tokens from the front of `tokens` until one is refused; those accepted are taken out, the others stay.
    /// Returns how many were accepted.
    ///
    /// # Errors
    ///
    /// As [`send_token`](Self::send_token), if the first one is refused.
    fn send_tokens(&self, tokens: &mut Vec<Token>) -> Result<usize> {
        // Taken from the back so that every step is one move; what is left is put right at the end.
        tokens.reverse();
        let mut n = 0;
        let outcome = loop {
            let Some(token) = tokens.pop() else { break Ok(n) };
            match self.send_token(token) {
                Ok(()) => n += 1,
                Err(Refused { error, packet }) => {
                    tokens.push(packet);
                    break if n == 0 { Err(error) } else { Ok(n) };
                }
            }
        };
        tokens.reverse();
        outcome
    }

    /// Waits until a packet can be received or sent, at most `timeout` (`None`: for ever). Returns false when the time
    /// is over; true may be spurious.
    ///
    /// # Errors
    ///
    /// Of the system call behind it.
    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        // Nothing is known about this backend's readiness: a short sleep and a spurious "maybe".
        const NAP: Duration = Duration::from_micros(100);
        let _ = interest;
        match timeout {
            Some(timeout) if timeout <= NAP => {
                std::thread::sleep(timeout);
                Ok(false)
            }
            _ => {
                std::thread::sleep(NAP);
                Ok(true)
            }
        }
    }

    /// Flushes and waits until everything accepted has been completed, at most `timeout`. Returns whether it has.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    fn drain(&self, timeout: Duration) -> Result<bool> {
        let start = std::time::Instant::now();
        loop {
            self.flush();
            if self.stats().tx_pending() == 0 {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(left.min(Duration::from_micros(50)));
        }
    }

    /// Opens a further port on the pool of this socket, so that packets are forwarded between the two without a copy.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create); [`Error::Unsupported`] where pools cannot be shared.
    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: Self::Flags) -> Result<Self> {
        let _ = (queue, flags);
        Err(Error::unsupported(
            format!("sharing a pool with {portspec}"),
            "open it with `create`: packets are then copied between the two",
        ))
    }

    /// Opens a port together with a channel for its packets: the pusher goes to the thread that receives, poppers to
    /// those that process. See [`Channel`].
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    fn create_with_channel<const BATCH_SIZE: usize>(
        portspec: &str,
        queue: Option<usize>,
        flags: Self::Flags,
        channel: impl Into<Channel<BATCH_SIZE>>,
    ) -> Result<(Self, NethunsPusher<BATCH_SIZE>, NethunsPopper<Self::Context, BATCH_SIZE>)> {
        let socket = Self::create(portspec, queue, flags)?;
        let (pusher, popper) = channel.into().split(socket.context().clone());
        Ok((socket, pusher, popper))
    }

    /// Counters since creation.
    fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Facts about the link.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPort`] if the interface has gone.
    fn link(&self) -> Result<LinkInfo> {
        Ok(LinkInfo::default())
    }

    /// Frames of this socket's pool that are on loan to programs, as tokens or payloads; `None` if the backend does not
    /// count them. 0 once all have been dropped; exact while no other thread is moving frames.
    fn frames_in_flight(&self) -> Option<usize> {
        None
    }

    /// What was really obtained.
    fn mode(&self) -> Mode {
        Mode::default()
    }
}
