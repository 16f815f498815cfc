//! The TCP/IP engine, sans-IO: frames and the time come in, frames and deadlines go out.
//!
//! It knows no socket, no clock and no thread; one engine serves one queue and belongs to one thread.
#![forbid(unsafe_code)]
#![allow(dead_code)] // until the parts are put together

mod blocks;
mod buffers;
mod chunk;
pub mod config;
mod error;
mod event;
mod ip;
mod limit;
mod prf;
#[cfg(test)]
mod random;
mod sink;
mod slab;
mod stats;
mod tcp;
mod time;

pub use chunk::{Chunk, Opened};
pub use config::Config;
pub use error::SocketError;
pub use event::{Event, Key, ListenerId, Readiness, TcpId, UdpId};
pub use sink::{Full, Sink};
pub use stats::{IpStats, MemoryStats, Stats, TcpStats, UdpStats};
pub use tcp::options::{ConnectOptions, KeepAlive, ListenOptions, SocketOptions, State, TcpInfo};
pub use time::Instant;
