//! Facts about the link behind a port.
//!
//! On Linux they come from ioctls (`netdevice(7)`, `linux/ethtool.h`) and route netlink, both of which speak of the
//! calling thread's network namespace; `/sys` shows the one it was mounted in. Other Unixes tell
//! name, index, MAC address and carrier.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod names;

#[cfg(all(target_os = "linux", feature = "af_xdp"))]
pub(crate) use linux::Peer;
#[cfg(all(target_os = "linux", any(feature = "af_xdp", feature = "net")))]
pub(crate) use linux::peer;

#[cfg(unix)]
use crate::errors::Error;
use crate::errors::Result;

/// What is known of the link; `None` where the backend or system cannot tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The interface's name.
    pub name: String,
    /// Its index (`if_nametoindex(3)`).
    pub index: Option<u32>,
    /// MAC address.
    pub mac: Option<[u8; 6]>,
    /// Largest payload of a frame in bytes, without the Ethernet header.
    pub mtu: Option<u32>,
    /// Megabits per second.
    pub speed_mbps: Option<u32>,
    /// Whether there is carrier.
    pub carrier: Option<bool>,
    /// Receive queues in use.
    pub rx_queues: Option<u32>,
    /// Transmit queues in use.
    pub tx_queues: Option<u32>,
    /// Offloads that are switched on.
    pub offloads: Offloads,
}

impl LinkInfo {
    /// The facts of an interface of the calling thread's network namespace. A fact that the system or the driver does
    /// not tell is `None`; no rights are needed.
    ///
    /// ```no_run
    /// use nethuns_rs::api::LinkInfo;
    /// # fn main() -> nethuns_rs::Result<()> {
    /// let link = LinkInfo::of_interface("eth0")?;
    /// println!("MTU {:?}, {:?} receive queues", link.mtu, link.rx_queues);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPort`](crate::Error::NoSuchPort) listing the interfaces that there are.
    pub fn of_interface(name: &str) -> Result<Self> {
        #[cfg(unix)]
        let index = names::index(name).ok_or_else(|| no_such_interface(name))?;
        #[cfg(target_os = "linux")]
        return linux::of_interface(name, index);
        #[cfg(all(unix, not(target_os = "linux")))]
        {
            let (carrier, mac) = names::running_and_mac(name);
            return Ok(Self { name: name.to_owned(), index: Some(index), mac, carrier, ..Self::default() });
        }
        #[cfg(not(unix))]
        return Ok(Self { name: name.to_owned(), ..Self::default() });
    }

    /// The names of the interfaces in the calling thread's network namespace; empty where the system cannot tell.
    #[must_use]
    pub fn interfaces() -> Vec<String> {
        #[cfg(unix)]
        return names::all();
        #[cfg(not(unix))]
        return Vec::new();
    }
}

#[cfg(unix)]
fn no_such_interface(name: &str) -> Error {
    let there_are = names::all();
    let problem = if there_are.is_empty() {
        "no such interface; there are none in this network namespace".to_owned()
    } else {
        format!("no such interface in this network namespace; there are {}", there_are.join(", "))
    };
    Error::NoSuchPort { port: name.to_owned(), problem }
}

/// Offloads of an interface that matter to a program that sees raw frames (`ethtool -k`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offloads {
    /// Receive checksum validation.
    pub rx_checksum: Option<bool>,
    /// Transmit checksumming: frames from the kernel's stack arrive at a virtual peer with partial checksums.
    pub tx_checksum: Option<bool>,
    /// TCP segmentation offload.
    pub tso: Option<bool>,
    /// Generic segmentation offload.
    pub gso: Option<bool>,
    /// Generic receive offload: frames longer than the MTU.
    pub gro: Option<bool>,
    /// Large receive offload.
    pub lro: Option<bool>,
    /// VLAN tags are taken out of received frames.
    pub rx_vlan: Option<bool>,
    /// VLAN tags are put into sent frames.
    pub tx_vlan: Option<bool>,
}
