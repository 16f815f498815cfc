//! Segments as they are written: header, options, payload and checksum, into the frame that the sink lends.

use super::Cx;
use super::send_buffer::SendBuffer;
use super::seq::Seq;
use super::table::FlowKey;
use crate::stack::config::TxChecksum;
use crate::stack::ip::{Ip, Outgoing, Path};
use crate::stack::{Full, Sink};
use crate::wire::checksum::Sum;
use crate::wire::protocol;
use crate::wire::tcp::{self, Emit, Flags as Bits, Timestamps};
use std::ops::Range;

/// The header of a segment to be written, with no other options than timestamps.
pub(super) struct Plain {
    pub(super) seq: Seq,
    pub(super) ack: Seq,
    pub(super) flags: Bits,
    pub(super) window: u16,
    pub(super) timestamps: Option<(u32, u32)>,
}

/// The header of a segment to be written, with whatever options.
pub(super) struct Out {
    plain: Plain,
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
        Self::from(Plain { seq, ack, flags, window, timestamps })
    }

    /// Adds a block of what has been received selectively; those beyond the fourth are left out.
    pub(super) fn report(&mut self, (start, end): (Seq, Seq)) {
        if let Some(place) = self.reports.get_mut(usize::from(self.report_count)) {
            *place = (start.0, end.0);
            self.report_count += 1;
        }
    }
}

impl From<Plain> for Out {
    fn from(plain: Plain) -> Self {
        Self { plain, syn: SynOptions::default(), reports: [(0, 0); 4], report_count: 0 }
    }
}

impl Plain {
    /// Bytes of the header.
    #[inline(always)]
    fn header_len(&self) -> usize {
        if self.timestamps.is_some() { tcp::TIMESTAMPED_LEN } else { tcp::HEADER_LEN }
    }

    /// For the wire.
    #[inline(always)]
    fn emit(&self, key: &FlowKey) -> Emit<'static> {
        Emit {
            src_port: key.local_port(),
            dst_port: key.remote_port(),
            seq: self.seq.0,
            ack: self.ack.0,
            flags: self.flags,
            window: self.window,
            timestamps: self.timestamps.map(|(value, echo)| Timestamps { value, echo }),
            ..Emit::default()
        }
    }
}

/// What the IP header of all segments says.
fn packet(key: &FlowKey) -> Outgoing {
    Outgoing {
        local: key.local_ip(),
        remote: key.remote_ip(),
        protocol: protocol::TCP,
        ttl: 0,
        tos: 0,
        dont_fragment: true,
    }
}

/// Who computes the checksum. What stays inside is not damaged on the way.
#[inline(always)]
fn checksum(path: &Path, cx: &Cx<'_>) -> TxChecksum {
    if path.is_loopback() { TxChecksum::Omit } else { cx.shared.tx_checksum }
}

/// Completes a segment; `sum` is that of its header and its payload.
#[inline(always)]
fn finish(segment: &mut [u8], key: &FlowKey, sum: Sum, checksum: TxChecksum) {
    match checksum {
        TxChecksum::Compute => tcp::put_checksum(segment, sum.add(key.pseudo(segment.len()))),
        TxChecksum::Offload => tcp::put_unfinished_checksum(segment, key.pseudo(segment.len())),
        TxChecksum::Omit => {}
    }
}

/// Copies the payload to where it belongs, and sums it if that is asked for.
#[inline(always)]
fn copy(tx: &SendBuffer, offset: usize, to: &mut [u8], checksum: TxChecksum) -> Sum {
    if checksum == TxChecksum::Compute {
        return tx.copy_out(offset, to);
    }
    tx.copy_out_plain(offset, to);
    Sum::ZERO
}

/// Writes a segment whose payload is this range of what has been given to send.
#[inline(always)]
pub(super) fn write_data<S: Sink>(
    (key, path): (&FlowKey, &mut Path),
    plain: Plain,
    (tx, range): (&SendBuffer, Range<usize>),
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
) -> Result<(), Full> {
    let len = plain.header_len() + range.len();
    if !ip.is_ready(path, len) {
        return write((key, path), &plain.into(), Some((tx, range)), ip, sink, cx);
    }
    let checksum = checksum(path, cx);
    ip.send_ready(cx.now, sink, path, key.v4_ips(), protocol::TCP, len, |segment| {
        if let Ok(written) = plain.emit(key).write_plain(segment) {
            let payload = segment.get_mut(written.len..).unwrap_or_default();
            let sum = copy(tx, range.start, payload, checksum);
            finish(segment, key, written.sum.add(sum), checksum);
        }
    })?;
    cx.shared.stats.tx_segments += 1;
    Ok(())
}

/// Writes a segment without payload.
#[inline]
pub(super) fn write_control<S: Sink>(
    ends: (&FlowKey, &mut Path),
    out: &Out,
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
) -> Result<(), Full> {
    write(ends, out, None, ip, sink, cx)
}

/// Writes any segment. Apart from [`write_data`], in which so there is room for nothing but what is usual.
#[inline(never)]
fn write<S: Sink>(
    (key, path): (&FlowKey, &mut Path),
    out: &Out,
    data: Option<(&SendBuffer, Range<usize>)>,
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
) -> Result<(), Full> {
    let emit = Emit {
        mss: out.syn.mss,
        window_scale: out.syn.window_scale,
        sack_permitted: out.syn.sack_permitted,
        sacks: &out.reports[..usize::from(out.report_count)],
        ..out.plain.emit(key)
    };
    let len = emit.header_len() + data.as_ref().map_or(0, |(_, range)| range.len());
    let checksum = checksum(path, cx);
    ip.send(cx.now, sink, path, &packet(key), len, |segment| {
        if let Ok(written) = emit.write(segment) {
            let payload = segment.get_mut(written.len..).unwrap_or_default();
            let sum = data.map_or(Sum::ZERO, |(tx, range)| copy(tx, range.start, payload, checksum));
            finish(segment, key, written.sum.add(sum), checksum);
        }
    })?;
    cx.shared.stats.tx_segments += 1;
    Ok(())
}
