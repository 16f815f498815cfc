//! What cannot be done is said in one line, with a status that is not 0.

use crate::run::{run, scratch};

#[test]
fn every_bad_argument_has_one_clear_line() {
    const USAGE: i32 = 2;
    const ERROR: i32 = 1;
    let missing = scratch("missing/trace.pcap");
    let cases: &[(&str, &[&str], i32, &str)] = &[
        ("pkt-gen", &[], USAGE, "<PORT>"),
        ("pkt-gen", &["mem:a", "--rate", "fast"], USAGE, "packets per second"),
        ("pkt-gen", &["mem:a", "--rate", "0"], USAGE, "no possible rate"),
        ("pkt-gen", &["mem:a", "--rate", "-5"], USAGE, "packets per second"),
        ("pkt-gen", &["mem:a", "--count", "0"], USAGE, "whole number from 1"),
        ("pkt-gen", &["mem:a", "--count", "many"], USAGE, "whole number from 1"),
        ("pkt-gen", &["mem:a", "--duration", "0"], USAGE, "duration above zero"),
        ("pkt-gen", &["mem:a", "--size", "59"], USAGE, "at least 60 bytes"),
        ("pkt-gen", &["mem:a", "--size", "1e9"], USAGE, "--size"),
        ("pkt-gen", &["mem:a", "--size", "100000"], USAGE, "at most 65549"),
        ("pkt-gen", &["mem:a", "--size", "4000"], USAGE, "MTU of 2034"),
        ("pkt-gen", &["mem:a", "--dst", "fd00::7", "--size", "79"], USAGE, "an IPv6 UDP frame with a stamp"),
        ("pkt-gen", &["mem:a", "--dst", "fd00::7", "--size", "61", "--no-stamp"], USAGE, "at least 62"),
        ("pkt-gen", &["mem:a", "--dst", "fd00::7", "--src", "10.0.0.1"], USAGE, "both be IPv4 or both IPv6"),
        ("pkt-gen", &["mem:a", "--dst", "nowhere"], USAGE, "an address"),
        ("pkt-gen", &["mem:a", "--dst-mac", "12:34"], USAGE, "a MAC address"),
        ("pkt-gen", &["mem:a", "--burst", "0"], USAGE, "--burst"),
        ("pkt-gen", &["mem:a", "--no-such-option"], USAGE, "--no-such-option"),
        ("pkt-gen", &["mem:a", "--log", "/"], ERROR, "--log /"),
        ("pkt-gen", &["mem:a?colour=red"], ERROR, "unknown option `colour`"),
        ("pkt-gen", &["nethuns-no-such"], ERROR, "say which backend"),
        ("pkt-gen", &["netmap:eth0"], ERROR, "netmap"),
        ("meter", &[], USAGE, "<PORT>"),
        ("meter", &["mem:a", "--expect", "none"], USAGE, "whole number from 1"),
        ("meter", &["mem:a", "--batch", "99999"], USAGE, "--batch"),
        ("meter", &["mem:"], ERROR, "name is missing"),
        ("forward", &["mem:a"], USAGE, "<TO>"),
        ("forward", &["mem:a", "mem:a"], USAGE, "two ports"),
        ("forward_mt", &["mem:a", "mem:b", "--consumers", "0"], USAGE, "--consumers"),
        ("forward_mt", &["mem:a", "mem:a"], USAGE, "two ports"),
        ("doctor", &["nethuns-none"], ERROR, "nethuns-none"),
        ("doctor", &["--no-such-option"], USAGE, "--no-such-option"),
        ("demo", &["--rate", "fast"], USAGE, "packets per second"),
        ("demo", &["--account", "/no/such/log", "/no/such/log"], ERROR, "/no/such/log"),
    ];
    let mut cases = cases.to_vec();
    let absent: [&str; 1] = [&missing];
    if cfg!(feature = "pcap") {
        cases.push(("pkt-gen", &["pcap:nethuns-none"], ERROR, "nethuns-none"));
        cases.push(("meter", &absent, ERROR, "trace.pcap"));
    } else {
        cases.push(("pkt-gen", &["pcap:eth0"], ERROR, "--features pcap"));
    }
    if cfg!(all(feature = "af_xdp", target_os = "linux")) {
        cases.push(("pkt-gen", &["af_xdp:nethuns-none"], ERROR, "nethuns-none"));
    } else {
        cases.push(("meter", &["af_xdp:eth0"], ERROR, "--features af_xdp"));
    }
    for (tool, args, status, text) in cases {
        let ended = run(tool, args);
        let what = format!("{tool} {args:?}: {}", ended.err);
        assert_eq!(ended.code(), Some(status), "{what}");
        assert_eq!(ended.err.lines().count(), 1, "{what}");
        assert!(ended.err.starts_with(&format!("{tool}: ")), "{what}");
        assert!(ended.err.contains(text), "{what}");
        assert!(!ended.err.contains("panicked"), "{what}");
    }
}

#[test]
fn help_is_no_failure_and_names_the_backends() {
    for tool in ["pkt-gen", "meter", "forward", "forward_mt"] {
        let ended = run(tool, &["--help"]);
        assert_eq!(ended.code(), Some(0), "{tool}");
        assert!(ended.out.contains("af_xdp:eth0") && ended.out.contains("Exit status"), "{tool}: {}", ended.out);
    }
}
