//! Segments as they are written: header, options, payload and checksum, into the frame that the sink lends.

use super::Cx;
use super::send_buffer::SendBuffer;
use super::seq::Seq;
use super::table::FlowKey;
use crate::stack::config::TxChecksum;
use crate::stack::ip::{Ip, Outgoing, Path};
use crate::stack::{Full, Sink};
use crate::wire::checksum::Sum;
use crate::wire::tcp::{self, Emit, Flags as Bits, Timestamps};
use std::ops::Range;

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

    /// Reads something of its last line.
    #[inline(always)]
    pub(super) fn touch(&self) -> u16 {
        self.remote_port
    }
}

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

/// A segment about to be written.
struct Writer<'a> {
    emit: Emit<'a>,
    /// Bytes of the segment, header included.
    len: usize,
    pseudo: Sum,
    checksum: TxChecksum,
}

impl<'a> Writer<'a> {
    /// For a segment with `data` bytes of payload.
    #[inline(always)]
    fn new(ends: &Ends, plain: &Plain, data: usize, cx: &Cx<'_>) -> Self {
        let emit = Emit {
            src_port: ends.local_port,
            dst_port: ends.remote_port,
            seq: plain.seq.0,
            ack: plain.ack.0,
            flags: plain.flags,
            window: plain.window,
            mss: None,
            window_scale: None,
            sack_permitted: false,
            timestamps: plain.timestamps.map(|(value, echo)| Timestamps { value, echo }),
            sacks: &[],
        };
        // What stays inside is not damaged on the way.
        let checksum = if ends.path.is_loopback() { TxChecksum::Omit } else { cx.tx_checksum };
        Self { len: emit.header_len() + data, emit, pseudo: ends.pseudo, checksum }
    }

    /// Writes it. `fill` copies the payload to where it belongs, and sums it if it is told to.
    #[inline(always)]
    fn write(&self, segment: &mut [u8], fill: impl FnOnce(&mut [u8], bool) -> Sum) {
        let Ok(written) = self.emit.write(segment) else { return };
        let payload = segment.get_mut(written.len..).unwrap_or_default();
        let payload = fill(payload, self.checksum == TxChecksum::Compute);
        let pseudo = || self.pseudo.add(Sum::of_be32(self.len as u32));
        match self.checksum {
            TxChecksum::Compute => tcp::put_checksum(segment, written.sum.add(payload).add(pseudo())),
            TxChecksum::Offload => tcp::put_unfinished_checksum(segment, pseudo()),
            TxChecksum::Omit => {}
        }
    }
}

/// Writes a segment whose payload is this range of what has been given to send.
#[inline(always)]
pub(super) fn write_data<S: Sink>(
    ends: &mut Ends,
    plain: &Plain,
    (tx, range): (&SendBuffer, Range<usize>),
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
) -> Result<(), Full> {
    let writer = Writer::new(ends, plain, range.len(), cx);
    if !ip.is_ready(&ends.path, &ends.packet, writer.len) {
        return write_data_slowly(ends, plain, (tx, range), ip, sink, cx);
    }
    ip.send_ready(cx.now, sink, &ends.path, &ends.packet, writer.len, |segment| {
        writer.write(segment, |to, sums| copy(tx, range.start, to, sums));
    })?;
    cx.stats.tx_segments += 1;
    Ok(())
}

/// [`write_data`] where the way must be looked for. Apart from it, so that there the writer is no more than a few registers.
#[inline(never)]
fn write_data_slowly<S: Sink>(
    ends: &mut Ends,
    plain: &Plain,
    (tx, range): (&SendBuffer, Range<usize>),
    ip: &mut Ip,
    sink: &mut S,
    cx: &mut Cx<'_>,
) -> Result<(), Full> {
    let writer = Writer::new(ends, plain, range.len(), cx);
    let Ends { packet, path, .. } = ends;
    ip.send(cx.now, sink, path, packet, writer.len, |segment| {
        writer.write(segment, |to, sums| copy(tx, range.start, to, sums));
    })?;
    cx.stats.tx_segments += 1;
    Ok(())
}

#[inline(always)]
fn copy(tx: &SendBuffer, offset: usize, to: &mut [u8], sums: bool) -> Sum {
    if sums {
        return tx.copy_out(offset, to);
    }
    tx.copy_out_plain(offset, to);
    Sum::ZERO
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
    let mut writer = Writer::new(ends, &out.plain, 0, cx);
    writer.emit.mss = out.syn.mss;
    writer.emit.window_scale = out.syn.window_scale;
    writer.emit.sack_permitted = out.syn.sack_permitted;
    writer.emit.sacks = &out.reports[..usize::from(out.report_count)];
    writer.len = writer.emit.header_len();
    let Ends { packet, path, .. } = ends;
    ip.send(cx.now, sink, path, packet, writer.len, |segment| writer.write(segment, |_, _| Sum::ZERO))?;
    cx.stats.tx_segments += 1;
    Ok(())
}

const PROTOCOL: u8 = crate::wire::protocol::TCP;
