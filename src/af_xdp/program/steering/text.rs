//! Steering as text, both ways.

use super::{ARP, ICMP4, ICMP6, IPV4, IPV6, Ports, Prefix, Protocol, Rule, SCTP, Steering, TCP, UDP, bad};
use crate::errors::{Error, Result};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// What may be written, for messages.
const TERMS: &str = "terms joined by `,` (and) into rules joined by `+` (or): all, none, pass, tcp[:PORT[-PORT]], \
                     udp[:…], sctp[:…], icmp, icmp4, icmp6, proto:N, arp, ipv4, ipv6, ether:0xN, ADDRESS[/N], \
                     src:ADDRESS[/N], dst:ADDRESS[/N], sport:PORT[-PORT], dport:PORT[-PORT], frag";

impl FromStr for Steering {
    type Err = Error;

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] naming the term or rule, and what is legal there.
    fn from_str(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Self::none());
        }
        let rules: Vec<Rule> = text.split('+').map(|rule| parse_rule(rule, text)).collect::<Result<_>>()?;
        Self::new(rules)
    }
}

fn parse_rule(text: &str, whole: &str) -> Result<Rule> {
    let mut rule = Rule::any();
    for term in text.split(',') {
        if term.is_empty() {
            return Err(bad(whole.to_owned(), format!("no empty term; {TERMS}")));
        }
        if term == "all" && text != "all" && text != "pass,all" {
            return Err(bad(
                text.to_owned(),
                "`all` as a rule of its own: a rule without it is narrower anyway".into(),
            ));
        }
        if term == "none" {
            return Err(bad(whole.to_owned(), "`none` alone, or rules without it".into()));
        }
        add(&mut rule, term, text)?;
    }
    Ok(rule)
}

/// Sets a part of a rule that no other term may have set.
fn set<T>(place: &mut Option<T>, value: T, what: &str, rule: &str) -> Result<()> {
    if place.is_some() {
        return Err(bad(
            rule.to_owned(),
            format!("one {what} in a rule: terms joined by `,` must all hold; write `+` between alternatives"),
        ));
    }
    *place = Some(value);
    Ok(())
}

fn add(rule: &mut Rule, term: &str, text: &str) -> Result<()> {
    // First of all, because IPv6 addresses are full of colons.
    let bare = term.split('/').next().unwrap_or(term);
    if bare.parse::<IpAddr>().is_ok() {
        return set(&mut rule.dst, parse_prefix(term, term)?, "destination", text);
    }
    let (key, value) = match term.split_once(':') {
        Some((key, value)) => (key, Some(value)),
        None => (term, None),
    };
    let protocol = |number| Protocol::Number(number);
    match (key, value) {
        ("all", None) => {}
        ("pass", None) => rule.pass = true,
        ("frag", None) => rule.fragments = true,
        ("tcp" | "udp" | "sctp", ports) => {
            let number = match key {
                "tcp" => TCP,
                "udp" => UDP,
                _ => SCTP,
            };
            set(&mut rule.protocol, protocol(number), "protocol", text)?;
            if let Some(ports) = ports {
                set(&mut rule.dport, parse_ports(ports, term)?, "range of destination ports", text)?;
            }
        }
        ("icmp", None) => set(&mut rule.protocol, Protocol::Icmp, "protocol", text)?,
        ("icmp4" | "icmp6", None) => {
            let (number, ethertype) = if key == "icmp4" { (ICMP4, IPV4) } else { (ICMP6, IPV6) };
            set(&mut rule.protocol, protocol(number), "protocol", text)?;
            set(&mut rule.ethertype, ethertype, "ethertype", text)?;
        }
        ("proto", Some(number)) => {
            let number = parse_number(number).and_then(|number| u8::try_from(number).ok());
            let number = number.ok_or_else(|| bad(term.to_owned(), "an IP protocol number from 0 to 255".into()))?;
            set(&mut rule.protocol, protocol(number), "protocol", text)?;
        }
        ("arp", None) => set(&mut rule.ethertype, ARP, "ethertype", text)?,
        ("ipv4", None) => set(&mut rule.ethertype, IPV4, "ethertype", text)?,
        ("ipv6", None) => set(&mut rule.ethertype, IPV6, "ethertype", text)?,
        ("ether", Some(number)) => {
            let number = parse_number(number).and_then(|number| u16::try_from(number).ok());
            let number = number.filter(|number| *number >= 0x600);
            let number = number.ok_or_else(|| {
                bad(term.to_owned(), "an ethertype from 0x600 to 0xffff, such as ether:0x88cc".into())
            })?;
            set(&mut rule.ethertype, number, "ethertype", text)?;
        }
        ("dst" | "ip", Some(prefix)) => set(&mut rule.dst, parse_prefix(prefix, term)?, "destination", text)?,
        ("src", Some(prefix)) => set(&mut rule.src, parse_prefix(prefix, term)?, "source", text)?,
        ("dport", Some(ports)) => {
            set(&mut rule.dport, parse_ports(ports, term)?, "range of destination ports", text)?;
        }
        ("sport", Some(ports)) => set(&mut rule.sport, parse_ports(ports, term)?, "range of source ports", text)?,
        _ if parse_ports(term, term).is_ok() => {
            return Err(bad(
                term.to_owned(),
                format!("a word before a port, and `+` between alternatives, such as tcp:80+tcp:{term}"),
            ));
        }
        _ => return Err(bad(term.to_owned(), TERMS.to_owned())),
    }
    Ok(())
}

fn parse_number(text: &str) -> Option<u32> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    // `from_str_radix` would take a sign.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(digits, radix).ok())?
}

fn parse_ports(text: &str, term: &str) -> Result<Ports> {
    let port = |text| parse_number(text).and_then(|number| u16::try_from(number).ok());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(bad(term.to_owned(), "a port from 0 to 65535, or a range such as 8000-8999".into())),
    }
}

fn parse_prefix(text: &str, term: &str) -> Result<Prefix> {
    let wrong = || bad(term.to_owned(), "an address or prefix, such as 10.0.0.2, 10.0.0.0/24 or fd00::/64".into());
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => {
            let length = parse_number(length).and_then(|length| u8::try_from(length).ok());
            (address, Some(length.ok_or_else(wrong)?))
        }
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    match length {
        Some(length) => Prefix::new(address, length),
        None => Ok(address.into()),
    }
}

impl FromStr for Prefix {
    type Err = Error;

    /// Reads `10.0.0.0/24`, `fd00::/64`, or one address.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`] for anything else.
    fn from_str(text: &str) -> Result<Self> {
        parse_prefix(text, text)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match (self.address, self.length) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => Ok(()),
            (_, length) => write!(f, "/{length}"),
        }
    }
}

/// The text form, which reads back as the same steering.
impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rules.is_empty() {
            return f.write_str("none");
        }
        for (i, rule) in self.rules.iter().enumerate() {
            write!(f, "{}{rule}", if i == 0 { "" } else { "+" })?;
        }
        Ok(())
    }
}

/// The text form of one rule.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms: Vec<String> = Vec::new();
        let ports = |(first, last): Ports| if first == last { first.to_string() } else { format!("{first}-{last}") };
        if self.pass {
            terms.push("pass".into());
        }
        let mut ethertype = self.ethertype;
        let mut dport = self.dport;
        match (self.protocol, ethertype) {
            (Some(Protocol::Number(ICMP4)), Some(IPV4)) => (ethertype, _) = (None, terms.push("icmp4".into())),
            (Some(Protocol::Number(ICMP6)), Some(IPV6)) => (ethertype, _) = (None, terms.push("icmp6".into())),
            (Some(Protocol::Number(number @ (TCP | UDP | SCTP))), _) => {
                let name = match number {
                    TCP => "tcp",
                    UDP => "udp",
                    _ => "sctp",
                };
                terms.push(dport.take().map_or(name.into(), |range| format!("{name}:{}", ports(range))));
            }
            (Some(Protocol::Number(number)), _) => terms.push(format!("proto:{number}")),
            (Some(Protocol::Icmp), _) => terms.push("icmp".into()),
            (None, _) => {}
        }
        match ethertype {
            Some(ARP) => terms.push("arp".into()),
            Some(IPV4) => terms.push("ipv4".into()),
            Some(IPV6) => terms.push("ipv6".into()),
            Some(number) => terms.push(format!("ether:{number:#x}")),
            None => {}
        }
        terms.extend(self.src.map(|prefix| format!("src:{prefix}")));
        terms.extend(self.dst.map(|prefix| prefix.to_string()));
        terms.extend(self.sport.map(|range| format!("sport:{}", ports(range))));
        terms.extend(dport.map(|range| format!("dport:{}", ports(range))));
        if self.fragments {
            terms.push("frag".into());
        }
        if terms.is_empty() {
            terms.push("all".into());
        }
        f.write_str(&terms.join(","))
    }
}
