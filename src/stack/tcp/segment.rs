//! A received segment, taken apart once.

use super::seq::Seq;
use crate::wire::tcp::{Flags as Bits, Header, Options, Timestamps};

/// What the header and the options of a segment say, and where its payload lies.
pub(super) struct Segment {
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    pub(super) flags: Bits,
    /// As on the wire, unscaled.
    pub(super) window: u16,
    /// TSval and TSecr.
    pub(super) timestamps: Option<(u32, u32)>,
    /// Where the payload begins in the packet, in bytes.
    pub(super) start: u32,
    /// How long it is.
    pub(super) len: u32,
    sack_count: u8,
    pub(super) sack_permitted: bool,
    pub(super) window_scale: Option<u8>,
    pub(super) mss: Option<u16>,
    sacks: [(Seq, Seq); 4],
}

impl Segment {
    /// Takes a segment apart; `at` is where its header begins in the packet.
    #[inline(always)]
    pub(super) fn new(header: &Header, segment: &[u8], at: u32) -> Self {
        let options = header.options(segment);
        match Timestamps::parse_fast(options) {
            Some(Timestamps { value, echo }) => Self::plain(header, segment, at, Some((value, echo))),
            None if options.is_empty() => Self::plain(header, segment, at, None),
            None => Self::plain(header, segment, at, None).with_options(options),
        }
    }

    /// One with no other options than these.
    #[inline(always)]
    fn plain(header: &Header, segment: &[u8], at: u32, timestamps: Option<(u32, u32)>) -> Self {
        let header_len = u32::from(header.header_len);
        Self {
            seq: Seq(header.seq),
            ack: Seq(header.ack),
            flags: header.flags,
            window: header.window,
            timestamps,
            start: at + header_len,
            len: segment.len() as u32 - header_len,
            sack_count: 0,
            sack_permitted: false,
            window_scale: None,
            mss: None,
            sacks: [(Seq(0), Seq(0)); 4],
        }
    }

    /// With whatever options there are.
    #[inline(never)]
    fn with_options(mut self, options: &[u8]) -> Self {
        let options = Options::parse(options);
        self.timestamps = options.timestamps.map(|t| (t.value, t.echo));
        self.sack_permitted = options.sack_permitted;
        self.window_scale = options.window_scale;
        self.mss = options.mss;
        for (to, (start, end)) in self.sacks.iter_mut().zip(&*options.sacks) {
            *to = (Seq(*start), Seq(*end));
            self.sack_count += 1;
        }
        self
    }

    /// What the peer has selectively acknowledged, as it says.
    #[inline]
    pub(super) fn sacks(&self) -> &[(Seq, Seq)] {
        &self.sacks[..usize::from(self.sack_count)]
    }

    /// What it takes of the sequence space: payload, SYN and FIN.
    #[inline]
    pub(super) fn seq_len(&self) -> u32 {
        self.len + u32::from(self.flags.contains(Bits::SYN)) + u32::from(self.flags.contains(Bits::FIN))
    }

    /// The sequence number behind it.
    #[inline]
    pub(super) fn end(&self) -> Seq {
        self.seq + self.seq_len()
    }
}
