//! The tools of `examples/`, run as the processes they are.

#[path = "../common/mod.rs"]
mod common;

mod arguments;
#[cfg(target_os = "linux")]
mod doctor;
#[cfg(all(target_os = "linux", feature = "dpdk"))]
mod dpdk;
#[cfg(feature = "pcap")]
mod files;
mod memory;
#[cfg(all(target_os = "linux", feature = "net"))]
mod net;
mod run;
#[cfg(all(target_os = "linux", any(feature = "pcap", feature = "af_xdp")))]
mod veth;
