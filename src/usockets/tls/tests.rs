//! Sessions against each other, and against rustls' own connections, in memory.

#[path = "../../../tests/common/certs.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod certs;
mod files;
mod memory;
mod options;
mod peers;
mod records;
mod resumption;
mod trust;

use super::TlsError;
use super::session::{Session, Step};
use super::settings::Settings;
use crate::usockets::SocketContextOptions;
use certs::{Authority, Folder, Leaf};
use std::rc::Rc;

/// A root, a certificate of its making, and their files.
struct World {
    folder: Folder,
    root: Authority,
    roots: String,
}

impl World {
    fn new() -> Self {
        let (folder, root) = (Folder::new(), Authority::new("root"));
        let roots = folder.file("roots.pem", root.pem());
        Self { folder, root, roots }
    }

    /// Options of somebody who shows this certificate.
    fn shows(&self, name: &str, leaf: &Leaf) -> SocketContextOptions {
        SocketContextOptions {
            cert_file_name: Some(self.folder.file(&format!("{name}.pem"), &leaf.cert)),
            key_file_name: Some(self.folder.file(&format!("{name}.key"), &leaf.key)),
            ..Default::default()
        }
    }

    /// Options of a server with a good certificate for these names.
    fn server(&self, names: &[&str]) -> SocketContextOptions {
        self.shows(&names[0].replace('*', "any"), &self.root.issue(names, |_| {}))
    }

    /// Options of a client that trusts the root.
    fn client(&self) -> SocketContextOptions {
        SocketContextOptions { ca_file_name: Some(self.roots.clone()), ..Default::default() }
    }
}

/// Loads options that are good.
fn load(options: &SocketContextOptions) -> Rc<Settings> {
    Settings::load(options).unwrap_or_else(|error| panic!("{options:?}: {error}"))
}

/// A session with its owner, who notes what it is told.
struct Side {
    session: Session,
    /// Everything but data.
    told: Vec<Step>,
    data: Vec<u8>,
    error: Option<TlsError>,
}

impl Side {
    fn new(session: Session) -> Self {
        Self { session, told: Vec::new(), data: Vec::new(), error: None }
    }

    fn server(settings: &Rc<Settings>) -> Self {
        Self::new(Session::server(settings.clone()))
    }

    fn client(settings: &Rc<Settings>, host: &str) -> Self {
        Self::new(Session::client(settings.clone(), host).expect("a client"))
    }

    /// Takes what comes from the network, as the core does.
    fn take(&mut self, cipher: &[u8]) {
        self.take_with(cipher, &mut |_, _| {});
    }

    fn take_with(&mut self, mut cipher: &[u8], note: &mut dyn FnMut(&mut Session, &Step)) {
        let mut plain = Vec::new();
        loop {
            match self.session.step(&mut cipher, &mut plain) {
                Ok(Step::More) => {
                    assert!(cipher.is_empty(), "the input is used up");
                    return;
                }
                Ok(Step::Plain) => {
                    assert!(!plain.is_empty() && plain.len() <= 16 << 10);
                    self.data.extend_from_slice(&plain);
                }
                Ok(step) => {
                    note(&mut self.session, &step);
                    self.told.push(step);
                }
                Err(error) => {
                    assert!(cipher.is_empty() && plain.is_empty());
                    if let Some(before) = self.error.replace(error.clone()) {
                        assert_eq!(before, error, "the error stays");
                    }
                    return;
                }
            }
        }
    }

    /// Sends what the session has for the network.
    fn give(&mut self) -> Vec<u8> {
        let cipher = self.session.outgoing().to_vec();
        self.session.sent(cipher.len());
        cipher
    }

    /// Encrypts everything.
    fn write(&mut self, mut plain: &[u8]) -> Vec<u8> {
        let mut cipher = Vec::new();
        while !plain.is_empty() {
            let taken = self.session.write(plain);
            assert!(taken > 0, "a session that can write takes something");
            plain = &plain[taken..];
            cipher.extend(self.give());
        }
        cipher
    }

    fn is_established(&self) -> bool {
        self.told.contains(&Step::Established)
    }

    fn error(&self) -> String {
        self.error.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// Carries bytes both ways, in pieces, until there are none.
fn carry(client: &mut Side, server: &mut Side, piece: usize) {
    loop {
        let (there, back) = (client.give(), server.give());
        there.chunks(piece).for_each(|piece| server.take(piece));
        back.chunks(piece).for_each(|piece| client.take(piece));
        if there.is_empty() && back.is_empty() {
            return;
        }
    }
}

/// A client and a server that have shaken hands, or tried to.
fn shaken(client: &Rc<Settings>, server: &Rc<Settings>, host: &str) -> (Side, Side) {
    let (mut client, mut server) = (Side::client(client, host), Side::server(server));
    carry(&mut client, &mut server, usize::MAX);
    (client, server)
}

/// Insists that two sides are connected and that data goes through both ways.
fn assert_connected(client: &mut Side, server: &mut Side) {
    assert!(client.is_established() && server.is_established(), "{} | {}", client.error(), server.error());
    server.take(&client.write(b"question"));
    client.take(&server.write(b"answer"));
    assert_eq!((&server.data[..], &client.data[..]), (&b"question"[..], &b"answer"[..]));
}
