//! Segments as they are written: header, options, payload and checksum, into the frame that the sink lends.

use super::Cx;
use super::seq::Seq;
use super::table::FlowKey;
use crate::stack::config::TxChecksum;
use crate::stack::ip::{Ip, Outgoing, Path};
use crate::stack::{Full, Sink};
use crate::wire::checksum::Sum;
use crate::wire::tcp::{self, Emit, Flags as Bits, Timestamps};

/// Both ends of a connection as its segments name them.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    packet: Outgoing,
    local_port: u16,
    remote_port: u16,
    /// The sum of the pseudo-header without its length.
    pseudo: Sum,
    /// Where they go next.
    pub(super) path: Path,
}

impl Ends {
    pub(super) fn of(key: &FlowKey, path: Path) -> Self {
        let (local, remote) = (key.local_ip(), key.remote_ip());
        Self {
            packet: Outgoing { local, remote, protocol: PROTOCOL, ttl: 0, tos: 0, dont_fragment: true },
            local_port: key.local_port(),
            remote_port: key.remote_port(),
            pseudo: Sum::pseudo(local, remote, PROTOCOL, 0),
            path,
        }
    }
}

/// The header of a segment to be written.
pub(super) struct Out {
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    pub(super) flags: Bits,
    pub(super) window: u16,
    pub(super) timestamps: Option<(u32, u32)>,
    /// What only a SYN says.
    pub(super) syn: SynOptions,
    reports: [(u32, u32); 4],
    report_count: u8,
}

/// The options of a SYN.
#[derive(Clone, Copy, Default)]
pub(super) struct SynOptions {
    pub(super) mss: Option<u16>,
    pub(super) window_scale: Option<u8>,
    pub(super) sack_permitted: bool,
}

impl Out {
    #[inline(always)]
    pub(super) fn new(seq: Seq, ack: Seq, flags: Bits, window: u16, timestamps: Option<(u32, u32)>) -> Self {
        let syn = SynOptions::default();
        Self { seq, ack, flags, window, timestamps, syn, reports: [(0, 0); 4], report_count: 0 }
    }

    /// Adds a block of what has been received selectively; those beyond the fourth are left out.
    pub(super) fn report(&mut self, (start, end): (Seq, Seq)) {
        if let Some(place) = self.reports.get_mut(usize::from(self.report_count)) {
            *place = (start.0, end.0);
            self.report_count += 1;
        }
    }
}

/// Writes a segment with `data` bytes of payload. `fill` copies them to where they belong, and sums them if it is told to.
#[inline(always)]
pub(super) fn write_segment<S: Sink>(
    ends: &mut Ends,
    out: &Out,
    data: usize,
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
    fill: impl FnOnce(&mut [u8], bool) -> Sum,
) -> Result<(), Full> {
    let emit = Emit {
        src_port: ends.local_port,
        dst_port: ends.remote_port,
        seq: out.seq.0,
        ack: out.ack.0,
        flags: out.flags,
        window: out.window,
        mss: out.syn.mss,
        window_scale: out.syn.window_scale,
        sack_permitted: out.syn.sack_permitted,
        timestamps: out.timestamps.map(|(value, echo)| Timestamps { value, echo }),
        sacks: &out.reports[..usize::from(out.report_count)],
    };
    let len = emit.header_len() + data;
    // What stays inside is not damaged on the way.
    let checksum = if ends.path.is_loopback() { TxChecksum::Omit } else { cx.tx_checksum };
    let Ends { packet, pseudo, path, .. } = ends;
    ip.send(cx.now, sink, path, packet, len, |segment| {
        let Ok(written) = emit.write(segment) else { return };
        let payload = segment.get_mut(written.len..).unwrap_or_default();
        let payload = fill(payload, checksum == TxChecksum::Compute);
        let pseudo = || pseudo.add(Sum::of_be32(len as u32));
        match checksum {
            TxChecksum::Compute => tcp::put_checksum(segment, written.sum.add(payload).add(pseudo())),
            TxChecksum::Offload => tcp::put_unfinished_checksum(segment, pseudo()),
            TxChecksum::Omit => {}
        }
    })?;
    cx.stats.tx_segments += 1;
    Ok(())
}

/// A segment without payload, of which there are few.
#[inline(never)]
pub(super) fn write_control<S: Sink>(
    ends: &mut Ends,
    out: &Out,
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
) -> Result<(), Full> {
    write_segment(ends, out, 0, ip, sink, cx, |_, _| Sum::ZERO)
}

const PROTOCOL: u8 = crate::wire::protocol::TCP;
