//! Steering: which packets go to the sockets of an interface; the rest stays with the kernel, so that ssh lives.
//!
//! A [`Steering`] is a list of rules. The first [`Rule`] that matches a packet decides; a packet that none matches goes
//! to the kernel. A rule is a set of terms, all of which must hold. Both can be built in Rust or written as text:
//!
//! ```text
//! steering = "all" | "none" | rule *( "+" rule )     rules in order; the first that matches decides
//! rule     = term *( "," term )                      all terms must hold
//! term     = "pass"                                  the packets of this rule go to the kernel
//!          | "tcp" [ ":" ports ] | "udp" [ ":" ports ] | "sctp" [ ":" ports ]      destination ports
//!          | "icmp" | "icmp4" | "icmp6" | "proto:" number
//!          | "arp" | "ipv4" | "ipv6" | "ether:" number
//!          | [ "dst:" | "ip:" ] address [ "/" length ]                             destination
//!          | "src:" address [ "/" length ]
//!          | "dport:" ports | "sport:" ports          of any protocol that has ports
//!          | "frag"                                   fragments
//! ports    = number [ "-" number ]
//! ```
//!
//! | text | takes |
//! |---|---|
//! | `10.0.0.2` | everything for that address, ARP for it included |
//! | `tcp:80+tcp:443+tcp:8000-8999` | three services, of every address of the machine |
//! | `10.0.0.2,udp,dport:53+arp,10.0.0.2` | DNS of one address, and ARP for it |
//! | `pass,tcp:22+all` | everything but ssh |
//!
//! # What a term looks at
//!
//! * Up to two VLAN tags (0x8100, 0x88a8, 0x9100) are skipped: terms see what is behind them. (A tag that the card has
//!   taken out, `ethtool -k`: rx-vlan-offload, is not in the frame at all.)
//! * IPv4 options and up to six IPv6 extension headers are skipped to find protocol and ports. (Extension headers only
//!   from Linux 5.18 on; before, the first one counts as the protocol, and the socket's mode has a note about it.)
//! * **ARP**: addresses are the sender's and the target's protocol address. A term of an address alone therefore takes
//!   IP *and* ARP of it; `ipv4,10.0.0.2` leaves ARP out.
//! * **Neighbour solicitation** (the ARP of IPv6) goes to a multicast address; for it the destination is the address
//!   asked for. `fd00::2` therefore takes what a stack of that address needs.
//! * **Fragments** never match a term about ports, not even the first one: all fragments of a datagram go the same way,
//!   by address and protocol. (A first fragment that went to one stack and the others to another would be lost in both.)
//!   `udp` takes them, `udp:53` leaves them to the kernel, `udp,frag` takes them alone. IPv6's "atomic" fragments, which
//!   are whole datagrams (RFC 6946), count as such.
//! * A header that is cut short or not valid (IP version, header length) matches no term that looks into it, but still
//!   those about the ethertype, and `all`.

mod matching;
mod text;

use super::emit;
use crate::errors::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

pub(super) use super::asm::Insn;

/// Most rules of a steering.
pub const MAX_RULES: usize = 512;

pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;
/// The ethertypes of VLAN tags.
pub(super) const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// How many VLAN tags are skipped.
pub(super) const TAGS: usize = 2;
/// How many IPv6 extension headers are skipped.
pub(super) const EXTENSIONS: usize = 6;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;
pub(super) const ICMP4: u8 = 1;
pub(super) const ICMP6: u8 = 58;
/// Protocols that begin with a source and a destination port: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub(super) const WITH_PORTS: [u8; 5] = [TCP, UDP, 33, SCTP, 136];

/// Which packets go to the sockets; the rest goes on to the kernel's stack. See the
/// [module](crate::af_xdp::program::steering) for the text form and for what exactly is looked at.
///
/// ```
/// use nethuns_rs::af_xdp::program::steering::{Rule, Steering};
/// # fn main() -> nethuns_rs::Result<()> {
/// let text: Steering = "pass,tcp:22+10.0.0.2,udp,dport:53".parse()?;
/// let built = Steering::new([
///     Rule::tcp().to_port(22).pass(),
///     Rule::udp().to("10.0.0.2".parse()?).to_port(53),
/// ])?;
/// assert_eq!(text, built);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering {
    rules: Vec<Rule>,
}

impl Steering {
    /// Every packet.
    #[must_use]
    pub fn all() -> Self {
        Self { rules: vec![Rule::any()] }
    }

    /// No packet: for sockets that only send.
    #[must_use]
    pub fn none() -> Self {
        Self { rules: Vec::new() }
    }

    /// Rules in order: the first that matches a packet decides.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] for more than [`MAX_RULES`] rules and for a rule that contradicts
    /// itself.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Self> {
        let rules: Vec<Rule> = rules.into_iter().collect();
        if rules.len() > MAX_RULES {
            return Err(bad(format!("{} rules", rules.len()), format!("at most {MAX_RULES}")));
        }
        rules.iter().try_for_each(Rule::check)?;
        Ok(Self { rules })
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a program of this steering must walk along IPv6 extension headers.
    pub(super) fn looks_behind_extensions(&self) -> bool {
        let decided = self.rules.iter().position(Rule::is_any).unwrap_or(self.rules.len());
        let deep = |rule: &Rule| {
            rule.protocol.is_some()
                || rule.sport.is_some()
                || rule.dport.is_some()
                || rule.fragments
                || rule.dst.is_some()
        };
        self.rules[..decided].iter().any(|rule| deep(rule) && rule.admits(Family::Ipv6))
    }

    /// The program: redirects by receive queue into the XSKMAP behind a descriptor, or passes.
    pub(super) fn compile(&self, map: i32, walk: emit::Walk) -> Result<Vec<Insn>> {
        emit::program(self, map, walk).map_err(|_| bad(format!("{} rules", self.rules.len()), "fewer rules".into()))
    }
}

fn bad(value: String, expected: String) -> Error {
    Error::BadOption { option: "steer", value, expected }
}

/// One rule: terms that must all hold, and where packets go for which they do. A new rule has no terms and takes
/// everything; each method adds one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub(super) pass: bool,
    pub(super) ethertype: Option<u16>,
    pub(super) protocol: Option<Protocol>,
    pub(super) src: Option<Prefix>,
    pub(super) dst: Option<Prefix>,
    pub(super) sport: Option<Ports>,
    pub(super) dport: Option<Ports>,
    pub(super) fragments: bool,
}

/// The protocol of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Number(u8),
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp,
}

/// First and last port.
pub(super) type Ports = (u16, u16);

/// The kinds of packets, each of which the program tests in a part of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
    Arp,
    /// Anything else, headers that are not valid included.
    Other,
}

impl Rule {
    /// Every packet.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// TCP over IPv4 and IPv6.
    #[must_use]
    pub fn tcp() -> Self {
        Self::protocol(TCP)
    }

    /// UDP over IPv4 and IPv6.
    #[must_use]
    pub fn udp() -> Self {
        Self::protocol(UDP)
    }

    /// ICMP over IPv4 and ICMPv6 over IPv6.
    #[must_use]
    pub fn icmp() -> Self {
        Self { protocol: Some(Protocol::Icmp), ..Self::default() }
    }

    /// ICMP over IPv4 only.
    #[must_use]
    pub fn icmp4() -> Self {
        Self { ethertype: Some(IPV4), ..Self::protocol(ICMP4) }
    }

    /// ICMPv6 over IPv6 only.
    #[must_use]
    pub fn icmp6() -> Self {
        Self { ethertype: Some(IPV6), ..Self::protocol(ICMP6) }
    }

    /// An IP protocol by its number.
    #[must_use]
    pub fn protocol(number: u8) -> Self {
        Self { protocol: Some(Protocol::Number(number)), ..Self::default() }
    }

    /// ARP.
    #[must_use]
    pub fn arp() -> Self {
        Self::ethertype(ARP)
    }

    /// An ethertype, behind VLAN tags.
    #[must_use]
    pub fn ethertype(number: u16) -> Self {
        Self { ethertype: Some(number), ..Self::default() }
    }

    /// To these addresses. For ARP the target's address counts, for a neighbour solicitation the address asked for.
    #[must_use]
    pub fn to(mut self, prefix: Prefix) -> Self {
        self.dst = Some(prefix);
        self
    }

    /// From these addresses. For ARP the sender's address counts.
    #[must_use]
    pub fn from(mut self, prefix: Prefix) -> Self {
        self.src = Some(prefix);
        self
    }

    /// To this port.
    #[must_use]
    pub fn to_port(self, port: u16) -> Self {
        self.to_ports(port..=port)
    }

    /// To these ports.
    #[must_use]
    pub fn to_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.dport = Some((*ports.start(), *ports.end()));
        self
    }

    /// From this port.
    #[must_use]
    pub fn from_port(self, port: u16) -> Self {
        self.from_ports(port..=port)
    }

    /// From these ports.
    #[must_use]
    pub fn from_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.sport = Some((*ports.start(), *ports.end()));
        self
    }

    /// Fragments of IP datagrams only.
    #[must_use]
    pub fn fragments(mut self) -> Self {
        self.fragments = true;
        self
    }

    /// The packets of this rule go to the kernel.
    #[must_use]
    pub fn pass(mut self) -> Self {
        self.pass = true;
        self
    }

    /// Whether the rule looks at nothing.
    pub(super) fn is_any(&self) -> bool {
        *self == Self { pass: self.pass, ..Self::default() }
    }

    /// Whether packets of this kind may match, as far as the kind decides.
    pub(super) fn admits(&self, family: Family) -> bool {
        let above_ip = self.protocol.is_some() || self.sport.is_some() || self.dport.is_some() || self.fragments;
        let addresses = [self.src, self.dst].into_iter().flatten();
        let (of_v4, of_v6) = addresses
            .fold((true, true), |(v4, v6), prefix| (v4 && prefix.address.is_ipv4(), v6 && prefix.address.is_ipv6()));
        let ethertype = |number| self.ethertype.is_none_or(|wanted| wanted == number);
        match family {
            Family::Ipv4 => ethertype(IPV4) && of_v4,
            Family::Ipv6 => ethertype(IPV6) && of_v6,
            Family::Arp => ethertype(ARP) && of_v4 && !above_ip,
            Family::Other => !above_ip && self.src.is_none() && self.dst.is_none(),
        }
    }

    /// The number that the protocol field must have.
    pub(super) fn protocol_in(&self, family: Family) -> Option<u8> {
        self.protocol.map(|protocol| match protocol {
            Protocol::Number(number) => number,
            Protocol::Icmp if family == Family::Ipv6 => ICMP6,
            Protocol::Icmp => ICMP4,
        })
    }

    /// Refuses a rule that no packet can match.
    fn check(&self) -> Result<()> {
        let wrong = |expected: &str| Err(bad(self.to_string(), expected.to_owned()));
        for (first, last) in [self.sport, self.dport].into_iter().flatten() {
            if first > last {
                return wrong("a range of ports whose first is not above its last");
            }
        }
        if self.ethertype.is_some_and(|number| number < 0x600) {
            return wrong("an ethertype from 0x600 to 0xffff (smaller numbers are lengths)");
        }
        let ports = self.sport.is_some() || self.dport.is_some();
        match self.protocol {
            Some(Protocol::Number(number)) if ports && !WITH_PORTS.contains(&number) => {
                return wrong("ports together with a protocol that has them: tcp, udp, sctp, or none named");
            }
            Some(Protocol::Icmp) if ports => return wrong("no ports together with icmp, which has none"),
            _ => {}
        }
        if ports && self.fragments {
            return wrong("`frag` or ports: only whole packets have ports, fragments go by address and protocol");
        }
        if [Family::Ipv4, Family::Ipv6, Family::Arp, Family::Other].iter().all(|family| !self.admits(*family)) {
            return wrong(
                "terms that one packet can meet: addresses of one family; addresses, protocols and ports only with ipv4 or \
                 ipv6 (addresses also with arp)",
            );
        }
        Ok(())
    }
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The addresses that share `length` leading bits with `address`; its other bits are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] if the address has fewer bits.
    pub fn new(address: IpAddr, length: u8) -> Result<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length > bits {
            return Err(bad(format!("{address}/{length}"), format!("a prefix length from 0 to {bits}")));
        }
        let address = match address {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask(length, 32) as u32).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask(length, 128)).into(),
        };
        Ok(Self { address, length })
    }

    /// The address, with zeros behind the prefix.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }
}

/// The first `length` of `bits` bits set.
pub(super) fn mask(length: u8, bits: u32) -> u128 {
    let all = u128::MAX >> (128 - bits);
    all & !all.checked_shr(u32::from(length)).unwrap_or(0)
}

/// One address.
impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }
}
