//! Port specs as they come.
#![no_main]

#[path = "../entries/port_spec.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|text: &[u8]| entry::port_spec(text));
