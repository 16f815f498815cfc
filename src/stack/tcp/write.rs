//! Segments as they are written: header, options, payload and checksum, into the frame that the sink lends.

use super::Cx;
use super::seq::Seq;
use super::table::FlowKey;
use crate::stack::config::TxChecksum;
use crate::stack::ip::{Ip, Outgoing, Path};
use crate::stack::{Full, Sink};
use crate::wire::checksum::Sum;
use crate::wire::tcp::{self, Emit, Flags as Bits, Timestamps};
use std::net::SocketAddr;

/// The header of a segment to be written.
pub(super) struct Out {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
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
    #[inline]
    pub(super) fn new(
        key: &FlowKey,
        seq: Seq,
        ack: Seq,
        flags: Bits,
        window: u16,
        timestamps: Option<(u32, u32)>,
    ) -> Self {
        let (local, remote) = (key.local(), key.remote());
        let syn = SynOptions::default();
        Self { local, remote, seq, ack, flags, window, timestamps, syn, reports: [(0, 0); 4], report_count: 0 }
    }

    /// Adds a block of what has been received selectively; those beyond the fourth are left out.
    pub(super) fn report(&mut self, (start, end): (Seq, Seq)) {
        if let Some(place) = self.reports.get_mut(usize::from(self.report_count)) {
            *place = (start.0, end.0);
            self.report_count += 1;
        }
    }
}

/// Writes a segment with `data` bytes of payload, which `fill` copies and sums.
#[inline]
pub(super) fn write_segment<S: Sink>(
    out: &Out,
    data: usize,
    path: &mut Path,
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
    fill: impl FnOnce(&mut [u8]) -> Sum,
) -> Result<(), Full> {
    let emit = Emit {
        src_port: out.local.port(),
        dst_port: out.remote.port(),
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
    let (local, remote) = (out.local.ip(), out.remote.ip());
    let packet = Outgoing { local, remote, protocol: PROTOCOL, ttl: 0, tos: 0, dont_fragment: true };
    // What stays inside is not damaged on the way.
    let checksum = if path.is_loopback() { TxChecksum::Omit } else { cx.tx_checksum };
    ip.send(cx.now, sink, path, &packet, len, |segment| {
        let Ok(written) = emit.write(segment) else { return };
        let payload = segment.get_mut(written.len..).unwrap_or_default();
        let payload = fill(payload);
        match checksum {
            TxChecksum::Compute => {
                let sum = written.sum.add(payload).add(Sum::pseudo(local, remote, PROTOCOL, len));
                tcp::put_checksum(segment, sum);
            }
            TxChecksum::Offload => {
                tcp::put_unfinished_checksum(segment, Sum::pseudo(local, remote, PROTOCOL, len));
            }
            TxChecksum::Omit => {}
        }
    })?;
    cx.stats.tx_segments += 1;
    Ok(())
}

const PROTOCOL: u8 = crate::wire::protocol::TCP;
