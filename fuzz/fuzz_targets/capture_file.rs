//! Capture files as they come.
#![no_main]

#[path = "../entries/capture_file.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|file: &[u8]| entry::capture_file(file));
