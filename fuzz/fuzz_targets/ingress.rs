//! Frames and commands as they come.
#![no_main]

#[path = "../entries/ingress.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::ingress(bytes));
