//! TCP (RFC 9293).

pub mod options;
mod seq;
mod table;
mod wheel;
