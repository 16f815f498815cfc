//! Capture files as source and sink: what was generated is what other programs read, and what the meter counts.

use crate::common::skip;
use crate::run::{Ended, good, number, run, scratch, total};
use std::process::Command;

/// What another program says of a file; `None` if it is not installed.
fn other(program: &str, args: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(args).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip(&format!("tools: {program}"), "it is not installed");
            return None;
        }
        output => output.unwrap_or_else(|e| panic!("{program}: {e}")),
    };
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text"))
}

fn generate(file: &str, args: &[&str]) -> Ended {
    let port = format!("pcap:{file}?write");
    good("pkt-gen", &[&[port.as_str(), "--json", "--dst-mac", "02:00:00:00:00:02"], args].concat())
}

#[test]
fn other_programs_find_lengths_and_checksums_right() {
    for (dst, sizes) in [("10.9.8.7:4321", [60, 61, 1514]), ("[fd00::9:8]:4321", [80, 81, 1514])] {
        for size in sizes {
            let file = scratch("frames.pcapng");
            let size = size.to_string();
            generate(&file, &["-n", "50", "--size", &size, "--dst", dst]);
            if let Some(text) = other("tcpdump", &["-nvv", "-r", &file]) {
                assert_eq!(text.matches("[udp sum ok]").count(), 50, "{size}: {text}");
                assert!(!text.contains("bad"), "{text}");
            }
            let fields = ["-T", "fields", "-e", "frame.len", "-e", "udp.checksum.status", "-e", "udp.dstport"];
            let checks = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
            if let Some(text) = other("tshark", &[&["-r", &file][..], &checks, &fields].concat()) {
                let wanted = format!("{size}\t1\t4321");
                assert_eq!(text.lines().filter(|line| *line == wanted).count(), 50, "{text}");
                let expert = other(
                    "tshark",
                    &[&["-r", &file][..], &checks, &["-Y", "_ws.malformed || _ws.expert.severity >= 6291456"]].concat(),
                );
                assert_eq!(expert.as_deref(), Some(""), "malformed or worse");
            }
            std::fs::remove_file(&file).expect("the file");
        }
    }
}

#[test]
fn the_meter_counts_what_a_file_holds() {
    for name in ["trace.pcap", "trace.pcapng"] {
        let file = scratch(name);
        let sent = generate(&file, &["-n", "2500", "--size", "128", "--stream", "9"]).summary();
        assert_eq!((number(&sent, "packets"), number(&sent, "submitted"), number(&sent, "pending")), (2500, 2500, 0));
        let received = good("meter", &[&file, "--expect", "2500", "--json", "--queues"]).summary();
        assert_eq!((number(&received, "packets"), number(&received, "bytes")), (2500, 2500 * 128));
        assert_eq!((number(&received, "order.received"), number(&received, "order.lost")), (2500, 0));
        assert_eq!(number(&received["streams"][0], "stream"), 9);
        assert_eq!(number(&received["queues"][0], "packets"), 2500);
        let short = run("meter", &[&file, "--expect", "2501"]);
        assert_eq!(short.code(), Some(3));
        assert!(short.err.contains("2500 of 2501 expected packets"), "{}", short.err);
        assert_eq!(number(&good("meter", &[&file, "--count", "100", "--json"]).summary(), "packets"), 100);
        std::fs::remove_file(&file).expect("the file");
    }
}

#[test]
fn loss_duplicates_and_reordering_are_found() {
    let file = scratch("faults.pcapng");
    generate(&file, &["-n", "20000"]);
    let meter = |faults: &str| {
        let port = format!("pcap:{file}?{faults}&seed=7");
        good("meter", &[&port, "--json"]).summary()
    };
    let order = |faults: &str| {
        let order = meter(faults)["order"].clone();
        ["received", "lost", "duplicates", "reordered"].map(|key| number(&order, key))
    };
    let [received, lost, duplicates, reordered] = order("loss=10%");
    assert!((1_700..2_300).contains(&lost), "{lost} lost");
    // Only a loss at the very end cannot be seen.
    assert!((20_000 - received).abs_diff(lost) < 5, "{received} received, {lost} lost");
    assert_eq!((duplicates, reordered), (0, 0));
    let [received, lost, duplicates, _] = order("dup=10%");
    assert_eq!((received, lost), (20_000, 0));
    assert!((1_700..2_300).contains(&duplicates), "{duplicates} duplicates");
    let [received, lost, duplicates, reordered] = order("reorder=10%");
    assert_eq!((received, lost, duplicates), (20_000, 0, 0));
    assert!(reordered > 1_000, "{reordered} reordered");
    // What is expected are different packets.
    let port = format!("pcap:{file}?loss=50%&dup=100%&seed=7");
    assert_eq!(run("meter", &[&port, "--expect", "20000"]).code(), Some(3));
    std::fs::remove_file(&file).expect("the file");
}

#[test]
fn the_rate_holds_on_a_file_as_everywhere() {
    let file = scratch("rate.pcapng");
    let timed = |args: &[&str]| {
        let sent = generate(&file, args).summary();
        let given_up = sent["given_up"].as_f64().expect("seconds");
        (number(&sent, "packets") as f64, sent["seconds"].as_f64().expect("seconds") - given_up)
    };
    // What a busy machine made us give up is told, and is no error of the pacer.
    let (packets, seconds) = timed(&["--rate", "20k", "--duration", "1s"]);
    assert!((packets / seconds / 20_000.0 - 1.0).abs() < 0.02, "{packets} in {seconds} s");
    let (packets, seconds) = timed(&["--rate", "8Mbps", "--size", "1000", "--duration", "1s", "--burst", "10"]);
    assert!((packets / seconds / 1_000.0 - 1.0).abs() < 0.03, "{packets} in {seconds} s");
    let (packets, seconds) = timed(&["--rate", "5", "--count", "3"]);
    assert!(packets == 3.0 && (0.4..2.0).contains(&seconds), "{packets} in {seconds} s");
    std::fs::remove_file(&file).expect("the file");
}

#[test]
fn files_are_forwarded_by_one_thread_and_by_several() {
    let (from, to) = (scratch("from.pcapng"), scratch("to.pcapng"));
    generate(&from, &["-n", "10000", "--size", "90", "--src-mac", "02:00:00:00:00:01"]);
    let write = format!("pcap:{to}?write");
    let tools: [(&str, &[&str]); 4] = [
        ("forward", &[]),
        ("forward", &["--swap-mac"]),
        ("forward_mt", &["-c", "1"]),
        ("forward_mt", &["-c", "4", "--swap-mac"]),
    ];
    for (name, args) in tools {
        let way = good(name, &[&[from.as_str(), &write, "--json"], args].concat()).summary();
        let what = format!("{name} {args:?}: {way}");
        assert_eq!(
            (number(&way, "received"), number(&way, "packets"), number(&way, "bytes")),
            (10_000, 10_000, 900_000),
            "{what}"
        );
        assert_eq!((total(&way, "dropped"), number(&way, "pending")), (0, 0), "{what}");
        let order = good("meter", &[&to, "--expect", "10000", "--json"]).summary()["order"].clone();
        assert_eq!(
            (number(&order, "received"), number(&order, "lost"), number(&order, "duplicates")),
            (10_000, 0, 0),
            "{what}"
        );
        if args.contains(&"--swap-mac") {
            if let Some(text) = other("tcpdump", &["-ner", &to]) {
                assert_eq!(text.matches("02:00:00:00:00:02 > 02:00:00:00:00:01").count(), 10_000, "{what}");
            }
        }
        if args == ["-c", "1"] || name == "forward" {
            assert_eq!(number(&order, "reordered"), 0, "one thread keeps the order: {what}");
        }
        if name == "forward_mt" {
            let consumers = way["consumers"].as_array().expect("consumers");
            assert_eq!(consumers.iter().filter_map(serde_json::Value::as_u64).sum::<u64>(), 10_000, "{what}");
        }
    }
    for path in [from, to] {
        std::fs::remove_file(path).expect("the file");
    }
}

#[test]
fn several_ports_are_several_streams() {
    let files = [scratch("a.pcapng"), scratch("b.pcapng")];
    let ports = files.each_ref().map(|file| format!("pcap:{file}?write"));
    let ended = good("pkt-gen", &[&ports[0], &ports[1], "-n", "300", "--stream", "5", "--json"]);
    assert_eq!(ended.summaries().len(), 2);
    for (file, stream) in files.iter().zip(5..) {
        let received = good("meter", &[file, "--expect", "300", "--json"]).summary();
        assert_eq!(number(&received["streams"][0], "stream"), stream);
        std::fs::remove_file(file).expect("the file");
    }
}

#[test]
fn packets_without_stamps_are_counted_all_the_same() {
    let file = scratch("plain.pcapng");
    generate(&file, &["-n", "10", "--no-stamp"]);
    let received = good("meter", &[&file, "--json"]).summary();
    assert_eq!((number(&received, "packets"), number(&received, "stamped")), (10, 0));
    assert!(received["latency"].is_null(), "{received}");
    std::fs::remove_file(&file).expect("the file");
}
