//! What the engine has to tell about sockets, and the names of sockets.

use std::fmt;

/// Where a socket lies and which of those that lay there it is: a handle that has outlived its socket is refused, not
/// mistaken for the socket that came after it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// As one number, for programs that keep handles in a word.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// From the number of [`to_bits`](Self::to_bits). Any number is safe: one that names no socket is refused on use.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.index, self.generation)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Key);

        impl From<Key> for $name {
            fn from(key: Key) -> Self {
                Self(key)
            }
        }
    };
}

id! {
    /// A TCP connection.
    TcpId
}
id! {
    /// A TCP listener.
    ListenerId
}
id! {
    /// A UDP socket.
    UdpId
}

/// What has happened to a socket since it was last reported; several at once are one event.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Readiness(u8);

impl Readiness {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The connection has been established.
    pub const CONNECTED: Self = Self(1);
    /// There is something to receive, the end of the peer's stream included.
    pub const READABLE: Self = Self(2);
    /// There is room to send again after a send was cut short.
    pub const WRITABLE: Self = Self(4);
    /// The peer has ended its stream; what it sent before can still be received.
    pub const PEER_CLOSED: Self = Self(8);
    /// The connection is over, for the reason that `tcp_error` tells; what was received before can still be taken.
    pub const CLOSED: Self = Self(16);

    /// Whether all of `other` is in it.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in it.
    #[inline]
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in it.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Without what is in `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl std::ops::BitOr for Readiness {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Readiness {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::CONNECTED, "connected"),
            (Self::READABLE, "readable"),
            (Self::WRITABLE, "writable"),
            (Self::PEER_CLOSED, "peer-closed"),
            (Self::CLOSED, "closed"),
        ];
        let mut rest = names.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| *name);
        f.write_str(rest.next().unwrap_or("none"))?;
        rest.try_for_each(|name| write!(f, "+{name}"))
    }
}

/// One thing to tell. Each socket is told of once, however much has happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connections wait to be accepted.
    Accept(ListenerId),
    /// Of a connection.
    Tcp(TcpId, Readiness),
    /// Of a UDP socket.
    Udp(UdpId, Readiness),
}
