//! The example `us-tls`, as the process that it is.

use crate::place::{Place, command, good, talk};
use crate::run::{Running, number, start, tool};
use std::time::Duration;

/// Starts it where loops are, on any free port; its address.
fn serve(place: &Place, args: &[&str]) -> (Running, String) {
    let listen = format!("{}:0", place.ours);
    let args = [&["--listen", &listen, "--net", place.spec, "--json"], args].concat();
    let program = tool("us-tls");
    let running = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            place.enter();
            start(program, &args).opened(1)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let first = running.lines().remove(0);
    assert_eq!(first["net"], place.spec, "the test is about another network");
    let address = first["address"].as_str().expect("an address").to_owned();
    (running, address)
}

pub fn it_makes_a_certificate_if_it_has_none(place: &Place) {
    let (server, address) = serve(place, &[]);
    let mut lines = server.lines();
    while lines.len() < 2 {
        std::thread::sleep(Duration::from_millis(10));
        lines = server.lines();
    }
    let cert = lines[1]["cert"].as_str().expect("a certificate").to_owned();
    let curl = "curl --no-progress-meter --max-time 30 --cacert {} https://{}/";
    // The second request takes the connection of the first.
    let both = command(&format!("{curl} https://{{}}/bytes/100000"), &[&cert, &address, &address]);
    assert_eq!(good(both, b"").len(), "Hello, World!\n".len() + 100_000);
    let (text, success) = talk(command(curl, &[&place.roots, &address]), b"", Duration::ZERO);
    assert!(!success && text.contains("certificate"), "{text}");
    let ended = server.interrupt().end().good();
    let refused = ended.lines().into_iter().find(|line| line["event"] == "refused").expect("one was refused");
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("the peer refuses")), "{refused}");
    let last = ended.summary();
    assert_eq!(
        (number(&last, "connections"), number(&last, "handshakes"), number(&last, "requests")),
        (2, 1, 2),
        "{last}"
    );
    assert!(!std::path::Path::new(&cert).exists(), "its certificate goes with it");
}

pub fn it_shows_the_certificates_it_is_given(place: &Place) {
    let one = place.good(&["localhost"]);
    let (cert, key) = (one.cert_file_name.expect("a file"), one.key_file_name.expect("a file"));
    let two = place.good(&["*.example.com"]);
    let name = format!("*.example.com={},{}", two.cert_file_name.expect("a file"), two.key_file_name.expect("a file"));
    let (server, address) = serve(place, &["--cert", &cert, "--key", &key, "--name", &name, "--low-memory"]);
    for host in ["localhost", "www.example.com"] {
        let line = "curl --no-progress-meter --max-time 30 --cacert {} --connect-to {}:443:{} https://{}/";
        let text = good(command(line, &[&place.roots, &host, &address, &host]), b"");
        assert_eq!(text, "Hello, World!\n");
    }
    let last = server.interrupt().end().good().summary();
    assert_eq!(number(&last, "requests"), 2);
    // What cannot be used is told in a line, and nothing is served.
    let bad = crate::run::run("us-tls", &["--cert", &cert, "--key", &cert]);
    assert!(
        !bad.status.success() && bad.err.contains("has no private key") && !bad.err.contains("panicked"),
        "{}",
        bad.err
    );
}
