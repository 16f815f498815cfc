//! The load over TLS, and the certificate of the server that it asks.

use mio::net::TcpStream;
use nethuns_bench::output;
use nethuns_bench_veth::Transport;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name in the certificate.
const NAME: &str = "bench";

/// A certificate and its key, in files that are gone with this.
pub struct Secrets(PathBuf);

impl Secrets {
    /// Makes them: signed by itself, on the curve P-256, by `openssl`.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub fn make() -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("bench-usockets.{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let secrets = Self(folder);
        let [certificate, key] = secrets.files();
        let command = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={NAME} \
             -addext subjectAltName=DNS:{NAME} -addext basicConstraints=critical,CA:FALSE -out {certificate} -keyout {key}"
        );
        output(&command.split_whitespace().map(str::to_owned).collect::<Vec<_>>())?;
        Ok(secrets)
    }

    /// The names of both files, the certificate's first.
    #[must_use]
    pub fn files(&self) -> [String; 2] {
        ["certificate.pem", "key.pem"].map(|name| self.0.join(name).display().to_string())
    }

    /// What a client needs that trusts this certificate and no other.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn client(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(Path::new(&self.files()[0])).map_err(|e| e.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Ok(config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth().into())
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A connection's TLS. The handshake goes before the first request.
pub struct Tls {
    session: ClientConnection,
    room: Box<[u8; 16 << 10]>,
}

impl Tls {
    /// Before the handshake.
    ///
    /// # Panics
    ///
    /// If the configuration makes no sense.
    #[must_use]
    pub fn new(config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(NAME).expect("a name");
        let session = ClientConnection::new(config.clone(), name).expect("a configuration that makes sense");
        Self { session, room: Box::new([0; 16 << 10]) }
    }

    /// Sends what the session has to send.
    fn push(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(stream)?;
        }
        Ok(())
    }

    /// Decrypts the first so many bytes of the room; how many bytes of answers were in them.
    fn open(&mut self, len: usize) -> io::Result<usize> {
        let (mut cipher, mut plain) = (&self.room[..len], 0);
        while !cipher.is_empty() {
            self.session.read_tls(&mut cipher)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
            loop {
                match self.session.reader().read(&mut [0; 256]) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(n) => plain += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(plain)
    }
}

impl Transport for Tls {
    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        self.session.writer().write_all(bytes)?;
        self.push(stream)
    }

    fn receive(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let mut plain = 0;
        loop {
            match stream.read(&mut self.room[..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    plain += self.open(n)?;
                    // Less than there was room for: that was all.
                    if n < self.room.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && plain > 0 => break,
                Err(error) => return Err(error),
            }
        }
        self.push(stream)?;
        Ok(plain)
    }
}
