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
    tx: Box<dyn BatchSender<N>>,
    rx: Box<dyn BatchReceiver<N>>,
}

impl<const N: usize> Channel<N> {
    /// A channel from its two ends.
    pub fn new(tx: impl BatchSender<N> + 'static, rx: impl BatchReceiver<N> + 'static) -> Self {
        Self { tx: Box::new(tx), rx: Box::new(rx) }
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
        Self::new(tx, rx)
    }
}

impl<const N: usize> BatchSender<N> for flume::Sender<Batch<N>> {
    fn send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        flume::Sender::send(self, batch).map_err(|e| e.0)
    }
    fn try_send(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        flume::Sender::try_send(self, batch).map_err(flume::TrySendError::into_inner)
    }
    fn clone_box(&self) -> Box<dyn BatchSender<N>> {
        Box::new(self.clone())
    }
}

impl<const N: usize> BatchReceiver<N> for flume::Receiver<Batch<N>> {
    fn recv(&self) -> Option<Batch<N>> {
        flume::Receiver::recv(self).ok()
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<Batch<N>, TryPopError> {
        if timeout.is_zero() {
            return self.try_recv().map_err(|e| match e {
                flume::TryRecvError::Empty => TryPopError::Empty,
                flume::TryRecvError::Disconnected => TryPopError::Disconnected,
            });
        }
        flume::Receiver::recv_timeout(self, timeout).map_err(|e| match e {
            flume::RecvTimeoutError::Timeout => TryPopError::Empty,
            flume::RecvTimeoutError::Disconnected => TryPopError::Disconnected,
        })
    }
    fn clone_box(&self) -> Box<dyn BatchReceiver<N>> {
        Box::new(self.clone())
    }
}

/// The end that the receiving thread pushes batches into.
pub struct NethunsPusher<const N: usize> {
    tx: Box<dyn BatchSender<N>>,
}

impl<const N: usize> NethunsPusher<N> {
    /// Pushes a batch, waiting for room.
    ///
    /// # Errors
    ///
    /// The batch itself comes back once every popper is gone.
    pub fn push(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        self.tx.send(batch)
    }

    /// Pushes a batch if there is room now.
    ///
    /// # Errors
    ///
    /// The batch itself comes back if there is no room, or no popper.
    pub fn try_push(&self, batch: Batch<N>) -> Result<(), Batch<N>> {
        self.tx.try_send(batch)
    }
}

impl<const N: usize> Clone for NethunsPusher<N> {
    fn clone(&self) -> Self {
        Self { tx: self.tx.clone_box() }
    }
}

impl<const N: usize> fmt::Debug for NethunsPusher<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NethunsPusher").field("batch", &N).finish_non_exhaustive()
    }
}

/// The end that processing threads pop batches from. Clone it for several consumers: each batch goes to one.
pub struct NethunsPopper<Ctx: Context, const N: usize> {
    rx: Box<dyn BatchReceiver<N>>,
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
    pub fn pop(&self) -> Option<impl Iterator<Item = Payload<'_, Ctx>>> {
        let batch = self.rx.recv()?;
        Some(batch.into_iter().map(|token| self.ctx.packet(token)))
    }

    /// The packets of the next batch if there is one within `timeout`; zero does not wait.
    ///
    /// # Errors
    ///
    /// [`TryPopError`] if there was none.
    pub fn pop_timeout(&self, timeout: Duration) -> Result<impl Iterator<Item = Payload<'_, Ctx>>, TryPopError> {
        let batch = self.rx.recv_timeout(timeout)?;
        Ok(batch.into_iter().map(|token| self.ctx.packet(token)))
    }

    /// The tokens of the next batch, for consumers that hand them on; as [`pop`](Self::pop) otherwise.
    pub fn pop_tokens(&self) -> Option<Batch<N>> {
        self.rx.recv()
    }

    /// The context that turns tokens into payloads.
    pub fn context(&self) -> &Ctx {
        &self.ctx
    }
}

impl<Ctx: Context, const N: usize> Clone for NethunsPopper<Ctx, N> {
    fn clone(&self) -> Self {
        Self { rx: self.rx.clone_box(), ctx: self.ctx.clone() }
    }
}

impl<Ctx: Context, const N: usize> fmt::Debug for NethunsPopper<Ctx, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NethunsPopper").field("batch", &N).finish_non_exhaustive()
    }
}
