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
//! | r8, r9 | the header behind Ethernet, the end of the packet; not used in chains |
//! | stack | the addresses at [`SRC`] and [`DST`] |
//!
//! The verifier must see that every load is below the end of the packet, that every instruction can be reached, and that
//! all ends: there are no loops and jumps go forward only. It also walks every path, and gives up after a million steps.
//! It joins paths whose registers it need not tell apart. So a chain has no pointers into the packet, whose proven
//! lengths differ from path to path, and the verifier must not learn from a test: what is compared is masked first, which
//! makes it a number of its own that says nothing about where it was copied from.

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
const XDP_PASS: i32 = 2;
/// `bpf_redirect_map` of `linux/bpf.h`.
const REDIRECT_MAP: i32 = 51;
/// `rx_queue_index` of `struct xdp_md`; `data` is at 0, `data_end` at 4.
const RX_QUEUE_INDEX: i16 = 16;

/// The program of a steering that redirects into the XSKMAP behind a descriptor.
pub fn program(steering: &Steering, map: i32) -> Result<Vec<Insn>, TooFar> {
    let mut asm = Assembler::default();
    asm.copy(R6, R1);
    match steering.rules() {
        [] => verdict(&mut asm, false, map),
        [first, ..] if first.is_any() => verdict(&mut asm, !first.pass, map),
        rules => Emitter { asm: &mut asm, rules, map }.packets(),
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

    /// Steps over VLAN tags: the type behind them into r7, r8 behind them. A tag cut short stays the type.
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
        self.asm.shift_left(R0, 2);
        self.asm.copy(R2, R8);
        self.asm.add_reg(R2, R0);
        self.keep(Word, SRC, R8, 12);
        self.keep(Word, DST, R8, 16);
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
        self.ports(chain);
        self.asm.place(chain);
        self.chain(Family::Ipv4);
    }

    fn ipv6(&mut self, invalid: Label) {
        let [chain, upper, segment, icmp] = std::array::from_fn(|_| self.asm.label());
        self.need(R8, 40, invalid);
        self.asm.load(Byte, R0, R8, 0);
        self.version(6, invalid);
        self.keep(Double, SRC, R8, 8);
        self.keep(Double, DST, R8, 24);
        self.no_ports();
        self.asm.set(R3, 0);
        self.asm.load(Byte, R7, R8, 6);
        self.asm.copy(R2, R8);
        self.asm.add(R2, 40);
        for _ in 0..EXTENSIONS {
            self.extension(upper, chain);
        }
        self.asm.place(upper);
        self.compare(Equal, ICMP6, icmp);
        self.with_ports(segment);
        self.asm.jump(chain);
        self.asm.place(icmp);
        self.need(R2, 24, chain);
        self.asm.load(Byte, R0, R2, 0);
        // A neighbour solicitation is for whom it asks for.
        self.asm.jump_if(NotEqual, R0, 135, chain);
        self.keep(Double, DST, R2, 8);
        self.asm.jump(chain);
        self.asm.place(segment);
        self.ports(chain);
        self.asm.place(chain);
        self.chain(Family::Ipv6);
    }

    /// Steps over one extension header if there is one, and to `upper` if not: the protocol behind it into r7, r2
    /// behind it. To `chain` if it is cut short or a fragment's.
    fn extension(&mut self, upper: Label, chain: Label) {
        let [general, authentication, fragment, next] = std::array::from_fn(|_| self.asm.label());
        self.compare(Equal, 51, authentication);
        self.compare(Equal, 44, fragment);
        for number in [0, 43, 60] {
            self.compare(Equal, number, general);
        }
        self.asm.jump(upper);

        self.asm.place(general);
        self.need(R2, 2, chain);
        self.asm.load(Byte, R7, R2, 0);
        self.asm.load(Byte, R0, R2, 1);
        self.asm.add(R0, 1);
        self.asm.shift_left(R0, 3);
        self.asm.add_reg(R2, R0);
        self.asm.jump(next);

        self.asm.place(authentication);
        self.need(R2, 2, chain);
        self.asm.load(Byte, R7, R2, 0);
        self.asm.load(Byte, R0, R2, 1);
        self.asm.add(R0, 2);
        self.asm.shift_left(R0, 2);
        self.asm.add_reg(R2, R0);
        self.asm.jump(next);

        self.asm.place(fragment);
        self.need(R2, 8, chain);
        self.asm.load(Byte, R7, R2, 0);
        // Offset and "more fragments"; neither is a whole datagram (RFC 6946).
        self.asm.load(Half, R3, R2, 2);
        self.asm.be16(R3);
        self.asm.and(R3, 0xfff9);
        self.asm.jump_if(NotEqual, R3, 0, chain);
        self.asm.add(R2, 8);
        self.asm.place(next);
    }

    fn arp(&mut self, invalid: Label) {
        self.need(R8, 28, invalid);
        // Ethernet, IPv4, addresses of six and four bytes.
        for (at, value) in [(0, 1), (2, IPV4.into()), (4, 0x0604)] {
            self.asm.load(Half, R0, R8, at);
            self.asm.be16(R0);
            self.asm.jump_if(NotEqual, R0, value, invalid);
        }
        self.keep(Word, SRC, R8, 14);
        self.keep(Word, DST, R8, 24);
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

    /// Loads the ports from r2, or leaves them if the packet ends before.
    fn ports(&mut self, short: Label) {
        self.need(R2, 4, short);
        for (port, at) in [(R5, 0), (R4, 2)] {
            self.asm.load(Half, port, R2, at);
            self.asm.be16(port);
        }
    }

    /// Puts an address onto the stack: of IPv4 in a word, of IPv6 in two doubles.
    fn keep(&mut self, width: Width, to: i16, from: Reg, at: i16) {
        let parts: &[i16] = if width == Word { &[0] } else { &[0, 8] };
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
