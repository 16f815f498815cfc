//! IP, ARP and ICMP: one interface with its addresses.
//!
//! ```text
//!            receive ─▶ input ─┬─▶ a segment or datagram for TCP and UDP       (they keep the frame)
//!   frames                     ├─▶ reassembly ─▶ a whole packet, once more through `receive_packet`
//!                              ├─▶ icmp: echo answered, errors handed to TCP and UDP
//!                              └─▶ arp ─▶ neighbour
//!
//!            send ─▶ output ─┬─ path still holds ─▶ the frame, written once
//!   segments                 ├─ route ─▶ neighbour ─▶ the frame; or held in a block while ARP asks
//!                            ├─ too long ─▶ fragment: a block, cut into frames
//!                            └─ to ourselves ─▶ a block in the loopback queue
//! ```
//!
//! Everything that waits does so in blocks of [`Ip`]'s own, each kind with a bound of its own. Addresses and routes are fixed
//! when it is made. There is IPv4 only so far; addresses are of either kind in every table and signature.

mod api;
mod arp;
mod fragment;
pub(super) mod hash;
mod icmp;
mod input;
mod list;
mod neighbour;
mod output;
mod path_mtu;
mod reassembly;
mod route;
mod setup;

pub use icmp::EchoReply;
pub(super) use icmp::Failure;
pub(crate) use icmp::{IcmpError, IcmpErrorKind};
pub(crate) use input::{Input, Packet};
pub(crate) use output::{Outgoing, Path};
pub(super) use path_mtu::LEAST as LEAST_PATH_MTU;

use super::blocks::{Block, Blocks};
use super::limit::Limit;
use super::prf::Purpose;
use super::{Config, Instant, IpStats, Sink, SocketError};
use crate::wire::ethernet::{self, Mac};
use crate::wire::vlan;
use fragment::{Cut, Identification};
use neighbour::Neighbours;
use path_mtu::PathMtus;
use reassembly::Reassembly;
use route::Routes;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of packets to ourselves that may wait; beyond that a sender is told that there is no room.
const MAX_LOOPBACK_BYTES: usize = 16 << 20;
/// Errors of our own making that wait to be told; beyond that they are not.
const MAX_ERRORS: usize = 1024;

/// An address of ours.
#[derive(Debug)]
struct Own {
    address: u32,
    /// Of its network; the limited broadcast address if it has none.
    broadcast: u32,
    /// When it was last defended against another host's claim.
    defended: Option<Instant>,
}

/// The interface.
pub(crate) struct Ip {
    /// What has been counted.
    pub(crate) stats: IpStats,
    own: Vec<Own>,
    mac: Mac,
    vlan: Option<u16>,
    mtu: u16,
    loopback_mtu: u16,
    ttl: u8,
    answer_echo: bool,
    routes: Routes,
    neighbours: Neighbours,
    path_mtus: PathMtus,
    reassembly: Reassembly,
    identification: Identification,
    error_limit: Limit,
    blocks: Blocks,
    /// Packets to ourselves, and their bytes.
    loopback: VecDeque<Block>,
    loopback_bytes: usize,
    /// Neighbours that are known by now, whose packets met a full device.
    unblocked: VecDeque<u32>,
    /// A packet of which some fragments are sent and the next met a full device.
    cut: Option<Cut>,
    errors: VecDeque<IcmpError>,
    replies: VecDeque<EchoReply>,
    announcements: Announcements,
}

/// What is left to be said about our addresses (RFC 5227, 2.3).
#[derive(Debug)]
struct Announcements {
    at: Instant,
    left: u8,
}

impl Ip {
    /// An interface as configured.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`](crate::Error::BadOption), [`Error::Unsupported`](crate::Error::Unsupported): which address,
    /// route or number is wrong, and what would be right.
    pub(crate) fn new(config: &Config) -> crate::Result<Self> {
        let (own, routes) = setup::addresses_and_routes(config)?;
        let announcements =
            Announcements { at: Instant::ZERO, left: if own.is_empty() || !config.ip.announce { 0 } else { 2 } };
        Ok(Self {
            stats: IpStats::default(),
            own,
            mac: config.mac,
            vlan: config.vlan,
            mtu: config.mtu,
            loopback_mtu: config.loopback_mtu,
            ttl: config.ip.ttl,
            answer_echo: config.ip.answer_echo,
            routes,
            neighbours: Neighbours::new(config),
            path_mtus: PathMtus::new(config.secret),
            reassembly: Reassembly::new(config),
            identification: Identification::new(config.secret),
            error_limit: Limit::new(config.ip.icmp_errors_per_second, config.secret, Purpose::IcmpErrors),
            blocks: Blocks::new(config.tcp.max_buffered_bytes),
            loopback: VecDeque::new(),
            loopback_bytes: 0,
            unblocked: VecDeque::new(),
            cut: None,
            errors: VecDeque::new(),
            replies: VecDeque::new(),
            announcements,
        })
    }

    /// Bytes of an Ethernet header, VLAN tag included.
    #[inline(always)]
    fn link_len(&self) -> usize {
        if self.vlan.is_none() { ethernet::HEADER_LEN } else { vlan::HEADER_LEN }
    }

    #[inline(always)]
    fn is_own(&self, address: Ipv4Addr) -> bool {
        self.own.iter().any(|own| own.address == address.to_bits())
    }

    /// Whether packets to the address are delivered inside: our own addresses, and all of 127/8 (RFC 1122, 3.2.1.3 g).
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.is_loopback() || self.is_own(address),
            IpAddr::V6(_) => false,
        }
    }

    /// Whether the address means everybody on the link: the limited broadcast address, or that of a network of ours.
    pub(crate) fn is_broadcast(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if self.is_broadcast_v4(address))
    }

    #[inline]
    fn is_broadcast_v4(&self, address: Ipv4Addr) -> bool {
        address.is_broadcast() || self.own.iter().any(|own| own.broadcast == address.to_bits())
    }

    /// The address of ours that packets to `remote` leave with.
    ///
    /// # Errors
    ///
    /// [`SocketError::NetworkUnreachable`] without a route, [`SocketError::InvalidAddress`] for the unspecified address.
    pub(crate) fn source_for(&self, remote: IpAddr) -> Result<IpAddr, SocketError> {
        let IpAddr::V4(address) = remote else { return Err(SocketError::NetworkUnreachable) };
        if address.is_unspecified() {
            Err(SocketError::InvalidAddress)
        } else if address.is_loopback() {
            Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))
        } else if self.is_own(address) {
            Ok(remote)
        } else if address.is_broadcast() {
            let first = self.own.first().ok_or(SocketError::NetworkUnreachable)?;
            Ok(IpAddr::V4(Ipv4Addr::from_bits(first.address)))
        } else if address.is_multicast() {
            Err(SocketError::NetworkUnreachable)
        } else {
            self.routes.find(remote).map(|route| route.source).ok_or(SocketError::NetworkUnreachable)
        }
    }

    /// The largest packet that reaches `remote` in one piece, as far as is known: bytes of IP header and data.
    #[inline]
    pub(crate) fn path_mtu(&self, remote: IpAddr) -> u16 {
        if self.is_local(remote) {
            return self.loopback_mtu;
        }
        self.path_mtus.get(remote).map_or(self.mtu, |mtu| mtu.min(self.mtu))
    }

    /// A router says that a packet to `remote` may have `mtu` bytes at most, and the transport protocol has found that it
    /// quotes a packet in flight (RFC 5927, 7). Returns the new path MTU: never raised, never below 552.
    pub(crate) fn learn_path_mtu(&mut self, now: Instant, remote: IpAddr, mtu: u16) -> u16 {
        if !self.is_local(remote) && mtu < self.path_mtu(remote) {
            self.path_mtus.lower(now, remote, mtu);
        }
        self.path_mtu(remote)
    }

    /// The peer at the end of the path has acknowledged something new: the neighbour on the way there is alive.
    #[inline]
    pub(crate) fn confirm(&mut self, now: Instant, path: &Path) {
        self.neighbours.confirm(now, path);
    }

    /// Does what is due: ARP questions and announcements, what waited for room in the device, what has waited too long.
    pub(crate) fn advance<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        self.announce(now, sink);
        self.ask_neighbours(now, sink);
        self.send_waiting(now, sink);
        while let Some(expired) = self.reassembly.expire(now, &mut self.blocks) {
            self.stats.reassembly_timeouts += 1;
            if let Some((block, len)) = expired.first {
                if !expired.refused {
                    self.send_icmp_error(now, sink, Failure::Reassembly, block.get(..len).unwrap_or_default());
                }
                self.blocks.give(block);
            }
        }
        self.path_mtus.expire(now);
    }

    /// When [`advance`](Self::advance) has something to do again.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let at_once =
            !(self.unblocked.is_empty() && self.loopback.is_empty() && self.errors.is_empty()) || self.cut.is_some();
        let announcement = (self.announcements.left > 0).then_some(self.announcements.at);
        [
            at_once.then_some(Instant::ZERO),
            announcement,
            self.neighbours.next_deadline(),
            self.reassembly.next_deadline(),
            self.path_mtus.next_expiry(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next failure that we found ourselves: a packet whose neighbour does not answer. To be treated like an ICMP error.
    pub(crate) fn next_error(&mut self) -> Option<IcmpError> {
        self.errors.pop_front()
    }

    /// How many packets to ourselves wait.
    pub(crate) fn loopback_len(&self) -> usize {
        self.loopback.len()
    }

    /// The next packet to ourselves: IP header and data, for [`receive_packet`](Self::receive_packet).
    pub(crate) fn take_loopback(&mut self) -> Option<Block> {
        let block = self.loopback.pop_front()?;
        self.loopback_bytes -= block.len();
        Some(block)
    }

    /// A block of at least `len` bytes for a packet that must wait; `None` for want of memory.
    pub(super) fn take_block(&mut self, len: usize) -> Option<Block> {
        self.blocks.take(len)
    }

    /// Takes such a block back.
    pub(super) fn give_block(&mut self, block: Block) {
        self.blocks.give(block);
    }

    /// Bytes of the blocks in which packets wait, those included that sockets have kept.
    pub(crate) fn block_bytes(&self) -> usize {
        self.blocks.in_use()
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
