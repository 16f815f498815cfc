//! What an mbuf knows of its packet.

use crate::api::{Metadata, MetadataType};
use dpdk_sys as sys;
use std::fmt;

/// What the port knows of a received packet.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Meta {
    pub(super) flags: u64,
    pub(super) timestamp: u64,
    pub(super) packet_type: u32,
    pub(super) rss: u32,
    pub(super) vlan: u16,
    pub(super) outer_vlan: u16,
    pub(super) queue: u16,
    /// Whether `timestamp` is one, and what it counts.
    pub(super) clock: Clock,
}

/// What a timestamp counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Clock {
    #[default]
    None,
    /// Nanoseconds since the Unix epoch.
    Unix,
    /// Ticks of the device.
    Device,
}

/// What the port found when it checked a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It did not look: the offload is off, or the packet has none that it knows.
    Unknown,
    /// It is right.
    Good,
    /// It is wrong.
    Bad,
    /// It is not right in the packet, but the data are known to be (a virtual peer that left it to be done).
    Partial,
}

impl Meta {
    /// The port's RSS hash.
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.flags & sys::ND_MBUF_F_RX_RSS_HASH != 0).then_some(self.rss)
    }

    /// The VLAN tag (TCI: priority, DEI and VLAN id), if the port looked at it. See [`vlan_stripped`](Self::vlan_stripped).
    #[must_use]
    pub fn vlan(&self) -> Option<u16> {
        (self.flags & sys::ND_MBUF_F_RX_VLAN != 0).then_some(self.vlan)
    }

    /// The outer tag of two, if the port looked at both.
    #[must_use]
    pub fn outer_vlan(&self) -> Option<u16> {
        (self.flags & sys::ND_MBUF_F_RX_QINQ != 0).then_some(self.outer_vlan)
    }

    /// Whether the tag was taken out of the packet's bytes (option `vlan_strip`).
    #[must_use]
    pub fn vlan_stripped(&self) -> bool {
        self.flags & sys::ND_MBUF_F_RX_VLAN_STRIPPED != 0
    }

    /// What the port took the packet for: a combination of `RTE_PTYPE_*` (`rte_mbuf_ptype.h`); 0 if it did not look.
    #[must_use]
    pub fn packet_type(&self) -> u32 {
        self.packet_type
    }

    /// The IP header's checksum (option `rx_checksum`).
    #[must_use]
    pub fn ip_checksum(&self) -> Checksum {
        match self.flags & sys::ND_MBUF_F_RX_IP_CKSUM_MASK {
            sys::ND_MBUF_F_RX_IP_CKSUM_GOOD => Checksum::Good,
            sys::ND_MBUF_F_RX_IP_CKSUM_BAD => Checksum::Bad,
            sys::ND_MBUF_F_RX_IP_CKSUM_NONE => Checksum::Partial,
            _ => Checksum::Unknown,
        }
    }

    /// The TCP or UDP checksum (option `rx_checksum`).
    #[must_use]
    pub fn l4_checksum(&self) -> Checksum {
        match self.flags & sys::ND_MBUF_F_RX_L4_CKSUM_MASK {
            sys::ND_MBUF_F_RX_L4_CKSUM_GOOD => Checksum::Good,
            sys::ND_MBUF_F_RX_L4_CKSUM_BAD => Checksum::Bad,
            sys::ND_MBUF_F_RX_L4_CKSUM_NONE => Checksum::Partial,
            _ => Checksum::Unknown,
        }
    }

    /// The flags as DPDK has them (`RTE_MBUF_F_RX_*`).
    #[must_use]
    pub fn raw_flags(&self) -> u64 {
        self.flags
    }

    /// The device's own timestamp, in ticks of its clock (option `timestamps=hw`).
    #[must_use]
    pub fn device_timestamp(&self) -> Option<u64> {
        (self.clock == Clock::Device).then_some(self.timestamp)
    }
}

impl Metadata for Meta {
    fn into_enum(self) -> MetadataType {
        MetadataType::Dpdk(self)
    }
    fn timestamp_ns(&self) -> Option<u64> {
        (self.clock == Clock::Unix).then_some(self.timestamp)
    }
    fn queue(&self) -> u32 {
        self.queue.into()
    }
    fn l4_checksum_is_good(&self) -> bool {
        matches!(self.l4_checksum(), Checksum::Good | Checksum::Partial)
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meta")
            .field("queue", &self.queue)
            .field("timestamp_ns", &self.timestamp_ns())
            .field("device_timestamp", &self.device_timestamp())
            .field("rss_hash", &self.rss_hash())
            .field("vlan", &self.vlan())
            .field("packet_type", &format_args!("{:#x}", self.packet_type))
            .field("ip_checksum", &self.ip_checksum())
            .field("l4_checksum", &self.l4_checksum())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_flagged_is_not_told() {
        let meta = Meta { rss: 7, vlan: 5, outer_vlan: 6, timestamp: 9, ..Meta::default() };
        assert_eq!((meta.rss_hash(), meta.vlan(), meta.outer_vlan()), (None, None, None));
        assert_eq!((meta.timestamp_ns(), meta.device_timestamp()), (None, None));
        assert_eq!((meta.ip_checksum(), meta.l4_checksum()), (Checksum::Unknown, Checksum::Unknown));
    }

    #[test]
    fn what_is_flagged_is_told() {
        let flags = sys::ND_MBUF_F_RX_RSS_HASH
            | sys::ND_MBUF_F_RX_VLAN
            | sys::ND_MBUF_F_RX_VLAN_STRIPPED
            | sys::ND_MBUF_F_RX_IP_CKSUM_GOOD
            | sys::ND_MBUF_F_RX_L4_CKSUM_BAD;
        let meta = Meta { flags, rss: 7, vlan: 5, timestamp: 9, clock: Clock::Unix, queue: 3, ..Meta::default() };
        assert_eq!((meta.rss_hash(), meta.vlan(), meta.vlan_stripped()), (Some(7), Some(5), true));
        assert_eq!((meta.timestamp_ns(), meta.device_timestamp(), meta.queue()), (Some(9), None, 3));
        assert_eq!((meta.ip_checksum(), meta.l4_checksum()), (Checksum::Good, Checksum::Bad));
        assert!(format!("{meta:?}").contains("rss_hash: Some(7)"));
    }
}
