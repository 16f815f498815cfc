//! VLAN tags (IEEE 802.1Q) and pairs of them (IEEE 802.1ad, "QinQ"), between the addresses and the type of a frame.

use super::ethernet::{self, ether_type};
use super::{Malformed, be16};

/// Bytes that a tag adds to a frame.
pub const TAG_LEN: usize = 4;

/// Bytes of a header with one tag.
pub const HEADER_LEN: usize = ethernet::HEADER_LEN + TAG_LEN;

/// One tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The kind of tag: [`ether_type::VLAN`] or [`ether_type::QINQ`].
    pub kind: u16,
    /// Priority (3 bits), drop eligible (1 bit), number of the VLAN (12 bits).
    pub control: u16,
}

impl Tag {
    /// An ordinary tag of priority 0. Of `vlan` the lower 12 bits count.
    #[inline]
    #[must_use]
    pub const fn new(vlan: u16) -> Self {
        Self { kind: ether_type::VLAN, control: vlan & 0x0fff }
    }

    /// The VLAN's number, 0 to 4095; 0 means that only the priority counts.
    #[inline]
    #[must_use]
    pub const fn vlan(self) -> u16 {
        self.control & 0x0fff
    }

    /// The priority, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.control >> 13) as u8
    }

    /// Whether the frame goes first where frames must be dropped.
    #[inline]
    #[must_use]
    pub const fn drop_eligible(self) -> bool {
        self.control & 0x1000 != 0
    }
}

/// A frame's header and its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tagged {
    /// Addresses, and the type of what follows the tags.
    pub header: ethernet::Header,
    /// The first tag of the frame.
    pub outer: Option<Tag>,
    /// The second one.
    pub inner: Option<Tag>,
}

impl Tagged {
    /// Bytes of header and tags: where the payload begins.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        ethernet::HEADER_LEN + TAG_LEN * (self.outer.is_some() as usize + self.inner.is_some() as usize)
    }
}

/// Takes the header and up to two tags off the front of a frame. A third tag is not looked into: the type is then that of a
/// tag.
///
/// # Errors
///
/// [`Malformed::Truncated`].
#[inline]
pub fn parse(frame: &[u8]) -> Result<Tagged, Malformed> {
    let header = ethernet::Header::parse(frame)?;
    let mut tagged = Tagged { header, outer: None, inner: None };
    if is_tag(header.ether_type) {
        tags(frame, &mut tagged)?;
    }
    Ok(tagged)
}

const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, ether_type::VLAN | ether_type::QINQ)
}

#[cold]
fn tags(frame: &[u8], tagged: &mut Tagged) -> Result<(), Malformed> {
    let mut rest = frame.get(ethernet::HEADER_LEN..).ok_or(Malformed::Truncated)?;
    for tag in [&mut tagged.outer, &mut tagged.inner] {
        let kind = tagged.header.ether_type;
        if !is_tag(kind) {
            break;
        }
        let (bytes, after) = rest.split_first_chunk::<TAG_LEN>().ok_or(Malformed::Truncated)?;
        *tag = Some(Tag { kind, control: be16(bytes, 0) });
        tagged.header.ether_type = be16(bytes, 2);
        rest = after;
    }
    Ok(())
}

/// Writes a header with one tag.
#[inline]
pub fn write(header: &ethernet::Header, tag: Tag, out: &mut [u8; HEADER_LEN]) {
    out[0..6].copy_from_slice(&header.dst);
    out[6..12].copy_from_slice(&header.src);
    out[12..14].copy_from_slice(&tag.kind.to_be_bytes());
    out[14..16].copy_from_slice(&tag.control.to_be_bytes());
    out[16..18].copy_from_slice(&header.ether_type.to_be_bytes());
}

/// Writes a header with two tags.
#[inline]
pub fn write_double(header: &ethernet::Header, outer: Tag, inner: Tag, out: &mut [u8; HEADER_LEN + TAG_LEN]) {
    out[0..6].copy_from_slice(&header.dst);
    out[6..12].copy_from_slice(&header.src);
    out[12..14].copy_from_slice(&outer.kind.to_be_bytes());
    out[14..16].copy_from_slice(&outer.control.to_be_bytes());
    out[16..18].copy_from_slice(&inner.kind.to_be_bytes());
    out[18..20].copy_from_slice(&inner.control.to_be_bytes());
    out[20..22].copy_from_slice(&header.ether_type.to_be_bytes());
}
