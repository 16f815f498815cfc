//! Our client, and `openssl s_server`.

use crate::certs::{self, Authority};
use crate::place::{PATIENCE, Place, Running, command, free_port};
use nethuns_rs::usockets::{Loop, SocketContext, SocketContextOptions};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A server that turns each line around. It shows the certificate of that name.
fn s_server(place: &Place, name: &str, more: &str) -> (Running, u16) {
    let port = free_port();
    let (cert, key) = (place.folder.path(&format!("{name}.pem")), place.folder.path(&format!("{name}.key")));
    let line = "openssl s_server -accept {}:{} -cert {} -key {} -rev -quiet";
    let mut command = command(line, &[&place.theirs, &port, &cert, &key]);
    command.args(more.split_whitespace());
    (Running::server(command, place.theirs, port), port)
}

/// What became of a connection.
#[derive(Debug, Default)]
struct Outcome {
    answer: String,
    closed: bool,
    error: String,
    resumed: bool,
    alpn: Option<String>,
}

/// Does something in a thread where the loop is.
fn there<R: Send>(place: &Place, work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            place.enter();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Connects by a context, says something, and closes when the answer is complete.
fn ask(event_loop: &mut Loop<()>, context: &SocketContext<true, (), ()>, host: &str, port: u16) -> Outcome {
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    context.on_open(|socket, is_client, _| {
        assert!(is_client && socket.is_handshaking());
        assert_eq!(socket.write(b"too early", false), 0);
    });
    context.on_writable(|socket| {
        assert_eq!(socket.write(b"hello\n", false), 6);
    });
    context.on_data({
        let outcome = outcome.clone();
        move |socket, data| {
            let mut outcome = outcome.borrow_mut();
            outcome.answer.push_str(&String::from_utf8_lossy(data));
            (outcome.resumed, outcome.alpn) = (socket.is_resumed(), socket.alpn());
            let whole = outcome.answer.ends_with('\n');
            drop(outcome);
            if whole {
                socket.close(0);
            }
        }
    });
    context.on_close({
        let outcome = outcome.clone();
        move |socket, _, _| {
            let mut outcome = outcome.borrow_mut();
            outcome.closed = true;
            outcome.error = socket.tls_error().map(String::from).unwrap_or_default();
        }
    });
    context.on_connect_error(|socket, code| panic!("{code}: {:?}", socket.error()));
    context.connect(host, port, None, 0).expect("a connection").expect("a socket");
    let start = Instant::now();
    while !outcome.borrow().closed {
        assert!(start.elapsed() < PATIENCE, "{outcome:?}");
        event_loop.step(Some(Duration::from_millis(100))).expect("a step");
    }
    outcome.take()
}

/// Opens a loop, connects once, and tells what became of it.
fn once(place: &Place, options: &SocketContextOptions, port: u16) -> Outcome {
    there(place, || {
        let mut event_loop = place.open(());
        let context = event_loop.create_socket_context(options.clone()).expect("a context");
        ask(&mut event_loop, &context, place.theirs, port)
    })
}

pub fn we_talk_to_openssl(place: &Place) {
    place.shows("server", &place.root.issue(&["localhost", place.theirs], |_| {}));
    let (_server, port) = s_server(place, "server", "-alpn other,echo");
    for list in [
        "ALL",
        "TLS_CHACHA20_POLY1305_SHA256",
        "AES128:!TLS_AES_128_GCM_SHA256:!TLS_AES_256_GCM_SHA384:!TLS_CHACHA20_POLY1305_SHA256",
    ] {
        let options = SocketContextOptions {
            ssl_ciphers: Some(list.into()),
            alpn_protocols: vec!["echo".into()],
            ..place.trusts()
        };
        let outcome = once(place, &options, port);
        assert_eq!((&outcome.answer[..], &outcome.error[..]), ("olleh\n", ""), "{list}");
        assert_eq!(outcome.alpn.as_deref(), Some("echo"));
    }
    // By a name, which the server shows too.
    if place.theirs == "127.0.0.1" {
        let mut event_loop = place.open(());
        let context = event_loop.create_socket_context(place.trusts()).expect("a context");
        assert_eq!(ask(&mut event_loop, &context, "localhost", port).answer, "olleh\n");
    }
}

pub fn we_come_back_to_openssl(place: &Place) {
    place.shows("server", &place.root.issue(&[place.theirs], |_| {}));
    for version in ["-tls1_2", "-tls1_2 -no_ticket", "-tls1_3"] {
        let (_server, port) = s_server(place, "server", version);
        let resumed = there(place, || {
            let mut event_loop = place.open(());
            let context = event_loop.create_socket_context(place.trusts()).expect("a context");
            [(); 3].map(|()| {
                let outcome = ask(&mut event_loop, &context, place.theirs, port);
                assert_eq!((&outcome.answer[..], &outcome.error[..]), ("olleh\n", ""), "{version}");
                outcome.resumed
            })
        });
        assert_eq!(resumed, [false, true, true], "{version}");
    }
}

pub fn we_show_openssl_our_certificate(place: &Place) {
    place.shows("server", &place.root.issue(&[place.theirs], |_| {}));
    let authority = Authority::new("clients");
    let clients = place.folder.file("clients.pem", authority.pem());
    let ours = place.shows("me", &authority.issue_to_client("me"));
    let ours = SocketContextOptions { ca_file_name: Some(place.roots.clone()), ..ours };
    for version in ["-tls1_2", "-tls1_3"] {
        let demands = format!("{version} -Verify 1 -verify_return_error -CAfile {clients}");
        let (_server, port) = s_server(place, "server", &demands);
        assert_eq!(once(place, &ours, port).answer, "olleh\n");
        let outcome = once(place, &place.trusts(), port);
        assert!(outcome.answer.is_empty() && outcome.error.contains("the peer refuses"), "{outcome:?}");
    }
}

pub fn we_turn_bad_servers_away(place: &Place) {
    let issue = |change: fn(&mut rcgen::CertificateParams)| place.root.issue(&[place.theirs], change);
    let bad = [
        ("expired", issue(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)), "expired"),
        ("early", issue(|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)), "not valid yet"),
        ("other", place.root.issue(&["localhost"], |_| {}), "not valid for"),
        ("self", certs::self_signed(&[place.theirs]), "issuer is not trusted"),
        ("foreign", Authority::new("other").issue(&[place.theirs], |_| {}), "issuer is not trusted"),
        ("purpose", place.root.issue_to_client(place.theirs), "server authentication"),
    ];
    for (name, leaf, words) in &bad {
        place.shows(name, leaf);
        let (_server, port) = s_server(place, name, "");
        let outcome = once(place, &place.trusts(), port);
        assert!(outcome.answer.is_empty() && outcome.error.contains(words), "{name}: {outcome:?}");
        // Who does not ask does not learn.
        let outcome = once(place, &SocketContextOptions { verify_peer: false, ..Default::default() }, port);
        assert_eq!(outcome.answer, "olleh\n", "{name}");
    }
}
