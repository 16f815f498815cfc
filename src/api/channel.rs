//! Batches of tokens from the thread that receives to those that process.
//!
//! The channel itself is `flume`'s or any other pair that implements [`BatchSender`] and [`BatchReceiver`].

use super::{Context, Payload, Token};
use arrayvec::ArrayVec;
use std::fmt;
use std::time::Duration;

/// Up to `N` tokens that cross a channel as one message.
pub type Batch<const N: usize> = ArrayVec<Token, N>;

/// The sending end of a channel of batches. A batch that cannot be sent must come back.
pub trait BatchSender<const N: usize>: Send {
    /// Sends a batch, waiting for room.
    ///
    /// # Errors
    ///
    /// The batch itself, once every receiver is gone.
    fn send(&self, batch: Batch<N>) -> Result<(), Batch<N>>;

    /// Sends a batch if there is room now.
    ///
    /// # Errors
    ///
    /// The batch itself, if there is no room or no receiver.
    fn try_send(&self, batch: Batch<N>) -> Result<(), Batch<N>>;

    /// Another handle on the same end.
    fn clone_box(&self) -> Box<dyn BatchSender<N>>;
}

/// The receiving end of a channel of batches.
pub trait BatchReceiver<const N: usize>: Send {
    /// The next batch, waiting for it; `None` once every sender is gone and the channel is drained.
    fn recv(&self) -> Option<Batch<N>>;

    /// The next batch, waiting at most `timeout`; zero does not wait.
    ///
    /// # Errors
    ///
    /// [`TryPopError`] if there was none.
    fn recv_timeout(&self, timeout: Duration) -> Result<Batch<N>, TryPopError>;

    /// Another handle on the same end: a batch goes to one of them.
    fn clone_box(&self) -> Box<dyn BatchReceiver<N>>;
}

/// Why there is no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryPopError {
    /// None within the time given.
    Empty,
    /// None any more: every pusher is gone and the channel is drained.
    Disconnected,
}

impl From<flume::TryRecvError> for TryPopError {
    fn from(error: flume::TryRecvError) -> Self {
        match error {
            flume::TryRecvError::Empty => TryPopError::Empty,
            flume::TryRecvError::Disconnected => TryPopError::Disconnected,
        }
    }
}

impl From<flume::RecvTimeoutError> for TryPopError {
    fn from(error: flume::RecvTimeoutError) -> Self {
        match error {
            flume::RecvTimeoutError::Timeout => TryPopError::Empty,
            flume::RecvTimeoutError::Disconnected => TryPopError::Disconnected,
        }
    }
}

impl fmt::Display for TryPopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPopError::Empty => "no batch is waiting",
            TryPopError::Disconnected => "every pusher is gone",
        })
    }
}

impl std::error::Error for TryPopError {}

/// Both ends of a channel of batches, made from the pair of `flume::bounded`, or of any other channel.
///
/// ```
/// use nethuns_rs::{api::Socket, mem::{MemFlags, Sock}};
/// # fn main() -> nethuns_rs::Result<()> {
/// let (socket, pusher, popper) = Sock::create_with_channel::<32>("mem:channel-doc", None, MemFlags::default(), flume::bounded(1024))?;
/// # drop((socket, pusher, popper));
/// # Ok(())
/// # }
/// ```
pub struct Channel<const N: usize> {
    tx: Tx<N>,
    rx: Rx<N>,
}

/// A sending end. `flume` by name: its code is then compiled into the pusher, and a batch (half a kilobyte) is not moved
/// once more on its way through a virtual call.
enum Tx<const N: usize> {
    Flume(flume::Sender<Batch<N>>),
    Other(Box<dyn BatchSender<N>>),
}

/// A receiving end; as above.
enum Rx<const N: usize> {
    Flume(flume::Receiver<Batch<N>>),
    Other(Box<dyn BatchReceiver<N>>),
}

impl<const N: usize> Clone for Tx<N> {
    fn clone(&self) -> Self {
        match self {
            Tx::Flume(tx) => Tx::Flume(tx.clone()),
            Tx::Other(tx) => Tx::Other(tx.clone_box()),
        }
    }
}

impl<const N: usize> Clone for Rx<N> {
    fn clone(&self) -> Self {
        match self {
            Rx::Flume(rx) => Rx::Flume(rx.clone()),
            Rx::Other(rx) => Rx::Other(rx.clone_box()),
        }
    }
}

impl<const N: usize> Channel<N> {
    /// A channel from its two ends.
    pub fn new(tx: impl BatchSender<N> + 'static, rx: impl BatchReceiver<N> + 'static) -> Self {
        Self { tx: Tx::Other(Box::new(tx)), rx: Rx::Other(Box::new(rx)) }
    }

    /// The two ends as a pusher and a popper of packets of `ctx`'s pool.
    pub fn split<Ctx: Context>(self, ctx: Ctx) -> (NethunsPusher<N>, NethunsPopper<Ctx, N>) {
        (NethunsPusher { tx: self.tx }, NethunsPopper { rx: self.rx, ctx })
    }
}

impl<const N: usize> fmt::Debug for Channel<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("batch", &N).finish_non_exhaustive()
    }
}

impl<const N: usize> From<(flume::Sender<Batch<N>>, flume::Receiver<Batch<N>>)> for Channel<N> {
    fn from((tx, rx): (flume::Sender<Batch<N>>, flume::Receiver<Batch<N>>)) -> Self {
        Self { tx: Tx::Flume(tx), rx: Rx::Flume(rx) }
    }
}

impl<const N: usize> BatchSender<N> for flume::Sender<Batch<N>> {
    #[inline]
    fn send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        flume::Sender::send(self, batch).map_err(|e| e.0)
    }
    #[inline]
    fn try_send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        flume::Sender::try_send(self, batch).map_err(flume::TrySendError::into_inner)
    }
    fn clone_box(&self) -> Box<dyn BatchSender<N>> {
        Box::new(self.clone())
    }
}

impl<const N: usize> BatchReceiver<N> for flume::Receiver<Batch<N>> {
    #[inline]
    fn recv(&self) -> Option<Batch<N>> {
        flume::Receiver::recv(self).ok()
    }
    #[inline]
    fn recv_timeout(&self, timeout: Duration) -> Result<Batch<N>, TryPopError> {
        if timeout.is_zero() {
            return Ok(self.try_recv()?);
        }
        Ok(flume::Receiver::recv_timeout(self, timeout)?)
    }
    fn clone_box(&self) -> Box<dyn BatchReceiver<N>> {
        Box::new(self.clone())
    }
}

/// The end that the receiving thread pushes batches into.
pub struct NethunsPusher<const N: usize> {
    tx: Tx<N>,
}

impl<const N: usize> NethunsPusher<N> {
    /// Pushes a batch, waiting for room.
    ///
    /// # Errors
    ///
    /// The batch itself comes back once every popper is gone.
    #[inline]
    pub fn push(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        match &self.tx {
            Tx::Flume(tx) => match tx.send(batch) {
                Ok(()) => Ok(()),
                Err(error) => Err(error.0),
            },
            Tx::Other(tx) => tx.send(batch),
        }
    }

    /// Pushes a batch if there is room now.
    ///
    /// # Errors
    ///
    /// The batch itself comes back if there is no room, or no popper.
    #[inline]
    pub fn try_push(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        match &self.tx {
            Tx::Flume(tx) => BatchSender::try_send(tx, batch),
            Tx::Other(tx) => tx.try_send(batch),
        }
    }
}

impl<const N: usize> Clone for NethunsPusher<N> {
    fn clone(&self) -> Self {
        Self { tx: self.tx.clone() }
    }
}

impl<const N: usize> fmt::Debug for NethunsPusher<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NethunsPusher").field("batch", &N).finish_non_exhaustive()
    }
}

/// The end that processing threads pop batches from. Clone it for several consumers: each batch goes to one.
pub struct NethunsPopper<Ctx: Context, const N: usize> {
    rx: Rx<N>,
    ctx: Ctx,
}

impl<Ctx: Context, const N: usize> NethunsPopper<Ctx, N> {
    /// The packets of the next batch, waiting for it; `None` once every pusher is gone and the channel is drained.
    ///
    /// Packets left in the iterator go home when it is dropped.
    ///
    /// # Panics
    ///
    /// The iterator panics on a token of another pool.
    #[inline]
    pub fn pop(&self) -> Option<impl Iterator<Item = Payload<'_, Ctx>>> {
        let batch = match &self.rx {
            Rx::Flume(rx) => match rx.recv() {
                Ok(batch) => batch,
                Err(flume::RecvError::Disconnected) => return None,
            },
            Rx::Other(rx) => rx.recv()?,
        };
        Some(batch.into_iter().map(|token| self.ctx.packet(token)))
    }

    /// The packets of the next batch if there is one within `timeout`; zero does not wait.
    ///
    /// # Errors
    ///
    /// [`TryPopError`] if there was none.
    #[inline]
    #[expect(clippy::question_mark, reason = "`?` would move the batch, half a kilobyte, once more")]
    pub fn pop_timeout(&self, timeout: Duration) -> Result<impl Iterator<Item = Payload<'_, Ctx>>, TryPopError> {
        let batch = match &self.rx {
            Rx::Flume(rx) if timeout.is_zero() => match rx.try_recv() {
                Ok(batch) => batch,
                Err(error) => return Err(error.into()),
            },
            Rx::Flume(rx) => match rx.recv_timeout(timeout) {
                Ok(batch) => batch,
                Err(error) => return Err(error.into()),
            },
            Rx::Other(rx) => rx.recv_timeout(timeout)?,
        };
        Ok(batch.into_iter().map(|token| self.ctx.packet(token)))
    }

    /// The tokens of the next batch, for consumers that hand them on; as [`pop`](Self::pop) otherwise.
    #[inline]
    pub fn pop_tokens(&self) -> Option<Batch<N>> {
        match &self.rx {
            Rx::Flume(rx) => rx.recv().ok(),
            Rx::Other(rx) => rx.recv(),
        }
    }

    /// The context that turns tokens into payloads.
    pub fn context(&self) -> &Ctx {
        &self.ctx
    }
}

impl<Ctx: Context, const N: usize> Clone for NethunsPopper<Ctx, N> {
    fn clone(&self) -> Self {
        Self { rx: self.rx.clone(), ctx: self.ctx.clone() }
    }
}

impl<Ctx: Context, const N: usize> fmt::Debug for NethunsPopper<Ctx, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NethunsPopper").field("batch", &N).finish_non_exhaustive()
    }
}
