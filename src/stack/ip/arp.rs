//! ARP packets: questions, answers, announcements, and the defence of our own addresses (RFC 826, RFC 5227).

use super::neighbour::{Due, Word};
use super::{IcmpError, IcmpErrorKind, Input, Ip, MAX_ERRORS};
use crate::stack::{Full, Instant, Sink};
use crate::wire::arp::{self, Packet};
use crate::wire::ethernet::{self, Mac, ether_type};
use crate::wire::ipv4;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Between announcements (RFC 5227, 1.1, `ANNOUNCE_INTERVAL`).
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// When room for one is looked for again.
const SOON: Duration = Duration::from_millis(10);
/// An address is defended once in this time (RFC 5227, 1.1, `DEFEND_INTERVAL`): two hosts that both do so would otherwise never
/// stop.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

impl Ip {
    /// Takes in an ARP packet.
    pub(super) fn receive_arp<S: Sink>(&mut self, now: Instant, sink: &mut S, bytes: &[u8]) -> Input {
        let Ok(packet) = Packet::parse(bytes) else {
            self.stats.rx_malformed += 1;
            return Input::Dropped;
        };
        match packet.operation {
            arp::REQUEST => self.stats.rx_arp_requests += 1,
            arp::REPLY => self.stats.rx_arp_replies += 1,
            _ => {
                self.stats.rx_unknown_protocol += 1;
                return Input::Dropped;
            }
        }
        if packet.sender_mac == self.mac {
            // Our own, come back from a hub or a loop.
            return Input::Handled;
        }
        if self.is_own(packet.sender_ip) {
            self.conflict(now, sink, packet.sender_ip);
            return Input::Handled;
        }
        let to_us = self.is_own(packet.target_ip);
        let word = match packet.operation {
            arp::REPLY if to_us => Word::Reply,
            arp::REQUEST if to_us => Word::Question,
            _ => Word::Overheard,
        };
        if self.is_neighbour(packet.sender_ip) {
            let sender = packet.sender_ip.into();
            if let Some(index) = self.neighbours.learn(now, sender, packet.sender_mac, word, &mut self.stats) {
                // What finds no room waits for `advance`.
                let _ = self.release(now, sink, index);
            }
        }
        // A probe has no sender's address (RFC 5227, 2.1.1); it is answered all the same.
        if word == Word::Question && !ethernet::is_group(packet.sender_mac) {
            let reply = Packet {
                operation: arp::REPLY,
                sender_mac: self.mac,
                sender_ip: packet.target_ip,
                target_mac: packet.sender_mac,
                target_ip: packet.sender_ip,
            };
            // Without room it is lost, and asked for again.
            if self.send_arp(sink, packet.sender_mac, &reply).is_ok() {
                self.stats.tx_arp_replies += 1;
            }
        }
        Input::Handled
    }

    /// Whether an address may be that of a host on our link.
    fn is_neighbour(&self, address: Ipv4Addr) -> bool {
        !self.is_impossible_source(address) && self.routes.find(address.into()).is_some_and(|route| route.via.is_none())
    }

    /// Somebody else claims an address of ours.
    pub(super) fn conflict<S: Sink>(&mut self, now: Instant, sink: &mut S, address: Ipv4Addr) {
        self.stats.arp_conflicts += 1;
        let Some(own) = self.own.iter_mut().find(|own| own.address == address.to_bits()) else { return };
        if own.defended.is_some_and(|at| now.saturating_since(at) < DEFEND_INTERVAL) {
            return;
        }
        own.defended = Some(now);
        let _ = self.send_announcement(sink, address);
    }

    /// Tells the link about our addresses, twice: caches elsewhere may hold another host's from before.
    pub(super) fn announce<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        if self.announcements.left == 0 || self.announcements.at > now {
            return;
        }
        for n in 0..self.own.len() {
            let address = Ipv4Addr::from_bits(self.own[n].address);
            if self.send_announcement(sink, address).is_err() {
                self.announcements.at = now + SOON;
                return;
            }
        }
        self.announcements.left -= 1;
        self.announcements.at = now + ANNOUNCE_INTERVAL;
    }

    fn send_announcement<S: Sink>(&mut self, sink: &mut S, address: Ipv4Addr) -> Result<(), Full> {
        self.request(sink, address, address, ethernet::BROADCAST)
    }

    /// Asks for a neighbour's Ethernet address: everybody, or the neighbour itself whether it is still there.
    pub(super) fn ask<S: Sink>(&mut self, sink: &mut S, address: IpAddr, whom: Mac) -> Result<(), Full> {
        let (IpAddr::V4(target), Some(route)) = (address, self.routes.find(address)) else { return Ok(()) };
        let IpAddr::V4(source) = route.source else { return Ok(()) };
        self.request(sink, source, target, whom)
    }

    fn request<S: Sink>(&mut self, sink: &mut S, source: Ipv4Addr, target: Ipv4Addr, whom: Mac) -> Result<(), Full> {
        let request = Packet {
            operation: arp::REQUEST,
            sender_mac: self.mac,
            sender_ip: source,
            target_mac: [0; 6],
            target_ip: target,
        };
        self.send_arp(sink, whom, &request)?;
        self.stats.tx_arp_requests += 1;
        Ok(())
    }

    fn send_arp<S: Sink>(&mut self, sink: &mut S, to: Mac, packet: &Packet) -> Result<(), Full> {
        let (link, link_len) = (self.neighbours.link_header(to, ether_type::ARP), self.link_len());
        let sent = sink.emit(link_len + arp::LEN, |frame| {
            let Some((front, rest)) = frame.split_at_mut_checked(link_len) else { return };
            front.copy_from_slice(&link[..link_len]);
            if let Some(out) = rest.first_chunk_mut() {
                packet.write(out);
            }
        });
        match sent {
            Ok(()) => {
                self.stats.tx_frames += 1;
                Ok(())
            }
            Err(Full) => self.full(),
        }
    }

    /// Asks neighbours again whose answer is late, checks those that have been silent, and gives up those that stay so.
    pub(super) fn ask_neighbours<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        while let Some(due) = self.neighbours.due(now) {
            let (index, sent) = match due {
                Due::Ask(index, address) => (index, self.ask(sink, address, ethernet::BROADCAST)),
                Due::Probe(index, address, mac) => (index, self.ask(sink, address, mac)),
                Due::Failed(held) => {
                    self.stats.neighbour_failures += 1;
                    self.stats.tx_unresolved += held.len() as u64;
                    for packet in held {
                        if let Ok(header) = ipv4::Header::parse(&packet) {
                            let error =
                                IcmpError::about(&header, header.payload(&packet), IcmpErrorKind::HostUnreachable);
                            // About our own ICMP messages there is nobody to tell.
                            if let Some(error) = error.filter(|_| self.errors.len() < MAX_ERRORS) {
                                self.errors.push_back(error);
                            }
                        }
                        self.blocks.give(packet);
                    }
                    continue;
                }
            };
            if sent.is_err() {
                // Later, or this loop would find it due again at once.
                self.neighbours.ask_again(now + SOON, index);
            }
        }
    }
}

#[cfg(test)]
mod tests;
