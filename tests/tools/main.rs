//! The tools of `examples/`, run as the processes they are.

#[path = "../common/mod.rs"]
mod common;

mod arguments;
#[cfg(feature = "pcap")]
mod files;
mod memory;
mod run;
#[cfg(target_os = "linux")]
mod veth;
