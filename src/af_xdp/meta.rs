//! What AF_XDP tells of a packet.

use crate::api::{Metadata, MetadataType};
use std::num::NonZeroU64;

/// What AF_XDP tells of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The receive queue.
    pub queue: u32,
    /// When its batch was received, in nanoseconds since the Unix epoch, if `timestamps` are on: one reading of the
    /// clock for all packets of a batch.
    pub timestamp: Option<NonZeroU64>,
}

impl Metadata for Meta {
    fn into_enum(self) -> MetadataType {
        MetadataType::AfXdp(self)
    }

    fn timestamp_ns(&self) -> Option<u64> {
        self.timestamp.map(NonZeroU64::get)
    }

    fn queue(&self) -> u32 {
        self.queue
    }
}
