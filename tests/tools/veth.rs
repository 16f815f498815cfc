//! The tools over veth, each in a process of its own, on every backend that can be had: counts agree to the packet.

use crate::common::netns::Lab;
use crate::common::skip;
use crate::run::{Ended, good, number, open, run, start, tool, total};

/// Backends to run over veth.
fn backends() -> Vec<&'static str> {
    let all = [("pcap", cfg!(feature = "pcap")), ("af_xdp", cfg!(feature = "af_xdp"))];
    all.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect()
}

/// Rings for a machine that makes programs wait for a CPU.
fn port(backend: &str, interface: &str) -> String {
    match backend {
        "af_xdp" => format!("af_xdp:{interface}?rx=8192&frames=24576&frame_size=2048"),
        _ => format!("{backend}:{interface}?kernel_buffer=33554432"),
    }
}

fn odd(received: &serde_json::Value) -> [u64; 4] {
    ["lost", "reordered", "duplicates", "late"].map(|key| number(&received["order"], key))
}

#[test]
fn generator_and_meter_agree_to_the_packet() {
    let Some(lab) = Lab::enter("tools: generator and meter") else { return };
    lab.veth("va", "vb", 2);
    for backend in backends() {
        for (packets, args) in [
            ("20000", &["--rate", "40k"][..]),
            ("5000", &["--rate", "100Mbps", "--size", "1514", "--dst", "10.0.0.2:7000"]),
            ("5000", &["--rate", "20k", "--dst", "fd00::2", "--burst", "8"]),
            ("3", &["--rate", "10"]),
        ] {
            let meter = open("meter", &[&port(backend, "vb"), "--idle-timeout", "1s", "--expect", packets], 1);
            let from = port(backend, "va");
            let all = [&[from.as_str(), "-n", packets, "--json"][..], args].concat();
            let sent = good("pkt-gen", &all).summary();
            let received = meter.end().good().summary();
            let what = format!("{backend} {args:?}\n{sent}\n{received}");
            let packets: u64 = packets.parse().expect("a number");
            assert_eq!((number(&sent, "submitted"), number(&sent, "packets")), (packets, packets), "{what}");
            assert_eq!((number(&sent, "pending"), total(&sent, "dropped")), (0, 0), "{what}");
            assert_eq!((number(&received, "packets"), number(&received, "stamped")), (packets, packets), "{what}");
            assert_eq!(number(&received, "bytes"), number(&sent, "bytes"), "{what}");
            assert_eq!((odd(&received), total(&received, "dropped")), ([0; 4], 0), "{what}");
            // Where the engine tells microseconds only, an arrival can seem to be before its departure.
            let latency = &received["latency"];
            assert_eq!(number(latency, "samples"), packets, "{what}");
            assert!(number(latency, "negative") == 0 || backend == "pcap", "{what}");
            let ordered = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns"].map(|key| number(latency, key));
            assert!(ordered.is_sorted() && ordered[1] > 0 && ordered[4] < 10_000_000_000, "{what}");
        }
    }
}

#[test]
fn flat_out_every_packet_is_accounted_for() {
    let Some(lab) = Lab::enter("tools: flat out") else { return };
    lab.veth("va", "vb", 1);
    for backend in backends() {
        let meter = open("meter", &[&port(backend, "vb"), "--idle-timeout", "1s"], 1);
        let sent = run("pkt-gen", &[&port(backend, "va"), "-n", "200k", "--json"]).summary();
        let received = meter.end().good().summary();
        let (sent_all, dropped) = (number(&sent, "packets"), total(&received, "dropped"));
        assert_eq!(number(&sent, "submitted"), sent_all + total(&sent, "dropped"), "{sent}");
        assert_eq!(number(&received, "packets") + dropped, sent_all, "{backend}\n{sent}\n{received}");
    }
}

#[test]
fn a_chain_through_a_forwarder_is_accounted_for() {
    let Some(lab) = Lab::enter("tools: chain") else { return };
    lab.veth("va", "vb", 1);
    lab.veth("vc", "vd", 1);
    for backend in backends() {
        for (name, args) in [("forward", &[][..]), ("forward", &["--swap-mac"]), ("forward_mt", &["-c", "3"])] {
            let [from, to] = ["vb", "vc"].map(|interface| port(backend, interface));
            let meter = open("meter", &[&port(backend, "vd"), "--idle-timeout", "2s", "--expect", "20000"], 1);
            let middle = open(name, &[&[from.as_str(), &to, "--idle-timeout", "1s"], args].concat(), 2);
            let sent = good("pkt-gen", &[&port(backend, "va"), "-n", "20k", "--rate", "40k", "--json"]).summary();
            let way = middle.end().good().summary();
            let received = meter.end().good().summary();
            let what = format!("{backend} {name} {args:?}\n{sent}\n{way}\n{received}");
            assert_eq!(number(&sent, "packets"), 20_000, "{what}");
            assert_eq!((number(&way, "received"), number(&way, "packets")), (20_000, 20_000), "{what}");
            assert_eq!((total(&way, "dropped"), total(&way, "rx_dropped")), (0, 0), "{what}");
            assert_eq!(number(&received, "packets"), 20_000, "{what}");
            assert_eq!(number(&received, "order.lost"), 0, "{what}");
            assert_eq!(way["zero_copy"], true, "ports of one backend share a pool: {what}");
        }
    }
}

#[test]
fn both_directions_are_forwarded() {
    let Some(lab) = Lab::enter("tools: both directions") else { return };
    lab.veth("va", "vb", 1);
    lab.veth("vc", "vd", 1);
    for backend in backends() {
        let [from, to] = ["vb", "vc"].map(|interface| port(backend, interface));
        let middle = open("forward", &[&from, &to, "--both", "--idle-timeout", "1s"], 2);
        // Each generator stands at the other's end: what it receives is not its own.
        let ends = [("va", "6000"), ("vd", "9000")].map(|(interface, packets)| {
            start(tool("pkt-gen"), &[&port(backend, interface), "-n", packets, "--rate", "20k", "--json"])
        });
        for end in ends {
            end.end().good();
        }
        let ways = middle.end().good().summaries();
        assert_eq!(ways.len(), 2);
        for (way, packets) in ways.iter().zip([6_000, 9_000]) {
            assert_eq!((number(way, "received"), number(way, "packets")), (packets, packets), "{backend}: {way}");
        }
    }
}

#[test]
fn tcpdump_reads_what_is_sent() {
    let Some(lab) = Lab::enter("tools: tcpdump") else { return };
    if std::process::Command::new("tcpdump").arg("--version").output().is_err() {
        return skip("tools: tcpdump", "it is not installed");
    }
    lab.veth("va", "vb", 1);
    for backend in backends() {
        for dst in ["10.0.0.2:5000", "[fd00::2]:5000"] {
            let dump = start("tcpdump", &["-nvvi", "vb", "-c", "100", "--immediate-mode", "udp"]).says("listening on");
            good("pkt-gen", &[&port(backend, "va"), "-n", "100", "--rate", "2k", "--dst", dst]);
            let text = dump.end().good().out;
            assert_eq!(text.matches("[udp sum ok]").count(), 100, "{backend} {dst}: {text}");
        }
    }
}

#[test]
fn ctrl_c_in_full_flight_leaves_nothing_pending() {
    let Some(lab) = Lab::enter("tools: ctrl-C") else { return };
    lab.veth("va", "vb", 1);
    for backend in backends() {
        let meter = open("meter", &[&port(backend, "vb")], 1);
        let generator = start(tool("pkt-gen"), &[&port(backend, "va"), "--rate", "20k", "--json", "-i", "100ms"]);
        let generator = generator.opened(1);
        std::thread::sleep(std::time::Duration::from_millis(500));
        let sent: Ended = generator.interrupt().end().good();
        let intervals = sent.lines().iter().filter(|line| line["event"] == "interval").count();
        assert!(intervals >= 2, "{}", sent.out);
        // What was completed has arrived; give the meter a moment to take it.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let received = meter.interrupt().end().good().summary();
        let sent = sent.summary();
        assert_eq!(number(&sent, "pending"), 0);
        assert!(number(&sent, "packets") > 1_000, "{sent}");
        assert_eq!(number(&received, "packets"), number(&sent, "packets"), "{backend}\n{sent}\n{received}");
    }
}

#[test]
fn rates_above_the_link_are_warned_of() {
    let Some(lab) = Lab::enter("tools: link rate") else { return };
    lab.veth("va", "vb", 1);
    for backend in backends() {
        // A veth claims 10 Gbit/s.
        let ended = good("pkt-gen", &[&port(backend, "va"), "-n", "10", "--rate", "20M", "--size", "1514"]);
        assert!(ended.err.contains("exceed the link"), "{backend}: {}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        let ended = good("pkt-gen", &[&port(backend, "va"), "-n", "10", "--rate", "500k", "--size", "1514"]);
        assert_eq!(ended.err, "", "{backend}");
        let ended = run("pkt-gen", &[&port(backend, "va"), "-n", "10", "--size", "1515"]);
        assert_eq!(ended.code(), Some(2), "{backend}: {}", ended.err);
        assert!(ended.err.contains("MTU of 1500"), "{backend}: {}", ended.err);
    }
}
