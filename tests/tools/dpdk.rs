//! The tools over DPDK: processes joined by shared memory, and by veth with a packet socket on each end.

use crate::common::netns::Lab;
use crate::run::{good, number, open, total};

/// One end of shared memory.
fn memif(role: &str, socket: &str) -> String {
    format!("dpdk:net_memif0,role={role},socket={socket},socket-abstract=no")
}

#[test]
fn a_chain_of_processes_over_shared_memory_loses_nothing() {
    // Paths of sockets are short: 108 bytes.
    let socket = |n: u32| format!("{}/nethuns-tools-{}-{n}", std::env::temp_dir().display(), std::process::id());
    let (near, far) = (socket(0), socket(1));
    let left = memif("server", &near);
    let right = memif("server", &far).replace("net_memif0", "net_memif1");
    let forward = open("forward", &[&left, &right, "--idle-timeout", "3s"], 2);
    let meter = open("meter", &[&memif("client", &far), "--idle-timeout", "2s", "--expect", "20000"], 1);
    let sent = good("pkt-gen", &[&memif("client", &near), "-n", "20000", "--rate", "40k", "--json"]).summary();
    let received = meter.end().good().summary();
    let forwarded = forward.end().good();
    let what = format!("{sent}\n{received}\n{}", forwarded.out);
    assert_eq!((number(&sent, "packets"), number(&received, "packets")), (20_000, 20_000), "{what}");
    assert_eq!((number(&received["order"], "lost"), total(&received, "dropped")), (0, 0), "{what}");
    for path in [near, far] {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn generator_and_meter_agree_over_packet_sockets() {
    let Some(lab) = Lab::enter("tools over DPDK: generator and meter") else { return };
    lab.veth("va", "vb", 1);
    let port = |end: &str| format!("dpdk:net_af_packet0,iface={end},framecnt=8192,blocksz=65536");
    let meter = open("meter", &[&port("vb"), "--idle-timeout", "2s", "--expect", "20000"], 1);
    let sent = good("pkt-gen", &[&port("va"), "-n", "20000", "--rate", "40k", "--json"]).summary();
    let received = meter.end().good().summary();
    assert_eq!((number(&sent, "packets"), number(&sent, "pending")), (20_000, 0), "{sent}");
    assert_eq!((number(&received, "packets"), number(&received["order"], "lost")), (20_000, 0), "{received}");
}
