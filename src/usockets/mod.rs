//! Loops, sockets and timers with callbacks, in the manner of uSockets, over [`net`](crate::net).
//!
//! A loop belongs to one thread and owns everything that lives on it: sockets, listeners, timers, user data. What a
//! program holds are names of them. Other threads reach a loop through its handle only.
//!
//! # What happens when
//!
//! One iteration: its number goes up · `on_pre` · the network is waited for · what was deferred · timers · handshakes that waited ·
//! events · sockets that were resumed · timeouts · closed sockets are freed · `on_post`.
//!
//! | what happens | what is called |
//! |---|---|
//! | a connection is accepted | `on_pre_open(peer)`, and unless that refuses `on_open(socket, false, ip)`; `ip` has 4 or 16 bytes |
//! | it comes over a path ([`SocketContext::listen_unix`]) | the same without an address: `ip` is empty |
//! | it is handed on ([`SocketContext::on_pre_open_fd`]), or comes from elsewhere ([`SocketContext::adopt_fd`]) | nothing here; `on_open` before `adopt_fd` returns |
//! | a connection that we opened stands | `on_open(socket, true, [])`; with TLS before the handshake |
//! | it cannot be opened: no such host, refused, unreachable | `on_connect_error(socket, errno)` from the loop, never from within `connect`; then the socket is gone without `on_close`. The host's other addresses were tried before |
//! | bytes come | `on_data`, straight from the frame they came in; 512 KiB at most from one socket, then the others |
//! | a write is cut short | once there is room, `on_writable`, once |
//! | the peer ends its stream | `on_end`; our side goes on until it is closed, or shut down: then the loop calls `on_close(0)`. If it was shut down before: `on_close(0)` instead. With TLS always `on_close(0)` |
//! | the peer resets, or does not answer any more | `on_data` for what came before, then `on_close(socket, 0, Some(reason))` |
//! | `close(code)` | `on_close(socket, code, None)`, before `close` returns. What was written is still delivered |
//! | the time of `set_timeout` is over | `on_timeout`, once: in sweeps of four seconds, up to one sweep early; 956 s at most. `set_long_timeout`: minutes, 239 at most |
//! | a callback closes, connects, adopts, sets callbacks | allowed everywhere. Calls nest, but a callback that is running is not entered again: what is closed within `on_close` is told when that returns |
//! | `defer` from any thread | run in the next iteration. What was deferred before `run` keeps it from returning at once |
//! | a descriptor of the program's own is readable, writable, broken ([`LoopMut::create_poll`]) | its callback, in every iteration as long as it is so |
//! | nothing is left: no socket, listener, timer, watched descriptor | `run` returns |
//!
//! `tests/usockets` checks these one by one, on both networks.

#![forbid(unsafe_code)]
// Without TLS nobody asks for server names, nor lends plaintext.
#![cfg_attr(not(feature = "tls"), allow(dead_code))]

mod callback;
mod context;
mod core;
mod error;
mod event_loop;
mod ext;
mod metrics;
mod options;
mod poll;
mod queue;
mod received;
mod resolve;
mod socket;
mod sweep;
mod timer;
mod timers;
#[cfg(feature = "tls")]
mod tls;
mod typed;
#[cfg(feature = "usockets-udp")]
mod udp;

pub use crate::net::{Readiness, SocketError};
pub use context::{LISTEN_EXCLUSIVE_PORT, ListenSocket, PreOpen, ServerNames, SocketContext};
pub use error::UsError;
pub use event_loop::{Loop, LoopCallback, LoopHandle, LoopMut};
pub use metrics::{Histogram, Metrics};
pub use options::SocketContextOptions;
pub use poll::Poll;
pub use received::Received;
pub use socket::Socket;
pub use timer::Timer;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use tls::TlsError;
#[cfg(feature = "usockets-udp")]
#[cfg_attr(docsrs, doc(cfg(feature = "usockets-udp")))]
pub use udp::{UdpDataCallback, UdpDrainCallback, UdpPacketBuffer, UdpSocket};

/// Why there is no TLS.
#[cfg(not(feature = "tls"))]
const NO_TLS: &str = "this program was built without TLS: enable the feature `tls` of nethuns-rs";
