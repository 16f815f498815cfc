//! Keys, certificates and parameters out of files.

use super::pem::{self, Section};
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

/// The sections of a file. `option` is the name of the option that names the file.
fn sections(option: &str, path: &str) -> Result<Vec<Section>, String> {
    let file = std::fs::read(path).map_err(|error| format!("{option} `{path}` cannot be read: {error}"))?;
    let sections = pem::read(&file).map_err(|error| format!("{option} `{path}`: {error}"))?;
    if sections.is_empty() {
        // DER begins with a SEQUENCE, PKCS#12 too.
        let hint =
            if file.first() == Some(&0x30) { "; if it is DER, `openssl … -inform DER` makes PEM of it" } else { "" };
        return Err(format!("{option} `{path}` is no PEM file{hint}"));
    }
    Ok(sections)
}

/// What else there is in a file in which something was not found.
fn found(sections: &[Section]) -> String {
    let labels: Vec<_> = sections.iter().map(|section| format!("`{}`", section.label)).collect();
    labels.join(", ")
}

/// The certificates of a file, in its order.
pub(super) fn certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let (mut certificates, mut others) = (Vec::new(), Vec::new());
    for section in sections(option, path)? {
        match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => certificates.push(section.content.into()),
            _ => others.push(section),
        }
    }
    if certificates.is_empty() {
        return Err(format!("{option} `{path}` has no CERTIFICATE, only {}", found(&others)));
    }
    Ok(certificates)
}

/// The certificates of a file, as those that are trusted.
pub(super) fn roots(
    option: &str,
    path: &str,
    certificates: &[CertificateDer<'static>],
) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (i, certificate) in certificates.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("{option} `{path}`: certificate {} cannot be used: {error}", i + 1))?;
    }
    Ok(roots)
}

/// The private key of a file.
pub(super) fn private_key(path: &str, passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let sections = sections("key_file_name", path)?;
    for section in &sections {
        let content = section.content.clone();
        match section.label.as_str() {
            label if section.encrypted => {
                return Err(format!(
                    "key_file_name `{path}` has an `{label}` that is encrypted in the old way (Proc-Type: 4,ENCRYPTED), which is \
                     weak; `openssl pkcs8 -topk8 -in {path} -out new.pem` encrypts it as PKCS#8"
                ));
            }
            "PRIVATE KEY" => return Ok(PrivatePkcs8KeyDer::from(content).into()),
            "RSA PRIVATE KEY" => return Ok(PrivatePkcs1KeyDer::from(content).into()),
            "EC PRIVATE KEY" => return Ok(PrivateSec1KeyDer::from(content).into()),
            "ENCRYPTED PRIVATE KEY" => return decrypt(path, &content, passphrase),
            _ => {}
        }
    }
    Err(format!("key_file_name `{path}` has no private key, only {}", found(&sections)))
}

fn decrypt(path: &str, content: &[u8], passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let passphrase =
        passphrase.ok_or_else(|| format!("key_file_name `{path}` is encrypted: it needs the passphrase"))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(content).map_err(|error| {
        format!(
            "key_file_name `{path}` is encrypted in a way that is not known here ({error}); \
             `openssl pkcs8 -topk8 -v2 aes-256-cbc -in {path} -out new.pem` makes one that is"
        )
    })?;
    let key = encrypted.decrypt(passphrase);
    let key = key.map_err(|error| format!("key_file_name `{path}` does not open with this passphrase ({error})"))?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// Checks a file of Diffie-Hellman parameters (PKCS#3, or X9.42).
pub(super) fn check_dh_parameters(path: &str) -> Result<(), String> {
    let sections = sections("dh_params_file_name", path)?;
    let wanted = |section: &&Section| section.label == "DH PARAMETERS" || section.label == "X9.42 DH PARAMETERS";
    let Some(section) = sections.iter().find(wanted) else {
        return Err(format!("dh_params_file_name `{path}` has no DH PARAMETERS, only {}", found(&sections)));
    };
    dh_fault(&section.content).map_or(Ok(()), |fault| {
        Err(format!("dh_params_file_name `{path}` {fault}; `openssl dhparam -out {path} 2048` makes good parameters"))
    })
}

/// What is wrong with `SEQUENCE { prime INTEGER, generator INTEGER, … }`.
pub(super) fn dh_fault(der: &[u8]) -> Option<&'static str> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let parse = || {
        let (content, rest) = element(der, SEQUENCE)?;
        let (prime, others) = element(content, INTEGER)?;
        let (generator, others) = element(others, INTEGER)?;
        // A length in bits may follow, or with X9.42 more integers and a seed.
        let mut others = others;
        while let [tag, ..] = others {
            (_, others) = element(others, *tag)?;
        }
        rest.is_empty().then_some((positive(prime)?, positive(generator)?))
    };
    let Some((prime, generator)) = parse() else { return Some("is malformed") };
    let bits = |number: &[u8]| number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(1024..=16384).contains(&bits(prime)) {
        return Some("has a prime of less than 1024 bits, or of more than 16384");
    }
    if prime.last().is_none_or(|last| last & 1 == 0) {
        return Some("has a prime that is even");
    }
    // Numbers without leading zeros compare by length first.
    if generator == [1] || (generator.len(), generator) >= (prime.len(), prime) {
        return Some("has a generator that is 1, or beyond the prime");
    }
    None
}

/// The content of an element of DER with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(len)
}

/// An integer's content without the zero that makes it positive. `None` if it is negative, zero, or not in its shortest form.
fn positive(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Some(rest),
        [1..=0x7f, ..] => Some(content),
        _ => None,
    }
}
