//! What an engine knows about a packet besides its bytes.

/// Metadata of a received packet.
pub trait Metadata: Send {
    /// The backend's own type, wrapped.
    fn into_enum(self) -> MetadataType;

    /// Arrival in nanoseconds since the Unix epoch (or since the start of a simulated clock), where the engine tells.
    fn timestamp_ns(&self) -> Option<u64> {
        None
    }

    /// The packet's length on the wire, in bytes, where it was cut to fit its frame.
    fn wire_len(&self) -> Option<u32> {
        None
    }

    /// The receive queue it came from.
    fn queue(&self) -> u32 {
        0
    }

    /// Whether the engine vouches for the packet's TCP or UDP checksum: it has verified it, or knows that the sender left
    /// it to be computed. False where it has not looked.
    fn l4_checksum_is_good(&self) -> bool {
        false
    }
}

/// The metadata of any backend.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum MetadataType {
    /// Of the in-memory wire.
    Mem(crate::mem::Meta),
    /// Of AF_XDP.
    #[cfg(all(target_os = "linux", feature = "af_xdp"))]
    AfXdp(crate::af_xdp::Meta),
    /// Of netmap.
    #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
    Netmap(crate::netmap::Meta),
    /// Of libpcap.
    #[cfg(feature = "pcap")]
    Pcap(crate::pcap::Meta),
    /// Of DPDK.
    #[cfg(all(target_os = "linux", feature = "dpdk"))]
    Dpdk(crate::dpdk::Meta),
    /// Of a backend outside this crate.
    Other(PacketInfo),
}

/// What is common to every backend's metadata; backends outside this crate use it as theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketInfo {
    /// See [`Metadata::timestamp_ns`].
    pub timestamp_ns: Option<u64>,
    /// See [`Metadata::wire_len`].
    pub wire_len: Option<u32>,
    /// See [`Metadata::queue`].
    pub queue: u32,
}

impl Metadata for PacketInfo {
    fn into_enum(self) -> MetadataType {
        MetadataType::Other(self)
    }
    fn timestamp_ns(&self) -> Option<u64> {
        self.timestamp_ns
    }
    fn wire_len(&self) -> Option<u32> {
        self.wire_len
    }
    fn queue(&self) -> u32 {
        self.queue
    }
}

macro_rules! each {
    ($self:ident, $meta:ident => $what:expr) => {
        match $self {
            MetadataType::Mem($meta) => $what,
            #[cfg(all(target_os = "linux", feature = "af_xdp"))]
            MetadataType::AfXdp($meta) => $what,
            #[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
            MetadataType::Netmap($meta) => $what,
            #[cfg(feature = "pcap")]
            MetadataType::Pcap($meta) => $what,
            #[cfg(all(target_os = "linux", feature = "dpdk"))]
            MetadataType::Dpdk($meta) => $what,
            MetadataType::Other($meta) => $what,
        }
    };
}

impl Metadata for MetadataType {
    fn into_enum(self) -> MetadataType {
        self
    }
    fn timestamp_ns(&self) -> Option<u64> {
        each!(self, meta => meta.timestamp_ns())
    }
    fn wire_len(&self) -> Option<u32> {
        each!(self, meta => meta.wire_len())
    }
    fn queue(&self) -> u32 {
        each!(self, meta => meta.queue())
    }
    fn l4_checksum_is_good(&self) -> bool {
        each!(self, meta => meta.l4_checksum_is_good())
    }
}
