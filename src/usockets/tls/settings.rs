//! What a context's connections have in common.

use super::memory::Memory;
use super::names::{self, Names};
use super::record::MAX_PLAIN;
use super::verify::{Anybody, AuthorityAlone};
use super::waiting::Buffers;
use super::{TlsError, ciphers, error, files};
use crate::usockets::UsError;
use crate::usockets::options::SocketContextOptions;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

/// The largest record that is sent when memory is to be saved.
const SMALL_RECORD: usize = 4 << 10;

/// Sessions that a server remembers by their ids, for clients of TLS 1.2 that take no tickets; and those of other servers that
/// a client remembers. Fewer when memory is to be saved.
const SESSIONS: usize = 256;
const FEW_SESSIONS: usize = 16;

/// What a context's connections have in common: keys, trust, names, the memory of records that wait.
pub(in crate::usockets) struct Settings {
    identity: Identity,
    server: Option<Arc<ServerConfig>>,
    client: OnceCell<Arc<ClientConfig>>,
    names: RefCell<Names<Arc<ServerConfig>>>,
    pub(super) buffers: Buffers,
    low_memory: bool,
}

/// What options say, read and checked.
struct Identity {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    certificate: Option<Arc<CertifiedKey>>,
    roots: Option<Arc<RootCertStore>>,
    /// The same as they stand in their file.
    authorities: Option<Vec<CertificateDer<'static>>>,
    protocols: Vec<Vec<u8>>,
    require_client_cert: bool,
    verify_peer: bool,
    trust_ca_alone: bool,
    low_memory: bool,
}

fn refuse<T>(message: String) -> Result<T, UsError> {
    Err(UsError::SocketContextCreation { message })
}

impl Settings {
    /// Reads and checks everything that options name.
    ///
    /// # Errors
    ///
    /// [`UsError::SocketContextCreation`] names the file, the cipher or the option that cannot be used, and what would help;
    /// [`UsError::InvalidStringConversion`] as [`SocketContextOptions::check`].
    pub(in crate::usockets) fn load(options: &SocketContextOptions) -> Result<Rc<Self>, UsError> {
        options.check()?;
        let identity = Identity::read(options).or_else(refuse)?;
        let server = identity.server().or_else(refuse)?;
        let low_memory = options.ssl_prefer_low_memory_usage;
        Ok(Rc::new(Self {
            identity,
            server,
            client: OnceCell::new(),
            names: RefCell::default(),
            buffers: Buffers::new(low_memory),
            low_memory,
        }))
    }

    /// Serves a name, or every name that fits a pattern like `*.example.com`, with options of its own. A pattern that is there
    /// already gets the new ones, and connections that were made with the old ones keep them.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); also if this is no pattern, or the options have no certificate.
    pub(in crate::usockets) fn add_server_name(
        &self,
        pattern: &str,
        options: &SocketContextOptions,
    ) -> Result<(), UsError> {
        options.check()?;
        let Some(name) = names::normal(pattern) else {
            return refuse(format!(
                "`{pattern}` is no server name: labels of letters, digits and hyphens were expected, or `*`"
            ));
        };
        let config = Identity::read(options).and_then(|identity| identity.server()).or_else(refuse)?;
        let Some(config) = config else {
            return refuse(format!("the server name `{pattern}` needs cert_file_name and key_file_name"));
        };
        self.names.borrow_mut().set(&name, config);
        Ok(())
    }

    /// Serves a pattern no more. Whether it was there, exactly so.
    pub(in crate::usockets) fn remove_server_name(&self, pattern: &str) -> bool {
        names::normal(pattern).is_some_and(|name| self.names.borrow_mut().remove(&name))
    }

    /// Whether a name, in lower case, fits one of the patterns.
    pub(in crate::usockets) fn knows(&self, name: &str) -> bool {
        self.names.borrow().find(name).is_some()
    }

    /// How a client that asks for this name is served.
    pub(super) fn server(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        let names = self.names.borrow();
        name.and_then(|name| names.find(name)).or(self.server.as_ref()).cloned()
    }

    /// How this context is a client. The system's certificates are read when they are needed.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.client.get() {
            return Ok(config.clone());
        }
        let config = self.identity.client()?;
        Ok(self.client.get_or_init(|| config).clone())
    }

    /// How much plaintext goes into one record.
    pub(super) fn record_size(&self) -> usize {
        if self.low_memory { SMALL_RECORD } else { MAX_PLAIN }
    }
}

impl Identity {
    fn read(options: &SocketContextOptions) -> Result<Self, String> {
        let mut provider = ring::default_provider();
        if let Some(list) = &options.ssl_ciphers {
            provider.cipher_suites = ciphers::select(list).map_err(|error| format!("ssl_ciphers `{list}`: {error}"))?;
        }
        let versions = [&TLS13, &TLS12].into_iter();
        let versions = versions
            .filter(|version| provider.cipher_suites.iter().any(|suite| suite.version().version == version.version))
            .collect();
        if let Some(path) = &options.dh_params_file_name {
            files::check_dh_parameters(path)?;
        }
        let authorities =
            options.ca_file_name.as_ref().map(|path| files::certificates("ca_file_name", path)).transpose()?;
        let roots = match (&authorities, &options.ca_file_name) {
            (Some(authorities), Some(path)) => Some(files::roots("ca_file_name", path, authorities)?),
            _ => None,
        };
        if options.require_client_cert && roots.is_none() {
            return Err("require_client_cert needs ca_file_name: whose certificates are to be accepted?".into());
        }
        if let Some(protocol) = options.alpn_protocols.iter().find(|protocol| !(1..=255).contains(&protocol.len())) {
            return Err(format!("alpn_protocols: `{protocol}` is not of 1 to 255 bytes"));
        }
        let certificate = match (&options.cert_file_name, &options.key_file_name) {
            (None, None) => None,
            (Some(certificate), None) => {
                return Err(format!("cert_file_name `{certificate}` needs the key_file_name that belongs to it"));
            }
            (None, Some(key)) => {
                return Err(format!("key_file_name `{key}` needs the cert_file_name that belongs to it"));
            }
            (Some(certificate), Some(key)) => {
                let chain = files::certificates("cert_file_name", certificate)?;
                let private = files::private_key(key, options.passphrase.as_deref())?;
                Some(Arc::new(CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        format!("key_file_name `{key}` and cert_file_name `{certificate}` do not belong together")
                    }
                    rustls::Error::InvalidCertificate(reason) => {
                        format!("cert_file_name `{certificate}` cannot be used: {}", error::certificate(&reason))
                    }
                    error => format!(
                        "key_file_name `{key}` cannot be used: {error}; RSA of 2048 bits or more, ECDSA over P-256 or P-384, or \
                         Ed25519 is expected"
                    ),
                })?))
            }
        };
        Ok(Self {
            provider: Arc::new(provider),
            versions,
            certificate,
            roots: roots.map(Arc::new),
            authorities,
            protocols: options.alpn_protocols.iter().map(|protocol| protocol.clone().into_bytes()).collect(),
            require_client_cert: options.require_client_cert,
            verify_peer: options.verify_peer,
            trust_ca_alone: options.trust_ca_alone,
            low_memory: options.ssl_prefer_low_memory_usage,
        })
    }

    /// The server's part; `None` without a certificate.
    fn server(&self) -> Result<Option<Arc<ServerConfig>>, String> {
        let Some(certificate) = &self.certificate else { return Ok(None) };
        let told = |error: rustls::Error| error.to_string();
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_protocol_versions(&self.versions).map_err(told)?;
        let builder = match &self.roots {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), self.provider.clone());
                let verifier = if self.require_client_cert { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|error| format!("ca_file_name: {error}"))?;
                builder.with_client_cert_verifier(match self.listed() {
                    None => verifier,
                    Some(listed) => Arc::new(AuthorityAlone { listed, inner: verifier }),
                })
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.clone())));
        config.alpn_protocols.clone_from(&self.protocols);
        config.enable_secret_extraction = true;
        let memory = Memory::of(
            &certificate.cert,
            self.authorities.as_deref(),
            [self.require_client_cert, self.trust_ca_alone],
            self.sessions(),
        );
        let memory = memory.map_err(told)?;
        config.ticketer = memory.ticketer.clone();
        config.session_storage = memory;
        if self.low_memory {
            config.send_tls13_tickets = 1;
        }
        Ok(Some(Arc::new(config)))
    }

    fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_protocol_versions(&self.versions)?;
        let builder = if self.verify_peer {
            let roots = match &self.roots {
                Some(roots) => roots.clone(),
                None => system_roots()?,
            };
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone()).build();
            let verifier = verifier.map_err(|error| TlsError::Internal(error.to_string()))?;
            match self.listed() {
                None => builder.with_webpki_verifier(verifier),
                Some(listed) => {
                    let verifier: AuthorityAlone<dyn ServerCertVerifier> = AuthorityAlone { listed, inner: verifier };
                    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
                }
            }
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(self.provider.clone())))
        };
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.clone())))
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        config.enable_secret_extraction = true;
        config.resumption = Resumption::in_memory_sessions(self.sessions());
        Ok(Arc::new(config))
    }

    /// The authorities, if what they vouch for is all that matters.
    fn listed(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.authorities.clone().filter(|_| self.trust_ca_alone)
    }

    fn sessions(&self) -> usize {
        if self.low_memory { FEW_SESSIONS } else { SESSIONS }
    }
}

/// The certificates that the system trusts, read once in a process.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(roots.clone());
    }
    let read = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have a few that are too old to be understood.
    let (added, _) = roots.add_parsable_certificates(read.certs);
    if added == 0 {
        let reasons: Vec<_> = read.errors.iter().map(ToString::to_string).collect();
        let reason = if reasons.is_empty() { "the system has none".into() } else { reasons.join("; ") };
        return Err(TlsError::NoRoots(reason));
    }
    Ok(ROOTS.get_or_init(|| Arc::new(roots)).clone())
}
