//! The documented API compiles and does what it says: every code block of the documents that uses it, verbatim as far as
//! it can be. What differs, and why, stands in `docs/compatibility.md`.

#[path = "../common/mod.rs"]
mod common;
#[cfg(all(target_os = "linux", feature = "dpdk"))]
mod dpdk;
mod packets;
#[cfg(all(target_os = "linux", feature = "usockets"))]
mod usockets;
