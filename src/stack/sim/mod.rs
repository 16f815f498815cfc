//! The engine among peers that are not there, in time that does not pass: what proves it.
//!
//! | file | concern |
//! |---|---|
//! | `script` | one engine against a text that says which segments come and which must go (`tests/tcp_scripts/`) |
//! | `link`, `net` | a wire with rate, queue, delay and faults; two nodes at its ends, and the time |
//! | `traffic`, `bulk` | programs on an engine: one that checks every byte, one that only measures |
//! | `scenario`, `tests` | everything at once, from a seed |
//! | `goodput` | what congestion control and loss recovery are worth |
//! | `peer`, `interop` | smoltcp at the other end |
//!
//! Everything here follows from a seed or a text: no clock, no thread, no socket. Frames are read and written by
//! `frame`, which shares no line with the engine's own `wire`, so that an error there is seen here.

mod bulk;
mod frame;
mod goodput;
mod host;
mod interop;
mod link;
mod net;
mod peer;
mod rng;
mod scenario;
mod script;
mod tests;
mod traffic;
