//! The options of a port spec that are the host's. The others are the backend's.

use super::PollMode;
use super::builder::Settings;
use crate::api::{Options, PortSpec};
use crate::errors::{Error, Result};
use crate::stack::config::{CongestionControl, RxChecksum, TxChecksum};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// What a host takes out of a port spec.
pub(super) const NAMES: [&str; 29] = [
    "ip",
    "gw",
    "route",
    "neigh",
    "mac",
    "mtu",
    "vlan",
    "ttl",
    "ping",
    "rx_checksum",
    "tx_checksum",
    "cc",
    "pacing",
    "sndbuf",
    "rcvbuf",
    "min_rto",
    "max_rto",
    "delayed_ack",
    "time_wait",
    "syn_cookies",
    "max_connections",
    "max_buffered",
    "max_kept",
    "poll",
    "spin",
    "tap",
    "tap_snaplen",
    "seed",
    "ports",
];

/// Of these, what the backend is told too: the fault injector's dice begin with the same seed.
const SHARED: [&str; 1] = ["seed"];

/// Takes the host's options out of a spec and puts them over the settings. Returns the spec that is left for the backend.
pub(super) fn take(spec: &PortSpec, settings: &mut Settings) -> Result<String> {
    let (theirs, mine) = spec.split_options(&NAMES);
    let mut options = mine.options();
    read(&mut options, settings)?;
    options.finish()?;
    let mut rest = theirs.text().to_owned();
    let mut hand_on = |option: String| {
        rest.push(if rest.contains('?') { '&' } else { '?' });
        rest.push_str(&option);
    };
    let mut options = mine.options();
    for name in SHARED {
        if let Some(Some(value)) = options.raw(name) {
            hand_on(format!("{name}={value}"));
        }
    }
    // What the device does, its backend must be told.
    match spec.scheme {
        Some("dpdk") => {
            if let Some(mtu) = settings.mtu {
                hand_on(format!("mtu={mtu}"));
            }
            if settings.device_rx_checksum {
                hand_on("rx_checksum".to_owned());
            }
            if settings.config.checksum.tx == TxChecksum::Offload {
                hand_on("tx_checksum".to_owned());
            }
        }
        Some("af_xdp") if settings.config.checksum.tx == TxChecksum::Offload => {
            hand_on("tx_checksum=hardware".to_owned());
        }
        _ => {}
    }
    Ok(rest)
}

/// An error of the backend, with the host's options added to its list where it does not know one.
pub(super) fn explain(error: Error, spec: &PortSpec) -> Error {
    match error {
        Error::PortSpec { problem, .. } if problem.starts_with("unknown option") => Error::PortSpec {
            spec: spec.text().to_owned(),
            problem: format!("{problem}; and of every host: {}", NAMES.join(", ")),
        },
        other => other,
    }
}

/// Bytes of one connection's buffers.
const BUFFER: RangeInclusive<usize> = 2048..=1 << 30;

fn read(options: &mut Options<'_>, settings: &mut Settings) -> Result<()> {
    if let Some(text) = options.text("ip")? {
        settings.config.addresses = list("ip", text, "addresses such as 10.0.0.2/24", address_and_prefix)?;
    }
    if let Some(text) = options.text("gw")? {
        settings.config.gateway =
            Some(parse("gw", text, "the router's address, such as 10.0.0.1", |t| t.parse().ok())?);
    }
    if let Some(text) = options.text("route")? {
        settings.config.routes =
            list("route", text, "NETWORK/PREFIX=ROUTER, such as 192.168.0.0/16=10.0.0.9", |text| {
                let (network, router) = text.split_once('=')?;
                let (network, prefix) = address_and_prefix(network)?;
                Some((network, prefix, router.parse().ok()?))
            })?;
    }
    if let Some(text) = options.text("neigh")? {
        settings.config.neighbours = list("neigh", text, "ADDRESS=MAC, such as 10.0.0.1=02:00:00:00:00:01", |text| {
            let (address, mac) = text.split_once('=')?;
            Some((address.parse().ok()?, mac_address(mac)?))
        })?;
    }
    if let Some(text) = options.text("mac")? {
        let expected = "an Ethernet address of one station, such as 02:00:00:00:00:02";
        settings.mac = Some(parse("mac", text, expected, |text| mac_address(text).filter(|mac| is_station(*mac)))?);
    }
    settings.mtu = options.number("mtu", 576..=65535)?.or(settings.mtu);
    let config = &mut settings.config;
    config.vlan = options.number("vlan", 1..=4094)?.or(config.vlan);
    set(&mut config.ip.ttl, options.number("ttl", 1..=255)?);
    set(&mut config.ip.answer_echo, options.switch("ping")?);
    let words = [
        ("verify", (RxChecksum::Verify, false)),
        ("trust", (RxChecksum::Trust, false)),
        ("device", (RxChecksum::Verify, true)),
    ];
    if let Some((checksum, device)) = options.one_of("rx_checksum", &words)? {
        config.checksum.rx = checksum;
        settings.device_rx_checksum = device;
    }
    let words = [("compute", TxChecksum::Compute), ("device", TxChecksum::Offload), ("omit", TxChecksum::Omit)];
    set(&mut config.checksum.tx, options.one_of("tx_checksum", &words)?);
    let words = [("cubic", CongestionControl::Cubic), ("newreno", CongestionControl::NewReno)];
    set(&mut config.tcp.congestion, options.one_of("cc", &words)?);
    set(&mut config.tcp.pacing, options.switch("pacing")?);
    set(&mut config.tcp.send_buffer, options.number("sndbuf", BUFFER)?);
    set(&mut config.tcp.receive_buffer, options.number("rcvbuf", BUFFER)?);
    let ms = Duration::from_millis;
    set(&mut config.tcp.min_rto, duration(options, "min_rto", ms(1)..=ms(60_000))?);
    set(&mut config.tcp.max_rto, duration(options, "max_rto", ms(100)..=ms(3_600_000))?);
    set(&mut config.tcp.delayed_ack, duration(options, "delayed_ack", ms(0)..=ms(500))?);
    set(&mut config.tcp.time_wait, duration(options, "time_wait", ms(0)..=ms(240_000))?);
    set(&mut config.tcp.syn_cookies, options.switch("syn_cookies")?);
    set(&mut config.tcp.max_connections, options.number("max_connections", 1..=1 << 24)?);
    set(&mut config.tcp.max_buffered_bytes, options.number("max_buffered", 1 << 16..=usize::MAX)?);
    settings.max_kept = options.number("max_kept", 0..=1 << 24)?.or(settings.max_kept);
    if let Some(text) = options.text("ports")? {
        config.tcp.ephemeral_ports = parse("ports", text, "first and last port, such as 32768-60999", |text| {
            let (first, last) = text.split_once('-')?;
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (0 < first && first <= last).then_some((first, last))
        })?;
    }
    let spin = duration(options, "spin", ms(0)..=ms(1000))?;
    let adaptive = PollMode::Adaptive { spin: spin.unwrap_or(PollMode::SPIN) };
    let words = [("busy", PollMode::Busy), ("adaptive", adaptive), ("sleep", PollMode::Sleep)];
    let mode = options.one_of("poll", &words)?;
    if let (Some(PollMode::Busy | PollMode::Sleep), Some(spin)) = (mode, spin) {
        return Err(bad("spin", &format!("{spin:?}"), "poll=adaptive, of which it is the time without sleep"));
    }
    set(&mut settings.poll, mode.or(spin.map(|_| adaptive)));
    if let Some(path) = options.text("tap")? {
        settings.tap = Some(path.into());
    }
    set(&mut settings.tap_snaplen, options.number("tap_snaplen", 64..=262_144)?);
    settings.seed = options.number("seed", 0..=u64::MAX)?.or(settings.seed);
    Ok(())
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn bad(option: &'static str, value: &str, expected: &str) -> Error {
    Error::BadOption { option, value: value.to_owned(), expected: expected.to_owned() }
}

fn parse<T>(option: &'static str, text: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
    read(text).ok_or_else(|| bad(option, text, expected))
}

/// Several values with commas between them.
fn list<T>(option: &'static str, text: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    text.split(',').map(|one| read(one).ok_or_else(|| bad(option, one, expected))).collect()
}

fn duration(options: &mut Options<'_>, key: &'static str, range: RangeInclusive<Duration>) -> Result<Option<Duration>> {
    match options.duration(key)? {
        Some(value) if !range.contains(&value) => {
            Err(bad(key, &format!("{value:?}"), &format!("{:?} to {:?}", range.start(), range.end())))
        }
        value => Ok(value),
    }
}

/// `10.0.0.2/24`. Without a prefix there is nobody else on the network: that is never meant, so it must be said.
fn address_and_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address = IpAddr::from_str(address).ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    Some((address, prefix.parse().ok().filter(|prefix| *prefix <= most)?))
}

/// Six bytes in hexadecimal with colons or hyphens between them.
fn mac_address(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| !part.starts_with('+'))?;
    }
    parts.next().is_none().then_some(mac)
}

/// Whether an Ethernet address can be that of one interface.
pub(super) fn is_station(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}
