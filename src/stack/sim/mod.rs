//! The engine among peers that are not there, in time that does not pass: what proves it.
//!
//! `script` holds one engine against a text that says which segments come and which must go (`tests/tcp_scripts/`).
//!
//! Everything here follows from a seed or a text: no clock, no thread, no socket. Frames are read and written by
//! `frame`, which shares no line with the engine's own `wire`, so that an error there is seen here.

mod frame;
mod host;
mod rng;
mod script;
