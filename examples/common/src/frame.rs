//! Frames to generate: Ethernet, IPv4 or IPv6, UDP.

use crate::Failure;
use crate::args::Mac;
use crate::stamp::{self, Stamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The smallest frame without its FCS: what is shorter does not exist on Ethernet.
pub const MIN_FRAME: usize = 60;

/// The largest: an IPv4 packet of 65535 bytes.
pub const MAX_FRAME: usize = ETHERNET + 65_535;

const ETHERNET: usize = 14;
const UDP: usize = 8;
const UDP_PROTOCOL: u8 = 17;

/// An address and a UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// IPv4 or IPv6.
    pub ip: IpAddr,
    /// UDP port.
    pub port: u16,
}

impl Endpoint {
    /// "discard": whoever receives it by mistake throws it away.
    pub const DEFAULT_PORT: u16 = 9;
}

/// A UDP frame to be.
#[derive(Clone, Copy, Debug)]
pub struct UdpFrame {
    /// Ethernet source.
    pub src_mac: Mac,
    /// Ethernet destination.
    pub dst_mac: Mac,
    /// IP and UDP source.
    pub src: Endpoint,
    /// IP and UDP destination, of the same family.
    pub dst: Endpoint,
    /// Bytes of the frame without its FCS.
    pub size: usize,
    /// Whether stamps will be written into it.
    pub stamped: bool,
}

impl UdpFrame {
    /// Bytes in front of the UDP payload.
    #[must_use]
    pub fn header_len(&self) -> usize {
        ETHERNET + if self.dst.ip.is_ipv4() { 20 } else { 40 } + UDP
    }

    /// The smallest size such a frame can have.
    #[must_use]
    pub fn min_size(&self) -> usize {
        MIN_FRAME.max(self.header_len() + if self.stamped { stamp::LEN } else { 0 })
    }

    /// Builds the frame, without a stamp in it.
    ///
    /// # Errors
    ///
    /// [`Failure::usage`] if the size is too small for its headers and stamp or too large for IP, or if the addresses
    /// are not of one family.
    pub fn template(&self) -> Result<Template, Failure> {
        let min = self.min_size();
        if self.size < min {
            let family = if self.dst.ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let stamped = if self.stamped { " with a stamp (--no-stamp leaves it out)" } else { "" };
            return Err(Failure::usage(format!(
                "--size {}: an {family} UDP frame{stamped} has at least {min} bytes, without FCS",
                self.size
            )));
        }
        if self.size > MAX_FRAME {
            return Err(Failure::usage(format!("--size {}: an IP frame has at most {MAX_FRAME} bytes", self.size)));
        }
        let mut bytes = Vec::with_capacity(self.size);
        bytes.extend(self.dst_mac.0);
        bytes.extend(self.src_mac.0);
        match (self.src.ip, self.dst.ip) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4(&mut bytes, src, dst, self.size - ETHERNET),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6(&mut bytes, src, dst, self.size - ETHERNET),
            (src, dst) => {
                return Err(Failure::usage(format!("--src {src} and --dst {dst} must both be IPv4 or both IPv6")));
            }
        }
        let udp_at = bytes.len();
        let udp_len = self.size - udp_at;
        bytes.extend(self.src.port.to_be_bytes());
        bytes.extend(self.dst.port.to_be_bytes());
        bytes.extend((udp_len as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.resize(self.size, 0);
        // Addresses stand right in front of the UDP header in both families.
        let addresses = &bytes[if self.dst.ip.is_ipv4() { udp_at - 8 } else { udp_at - 32 }..udp_at];
        let base_sum = sum(addresses, u32::from(UDP_PROTOCOL) + udp_len as u32);
        let base_sum = sum(&bytes[udp_at..], base_sum);
        let mut template = Template { bytes, udp_at, base_sum };
        let checksum = finish(base_sum);
        template.bytes[udp_at + 6..udp_at + 8].copy_from_slice(&checksum);
        Ok(template)
    }
}

fn ipv4(out: &mut Vec<u8>, src: Ipv4Addr, dst: Ipv4Addr, total: usize) {
    const DONT_FRAGMENT: u8 = 0x40;
    out.extend([0x08, 0x00]);
    let at = out.len();
    out.extend([0x45, 0]);
    out.extend((total as u16).to_be_bytes());
    out.extend([0, 0, DONT_FRAGMENT, 0, 64, UDP_PROTOCOL, 0, 0]);
    out.extend(src.octets());
    out.extend(dst.octets());
    let checksum = !fold(sum(&out[at..], 0));
    out[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
}

fn ipv6(out: &mut Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr, total: usize) {
    out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    out.extend(((total - 40) as u16).to_be_bytes());
    out.extend([UDP_PROTOCOL, 64]);
    out.extend(src.octets());
    out.extend(dst.octets());
}

/// One's complement sum (RFC 1071), not folded. Enough room for 64 KiB.
#[inline]
fn sum(bytes: &[u8], start: u32) -> u32 {
    let words = bytes.chunks_exact(2);
    let last = words.remainder().first().map_or(0, |last| u32::from(*last) << 8);
    words.fold(start + last, |acc, word| acc + u32::from(u16::from_be_bytes([word[0], word[1]])))
}

#[inline]
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A UDP checksum: zero is written as all ones (RFC 768; RFC 8200, 8.1).
#[inline]
fn finish(sum: u32) -> [u8; 2] {
    match !fold(sum) {
        0 => [0xff; 2],
        checksum => checksum.to_be_bytes(),
    }
}

/// A frame from which others are made by writing a stamp into it.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    udp_at: usize,
    /// Sum over pseudo-header, UDP header with its checksum zero, and a payload without a stamp.
    base_sum: u32,
}

impl Template {
    /// The frame without a stamp.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes a stamp into a copy of this template and sets its checksum right.
    ///
    /// # Panics
    ///
    /// If `frame` is shorter than the template, or the template was made without room for a stamp.
    #[inline]
    pub fn stamp(&self, frame: &mut [u8], stamp: &Stamp) {
        let stamp = stamp.encode();
        let payload = self.udp_at + UDP;
        frame[payload..payload + stamp::LEN].copy_from_slice(&stamp);
        frame[payload - 2..payload].copy_from_slice(&finish(sum(&stamp, self.base_sum)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(src: &str, dst: &str, size: usize, stamped: bool) -> UdpFrame {
        let at = |ip: &str, port| Endpoint { ip: ip.parse().unwrap(), port };
        UdpFrame {
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: Mac([2, 0, 0, 0, 0, 2]),
            src: at(src, 1000),
            dst: at(dst, 2000),
            size,
            stamped,
        }
    }

    /// Checks a frame from scratch: lengths and both checksums.
    fn verify(bytes: &[u8]) {
        let v4 = bytes[12..14] == [8, 0];
        let (udp_at, pseudo) = if v4 {
            assert_eq!(fold(sum(&bytes[14..34], 0)), 0xffff, "IPv4 header checksum");
            assert_eq!(usize::from(u16::from_be_bytes([bytes[16], bytes[17]])), bytes.len() - 14);
            (34, &bytes[26..34])
        } else {
            assert_eq!(usize::from(u16::from_be_bytes([bytes[18], bytes[19]])), bytes.len() - 54);
            (54, &bytes[22..54])
        };
        let len = bytes.len() - udp_at;
        assert_eq!(usize::from(u16::from_be_bytes([bytes[udp_at + 4], bytes[udp_at + 5]])), len);
        assert_ne!(bytes[udp_at + 6..udp_at + 8], [0, 0], "UDP checksum absent");
        assert_eq!(fold(sum(&bytes[udp_at..], sum(pseudo, 17 + len as u32))), 0xffff, "UDP checksum");
    }

    #[test]
    fn checksums_and_lengths_are_right_with_and_without_stamps() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"), ("255.255.255.255", "255.255.255.255")] {
            for size in [60, 61, 80, 81, 1514, 9014, 65_535 + 14] {
                for stamped in [false, true] {
                    let frame = frame(src, dst, size, stamped);
                    if size < frame.min_size() {
                        assert!(frame.template().is_err());
                        continue;
                    }
                    let template = frame.template().unwrap();
                    assert_eq!(template.bytes().len(), size);
                    verify(template.bytes());
                    if !stamped {
                        continue;
                    }
                    let mut copy = template.bytes().to_vec();
                    for n in 0..70_000u64 {
                        let stamp = Stamp { stream: 7, sequence: n, time_ns: n * 77_777 };
                        template.stamp(&mut copy, &stamp);
                        if n % 997 == 0 {
                            verify(&copy);
                            assert_eq!(Stamp::find(&copy), Some(stamp));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_ones() {
        let template = frame("10.0.0.1", "10.0.0.2", 60, true).template().unwrap();
        let mut copy = template.bytes().to_vec();
        let hit = (0..100_000).find(|n| {
            template.stamp(&mut copy, &Stamp { sequence: *n, ..Stamp::default() });
            copy[40..42] == [0xff, 0xff]
        });
        assert!(hit.is_some(), "one stamp in 65536 has that checksum");
        verify(&copy);
    }

    #[test]
    fn impossible_frames_are_refused_with_the_limit() {
        let text = |f: UdpFrame| f.template().unwrap_err().to_string();
        assert!(text(frame("10.0.0.1", "10.0.0.2", 59, false)).contains("at least 60"));
        assert!(text(frame("fd00::1", "fd00::2", 79, true)).contains("at least 80"));
        assert!(text(frame("fd00::1", "fd00::2", 61, false)).contains("at least 62"));
        assert!(text(frame("10.0.0.1", "10.0.0.2", 70_000, true)).contains("at most 65549"));
        assert!(text(frame("10.0.0.1", "fd00::2", 100, true)).contains("both"));
    }
}
