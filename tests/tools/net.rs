//! The programs over `net`, on the kernel's network: over loopback, without rights.

use crate::run::{Running, good, number, open, run, start, tool};
use std::process::Command;

/// Starts a server on any free port; its address.
fn serve(name: &str, args: &[&str]) -> (Running, String) {
    let running = open(name, &[args, &["--listen", "127.0.0.1:0", "--net", "kernel"]].concat(), 1);
    let first = running.lines().remove(0);
    assert_eq!(first["net"], "kernel");
    let address = first["address"].as_str().expect("an address").to_owned();
    (running, address)
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    const USAGE: i32 = 2;
    const ERROR: i32 = 1;
    let cases: &[(&str, &[&str], i32, &str)] = &[
        ("http", &["--listen", "nowhere"], USAGE, "--listen"),
        ("http", &["--connections", "0"], USAGE, "--connections"),
        ("http", &["--listen", "198.51.100.7:80"], ERROR, "address not available"),
        ("http", &["--net", "mem:a"], ERROR, "ip"),
        ("http", &["--net", "mem:a?ip=10.0.0.2/24", "--listen", "10.0.0.9:80"], ERROR, "address not available"),
        ("http", &["--net", "nonsense?ip=10.0.0.2/24"], ERROR, "nonsense"),
        ("echo", &["--listen", "127.0.0.1"], USAGE, "--listen"),
        ("echo", &["--no-such-option"], USAGE, "--no-such-option"),
        ("iperf-server", &["--listen", "x"], USAGE, "--listen"),
        ("iperf-server", &["--net", "mem:a?ip=10.0.0.2/24&colour=red"], ERROR, "colour"),
        ("load", &[], USAGE, "ADDRESS:PORT"),
        ("load", &["127.0.0.1"], USAGE, "ADDRESS:PORT"),
        ("load", &["127.0.0.1:1", "--connections", "many"], USAGE, "whole number from 1"),
        ("load", &["127.0.0.1:1", "--mode", "fast"], USAGE, "--mode"),
        ("load", &["127.0.0.1:1", "--http", "path"], USAGE, "a path such as /"),
        ("load", &["127.0.0.1:1", "--http", "/", "--mode", "stream"], USAGE, "leave --http out"),
        ("load", &["127.0.0.1:1", "--local", "here"], USAGE, "--local"),
        ("load", &["127.0.0.1:1", "--quiet"], ERROR, "connection refused"),
        ("load", &["127.0.0.1:1", "--connections", "3000M"], ERROR, "open files"),
        ("fetch", &["ftp://x/"], USAGE, "http://HOST"),
        ("fetch", &["http:///"], USAGE, "http://HOST"),
        ("fetch", &["http://127.0.0.1:1/"], ERROR, "connection refused"),
    ];
    for (name, args, status, text) in cases {
        let ended = run(name, args);
        let what = format!("{name} {args:?}: {}", ended.err);
        assert_eq!(ended.code(), Some(*status), "{what}");
        assert_eq!(ended.err.lines().count(), 1, "{what}");
        assert!(ended.err.starts_with(&format!("{name}: ")) && ended.err.contains(text), "{what}");
    }
}

#[test]
fn the_environment_names_the_network() {
    let program = tool("http");
    let run = |spec: &str| {
        let done = Command::new(&program).args(["--listen", "198.51.100.7:80"]).env("NETHUNS_NET", spec).output();
        String::from_utf8_lossy(&done.expect("it runs").stderr).into_owned()
    };
    assert!(run("kernel").contains("198.51.100.7:80: address not available"));
    assert!(run("").contains("198.51.100.7:80: address not available"));
    assert!(run("mem:a?ip=10.0.0.2/99").contains("ip=10.0.0.2/99"), "{}", run("mem:a?ip=10.0.0.2/99"));
}

#[test]
fn a_server_is_loaded_in_every_mode() {
    let (server, address) = serve("http", &[]);
    let load = |args: &[&str]| good("load", &[&[&address[..]], args, &["--json", "--quiet"]].concat()).summary();
    let summary = load(&["-c", "20", "--http", "/", "-d", "500ms"]);
    assert_eq!((number(&summary, "connections"), &summary["mode"]), (20, &"rr".into()));
    assert!(number(&summary, "requests") > 100 && number(&summary, "latency.samples") > 100, "{summary}");
    let summary = load(&["-c", "5", "--http", "/bytes/1000", "--mode", "crr", "-n", "200"]);
    assert!(number(&summary, "requests") >= 200 && number(&summary, "bytes_received") > 200_000, "{summary}");
    let ended = run("load", &[&address, "--http", "/none", "-n", "1", "--json"]);
    assert_eq!(ended.code(), Some(3));
    assert!(ended.summary()["errors"]["an HTTP status other than 200"] == 1, "{}", ended.out);
    let last = server.interrupt().end().good().summary();
    assert!(number(&last, "requests") > 300, "{last}");

    let (server, address) = serve("echo", &[]);
    let load = |args: &[&str]| good("load", &[&[&address[..]], args, &["--json", "--quiet"]].concat()).summary();
    assert!(number(&load(&["-c", "3", "-s", "1M", "-n", "20"]), "requests") >= 20);
    assert!(number(&load(&["-c", "3", "--mode", "crr", "-n", "50"]), "requests") >= 50);
    let summary = load(&["-c", "2", "--mode", "stream", "-d", "300ms"]);
    assert!(number(&summary, "bytes_sent") > 1_000_000 && number(&summary, "bytes_received") > 500_000, "{summary}");
    server.interrupt().end().good();

    let (server, address) = serve("echo", &["--discard"]);
    let summary = good("load", &[&address, "--mode", "stream", "-d", "200ms", "--json", "-q"]).summary();
    assert!(number(&summary, "bytes_sent") > 1_000_000 && number(&summary, "bytes_received") == 0, "{summary}");
    server.interrupt().end().good();
}

#[test]
fn documents_are_fetched_whole_or_not_at_all() {
    let (server, address) = serve("http", &[]);
    let fetched = good("fetch", &[&format!("http://{address}/bytes/123456")]);
    assert_eq!(fetched.out.len(), 123_456);
    let fetched = good("fetch", &[&format!("http://{address}"), "--include"]);
    assert!(fetched.out.starts_with("HTTP/1.1 200 OK\r\n") && fetched.out.ends_with("\r\n\r\nHello, World!\n"));
    let missing = run("fetch", &[&format!("http://{address}/none")]);
    assert!(missing.code() == Some(1) && missing.err.contains("status 404"), "{}", missing.err);
    server.interrupt().end().good();
    // A server that says more than it sends.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let fetch = start(tool("fetch"), &[&format!("http://{address}/")]);
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 1000];
    let n = std::io::Read::read(&mut stream, &mut request).unwrap();
    assert!(request[..n].starts_with(b"GET / HTTP/1.1\r\n"));
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour").unwrap();
    drop(stream);
    let ended = fetch.end();
    assert!(ended.code() == Some(3) && ended.err.contains("6 bytes of the body are missing"), "{}", ended.err);
}
