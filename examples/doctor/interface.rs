//! One interface: its link, its offloads, its XDP programs, the other end of a veth.

use crate::{Findings, Severity};
use nethuns_rs::api::LinkInfo;
use nethuns_tools::Failure;
use nethuns_tools::args::Mac;
use std::fs;

/// The driver, where `/sys` shows the same interface that the process sees.
fn driver(link: &LinkInfo) -> Option<String> {
    let device = format!("/sys/class/net/{}", link.name);
    let index: u32 = fs::read_to_string(format!("{device}/ifindex")).ok()?.trim().parse().ok()?;
    let target = fs::read_link(format!("{device}/device/driver")).ok()?;
    let name = target.file_name()?.to_string_lossy().into_owned();
    (link.index == Some(index)).then_some(name)
}

/// What was found about an interface.
///
/// # Errors
///
/// If there is none of that name.
pub fn examine(name: &str) -> Result<Findings, Failure> {
    let mut findings = Findings::about("interface", Some(name));
    let link = LinkInfo::of_interface(name)?;
    let kind = xdp(&mut findings, name)?;
    let mut facts: Vec<String> = driver(&link).or(kind).into_iter().collect();
    facts.extend(link.mac.map(|mac| Mac(mac).to_string()));
    facts.extend(link.mtu.map(|mtu| format!("MTU {mtu}")));
    facts.extend(link.speed_mbps.map(|mbps| format!("{mbps} Mbit/s")));
    for (queues, which) in [(link.rx_queues, "receive"), (link.tx_queues, "transmit")] {
        facts.extend(queues.map(|n| format!("{n} {which} queue{}", if n == 1 { "" } else { "s" })));
    }
    facts.push(if link.carrier == Some(false) { "no carrier" } else { "carrier" }.to_owned());
    findings.list.insert(
        0,
        crate::Finding {
            topic: "interface",
            subject: Some(name.to_owned()),
            severity: Severity::Ok,
            text: facts.join(", "),
            fix: None,
        },
    );
    if link.carrier == Some(false) && cfg!(not(feature = "af_xdp")) {
        let fix = format!("sudo ip link set dev {name} up");
        findings.add_fix(Severity::Warning, "no carrier: nothing is received, nothing leaves", fix);
    }
    offloads(&mut findings, &link);
    Ok(findings)
}

/// Offloads that show a program other frames than those on the wire.
fn offloads(findings: &mut Findings, link: &LinkInfo) {
    let on = &link.offloads;
    let hurts = [
        (on.lro, "lro", Severity::Warning, "LRO merges received frames, in the card: AF_XDP and libpcap see giants"),
        (on.gro, "gro", Severity::Note, "GRO merges received frames before libpcap and generic XDP see them"),
        (on.rx_vlan, "rxvlan", Severity::Note, "VLAN tags are taken out of frames before AF_XDP sees them"),
    ];
    let virtual_hurts = [
        (
            on.tx_checksum,
            "tx",
            Severity::Note,
            "what the kernel sends here reaches a virtual peer with partial checksums",
        ),
        (on.tso, "tso", Severity::Note, "TSO: what the kernel sends here reaches a virtual peer in giants"),
    ];
    let cable = link.speed_mbps.is_some() && driver(link).is_none() && link.name != "lo";
    let all = hurts.into_iter().chain(virtual_hurts.into_iter().filter(|_| cable));
    for (on, word, severity, text) in all {
        if on == Some(true) {
            findings.add_fix(severity, text, format!("sudo ethtool -K {} {word} off", link.name));
        }
    }
}

/// XDP on the interface: what is attached, what the driver can do, what stands in the way. Tells what kind of virtual
/// interface it is.
#[cfg(all(target_os = "linux", feature = "af_xdp"))]
fn xdp(findings: &mut Findings, name: &str) -> Result<Option<String>, Failure> {
    let info = nethuns_rs::af_xdp::inspect(name)?;
    match info.features {
        Some(features) => findings.add(Severity::Ok, format!("XDP features of the driver: {features}")),
        None => findings.add(Severity::Note, "this kernel does not tell XDP features (from 6.3 on)"),
    }
    if info.attached.is_empty() {
        findings.add(Severity::Ok, "no XDP program attached");
    }
    // Each says what was found and what to type: programs attached, no carrier, queues, MTU, the peer's offloads.
    for hint in info.hints {
        findings.add(Severity::Warning, hint);
    }
    Ok(info.kind)
}

#[cfg(not(all(target_os = "linux", feature = "af_xdp")))]
fn xdp(_findings: &mut Findings, _name: &str) -> Result<Option<String>, Failure> {
    Ok(None)
}
