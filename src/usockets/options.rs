//! What a socket context is made with.

use super::UsError;
use std::fmt;

/// Options of a socket context. They concern TLS only: a plain context ignores them all.
///
/// Every file is PEM and is read once, when the context (or the server name) is made.
#[derive(Clone, PartialEq, Eq)]
pub struct SocketContextOptions {
    /// Private key: PKCS#8, PKCS#1 or SEC1; RSA, ECDSA over P-256 or P-384, or Ed25519.
    pub key_file_name: Option<String>,
    /// The certificate that belongs to the key, followed by those that lead to a root, in this order. A server shows it to
    /// everybody, a client to servers that ask.
    pub cert_file_name: Option<String>,
    /// Opens the key if it is encrypted (PKCS#8).
    pub passphrase: Option<String>,
    /// Parameters of a finite-field Diffie-Hellman exchange. They are checked, and not used: every key exchange here is over
    /// elliptic curves.
    pub dh_params_file_name: Option<String>,
    /// Certificates that are trusted to issue the peer's. With them a server asks for client certificates, and refuses bad
    /// ones; a client trusts these instead of the system's.
    pub ca_file_name: Option<String>,
    /// Allowed ciphers, in OpenSSL's words; see `docs/tls.md` for what is understood. All when absent.
    pub ssl_ciphers: Option<String>,
    /// Spends less memory on a connection while bytes wait in either direction, at the price of more and smaller records and of
    /// an allocation whenever a record arrives in pieces.
    pub ssl_prefer_low_memory_usage: bool,
    /// Application protocols (ALPN, RFC 7301), the preferred one first: `h2`, `http/1.1`. A server chooses by its own order,
    /// and refuses clients that offer only others.
    pub alpn_protocols: Vec<String>,
    /// Makes a server refuse clients that show no certificate; needs [`ca_file_name`](Self::ca_file_name).
    pub require_client_cert: bool,
    /// Makes a client refuse servers whose certificate is not trusted, or is another host's. `true` unless told otherwise; with
    /// `false` a connection is private towards everybody but whoever answers it.
    pub verify_peer: bool,
    /// Takes whatever [`ca_file_name`](Self::ca_file_name) vouches for: also a server's certificate that is another host's, and
    /// a certificate that stands in the file itself though it is an authority's. That is what OpenSSL does unless it is told
    /// otherwise, and programs written for it expect.
    pub trust_ca_alone: bool,
}

impl Default for SocketContextOptions {
    fn default() -> Self {
        Self {
            key_file_name: None,
            cert_file_name: None,
            passphrase: None,
            dh_params_file_name: None,
            ca_file_name: None,
            ssl_ciphers: None,
            ssl_prefer_low_memory_usage: false,
            alpn_protocols: Vec::new(),
            require_client_cert: false,
            verify_peer: true,
            trust_ca_alone: false,
        }
    }
}

impl SocketContextOptions {
    /// Refuses strings that could not be those of a C program.
    ///
    /// # Errors
    ///
    /// [`UsError::InvalidStringConversion`] if one has a NUL within.
    pub(super) fn check(&self) -> Result<(), UsError> {
        let one = [
            &self.key_file_name,
            &self.cert_file_name,
            &self.passphrase,
            &self.dh_params_file_name,
            &self.ca_file_name,
            &self.ssl_ciphers,
        ];
        let mut all = one.into_iter().flatten().chain(&self.alpn_protocols);
        if all.any(|text| text.contains('\0')) { Err(UsError::InvalidStringConversion) } else { Ok(()) }
    }
}

/// Everything but the passphrase.
impl fmt::Debug for SocketContextOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketContextOptions")
            .field("key_file_name", &self.key_file_name)
            .field("cert_file_name", &self.cert_file_name)
            .field("passphrase", &self.passphrase.as_ref().map(|_| "…"))
            .field("dh_params_file_name", &self.dh_params_file_name)
            .field("ca_file_name", &self.ca_file_name)
            .field("ssl_ciphers", &self.ssl_ciphers)
            .field("ssl_prefer_low_memory_usage", &self.ssl_prefer_low_memory_usage)
            .field("alpn_protocols", &self.alpn_protocols)
            .field("require_client_cert", &self.require_client_cert)
            .field("verify_peer", &self.verify_peer)
            .field("trust_ca_alone", &self.trust_ca_alone)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_refused_wherever_it_is() {
        let put: [fn(&mut SocketContextOptions, String); 7] = [
            |o, s| o.key_file_name = Some(s),
            |o, s| o.cert_file_name = Some(s),
            |o, s| o.passphrase = Some(s),
            |o, s| o.dh_params_file_name = Some(s),
            |o, s| o.ca_file_name = Some(s),
            |o, s| o.ssl_ciphers = Some(s),
            |o, s| o.alpn_protocols = vec!["h2".into(), s],
        ];
        for put in put {
            let mut options = SocketContextOptions::default();
            put(&mut options, "good".into());
            assert_eq!(options.check(), Ok(()));
            put(&mut options, "ba\0d".into());
            assert_eq!(options.check(), Err(UsError::InvalidStringConversion), "{options:?}");
        }
    }

    #[test]
    fn the_passphrase_is_not_shown() {
        let options = SocketContextOptions { passphrase: Some("secret".into()), ..Default::default() };
        assert!(!format!("{options:?}").contains("secret"));
    }
}
