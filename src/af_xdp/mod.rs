//! AF_XDP sockets: packets from the driver to the program and back through rings in shared memory, on an unmodified
//! Linux.
//!
//! ```text
//!                 interface                           UMEM: a pool of frames, shared by all queues and,
//!        ┌──────────────────────────┐                 if wished, by sockets on other interfaces
//!        │ XDP program: which packets├─ the rest ──▶ kernel
//!        └────┬───────────────┬─────┘
//!          queue 0         queue 1  …                 free ──▶ fill ring ──▶ kernel ──▶ rx ring ──▶ token
//!        ┌────┴─────┐    ┌────┴─────┐                  ▲                                              │
//!        │ Queue    │    │ Queue    │                  └── completion ring ◀── kernel ◀── tx ring ◀───┘
//!        └────┬─────┘    └────┬─────┘
//!             └─── Sock ──────┘   one handle, one thread at a time
//! ```
//!
//! | file | what it is for |
//! |---|---|
//! | `config`, `options`, `plan` | what was asked for: flags, builder, port spec; what is refused at once |
//! | `open`, `explain` | opening step by step; what a refusal of the kernel means |
//! | `sock`, `rx`, `tx` | the socket; receiving; sending |
//! | `queue`, `ring`, `mmap` | one kernel socket; its rings; their memory |
//! | `umem`, `ledger` | the frames and who gets how many; which of them the kernel has |
//! | `sys` | the system calls |
//! | [`program`] | the XDP program: written, loaded, attached, shared |
//!
//! A frame belongs to a free list of the [`pool`](crate::pool), to the kernel (noted in the ledger, frame by frame), to
//! a token or to a payload. It becomes a token only if the ledger says that the kernel had it.
//!
//! What it needs, its options and its errors: `docs/af_xdp.md`.

mod config;
mod explain;
mod ledger;
mod meta;
mod mmap;
mod open;
mod options;
mod plan;
pub mod program;
mod queue;
mod ring;
mod rx;
mod sock;
mod sys;
mod tx;
mod umem;

pub use config::{
    AfXdpFlags, Config, Queues, TxChecksum, Wish, XDP_COPY, XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, XDP_FLAGS_SKB_MODE,
    XDP_FLAGS_UPDATE_IF_NOEXIST, XDP_SHARED_UMEM, XDP_USE_NEED_WAKEUP, XDP_USE_SG, XDP_ZEROCOPY,
};
pub use meta::Meta;
pub use program::{AttachWish, Capabilities, Program, Source, Steering, XdpInfo, capabilities, inspect};
pub use sock::Sock;
