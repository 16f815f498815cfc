//! Steering: its text, its meaning, and that the program in the kernel means the same.
#![cfg(all(target_os = "linux", feature = "af_xdp"))]

mod common;

use common::caps::{BPF, NET_ADMIN, NET_RAW, with_only};
use common::netns::{Lab, ip};
use common::xdp::{PATIENCE, open, receive};
use common::xsk::{RawXsk, run_program};
use nethuns_rs::Error;
use nethuns_rs::af_xdp::inspect;
use nethuns_rs::af_xdp::program::steering::MAX_RULES;
use nethuns_rs::af_xdp::program::{AttachWish, Prefix, Program, Request, Rule, Source, Steering};
use nethuns_rs::api::{LinkInfo, Socket};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn steering(text: &str) -> Steering {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn text_is_read_and_written() {
    let several = [
        Rule::tcp().to_port(80),
        Rule::tcp().to_ports(8000..=8999),
        Rule::udp().to_port(53),
        Rule::any().to(prefix("10.0.0.2")),
        Rule::arp(),
    ];
    let table: &[(&str, &str, &[Rule])] = &[
        ("all", "all", &[Rule::any()]),
        ("none", "none", &[]),
        ("tcp:80", "tcp:80", &[Rule::tcp().to_port(80)]),
        ("tcp:80+tcp:8000-8999+udp:53+ip:10.0.0.2+arp", "tcp:80+tcp:8000-8999+udp:53+10.0.0.2+arp", &several),
        ("10.0.0.2/32,udp,dport:53", "udp:53,10.0.0.2", &[Rule::udp().to(prefix("10.0.0.2")).to_port(53)]),
        ("10.1.2.3/8", "10.0.0.0/8", &[Rule::any().to(prefix("10.0.0.0/8"))]),
        ("0.0.0.0/0", "0.0.0.0/0", &[Rule::any().to(prefix("1.2.3.4/0"))]),
        ("fd00::1/64,icmp6", "icmp6,fd00::/64", &[Rule::icmp6().to(prefix("fd00::/64"))]),
        ("icmp4", "icmp4", &[Rule::icmp4()]),
        ("icmp", "icmp", &[Rule::icmp()]),
        ("ipv4,icmp", "icmp,ipv4", &[]),
        ("::1", "::1", &[Rule::any().to(prefix("::1"))]),
        ("dst:fd00::2", "fd00::2", &[Rule::any().to(prefix("fd00::2"))]),
        (
            "src:192.168.0.0/16,sport:53",
            "src:192.168.0.0/16,sport:53",
            &[Rule::any().from(prefix("192.168.0.0/16")).from_port(53)],
        ),
        ("pass,tcp:22+all", "pass,tcp:22+all", &[Rule::tcp().to_port(22).pass(), Rule::any()]),
        ("pass", "pass", &[Rule::any().pass()]),
        ("proto:47", "proto:47", &[Rule::protocol(47)]),
        ("proto:0x11", "udp", &[Rule::udp()]),
        ("ether:0x88cc", "ether:0x88cc", &[Rule::ethertype(0x88cc)]),
        ("ether:2048", "ipv4", &[Rule::ethertype(0x0800)]),
        ("ipv6", "ipv6", &[Rule::ethertype(0x86dd)]),
        ("udp,frag", "udp,frag", &[Rule::udp().fragments()]),
        ("sctp:1-2", "sctp:1-2", &[Rule::protocol(132).to_ports(1..=2)]),
        ("dport:0-65535", "dport:0-65535", &[Rule::any().to_ports(0..=u16::MAX)]),
    ];
    for (text, canonical, rules) in table {
        let read = steering(text);
        if !rules.is_empty() || *text == "none" {
            assert_eq!(read.rules(), *rules, "{text}");
        }
        assert_eq!(read.to_string(), *canonical);
        assert_eq!(steering(canonical), read);
    }
}

#[test]
fn text_that_means_nothing_is_refused_with_what_is_legal() {
    for (text, names, legal) in [
        ("", "steer=: ", "no empty term"),
        ("tcp:80+", "steer=tcp:80+: ", "no empty term"),
        ("tcp,,udp", "steer=tcp,,udp: ", "no empty term"),
        ("tcp:99999", "steer=tcp:99999: ", "a port from 0 to 65535, or a range"),
        ("tcp:", "steer=tcp:: ", "a port from 0 to 65535"),
        ("tcp:90-80", "steer=tcp:90-80: ", "a port from 0 to 65535, or a range"),
        ("udp:+53", "steer=udp:: ", "a port"),
        ("tcp:80,443", "steer=443: ", "tcp:80+tcp:443"),
        ("tcp,udp", "steer=tcp,udp: ", "one protocol in a rule"),
        ("tcp:80,dport:81", "steer=tcp:80,dport:81: ", "one range of destination ports in a rule"),
        ("10.0.0.1,10.0.0.2", "steer=10.0.0.1,10.0.0.2: ", "write `+` between alternatives"),
        ("10.0.0.1,src:fd00::1", "steer=src:fd00::1,10.0.0.1: ", "addresses of one family"),
        ("10.0.0.0/33", "steer=10.0.0.0/33: ", "a prefix length from 0 to 32"),
        ("fd00::/129", "steer=fd00::/129: ", "a prefix length from 0 to 128"),
        ("10.0.0.0/x", "steer=10.0.0.0/x: ", "an address or prefix"),
        ("src:10.0.0", "steer=src:10.0.0: ", "an address or prefix"),
        ("proto:256", "steer=proto:256: ", "from 0 to 255"),
        ("ether:0x100", "steer=ether:0x100: ", "from 0x600 to 0xffff"),
        ("ether:+2048", "steer=ether:: ", "from 0x600"),
        ("arp,tcp", "steer=tcp,arp: ", "terms that one packet can meet"),
        ("arp,fd00::1", "steer=arp,fd00::1: ", "terms that one packet can meet"),
        ("ipv6,10.0.0.1", "steer=ipv6,10.0.0.1: ", "terms that one packet can meet"),
        ("icmp,dport:1", "steer=icmp,dport:1: ", "icmp, which has none"),
        ("proto:47,sport:1", "steer=proto:47,sport:1: ", "a protocol that has them"),
        ("udp:53,frag", "steer=udp:53,frag: ", "only whole packets have ports"),
        ("http", "steer=http: ", "tcp[:PORT[-PORT]]"),
        ("TCP:80", "steer=TCP:80: ", "terms joined by"),
        ("arp:10.0.0.2", "steer=arp:10.0.0.2: ", "terms joined by"),
        ("all,tcp", "steer=all,tcp: ", "as a rule of its own"),
        ("none+tcp", "steer=none+tcp: ", "`none` alone"),
    ] {
        let error = text.parse::<Steering>().expect_err(text);
        assert!(matches!(error, Error::BadOption { option: "steer", .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.starts_with(names) && message.contains(legal), "{text}: {message}");
    }
    let many = vec!["tcp:1"; MAX_RULES + 1].join("+");
    assert!(many.parse::<Steering>().unwrap_err().to_string().contains("513 rules: expected at most 512"));
    assert!(Prefix::new("10.0.0.1".parse().unwrap(), 33).is_err());
    #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
    let empty = Rule::tcp().to_ports(2..=1);
    assert!(Steering::new([empty]).unwrap_err().to_string().contains("first is not above its last"));
}

/// Whatever is typed, it is read or refused; what is read is written and read back as the same.
#[test]
fn any_text_is_read_or_refused() {
    const PIECES: [&str; 24] = [
        "tcp", "udp:", "icmp6", "arp", "ipv4", "pass", "all", "none", "frag", "proto:", "ether:", "0x", "src:",
        "dport:", "10.0.0.1", "fd00::", "/24", "-", ":", ",", "+", "53", "99999", "é",
    ];
    let mut random = Random(3);
    let mut read = 0;
    for _ in 0..50_000 {
        let text: String = (0..random.below(6)).map(|_| random.pick(&PIECES)).collect();
        if let Ok(steering) = text.parse::<Steering>() {
            assert_eq!(self::steering(&steering.to_string()), steering, "{text}");
            read += 1;
        }
    }
    assert!(read > 1_000, "{read}");
}

/// An Ethernet frame with these VLAN tags.
fn ether(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tpid in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet with `words` words of options and the given fragment field.
fn ipv4(protocol: u8, [src, dst]: [&str; 2], words: usize, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20 + words * 4];
    packet[0] = 0x45 + words as u8;
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&octets(src));
    packet[16..20].copy_from_slice(&octets(dst));
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, [src, dst]: [&str; 2], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 8];
    packet[0] = 0x60;
    packet[6] = next;
    packet.extend(octets(src));
    packet.extend(octets(dst));
    packet.extend(payload);
    packet
}

fn arp([sender, target]: [&str; 2]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2];
    packet.extend(octets(sender));
    packet.extend([0; 6]);
    packet.extend(octets(target));
    packet
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn ports(src: u16, dst: u16) -> Vec<u8> {
    [src.to_be_bytes(), dst.to_be_bytes(), [0; 2], [0; 2]].concat()
}

/// Attaches a program to `lo`, which nothing is sent over.
fn attach(steering: &Steering) -> Arc<Program> {
    let source = Source::Steer(steering.clone());
    let request = Request { wish: AttachWish::Generic, ..Request::new("lo", &source).unwrap() };
    Program::attach(&request).unwrap_or_else(|e| panic!("{:.80}: {e}", steering.to_string()))
}

/// A steering's program in the kernel, with a socket in its slot.
struct Kernel {
    program: OwnedFd,
    _attached: Arc<Program>,
}

impl Kernel {
    fn load(steering: &Steering, socket: &RawXsk) -> Self {
        let attached = attach(steering);
        attached.insert(0, socket.as_fd()).unwrap();
        let program = libbpf_rs::Program::fd_from_id(attached.prog_id().unwrap()).unwrap();
        Self { program, _attached: attached }
    }

    fn takes(&self, frame: &[u8]) -> bool {
        match run_program(self.program.as_fd(), frame).unwrap() {
            2 => false,
            4 => true,
            other => panic!("verdict {other}"),
        }
    }
}

/// Packets whose treatment is written down here by hand.
#[test]
fn rules_take_what_they_say() {
    let Some(_lab) = Lab::enter("rules_take_what_they_say") else { return };
    let socket = RawXsk::new().unwrap();
    let ours = ["10.0.0.1", "10.0.0.2"];
    let six = ["fd00::1", "fd00::2"];
    let plain = |payload: &[u8]| ether(&[], 0x0800, payload);
    let tcp80 = plain(&ipv4(6, ours, 0, 0x4000, &ports(1000, 80)));
    let udp53 = plain(&ipv4(17, ours, 0, 0, &ports(53, 53)));
    let ping = plain(&ipv4(1, ours, 0, 0, &[8, 0, 0, 0, 0, 0, 0, 0]));
    let options = plain(&ipv4(6, ours, 10, 0, &ports(1000, 80)));
    let vlan = ether(&[0x8100], 0x0800, &ipv4(6, ours, 0, 0, &ports(1000, 80)));
    let qinq = ether(&[0x88a8, 0x8100], 0x0800, &ipv4(6, ours, 0, 0, &ports(1000, 80)));
    let three_tags = ether(&[0x88a8, 0x8100, 0x8100], 0x0800, &ipv4(6, ours, 0, 0, &ports(1000, 80)));
    let first_fragment = plain(&ipv4(17, ours, 0, 0x2000, &ports(1000, 53)));
    let last_fragment = plain(&ipv4(17, ours, 0, 0x00b9, &ports(1000, 53)));
    let tcp6 = ether(&[], 0x86dd, &ipv6(6, six, &ports(1000, 80)));
    let hop_by_hop =
        [&[43u8, 0, 0, 0, 0, 0, 0, 0][..], &[60, 1], &[0; 14], &[6, 0, 0, 0, 0, 0, 0, 0], &ports(1000, 80)].concat();
    let extended6 = ether(&[], 0x86dd, &ipv6(0, six, &hop_by_hop));
    let atomic6 = ether(&[], 0x86dd, &ipv6(44, six, &[&[6, 0, 0, 0, 1, 2, 3, 4][..], &ports(1000, 80)].concat()));
    let fragment6 = ether(&[], 0x86dd, &ipv6(44, six, &[&[6, 0, 0, 1, 1, 2, 3, 4][..], &ports(1000, 80)].concat()));
    let authenticated6 = ether(&[], 0x86dd, &ipv6(51, six, &[&[6, 4][..], &[0; 22], &ports(1000, 80)].concat()));
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend(octets("fd00::2"));
    let solicitation = ether(&[], 0x86dd, &ipv6(58, ["fd00::1", "ff02::1:ff00:2"], &solicitation));
    let arp = ether(&[], 0x0806, &arp(ours));
    let lldp = ether(&[], 0x88cc, &[0; 46]);
    let runt4 = plain(&ipv4(6, ours, 0, 0, &[])[..19]);
    let headless = plain(&ipv4(6, ours, 0, 0, &[0, 9, 0]));
    let bare = ether(&[], 0x0800, &[]);
    let cut_tag = ether(&[], 0x8100, &[0, 7]);
    let mut version5 = tcp80.clone();
    version5[14] = 0x55;
    let named: Vec<(&str, &Vec<u8>)> = vec![
        ("tcp80", &tcp80),
        ("udp53", &udp53),
        ("ping", &ping),
        ("options", &options),
        ("vlan", &vlan),
        ("qinq", &qinq),
        ("three_tags", &three_tags),
        ("first_fragment", &first_fragment),
        ("last_fragment", &last_fragment),
        ("tcp6", &tcp6),
        ("extended6", &extended6),
        ("atomic6", &atomic6),
        ("fragment6", &fragment6),
        ("authenticated6", &authenticated6),
        ("solicitation", &solicitation),
        ("arp", &arp),
        ("lldp", &lldp),
        ("runt4", &runt4),
        ("headless", &headless),
        ("bare", &bare),
        ("cut_tag", &cut_tag),
        ("version5", &version5),
    ];
    let all = "tcp80 udp53 ping options vlan qinq three_tags first_fragment last_fragment tcp6 extended6 atomic6 fragment6 \
               authenticated6 solicitation arp lldp runt4 headless bare cut_tag version5";
    for (text, taken) in [
        ("all", all),
        ("none", ""),
        ("tcp:80", "tcp80 options vlan qinq tcp6 extended6 atomic6 authenticated6"),
        ("tcp", "tcp80 options vlan qinq tcp6 extended6 atomic6 fragment6 authenticated6 headless"),
        ("tcp:79+tcp:81", ""),
        ("tcp:70-90,ipv4", "tcp80 options vlan qinq"),
        ("sport:1000,ipv6", "tcp6 extended6 atomic6 authenticated6"),
        ("udp:53", "udp53"),
        ("udp", "udp53 first_fragment last_fragment"),
        ("udp,frag", "first_fragment last_fragment"),
        ("frag", "first_fragment last_fragment fragment6"),
        ("icmp", "ping solicitation"),
        ("icmp4", "ping"),
        ("arp", "arp"),
        ("ether:0x88cc", "lldp"),
        ("ether:0x8100", "three_tags cut_tag"),
        ("10.0.0.2", "tcp80 udp53 ping options vlan qinq first_fragment last_fragment arp headless"),
        ("10.0.0.1", ""),
        ("src:10.0.0.0/30,arp", "arp"),
        ("fd00::2", "tcp6 extended6 atomic6 fragment6 authenticated6 solicitation"),
        ("ff02::/16", ""),
        ("src:fd00::/65,dst:fd00::/127", ""),
        ("src:fd00::/65,dst:fd00::2/127", "tcp6 extended6 atomic6 fragment6 authenticated6 solicitation"),
        ("ipv4", "tcp80 udp53 ping options vlan qinq first_fragment last_fragment runt4 headless bare version5"),
        ("proto:44+proto:51", ""),
        ("pass,ipv4+pass,ipv6+all", "three_tags arp lldp cut_tag"),
        ("pass,tcp:80+pass,10.0.0.2+tcp+udp", "fragment6"),
    ] {
        let steering = steering(text);
        let kernel = Kernel::load(&steering, &socket);
        for (name, frame) in &named {
            let expected = taken.split_whitespace().any(|word| word == *name);
            assert_eq!(steering.takes(frame), expected, "the model: {text} on {name}");
            assert_eq!(kernel.takes(frame), expected, "the program: {text} on {name}");
        }
        // Shorter than an Ethernet header: the kernel refuses to run a program on that, so only the model is asked.
        assert_eq!(steering.takes(&tcp80[..13]), matches!(text, "all" | "pass,ipv4+pass,ipv6+all"), "{text}");
    }
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

// Few of each, so that rules and packets meet.
const V4: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.1.3", "192.168.7.7"];
const V6: [&str; 4] = ["fd00::1", "fd00::2", "fd00:0:0:1::3", "ff02::1:ff00:2"];
const PORTS: [u16; 6] = [0, 53, 80, 81, 8080, 65535];
const PROTOCOLS: [u8; 10] = [6, 17, 132, 136, 33, 1, 58, 47, 50, 59];
const EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];

fn random_prefix(random: &mut Random) -> String {
    let (address, longest) = if random.one_in(2) { (random.pick(&V4), 32) } else { (random.pick(&V6), 128) };
    match random.below(3) {
        0 => format!("{address}/{}", random.below(longest + 1)),
        _ => address.to_owned(),
    }
}

fn random_ports(random: &mut Random) -> String {
    let (a, b) = (random.pick(&PORTS), random.pick(&PORTS));
    if random.one_in(2) { a.to_string() } else { format!("{}-{}", a.min(b), a.max(b)) }
}

/// A rule; now and then one that contradicts itself, which the caller throws away.
fn random_rule(random: &mut Random) -> String {
    let mut terms = Vec::new();
    if random.one_in(6) {
        terms.push("pass".to_owned());
    }
    for _ in 0..random.pick(&[1, 1, 1, 2, 2, 3]) {
        terms.push(match random.below(12) {
            0 => "tcp".into(),
            1 => format!("udp:{}", random_ports(random)),
            2 => random.pick(&["icmp", "icmp4", "icmp6"]).into(),
            3 => format!("proto:{}", random.pick(&PROTOCOLS)),
            4 => random.pick(&["arp", "ipv4", "ipv6", "ether:0x88cc", "ether:0x8100"]).into(),
            5 | 6 => random_prefix(random),
            7 => format!("src:{}", random_prefix(random)),
            8 => format!("dport:{}", random_ports(random)),
            9 => format!("sport:{}", random_ports(random)),
            10 => "frag".into(),
            _ => format!("sctp:{}", random_ports(random)),
        });
    }
    terms.join(",")
}

fn random_segment(random: &mut Random, protocol: u8) -> Vec<u8> {
    let mut segment = ports(random.pick(&PORTS), random.pick(&PORTS));
    if protocol == 58 {
        segment = vec![random.pick(&[135, 136, 128]), 0, 0, 0, 0, 0, 0, 0];
        segment.extend(octets(random.pick(&V6)));
    }
    segment.extend(random.bytes(8));
    segment
}

fn random_frame(random: &mut Random) -> Vec<u8> {
    let tags: Vec<u16> =
        (0..random.pick(&[0, 0, 0, 1, 1, 2, 3])).map(|_| random.pick(&[0x8100, 0x88a8, 0x9100])).collect();
    let (ethertype, mut payload) = match random.below(10) {
        0..=3 => {
            let protocol = random.pick(&PROTOCOLS);
            let fragment = random.pick(&[0, 0, 0x4000, 0x8000, 0x2000, 1, 0x3fff]);
            let words = random.pick(&[0, 0, 1, 10]);
            let segment = random_segment(random, protocol);
            (0x0800, ipv4(protocol, [random.pick(&V4), random.pick(&V4)], words, fragment, &segment))
        }
        4..=7 => {
            let protocol = random.pick(&PROTOCOLS);
            let mut payload = random_segment(random, protocol);
            let mut next = protocol;
            for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2, 5, 6, 7]) {
                let kind = random.pick(&EXTENSIONS);
                let words = random.below(3);
                let mut header = random.bytes(match kind {
                    44 => 8,
                    51 => (words + 2) * 4,
                    _ => (words + 1) * 8,
                });
                header[..2].copy_from_slice(&[next, words as u8]);
                if kind == 44 && !random.one_in(3) {
                    // Whole; the two reserved bits between offset and flag mean nothing.
                    header[2..4].copy_from_slice(&[0, random.pick(&[0, 2, 4, 6])]);
                }
                payload = [header, payload].concat();
                next = kind;
            }
            (0x86dd, ipv6(next, [random.pick(&V6), random.pick(&V6)], &payload))
        }
        8 => (0x0806, arp([random.pick(&V4), random.pick(&V4)])),
        _ => (random.pick(&[0x88cc, 0x0800, 0x86dd, 0x0806, 0x0026]), random.bytes(60)),
    };
    if random.one_in(8) && !payload.is_empty() {
        // A byte that is wrong, most often in what is looked at.
        let at = random.below(payload.len().min(24));
        payload[at] = random.next() as u8;
    }
    let mut frame = ether(&tags, ethertype, &payload);
    if random.one_in(4) {
        frame.truncate(14 + random.below(frame.len() - 13));
    }
    frame
}

/// Random rules and packets: the program in the kernel says what the model says.
#[test]
fn the_program_means_what_the_rules_mean() {
    let Some(_lab) = Lab::enter("the_program_means_what_the_rules_mean") else { return };
    let socket = RawXsk::new().unwrap();
    let seed = std::env::var("NETHUNS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random(seed);
    let (mut taken, mut left) = (0, 0);
    for _ in 0..80 {
        let mut rules: Vec<String> = Vec::new();
        while rules.len() <= random.below(16) {
            let rule = random_rule(&mut random);
            rules.extend(rule.parse::<Steering>().is_ok().then_some(rule));
        }
        let text = rules.join("+");
        let steering = steering(&text);
        assert_eq!(self::steering(&steering.to_string()), steering, "{text} is written as {steering}");
        let kernel = Kernel::load(&steering, &socket);
        for _ in 0..500 {
            let frame = random_frame(&mut random);
            let expected = steering.takes(&frame);
            assert_eq!(kernel.takes(&frame), expected, "seed {seed}: {text} on {frame:02x?}");
            *(if expected { &mut taken } else { &mut left }) += 1;
        }
    }
    // Otherwise nothing was compared.
    assert!(taken > 3_000 && left > 3_000, "{taken} taken, {left} left");
}

/// The verifier accepts the longest programs that can be written.
#[test]
fn as_many_rules_as_are_allowed_load() {
    let Some(_lab) = Lab::enter("as_many_rules_as_are_allowed_load") else { return };
    let long: [fn(usize) -> String; 4] = [
        |i| format!("proto:17,src:fd00:1::{i:x}/127,dst:fd00:2::{i:x}/127,sport:{i}-60000,dport:{}-60001", i + 1),
        |i| {
            format!(
                "proto:17,src:10.0.{}.{}/31,dst:10.1.0.0/17,sport:{i}-60000,dport:{}-60001",
                i / 256,
                i % 256,
                i + 1
            )
        },
        |i| format!("udp:{i}-60000,sport:{}-60001", i + 2),
        |i| match i % 4 {
            0 => format!("pass,udp:{i}-60000,sport:{}-60001", i + 2),
            1 => format!("proto:{},frag", i % 256),
            2 => format!("arp,src:10.0.{}.{}", i / 256, i % 256),
            _ => format!("src:fd00:1::{i:x}/127,frag"),
        },
    ];
    let texts = long.map(|rule| (0..MAX_RULES).map(rule).collect::<Vec<_>>().join("+"));
    let socket = RawXsk::new().unwrap();
    for text in &texts {
        let steering = steering(text);
        let kernel = Kernel::load(&steering, &socket);
        let mut random = Random(7);
        for _ in 0..500 {
            let frame = random_frame(&mut random);
            assert_eq!(kernel.takes(&frame), steering.takes(&frame), "{frame:02x?}");
        }
    }
    // The verifier is stricter with those who have no CAP_PERFMON.
    with_only(&[NET_RAW, NET_ADMIN, BPF], || texts.iter().for_each(|text| drop(attach(&steering(text)))));
}

/// A UDP packet that a kernel accepts: length and header checksum are right, the UDP checksum is left out.
fn udp_to(mac: [u8; 6], [src, dst]: [&str; 2], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut segment = [40_000u16, port, 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat();
    segment.extend(payload);
    let mut packet = ipv4(17, [src, dst], 0, 0, &segment);
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    let words = packet[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ether(&[], 0x0800, &packet);
    frame[..6].copy_from_slice(&mac);
    frame
}

#[test]
fn what_is_not_steered_reaches_the_kernel() {
    let Some(lab) = Lab::enter("what_is_not_steered_reaches_the_kernel") else { return };
    lab.veth("va", "vb", 1);
    ip("addr add 10.0.0.2/24 dev va");
    let mac = LinkInfo::of_interface("va").unwrap().mac.unwrap();
    for mode in ["driver", "generic"] {
        let ours = open(&format!("af_xdp:va?mode={mode}&steer=udp:9000"));
        let [kernel_9000, kernel_9001] = [9000, 9001].map(|port| UdpSocket::bind(("10.0.0.2", port)).unwrap());
        let sender = open("af_xdp:vb");
        for port in [9001, 9000] {
            sender.send(&udp_to(mac, ["10.0.0.1", "10.0.0.2"], port, b"hello")).unwrap();
        }
        sender.flush();
        let got = receive(&ours, 1);
        assert!(got[0].peek(|frame| frame[36..38] == 9000u16.to_be_bytes() && frame.ends_with(b"hello")).unwrap());
        kernel_9001.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(kernel_9001.recv(&mut buffer).unwrap(), 5);
        kernel_9000.set_nonblocking(true).unwrap();
        assert!(kernel_9000.recv(&mut buffer).is_err());
        assert!(ours.recv().is_err());
    }
    assert_eq!(inspect("va").unwrap().attached, []);
}
