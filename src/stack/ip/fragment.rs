//! Packets cut into fragments (RFC 791, 3.2), and the numbers that tell whose a fragment is.

use super::hash::{Keyed, number};
use super::neighbour::LinkHeader;
use super::{Ip, Outgoing, Path};
use crate::stack::blocks::Block;
use crate::stack::prf::Purpose;
use crate::stack::{Instant, Sink};
use crate::wire::ipv4::{self, HEADER_LEN};

/// Identification fields: one counter for each of many groups of destinations, each from a random beginning, so that nobody
/// can count our packets to others or guess the next number (RFC 7739; RFC 6864, 4.3 asks that they do not repeat soon).
#[derive(Debug)]
pub(super) struct Identification {
    keyed: Keyed,
    counters: Box<[u16; COUNTERS]>,
}

const COUNTERS: usize = 1024;

impl Identification {
    pub(super) fn new(secret: [u64; 2]) -> Self {
        let keyed = Keyed::new(secret, Purpose::Identification);
        let counters = std::array::from_fn(|n| (keyed.hash([n as u64, u64::MAX]) >> 32) as u16);
        Self { keyed, counters: Box::new(counters) }
    }

    pub(super) fn next(&mut self, packet: &Outgoing) -> u16 {
        let (local, remote) = (number(packet.local), number(packet.remote));
        let hash = self.keyed.hash([
            local as u64,
            (local >> 64) as u64,
            remote as u64,
            (remote >> 64) as u64,
            packet.protocol.into(),
        ]);
        let counter = &mut self.counters[(hash >> 32) as usize % COUNTERS];
        *counter = counter.wrapping_add(1);
        *counter
    }
}

/// A packet being cut.
#[derive(Debug)]
pub(super) struct Cut {
    block: Block,
    total: usize,
    /// Bytes of data sent already.
    sent: usize,
    path: Path,
    /// Bytes of data in each fragment but the last; a multiple of 8.
    step: usize,
}

impl Cut {
    /// Of a packet of `total` bytes with a header without options, for links that take `limit` bytes.
    pub(super) fn new(block: Block, total: usize, path: Path, limit: u16) -> Self {
        let step = (usize::from(limit).saturating_sub(HEADER_LEN) & !7).max(8);
        Self { block, total, sent: 0, path, step }
    }
}

impl Ip {
    /// Sends what is left of the packet that is being cut, as far as there is room.
    #[inline]
    pub(super) fn send_fragments<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        if self.cut.is_some() {
            self.send_cut(now, sink);
        }
    }

    #[inline(never)]
    fn send_cut<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        let Some(mut cut) = self.cut.take() else { return };
        let link_len = self.link_len();
        let header = ipv4::Header::parse(&cut.block);
        // Without the way there the rest is lost, and so is the packet, as if the link had dropped it.
        if let (Ok(header), Some(hot)) = (header, self.neighbours.hot(&cut.path)) {
            hot.used = now;
            while HEADER_LEN + cut.sent < cut.total {
                let rest = cut.total - HEADER_LEN - cut.sent;
                let (len, more) = (rest.min(cut.step), rest > cut.step);
                let sent = sink.emit(link_len + HEADER_LEN + len, |frame| {
                    write_fragment(frame, &hot.header, link_len, &header, &cut, len, more);
                });
                if sent.is_err() {
                    self.stats.tx_full += 1;
                    self.cut = Some(cut);
                    return;
                }
                cut.sent += len;
                self.stats.tx_frames += 1;
                self.stats.tx_fragments += 1;
            }
        }
        self.blocks.give(cut.block);
    }
}

fn write_fragment(
    frame: &mut [u8],
    link: &LinkHeader,
    link_len: usize,
    header: &ipv4::Header,
    cut: &Cut,
    len: usize,
    more: bool,
) {
    let Some((front, packet)) = frame.split_at_mut_checked(link_len) else { return };
    front.copy_from_slice(&link[..link_len]);
    let Some((front, data)) = packet.split_first_chunk_mut() else { return };
    let fragment = ipv4::Emit {
        src: header.src,
        dst: header.dst,
        protocol: header.protocol,
        ttl: header.ttl,
        tos: header.tos,
        identification: header.identification,
        fragment: ipv4::Fragment::part(cut.sent, more),
        total_len: (HEADER_LEN + len) as u16,
    };
    fragment.write(front);
    let from = HEADER_LEN + cut.sent;
    data.copy_from_slice(&cut.block[from..from + len]);
}

#[cfg(test)]
mod tests;
