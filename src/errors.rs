//! One error type for every backend: a variant per thing that a caller can do about it.
//!
//! [`Error::NoPacket`] is the only "nothing yet" of receiving, [`Error::RingFull`] and [`Error::NoMemory`]
//! the only "not now" of sending; everything else names what was asked, what was found and what would help.

use std::fmt;
use std::io;

/// What went wrong, and what would help.
#[derive(thiserror::Error, Debug)]
#[non_exhaustive]
pub enum Error {
    /// No packet is waiting. Try again, or [`wait`](crate::api::Socket::wait).
    #[error("Can't receive packet")]
    NoPacket,

    /// No free frame in the pool: drop payloads and tokens that are held, or flush and let transmissions complete.
    #[error("Can't allocate memory")]
    NoMemory,

    /// The transmit ring is full: flush, and try again once the engine has taken what is queued.
    #[error("transmit ring full: flush and try again")]
    RingFull,

    /// The capture file behind this port has no more packets.
    #[error("end of capture file")]
    EndOfFile,

    /// The packet, of that many bytes, does not fit a frame of this port.
    #[error("Too big packet: {0}")]
    TooBigPacket(usize),

    /// An error of the operating system, without more to say about it.
    #[error("{0}")]
    Generic(#[from] io::Error),

    /// An error of libpcap.
    #[cfg(feature = "pcap")]
    #[error("{0}")]
    Pcap(#[from] ::pcap::Error),

    /// An error of netmap.
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    #[error("{0}")]
    Netmap(#[from] crate::netmap::Error),

    /// The port spec cannot be read.
    #[error("port spec `{spec}`: {problem}")]
    PortSpec {
        /// The spec as it was given.
        spec: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },

    /// An option, flag or argument has a value outside its range.
    #[error("{option}={value}: expected {expected}")]
    BadOption {
        /// The option's name as the user spells it.
        option: &'static str,
        /// The value found.
        value: String,
        /// The legal range.
        expected: String,
    },

    /// The port (interface, file, queue) does not exist.
    #[error("{port}: {problem}")]
    NoSuchPort {
        /// Its name.
        port: String,
        /// What was looked for and what there is instead.
        problem: String,
    },

    /// The process may not do this.
    #[error("{what}: not permitted; {help}")]
    Permission {
        /// What was tried.
        what: String,
        /// Which capability is missing, and what to type.
        help: String,
    },

    /// Somebody else holds the resource.
    #[error("{what} is busy: {help}")]
    Busy {
        /// The resource.
        what: String,
        /// Who holds it, if that can be told, and what to type.
        help: String,
    },

    /// This port, backend, kernel or driver cannot do what was asked for.
    #[error("{what} is not supported: {help}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why not, and what would help.
        help: String,
    },

    /// A system call of a set-up step failed for a reason none of the above names.
    #[error("{what}: {source}{}", Help(.help))]
    System {
        /// The step.
        what: String,
        /// What would help, or empty.
        help: String,
        /// The system's own word.
        source: io::Error,
    },

    /// Something that should not happen.
    #[error("unknown error")]
    Unknown,
}

/// `; help`, or nothing.
struct Help<'a>(&'a str);

impl fmt::Display for Help<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; {}", self.0) }
    }
}

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same call may succeed later without anything being changed: nothing to receive, or no room to send.
    #[inline]
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::NoPacket | Error::NoMemory | Error::RingFull)
    }

    /// An [`Error::Unsupported`].
    pub(crate) fn unsupported(what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Unsupported { what: what.into(), help: help.into() }
    }
}

/// A packet that was refused, given back to the caller together with the reason.
#[derive(Debug)]
pub struct Refused<T> {
    /// Why it was refused.
    pub error: Error,
    /// What was refused; still the caller's.
    pub packet: T,
}

impl<T> Refused<T> {
    /// Pairs a packet with the reason of its refusal.
    pub fn new(error: Error, packet: T) -> Self {
        Self { error, packet }
    }
}

/// Drops the packet (its frame goes home) and keeps the reason, so that `?` works.
impl<T> From<Refused<T>> for Error {
    fn from(refused: Refused<T>) -> Self {
        refused.error
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T: fmt::Debug> std::error::Error for Refused<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
