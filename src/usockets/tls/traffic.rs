//! A connection after its handshake: what is in its records.

use super::TlsError;
use super::record::{Fault, Key, MAX_PLAIN, fault, internal, kind};
use super::settings::Settings;
use super::waiting::Waiting;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, Error, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite,
};
use std::mem;

/// A handshake message after the handshake may not be larger; a ticket is of a few hundred bytes.
const MAX_MESSAGE: usize = 64 << 10;

/// How often in a row a peer may do what costs us work and brings nothing: an empty record, new keys.
const PATIENCE: u8 = 32;

/// How many warnings a peer may send.
const WARNINGS: u8 = 4;

/// Handshake messages that may come after the handshake. The numbers are the protocol's.
mod message {
    pub(super) const HELLO_REQUEST: u8 = 0;
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const NEW_SESSION_TICKET: u8 = 4;
    pub(super) const KEY_UPDATE: u8 = 24;
}

/// A connection whose keys are agreed.
pub(super) struct Traffic {
    receive: Key,
    send: Key,
    side: Side,
    tls13: bool,
    /// After so many records a key is worn out.
    limit: u64,
    /// A handshake message that has not come whole.
    message: Vec<u8>,
    /// The peer wants to see new keys of ours.
    owes_new_key: bool,
    /// What the patience with the peer has left.
    empty: u8,
    updates: u8,
    warnings: u8,
    /// Our close_notify is on its way: nothing may follow it.
    closed: bool,
}

/// What keeps the secrets from which later keys follow.
pub(super) enum Side {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

impl Side {
    fn new_receive_secret(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Server(connection) => connection.update_rx_secret(),
            Self::Client(connection) => connection.update_rx_secret(),
        }
    }

    fn new_send_secret(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Server(connection) => connection.update_tx_secret(),
            Self::Client(connection) => connection.update_tx_secret(),
        }
    }

    fn version_and_suite(&self) -> (ProtocolVersion, SupportedCipherSuite) {
        match self {
            Self::Server(connection) => (connection.protocol_version(), connection.negotiated_cipher_suite()),
            Self::Client(connection) => (connection.protocol_version(), connection.negotiated_cipher_suite()),
        }
    }
}

/// What a record was.
pub(super) enum Record {
    /// Data.
    Data,
    /// Nothing for the connection's owner.
    Nothing,
    /// The peer sends no more.
    Closed,
}

impl Traffic {
    pub(super) fn new(secrets: ExtractedSecrets, side: Side) -> Result<Self, TlsError> {
        let (version, suite) = side.version_and_suite();
        let tls13 = version == ProtocolVersion::TLSv1_3;
        let limit = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        };
        let unknown = || TlsError::Internal(format!("{:?} is not implemented", suite.suite()));
        Ok(Self {
            receive: Key::new(secrets.rx, tls13).ok_or_else(unknown)?,
            send: Key::new(secrets.tx, tls13).ok_or_else(unknown)?,
            side,
            tls13,
            limit,
            message: Vec::new(),
            owes_new_key: false,
            empty: PATIENCE,
            updates: PATIENCE,
            warnings: WARNINGS,
            closed: false,
        })
    }

    pub(super) fn version(&self) -> ProtocolVersion {
        self.side.version_and_suite().0
    }

    pub(super) fn suite(&self) -> SupportedCipherSuite {
        self.side.version_and_suite().1
    }

    /// Opens a whole record; data goes to `plain`, which must be empty.
    pub(super) fn receive(
        &mut self,
        record: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Waiting,
        settings: &Settings,
    ) -> Result<Record, Fault> {
        if self.tls13 && record.first() != Some(&kind::DATA) || record.first() == Some(&kind::CHANGE_CIPHER_SPEC) {
            return fault(AlertDescription::UnexpectedMessage, "a record is in the clear");
        }
        let kind = self.receive.open(record, plain)?;
        if !self.message.is_empty() && kind != kind::HANDSHAKE {
            return fault(AlertDescription::UnexpectedMessage, "something stands within a handshake message");
        }
        if plain.is_empty() {
            // RFC 8446, section 5.4: only data may be empty.
            if kind != kind::DATA || self.empty == 0 {
                return fault(AlertDescription::UnexpectedMessage, "records are empty");
            }
            self.empty -= 1;
            return Ok(Record::Nothing);
        }
        self.empty = PATIENCE;
        match kind {
            kind::DATA => {
                self.updates = PATIENCE;
                Ok(Record::Data)
            }
            kind::ALERT => {
                let alert = mem::take(plain);
                let read = self.alert(&alert);
                *plain = alert;
                plain.clear();
                read
            }
            kind::HANDSHAKE => {
                self.message.extend_from_slice(plain);
                plain.clear();
                self.messages(out, settings)?;
                Ok(Record::Nothing)
            }
            _ => fault(AlertDescription::UnexpectedMessage, "a record is of an unknown type"),
        }
    }

    /// RFC 8446, section 6; RFC 5246, section 7.2.
    fn alert(&mut self, alert: &[u8]) -> Result<Record, Fault> {
        const WARNING: u8 = 1;
        let &[level, description] = alert else {
            return fault(AlertDescription::DecodeError, "an alert is malformed");
        };
        let description = AlertDescription::from(description);
        let harmless = if self.tls13 { description == AlertDescription::UserCanceled } else { level == WARNING };
        match description {
            AlertDescription::CloseNotify => Ok(Record::Closed),
            _ if harmless && self.warnings > 0 => {
                self.warnings -= 1;
                Ok(Record::Nothing)
            }
            _ => Err(Fault(None, Error::AlertReceived(description).into())),
        }
    }

    /// Reads handshake messages that have come whole.
    fn messages(&mut self, out: &mut Waiting, settings: &Settings) -> Result<(), Fault> {
        let mut bytes = mem::take(&mut self.message);
        let mut rest = &bytes[..];
        while let &[kind, a, b, c, ref tail @ ..] = rest {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > MAX_MESSAGE {
                return fault(AlertDescription::DecodeError, "a handshake message is too large");
            }
            let Some((body, tail)) = tail.split_at_checked(len) else { break };
            self.one_message(kind, body, tail.is_empty(), out, settings)?;
            rest = tail;
        }
        let used = bytes.len() - rest.len();
        if used < bytes.len() {
            bytes.drain(..used);
            self.message = bytes;
        }
        Ok(())
    }

    fn one_message(
        &mut self,
        kind: u8,
        body: &[u8],
        last: bool,
        out: &mut Waiting,
        settings: &Settings,
    ) -> Result<(), Fault> {
        match (kind, &mut self.side) {
            (message::KEY_UPDATE, side) if self.tls13 => {
                // RFC 8446, sections 4.6.3 and 5.1: nothing may stand behind it under the old key.
                let &[wanted @ (0 | 1)] = body else {
                    return fault(AlertDescription::IllegalParameter, "a key update is malformed");
                };
                if !last || self.updates == 0 {
                    return fault(AlertDescription::UnexpectedMessage, "a key update is out of place");
                }
                self.updates -= 1;
                let secret = side.new_receive_secret().map_err(internal)?;
                self.receive = Key::new(secret, true).ok_or_else(|| internal(Error::EncryptError))?;
                self.owes_new_key |= wanted == 1;
                self.renew_key(out, settings).map_err(internal)
            }
            (message::NEW_SESSION_TICKET, Side::Client(connection)) if self.tls13 => connection
                .handle_new_session_ticket(body)
                .map_err(|error| Fault(Some(AlertDescription::DecodeError), error.into())),
            // RFC 5246, section 7.4.1: who does not want to renegotiate says so.
            (message::HELLO_REQUEST, Side::Client(_)) | (message::CLIENT_HELLO, Side::Server(_))
                if !self.tls13 && self.warnings > 0 =>
            {
                const WARNING: u8 = 1;
                self.warnings -= 1;
                if !self.closed {
                    self.send_alert(WARNING, AlertDescription::NoRenegotiation, out, settings);
                }
                Ok(())
            }
            _ => fault(AlertDescription::UnexpectedMessage, "a handshake message is out of place"),
        }
    }

    /// Gives the peer the new key that it wants to see, unless so much waits to be sent that it can wait too: one answer does
    /// for all that were asked for (RFC 8446, section 4.6.3).
    pub(super) fn renew_key(&mut self, out: &mut Waiting, settings: &Settings) -> Result<(), Error> {
        if self.owes_new_key && out.is_empty() && !self.closed { self.new_send_key(out, settings) } else { Ok(()) }
    }

    fn new_send_key(&mut self, out: &mut Waiting, settings: &Settings) -> Result<(), Error> {
        let secret = self.side.new_send_secret()?;
        let Some(key) = Key::new(secret, true) else { return Err(Error::EncryptError) };
        // One byte long, and that byte asks for nothing in return.
        self.send.seal(kind::HANDSHAKE, &[message::KEY_UPDATE, 0, 0, 1, 0], out, settings);
        self.send = key;
        self.owes_new_key = false;
        Ok(())
    }

    /// Encrypts the first bytes of `plain`, as many as one record holds, and returns how many.
    pub(super) fn send(&mut self, plain: &[u8], out: &mut Waiting, settings: &Settings) -> usize {
        let plain = &plain[..plain.len().min(settings.record_size()).min(MAX_PLAIN)];
        if self.closed || plain.is_empty() {
            return 0;
        }
        // The last record that a key may protect says that the next comes with a new one; TLS 1.2 has no next one.
        if self.send.sequence().saturating_add(1) >= self.limit {
            if !self.tls13 {
                self.close(out, settings);
                return 0;
            }
            if self.new_send_key(out, settings).is_err() {
                return 0;
            }
        }
        self.send.seal(kind::DATA, plain, out, settings);
        plain.len()
    }

    /// Says that we send no more.
    pub(super) fn close(&mut self, out: &mut Waiting, settings: &Settings) {
        const WARNING: u8 = 1;
        if !mem::replace(&mut self.closed, true) {
            self.send_alert(WARNING, AlertDescription::CloseNotify, out, settings);
        }
    }

    /// Says what is wrong with what the peer sent.
    pub(super) fn refuse(&mut self, alert: AlertDescription, out: &mut Waiting, settings: &Settings) {
        const FATAL: u8 = 2;
        if !mem::replace(&mut self.closed, true) {
            self.send_alert(FATAL, alert, out, settings);
        }
    }

    fn send_alert(&mut self, level: u8, alert: AlertDescription, out: &mut Waiting, settings: &Settings) {
        self.send.seal(kind::ALERT, &[level, u8::from(alert)], out, settings);
    }

    /// Makes its keys wear out early.
    #[cfg(test)]
    pub(super) fn wear_out_after(&mut self, records: u64) {
        self.limit = records;
    }
}
