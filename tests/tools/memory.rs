//! What needs no interface and no file: wires in memory, within one process.

use crate::run::{good, number, run, start, tool, total};
use std::io::Read;
use std::process::{Command, Stdio};

#[test]
fn the_demo_accounts_for_every_packet() {
    let ended = good("demo", &["--duration", "1s", "--rate", "20k", "--json"]);
    let lines = ended.lines();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let [sent, forwarded, received] = of("summary")[..] else { panic!("three summaries\n{}", ended.out) };
    let packets = number(sent, "packets");
    // A busy machine may give a part of the rate up; it cannot send more than was asked for.
    assert!((2_000..=20_001).contains(&packets), "{sent}");
    assert_eq!((total(sent, "dropped"), total(forwarded, "dropped"), total(received, "dropped")), (0, 0, 0));
    assert_eq!(number(forwarded, "received"), packets);
    assert_eq!(number(received, "packets"), packets);
    assert_eq!(number(received, "order.received"), packets);
    let odd: u64 = ["lost", "reordered", "duplicates", "late"].iter().map(|k| number(&received["order"], k)).sum();
    assert_eq!(odd, 0, "{received}");
    assert_eq!(number(received, "latency.samples"), packets);
    let [account] = of("account")[..] else { panic!("one account\n{}", ended.out) };
    assert_eq!(account["faults"].as_array().map(Vec::len), Some(0), "{account}");
}

/// Generator, forwarder and meter over netmap's emulation, whose ports meet within one process.
#[cfg(all(any(target_os = "linux", target_os = "freebsd"), feature = "netmap"))]
#[test]
fn the_demo_over_netmap() {
    let pipes = ["netmap:demo{1", "netmap:demo}1", "netmap:demo{2", "netmap:demo}2"];
    let switches = ["netmap:vale0:a", "netmap:vale0:b", "netmap:vale1:c", "netmap:vale1:d"];
    for ports in [pipes, switches] {
        let ports = ports.map(|port| format!("{port}?emulated"));
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        let more = ["--duration", "1s", "--rate", "5k", "--json"];
        let ended = good("demo", &[&["--ports"], &ports[..], &more].concat());
        let lines = ended.lines();
        let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
        let [sent, _, received] = of("summary")[..] else { panic!("three summaries\n{}", ended.out) };
        assert!(number(sent, "packets") > 500, "{sent}");
        assert_eq!(number(received, "order.received"), number(sent, "packets"), "{received}");
        let [account] = of("account")[..] else { panic!("one account\n{}", ended.out) };
        assert_eq!(account["faults"].as_array().map(Vec::len), Some(0), "{account}");
    }
}

#[test]
fn flat_out_losses_are_accounted_for_too() {
    let ended = good("demo", &["--duration", "500ms", "--rate", "max", "--size", "200"]);
    assert!(ended.out.contains("every packet is accounted for"), "{}", ended.out);
}

#[test]
fn ctrl_c_ends_with_a_summary() {
    for (name, args, summaries) in [
        ("meter", &["mem:ctrl-c", "--json"][..], 1),
        ("forward", &["mem:ctrl-c", "mem:ctrl-d", "--both", "--json"], 2),
        ("forward_mt", &["mem:ctrl-c", "mem:ctrl-d", "--json"], 1),
    ] {
        let ports = 1 + usize::from(name != "meter");
        let ended = start(tool(name), args).opened(ports).interrupt().end().good();
        assert_eq!(ended.summaries().len(), summaries, "{name}\n{}", ended.out);
    }
}

#[test]
fn nothing_received_is_no_success_where_something_was_wanted() {
    for args in [&["mem:none", "--count", "5"][..], &["mem:none", "--expect", "5"]] {
        let ended = run("meter", &[args, &["--idle-timeout", "50ms", "--json"]].concat());
        assert_eq!(ended.code(), Some(3), "{args:?}: {}", ended.err);
        assert!(ended.err.contains("0 of 5"), "{}", ended.err);
        assert_eq!(number(&ended.summary(), "packets"), 0);
    }
    good("meter", &["mem:none", "--duration", "50ms"]);
}

#[test]
fn packets_that_nobody_receives_are_not_counted_as_sent() {
    let ended = run("pkt-gen", &["mem:nobody", "--count", "7", "--json"]);
    assert_eq!(ended.code(), Some(3), "{}", ended.err);
    let sent = ended.summary();
    assert_eq!((number(&sent, "submitted"), number(&sent, "packets"), number(&sent, "dropped.no_receiver")), (7, 0, 7));
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let mut child = Command::new(tool("meter"))
        .args(["mem:pipe", "--interval", "10ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("meter");
    let mut first = [0; 10];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("a line");
    let ended = child.wait_with_output().expect("its end");
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn text_has_one_heading_and_a_row_per_interval() {
    let ended = good("meter", &["mem:text", "--duration", "250ms", "--interval", "100ms"]);
    let headings = ended.out.lines().filter(|line| line.contains("pps") && line.contains("ring_full")).count();
    let rows = ended.out.lines().filter(|line| line.starts_with("    0.")).count();
    assert_eq!(headings, 1, "{}", ended.out);
    assert!((1..=2).contains(&rows), "{}", ended.out);
    assert!(ended.out.contains("received mem:text: 0 packets"), "{}", ended.out);
    let quiet = good("meter", &["mem:text", "--duration", "250ms", "--interval", "100ms", "--quiet"]);
    assert!(!quiet.out.contains("pps"), "{}", quiet.out);
}
