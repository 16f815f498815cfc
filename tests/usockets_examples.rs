//! The programs over uSockets, as the processes they are, over loopback. `http_on_stack.rs` has `us-http` on AF_XDP.
#![cfg(all(target_os = "linux", feature = "usockets"))]

#[path = "tools/run.rs"]
#[allow(dead_code, reason = "it is made for more than this test needs")]
mod run;

use run::{Running, good, number, open, run, start, tool};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

/// Starts a server on any free port; its address.
fn serve(name: &str) -> (Running, String) {
    let running = open(name, &["--listen", "127.0.0.1:0", "--net", "kernel"], 1);
    let first = running.lines().remove(0);
    assert_eq!(first["net"], "kernel");
    let address = first["address"].as_str().expect("an address").to_owned();
    (running, address)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a server");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

#[test]
fn us_echo_sends_everything_back() {
    let (server, address) = serve("us-echo");
    let load = |args: &[&str]| good("load", &[&[&address[..]], args, &["--json", "--quiet"]].concat()).summary();
    // Every echo is compared with what was sent; a megabyte does not fit at once.
    assert!(number(&load(&["-c", "20", "-s", "100", "-n", "2000"]), "requests") >= 2000);
    assert!(number(&load(&["-c", "3", "-s", "1M", "-n", "20"]), "requests") >= 20);
    assert!(number(&load(&["-c", "3", "--mode", "crr", "-n", "50"]), "requests") >= 50);
    // Who sends and does not read is not read any more, and gets it all in the end.
    let mut stream = connect(&address);
    stream.set_nonblocking(true).expect("non-blocking");
    let (bytes, mut sent) = (vec![b'e'; 1 << 20], 0);
    let mut still = 0;
    while still < 20 {
        match stream.write(&bytes) {
            Ok(n) => (sent, still) = (sent + n, 0),
            Err(_) => {
                still += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    stream.set_nonblocking(false).expect("blocking");
    stream.shutdown(std::net::Shutdown::Write).expect("the end");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("all of it");
    assert!(back.len() == sent && back.iter().all(|byte| *byte == b'e'), "{} of {sent} bytes", back.len());
    let last = server.interrupt().end().good().summary();
    assert!(number(&last, "connections") >= 74 && number(&last, "bytes") > 20_000_000, "{last}");
}

#[test]
fn us_http_serves_documents() {
    let (server, address) = serve("us-http");
    let load = |args: &[&str]| good("load", &[&[&address[..]], args, &["--json", "--quiet"]].concat()).summary();
    assert!(number(&load(&["-c", "20", "--http", "/", "-n", "2000"]), "requests") >= 2000);
    let summary = load(&["-c", "5", "--http", "/bytes/1000", "--mode", "crr", "-n", "200"]);
    assert!(number(&summary, "requests") >= 200 && number(&summary, "bytes_received") > 200_000, "{summary}");
    let mut stream = connect(&address);
    // Pipelined, and one byte at a time.
    let requests = b"GET /bytes/3000000 HTTP/1.1\r\n\r\nHEAD /bytes/5 HTTP/1.1\r\n\r\nGET /none HTTP/1.0\r\n\r\n";
    let mut lengths = Vec::new();
    for piece in [requests.len(), 1] {
        requests.chunks(piece).for_each(|bytes| stream.write_all(bytes).expect("it reads"));
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("three answers and the end");
        assert!(answer.ends_with(b"\r\nConnection: close\r\n\r\nnot found\n"));
        lengths.push(answer.len());
        stream = connect(&address);
    }
    assert!(lengths[0] > 3_000_000 && lengths[0] == lengths[1], "{lengths:?}");
    for (nonsense, status) in [
        (&b"hello?\r\n\r\n"[..], "400"),
        (b"GET / HTTP/2.0\r\n\r\n", "505"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345", "413"),
        (b"DELETE / HTTP/1.0\r\n\r\n", "501"),
        (&[b'a'; 20_000], "431"),
    ] {
        let mut stream = connect(&address);
        stream.write_all(nonsense).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and the end");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let last = server.interrupt().end().good().summary();
    assert!(number(&last, "requests") >= 2206, "{last}");
}

#[test]
fn us_client_fetches_whole_documents_or_says_why_not() {
    let (server, address) = serve("us-http");
    assert_eq!(good("us-client", &[&format!("http://{address}")]).out, "Hello, World!\n");
    let fetched = good("us-client", &[&format!("http://{address}/bytes/2345678")]);
    assert!(fetched.out.len() == 2_345_678 && fetched.out.bytes().all(|byte| byte == b'x'));
    let (_, port) = address.rsplit_once(':').expect("a port");
    assert_eq!(good("us-client", &[&format!("http://localhost:{port}/")]).out, "Hello, World!\n");
    let fails = |url: &str, status: i32, why: &str| {
        let ended = run("us-client", &[url, "--timeout", "4"]);
        assert!(
            ended.code() == Some(status) && ended.err.contains(why) && ended.out.is_empty(),
            "{url}: {}",
            ended.err
        );
        assert_eq!(ended.err.lines().count(), 1, "{url}: {}", ended.err);
    };
    fails(&format!("http://{address}/none"), 1, "status 404");
    server.interrupt().end().good();
    fails(&format!("http://{address}/"), 1, "connection refused");
    fails("http://nobody.invalid/", 1, "nobody.invalid: ");
    fails("ftp://x/", 2, "http://HOST");
    fails("http://x:y/", 2, "http://HOST");
    fails("http:///", 1, "neither an address nor a host name");
    // One that says nothing, one that goes away, one that promises more.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let fetch = || start(tool("us-client"), &[&format!("http://{address}/"), "--timeout", "1"]);
    let silent = fetch();
    let kept = listener.accept().expect("a connection");
    let ended = silent.end();
    assert!(ended.code() == Some(1) && ended.err.contains("no answer within 1 seconds"), "{}", ended.err);
    drop(kept);
    for (answer, why) in
        [(&b""[..], "that was no HTTP"), (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour", "4 bytes came")]
    {
        let fetch = fetch();
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 1000];
        let n = stream.read(&mut request).expect("a request");
        assert!(request[..n].starts_with(b"GET / HTTP/1.1\r\n"));
        stream.write_all(answer).expect("it reads");
        drop(stream);
        let ended = fetch.end();
        assert!(ended.code() == Some(1) && ended.err.contains(why), "{}", ended.err);
    }
}

#[test]
fn us_defer_adds_up_what_threads_report() {
    for threads in ["1", "7"] {
        let ended = good("us-defer", &["--threads", threads, "--upto", "500000"]);
        assert_eq!(ended.out.lines().last(), Some("41538 primes"), "{}", ended.out);
    }
    // On our own stack, which needs no network to wait on.
    let ended = good("us-defer", &["--upto", "10", "--net", "mem:us-defer?ip=10.0.0.1/24"]);
    assert_eq!(ended.out.lines().last(), Some("4 primes"));
}

#[cfg(feature = "usockets-udp")]
#[test]
fn us_udp_sends_every_datagram_back() {
    let (server, address) = serve("us-udp");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    socket.connect(&address).expect("a route");
    for len in [0, 1, 1472, 1473, 20_000, 65_507] {
        let sent: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        socket.send(&sent).expect("sent");
        let mut back = vec![0; 65_536];
        let n = socket.recv(&mut back).expect("an echo");
        assert!(back[..n] == sent[..], "{n} of {len} bytes");
    }
    // A burst is one batch or several.
    for n in 0..100u8 {
        socket.send(&[n; 10]).expect("sent");
    }
    let mut back = [0; 11];
    for n in 0..100u8 {
        assert_eq!(socket.recv(&mut back).expect("an echo"), 10);
        assert_eq!(back[..10], [n; 10], "in order");
    }
    let last = server.interrupt().end().good().summary();
    assert_eq!((number(&last, "datagrams"), number(&last, "dropped")), (106, 0));
}

#[test]
fn the_environment_names_the_network() {
    let program = tool("us-echo");
    let run = |spec: &str| {
        let done = Command::new(&program).args(["--listen", "198.51.100.7:80"]).env("NETHUNS_NET", spec).output();
        String::from_utf8_lossy(&done.expect("it runs").stderr).into_owned()
    };
    assert!(run("kernel").contains("address not available"), "{}", run("kernel"));
    assert!(run("mem:a?ip=10.0.0.2/99").contains("ip=10.0.0.2/99"), "{}", run("mem:a?ip=10.0.0.2/99"));
    assert!(run("mem:a?ip=10.0.0.2/24").contains("198.51.100.7"));
}
