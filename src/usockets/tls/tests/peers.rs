//! Sessions against connections of rustls, whose records are rustls' own work.

use super::super::record::Key;
use super::super::waiting::Waiting;
use super::*;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use std::io::{Read, Write};
use std::sync::Arc;

/// A connection of rustls.
pub(super) struct Peer(pub(super) Connection);

/// A client that trusts the root and offers these suites only.
pub(super) fn client(world: &World, list: &str) -> Peer {
    let mut provider = ring::default_provider();
    provider.cipher_suites = super::super::ciphers::select(list).unwrap();
    let versions: Vec<_> = [&rustls::version::TLS13, &rustls::version::TLS12]
        .into_iter()
        .filter(|version| provider.cipher_suites.iter().any(|suite| suite.version().version == version.version))
        .collect();
    let provider = Arc::new(provider);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world.root.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    Peer(ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap().into())
}

/// A server that shows one certificate and signs with the key of another.
pub(super) fn liar(shown: &Leaf, used: &Leaf) -> Peer {
    let provider = ring::default_provider();
    let key =
        provider.key_provider.load_private_key(PrivateKeyDer::from_pem_slice(used.key.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(shown.cert.as_bytes()).unwrap()];
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
    config.enable_secret_extraction = true;
    Peer(ServerConnection::new(Arc::new(config)).unwrap().into())
}

impl Peer {
    pub(super) fn give(&mut self) -> Vec<u8> {
        let mut cipher = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut cipher).unwrap();
        }
        cipher
    }

    pub(super) fn take(&mut self, mut cipher: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut plain = Vec::new();
        while !cipher.is_empty() {
            self.0.read_tls(&mut cipher).unwrap();
            self.0.process_new_packets()?;
            let _ = self.0.reader().read_to_end(&mut plain);
        }
        Ok(plain)
    }

    pub(super) fn write(&mut self, plain: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(plain).unwrap();
        self.give()
    }

    /// Shakes hands. What the peer has against it, if anything.
    pub(super) fn shake(&mut self, side: &mut Side) -> Option<rustls::Error> {
        loop {
            let (theirs, ours) = (self.give(), side.give());
            if theirs.is_empty() && ours.is_empty() {
                return None;
            }
            side.take(&theirs);
            if let Err(error) = self.take(&ours) {
                side.take(&self.give());
                return Some(error);
            }
        }
    }

    /// The keys, for records that rustls would not make.
    pub(super) fn keys(self) -> Forger {
        let tls13 = self.0.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        let secrets = self.0.dangerous_extract_secrets().unwrap();
        let settings = load(&SocketContextOptions::default());
        Forger { send: Key::new(secrets.tx, tls13).unwrap(), receive: Key::new(secrets.rx, tls13).unwrap(), settings }
    }
}

/// A peer that can protect whatever it likes.
pub(super) struct Forger {
    send: Key,
    receive: Key,
    settings: Rc<Settings>,
}

impl Forger {
    pub(super) fn record(&mut self, kind: u8, plain: &[u8]) -> Vec<u8> {
        let mut out = Waiting::default();
        self.send.seal(kind, plain, &mut out, &self.settings);
        out.bytes().to_vec()
    }

    /// The kinds and contents of records that came.
    pub(super) fn open(&mut self, mut cipher: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut records = Vec::new();
        while let Ok(Some(len)) = super::super::record::len(cipher) {
            let mut plain = Vec::new();
            let Ok(kind) = self.receive.open(&cipher[..len], &mut plain) else { panic!("it does not open") };
            records.push((kind, plain));
            cipher = &cipher[len..];
        }
        assert!(cipher.is_empty());
        records
    }
}

/// Each cipher by itself.
const CIPHERS: [&str; 6] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];

fn list(cipher: &str) -> String {
    if cipher.starts_with("TLS_") { cipher.into() } else { options::only12(cipher) }
}

/// Sizes around what fits into a record.
const SIZES: [usize; 7] = [1, 2, 1000, 16383, 16384, 16385, 100_000];

fn exchange(peer: &mut Peer, side: &mut Side) {
    assert_eq!(peer.shake(side), None);
    assert!(side.is_established() && !peer.0.is_handshaking());
    peer.0.set_buffer_limit(None);
    for size in SIZES {
        let data: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
        assert!(peer.take(&side.write(&data)).unwrap() == data);
        side.data.clear();
        side.take(&peer.write(&data));
        assert!(side.data == data, "{}", side.error());
    }
}

#[test]
fn servers_and_clients_of_rustls_understand_every_cipher() {
    let world = World::new();
    let leaf = world.root.issue(&["localhost"], |_| {});
    for cipher in CIPHERS {
        let mut server = Side::server(&load(&world.shows("leaf", &leaf)));
        let mut peer = client(&world, &list(cipher));
        exchange(&mut peer, &mut server);
        assert_eq!(server.session.cipher(), Some(cipher));

        let options = SocketContextOptions { ssl_ciphers: Some(list(cipher)), ..world.client() };
        let mut ours = Side::client(&load(&options), "localhost");
        exchange(&mut liar(&leaf, &leaf), &mut ours);
        assert_eq!(ours.session.cipher(), Some(cipher));
    }
}

#[test]
fn keys_are_renewed_when_the_peer_wishes() {
    let world = World::new();
    let leaf = world.root.issue(&["localhost"], |_| {});
    let mut peer = client(&world, "TLS_AES_128_GCM_SHA256");
    let mut server = Side::server(&load(&world.shows("leaf", &leaf)));
    exchange(&mut peer, &mut server);
    let mut other = liar(&leaf, &leaf);
    let mut ours = Side::client(&load(&world.client()), "localhost");
    exchange(&mut other, &mut ours);
    for (peer, side) in [(&mut peer, &mut server), (&mut other, &mut ours)] {
        for _ in 0..100 {
            peer.0.refresh_traffic_keys().unwrap();
            side.data.clear();
            side.take(&peer.write(b"under a new key"));
            assert_eq!(side.data, b"under a new key", "{}", side.error());
            let answer = side.give();
            assert_eq!(answer.len(), 27, "a key update goes back");
            let mut answer = answer;
            answer.extend(side.write(b"here too"));
            assert_eq!(peer.take(&answer).unwrap(), b"here too");
        }
    }
}

#[test]
fn many_wishes_for_a_new_key_are_answered_by_one() {
    let world = World::new();
    let mut peer = client(&world, "TLS_AES_128_GCM_SHA256");
    let mut server = Side::server(&load(&world.server(&["localhost"])));
    exchange(&mut peer, &mut server);
    // Something waits to be sent all the time.
    assert_eq!(server.session.write(b"waiting"), 7);
    let waiting = server.session.outgoing().len();
    for _ in 0..20 {
        peer.0.refresh_traffic_keys().unwrap();
        server.take(&peer.give());
    }
    assert_eq!(server.session.outgoing().len(), waiting);
    let first = server.give();
    let second = server.give();
    assert_eq!(second.len(), 27, "one key update");
    assert!(server.give().is_empty());
    assert_eq!(peer.take(&first).unwrap(), b"waiting");
    assert_eq!(peer.take(&second).unwrap(), b"");
    assert_eq!(peer.take(&server.write(b"new")).unwrap(), b"new");
}

#[test]
fn a_key_that_is_worn_out_is_replaced_or_the_connection_ends() {
    let world = World::new();
    let leaf = world.root.issue(&["localhost"], |_| {});
    let mut peer = client(&world, "TLS_AES_128_GCM_SHA256");
    let mut server = Side::server(&load(&world.shows("leaf", &leaf)));
    exchange(&mut peer, &mut server);
    server.session.wear_out_after(100);
    for i in 0..1000u16 {
        let cipher = server.write(&i.to_be_bytes());
        assert_eq!(peer.take(&cipher).unwrap(), i.to_be_bytes());
    }

    let mut peer = client(&world, &options::only12("AES128"));
    let mut server = Side::server(&load(&world.shows("leaf", &leaf)));
    assert_eq!(peer.shake(&mut server), None);
    server.session.wear_out_after(10);
    let mut written = 0;
    while server.session.write(b"x") == 1 {
        written += 1;
        assert_eq!(peer.take(&server.give()).unwrap(), b"x");
    }
    // The Finished was the first record, and close_notify is the last.
    assert_eq!(written, 8);
    peer.take(&server.give()).unwrap();
    assert!(peer.0.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn close_notify_goes_both_ways_and_leaves_the_other_way_open() {
    let world = World::new();
    for list in ["TLS_AES_128_GCM_SHA256", &options::only12("AES128")] {
        let mut peer = client(&world, list);
        let mut server = Side::server(&load(&world.server(&["localhost"])));
        assert_eq!(peer.shake(&mut server), None);
        server.session.close_notify();
        server.session.close_notify();
        assert_eq!(server.session.write(b"late"), 0);
        peer.take(&server.give()).unwrap();
        assert!(peer.0.process_new_packets().unwrap().peer_has_closed());
        server.take(&peer.write(b"still here"));
        assert_eq!(server.data, b"still here");
        peer.0.send_close_notify();
        let mut last = peer.give();
        last.extend_from_slice(b"noise");
        server.take(&last);
        server.take(b"more noise");
        assert_eq!(server.told.last(), Some(&Step::PeerClosed));
        assert_eq!(server.told.iter().filter(|step| **step == Step::PeerClosed).count(), 1);
        assert!(server.error.is_none());
    }
}
