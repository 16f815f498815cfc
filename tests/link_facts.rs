//! Facts of interfaces, compared with what `ip` and `ethtool` were told to make.
#![cfg(target_os = "linux")]

mod common;

use common::netns::{Lab, ip, run};
use nethuns_rs::Error;
use nethuns_rs::api::LinkInfo;

#[test]
fn a_veth_tells_its_facts() {
    let Some(lab) = Lab::enter("a_veth_tells_its_facts") else { return };
    lab.veth("va", "vb", 4);
    ip("link set va mtu 1400 address 02:00:00:00:00:0a");
    run("ethtool", "-L va rx 3 tx 2");
    let link = LinkInfo::of_interface("va").unwrap();
    assert_eq!(link.name, "va");
    assert!(link.index.unwrap() > 1);
    assert_eq!(link.mac, Some([2, 0, 0, 0, 0, 0x0a]));
    assert_eq!(link.mtu, Some(1400));
    assert_eq!(link.speed_mbps, Some(10_000));
    assert_eq!(link.carrier, Some(true));
    assert_eq!((link.rx_queues, link.tx_queues), (Some(3), Some(2)));
    assert_eq!(link.offloads.tx_checksum, Some(true));
    assert_eq!(link.offloads.tso, Some(true));
    assert_eq!(link.offloads.lro, Some(false));

    run("ethtool", "-K va tx off tso off gso off gro on rxvlan off");
    let link = LinkInfo::of_interface("va").unwrap();
    assert_eq!(link.offloads.tx_checksum, Some(false));
    assert_eq!(link.offloads.tso, Some(false));
    assert_eq!(link.offloads.gso, Some(false));
    assert_eq!(link.offloads.gro, Some(true));
    assert_eq!(link.offloads.rx_vlan, Some(false));
    assert_eq!(link.offloads.tx_vlan, Some(true));

    ip("link set vb down");
    assert_eq!(LinkInfo::of_interface("va").unwrap().carrier, Some(false));
}

#[test]
fn the_loopback_interface_tells_its_facts() {
    let Some(_lab) = Lab::enter("the_loopback_interface_tells_its_facts") else { return };
    let link = LinkInfo::of_interface("lo").unwrap();
    assert_eq!((link.index, link.mtu, link.mac), (Some(1), Some(65536), Some([0; 6])));
    assert_eq!((link.rx_queues, link.tx_queues), (Some(1), Some(1)));
    assert_eq!((link.carrier, link.speed_mbps), (Some(true), None));
}

/// The driver of tap does not tell its queues; one that was made with one has one.
#[test]
fn a_tap_tells_its_facts() {
    let Some(_lab) = Lab::enter("a_tap_tells_its_facts") else { return };
    if !std::path::Path::new("/dev/net/tun").exists() {
        common::skip("a_tap_tells_its_facts", "the kernel has no tap interfaces");
        return;
    }
    ip("tuntap add dev tap0 mode tap");
    let link = LinkInfo::of_interface("tap0").unwrap();
    assert_eq!((link.rx_queues, link.tx_queues), (Some(1), Some(1)));
    assert_eq!(link.mtu, Some(1500));
    ip("tuntap del dev tap0 mode tap");
    ip("tuntap add dev tap0 mode tap multi_queue");
    // 256 are allocated, none is in use: better nothing than a wrong number.
    let link = LinkInfo::of_interface("tap0").unwrap();
    assert_eq!((link.rx_queues, link.tx_queues), (None, None));
}

#[test]
fn an_interface_that_is_not_there_is_told_with_those_that_are() {
    let Some(lab) = Lab::enter("an_interface_that_is_not_there_is_told_with_those_that_are") else { return };
    lab.veth("va", "vb", 1);
    assert_eq!(LinkInfo::interfaces(), ["lo", "vb", "va"]);
    for name in ["eth7", "", "a name that is much too long for an interface", "nul\0"] {
        let error = LinkInfo::of_interface(name).unwrap_err();
        assert!(matches!(&error, Error::NoSuchPort { port, .. } if port == name), "{error:?}");
        assert!(error.to_string().contains("there are lo, vb, va"), "{error}");
    }
}
