//! What a steering means, in Rust: for software that sees frames another way, and to hold the emitted program to.

use super::{ARP, EXTENSIONS, Family, ICMP6, IPV4, IPV6, Prefix, Rule, Steering, TAGS, VLAN, WITH_PORTS, mask};
use std::net::IpAddr;

impl Steering {
    /// Whether a frame, from its Ethernet header on, would go to the sockets.
    ///
    /// ```
    /// use nethuns_rs::af_xdp::Steering;
    /// let arp_only: Steering = "arp".parse()?;
    /// let mut frame = [0u8; 60];
    /// assert!(!arp_only.takes(&frame));
    /// frame[12..14].copy_from_slice(&[0x08, 0x06]);
    /// assert!(arp_only.takes(&frame));
    /// # Ok::<(), nethuns_rs::Error>(())
    /// ```
    #[must_use]
    pub fn takes(&self, frame: &[u8]) -> bool {
        let facts = Facts::of(frame);
        self.rules.iter().find(|rule| rule.matches(facts.as_ref())).is_some_and(|rule| !rule.pass)
    }
}

impl Rule {
    fn matches(&self, facts: Option<&Facts>) -> bool {
        let Some(facts) = facts else { return self.is_any() };
        self.admits(facts.family)
            && self.ethertype.is_none_or(|wanted| wanted == facts.ethertype)
            && self.protocol_in(facts.family).is_none_or(|wanted| facts.protocol == Some(wanted))
            && self.src.is_none_or(|prefix| facts.src.is_some_and(|address| prefix.contains(address)))
            && self.dst.is_none_or(|prefix| facts.dst.is_some_and(|address| prefix.contains(address)))
            && self
                .sport
                .is_none_or(|(first, last)| facts.ports.is_some_and(|(port, _)| (first..=last).contains(&port)))
            && self
                .dport
                .is_none_or(|(first, last)| facts.ports.is_some_and(|(_, port)| (first..=last).contains(&port)))
            && (!self.fragments || facts.fragment)
    }
}

impl Prefix {
    /// Whether an address is among these.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (ours.to_bits() ^ theirs.to_bits()) & mask(self.length, 32) as u32 == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits() ^ theirs.to_bits()) & mask(self.length, 128) == 0,
            _ => false,
        }
    }
}

/// What rules look at in a frame.
#[derive(Debug)]
struct Facts {
    family: Family,
    ethertype: u16,
    protocol: Option<u8>,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    ports: Option<(u16, u16)>,
    fragment: bool,
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?))
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?))
}

fn ports(protocol: u8, bytes: &[u8]) -> Option<(u16, u16)> {
    if !WITH_PORTS.contains(&protocol) {
        return None;
    }
    Some((half(bytes, 0)?, half(bytes, 2)?))
}

impl Facts {
    /// `None` for what is shorter than an Ethernet header.
    fn of(frame: &[u8]) -> Option<Self> {
        let mut ethertype = half(frame, 12)?;
        let mut rest = &frame[14..];
        for _ in 0..TAGS {
            if VLAN.contains(&ethertype) && rest.len() >= 4 {
                ethertype = half(rest, 2)?;
                rest = &rest[4..];
            }
        }
        let known = match ethertype {
            IPV4 => Self::ipv4(rest),
            IPV6 => Self::ipv6(rest),
            ARP => Self::arp(rest),
            _ => None,
        };
        Some(known.unwrap_or(Self::bare(Family::Other, ethertype)))
    }

    fn bare(family: Family, ethertype: u16) -> Self {
        Self { family, ethertype, protocol: None, src: None, dst: None, ports: None, fragment: false }
    }

    fn ipv4(packet: &[u8]) -> Option<Self> {
        let (src, dst) = (v4(packet, 12)?, v4(packet, 16)?);
        let header = usize::from(packet[0] & 0x0f) * 4;
        if packet[0] >> 4 != 4 || header < 20 {
            return None;
        }
        let protocol = packet[9];
        let fragment = half(packet, 6)? & 0x3fff != 0;
        let whole = packet.get(header..).filter(|_| !fragment);
        Some(Self {
            protocol: Some(protocol),
            src: Some(src),
            dst: Some(dst),
            ports: whole.and_then(|segment| ports(protocol, segment)),
            fragment,
            ..Self::bare(Family::Ipv4, IPV4)
        })
    }

    fn ipv6(packet: &[u8]) -> Option<Self> {
        let (src, dst) = (v6(packet, 8)?, v6(packet, 24)?);
        if packet[0] >> 4 != 6 {
            return None;
        }
        let mut facts = Self { src: Some(src), dst: Some(dst), ..Self::bare(Family::Ipv6, IPV6) };
        let mut protocol = packet[6];
        let mut at = 40;
        for _ in 0..EXTENSIONS {
            let need = if protocol == 44 { 8 } else { 2 };
            let header = packet.get(at..).filter(|header| header.len() >= need);
            let is_extension = matches!(protocol, 0 | 43 | 44 | 51 | 60);
            let Some(header) = header.filter(|_| is_extension) else { break };
            let length = match protocol {
                44 => 8,
                51 => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            if protocol == 44 && half(header, 2)? & 0xfff9 != 0 {
                return Some(Self { protocol: Some(header[0]), fragment: true, ..facts });
            }
            protocol = header[0];
            at += length;
        }
        facts.protocol = Some(protocol);
        let segment = packet.get(at..).unwrap_or_default();
        facts.ports = ports(protocol, segment);
        if protocol == ICMP6 && segment.len() >= 24 && segment[0] == 135 {
            facts.dst = v6(segment, 8);
        }
        Some(facts)
    }

    fn arp(packet: &[u8]) -> Option<Self> {
        let (src, dst) = (v4(packet, 14)?, v4(packet, 24)?);
        // Ethernet and IPv4, with addresses of six and four bytes.
        let ours = packet.starts_with(&[0, 1, 8, 0, 6, 4]);
        ours.then(|| Self { src: Some(src), dst: Some(dst), ..Self::bare(Family::Arp, ARP) })
    }
}
