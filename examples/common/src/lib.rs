//! What the tools in `examples/` share.
//!
//! | module | what it is |
//! |---|---|
//! | [`args`] | values as people type them; errors of one line |
//! | [`frame`], [`stamp`] | frames to generate, and what is written into them |
//! | [`pacer`] | when the next packet is due |
//! | [`sequence`], [`latency`] | what the stamps of received packets tell |
//! | [`port`] | opening ports |
//! | [`generate`], [`meter`], [`forward`] | the loops of the tools, generic over `Socket` |
//! | [`account`] | the closing table: every packet accounted for |
//! | [`output`], [`report`] | text and JSON lines |
//! | [`stop`], [`failure`] | how a run ends |
//!
//! Each tool is a `main.rs` that reads its arguments and calls one of the loops. The loops know no command line and no
//! process: `examples/demo` runs all three in threads on wires in memory.

pub mod account;
pub mod args;
pub mod failure;
pub mod forward;
pub mod frame;
pub mod generate;
pub mod latency;
pub mod meter;
pub mod output;
pub mod pacer;
pub mod port;
pub mod report;
pub mod sequence;
pub mod stamp;
pub mod stop;

pub use failure::Failure;
pub use output::{Output, OutputArgs, Record};
pub use pacer::Rate;
pub use stop::Stop;
