//! What a configuration says about addresses and routes, checked: each mistake names the option, the value and what is right.

use super::route::{Route, Routes, is_prefix_length, mask};
use super::{Own, hash::number};
use crate::stack::Config;
use crate::wire::ethernet;
use crate::{Error, Result};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

fn bad(option: &'static str, value: impl Display, expected: impl Into<String>) -> Error {
    Error::BadOption { option, value: value.to_string(), expected: expected.into() }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn check(right: bool, wrong: impl FnOnce() -> Error) -> Result<()> {
    if right { Ok(()) } else { Err(wrong()) }
}

/// The addresses and routes that a configuration gives.
pub(super) fn addresses_and_routes(config: &Config) -> Result<(Vec<Own>, Routes)> {
    check_interface(config)?;
    let mut own: Vec<Own> = Vec::new();
    let mut routes = Routes::default();
    for &(address, bits) in &config.addresses {
        let address = own_address(address, bits)?;
        check(own.iter().all(|other| other.address != address.to_bits()), || bad("ip", address, "each address once"))?;
        let host = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
        // Networks of 31 and 32 bits have no broadcast address (RFC 3021).
        let broadcast = if bits >= 31 { u32::MAX } else { address.to_bits() | host };
        own.push(Own { address: address.to_bits(), broadcast, defended: None });
        // Of two addresses in one network the first one is the source.
        routes.add(address.into(), bits, Route { via: None, source: address.into() });
    }
    let connected = |router: IpAddr| routes.find(router).map(|route| route.source);
    let mut more = Vec::new();
    for &(network, bits, router) in &config.routes {
        let text = || format!("{network}/{bits} via {router}");
        check(network.is_ipv4() == router.is_ipv4(), || bad("route", text(), "network and router of one kind"))?;
        check(is_prefix_length(network, bits), || bad("route", text(), "a prefix length of 0 to 32"))?;
        let inside = number(network) & !mask(network, bits) == 0;
        check(inside, || bad("route", text(), "a network with no bits set behind its prefix"))?;
        let source = router_source(&own, connected(router), router).ok_or_else(|| bad("route", text(), ON_LINK))?;
        more.push((network, bits, Route { via: Some(router), source }));
    }
    if let Some(router) = config.gateway {
        let source = router_source(&own, connected(router), router).ok_or_else(|| bad("gw", router, ON_LINK))?;
        more.push((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, Route { via: Some(router), source }));
    }
    for (network, bits, route) in more {
        check(routes.add(network, bits, route), || bad("route", format!("{network}/{bits}"), "each network once"))?;
    }
    for &(address, mac) in &config.neighbours {
        let text = || format!("{address} at {}", mac_text(mac));
        let on_link = routes.find(address).is_some_and(|route| route.via.is_none()) && !is_own(&own, address);
        check(on_link, || bad("neighbour", text(), "an address on a network of ours, and not our own"))?;
        check(is_host(mac), || bad("neighbour", text(), "the Ethernet address of one host"))?;
        let times = config.neighbours.iter().filter(|(other, _)| *other == address).count();
        check(times == 1, || bad("neighbour", text(), "each address once"))?;
    }
    Ok((own, routes))
}

const ON_LINK: &str = "a router on a network of ours, and not our own address";

fn check_interface(config: &Config) -> Result<()> {
    check(is_host(config.mac), || bad("mac", mac_text(config.mac), "the Ethernet address of one host"))?;
    check(config.mtu >= 576, || bad("mtu", config.mtu, "576 to 65535 bytes"))?;
    check(config.loopback_mtu >= 576, || bad("loopback_mtu", config.loopback_mtu, "576 to 65535 bytes"))?;
    if let Some(vlan) = config.vlan {
        check((1..=4094).contains(&vlan), || bad("vlan", vlan, "1 to 4094"))?;
    }
    check(config.ip.ttl > 0, || bad("ttl", config.ip.ttl, "1 to 255"))?;
    let (most, permanent) = (config.ip.max_neighbours, config.neighbours.len());
    check(most > permanent && most <= 1 << 24, || {
        bad("max_neighbours", most, format!("more than the {permanent} that are given, and at most {}", 1 << 24))
    })
}

fn own_address(address: IpAddr, bits: u8) -> Result<Ipv4Addr> {
    let text = || format!("{address}/{bits}");
    let IpAddr::V4(address) = address else {
        return Err(Error::unsupported(format!("ip={}", text()), "the engine has no IPv6 yet: give an IPv4 address"));
    };
    check(is_prefix_length(address.into(), bits), || bad("ip", text(), "a prefix length of 0 to 32"))?;
    check(is_unicast(address), || bad("ip", text(), "the address of one host"))?;
    let host = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
    let part = address.to_bits() & host;
    check(bits >= 31 || (part != 0 && part != host), || {
        bad("ip", text(), "a host's address: not the network's own and not its broadcast address")
    })?;
    Ok(address)
}

fn is_unicast(address: Ipv4Addr) -> bool {
    !(address.octets()[0] == 0 || address.is_loopback() || address.octets()[0] >= 224)
}

fn is_own(own: &[Own], address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if own.iter().any(|own| own.address == address.to_bits()))
}

fn is_host(mac: [u8; 6]) -> bool {
    mac != [0; 6] && !ethernet::is_group(mac)
}

/// The address we talk to a router with, if it is one that we can reach.
fn router_source(own: &[Own], connected: Option<IpAddr>, router: IpAddr) -> Option<IpAddr> {
    let IpAddr::V4(address) = router else { return None };
    let broadcast = own.iter().any(|own| own.broadcast == address.to_bits());
    if is_unicast(address) && !broadcast && !is_own(own, router) { connected } else { None }
}

#[cfg(test)]
mod tests;
