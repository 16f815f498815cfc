//! Facts about the link behind a port.

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
