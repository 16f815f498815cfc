//! libpcap: live capture and injection, capture files as ports.

use crate::api::{Metadata, MetadataType};

/// What libpcap tells of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Packet arrival timestamp.
    pub timestamp: libc::timeval,
    /// Original packet length (before truncation).
    pub len: u32,
    /// Captured length.
    pub caplen: u32,
}
impl Metadata for Meta {
    fn into_enum(self) -> MetadataType {
        MetadataType::Pcap(self)
    }
}
