//! Loops, sockets and timers with callbacks, in the manner of uSockets, over [`net`](crate::net).
//!
//! A loop belongs to one thread and owns everything that lives on it: sockets, listeners, timers, user data. What a
//! program holds are names of them. Other threads reach a loop through its handle only.

#![forbid(unsafe_code)]
#![allow(dead_code)]

mod callback;
mod context;
mod core;
mod error;
mod event_loop;
mod ext;
mod metrics;
mod options;
mod queue;
mod resolve;
mod socket;
mod sweep;
mod timer;
mod timers;
#[cfg(feature = "tls")]
mod tls;
mod typed;

pub use crate::net::SocketError;
pub use context::{LISTEN_EXCLUSIVE_PORT, ListenSocket, ServerNames, SocketContext};
pub use error::UsError;
pub use event_loop::{Loop, LoopCallback, LoopHandle, LoopMut};
pub use metrics::{Histogram, Metrics};
pub use options::SocketContextOptions;
pub use socket::Socket;
pub use timer::Timer;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use tls::TlsError;

/// Why there is no TLS.
#[cfg(not(feature = "tls"))]
const NO_TLS: &str = "this program was built without TLS: enable the feature `tls` of nethuns-rs";
