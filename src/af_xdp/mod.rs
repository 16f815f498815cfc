//! AF_XDP sockets.

pub mod program;

pub use program::{AttachWish, Program, Source, Steering};

use crate::api::{Metadata, MetadataType};

/// What AF_XDP tells of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// The receive queue.
    pub queue: u32,
}
impl Metadata for Meta {
    fn into_enum(self) -> MetadataType {
        MetadataType::AfXdp(self)
    }
}
