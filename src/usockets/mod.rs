//! Loops, sockets and timers with callbacks, in the manner of uSockets, over [`net`](crate::net).
//!
//! A loop belongs to one thread and owns everything that lives on it: sockets, listeners, timers, user data. What a
//! program holds are names of them. Other threads reach a loop through its handle only.

#![forbid(unsafe_code)]
#![allow(dead_code)]

mod error;
mod metrics;
mod queue;
mod resolve;
mod sweep;
mod timers;

pub use error::UsError;
