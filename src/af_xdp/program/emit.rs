//! A steering as a BPF program.
//!
//! ```text
//!   Ethernet, up to two tags ──▶ IPv4: protocol, ports ──────────────▶ its rules ──▶ redirect or pass
//!                            ├─▶ IPv6: extension headers, ports ─────▶ its rules ──▶ …
//!                            ├─▶ ARP ────────────────────────────────▶ its rules
//!                            └─▶ anything else, and what is not valid ▶ its rules
//! ```
//!
//! Each kind has a chain of the rules that its packets may match, so that a chain tests little and no rule is tried in
//! vain. Addresses are compared in the byte order of memory, ports in the machine's. While a chain runs:
//!
//! | register | holds |
//! |---|---|
//! | r0, r1, r2 | scratch |
//! | r3 | not zero: a fragment |
//! | r4, r5 | destination and source port, or [`NO_PORT`] |
//! | r6 | the context (`struct xdp_md`) |
//! | r7 | protocol (IPv4, IPv6) or ethertype (others) |
//! | r8, r9 | before: the header behind Ethernet, the end of the packet |
//! | stack | the addresses at [`SRC`] and [`DST`] |
//!
//! The verifier must see that every load is below the end of the packet, that every instruction can be reached, and that
//! all ends: there are no loops and jumps go forward only. It also walks every path, and gives up after a million steps.
//! It joins paths whose registers it need not tell apart. So a chain has no pointers into the packet, whose proven
//! lengths differ from path to path, and the verifier must not learn from a test: what is compared is masked first, which
//! makes it a number of its own that says nothing about where it was copied from.
//!
//! A process with CAP_BPF but without CAP_PERFMON may not add an unknown number to a packet pointer. So IPv4 headers of
//! each length have instructions of their own, and IPv6 extension headers, whose lengths are too many for that, are
//! fetched by a helper of Linux 5.18. Before, they are not skipped ([`Walk`]).

use super::asm::If::{Above, Below, Equal, NotEqual};
use super::asm::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};
use super::asm::Width::{Byte, Double, Half, Word};
use super::asm::{Assembler, If, Insn, Label, Reg, TooFar, Width};
use super::steering::{
    ARP, EXTENSIONS, Family, ICMP6, IPV4, IPV6, Ports, Prefix, Rule, Steering, TAGS, VLAN, WITH_PORTS, mask,
};
use std::net::IpAddr;

/// What no port is.
const NO_PORT: i32 = 0x1_0000;
/// Where the addresses are on the stack, 16 bytes each, of which IPv4 uses the first four.
const SRC: i16 = -16;
const DST: i16 = -32;
/// The ICMPv6 type (RFC 4861).
const NEIGHBOUR_SOLICITATION: u32 = 135;
const XDP_PASS: i32 = 2;
/// Where extension headers are fetched to: 24 bytes.
const FETCHED: i16 = -56;
/// `bpf_xdp_load_bytes` of `linux/bpf.h`: context, offset, buffer, length; 0 if the packet is long enough.
const XDP_LOAD_BYTES: i32 = 189;
/// `bpf_redirect_map`: map, key, what to do if the slot is empty.
const REDIRECT_MAP: i32 = 51;
/// `rx_queue_index` of `struct xdp_md`; `data` is at 0, `data_end` at 4.
const RX_QUEUE_INDEX: i16 = 16;

/// Whether IPv6 extension headers are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Yes; the kernel has `bpf_xdp_load_bytes`.
    Extensions,
    /// No: the first one counts as the protocol.
    Nothing,
}

/// The program of a steering that redirects into the XSKMAP behind a descriptor.
pub fn program(steering: &Steering, map: i32, walk: Walk) -> Result<Vec<Insn>, TooFar> {
    let mut asm = Assembler::default();
    asm.copy(R6, R1);
    match steering.rules() {
        [] => verdict(&mut asm, false, map),
        [first, ..] if first.is_any() => verdict(&mut asm, !first.pass, map),
        rules => Emitter { asm: &mut asm, rules, map, walk }.packets(),
    }
    asm.finish()
}

/// Ends the program.
fn verdict(asm: &mut Assembler, redirect: bool, map: i32) {
    if redirect {
        asm.load(Word, R2, R6, RX_QUEUE_INDEX);
        asm.set_map(R1, map);
        // What to do if the slot is empty.
        asm.set(R3, XDP_PASS);
        asm.call(REDIRECT_MAP);
    } else {
        asm.set(R0, XDP_PASS);
    }
    asm.exit();
}

struct Emitter<'a> {
    asm: &'a mut Assembler,
    rules: &'a [Rule],
    map: i32,
    walk: Walk,
}

impl Emitter<'_> {
    fn packets(&mut self) {
        let [ipv4, ipv6, arp, other, runt] = std::array::from_fn(|_| self.asm.label());
        self.asm.load(Word, R8, R6, 0);
        self.asm.load(Word, R9, R6, 4);
        self.need(R8, 14, runt);
        self.asm.load(Half, R7, R8, 12);
        self.asm.be16(R7);
        self.asm.add(R8, 14);
        self.asm.set(R5, 14);
        self.tags(other);
        for (ethertype, kind) in [(IPV4, ipv4), (IPV6, ipv6), (ARP, arp)] {
            self.asm.jump_if(Equal, R7, ethertype.into(), kind);
        }
        self.asm.jump(other);
        self.asm.place(ipv4);
        self.ipv4(other);
        self.asm.place(ipv6);
        self.ipv6(other);
        self.asm.place(arp);
        self.arp(other);
        self.asm.place(other);
        self.chain(Family::Other);
        self.asm.place(runt);
        let whole = self.rules.iter().find(|rule| rule.is_any()).is_some_and(|rule| !rule.pass);
        verdict(self.asm, whole, self.map);
    }

    /// Goes to `short` unless the packet has `bytes` from a pointer on.
    fn need(&mut self, from: Reg, bytes: i32, short: Label) {
        self.asm.copy(R0, from);
        self.asm.add(R0, bytes);
        self.asm.jump_if_reg(Above, R0, R9, short);
    }

    /// Steps over VLAN tags: the type behind them into r7, r8 and the number of bytes in r5 behind them. A tag cut short
    /// stays the type.
    fn tags(&mut self, short: Label) {
        let done = self.asm.label();
        for _ in 0..TAGS {
            let tag = self.asm.label();
            for ethertype in VLAN {
                self.asm.jump_if(Equal, R7, ethertype.into(), tag);
            }
            self.asm.jump(done);
            self.asm.place(tag);
            self.need(R8, 4, short);
            self.asm.load(Half, R7, R8, 2);
            self.asm.be16(R7);
            self.asm.add(R8, 4);
            self.asm.add(R5, 4);
        }
        self.asm.place(done);
    }

    fn ipv4(&mut self, invalid: Label) {
        let (chain, segment) = (self.asm.label(), self.asm.label());
        self.need(R8, 20, invalid);
        self.asm.load(Byte, R0, R8, 0);
        self.version(4, invalid);
        self.asm.and(R0, 0x0f);
        self.asm.jump_if(Below, R0, 5, invalid);
        self.asm.copy(R2, R0);
        self.keep(Family::Ipv4, SRC, R8, 12);
        self.keep(Family::Ipv4, DST, R8, 16);
        self.no_ports();
        self.asm.load(Byte, R7, R8, 9);
        // Offset and "more fragments".
        self.asm.load(Half, R3, R8, 6);
        self.asm.be16(R3);
        self.asm.and(R3, 0x3fff);
        self.asm.jump_if(NotEqual, R3, 0, chain);
        self.with_ports(segment);
        self.asm.jump(chain);
        self.asm.place(segment);
        for words in 5..=15 {
            let longer = self.asm.label();
            self.asm.jump_if(NotEqual, R2, words, longer);
            self.ports_at(words as i16 * 4, chain);
            self.asm.jump(chain);
            self.asm.place(longer);
        }
        self.asm.place(chain);
        self.chain(Family::Ipv4);
    }

    fn ipv6(&mut self, invalid: Label) {
        let [chain, walk, segment, icmp] = std::array::from_fn(|_| self.asm.label());
        self.need(R8, 40, invalid);
        self.asm.load(Byte, R0, R8, 0);
        self.version(6, invalid);
        self.keep(Family::Ipv6, SRC, R8, 8);
        self.keep(Family::Ipv6, DST, R8, 24);
        self.asm.load(Byte, R7, R8, 6);
        if self.walk == Walk::Extensions {
            for number in [0, 43, 44, 51, 60] {
                self.compare(Equal, number, walk);
            }
        }
        self.no_ports();
        self.asm.set(R3, 0);
        self.compare(Equal, ICMP6, icmp);
        self.with_ports(segment);
        self.asm.jump(chain);
        self.asm.place(icmp);
        self.need(R8, 64, chain);
        self.asm.load(Byte, R0, R8, 40);
        self.asm.jump_if(NotEqual, R0, NEIGHBOUR_SOLICITATION, chain);
        self.keep(Family::Ipv6, DST, R8, 48);
        self.asm.jump(chain);
        self.asm.place(segment);
        self.ports_at(40, chain);
        if self.walk == Walk::Extensions {
            self.asm.jump(chain);
            self.asm.place(walk);
            self.extensions(chain);
        }
        self.asm.place(chain);
        self.chain(Family::Ipv6);
    }

    /// Walks along extension headers, from the offset in r5 plus the IPv6 header on, to what is behind them. Uses r9 for
    /// the offset: the helper leaves r1 to r5 undefined. Runs on into the chain.
    fn extensions(&mut self, chain: Label) {
        let [upper, segment, icmp, fragment, cut] = std::array::from_fn(|_| self.asm.label());
        self.asm.copy(R9, R5);
        self.asm.add(R9, 40);
        for _ in 0..EXTENSIONS {
            let [general, authentication, fragments, next] = std::array::from_fn(|_| self.asm.label());
            self.compare(Equal, 51, authentication);
            self.compare(Equal, 44, fragments);
            for number in [0, 43, 60] {
                self.compare(Equal, number, general);
            }
            self.asm.jump(upper);
            for (kind, more, shift) in [(general, 1, 3), (authentication, 2, 2)] {
                self.asm.place(kind);
                self.fetch(2, cut);
                self.asm.load(Byte, R7, R10, FETCHED);
                self.asm.load(Byte, R0, R10, FETCHED + 1);
                self.asm.add(R0, more);
                self.asm.shift_left(R0, shift);
                self.asm.add_reg(R9, R0);
                self.asm.jump(next);
            }
            self.asm.place(fragments);
            self.fetch(8, cut);
            self.asm.load(Byte, R7, R10, FETCHED);
            // Offset and "more fragments"; with neither it is a whole datagram (RFC 6946).
            self.asm.load(Half, R3, R10, FETCHED + 2);
            self.asm.be16(R3);
            self.asm.and(R3, 0xfff9);
            self.asm.jump_if(NotEqual, R3, 0, fragment);
            self.asm.add(R9, 8);
            self.asm.place(next);
        }
        self.asm.place(upper);
        self.compare(Equal, ICMP6, icmp);
        self.with_ports(segment);
        self.asm.jump(cut);
        self.asm.place(icmp);
        self.fetch(24, cut);
        self.asm.load(Byte, R0, R10, FETCHED);
        self.asm.jump_if(NotEqual, R0, NEIGHBOUR_SOLICITATION, cut);
        self.keep(Family::Ipv6, DST, R10, FETCHED + 8);
        self.asm.jump(cut);
        self.asm.place(segment);
        self.fetch(4, cut);
        self.asm.set(R3, 0);
        for (port, at) in [(R5, FETCHED), (R4, FETCHED + 2)] {
            self.asm.load(Half, port, R10, at);
            self.asm.be16(port);
        }
        self.asm.jump(chain);
        self.asm.place(cut);
        self.asm.set(R3, 0);
        self.asm.place(fragment);
        self.no_ports();
    }

    /// Fetches bytes of the packet from the offset in r9 on; goes to `short` if it has fewer. Only r6 to r10 keep what
    /// they hold.
    fn fetch(&mut self, bytes: i32, short: Label) {
        self.asm.copy(R1, R6);
        self.asm.copy(R2, R9);
        self.asm.copy(R3, R10);
        self.asm.add(R3, FETCHED.into());
        self.asm.set(R4, bytes);
        self.asm.call(XDP_LOAD_BYTES);
        self.asm.jump_if(NotEqual, R0, 0, short);
    }

    fn arp(&mut self, invalid: Label) {
        self.need(R8, 28, invalid);
        // Ethernet, IPv4, addresses of six and four bytes.
        for (at, value) in [(0, 1), (2, IPV4.into()), (4, 0x0604)] {
            self.asm.load(Half, R0, R8, at);
            self.asm.be16(R0);
            self.asm.jump_if(NotEqual, R0, value, invalid);
        }
        self.keep(Family::Arp, SRC, R8, 14);
        self.keep(Family::Arp, DST, R8, 24);
        self.chain(Family::Arp);
    }

    /// Goes to `to` if the protocol in r7 is, or is not, a number.
    fn compare(&mut self, when: If, number: u8, to: Label) {
        self.asm.copy(R0, R7);
        self.asm.and(R0, 0xff);
        self.asm.jump_if(when, R0, number.into(), to);
    }

    /// Goes to `invalid` unless the high half of the byte in r0 is the IP version.
    fn version(&mut self, version: u32, invalid: Label) {
        self.asm.copy(R1, R0);
        self.asm.and(R1, 0xf0);
        self.asm.jump_if(NotEqual, R1, version << 4, invalid);
    }

    fn no_ports(&mut self) {
        self.asm.set(R4, NO_PORT);
        self.asm.set(R5, NO_PORT);
    }

    /// Goes to `segment` if the protocol in r7 has ports.
    fn with_ports(&mut self, segment: Label) {
        for number in WITH_PORTS {
            self.compare(Equal, number, segment);
        }
    }

    /// Loads the ports that stand `at` bytes behind r8, or leaves them if the packet ends before.
    fn ports_at(&mut self, at: i16, short: Label) {
        self.need(R8, i32::from(at) + 4, short);
        for (port, at) in [(R5, at), (R4, at + 2)] {
            self.asm.load(Half, port, R8, at);
            self.asm.be16(port);
        }
    }

    /// Puts an address onto the stack, if a rule of its kind looks at addresses.
    fn keep(&mut self, family: Family, to: i16, from: Reg, at: i16) {
        let of_address = |rule: &&Rule| rule.src.is_some() || rule.dst.is_some();
        if !self.rules.iter().filter(of_address).any(|rule| rule.admits(family)) {
            return;
        }
        let (width, parts): (Width, &[i16]) = if family == Family::Ipv6 { (Double, &[0, 8]) } else { (Word, &[0]) };
        for part in parts {
            self.asm.load(width, R0, from, at + part);
            self.asm.store(width, R10, to + part, R0);
        }
    }

    /// The rules for a kind of packets, and what is done by them. Nothing runs on behind it.
    fn chain(&mut self, family: Family) {
        let (redirect, pass) = (self.asm.label(), self.asm.label());
        // What no packet reaches, the verifier refuses.
        let (mut redirects, mut passes, mut open) = (false, false, true);
        for rule in self.rules.iter().filter(|rule| rule.admits(family)) {
            let next = self.asm.label();
            let tested = self.tests(rule, family, next);
            self.asm.jump(if rule.pass { pass } else { redirect });
            redirects |= !rule.pass;
            passes |= rule.pass;
            self.asm.place(next);
            if !tested {
                open = false;
                break;
            }
        }
        if open || passes {
            self.asm.place(pass);
            verdict(self.asm, false, self.map);
        }
        if redirects {
            self.asm.place(redirect);
            verdict(self.asm, true, self.map);
        }
    }

    /// Goes to `next` unless all terms of a rule hold; whether there was any to test.
    fn tests(&mut self, rule: &Rule, family: Family, next: Label) -> bool {
        let before = self.asm.len();
        // That a packet of another family has the right type was decided by `admits`.
        if let (Family::Other, Some(number)) = (family, rule.ethertype) {
            self.asm.jump_if(NotEqual, R7, number.into(), next);
        }
        if let Some(number) = rule.protocol_in(family) {
            self.compare(NotEqual, number, next);
        }
        for (prefix, at) in [(rule.dst, DST), (rule.src, SRC)] {
            if let Some(prefix) = prefix {
                self.address(prefix, at, next);
            }
        }
        for (range, port) in [(rule.dport, R4), (rule.sport, R5)] {
            if let Some(range) = range {
                self.port(range, port, next);
            }
        }
        if rule.fragments {
            self.asm.jump_if(Equal, R3, 0, next);
        }
        self.asm.len() > before
    }

    fn port(&mut self, (first, last): Ports, port: Reg, next: Label) {
        // As in `compare`; one bit more for `NO_PORT`.
        self.asm.copy(R0, port);
        self.asm.and(R0, 0x1_ffff);
        if first == last {
            self.asm.jump_if(NotEqual, R0, first.into(), next);
            return;
        }
        if first > 0 {
            self.asm.jump_if(Below, R0, first.into(), next);
        }
        self.asm.jump_if(Above, R0, last.into(), next);
    }

    fn address(&mut self, prefix: Prefix, at: i16, next: Label) {
        match prefix.address() {
            IpAddr::V4(_) if prefix.length() == 0 => {}
            IpAddr::V4(address) => {
                self.asm.load(Word, R0, R10, at);
                // Masked even where all bits count: see above. (The sign fills bits that are zero.)
                let bytes = (mask(prefix.length(), 32) as u32).to_be_bytes();
                self.asm.and(R0, i32::from_ne_bytes(bytes));
                self.asm.jump_if(NotEqual, R0, u32::from_ne_bytes(address.octets()), next);
            }
            IpAddr::V6(address) => {
                let (wanted, counts) = (address.to_bits(), mask(prefix.length(), 128));
                for (part, shift) in [(0, 64), (8, 0)] {
                    let [wanted, counts] = [wanted, counts].map(|bits| ((bits >> shift) as u64).to_be());
                    if counts == 0 {
                        continue;
                    }
                    self.asm.load(Double, R0, R10, at + part);
                    if counts == u64::MAX {
                        self.asm.and(R0, -1);
                    } else {
                        self.asm.set64(R1, counts);
                        self.asm.and_reg(R0, R1);
                    }
                    self.asm.set64(R1, wanted);
                    self.asm.jump_if_reg(NotEqual, R0, R1, next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sys;
    use super::*;
    use std::os::fd::AsRawFd;

    /// What is emitted for kernels before 5.18 has no tests of its own but this: the verifier takes it.
    #[test]
    fn a_program_that_walks_nothing_loads() {
        let Ok(map) = sys::create_xskmap(c"test", 1) else {
            println!("SKIPPED a_program_that_walks_nothing_loads: may not create BPF maps");
            return;
        };
        let steering: Steering = "pass,tcp:22+fd00::/64,udp:53+10.0.0.0/8,sport:1-2+icmp,frag+arp".parse().unwrap();
        let [long, short] =
            [Walk::Extensions, Walk::Nothing].map(|walk| program(&steering, map.as_raw_fd(), walk).unwrap());
        assert!(short.len() < long.len());
        sys::load_xdp(c"test", &short, 0).map_err(|(error, log)| format!("{error}: {log}")).unwrap();
    }
}
