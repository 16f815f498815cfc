//! Where a packet goes next: the longest prefix that holds its destination (RFC 1122, 3.3.1).
//!
//! The table is made once from the configuration. Prefixes of one length lie together, sorted, so a look-up is one binary
//! search for each length in use, longest first.

use super::hash::number;
use std::net::IpAddr;

/// What a route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The router to hand packets to; `None` for destinations on the link itself.
    pub(super) via: Option<IpAddr>,
    /// The address of ours that packets leave with if their socket has none.
    pub(super) source: IpAddr,
}

/// All routes.
#[derive(Debug, Default)]
pub(super) struct Routes {
    lengths: Vec<Length>,
}

#[derive(Debug)]
struct Length {
    bits: u8,
    mask: u128,
    routes: Vec<(u128, Route)>,
}

/// Whether `bits` is a prefix length for this kind of address.
pub(super) fn is_prefix_length(address: IpAddr, bits: u8) -> bool {
    bits <= if address.is_ipv4() { 32 } else { 128 }
}

/// The mask of a prefix, over addresses as [`number`]s.
pub(super) fn mask(address: IpAddr, bits: u8) -> u128 {
    let bits = u32::from(bits) + if address.is_ipv4() { 96 } else { 0 };
    u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0)
}

impl Routes {
    /// Adds a route for a prefix. Returns whether there was none for it yet; the first one stays.
    pub(super) fn add(&mut self, network: IpAddr, bits: u8, route: Route) -> bool {
        let mask = mask(network, bits);
        let bits = bits + if network.is_ipv4() { 96 } else { 0 };
        let network = number(network) & mask;
        let at = match self.lengths.binary_search_by(|length| bits.cmp(&length.bits)) {
            Ok(at) => at,
            Err(at) => {
                self.lengths.insert(at, Length { bits, mask, routes: Vec::new() });
                at
            }
        };
        let routes = &mut self.lengths[at].routes;
        match routes.binary_search_by_key(&network, |(network, _)| *network) {
            Ok(_) => false,
            Err(at) => {
                routes.insert(at, (network, route));
                true
            }
        }
    }

    /// The route with the longest prefix that holds `destination`.
    pub(super) fn find(&self, destination: IpAddr) -> Option<Route> {
        let destination = number(destination);
        self.lengths.iter().find_map(|length| {
            let network = destination & length.mask;
            let at = length.routes.binary_search_by_key(&network, |(network, _)| *network).ok()?;
            Some(length.routes[at].1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(text: &str) -> IpAddr {
        IpAddr::V4(text.parse().unwrap())
    }

    fn via(router: &str) -> Route {
        Route { via: Some(router.parse().unwrap()), source: v4("10.0.0.2") }
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let mut routes = Routes::default();
        assert_eq!(routes.find(v4("10.1.2.3")), None, "an empty table leads nowhere");
        assert!(routes.add(v4("0.0.0.0"), 0, via("10.0.0.1")));
        assert!(routes.add(v4("10.1.2.3"), 32, via("10.0.0.9")));
        assert!(routes.add(v4("10.0.0.0"), 8, via("10.0.0.3")));
        assert!(routes.add(v4("10.1.0.0"), 16, via("10.0.0.4")));
        assert!(!routes.add(v4("10.1.0.0"), 16, via("10.0.0.5")), "the first stays");
        for (to, router) in
            [("10.1.2.3", "10.0.0.9"), ("10.1.2.4", "10.0.0.4"), ("10.2.0.1", "10.0.0.3"), ("8.8.8.8", "10.0.0.1")]
        {
            assert_eq!(routes.find(v4(to)), Some(via(router)), "{to}");
        }
    }

    #[test]
    fn a_default_route_of_one_kind_takes_nothing_of_the_other() {
        let mut routes = Routes::default();
        routes.add(v4("0.0.0.0"), 0, via("10.0.0.1"));
        assert_eq!(routes.find(IpAddr::V6(Ipv6Addr::LOCALHOST)), None);
        let six = Route { via: Some("fe80::1".parse().unwrap()), source: "2001:db8::2".parse().unwrap() };
        routes.add(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0, six);
        assert_eq!(routes.find("2001:db8::9".parse().unwrap()), Some(six));
        assert_eq!(routes.find(v4("1.2.3.4")), Some(via("10.0.0.1")));
    }

    /// Against an oracle that looks at every route.
    #[test]
    fn random_tables_answer_like_a_linear_search() {
        let mut random = crate::stack::random::Random(7);
        for _ in 0..200 {
            let mut routes = Routes::default();
            let mut all: Vec<(u32, u8, Route)> = Vec::new();
            for n in 0..random.below(60) as u32 {
                let bits = random.below(33) as u8;
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                // Few values for the upper bits, so that prefixes nest.
                let network = (random.next() as u32 & 0x8181_8181) & mask;
                let route = Route { via: Some(Ipv4Addr::from_bits(n).into()), source: v4("10.0.0.2") };
                let new = !all.iter().any(|(other, length, _)| (*other, *length) == (network, bits));
                assert_eq!(routes.add(Ipv4Addr::from_bits(network).into(), bits, route), new);
                if new {
                    all.push((network, bits, route));
                }
            }
            for _ in 0..200 {
                let to = random.next() as u32 & 0x8181_8181;
                let holds = |network: u32, bits: u8| bits == 0 || (network ^ to) >> (32 - u32::from(bits)) == 0;
                let best =
                    all.iter().filter(|(network, bits, _)| holds(*network, *bits)).max_by_key(|(_, bits, _)| *bits);
                assert_eq!(routes.find(Ipv4Addr::from_bits(to).into()), best.map(|(_, _, route)| *route));
            }
        }
    }
}
