//! How a network is chosen.

use super::Net;
use crate::errors::{Error, Result};
use crate::host::HostBuilder;

/// The variable that moves a program from one network to the other.
const VARIABLE: &str = "NETHUNS_NET";

/// A network to be opened. It is `Send`: described in one thread, it can be opened in the one that shall drive it.
///
/// ```
/// use nethuns_rs::net::Net;
///
/// # fn main() -> nethuns_rs::Result<()> {
/// let net = Net::builder().spec("kernel").build()?;
/// assert_eq!(net.name(), "kernel");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// `None`: the kernel's.
    host: Option<HostBuilder>,
}

impl Builder {
    /// The kernel's network, until something else is said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What `NETHUNS_NET` says; without it, the kernel's.
    ///
    /// # Errors
    ///
    /// If it is no text.
    pub fn from_env() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(spec) => Ok(Self::new().spec(spec)),
            Err(std::env::VarError::NotPresent) => Ok(Self::new()),
            Err(std::env::VarError::NotUnicode(text)) => Err(Error::BadOption {
                option: VARIABLE,
                value: text.to_string_lossy().into_owned(),
                expected: "`kernel`, or a port spec such as af_xdp:eth0?ip=10.0.0.2/24".into(),
            }),
        }
    }

    /// Names the network: empty or `kernel`, or the port spec of the engine's with its options, such as
    /// `af_xdp:eth0?ip=10.0.0.2/24&gw=10.0.0.1`.
    #[must_use]
    pub fn spec(self, spec: impl Into<String>) -> Self {
        let spec = spec.into();
        Self { host: if matches!(spec.as_str(), "" | "kernel") { None } else { Some(HostBuilder::new(spec)) } }
    }

    /// The engine's network on this host.
    #[must_use]
    pub fn host(self, host: HostBuilder) -> Self {
        Self { host: Some(host) }
    }

    /// Opens it, in the thread that drives it.
    ///
    /// # Errors
    ///
    /// If the spec cannot be read, or the network not be opened.
    pub fn build(self) -> Result<Net> {
        let Some(host) = self.host else { return Net::kernel() };
        let name = host.spec().to_owned();
        Ok(Net::host(name, host.build()?))
    }
}
