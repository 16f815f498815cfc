//! TLS 1.2 and 1.3 between a socket and its callbacks: bytes in, bytes out, no socket and no timer.
//!
//! A context owns its [`Settings`]: what was read from its files, and the names it serves (SNI). A socket owns a [`Session`],
//! which shares the settings. The core gives a session what the network brought ([`Session::step`]), takes from it what the
//! network is to carry ([`Session::outgoing`], [`Session::sent`]), and hands plaintext on.
//!
//! # Who owns bytes when
//!
//! Ciphertext belongs to the network; a session keeps a copy only of a record that has not come whole. Plaintext belongs to the
//! loop: it is given out in a buffer of the caller's, so that a callback can write to the very session from which its data
//! came. Ciphertext to be sent stays in the session until the network takes it. What a session keeps lies in a buffer that it
//! borrows from its settings and gives back empty, so a quiet connection holds none.
//!
//! # What rustls does, and what is done here
//!
//! rustls shakes hands, over its unbuffered connections: they work in the caller's memory, while `rustls::ServerConnection`
//! keeps a buffer of at least 4 KiB as long as it lives. Once the keys are agreed, [`traffic`] protects the records: rustls
//! gives the keys away as it would to a kernel (`rustls::kernel`) and keeps the secrets from which the next ones follow. Either
//! kind of rustls' connections would copy every record into memory allocated for it, both ways, and once more on its way to
//! the caller; this way a record is copied once, to where it is decrypted or encrypted, and nothing is allocated. A record of
//! 16 KiB takes 2.8 µs to seal and 2.5 to open, against 3.5 and 3.8 with `rustls::Connection` on the same processor.
//!
//! The unbuffered kind cannot be stopped after the ClientHello to look up a name. So a [`rustls::server::Acceptor`] reads the
//! hello first, and the connection reads the same bytes again: a few microseconds in a handshake of hundreds. (A
//! `ResolvesServerCert` would see the name, but could choose a certificate only, not the ciphers, protocols and trusted roots
//! that each name may have of its own.)
//!
//! # What is not here
//!
//! Revocation lists and OCSP are not consulted, early data (0-RTT) is neither sent nor accepted, and nothing is renegotiated.
//! `docs/tls.md` has the table of options.

mod ciphers;
mod error;
mod files;
mod handshake;
mod memory;
mod names;
mod pem;
mod record;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod traffic;
mod verify;
mod waiting;

pub use error::TlsError;
pub(super) use session::{Session, Step};
pub(super) use settings::Settings;
