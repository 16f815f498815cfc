//! Kernel-bypass packet I/O: one safe API over several engines.
//!
//! | room | what it is |
//! |---|---|
//! | [`api`] | the traits and types every backend shares: `Socket`, `Context`, `Payload`, `Token`, channel |
//! | [`pool`] | frames: their memory, free lists, the way home from another thread |
//! | [`mem`] | an in-memory wire without privileges, and a fault injector over any socket |
//! | `pcap` | libpcap: live capture and injection, capture files as ports (feature `pcap`) |
//! | `af_xdp` | AF_XDP sockets on Linux (feature `af_xdp`) |
//! | `netmap` | netmap on Linux and FreeBSD: cards, VALE switches, pipes (feature `netmap`) |
//! | `dpdk` | DPDK on Linux: cards by PCI address, and its virtual devices (feature `dpdk`) |
//! | [`any`] | a backend chosen at run time by its port spec |
//! | [`capture`] | writes capture files, without libpcap |
//! | `wire` | headers of Ethernet, ARP, IP, ICMP, UDP and TCP: views and emitters (feature `net`) |
//! | `stack` | the TCP/IP engine, sans-IO (feature `net`) |
//! | `host` | drives the engine over any backend (feature `net`) |
//! | `kernel` | the same operations over the kernel's sockets (Linux, feature `net`) |
//! | `net` | sockets and events over either, chosen at run time (Linux, feature `net`) |
//! | `usockets` | loops, sockets and timers with callbacks, in the manner of uSockets (Linux, feature `usockets`) |
//! | [`errors`] | one [`errors::Error`] for all of them |
//!
//! # A first program
//!
//! ```
//! use nethuns_rs::api::Socket;
//! use nethuns_rs::any::{Sock, AnyFlags};
//!
//! # fn main() -> nethuns_rs::Result<()> {
//! let left = Sock::create("mem:lib-doc", None, AnyFlags::default())?;
//! let right = Sock::create("mem:lib-doc", None, AnyFlags::default())?;
//! left.send(b"any bytes, up to a frame")?;
//! left.flush();
//! let (packet, _meta) = right.recv()?;
//! assert_eq!(&packet[..3], b"any");
//! # Ok(())
//! # }
//! ```
//!
//! Replace `mem:lib-doc` by `af_xdp:eth0`, `pcap:eth0` or `pcap:trace.pcapng` and nothing else changes.

pub mod any;
pub mod api;
pub mod capture;
pub mod errors;
pub mod mem;
pub mod pool;

#[cfg(feature = "pcap")]
#[cfg_attr(docsrs, doc(cfg(feature = "pcap")))]
pub mod pcap;

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
#[cfg_attr(docsrs, doc(cfg(feature = "af_xdp")))]
pub mod af_xdp;

#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
#[cfg_attr(docsrs, doc(cfg(feature = "netmap")))]
pub mod netmap;

#[cfg(all(target_os = "linux", feature = "dpdk"))]
#[cfg_attr(docsrs, doc(cfg(feature = "dpdk")))]
pub mod dpdk;

#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod wire;

#[cfg(feature = "net")]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod stack;

#[cfg(all(unix, not(loom), feature = "net"))]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod host;

#[cfg(all(target_os = "linux", feature = "net"))]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod kernel;

#[cfg(all(target_os = "linux", not(loom), feature = "net"))]
#[cfg_attr(docsrs, doc(cfg(feature = "net")))]
pub mod net;

#[cfg(all(target_os = "linux", not(loom), feature = "usockets"))]
#[cfg_attr(docsrs, doc(cfg(feature = "usockets")))]
pub mod usockets;

/// A host's descriptors have no place in a model; the word that its callers share with it has.
#[cfg(all(test, loom, feature = "net"))]
#[path = "host/waker/call.rs"]
mod host_call;

/// A loop has no place in a model either; the queue that other threads share with it has.
#[cfg(all(test, loom, feature = "usockets"))]
mod usockets {
    mod error;
    mod queue;
}

pub use errors::{Error, Result};

/// Unit tests count what they allocate.
#[cfg(all(test, feature = "net"))]
#[path = "../tests/common/counting.rs"]
mod counting;
#[cfg(all(test, feature = "net"))]
#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// The code of the documents compiles.
#[cfg(doctest)]
mod documents {
    #[cfg(all(target_os = "linux", feature = "usockets"))]
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[cfg(all(target_os = "linux", feature = "dpdk"))]
    #[doc = include_str!("../docs/dpdk.md")]
    mod dpdk {}
    #[cfg(feature = "net")]
    #[doc = include_str!("../docs/stack.md")]
    mod stack {}
    #[cfg(all(target_os = "linux", feature = "net"))]
    #[doc = include_str!("../docs/net.md")]
    mod net {}
    #[cfg(all(target_os = "linux", feature = "tls"))]
    #[doc = include_str!("../docs/tls.md")]
    mod tls {}
    #[cfg(all(target_os = "linux", feature = "usockets"))]
    #[doc = include_str!("../docs/usockets.md")]
    mod usockets {}
}
