//! From a line of text, or a chain of calls, to a host.

use super::clock::{Clock, Running};
use super::options::{self, is_station};
use super::{Host, PollMode, Wires};
use crate::any::{AnyFlags, Sock};
use crate::api::{LinkInfo, Mode, PortSpec, Socket};
use crate::errors::{Error, Result};
use crate::stack::Config;
use crate::stack::config::TxChecksum;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// What a host is to be. `Send` and `Clone`: it travels to the thread that will drive the host, which does not.
///
/// Options of the port spec are put over what the calls say. `docs/host.md` lists them.
///
/// ```
/// use nethuns_rs::host::HostBuilder;
/// # fn main() -> nethuns_rs::Result<()> {
/// let host = HostBuilder::new("mem:builder-doc?ip=10.0.0.2/24&cc=newreno").gateway([10, 0, 0, 1].into()).build()?;
/// assert_eq!(host.config().mac, [2, 0, 10, 0, 0, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HostBuilder {
    spec: String,
    queue: Option<usize>,
    flags: Option<AnyFlags>,
    settings: Settings,
}

/// Everything but the socket.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: Option<u16>,
    pub(super) max_kept: Option<usize>,
    /// The device's word about a received checksum is good enough.
    pub(super) device_rx_checksum: bool,
    pub(super) poll: PollMode,
    pub(super) tap: Option<PathBuf>,
    pub(super) tap_snaplen: u32,
    pub(super) seed: Option<u64>,
    pub(super) clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Config::default(),
            mac: None,
            mtu: None,
            max_kept: None,
            device_rx_checksum: false,
            poll: PollMode::default(),
            tap: None,
            tap_snaplen: 262_144,
            seed: None,
            clock: Clock::default(),
        }
    }
}

impl HostBuilder {
    /// A host on this port: `scheme:name?option=value&…`, with the options of the host and of the backend side by side.
    /// Nothing is looked at before it is built.
    #[must_use]
    pub fn new(spec: impl Into<String>) -> Self {
        Self { spec: spec.into(), queue: None, flags: None, settings: Settings::default() }
    }

    /// On one queue of an interface with several.
    #[must_use]
    pub fn queue(mut self, queue: usize) -> Self {
        self.queue = Some(queue);
        self
    }

    /// With this configuration of the backend.
    #[must_use]
    pub fn flags(mut self, flags: AnyFlags) -> Self {
        self.flags = Some(flags);
        self
    }

    /// With this IP address, in a network with a prefix of so many bits. May be called several times.
    #[must_use]
    pub fn address(mut self, address: IpAddr, prefix: u8) -> Self {
        self.settings.config.addresses.push((address, prefix));
        self
    }

    /// With this router for everything that is on no network of its own.
    #[must_use]
    pub fn gateway(mut self, router: IpAddr) -> Self {
        self.settings.config.gateway = Some(router);
        self
    }

    /// With this router for a network.
    #[must_use]
    pub fn route(mut self, network: IpAddr, prefix: u8, router: IpAddr) -> Self {
        self.settings.config.routes.push((network, prefix, router));
        self
    }

    /// With a neighbour that is never asked for.
    #[must_use]
    pub fn neighbour(mut self, address: IpAddr, mac: [u8; 6]) -> Self {
        self.settings.config.neighbours.push((address, mac));
        self
    }

    /// With this Ethernet address instead of the interface's.
    #[must_use]
    pub fn mac(mut self, mac: [u8; 6]) -> Self {
        self.settings.mac = Some(mac);
        self
    }

    /// With IP packets of at most so many bytes instead of the interface's MTU.
    #[must_use]
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.settings.mtu = Some(mtu);
        self
    }

    /// Waiting like this.
    #[must_use]
    pub fn poll_mode(mut self, mode: PollMode) -> Self {
        self.settings.poll = mode;
        self
    }

    /// With its time from this clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// With secrets derived from a number instead of random ones: for tests that are to be repeated, never on a network.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Writing everything that it sends and receives into a pcapng file.
    #[must_use]
    pub fn tap(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.tap = Some(path.into());
        self
    }

    /// With any change to the engine's configuration. Of it, `mac`, `mtu`, `max_kept_frames` and `secret` are set later.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.settings.config);
        self
    }

    /// The port spec.
    #[must_use]
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// Opens the port and makes the host.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way, with what would help.
    pub fn build(mut self) -> Result<Host> {
        let spec = PortSpec::parse(&self.spec)?;
        let rest = options::take(&spec, &mut self.settings)?;
        check(&self.settings)?;
        let mut flags = self.flags.unwrap_or_else(|| default_flags(&spec));
        if let Clock::Simulated(clock) = &self.settings.clock {
            let clock = crate::mem::Clock::Simulated(clock.clone());
            flags.mem.clock = clock.clone();
            flags.faults.clock = clock;
        }
        let socket = Sock::create(&rest, self.queue, flags).map_err(|error| options::explain(error, &spec))?;
        let wires = Wires { descriptor: Some(Sock::as_fd), due: held_back };
        finish(self.settings, socket, wires)
    }

    /// Makes the host over a socket that is open already. The port spec may be empty; if not, all of its options are the
    /// host's.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way, with what would help.
    pub fn build_over<S: Socket + AsFd>(self, socket: S) -> Result<Host<S>> {
        self.over(socket, Wires { descriptor: Some(S::as_fd), due: |_| None })
    }

    /// The same over a socket without a descriptor. The host sleeps by [`Socket::wait`], a millisecond at a time: that is
    /// how long a [`Waker`](super::Waker) may take.
    ///
    /// # Errors
    ///
    /// As [`build_over`](Self::build_over).
    pub fn build_without_descriptor<S: Socket>(self, socket: S) -> Result<Host<S>> {
        self.over(socket, Wires { descriptor: None, due: |_| None })
    }

    fn over<S: Socket>(mut self, socket: S, wires: Wires<S>) -> Result<Host<S>> {
        if !self.spec.is_empty() {
            let spec = PortSpec::parse(&self.spec)?;
            let (theirs, mine) = spec.split_options(&options::NAMES);
            theirs.options().finish().map_err(|error| options::explain(error, &spec))?;
            options::take(&mine, &mut self.settings)?;
        }
        check(&self.settings)?;
        finish(self.settings, socket, wires)
    }
}

/// How long until a packet comes that a fault injector holds back.
fn held_back(socket: &Sock) -> Option<Duration> {
    let faults = socket.faults()?;
    Some(Duration::from_nanos(faults.next_due()?.saturating_sub(faults.plan().clock.now_ns())))
}

/// What a host asks of its backend if its program does not care: frames for thousands of connections that speak at once,
/// where the defaults of the backends are for programs that look at a packet and drop it.
fn default_flags(spec: &PortSpec) -> AnyFlags {
    #[cfg_attr(
        not(any(feature = "pcap", all(target_os = "linux", feature = "af_xdp"))),
        expect(unused_mut, reason = "there is nothing to change")
    )]
    let mut flags = AnyFlags::default();
    #[cfg(feature = "pcap")]
    {
        flags.pcap.buffer_count = 4096;
    }
    #[cfg(all(target_os = "linux", feature = "af_xdp"))]
    if spec.scheme == Some("af_xdp") {
        // Twice as many fit into the same memory if packets leave room for that.
        let mtu = LinkInfo::of_interface(&spec.name).ok().and_then(|link| link.mtu);
        let short = mtu.is_some_and(|mtu| mtu as usize + XDP_HEADROOM + 14 + 8 <= 2048);
        if short && spec.options().raw("jumbo").is_none() {
            (flags.af_xdp.num_frames, flags.af_xdp.frame_size) = (16384, 2048);
            (flags.af_xdp.rx_size, flags.af_xdp.tx_size) = (8192, 4096);
        }
    }
    let _ = spec;
    flags
}

/// Bytes before every packet that AF_XDP receives (`XDP_PACKET_HEADROOM`).
const XDP_HEADROOM: usize = 256;

/// What can be checked before anything is opened.
fn check(settings: &Settings) -> Result<()> {
    let config = &settings.config;
    if config.addresses.is_empty() {
        return Err(Error::BadOption {
            option: "ip",
            value: String::new(),
            expected:
                "the host's own address and its network's prefix, such as ip=10.0.0.2/24; take one that the kernel \
                       does not have on this interface"
                    .to_owned(),
        });
    }
    let refuse =
        |option, value: String, expected: &str| Err(Error::BadOption { option, value, expected: expected.to_owned() });
    let everything = (config.addresses.iter().map(|(address, _)| ("ip", *address)))
        .chain(config.gateway.map(|router| ("gw", router)))
        .chain(config.routes.iter().flat_map(|(network, _, router)| [("route", *network), ("route", *router)]))
        .chain(config.neighbours.iter().map(|(address, _)| ("neigh", *address)));
    for (option, address) in everything {
        if address.is_ipv6() {
            return refuse(option, address.to_string(), "an IPv4 address: IPv6 is not spoken yet");
        }
    }
    for (n, (address, prefix)) in config.addresses.iter().enumerate() {
        let IpAddr::V4(own) = *address else { continue };
        let text = format!("{own}/{prefix}");
        if !(1..=32).contains(prefix) {
            return refuse("ip", text, "a prefix of 1 to 32 bits");
        }
        if own.is_unspecified() || own.is_loopback() || own.is_multicast() || own.is_broadcast() {
            return refuse("ip", text, "the address of one host on a network");
        }
        if *prefix < 31 && (host_bits(own, *prefix) == 0 || host_bits(own, *prefix) == u32::MAX >> prefix) {
            return refuse("ip", text, "a host's address: this one means the network itself, or all hosts on it");
        }
        if config.addresses[..n].iter().any(|(other, _)| other == address) {
            return refuse("ip", text, "each address once");
        }
    }
    let on_a_network =
        |address: IpAddr| config.addresses.iter().any(|(own, prefix)| same_network(*own, address, *prefix));
    let is_own = |address: IpAddr| config.addresses.iter().any(|(own, _)| *own == address);
    let networks = || {
        let all: Vec<String> = config.addresses.iter().map(|(own, prefix)| format!("{own}/{prefix}")).collect();
        all.join(" or ")
    };
    let routers = config.gateway.map(|router| ("gw", router)).into_iter();
    for (option, router) in routers.chain(config.routes.iter().map(|(_, _, router)| ("route", *router))) {
        if is_own(router) {
            return refuse(option, router.to_string(), "another host's address: this one is our own");
        }
        if !on_a_network(router) {
            return refuse(option, router.to_string(), &format!("a router on the network of {}", networks()));
        }
    }
    for (network, prefix, _) in &config.routes {
        let IpAddr::V4(address) = *network else { continue };
        if !(0..=32).contains(prefix) || host_bits(address, *prefix) != 0 {
            let bits = u32::MAX.checked_shl(32 - u32::from((*prefix).min(32))).unwrap_or(0);
            let clean = Ipv4Addr::from_bits(address.to_bits() & bits);
            return refuse("route", format!("{address}/{prefix}"), &format!("a network, such as {clean}/{prefix}"));
        }
    }
    for (address, mac) in &config.neighbours {
        if !on_a_network(*address) || is_own(*address) {
            return refuse("neigh", address.to_string(), &format!("another host on the network of {}", networks()));
        }
        if !is_station(*mac) {
            return refuse("neigh", format!("{address}={}", colons(*mac)), "an Ethernet address of one station");
        }
    }
    if let Some(mac) = settings.mac.filter(|mac| !is_station(*mac)) {
        return refuse("mac", colons(mac), "an Ethernet address of one station, such as 02:00:00:00:00:02");
    }
    if let Some(mtu) = settings.mtu.filter(|mtu| *mtu < 576) {
        return refuse("mtu", mtu.to_string(), "576 to 65535 bytes (RFC 791 asks for 576)");
    }
    if config.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
        return refuse("vlan", format!("{:?}", config.vlan), "a VLAN from 1 to 4094");
    }
    if config.tcp.min_rto > config.tcp.max_rto || config.tcp.min_rto < Duration::from_millis(1) {
        let value = format!("{:?}", config.tcp.min_rto);
        return refuse("min_rto", value, &format!("1 ms to max_rto, which is {:?}", config.tcp.max_rto));
    }
    Ok(())
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The bits of an address behind its prefix.
fn host_bits(address: Ipv4Addr, prefix: u8) -> u32 {
    address.to_bits() & u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(32 - u32::from(prefix.min(32))).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// The rest, which needs the link.
fn finish<S: Socket>(settings: Settings, socket: S, wires: Wires<S>) -> Result<Host<S>> {
    let (link, mode) = (socket.link()?, socket.mode());
    let mut config = settings.config.clone();
    config.mtu = mtu(&settings, &link, &mode)?;
    if settings.device_rx_checksum && mode.backend != "dpdk" {
        let help = "only DPDK tells what a card has verified: use rx_checksum=verify, or trust";
        return Err(Error::unsupported(format!("rx_checksum=device on {}:{}", mode.backend, mode.port), help));
    }
    if config.checksum.tx == TxChecksum::Offload && !mode.tx_checksum {
        let help = "no device there computes them: leave it at tx_checksum=compute";
        return Err(Error::unsupported(format!("tx_checksum=device on {}:{}", mode.backend, mode.port), help));
    }
    config.mac = settings.mac.or(link.mac.filter(|mac| is_station(*mac))).unwrap_or_else(|| derived_mac(&config));
    config.max_kept_frames = settings.max_kept.unwrap_or(mode.frames / 4);
    config.secret = match settings.seed {
        Some(seed) => [seed, !seed],
        None => [random(), random()],
    };
    Host::assemble(config, &settings, socket, wires, Running::start(&settings.clock))
}

/// The largest IP packet: what was asked for, if link and frames can take it, or else what they can.
fn mtu(settings: &Settings, link: &LinkInfo, mode: &Mode) -> Result<u16> {
    let tag = if settings.config.vlan.is_some() { 4 } else { 0 };
    // Bytes behind an Ethernet header that a frame has room for.
    let room = match mode.frame_size {
        0 => usize::MAX,
        _ if mode.multi_buffer => usize::MAX,
        size if mode.backend == "af_xdp" => size.saturating_sub(XDP_HEADROOM + 14 + tag),
        size => size.saturating_sub(14 + tag),
    };
    let most = link.mtu.map_or(usize::MAX, |mtu| mtu as usize);
    let Some(wanted) = settings.mtu else {
        let best = if most == usize::MAX { 1500 } else { most }.min(room).min(usize::from(u16::MAX));
        return u16::try_from(best).ok().filter(|mtu| *mtu >= 576).ok_or_else(|| Error::BadOption {
            option: "mtu",
            value: best.to_string(),
            expected: format!("at least 576 bytes: {} is too small for a host", mode.port),
        });
    };
    let help = if usize::from(wanted) > most {
        format!("at most {most}, the MTU of {0}: raise that first (`ip link set {0} mtu {wanted}`)", mode.port)
    } else if usize::from(wanted) > room {
        format!(
            "at most {room}: frames of {} bytes hold no more; see the backend's options for longer ones",
            mode.frame_size
        )
    } else {
        return Ok(wanted);
    };
    Err(Error::BadOption { option: "mtu", value: wanted.to_string(), expected: help })
}

/// A locally administered address for an interface that has none: the IP address tells whose it is.
fn derived_mac(config: &Config) -> [u8; 6] {
    let [a, b, c, d] = config.ipv4().unwrap_or(Ipv4Addr::LOCALHOST).octets();
    [0x02, 0, a, b, c, d]
}

/// 64 bits that nobody can guess: a keyed hash whose keys the system made.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
