//! The installed DPDK as C declares it: bindings made at build time, and a shim for its static inlines.
//!
//! Everything here is `unsafe` and as DPDK's own manual says; `nethuns_rs::dpdk` is what a program should use. Fields
//! of `struct rte_mbuf` are reached by the `ND_MBUF_*` offsets, which come from the header that was compiled against.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, missing_docs)]
#![allow(clippy::all, unsafe_op_in_unsafe_fn, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// The version of DPDK that this was built against, as pkg-config tells it.
pub const VERSION: &str = env!("DPDK_SYS_VERSION");
