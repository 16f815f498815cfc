//! Names for frames. Neither owns one: that is what [`Token`](super::Token) and [`Payload`](super::Payload) are for.

/// Where a packet begins in the memory of its pool. What the number means is the pool's affair (for pools of this
/// crate: an offset in bytes).
///
/// Safe code cannot make one: it comes out of a [`Token`](super::Token), and every function that trusts one is
/// `unsafe`. A backend in another crate obtains its own through [`Token::new`](super::Token::new).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferDesc(pub(crate) usize);

impl BufferDesc {
    /// The number behind the descriptor.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// A reference to a frame for logs and look-up tables: comparable and hashable, good for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferRef(pub(crate) usize);

impl From<BufferDesc> for BufferRef {
    fn from(desc: BufferDesc) -> Self {
        Self(desc.0)
    }
}
