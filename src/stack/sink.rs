//! Where frames go that the engine wants sent.

/// Takes frames that are to be sent.
///
/// The engine writes each frame where the sink says, once: into a frame that the backend lent, where there is one.
pub trait Sink {
    /// Lends `len` bytes for one Ethernet frame, calls `fill` to write all of them, and sends the frame. What the bytes
    /// held before is undefined but initialised.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is no room now; `fill` is not called then.
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full>;
}

/// No room for a frame now: the engine keeps what it wanted to send and asks again with the next
/// [`egress`](super::Stack::egress).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<S: Sink> Sink for &mut S {
    #[inline(always)]
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        (**self).emit(len, fill)
    }
}
