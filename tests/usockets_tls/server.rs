//! Our server, and other people's clients.

use crate::certs::Authority;
use crate::place::{Place, command, good, talk};
use nethuns_rs::usockets::{LoopHandle, Socket, SocketContext, SocketContextOptions};
use std::sync::mpsc;
use std::time::Duration;

/// What a loop of these tests keeps: its context.
pub struct Held(Option<SocketContext<true, Held, Connection>>);

/// A connection of the server.
#[derive(Default)]
pub struct Connection {
    input: Vec<u8>,
    unsent: Vec<u8>,
    ends: bool,
}

type Sock = Socket<true, Connection>;

/// A server in a thread of its own. It echoes what it gets, up to a line `bye`; answers HTTP/1.1 and, if that was agreed on, HTTP/2.
struct Server {
    port: u16,
    handle: LoopHandle<Held>,
    /// Why connections ended.
    closes: mpsc::Receiver<String>,
}

impl Server {
    /// Serves with these options, with these for these names, and with these for names that were not known before.
    fn with<R>(
        place: &Place,
        options: &SocketContextOptions,
        names: &[(&str, SocketContextOptions)],
        late: Option<SocketContextOptions>,
        test: impl FnOnce(&Self) -> R,
    ) -> R {
        std::thread::scope(|scope| {
            let (to_test, from_server) = mpsc::channel();
            let (closed, closes) = mpsc::channel();
            let thread = scope.spawn(move || {
                place.enter();
                let event_loop = place.open(Held(None));
                let context = event_loop.create_socket_context::<true, Connection>(options.clone()).expect("a context");
                for (pattern, options) in names {
                    context.add_server_name(pattern, options).expect("a name");
                }
                context.on_server_name(move |names, name| {
                    if let Some(options) = &late {
                        names.add(name, options).expect("a name");
                    }
                });
                context.on_data(data);
                context.on_writable(send);
                context.on_close(move |socket, _, _| {
                    let _ = closed.send(socket.tls_error().map(String::from).unwrap_or_default());
                });
                let listener = context.listen(place.ours, 0, 0).expect("a listener");
                to_test.send((listener.port(), event_loop.handle())).expect("the test waits");
                event_loop.as_mut().ext_mut().expect("it lives").0 = Some(context);
                event_loop.run().expect("it runs");
            });
            let (port, handle) = from_server.recv().expect("the server listens");
            let server = Self { port: port as u16, handle, closes };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&server)));
            // The loop ends with its last context.
            server.handle.defer(|it| drop(it.ext_mut().expect("it lives").0.take())).expect("it runs");
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Why the next connection ended.
    fn close(&self) -> String {
        self.closes.recv_timeout(crate::place::PATIENCE).expect("a connection ends")
    }
}

fn data(socket: &mut Sock, data: &mut [u8]) {
    let facts = format!(
        "alpn={} sni={} resumed={}\n",
        socket.alpn().unwrap_or_default(),
        socket.server_name().unwrap_or_default(),
        socket.is_resumed()
    );
    let tls = format!(
        "{} {} {}\n",
        socket.tls_version().expect("it is established"),
        socket.tls_cipher().expect("it is established"),
        socket.peer_certificate().map_or("nobody", |der| if der[0] == 0x30 { "a certificate" } else { "rubbish" })
    );
    {
        let mut connection = socket.ext_mut().expect("it is open");
        let Connection { input, unsent, ends } = &mut *connection;
        input.extend_from_slice(data);
        if facts.starts_with("alpn=h2") {
            http2(input, unsent, &facts);
        } else {
            while input.starts_with(b"GET ")
                && let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n")
            {
                let request: Vec<u8> = input.drain(..end + 4).collect();
                http1(&String::from_utf8_lossy(&request), unsent, &facts, &tls);
            }
            if !input.starts_with(b"GET ") {
                *ends |= input.ends_with(b"bye\n");
                unsent.append(input);
            }
        }
    }
    send(socket);
}

fn send(socket: &mut Sock) {
    let over = {
        let mut connection = socket.ext_mut().expect("it is open");
        let written = socket.write(&connection.unsent, false);
        connection.unsent.drain(..written);
        connection.unsent.is_empty() && connection.ends
    };
    if over {
        socket.shutdown();
    }
}

/// `/` and `/tls` say what was agreed on, `/bytes/N` is of that size.
fn http1(request: &str, out: &mut Vec<u8>, facts: &str, tls: &str) {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = match path.strip_prefix("/bytes/").and_then(|n| n.parse().ok()) {
        Some(n) => vec![b'x'; n],
        None if path == "/tls" => tls.into(),
        None => facts.into(),
    };
    out.extend(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes());
    out.extend(body);
}

/// As little of RFC 9113 as a client needs to be content.
fn http2(input: &mut Vec<u8>, out: &mut Vec<u8>, facts: &str) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    let mut frame = |kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]| {
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&stream);
        out.extend_from_slice(payload);
    };
    if input.starts_with(PREFACE) {
        input.drain(..PREFACE.len());
        frame(SETTINGS, 0, [0; 4], &[]);
    }
    while let &[a, b, c, kind, flags, s0, s1, s2, s3, ..] = &input[..] {
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        if input.len() < end {
            return;
        }
        match (kind, flags & 1) {
            (SETTINGS, 0) => frame(SETTINGS, 1, [0; 4], &[]),
            (HEADERS, _) => {
                // `:status: 200` is the eighth entry of the static table (RFC 7541, appendix A).
                frame(HEADERS, 4, [s0, s1, s2, s3], &[0x88]);
                frame(DATA, 1, [s0, s1, s2, s3], facts.as_bytes());
            }
            _ => {}
        }
        input.drain(..end);
    }
}

/// `openssl s_client` that trusts the root and insists on the name.
fn s_client(place: &Place, server: &Server, more: &str) -> std::process::Command {
    let line = "openssl s_client -connect {}:{} -CAfile {} -verify_return_error -verify_hostname localhost";
    let mut command = command(line, &[&place.ours, &server.port, &place.roots]);
    command.args(more.split_whitespace());
    command
}

pub fn openssl_talks_to_us(place: &Place) {
    Server::with(place, &place.good(&["localhost"]), &[], None, |server| {
        for (version, cipher, name) in [
            ("-tls1_3 -ciphersuites", "TLS_AES_128_GCM_SHA256", "TLSv1.3"),
            ("-tls1_3 -ciphersuites", "TLS_AES_256_GCM_SHA384", "TLSv1.3"),
            ("-tls1_3 -ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3"),
            ("-tls1_2 -cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"),
            ("-tls1_2 -cipher", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2"),
            ("-tls1_2 -cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2"),
        ] {
            let client = s_client(place, server, &format!("{version} {cipher} -ign_eof"));
            let text = good(client, b"GET /tls HTTP/1.1\r\n\r\nhello\nbye\n");
            assert!(text.contains("hello\nbye\n"), "{text}");
            assert!(text.contains(&format!("{name} {cipher} nobody\n")), "{text}");
            assert!(text.contains(&format!("New, {name}, Cipher is {cipher}")), "{text}");
            assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
            assert_eq!(server.close(), "");
        }
        // A record at a time in both directions, a megabyte of them.
        let mut data = vec![b'y'; 1_000_000];
        data.extend_from_slice(b"\nbye\n");
        let text = good(s_client(place, server, "-quiet"), &data);
        assert!(text.as_bytes().windows(data.len()).any(|window| window == data), "{} bytes", text.len());
        // OpenSSL keeps to smaller records when told to.
        let text = good(s_client(place, server, "-quiet -max_send_frag 512 -split_send_frag 512"), &data);
        assert!(text.as_bytes().windows(data.len()).any(|window| window == data), "{} bytes", text.len());
        for old in ["-tls1_1", "-tls1"] {
            let (text, success) = talk(s_client(place, server, old), b"", Duration::ZERO);
            assert!(!success, "{text}");
        }
    });
}

pub fn openssl_comes_back(place: &Place) {
    Server::with(place, &place.good(&["localhost"]), &[], None, |server| {
        // Six connections, of which the first makes the session: by a ticket, and by an id.
        for how in ["", "-no_ticket"] {
            let (text, _) = talk(s_client(place, server, &format!("-tls1_2 -reconnect {how}")), b"", Duration::ZERO);
            let count = |what: &str| text.matches(what).count();
            assert_eq!((count("New, TLSv1.2"), count("Reused, TLSv1.2")), (1, 5), "{how}: {text}");
        }
        let session = place.folder.path("session");
        let first = s_client(place, server, &format!("-tls1_3 -ign_eof -sess_out {session}"));
        let text = good(first, b"hello\nbye\n");
        assert!(text.contains("New, TLSv1.3"), "{text}");
        let second = s_client(place, server, &format!("-tls1_3 -ign_eof -sess_in {session}"));
        let text = good(second, b"GET / HTTP/1.0\r\n\r\n\nbye\n");
        assert!(text.contains("Reused, TLSv1.3") && text.contains("resumed=true"), "{text}");
    });
}

pub fn openssl_renews_keys_and_does_not_renegotiate(place: &Place) {
    let pause = Duration::from_millis(100);
    Server::with(place, &place.good(&["localhost"]), &[], None, |server| {
        // `k` and `K` at the beginning of a line are commands: new keys for one side, or for both.
        let client = s_client(place, server, "-tls1_3");
        let (text, success) = talk(client, b"one\nk\ntwo\nK\nthree\nK\nk\nbye\n", pause);
        assert!(success && text.matches("KEYUPDATE").count() == 4, "{text}");
        assert!(text.contains("one\n") && text.contains("two\n") && text.contains("three\n"), "{text}");
        assert_eq!(server.close(), "");
        // `R` asks for a renegotiation, which OpenSSL does not get and does not forgive.
        let (text, _) = talk(s_client(place, server, "-tls1_2"), b"one\nR\n", pause);
        assert!(text.contains("RENEGOTIATING") && text.contains("no renegotiation"), "{text}");
    });
}

pub fn curl_speaks_http_1_and_2(place: &Place) {
    let options =
        SocketContextOptions { alpn_protocols: vec!["h2".into(), "http/1.1".into()], ..place.good(&["localhost"]) };
    Server::with(place, &options, &[], None, |server| {
        let curl = |more: &str, path: &str| {
            let line = "curl --no-progress-meter --max-time 60 --cacert {} --connect-to localhost:443:{}:{} https://localhost{}";
            let mut command = command(line, &[&place.roots, &place.ours, &server.port, &path]);
            command.args(more.split_whitespace());
            command
        };
        let text = good(curl("--http1.1 -w %{http_version}", "/"), b"");
        assert_eq!(text, "alpn=http/1.1 sni=localhost resumed=false\n1.1");
        let text = good(curl("--http2 -w %{http_version}", "/"), b"");
        assert_eq!(text, "alpn=h2 sni=localhost resumed=false\n2");
        // Without ALPN it is HTTP/1.1 too, and with TLS 1.2 all is the same.
        let text = good(curl("--no-alpn --tls-max 1.2", "/"), b"");
        assert_eq!(text, "alpn= sni=localhost resumed=false\n");
        let text = good(curl("--http2 --tls-max 1.2 -w %{http_version}", "/"), b"");
        assert_eq!(text, "alpn=h2 sni=localhost resumed=false\n2");
        let body = place.folder.path("body");
        good(curl(&format!("--http1.1 -o {body}"), "/bytes/30000000"), b"");
        let bytes = std::fs::read(&body).expect("the body");
        assert!(bytes.len() == 30_000_000 && bytes.iter().all(|byte| *byte == b'x'), "{} bytes", bytes.len());
        // The system does not know our root.
        let stranger = command(
            "curl --no-progress-meter --connect-to localhost:443:{}:{} https://localhost/",
            &[&place.ours, &server.port],
        );
        let (text, success) = talk(stranger, b"", Duration::ZERO);
        assert!(!success && text.contains("certificate"), "{text}");
    });
}

pub fn gnutls_and_python_talk_to_us(place: &Place) {
    let names = ["localhost", place.ours];
    let options = SocketContextOptions { alpn_protocols: vec!["echo".into()], ..place.good(&names) };
    Server::with(place, &options, &[], None, |server| {
        for protocol in ["TLSv1_2", "TLSv1_3"] {
            let line = "wget -q -O - --timeout 30 --tries 1 --ca-certificate {} --secure-protocol {} https://{}:{}/bytes/100000";
            let text = good(command(line, &[&place.roots, &protocol, &place.ours, &server.port]), b"");
            assert_eq!(text.len(), 100_000, "{text:.1000}");
        }
        let script = place.folder.file("client.py", PYTHON);
        let line = "python3 {} {} {} {}";
        let text = good(command(line, &[&script, &place.ours, &server.port, &place.roots]), b"");
        assert_eq!(text, "TLSv1.2 echo False\nTLSv1.2 echo True\nTLSv1.3 echo False\nTLSv1.3 echo True\n");
    });
}

/// Connects twice with each version; the second time with the session of the first.
const PYTHON: &str = r#"
import socket, ssl, sys
host, port, roots = sys.argv[1:]
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    context = ssl.create_default_context(cafile=roots)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["other", "echo"])
    session = None
    for _ in range(2):
        with socket.create_connection((host, int(port)), 30) as raw:
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as tls:
                for size in 1, 1000, 70000:
                    sent = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
                    tls.sendall(sent)
                    got = b""
                    while len(got) < size:
                        got += tls.recv(65536)
                    assert got == sent
                session = tls.session
                print(tls.version(), tls.selected_alpn_protocol(), tls.session_reused)
                tls.unwrap().close()
"#;

pub fn names_lead_to_their_certificates(place: &Place) {
    let names = [("*.example.com", place.good(&["*.example.com"])), ("example.com", place.good(&["example.com"]))];
    let late = Some(place.good(&["late.test"]));
    Server::with(place, &place.good(&["localhost"]), &names, late, |server| {
        let get = |name: &str| {
            let line = "curl --no-progress-meter --max-time 30 --cacert {} --connect-to {}:443:{}:{} https://{}/";
            talk(command(line, &[&place.roots, &name, &place.ours, &server.port, &name]), b"", Duration::ZERO)
        };
        for name in ["shop.example.com", "EXAMPLE.com", "other.EXAMPLE.com"] {
            let (text, success) = get(name);
            let expected = format!("alpn= sni={} resumed=false\n", name.to_lowercase());
            assert!(success && text == expected, "{name}: {text}");
        }
        // This name is not known until somebody asks for it, and then it is there at once.
        let (text, success) = get("late.test");
        assert!(success && text == "alpn= sni=late.test resumed=false\n", "{text}");
        let (text, success) = get("a.b.example.com");
        assert!(!success && text.contains("no alternative certificate subject name matches"), "{text}");
    });
}

pub fn clients_show_certificates(place: &Place) {
    let authority = Authority::new("clients");
    let clients = Some(place.folder.file("clients.pem", authority.pem()));
    let demands =
        SocketContextOptions { ca_file_name: clients, require_client_cert: true, ..place.good(&["localhost"]) };
    place.shows("me", &authority.issue_to_client("me"));
    place.shows("stranger", &Authority::new("strangers").issue_to_client("me"));
    Server::with(place, &demands, &[], None, |server| {
        for version in ["-tls1_2", "-tls1_3"] {
            let with = |name: &str| {
                let (cert, key) =
                    (place.folder.path(&format!("{name}.pem")), place.folder.path(&format!("{name}.key")));
                s_client(place, server, &format!("{version} -ign_eof -cert {cert} -key {key}"))
            };
            let text = good(with("me"), b"GET /tls HTTP/1.1\r\n\r\nhello\nbye\n");
            assert!(text.contains("hello\nbye\n") && text.contains(" a certificate\n"), "{text}");
            assert_eq!(server.close(), "");
            let (text, _) = talk(with("stranger"), b"hello\nbye\n", Duration::ZERO);
            assert!(!text.contains("hello"), "{text}");
            assert!(server.close().contains("issuer is not trusted"));
            let (text, _) =
                talk(s_client(place, server, &format!("{version} -ign_eof")), b"hello\nbye\n", Duration::ZERO);
            assert!(!text.contains("hello"), "{text}");
            assert_eq!(server.close(), "the peer's certificate is refused: it shows none");
        }
    });
}

pub fn strangers_are_turned_away(place: &Place) {
    let options = SocketContextOptions { alpn_protocols: vec!["h2".into()], ..place.good(&["localhost"]) };
    Server::with(place, &options, &[], None, |server| {
        let plain = command("curl --no-progress-meter --max-time 30 http://{}:{}/", &[&place.ours, &server.port]);
        let (text, success) = talk(plain, b"", Duration::ZERO);
        assert!(!success, "{text}");
        assert_eq!(server.close(), "the peer breaks the protocol: this is no TLS");
        let (text, success) = talk(s_client(place, server, "-alpn h3"), b"", Duration::ZERO);
        assert!(!success && text.contains("no application protocol"), "{text}");
        assert!(server.close().contains("ALPN"));
        let (text, success) =
            talk(s_client(place, server, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA"), b"", Duration::ZERO);
        assert!(!success && text.contains("handshake failure"), "{text}");
        assert!(server.close().contains("nothing in common"));
        // A client that does not trust us says so.
        let unknown = command("openssl s_client -connect {}:{} -verify_return_error", &[&place.ours, &server.port]);
        let (text, success) = talk(unknown, b"", Duration::ZERO);
        assert!(!success, "{text}");
        assert!(server.close().contains("UnknownCA"));
    });
}
