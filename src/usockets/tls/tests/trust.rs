//! Certificates that a client refuses, each for its reason; and those that it takes.

use super::*;
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, date_time_ymd};

/// What a client that trusts the root says to a server with this certificate, by TLS 1.3 and by 1.2.
fn verdicts(world: &World, leaf: &Leaf, host: &str) -> [Option<TlsError>; 2] {
    let server = load(&world.shows("leaf", leaf));
    ["ALL".to_owned(), options::only12("ALL")].map(|list| {
        let client = load(&SocketContextOptions { ssl_ciphers: Some(list), ..world.client() });
        let (mut client, mut server) = shaken(&client, &server, host);
        if client.error.is_none() {
            assert_connected(&mut client, &mut server);
        } else {
            assert!(!client.is_established() && !server.is_established());
            assert_eq!(client.session.write(b"secret"), 0, "nothing goes to a server that is not trusted");
            assert!(matches!(server.error, Some(TlsError::Alert(_))), "the server is told: {}", server.error());
        }
        client.error
    })
}

#[track_caller]
fn assert_refused(world: &World, leaf: &Leaf, host: &str, words: &str) {
    for verdict in verdicts(world, leaf, host) {
        match verdict {
            Some(TlsError::Certificate(reason)) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_taken(world: &World, leaf: &Leaf, host: &str) {
    assert_eq!(verdicts(world, leaf, host), [None, None]);
}

fn issue(world: &World, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    world.root.issue(&["localhost"], change)
}

#[test]
fn good_certificates_of_every_kind() {
    let world = World::new();
    for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        assert_taken(&world, &world.root.issue_for(kind, &["localhost"], |_| {}), "localhost");
    }
    assert_taken(&world, &world.root.issue(&["*.example.com"], |_| {}), "shop.example.com");
    assert_taken(&world, &world.root.issue(&["127.0.0.1", "::1"], |_| {}), "127.0.0.1");
    assert_taken(&world, &world.root.issue(&["127.0.0.1", "::1"], |_| {}), "[::1]");
    let intermediate = world.root.intermediate("between");
    let mut leaf = intermediate.issue(&["localhost"], |_| {});
    leaf.cert.push_str(&intermediate.pem());
    assert_taken(&world, &leaf, "localhost");
}

#[test]
fn out_of_its_time() {
    let world = World::new();
    assert_refused(
        &world,
        &issue(&world, |params| params.not_after = date_time_ymd(2020, 1, 1)),
        "localhost",
        "expired",
    );
    let not_yet = issue(&world, |params| params.not_before = date_time_ymd(2999, 1, 1));
    assert_refused(&world, &not_yet, "localhost", "not valid yet");
}

#[test]
fn for_another_host() {
    let world = World::new();
    let leaf = issue(&world, |_| {});
    for host in ["example.com", "localhost.example.com", "127.0.0.1"] {
        assert_refused(&world, &leaf, host, "not valid for");
    }
    let wild = world.root.issue(&["*.example.com"], |_| {});
    for host in ["example.com", "a.b.example.com", "example.org"] {
        assert_refused(&world, &wild, host, "not valid for");
    }
    // The common name does not count (RFC 9525).
    assert_refused(&world, &world.root.issue(&[], |_| {}), "test", "not valid for");
}

#[test]
fn from_nobody_who_is_trusted() {
    let world = World::new();
    assert_refused(&world, &certs::self_signed(&["localhost"]), "localhost", "is not trusted");
    // An authority of the same name is another one all the same.
    assert_refused(&world, &Authority::new("root").issue(&["localhost"], |_| {}), "localhost", "signature");
    assert_refused(&world, &Authority::new("other").issue(&["localhost"], |_| {}), "localhost", "is not trusted");
    // The certificate between is missing.
    let leaf = world.root.intermediate("between").issue(&["localhost"], |_| {});
    assert_refused(&world, &leaf, "localhost", "is not trusted");
}

#[test]
fn for_another_purpose() {
    let world = World::new();
    assert_refused(&world, &world.root.issue_to_client("localhost"), "localhost", "extended key usage");
    let mail = issue(&world, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection]);
    assert_refused(&world, &mail, "localhost", "extended key usage");
    // An authority is no server.
    let authority = issue(&world, |params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    assert_refused(&world, &authority, "localhost", "CaUsedAsEndEntity");
}

#[test]
fn issued_by_one_who_may_not_issue() {
    let world = World::new();
    // A leaf that has signed another leaf.
    let key = rcgen::KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["between.test".to_owned()]).unwrap();
    let false_authority = world.root.issue_with(&key.serialize_pem(), &["between.test"]);
    let issuer = rcgen::Issuer::from_params(&params, &key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let leaf = Leaf { cert: leaf.pem() + &false_authority.cert, key: leaf_key.serialize_pem() };
    assert_refused(&world, &leaf, "localhost", "");
}

#[test]
fn with_an_extension_that_is_not_understood() {
    let world = World::new();
    let leaf = issue(&world, |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    // No server of ours would show it.
    let mut client = Side::client(&load(&world.client()), "localhost");
    assert!(peers::liar(&leaf, &leaf).shake(&mut client).is_some());
    assert!(client.error().contains("CriticalExtension"), "{}", client.error());
}

#[test]
fn tampered_with() {
    let world = World::new();
    let leaf = issue(&world, |_| {});
    let der = super::super::pem::read(leaf.cert.as_bytes()).unwrap().remove(0).content;
    // The name it is for, and a byte of the signature.
    let name = der.windows(9).rposition(|window| window == b"localhost").unwrap();
    for (at, host, words) in [(name, "mocalhost", "signature"), (der.len() - 1, "localhost", "signature")] {
        let mut der = der.clone();
        der[at] ^= 1;
        assert_refused(&world, &Leaf { cert: armoured(&der), ..leaf.clone() }, host, words);
    }
}

/// A certificate in PEM.
fn armoured(der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for three in der.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= three.len() { letter } else { '=' });
        }
    }
    text + "\n-----END CERTIFICATE-----\n"
}

#[test]
fn a_server_without_the_key_of_its_certificate() {
    // No honest server can be made so; one that lies is made of rustls without the check.
    let world = World::new();
    let (leaf, other) = (issue(&world, |_| {}), issue(&world, |_| {}));
    for list in ["ALL".to_owned(), options::only12("ALL")] {
        for verify_peer in [true, false] {
            let client = SocketContextOptions { ssl_ciphers: Some(list.clone()), verify_peer, ..world.client() };
            let mut client = Side::client(&load(&client), "localhost");
            let error = peers::liar(&leaf, &other).shake(&mut client);
            assert!(error.is_some());
            assert!(
                matches!(&client.error, Some(TlsError::Certificate(reason)) if reason.contains("signature")),
                "{}",
                client.error()
            );
        }
    }
}

#[test]
fn a_client_that_does_not_ask_takes_everybody() {
    let world = World::new();
    let client = load(&SocketContextOptions { verify_peer: false, ..Default::default() });
    for leaf in
        [certs::self_signed(&["elsewhere"]), issue(&world, |params| params.not_after = date_time_ymd(2020, 1, 1))]
    {
        let server = load(&world.shows("leaf", &leaf));
        let (mut client, mut server) = shaken(&client, &server, "localhost");
        assert_connected(&mut client, &mut server);
    }
}

#[test]
fn the_systems_certificates_do_not_vouch_for_ours() {
    let world = World::new();
    let server = load(&world.server(&["localhost"]));
    let settings = load(&SocketContextOptions::default());
    match Session::client(settings, "localhost") {
        Err(error) => assert!(matches!(error, TlsError::NoRoots(_)), "{error}"),
        Ok(session) => {
            let (mut client, mut server) = (Side::new(session), Side::server(&server));
            carry(&mut client, &mut server, usize::MAX);
            assert!(client.error().contains("is not trusted"), "{}", client.error());
        }
    }
}

#[test]
fn an_authority_alone_is_enough_if_that_is_asked_for() {
    let world = World::new();
    let free = SocketContextOptions { trust_ca_alone: true, ..world.client() };
    let trusting = load(&free);
    let elsewhere = load(&world.shows("leaf", &world.root.issue(&["elsewhere"], |_| {})));
    let (mut client, mut server) = shaken(&trusting, &elsewhere, "localhost");
    assert_eq!(client.error, None);
    assert_connected(&mut client, &mut server);
    // What it does not vouch for is as good as before: not at all.
    for leaf in [
        certs::self_signed(&["localhost"]),
        world.root.issue(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1)),
        world.root.issue(&["localhost"], |params| {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }),
    ] {
        let (client, _) = shaken(&trusting, &load(&world.shows("leaf", &leaf)), "localhost");
        assert!(matches!(client.error, Some(TlsError::Certificate(_))), "{:?}", client.error);
    }
}
