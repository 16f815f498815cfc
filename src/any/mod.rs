//! A backend chosen at run time by its port spec.
//!
//! ```text
//!   "mem:a"          ┐                ┌ mem::Sock
//!   "pcap:eth0"      │                │ pcap::Sock
//!   "pcap:t.pcapng"  ├─▶ any::Sock ──▶┤ pcap::Sock
//!   "af_xdp:eth0"    │                │ af_xdp::Sock
//!   "netmap:eth0"    │                │ netmap::Sock
//!   "mem:a?loss=1%"  ┘                └ mem::faults::Faults over any of these
//! ```
//!
//! [`Sock`] implements [`Socket`](crate::api::Socket) by one `match` per call, so a batch is dispatched once. All
//! backends lend frames of a [`pool`](crate::pool), so payloads and tokens are those of the backend itself: nothing is
//! wrapped, nothing is copied.
//!
//! # Which backend
//!
//! The scheme says it. A name without one is taken for a capture file if it ends in `.pcap`, `.pcapng` or `.cap` or
//! names a file that exists; for anything else there is an error that lists what could be meant. An interface is not
//! guessed at: the same `eth0` behaves differently under every engine (who sees the packets, whether the kernel still
//! does), and a program that silently got another one than it asked for lies about its path.
//!
//! # Faults
//!
//! Any port can be made a bad one: the options of [`faults`](crate::mem::faults) (`loss`, `dup`, `reorder`, `corrupt`,
//! `delay`, `jitter`, `rate`, …) are understood after every port spec and never reach the backend.

#[cfg(all(target_os = "linux", feature = "dpdk"))]
mod context;
mod sock;

#[cfg(all(target_os = "linux", feature = "dpdk"))]
pub use context::Context;
pub use sock::Sock;

/// The context of a [`Sock`].
#[cfg(not(all(target_os = "linux", feature = "dpdk")))]
pub use crate::pool::PoolContext as Context;

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
use crate::af_xdp::AfXdpFlags;
use crate::api::Flags;
#[cfg(all(target_os = "linux", feature = "dpdk"))]
use crate::dpdk::DpdkFlags;
use crate::mem::MemFlags;
use crate::mem::faults::Plan;
#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
use crate::netmap::NetmapFlags;
#[cfg(feature = "pcap")]
use crate::pcap::PcapFlags;

/// The configuration of whichever backend the port spec names: each has its own part, the others are ignored.
///
/// ```
/// use nethuns_rs::{any::AnyFlags, mem::MemFlags};
/// let flags = AnyFlags::from(MemFlags { queue: 16, ..MemFlags::default() });
/// assert_eq!(flags.mem.queue, 16);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AnyFlags {
    /// For `mem:`.
    pub mem: MemFlags,
    /// For `pcap:`.
    #[cfg(feature = "pcap")]
    pub pcap: PcapFlags,
    /// For `af_xdp:`.
    #[cfg(all(target_os = "linux", feature = "af_xdp"))]
    pub af_xdp: AfXdpFlags,
    /// For `netmap:`.
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    pub netmap: NetmapFlags,
    /// For `dpdk:`.
    #[cfg(all(target_os = "linux", feature = "dpdk"))]
    pub dpdk: DpdkFlags,
    /// What shall go wrong, whichever backend it is. Options of the port spec are put over it. A wire in memory on
    /// simulated time takes its delays on the same clock, unless the plan has a simulated one of its own.
    pub faults: Plan,
}

impl Flags for AnyFlags {}

impl From<MemFlags> for AnyFlags {
    fn from(mem: MemFlags) -> Self {
        Self { mem, ..Self::default() }
    }
}

#[cfg(feature = "pcap")]
impl From<PcapFlags> for AnyFlags {
    fn from(pcap: PcapFlags) -> Self {
        Self { pcap, ..Self::default() }
    }
}

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
impl From<AfXdpFlags> for AnyFlags {
    fn from(af_xdp: AfXdpFlags) -> Self {
        Self { af_xdp, ..Self::default() }
    }
}

#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
impl From<NetmapFlags> for AnyFlags {
    fn from(netmap: NetmapFlags) -> Self {
        Self { netmap, ..Self::default() }
    }
}

#[cfg(all(target_os = "linux", feature = "dpdk"))]
impl From<DpdkFlags> for AnyFlags {
    fn from(dpdk: DpdkFlags) -> Self {
        Self { dpdk, ..Self::default() }
    }
}

impl From<Plan> for AnyFlags {
    fn from(faults: Plan) -> Self {
        Self { faults, ..Self::default() }
    }
}

/// A backend as port specs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backend {
    /// What its port specs begin with.
    pub scheme: &'static str,
    /// A port spec for it.
    pub example: &'static str,
    /// What it is, and what it needs.
    pub about: &'static str,
    /// Whether it is in this build.
    pub compiled: bool,
    /// What puts it into a build, where it is not.
    pub enable: &'static str,
}

/// Every backend there is, in this build or not, for the help of a program.
///
/// ```
/// for backend in nethuns_rs::any::backends().iter().filter(|b| b.compiled) {
///     println!("{:<16} {}", backend.example, backend.about);
/// }
/// ```
#[must_use]
pub fn backends() -> &'static [Backend] {
    const ALL: &[Backend] = &[
        Backend {
            scheme: "mem",
            example: "mem:name",
            about: "a wire in memory between the sockets of one process; needs no rights",
            compiled: true,
            enable: "always there",
        },
        Backend {
            scheme: "pcap",
            example: "pcap:eth0",
            about: "libpcap: an interface (needs CAP_NET_RAW), or a capture file such as pcap:trace.pcapng",
            compiled: cfg!(feature = "pcap"),
            enable: "build with `--features pcap`",
        },
        Backend {
            scheme: "af_xdp",
            example: "af_xdp:eth0",
            about: "AF_XDP on Linux; needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
            compiled: cfg!(all(target_os = "linux", feature = "af_xdp")),
            enable: "build on Linux with `--features af_xdp`",
        },
        Backend {
            scheme: "netmap",
            example: "netmap:eth0",
            about: "netmap on Linux and FreeBSD: cards, VALE switches (netmap:vale0:a), pipes (netmap:p{1)",
            compiled: cfg!(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap")),
            enable: "build on Linux or FreeBSD with `--features netmap`",
        },
        Backend {
            scheme: "dpdk",
            example: "dpdk:0000:01:00.0",
            about: "DPDK on Linux: a card by its PCI address, or a virtual device such as dpdk:net_af_packet0,iface=eth0",
            compiled: cfg!(all(target_os = "linux", feature = "dpdk")),
            enable: "build on Linux with `--features dpdk` (needs libdpdk-dev)",
        },
    ];
    ALL
}
