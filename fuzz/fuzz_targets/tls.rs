//! Bytes as they come, instead of TLS.
#![no_main]

#[path = "../entries/tls.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::tls(bytes));
