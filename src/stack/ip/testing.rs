//! A link for tests: frames written by hand, and a sink that keeps what is sent.

use super::{Input, Ip, Outgoing, Path};
use crate::stack::{Config, Full, Instant, Sink};
use crate::wire::arp::{self, Packet};
use crate::wire::ethernet::{self, Mac, ether_type};
use crate::wire::{ipv4, protocol};
use std::net::{IpAddr, Ipv4Addr};

/// Our addresses and those of others on the link.
pub(in crate::stack) const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(in crate::stack) const OUR_MAC: Mac = [0x02, 0, 0, 0, 0, 2];
pub(in crate::stack) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
pub(in crate::stack) const PEER_MAC: Mac = [0x02, 0, 0, 0, 0, 9];
pub(in crate::stack) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(in crate::stack) const ROUTER_MAC: Mac = [0x02, 0, 0, 0, 0, 1];
pub(in crate::stack) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// 10.0.0.2/24 behind a router, without announcements.
pub(in crate::stack) fn config() -> Config {
    let mut config = Config {
        mac: OUR_MAC,
        addresses: vec![(US.into(), 24)],
        gateway: Some(ROUTER.into()),
        secret: [11, 12],
        ..Config::default()
    };
    config.ip.announce = false;
    config
}

/// The same with the peer and the router known beforehand.
pub(in crate::stack) fn config_with_neighbours() -> Config {
    Config { neighbours: vec![(PEER.into(), PEER_MAC), (ROUTER.into(), ROUTER_MAC)], ..config() }
}

/// Keeps the frames that are sent, as many as there is room for.
pub(in crate::stack) struct Frames {
    pub(in crate::stack) frames: Vec<Vec<u8>>,
    pub(in crate::stack) room: usize,
}

impl Frames {
    pub(in crate::stack) fn new() -> Self {
        Self { frames: Vec::new(), room: usize::MAX }
    }

    /// What was sent since the last call.
    pub(in crate::stack) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.frames)
    }

    /// The only frame that was sent since the last call.
    #[track_caller]
    pub(in crate::stack) fn only(&mut self) -> Vec<u8> {
        let mut frames = self.take();
        assert_eq!(frames.len(), 1, "{frames:02x?}");
        frames.remove(0)
    }
}

impl Sink for Frames {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        if self.room == 0 {
            return Err(Full);
        }
        self.room = self.room.saturating_sub(1);
        // What is not written shows.
        self.frames.push(vec![0xA5; len]);
        Ok(fill(self.frames.last_mut().unwrap()))
    }
}

pub(in crate::stack) fn ms(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

pub(in crate::stack) fn ethernet(dst: Mac, src: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::Header { dst, src, ether_type }.write(frame.first_chunk_mut().unwrap());
    frame.extend_from_slice(payload);
    frame
}

/// An ARP packet as a frame, padded as on a real wire.
pub(in crate::stack) fn arp_frame(dst: Mac, packet: &Packet) -> Vec<u8> {
    let mut bytes = [0; arp::LEN];
    packet.write(&mut bytes);
    let mut frame = ethernet(dst, packet.sender_mac, ether_type::ARP, &bytes);
    frame.resize(ethernet::MIN_FRAME, 0);
    frame
}

pub(in crate::stack) fn question(from: Ipv4Addr, mac: Mac, about: Ipv4Addr) -> Vec<u8> {
    let packet =
        Packet { operation: arp::REQUEST, sender_mac: mac, sender_ip: from, target_mac: [0; 6], target_ip: about };
    arp_frame(ethernet::BROADCAST, &packet)
}

pub(in crate::stack) fn answer(from: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let packet = Packet { operation: arp::REPLY, sender_mac: mac, sender_ip: from, target_mac: OUR_MAC, target_ip: US };
    arp_frame(OUR_MAC, &packet)
}

/// The ARP packet in a frame; `None` if it is another one.
pub(in crate::stack) fn parse_arp(frame: &[u8]) -> Option<(Mac, Packet)> {
    let header = ethernet::Header::parse(frame).unwrap();
    (header.ether_type == ether_type::ARP).then(|| (header.dst, Packet::parse(&frame[14..]).unwrap()))
}

pub(in crate::stack) fn ip_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> ipv4::Emit {
    ipv4::Emit {
        src,
        dst,
        protocol,
        ttl: 64,
        tos: 0,
        identification: 0x1234,
        fragment: ipv4::Fragment::MAY,
        total_len: (ipv4::HEADER_LEN + len) as u16,
    }
}

/// An IP packet.
pub(in crate::stack) fn ip_packet(header: &ipv4::Emit, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; ipv4::HEADER_LEN];
    header.write(packet.first_chunk_mut().unwrap());
    packet.extend_from_slice(data);
    packet
}

/// An IP packet to us in a frame from the peer's Ethernet address.
pub(in crate::stack) fn ip_frame(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, data: &[u8]) -> Vec<u8> {
    let packet = ip_packet(&ip_header(src, dst, protocol, data.len()), data);
    ethernet(OUR_MAC, PEER_MAC, ether_type::IPV4, &packet)
}

/// The IP packet in a frame: where it goes on the link, its header, its data.
#[track_caller]
pub(in crate::stack) fn parse_ip(frame: &[u8]) -> (Mac, ipv4::Header, Vec<u8>) {
    let link = ethernet::Header::parse(frame).unwrap();
    assert_eq!((link.ether_type, link.src), (ether_type::IPV4, OUR_MAC), "{frame:02x?}");
    let header = ipv4::Header::parse(&frame[14..]).unwrap();
    assert_eq!(usize::from(header.total_len) + 14, frame.len());
    (link.dst, header, header.payload(&frame[14..]).to_vec())
}

pub(in crate::stack) fn to(remote: Ipv4Addr) -> Outgoing {
    Outgoing {
        local: IpAddr::V4(US),
        remote: IpAddr::V4(remote),
        protocol: protocol::TCP,
        ttl: 0,
        tos: 0,
        dont_fragment: true,
    }
}

impl Ip {
    /// Sends these bytes.
    pub(in crate::stack) fn send_bytes(
        &mut self,
        now: Instant,
        sink: &mut Frames,
        path: &mut Path,
        packet: &Outgoing,
        bytes: &[u8],
    ) -> Result<(), Full> {
        self.send(now, sink, path, packet, bytes.len(), |out| out.copy_from_slice(bytes))
    }

    /// Takes in a frame that is dealt with inside.
    #[track_caller]
    pub(in crate::stack) fn handle(&mut self, now: Instant, sink: &mut Frames, frame: &[u8]) {
        let input = self.receive(now, sink, frame);
        assert!(matches!(input, Input::Handled), "{input:?}");
    }

    /// Takes in a frame that must be dropped.
    #[track_caller]
    pub(in crate::stack) fn refuse(&mut self, now: Instant, sink: &mut Frames, frame: &[u8]) {
        let input = self.receive(now, sink, frame);
        assert!(matches!(input, Input::Dropped), "{input:?}");
    }
}
