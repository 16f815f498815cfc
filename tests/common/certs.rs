//! Certificates for tests, made when they are needed: authorities, and what they issue.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SignatureAlgorithm,
};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own for a test's files. It goes when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nethuns-certificates-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder of its own");
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the folder is writable");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Leaf {
    pub cert: String,
    pub key: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// A root.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(authority(name), key).expect("a root"))
    }

    /// One that this one vouches for.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::signed_by(authority(name), key, &self.0).expect("an intermediate"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, good for servers, changed as one likes.
    pub fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.issue_for(&rcgen::PKCS_ECDSA_P256_SHA256, names, change)
    }

    /// The same with a key of another kind.
    pub fn issue_for(
        &self,
        kind: &'static SignatureAlgorithm,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let key = KeyPair::generate_for(kind).expect("a key");
        let params = params(names, change);
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Leaf { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// The same for a key that is there.
    pub fn issue_with(&self, key: &str, names: &[&str]) -> Leaf {
        let pair = KeyPair::from_pem(key).expect("a key");
        let cert = params(names, |_| {}).signed_by(&pair, &self.0).expect("a certificate");
        Leaf { cert: cert.pem(), key: key.to_owned() }
    }

    /// A certificate for a client of this name.
    pub fn issue_to_client(&self, name: &str) -> Leaf {
        self.issue(&[name], |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
    }
}

/// A certificate that vouches for itself.
pub fn self_signed(names: &[&str]) -> Leaf {
    let key = KeyPair::generate().expect("a key");
    let cert = params(names, |_| {}).self_signed(&key).expect("a certificate");
    Leaf { cert: cert.pem(), key: key.serialize_pem() }
}

fn params(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("good names");
    params.distinguished_name.push(DnType::CommonName, "test");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}
