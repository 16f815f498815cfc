//! The programs over `net` on a veth end: served by the engine over AF_XDP, where that end has no kernel address, and by
//! the kernel, where it has one. On the other end is the kernel with `curl`, `wrk`, `iperf3`, `ping` and 10 000
//! connections at once.
//!
//! ```text
//!   this thread's namespace                        the server's namespace
//!   curl, wrk, … ── kernel 10.0.0.1 eth1 ── eth0 10.0.0.2: AF_XDP and the engine, or the kernel
//! ```
#![cfg(all(target_os = "linux", feature = "net", feature = "af_xdp"))]

mod common;
#[path = "tools/run.rs"]
#[allow(dead_code, reason = "it is made for more than this test needs")]
mod run;

use common::netns::{Lab, ip, join};
use run::{Running, good, number, scratch, start, tool};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Output};
use std::time::Duration;

const STACK: &str = "af_xdp:eth0?ip=10.0.0.2/24&rx_checksum=trust";

/// Two namespaces with a veth pair between them; the calling thread is in the client's.
struct Wire {
    _lab: Lab,
    server: OwnedFd,
    net: &'static str,
}

impl Wire {
    fn new(test: &str, net: &'static str) -> Option<Self> {
        for command in ["curl", "wrk", "iperf3", "ping"] {
            if Command::new(command).arg("--version").output().is_err() {
                common::skip(test, format_args!("{command} is missing (scripts/test.sh installs it)"));
                return None;
            }
        }
        let other = std::thread::spawn({
            let test = test.to_owned();
            move || Lab::enter(&test).map(|lab| lab.handle())
        });
        let server = other.join().expect("a namespace")?;
        let lab = Lab::enter(test)?;
        lab.veth("eth0", "eth1", 1);
        ip(&format!("link set eth0 netns /proc/{}/fd/{}", std::process::id(), server.as_raw_fd()));
        ip("addr add 10.0.0.1/24 dev eth1");
        let wire = Self { _lab: lab, server, net };
        wire.there(|| {
            ip("link set eth0 up");
            if net == "kernel" {
                ip("addr add 10.0.0.2/24 dev eth0");
            }
        });
        Some(wire)
    }

    /// Does something in the server's namespace.
    fn there<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                join(&self.server);
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a server there.
    fn serve(&self, name: &str, args: &[&str]) -> Running {
        let program = tool(name);
        let args = [args, &["--net", self.net, "--json"]].concat();
        let running = self.there(|| start(program, &args).opened(1));
        let has_address = self.there(|| output("ip", "-4 -o addr show dev eth0")).contains("inet ");
        assert_eq!(has_address, self.net == "kernel", "the engine's end has no address of the kernel's");
        running
    }
}

/// Runs a command to its end and insists that it succeeds.
fn output(command: &str, args: &str) -> String {
    let done: Output = Command::new(command).args(args.split_whitespace()).output().expect("it is installed");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command} {args}: {text}\n{}", String::from_utf8_lossy(&done.stderr));
    text
}

/// What a server says when it ends, which it does in order.
fn end(server: Running, net: &str) -> serde_json::Value {
    let ended = server.interrupt().end().good();
    assert_eq!(ended.lines()[0]["net"], net, "the test ran on the network it is about");
    ended.lines().pop().expect("a last word")
}

fn documents(wire: &Wire, program: &str) {
    let server = wire.serve(program, &["--listen", "10.0.0.2:80"]);
    let text = output("ping", "-c 3 -i 0.2 -W 2 10.0.0.2");
    assert!(text.contains("3 received"), "{text}");

    let text = output("curl", "-si --max-time 10 http://10.0.0.2/");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nHello, World!\n"), "{text}");
    let text = output("curl", "-sI --max-time 10 http://10.0.0.2/bytes/5");
    assert!(text.contains("Content-Length: 5\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    let text = output("curl", "-si --max-time 10 http://10.0.0.2/nowhere");
    assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
    // The second takes the connection of the first.
    let text = output("curl", "-s --max-time 10 -w %{num_connects}, http://10.0.0.2/ http://10.0.0.2/");
    assert_eq!(text, "Hello, World!\n1,Hello, World!\n0,");
    let body = scratch("body");
    output("curl", &format!("-s --max-time 60 -o {body} http://10.0.0.2/bytes/30000000"));
    let bytes = std::fs::read(&body).expect("the body");
    std::fs::remove_file(&body).expect("the body");
    assert!(bytes.len() == 30_000_000 && bytes.iter().all(|byte| *byte == b'x'), "{} bytes", bytes.len());

    // Three requests in one piece, the second with a body in its answer, the last one closing; and one byte at a time.
    let requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /bytes/100000 HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    let mut answers = Vec::new();
    for piece in [requests.len(), 1] {
        let mut connection = TcpStream::connect("10.0.0.2:80").expect("connect");
        connection.set_nodelay(true).expect("nodelay");
        connection.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        requests.chunks(piece).for_each(|bytes| connection.write_all(bytes).expect("write"));
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).expect("three answers and the end");
        assert!(answer.len() > 100_000 && answer.ends_with(b"Hello, World!\n"), "{} bytes", answer.len());
        answers.push(answer.len());
    }
    assert_eq!(answers[0], answers[1]);
    let mut nonsense = TcpStream::connect("10.0.0.2:80").expect("connect");
    nonsense.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    nonsense.write_all(b"hello?\r\n\r\nare you there?").expect("write");
    let mut answer = String::new();
    nonsense.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");

    let text = output("wrk", "-t1 -c100 -d2s http://10.0.0.2/");
    assert!(text.contains("requests in") && !text.contains("errors") && !text.contains("Non-2xx"), "{text}");
    let last = end(server, wire.net);
    assert!(number(&last, "requests") > 1000 && number(&last, "connections") >= 105, "{last}");
}

fn ten_thousand_connections(wire: &Wire, program: &str) {
    let server = wire.serve(program, &["--listen", "10.0.0.2:80", "--connections", "10100"]);
    let load = good("load", &["10.0.0.2:80", "-c", "10k", "--http", "/", "-d", "3s", "--json", "--quiet"]);
    let summary = load.summary();
    assert_eq!(summary["net"], "kernel");
    assert_eq!(number(&summary, "connections"), 10_000);
    assert!(number(&summary, "requests") >= 10_000, "{summary}");
    assert_eq!(summary["errors"], serde_json::json!({}));
    let load = good(
        "load",
        &["10.0.0.2:80", "-c", "50", "--http", "/", "--mode", "crr", "-n", "2000", "-d", "30s", "--json", "--quiet"],
    );
    assert!(number(&load.summary(), "requests") >= 2000);
    let last = end(server, wire.net);
    assert!(number(&last, "connections") >= 12_000, "{last}");
}

fn bulk(wire: &Wire) {
    let server = wire.serve("iperf-server", &["--listen", "10.0.0.2:5201"]);
    for (args, sends, receives) in [("-P 2", false, true), ("-R", true, false), ("--bidir", true, true)] {
        let text = output("iperf3", &format!("-c 10.0.0.2 -t 1 -J {args}"));
        let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for (sum, wanted) in [("sum_received", receives), ("sum_received_bidir_reverse", args == "--bidir")] {
            let bytes = told["end"][sum]["bytes"].as_u64().unwrap_or(0);
            assert!(!wanted || bytes > 1_000_000, "{args}: {sum} {bytes}");
        }
        assert!(!sends || told["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0) > 1_000_000, "{args}: {text}");
    }
    let ended = server.interrupt().end().good();
    let tests: Vec<_> = ended.lines().into_iter().filter(|line| line["event"] == "test").collect();
    assert_eq!(tests.len(), 3, "{}", ended.out);
    assert!(number(&tests[0], "bytes_received") > 1_000_000 && number(&tests[0], "bytes_sent") == 0, "{}", tests[0]);
    assert!(number(&tests[1], "bytes_sent") > 1_000_000 && number(&tests[1], "bytes_received") == 0, "{}", tests[1]);
    assert_eq!(number(&tests[2], "streams"), 2);
}

/// Datagrams of every size that UDP has, sent back by whoever is there.
fn datagrams_come_back() {
    let socket = UdpSocket::bind("10.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    socket.connect("10.0.0.2:7").expect("a route");
    for len in [0, 1, 1472, 1473, 20_000, 65_507] {
        let sent: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        socket.send(&sent).expect("sent");
        let mut back = vec![0; 65_536];
        let n = socket.recv(&mut back).expect("an echo");
        assert!(back[..n] == sent[..], "{n} of {len} bytes");
    }
}

fn echoes(wire: &Wire) {
    if cfg!(feature = "usockets-udp") {
        let server = wire.serve("us-udp", &["--listen", "10.0.0.2:7"]);
        datagrams_come_back();
        let last = end(server, wire.net);
        assert_eq!((number(&last, "datagrams"), number(&last, "dropped")), (6, 0));
    }
    if cfg!(feature = "usockets") {
        let server = wire.serve("us-echo", &["--listen", "10.0.0.2:7"]);
        let load = good("load", &["10.0.0.2:7", "-c", "20", "-s", "100k", "-d", "1s", "--json", "--quiet"]);
        assert!(number(&load.summary(), "requests") > 20, "every echo is compared with what was sent");
        assert_eq!(number(&end(server, wire.net), "connections"), 20);
    }
    let server = wire.serve("echo", &["--listen", "10.0.0.2:7"]);
    datagrams_come_back();
    let load = good("load", &["10.0.0.2:7", "-c", "20", "-s", "100k", "-d", "1s", "--json", "--quiet"]);
    assert!(number(&load.summary(), "requests") > 20, "every echo is compared with what was sent");
    let last = end(server, wire.net);
    assert_eq!(number(&last, "datagrams"), 6);
    assert!(number(&last, "connections") == 20 && number(&last, "dropped") == 0, "{last}");
}

/// The other way round: the server is the kernel's.
fn fetches(wire: &Wire) {
    let server = start(tool("http"), &["--listen", "10.0.0.1:8080", "--net", "kernel", "--json"]).opened(1);
    let fetch = tool("fetch");
    let url = "http://10.0.0.1:8080/bytes/1000000";
    let fetched = wire.there(|| start(&fetch, &[url, "--net", wire.net]).end()).good();
    assert!(fetched.out.len() == 1_000_000 && fetched.out.bytes().all(|byte| byte == b'x'));
    let nobody = wire.there(|| start(&fetch, &["http://10.0.0.1:9/", "--net", wire.net]).end());
    assert!(!nobody.status.success() && nobody.err.contains("refused"), "{}", nobody.err);
    server.interrupt().end().good();
}

fn everything(test: &str, net: &'static str) {
    let Some(wire) = Wire::new(test, net) else { return };
    // With events, and with the callbacks of uSockets.
    for program in ["http", "us-http"] {
        if program == "http" || cfg!(feature = "usockets") {
            documents(&wire, program);
            ten_thousand_connections(&wire, program);
        }
    }
    bulk(&wire);
    echoes(&wire);
    fetches(&wire);
    let link = wire.there(|| output("ip", "-d link show dev eth0"));
    assert!(!link.contains("xdp"), "nothing is left behind: {link}");
    let address: SocketAddr = "10.0.0.2:80".parse().expect("an address");
    assert!(TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err(), "nobody answers any more");
}

#[test]
fn on_the_engine_over_af_xdp() {
    everything("http_on_stack::on_the_engine_over_af_xdp", STACK);
}

#[test]
fn on_the_kernel() {
    everything("http_on_stack::on_the_kernel", "kernel");
}
