//! The traits and types that every backend shares.
//!
//! ```text
//!              recv ┌─────────┐ drop: home, hot path
//!   ┌────────┐ ────▶│ Payload │──────────────────────▶ free frames
//!   │ Socket │      └─▲─────┬─┘                            ▲
//!   └────────┘ consume│     │into_token                    │
//!       │           ┌─┴─────▼─┐ drop: home, cold path      │
//!       └──────────▶│  Token  │────────────────────────────┘
//!        recv_token └────┬────┘
//!                        │ crosses threads, channels; `send_token` hands it to a transmit ring
//! ```
//!
//! A frame has one owner at any time and the type says who: a free list or a ring of the engine, a [`Token`] (on loan,
//! away from its context), or a [`Payload`] (on loan, readable and writable). Neither can be copied or forged by safe
//! code, both go home when dropped.

mod buffer;
mod channel;
mod context;
pub(crate) mod link;
mod metadata;
mod mode;
mod payload;
mod socket;
mod spec;
mod stats;
mod token;

pub use buffer::{BufferDesc, BufferRef};
pub use channel::{Batch, BatchReceiver, BatchSender, Channel, NethunsPopper, NethunsPusher, TryPopError};
pub use context::Context;
pub use link::{LinkInfo, Offloads};
pub use metadata::{Metadata, MetadataType, PacketInfo};
pub use mode::{Attach, Mode};
pub use payload::Payload;
pub use socket::{Flags, Interest, Socket};
pub use spec::{Options, PortSpec, SCHEMES};
pub use stats::{RxDrops, Stats, TxDrops};
pub use token::Token;

pub use crate::errors::{Error, Refused, Result};
