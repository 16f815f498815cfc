//! What options do, and how those that cannot be used are refused.

use super::*;
use crate::usockets::UsError;

fn refused(options: &SocketContextOptions) -> String {
    match Settings::load(options) {
        Err(UsError::SocketContextCreation { message }) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{options:?} were taken"),
    }
}

#[test]
fn without_options_there_is_a_client_and_no_server() {
    let settings = load(&SocketContextOptions::default());
    let world = World::new();
    let (client, server) = shaken(&load(&world.client()), &settings, "localhost");
    assert!(
        matches!(&server.error, Some(TlsError::NoCertificate(name)) if name == "`localhost`"),
        "{}",
        server.error()
    );
    assert!(client.error().contains("UnrecognisedName"), "{}", client.error());
    // With an address there is no name to ask for.
    let (_, server) = shaken(&load(&world.client()), &settings, "127.0.0.1");
    assert!(server.error().contains("clients that name no host"), "{}", server.error());
}

#[test]
fn what_is_no_name_cannot_be_connected_to() {
    let settings = load(&World::new().client());
    for host in ["", "a b", "ex*mple", "[::1", "-"] {
        let error = Session::client(settings.clone(), host).err();
        assert_eq!(error, Some(TlsError::Name(host.into())), "{host}");
    }
    for host in ["localhost", "LOCALHOST.", "127.0.0.1", "::1", "[::1]"] {
        assert!(Session::client(settings.clone(), host).is_ok(), "{host}");
    }
}

#[test]
fn every_cipher_that_is_named_is_used() {
    let world = World::new();
    let ecdsa = world.server(&["localhost"]);
    let client = load(&world.client());
    for (list, version, cipher) in [
        ("TLS_AES_256_GCM_SHA384", "TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        ("TLS_AES_128_GCM_SHA256", "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"),
        ("HIGH:!TLS_AES_256_GCM_SHA384:!TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        (&only12("ECDHE-ECDSA-AES128-GCM-SHA256"), "TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (&only12("ECDHE-ECDSA-AES256-GCM-SHA384"), "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (&only12("CHACHA20"), "TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ] {
        let server = load(&SocketContextOptions { ssl_ciphers: Some(list.into()), ..ecdsa.clone() });
        let (mut client, mut server) = shaken(&client, &server, "localhost");
        assert_connected(&mut client, &mut server);
        for side in [&client, &server] {
            assert_eq!((side.session.version(), side.session.cipher()), (Some(version), Some(cipher)), "{list}");
        }
    }
}

/// A list with this cipher, and none of TLS 1.3.
pub(super) fn only12(cipher: &str) -> String {
    format!("{cipher}:!TLS_AES_128_GCM_SHA256:!TLS_AES_256_GCM_SHA384:!TLS_CHACHA20_POLY1305_SHA256")
}

#[test]
fn ciphers_that_do_not_meet_are_told_to_both() {
    let world = World::new();
    let with = |list: &str| Some(list.to_owned());
    let server =
        load(&SocketContextOptions { ssl_ciphers: with("TLS_AES_128_GCM_SHA256"), ..world.server(&["localhost"]) });
    for list in ["TLS_AES_256_GCM_SHA384", &only12("HIGH")] {
        let client = load(&SocketContextOptions { ssl_ciphers: with(list), ..world.client() });
        let (client, server) = shaken(&client, &server, "localhost");
        assert!(matches!(server.error, Some(TlsError::Incompatible(_))), "{}", server.error());
        assert!(matches!(client.error, Some(TlsError::Alert(_))), "{}", client.error());
    }
    let message = refused(&SocketContextOptions { ssl_ciphers: with("RC4-SHA"), ..world.client() });
    assert!(message.contains("RC4-SHA") && message.contains("ECDHE-RSA-AES128-GCM-SHA256"), "{message}");
}

#[test]
fn application_protocols_are_the_servers_choice() {
    let world = World::new();
    let with = |options: SocketContextOptions, protocols: &[&str]| {
        load(&SocketContextOptions { alpn_protocols: protocols.iter().map(ToString::to_string).collect(), ..options })
    };
    for (offered, served, chosen) in [
        (&["h2", "http/1.1"][..], &["http/1.1", "h2"][..], Some("http/1.1")),
        (&["spdy", "h2"], &["h2", "http/1.1"], Some("h2")),
        (&[], &["h2"], None),
        (&["h2"], &[], None),
    ] {
        let (client, server) = (with(world.client(), offered), with(world.server(&["localhost"]), served));
        let (mut client, mut server) = shaken(&client, &server, "localhost");
        assert_connected(&mut client, &mut server);
        assert_eq!(client.session.alpn().as_deref(), chosen);
        assert_eq!(server.session.alpn().as_deref(), chosen);
    }
    let (client, server) = (with(world.client(), &["h3"]), with(world.server(&["localhost"]), &["h2"]));
    let (client, server) = shaken(&client, &server, "localhost");
    assert!(matches!(server.error, Some(TlsError::Incompatible(_))), "{}", server.error());
    assert!(client.error().contains("NoApplicationProtocol"), "{}", client.error());

    for bad in [String::new(), "x".repeat(256)] {
        let message = refused(&SocketContextOptions { alpn_protocols: vec![bad], ..Default::default() });
        assert!(message.contains("alpn_protocols"), "{message}");
    }
}

#[test]
fn names_have_their_own_certificates_and_options() {
    let world = World::new();
    let settings = load(&world.server(&["localhost"]));
    let special = SocketContextOptions {
        alpn_protocols: vec!["special".into()],
        ssl_ciphers: Some(only12("HIGH")),
        ..world.server(&["*.example.com"])
    };
    settings.add_server_name("*.Example.com", &special).unwrap();
    let client = load(&SocketContextOptions { alpn_protocols: vec!["special".into()], ..world.client() });

    let (mut shop, mut server) = shaken(&client, &settings, "shop.example.com");
    assert_connected(&mut shop, &mut server);
    assert_eq!(server.session.server_name().as_deref(), Some("shop.example.com"));
    assert_eq!((shop.session.alpn().as_deref(), shop.session.version()), (Some("special"), Some("TLSv1.2")));
    assert!(!server.told.iter().any(|step| matches!(step, Step::UnknownName(_))));

    // A name that is not there is asked for, and then the context's own certificate is shown.
    let (mut other, mut server) = shaken(&client, &settings, "localhost");
    assert_connected(&mut other, &mut server);
    assert_eq!(server.told, [Step::UnknownName("localhost".into()), Step::Established]);
    assert_eq!(other.session.version(), Some("TLSv1.3"));

    let (client_side, _) = shaken(&client, &settings, "a.b.example.com");
    assert!(matches!(client_side.error, Some(TlsError::Certificate(_))), "{}", client_side.error());

    assert!(settings.remove_server_name("*.example.COM"));
    assert!(!settings.remove_server_name("*.example.com") && !settings.remove_server_name("..."));
    let (client_side, _) = shaken(&client, &settings, "shop.example.com");
    assert!(client_side.error().contains("not valid for"), "{}", client_side.error());
}

#[test]
fn a_name_may_be_added_when_it_is_asked_for() {
    let world = World::new();
    for piece in [1, usize::MAX] {
        let settings = load(&SocketContextOptions::default());
        let options = world.server(&["new.test"]);
        let (mut client, mut server) = (Side::client(&load(&world.client()), "NEW.test"), Side::server(&settings));
        let hello = client.give();
        for piece in hello.chunks(piece) {
            server.take_with(piece, &mut |_, step| {
                if *step == Step::UnknownName("new.test".into()) {
                    settings.add_server_name("new.test", &options).unwrap();
                }
            });
        }
        carry(&mut client, &mut server, piece);
        assert_connected(&mut client, &mut server);
    }
}

#[test]
fn names_and_options_that_cannot_be_used_are_refused() {
    let world = World::new();
    let settings = load(&SocketContextOptions::default());
    let good = world.server(&["localhost"]);
    for (pattern, options, words) in [
        ("a..b", good.clone(), "`a..b` is no server name"),
        ("a.b", SocketContextOptions::default(), "needs cert_file_name and key_file_name"),
        ("a.b", SocketContextOptions { ssl_ciphers: Some("NULL".into()), ..good.clone() }, "NULL"),
        ("a.b", SocketContextOptions { passphrase: Some("\0".into()), ..good }, "NUL"),
    ] {
        let error = settings.add_server_name(pattern, &options).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(!settings.knows("a.b"));
}

#[test]
fn client_certificates_are_asked_for_and_may_be_demanded() {
    let world = World::new();
    let authority = Authority::new("clients");
    let ours = world.shows("client", &authority.issue_to_client("me"));
    let foreign = world.shows("foreign", &Authority::new("strangers").issue_to_client("me"));
    let wrong = world.shows("wrong", &authority.issue(&["me"], |_| {}));
    let clients = Some(world.folder.file("clients.pem", authority.pem()));
    let asks = SocketContextOptions { ca_file_name: clients, ..world.server(&["localhost"]) };
    let demands = SocketContextOptions { require_client_cert: true, ..asks.clone() };
    for list in ["ALL", &only12("ALL")] {
        let ciphers = |options: &SocketContextOptions| {
            load(&SocketContextOptions { ssl_ciphers: Some(list.into()), ..options.clone() })
        };
        let with = |options: &SocketContextOptions| {
            load(&SocketContextOptions { ca_file_name: Some(world.roots.clone()), ..options.clone() })
        };
        for (server, accepts_none) in [(ciphers(&asks), true), (ciphers(&demands), false)] {
            let (mut client, mut side) = shaken(&with(&ours), &server, "localhost");
            assert_connected(&mut client, &mut side);
            assert!(side.session.peer_certificate().is_some_and(|der| der[0] == 0x30));
            assert!(client.session.peer_certificate().is_none(), "a client does not keep what it has checked");

            let (mut client, mut side) = shaken(&load(&world.client()), &server, "localhost");
            if accepts_none {
                assert_connected(&mut client, &mut side);
                assert!(side.session.peer_certificate().is_none());
            } else {
                assert_eq!(side.error, Some(TlsError::Certificate("it shows none".into())));
                assert!(client.error().contains("CertificateRequired") || client.error().contains("HandshakeFailure"));
            }
            for (bad, words) in [(&foreign, "is not trusted"), (&wrong, "client authentication")] {
                let (client, side) = shaken(&with(bad), &server, "localhost");
                assert!(
                    matches!(&side.error, Some(TlsError::Certificate(reason)) if reason.contains(words)),
                    "{}",
                    side.error()
                );
                assert!(matches!(client.error, Some(TlsError::Alert(_))), "{}", client.error());
            }
        }
    }
    // Without roots of its own a server asks nobody, whatever the client has.
    let (mut client, mut side) = shaken(
        &load(&SocketContextOptions { ca_file_name: Some(world.roots.clone()), ..ours }),
        &load(&world.server(&["localhost"])),
        "localhost",
    );
    assert_connected(&mut client, &mut side);
    assert!(side.session.peer_certificate().is_none());
    let message = refused(&SocketContextOptions { require_client_cert: true, ..world.server(&["localhost"]) });
    assert!(message.contains("require_client_cert needs ca_file_name"), "{message}");
}
