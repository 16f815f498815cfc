//! DPDK: ports by PCI address, and its virtual devices (feature `dpdk`, Linux).
//!
//! ```no_run
//! use nethuns_rs::api::Socket;
//! use nethuns_rs::dpdk::{DpdkFlags, Sock};
//!
//! # fn main() -> nethuns_rs::Result<()> {
//! let socket = Sock::create("dpdk:net_af_packet0,iface=eth0", None, DpdkFlags::default())?;
//! let (packet, meta) = socket.recv()?;
//! println!("{} bytes, hash {:?}", packet.len(), meta.rss_hash());
//! # Ok(())
//! # }
//! ```
//!
//! | port spec | |
//! |---|---|
//! | `dpdk:0000:01:00.0` | a card that is bound to vfio-pci, or whose driver shares it with the kernel |
//! | `dpdk:net_af_packet0,iface=eth0` | an interface of the kernel through a packet socket; `net_af_xdp0` through AF_XDP |
//! | `dpdk:net_tap0,iface=tap0` | a tap interface that comes and goes with the port |
//! | `dpdk:net_memif0,role=server,socket=/run/m.sock` | shared memory with another process, or with a port of this one |
//! | `dpdk:net_ring0` | what is sent is received; `dpdk:net_ring0?wire=w` and `dpdk:net_ring1?wire=w` are a pair |
//! | `dpdk:net_pcap0,iface=eth0`, `dpdk:net_null0` | libpcap; a source and sink without end |
//!
//! # Options
//!
//! | option | |
//! |---|---|
//! | `num_mbufs`, `mbuf_cache_size`, `mbuf_default_buf_size` | as in [`DpdkFlags`] |
//! | `queues=4` | queues of the port; 1 unless the virtual device's arguments say otherwise. One socket takes all of them, or (`Some(q)`) one each |
//! | `rss=off` | do not spread packets over the queues by their addresses and ports (on where there are several) |
//! | `mtu=9000` | longest packet; makes frames for it (`big_mbufs`), into which packets of several segments are put together |
//! | `rx_checksum`, `tx_checksum`, `vlan_strip`, `vlan_insert` | offloads; an error where the driver has not got them |
//! | `timestamps=off\|sw\|hw` | none, the system clock per burst, the device's per packet |
//! | `promiscuous=off` | receive what is addressed to the port only |
//! | `rx_ring=512`, `tx_ring=512` | descriptors per queue; for a wire its depth |
//! | `interrupts` | sleep on the driver's receive interrupts, where it has them |
//! | `eal=--no-huge -m 256` | arguments of EAL, see [`Eal`] |
//!
//! Who owns a frame when is in [`Context`], who starts EAL and how in [`Eal`]. More in `docs/dpdk.md`.

mod attach;
mod burst;
mod config;
mod count;
mod device;
mod eal;
mod log;
mod mbuf;
mod meta;
mod offload;
mod pool;
mod port;
mod ready;
mod sock;
mod thread;

pub use eal::{ARGS_VARIABLE, Eal};
pub use meta::{Checksum, Meta};
pub use offload::TxOffload;
pub use pool::Context;
pub use sock::Sock;

use crate::api::Flags;

/// The version of DPDK that this was built against.
pub const BUILT_WITH: &str = dpdk_sys::VERSION;

/// Configuration of a DPDK port. The rest is options of the port spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpdkFlags {
    /// Mbufs in the pool.
    pub num_mbufs: u32,
    /// Mbufs that each thread may keep to itself; at most two thirds of `num_mbufs`, and 512.
    pub mbuf_cache_size: u32,
    /// Bytes of an mbuf's buffer, 128 of which are headroom.
    pub mbuf_default_buf_size: u16,
}

impl Default for DpdkFlags {
    fn default() -> Self {
        Self { num_mbufs: 8192, mbuf_cache_size: 250, mbuf_default_buf_size: 2176 }
    }
}

impl Flags for DpdkFlags {}
