//! TCP (RFC 9293).

mod seq;
