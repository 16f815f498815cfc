//! TCP (RFC 9293).

mod congestion;
mod cookie;
mod half_open;
pub(super) mod isn;
pub mod options;
mod queues;
mod recovery;
pub(crate) mod recv_queue;
pub(crate) mod send_buffer;
mod seq;
mod table;
mod time_wait;
pub(super) mod wheel;
