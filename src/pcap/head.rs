//! What is in a capture file that is to be added to.

use crate::capture::{BYTE_ORDER, ETHERNET, Format, INTERFACE, Layout, MAGIC_MICROS, MAGIC_NANOS, SECTION_HEADER};

/// What a file turns out to be by its first bytes, so that it can be appended to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Nothing there yet.
    Empty,
    /// One that this writer can go on with.
    Ours(Layout),
    /// Anything else; says what.
    Foreign(&'static str),
}

/// How much of a file [`read_head`] wants to see, if there is as much.
pub(super) const HEAD: usize = 4096;

/// Reads the head of a file from its first bytes.
pub(super) fn read_head(bytes: &[u8]) -> Head {
    let word = |at: usize| bytes.get(at..at.saturating_add(4)).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let swapped = |value: u32| Some(value.swap_bytes());
    match (word(0), word(8)) {
        (None, _) if bytes.is_empty() => Head::Empty,
        (Some(SECTION_HEADER), Some(BYTE_ORDER)) => {
            // libpcap wants every interface of a file to have the snapshot length of the first.
            let at = word(4).map_or(usize::MAX, |len| len as usize);
            let snaplen = (word(at) == Some(INTERFACE)).then(|| word(at.saturating_add(12))).flatten();
            let snaplen = snaplen.filter(|n| (1..=262_144).contains(n)).unwrap_or(262_144);
            Head::Ours(Layout { snaplen, ..Layout::default() })
        }
        (Some(SECTION_HEADER), order) if order == swapped(BYTE_ORDER) => Head::Foreign("a big-endian pcapng file"),
        (Some(magic @ (MAGIC_MICROS | MAGIC_NANOS)), _) => match (word(16), word(20)) {
            (Some(snaplen), Some(link)) if link & 0xffff == u32::from(ETHERNET) => Head::Ours(Layout {
                format: Format::Pcap,
                snaplen: if snaplen == 0 { 262_144 } else { snaplen.min(262_144) },
                nanos: magic == MAGIC_NANOS,
                interface: None,
            }),
            (Some(_), Some(_)) => Head::Foreign("a pcap file of another link type than Ethernet"),
            _ => Head::Foreign("a pcap file that ends within its header"),
        },
        (magic, _) if magic == swapped(MAGIC_MICROS) || magic == swapped(MAGIC_NANOS) => {
            Head::Foreign("a big-endian pcap file")
        }
        _ => Head::Foreign("neither pcap nor pcapng"),
    }
}
