//! Frames of Ethernet, IPv4, TCP and ICMP, written and read without the engine's `wire`: a second opinion on every byte.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;
pub(super) const URG: u8 = 32;
pub(super) const ECE: u8 = 64;
pub(super) const CWR: u8 = 128;

/// The letters of the flags, in the order of their bits; a dot is the acknowledgement, as in tcpdump.
pub(super) const LETTERS: [(u8, char); 8] =
    [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (URG, 'U'), (ECE, 'E'), (CWR, 'W'), (ACK, '.')];

/// One TCP segment in an IPv4 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source: SocketAddrV4,
    pub(super) target: SocketAddrV4,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) urgent: u16,
    pub(super) options: Vec<Opt>,
    pub(super) payload: Vec<u8>,
    pub(super) tos: u8,
    pub(super) dont_fragment: bool,
}

/// One TCP option. Blocks are (left edge, right edge).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Mss(u16),
    WindowScale(u8),
    SackOk,
    Sack(Vec<(u32, u32)>),
    Timestamp(u32, u32),
    Nop,
    End,
    Other(u8, Vec<u8>),
}

/// What is in a frame.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    Tcp(Segment),
    Arp { request: bool, sender: Ipv4Addr, target: Ipv4Addr },
    Icmp { kind: u8, code: u8 },
    Udp { source: SocketAddrV4, target: SocketAddrV4, len: usize },
    Fragment { offset: usize, len: usize, more: bool },
}

/// The ones' complement sum of RFC 1071 over big-endian words.
pub(super) fn sum(start: u32, bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    words.fold(start, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

fn pseudo(source: Ipv4Addr, target: Ipv4Addr, protocol: u8, len: usize) -> u32 {
    sum(sum(u32::from(protocol) + len as u32, &source.octets()), &target.octets())
}

/// An Ethernet frame around an IPv4 packet around `body`.
fn ipv4(source: Ipv4Addr, target: Ipv4Addr, macs: Macs, protocol: u8, tos: u8, df: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(34 + body.len());
    frame.extend(macs.target);
    frame.extend(macs.source);
    frame.extend([8, 0, 0x45, tos]);
    frame.extend((20 + body.len() as u16).to_be_bytes());
    frame.extend([0, 0, if df { 0x40 } else { 0 }, 0, 64, protocol, 0, 0]);
    frame.extend(source.octets());
    frame.extend(target.octets());
    let check = !sum(0, &frame[14..34]) as u16;
    frame[24..26].copy_from_slice(&check.to_be_bytes());
    frame.extend(body);
    frame
}

/// The Ethernet addresses of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Macs {
    pub(super) source: [u8; 6],
    pub(super) target: [u8; 6],
}

impl Segment {
    /// The TCP header and payload, with checksum.
    fn body(&self) -> Vec<u8> {
        let mut options = Vec::new();
        self.options.iter().for_each(|option| option.write(&mut options));
        options.resize(options.len().next_multiple_of(4), 0);
        assert!(options.len() <= 40, "options of {} bytes do not fit into a header", options.len());
        let mut body = Vec::with_capacity(20 + options.len() + self.payload.len());
        body.extend(self.source.port().to_be_bytes());
        body.extend(self.target.port().to_be_bytes());
        body.extend(self.seq.to_be_bytes());
        body.extend(self.ack.to_be_bytes());
        body.extend([(((20 + options.len()) / 4) << 4) as u8, self.flags]);
        body.extend(self.window.to_be_bytes());
        body.extend([0, 0]);
        body.extend(self.urgent.to_be_bytes());
        body.extend(options);
        body.extend(&self.payload);
        let check = !sum(pseudo(*self.source.ip(), *self.target.ip(), 6, body.len()), &body) as u16;
        body[16..18].copy_from_slice(&check.to_be_bytes());
        body
    }

    /// The frame.
    pub(super) fn write(&self, macs: Macs) -> Vec<u8> {
        ipv4(*self.source.ip(), *self.target.ip(), macs, 6, self.tos, self.dont_fragment, &self.body())
    }

    /// An ICMP error of `router` that quotes this segment, as somebody would who saw it on its way. `rest` is the second
    /// word of the message: the MTU in "fragmentation needed".
    pub(super) fn icmp(&self, router: Ipv4Addr, macs: Macs, kind: u8, code: u8, rest: u32) -> Vec<u8> {
        let quoted = self.write(macs);
        let mut body = vec![kind, code, 0, 0];
        body.extend(rest.to_be_bytes());
        body.extend(&quoted[14..quoted.len().min(14 + 28)]);
        let check = !sum(0, &body) as u16;
        body[2..4].copy_from_slice(&check.to_be_bytes());
        ipv4(router, *self.source.ip(), macs, 1, 0, false, &body)
    }

    /// The flags as letters.
    pub(super) fn letters(&self) -> String {
        LETTERS.iter().filter(|(bit, _)| self.flags & bit != 0).map(|(_, letter)| *letter).collect()
    }
}

/// The answer of a router to a packet that it cannot pass on whole and may not cut (RFC 1191, 4): "fragmentation needed".
/// `start` is where the packet begins in the frame.
pub(super) fn fragmentation_needed(frame: &[u8], start: usize, mtu: u16) -> Vec<u8> {
    let packet = &frame[start..];
    let mut body = vec![3, 4, 0, 0, 0, 0];
    body.extend(mtu.to_be_bytes());
    body.extend(&packet[..packet.len().min(28)]);
    let check = !sum(0, &body) as u16;
    body[2..4].copy_from_slice(&check.to_be_bytes());
    let (sender, router) = (address_at(packet, 12), Ipv4Addr::new(10, 1, 0, 254));
    let macs = Macs { source: [2, 0, 0, 0, 9, 9], target: frame[6..12].try_into().expect("six bytes") };
    let plain = ipv4(router, sender, macs, 1, 0, false, &body);
    // The same tag, if there is one.
    [&plain[..12], &frame[12..start], &plain[14..]].concat()
}

impl Opt {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Mss(mss) => {
                out.extend([2, 4]);
                out.extend(mss.to_be_bytes());
            }
            Self::WindowScale(shift) => out.extend([3, 3, *shift]),
            Self::SackOk => out.extend([4, 2]),
            Self::Sack(blocks) => {
                out.extend([5, 2 + 8 * blocks.len() as u8]);
                for (left, right) in blocks {
                    out.extend(left.to_be_bytes());
                    out.extend(right.to_be_bytes());
                }
            }
            Self::Timestamp(value, echo) => {
                out.extend([8, 10]);
                out.extend(value.to_be_bytes());
                out.extend(echo.to_be_bytes());
            }
            Self::Nop => out.push(1),
            Self::End => out.push(0),
            Self::Other(kind, body) => {
                out.extend([*kind, 2 + body.len() as u8]);
                out.extend(body);
            }
        }
    }

    /// All options of a header, padding included.
    fn read(mut bytes: &[u8]) -> Result<Vec<Self>, String> {
        let mut options = Vec::new();
        while let [kind, rest @ ..] = bytes {
            if *kind <= 1 {
                options.push(if *kind == 1 { Self::Nop } else { Self::End });
                bytes = rest;
                continue;
            }
            let len = usize::from(*rest.first().ok_or("an option ends in its kind")?);
            let body = bytes.get(2..len).ok_or("an option that is longer than the header")?;
            let u32s: Vec<u32> =
                body.chunks_exact(4).map(|four| u32::from_be_bytes(four.try_into().expect("four"))).collect();
            options.push(match (*kind, body) {
                (2, [high, low]) => Self::Mss(u16::from_be_bytes([*high, *low])),
                (3, [shift]) => Self::WindowScale(*shift),
                (4, []) => Self::SackOk,
                (5, _) if body.len() % 8 == 0 => Self::Sack(u32s.chunks(2).map(|pair| (pair[0], pair[1])).collect()),
                (8, _) if body.len() == 8 => Self::Timestamp(u32s[0], u32s[1]),
                _ => Self::Other(*kind, body.to_vec()),
            });
            bytes = &bytes[len..];
        }
        Ok(options)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn address_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

impl Packet {
    /// Reads a frame, and says what is wrong with it if anything is: what we send must be right in every field.
    pub(super) fn read(frame: &[u8]) -> Result<Self, String> {
        if frame.len() < 14 {
            return Err(format!("a frame of {} bytes", frame.len()));
        }
        match u16_at(frame, 12) {
            0x8100 if frame.len() >= 18 => Self::read(&[&frame[..12], &frame[16..]].concat()),
            0x0800 => Self::read_ipv4(&frame[14..]),
            0x0806 if frame.len() >= 42 => Ok(Self::Arp {
                request: u16_at(frame, 20) == 1,
                sender: address_at(frame, 28),
                target: address_at(frame, 38),
            }),
            other => Err(format!("EtherType {other:#06x}")),
        }
    }

    fn read_ipv4(packet: &[u8]) -> Result<Self, String> {
        if packet.len() < 20 || packet[0] != 0x45 {
            return Err("no plain IPv4 header".into());
        }
        let total = usize::from(u16_at(packet, 2));
        if total != packet.len() {
            return Err(format!("total length {total} in a packet of {}", packet.len()));
        }
        if sum(0, &packet[..20]) != 0xffff {
            return Err("a wrong IPv4 header checksum".into());
        }
        let (source, target, body) = (address_at(packet, 12), address_at(packet, 16), &packet[20..]);
        let fragment = u16_at(packet, 6);
        if fragment & 0x3fff != 0 {
            let offset = usize::from(fragment & 0x1fff) * 8;
            return Ok(Self::Fragment { offset, len: body.len(), more: fragment & 0x2000 != 0 });
        }
        match packet[9] {
            1 if body.len() >= 8 && sum(0, body) == 0xffff => Ok(Self::Icmp { kind: body[0], code: body[1] }),
            1 => Err("a wrong ICMP checksum or length".into()),
            6 => Self::read_tcp(source, target, packet[1], fragment & 0x4000 != 0, body),
            17 if body.len() >= 8 => Ok(Self::Udp {
                source: SocketAddrV4::new(source, u16_at(body, 0)),
                target: SocketAddrV4::new(target, u16_at(body, 2)),
                len: body.len() - 8,
            }),
            other => Err(format!("IP protocol {other}")),
        }
    }

    fn read_tcp(source: Ipv4Addr, target: Ipv4Addr, tos: u8, df: bool, body: &[u8]) -> Result<Self, String> {
        let header = body.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
        if header < 20 || header > body.len() {
            return Err(format!("a TCP header of {header} bytes in {}", body.len()));
        }
        if sum(pseudo(source, target, 6, body.len()), body) != 0xffff {
            return Err("a wrong TCP checksum".into());
        }
        let u32_at = |at: usize| u32::from(u16_at(body, at)) << 16 | u32::from(u16_at(body, at + 2));
        Ok(Self::Tcp(Segment {
            source: SocketAddrV4::new(source, u16_at(body, 0)),
            target: SocketAddrV4::new(target, u16_at(body, 2)),
            seq: u32_at(4),
            ack: u32_at(8),
            flags: body[13],
            window: u16_at(body, 14),
            urgent: u16_at(body, 18),
            options: Opt::read(&body[20..header])?,
            payload: body[header..].to_vec(),
            tos,
            dont_fragment: df,
        }))
    }
}

impl fmt::Display for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mss(mss) => write!(f, "mss {mss}"),
            Self::WindowScale(shift) => write!(f, "wscale {shift}"),
            Self::SackOk => f.write_str("sackOK"),
            Self::Sack(blocks) => {
                f.write_str("sack")?;
                blocks.iter().try_for_each(|(left, right)| write!(f, " {left}:{right}"))
            }
            Self::Timestamp(value, echo) => write!(f, "TS val {value} ecr {echo}"),
            Self::Nop => f.write_str("nop"),
            Self::End => f.write_str("eol"),
            Self::Other(kind, body) => write!(f, "kind {kind} of {}", body.len() + 2),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.seq.wrapping_add(self.payload.len() as u32);
        write!(f, "{} {}:{end}({})", self.letters(), self.seq, self.payload.len())?;
        if self.flags & ACK != 0 {
            write!(f, " ack {}", self.ack)?;
        }
        write!(f, " win {}", self.window)?;
        if self.urgent != 0 {
            write!(f, " urg {}", self.urgent)?;
        }
        if !self.options.is_empty() {
            let options: Vec<String> = self.options.iter().map(ToString::to_string).collect();
            write!(f, " <{}>", options.join(","))?;
        }
        Ok(())
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(segment) => write!(f, "{} > {} {segment}", segment.source, segment.target),
            Self::Arp { request: true, sender, target } => write!(f, "ARP who has {target} tell {sender}"),
            Self::Arp { sender, .. } => write!(f, "ARP {sender} is here"),
            Self::Icmp { kind, code } => write!(f, "ICMP type {kind} code {code}"),
            Self::Udp { source, target, len } => write!(f, "{source} > {target} UDP {len}"),
            Self::Fragment { offset, len, more } => {
                write!(f, "fragment {offset}+{len}{}", if *more { "…" } else { "" })
            }
        }
    }
}
