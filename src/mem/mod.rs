//! An in-memory wire: any number of sockets in one process, no privileges.
//!
//! ```text
//!   Sock a ──send──▶ [ inbox of b ] ──recv──▶ Sock b        all sockets of a wire share one pool:
//!     ▲                                        │            a frame sent by one is received by the
//!     └──recv── [ inbox of a ] ◀──send─────────┘            other without a copy
//! ```
//!
//! `mem:name` joins the wire of that name. What one socket sends every other socket of the wire receives, as on a hub;
//! with more than two, the others get copies. A queue that is full drops, as a wire does, and counts it at the receiver
//! (or refuses: option `full=refuse`). Packets are visible to a polling receiver at once and wake a waiting one at the
//! sender's `flush`.
//!
//! Options of the port spec: `frames`, `frame_size` (bytes), `queue` (packets), `full=drop|refuse`, `timestamps`.
//!
//! [`faults`] wraps any socket with seeded loss, duplication, reordering, corruption, delay and rate. Both run on real
//! or simulated time: see [`Clock`].

mod bell;
mod clock;
pub mod faults;
mod ring;
mod sock;
mod wire;

pub use clock::{Clock, SimClock};
pub use sock::{MemFlags, Meta, Sock, WhenFull};
