use super::*;
use crate::stack::ip::Ip;
use crate::stack::ip::testing::{US, config};

fn v4(text: &str) -> IpAddr {
    IpAddr::V4(text.parse().unwrap())
}

/// The message for a configuration that is wrong.
#[track_caller]
fn refused(config: &Config) -> String {
    match Ip::new(config) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("taken"),
    }
}

#[test]
fn what_makes_sense_is_taken() {
    Ip::new(&Config::default()).expect("no address at all: loopback only");
    Ip::new(&config()).unwrap();
    Ip::new(&Config { addresses: vec![(v4("10.0.0.2"), 31)], gateway: Some(v4("10.0.0.3")), ..config() }).unwrap();
    Ip::new(&Config { addresses: vec![(v4("10.0.0.2"), 32)], gateway: None, ..config() }).unwrap();
    Ip::new(&Config {
        addresses: vec![(v4("10.0.0.2"), 24), (v4("10.0.0.3"), 24), (v4("172.16.0.1"), 12)],
        ..config()
    })
    .unwrap();
    Ip::new(&Config {
        routes: vec![(v4("192.0.2.0"), 24, v4("10.0.0.7")), (v4("192.0.2.9"), 32, v4("10.0.0.8"))],
        neighbours: vec![(v4("10.0.0.7"), [2, 0, 0, 0, 0, 7])],
        ..config()
    })
    .unwrap();
}

#[test]
fn addresses_that_no_host_can_have_are_refused() {
    let with =
        |address: &str, bits| refused(&Config { addresses: vec![(v4(address), bits)], gateway: None, ..config() });
    for (address, bits) in [
        ("0.0.0.0", 24),
        ("0.1.2.3", 8),
        ("127.0.0.1", 8),
        ("224.0.0.1", 24),
        ("255.255.255.255", 24),
        ("10.0.0.0", 24),
        ("10.0.0.255", 24),
        ("10.0.0.2", 33),
    ] {
        let message = with(address, bits);
        assert!(message.starts_with(&format!("ip={address}/{bits}: expected")), "{message}");
    }
    let twice = Config { addresses: vec![(US.into(), 24), (US.into(), 16)], ..config() };
    assert!(refused(&twice).contains("each address once"));
    let six = Config { addresses: vec![("2001:db8::1".parse().unwrap(), 64)], ..Config::default() };
    assert_eq!(refused(&six), "ip=2001:db8::1/64 is not supported: the engine has no IPv6 yet: give an IPv4 address");
}

#[test]
fn routers_that_cannot_be_reached_are_refused() {
    for router in ["10.0.1.1", "10.0.0.2", "10.0.0.255", "0.0.0.0", "127.0.0.1", "255.255.255.255"] {
        let message = refused(&Config { gateway: Some(v4(router)), ..config() });
        assert_eq!(message, format!("gw={router}: expected {ON_LINK}"));
        let message = refused(&Config { routes: vec![(v4("192.0.2.0"), 24, v4(router))], ..config() });
        assert_eq!(message, format!("route=192.0.2.0/24 via {router}: expected {ON_LINK}"));
    }
    let six: IpAddr = "fe80::1".parse().unwrap();
    assert!(refused(&Config { gateway: Some(six), ..config() }).contains("gw=fe80::1"));
    for (network, bits, router, word) in [
        ("192.0.2.0", 33, v4("10.0.0.1"), "prefix length"),
        ("192.0.2.1", 24, v4("10.0.0.1"), "no bits set"),
        ("192.0.2.0", 24, six, "one kind"),
        ("10.0.0.0", 24, v4("10.0.0.1"), "each network once"),
        ("0.0.0.0", 0, v4("10.0.0.1"), "each network once"),
    ] {
        let message = refused(&Config { routes: vec![(v4(network), bits, router)], ..config() });
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn numbers_outside_their_range_are_refused() {
    for (config, text) in [
        (Config { mtu: 575, ..config() }, "mtu=575: expected 576 to 65535 bytes"),
        (Config { loopback_mtu: 0, ..config() }, "loopback_mtu=0: expected 576 to 65535 bytes"),
        (Config { vlan: Some(0), ..config() }, "vlan=0: expected 1 to 4094"),
        (Config { vlan: Some(4095), ..config() }, "vlan=4095: expected 1 to 4094"),
        (Config { mac: [0; 6], ..config() }, "mac=00:00:00:00:00:00: expected the Ethernet address of one host"),
        (
            Config { mac: [1, 0, 0, 0, 0, 1], ..config() },
            "mac=01:00:00:00:00:01: expected the Ethernet address of one host",
        ),
    ] {
        assert_eq!(refused(&config), text);
    }
    let mut none = config();
    none.ip.ttl = 0;
    assert_eq!(refused(&none), "ttl=0: expected 1 to 255");
    none = config();
    none.ip.max_neighbours = 0;
    assert!(refused(&none).starts_with("max_neighbours=0: expected more than the 0 that are given"));
}

#[test]
fn neighbours_must_be_hosts_on_the_link() {
    let mac = [2, 0, 0, 0, 0, 7];
    let with = |neighbours| refused(&Config { neighbours, ..config() });
    for address in ["192.0.2.1", "10.0.0.2"] {
        assert!(with(vec![(v4(address), mac)]).contains("on a network of ours"), "{address}");
    }
    for mac in [[0; 6], [0xff; 6]] {
        assert!(with(vec![(v4("10.0.0.7"), mac)]).contains("one host"));
    }
    assert!(with(vec![(v4("10.0.0.7"), mac), (v4("10.0.0.7"), mac)]).contains("each address once"));
}
