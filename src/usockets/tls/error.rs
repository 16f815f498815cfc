//! Why a session ended.

use rustls::{CertificateError, Error, InvalidMessage};

/// Why a TLS connection could not be made, or had to be broken.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's certificate is not accepted: expired, another host's, from an issuer that is not trusted …
    #[error("the peer's certificate is refused: {0}")]
    Certificate(String),

    /// The peer broke the connection off and said why.
    #[error("the peer refuses: {0}")]
    Alert(String),

    /// What the peer sent breaks the protocol, was tampered with, or is no TLS at all.
    #[error("the peer breaks the protocol: {0}")]
    Protocol(String),

    /// The two sides have no version, cipher, key exchange or application protocol in common.
    #[error("nothing in common with the peer: {0}")]
    Incompatible(String),

    /// A server that has no certificate for the name that was asked for.
    #[error("there is no certificate for {0}: give the context one, or the name")]
    NoCertificate(String),

    /// A client that was told to connect to something that is neither a host name nor an address.
    #[error("`{0}` is neither a host name nor an address, so no certificate can be for it")]
    Name(String),

    /// A client that trusts nobody.
    #[error("no trusted certificates: {0}; install the package ca-certificates, or name a file in ca_file_name")]
    NoRoots(String),

    /// Something else, which is not the peer's doing.
    #[error("{0}")]
    Internal(String),
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(reason) => Self::Certificate(certificate(&reason)),
            Error::NoCertificatesPresented => Self::Certificate("it shows none".into()),
            Error::UnsupportedNameType => Self::Certificate("it is for a name of an unknown type".into()),
            Error::InvalidCertRevocationList(reason) => Self::Certificate(format!("{reason:?}")),
            Error::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            Error::PeerIncompatible(reason) => Self::Incompatible(format!("{reason:?}")),
            Error::NoApplicationProtocol => Self::Incompatible("it offers other application protocols (ALPN)".into()),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::Protocol("this is no TLS".into()),
            Error::DecryptError => Self::Protocol("a record does not decrypt: it was altered on its way".into()),
            Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerSentOversizedRecord => Self::Protocol(error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// What is wrong with a certificate.
pub(super) fn certificate(reason: &CertificateError) -> String {
    let words = match reason {
        CertificateError::UnknownIssuer => {
            "its issuer is not trusted, or a certificate between it and a trusted one is missing"
        }
        CertificateError::BadSignature => "a signature on it, or made with its key, is wrong",
        CertificateError::BadEncoding => "it is malformed",
        CertificateError::Other(other) => return other.to_string(),
        // The others have words of their own.
        other => return other.to_string(),
    };
    words.into()
}
