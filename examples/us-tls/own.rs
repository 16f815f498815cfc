//! A certificate for whoever has none.

use nethuns_tools::{Failure, Record};
use rcgen::{CertificateParams, KeyPair};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A certificate that vouches for itself, and its key, in files that go when it is dropped.
#[derive(Debug, Serialize)]
pub struct OwnCertificate {
    /// The certificate's file.
    pub cert: String,
    /// The key's file.
    #[serde(skip)]
    pub key: String,
    #[serde(skip)]
    folder: PathBuf,
}

impl OwnCertificate {
    /// For `localhost` and an address.
    pub fn new(address: IpAddr) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("cannot make a certificate: {error}"));
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        if !address.is_unspecified() && !address.is_loopback() {
            names.push(address.to_string());
        }
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let cert = CertificateParams::new(names).and_then(|params| params.self_signed(&key));
        let cert = cert.map_err(|error| failed(&error))?;

        let folder = std::env::temp_dir().join(format!("us-tls-{}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|error| failed(&error))?;
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let own = Self { cert: path("cert.pem"), key: path("key.pem"), folder: folder.clone() };
        for (path, text) in [(&own.cert, cert.pem()), (&own.key, key.serialize_pem())] {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failed(&error))?;
        }
        Ok(own)
    }
}

impl Drop for OwnCertificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Record for OwnCertificate {
    const EVENT: &'static str = "certificate";

    fn text(&self) -> String {
        format!("a certificate of its own: curl --cacert {}", self.cert)
    }
}
