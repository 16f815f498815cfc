//! Packets in.

use super::reassembly::Outcome;
use super::{Failure, IcmpError, Ip};
use crate::stack::blocks::Block;
use crate::stack::{Instant, Sink};
use crate::wire::ethernet::{self, ether_type};
use crate::wire::ipv4::{self, HEADER_LEN};
use crate::wire::{Malformed, icmp, protocol, vlan};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

/// What a frame or packet was.
#[derive(Debug)]
pub(crate) enum Input {
    /// A TCP segment to one of our addresses.
    Tcp(Packet),
    /// A UDP datagram to one of our addresses or to everybody.
    Udp(Packet),
    /// An error about a packet of ours.
    IcmpError(IcmpError),
    /// A packet put together from fragments: to be given to [`Ip::receive_packet`].
    Reassembled(Block),
    /// Dealt with: ARP, an echo request, a fragment that waits for others.
    Handled,
    /// Dropped, and counted by cause.
    Dropped,
}

/// Where the transport protocol's part lies, and what the IP header said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Whom it is from.
    pub(crate) source: IpAddr,
    /// The address of ours it is to, or a broadcast address.
    pub(crate) destination: IpAddr,
    /// Offset of the transport header in the bytes that were given in.
    pub(crate) start: u32,
    /// Bytes of transport header and data, without padding.
    pub(crate) len: u32,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub(crate) tos: u8,
    /// Bytes of the IP header before it.
    pub(crate) header_len: u8,
    /// It was sent to everybody: no error may answer it (RFC 1122, 3.2.2).
    pub(crate) broadcast: bool,
}

impl Packet {
    /// The transport header and data in the bytes that were given in.
    #[inline]
    pub(crate) fn range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }

    /// The whole IP packet in the bytes that were given in.
    #[inline]
    pub(crate) fn ip_range(&self) -> Range<usize> {
        let range = self.range();
        range.start.saturating_sub(self.header_len.into())..range.end
    }
}

/// Where an IP packet comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A frame to our Ethernet address.
    Link,
    /// A frame to everybody.
    LinkBroadcast,
    /// A block of our own: its addresses have been checked.
    Block,
}

impl Ip {
    /// Takes in an Ethernet frame. It may answer at once.
    #[cfg(test)]
    pub(crate) fn receive<S: Sink>(&mut self, now: Instant, sink: &mut S, frame: &[u8]) -> Input {
        match self.receive_ordinary(frame) {
            Some(input) => input,
            None => self.receive_other(now, sink, frame),
        }
    }

    /// Takes in an Ethernet frame if it is of the most frequent kind: to us, without a tag, with a whole packet of TCP or UDP
    /// without IP options from one host to this one. Otherwise nothing has been done, and it is for
    /// [`receive_other`](Self::receive_other).
    #[inline(always)]
    pub(crate) fn receive_ordinary(&mut self, frame: &[u8]) -> Option<Input> {
        let link = ethernet::Header::parse(frame).ok()?;
        if self.vlan.is_some() || link.ether_type != ether_type::IPV4 || link.dst != self.mac {
            return None;
        }
        let packet = frame.get(ethernet::HEADER_LEN..)?;
        if packet.first() != Some(&ipv4::PLAIN) {
            return None;
        }
        let header = ipv4::Header::parse(packet).ok()?;
        let input = self.transport(&header, ethernet::HEADER_LEN)?;
        self.stats.rx_frames += 1;
        Some(input)
    }

    /// Takes in an IP packet out of a block: one of [`take_loopback`](Self::take_loopback) or [`Input::Reassembled`].
    pub(crate) fn receive_packet<S: Sink>(&mut self, now: Instant, sink: &mut S, packet: &[u8]) -> Input {
        self.receive_ipv4(now, sink, packet, 0, Origin::Block)
    }

    /// Takes in any Ethernet frame. It may answer at once.
    #[inline(never)]
    pub(crate) fn receive_other<S: Sink>(&mut self, now: Instant, sink: &mut S, frame: &[u8]) -> Input {
        self.stats.rx_frames += 1;
        let Ok(tagged) = vlan::parse(frame) else {
            self.stats.rx_malformed += 1;
            return Input::Dropped;
        };
        let in_vlan = match (self.vlan, tagged.outer, tagged.inner) {
            (None, None, None) => true,
            // Number 0 is no VLAN, only a priority (IEEE 802.1Q, 9.6).
            (None, Some(tag), None) => tag.kind == ether_type::VLAN && tag.vlan() == 0,
            (Some(vlan), Some(tag), None) => tag.kind == ether_type::VLAN && tag.vlan() == vlan,
            _ => false,
        };
        if !in_vlan || !matches!(tagged.header.ether_type, ether_type::IPV4 | ether_type::ARP) {
            self.stats.rx_unknown_protocol += 1;
            return Input::Dropped;
        }
        if tagged.header.src == self.mac && tagged.header.ether_type == ether_type::IPV4 {
            // Our own, come back from a hub or a loop: nobody else claims our address. ARP looks for itself.
            self.stats.rx_bad_source += 1;
            return Input::Dropped;
        }
        let origin = match tagged.header.dst {
            to if to == self.mac => Origin::Link,
            ethernet::BROADCAST => Origin::LinkBroadcast,
            _ => {
                self.stats.rx_not_for_us += 1;
                return Input::Dropped;
            }
        };
        let start = tagged.header_len();
        match tagged.header.ether_type {
            ether_type::IPV4 => self.receive_ipv4(now, sink, frame, start, origin),
            _ => self.receive_arp(now, sink, frame.get(start..).unwrap_or_default()),
        }
    }

    fn receive_ipv4<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        bytes: &[u8],
        start: usize,
        origin: Origin,
    ) -> Input {
        let Some(packet) = bytes.get(start..) else { return Input::Dropped };
        let header = match ipv4::Header::parse(packet) {
            Ok(header) => header,
            Err(why) => return self.malformed(why),
        };
        match self.transport(&header, start) {
            Some(input) if origin == Origin::Link => input,
            _ => self.receive_ipv4_other(now, sink, packet, start, &header, origin),
        }
    }

    /// What a packet is that has no options, is no fragment, and is of TCP or UDP from one host to this one.
    #[inline(always)]
    fn transport(&self, header: &ipv4::Header, start: usize) -> Option<Input> {
        let plain = usize::from(header.header_len) == HEADER_LEN && !header.is_fragment();
        if !plain || !self.is_ordinary(header.src, header.dst) {
            return None;
        }
        match header.protocol {
            protocol::TCP => Some(Input::Tcp(describe(header, start, false))),
            protocol::UDP => Some(Input::Udp(describe(header, start, false))),
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn malformed(&mut self, why: Malformed) -> Input {
        match why {
            Malformed::Checksum => self.stats.rx_bad_checksum += 1,
            _ => self.stats.rx_malformed += 1,
        }
        Input::Dropped
    }

    /// Whatever is not a whole TCP or UDP packet without options, from the link to one of our addresses.
    #[inline(never)]
    fn receive_ipv4_other<S: Sink>(
        &mut self,
        now: Instant,
        sink: &mut S,
        packet: &[u8],
        start: usize,
        header: &ipv4::Header,
        origin: Origin,
    ) -> Input {
        let broadcast = self.is_broadcast_v4(header.dst);
        if origin != Origin::Block {
            if self.is_bad_source(header.src) {
                self.stats.rx_bad_source += 1;
                if self.is_own(header.src) {
                    self.conflict(now, sink, header.src);
                }
                return Input::Dropped;
            }
            // A frame to everybody with a packet to one host is nobody's (RFC 1122, 3.3.6).
            if !(broadcast || (origin == Origin::Link && self.is_own(header.dst))) {
                self.stats.rx_not_for_us += 1;
                return Input::Dropped;
            }
            if has_source_route(packet, header) {
                self.stats.rx_source_routed += 1;
                return Input::Dropped;
            }
        }
        if header.is_fragment() {
            self.stats.rx_fragments += 1;
            return match self.reassembly.insert(now, &mut self.blocks, header, packet, &mut self.stats) {
                Outcome::Waits => Input::Handled,
                Outcome::Complete(block) => Input::Reassembled(block),
                Outcome::Malformed => self.malformed(Malformed::Length),
                Outcome::Dropped => Input::Dropped,
            };
        }
        let found = describe(header, start, broadcast);
        match header.protocol {
            protocol::TCP if broadcast => {
                self.stats.rx_not_for_us += 1;
                Input::Dropped
            }
            protocol::TCP => Input::Tcp(found),
            protocol::UDP => Input::Udp(found),
            protocol::ICMP => self.receive_icmp(now, sink, packet, header, &found),
            _ => {
                self.stats.rx_unknown_protocol += 1;
                let error = Failure::Unreachable(icmp::unreachable::PROTOCOL);
                self.send_icmp_error(now, sink, error, packet.get(..header.total_len.into()).unwrap_or_default());
                Input::Dropped
            }
        }
    }

    /// Whether nobody can have this address (RFC 1122, 3.2.1.3): this network's, loopback, multicast, reserved, broadcast.
    #[inline(always)]
    pub(super) fn is_impossible_source(&self, address: Ipv4Addr) -> bool {
        let first = address.octets()[0];
        first == 0 || first == 127 || first >= 224 || self.own.iter().any(|own| own.broadcast == address.to_bits())
    }

    /// Whether a packet is from one host to this one.
    #[inline(always)]
    fn is_ordinary(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        self.is_own(dst) && !self.is_bad_source(src)
    }

    /// Whether a packet from the link cannot have this source: nobody has it, or we do.
    #[inline(always)]
    fn is_bad_source(&self, address: Ipv4Addr) -> bool {
        self.is_impossible_source(address) || self.is_own(address)
    }
}

#[inline(always)]
fn describe(header: &ipv4::Header, start: usize, broadcast: bool) -> Packet {
    Packet {
        source: IpAddr::V4(header.src),
        destination: IpAddr::V4(header.dst),
        start: start as u32 + u32::from(header.header_len),
        len: header.payload_len() as u32,
        tos: header.tos,
        header_len: header.header_len,
        broadcast,
    }
}

/// Whether the options name a route (RFC 791, 3.1). Such packets are dropped, as Linux and RFC 7126, 4.3 do: the route is a
/// way around filters, and nobody else uses it.
fn has_source_route(packet: &[u8], header: &ipv4::Header) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let mut options = packet.get(HEADER_LEN..usize::from(header.header_len)).unwrap_or_default();
    loop {
        match *options {
            [] | [END, ..] => return false,
            [LOOSE | STRICT, ..] => return true,
            [NO_OPERATION, ref rest @ ..] => options = rest,
            // A length that makes no sense ends the search; nothing else reads options.
            [_, len, ..] if len >= 2 => options = options.get(usize::from(len)..).unwrap_or_default(),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
