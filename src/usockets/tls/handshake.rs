//! A handshake, which is rustls' work.

use super::TlsError;
use super::record::{self, Fault, fault};
use super::settings::Settings;
use super::traffic::{Side, Traffic};
use super::waiting::Waiting;
use rustls::client::UnbufferedClientConnection;
use rustls::server::{Accepted, Acceptor, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{AlertDescription, CommonState, HandshakeKind};
use std::ops::Deref;

/// Reads a ClientHello that comes in records.
pub(super) fn hello(
    acceptor: &mut Acceptor,
    mut records: &[u8],
    out: &mut Waiting,
    settings: &Settings,
) -> Result<Option<Accepted>, Fault> {
    while !records.is_empty() {
        let before = records.len();
        if let Err(error) = acceptor.read_tls(&mut records) {
            return fault(AlertDescription::DecodeError, &error.to_string());
        }
        match acceptor.accept() {
            Ok(None) if records.len() == before => {
                return fault(AlertDescription::DecodeError, "the hello is malformed");
            }
            Ok(None) => {}
            Ok(Some(accepted)) => return Ok(Some(accepted)),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                // Writing to memory does not fail.
                let _ = alert.write_all(&mut bytes);
                out.append(&bytes, settings);
                // A few faults come without one.
                let alert = bytes.is_empty().then_some(AlertDescription::DecodeError);
                return Err(Fault(alert, error.into()));
            }
        }
    }
    Ok(None)
}

/// A connection whose handshake is under way.
pub(super) enum Handshake {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What there was in the handshake that its owner may want to know later.
pub(super) struct Facts {
    pub(super) protocol: Option<String>,
    pub(super) resumed: bool,
    pub(super) peer_certificate: Option<Box<[u8]>>,
}

/// What a turn came to.
enum Turn {
    /// There may be more to do.
    Again,
    /// All that came was processed.
    Idle,
}

impl Handshake {
    /// Processes records that have come whole. Returns how many bytes of them are done with: what is not has to stay in front
    /// of those that come later.
    pub(super) fn process(
        &mut self,
        records: &mut [u8],
        out: &mut Waiting,
        settings: &Settings,
    ) -> (usize, Result<(), Fault>) {
        let mut done = 0;
        loop {
            let (discard, turn) = self.turn(&mut records[done..], out, settings);
            done += discard;
            match turn {
                Ok(Turn::Again) => {}
                Ok(Turn::Idle) => return (done, Ok(())),
                Err(error) => {
                    // The alert waits in the connection. It comes out before anything else is looked at.
                    while self.state().wants_write() {
                        let (discard, _) = self.turn(&mut records[done..], out, settings);
                        done += discard;
                    }
                    return (done, Err(Fault(None, error.into())));
                }
            }
        }
    }

    fn turn(
        &mut self,
        records: &mut [u8],
        out: &mut Waiting,
        settings: &Settings,
    ) -> (usize, Result<Turn, rustls::Error>) {
        match self {
            Self::Server(connection) => take(connection.process_tls_records(records), out, settings),
            Self::Client(connection) => take(connection.process_tls_records(records), out, settings),
        }
    }

    fn state(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection.deref().deref(),
            Self::Client(connection) => connection.deref().deref(),
        }
    }

    /// Whether the keys are not agreed yet.
    pub(super) fn is_under_way(&self) -> bool {
        self.state().is_handshaking()
    }

    /// Ends a handshake that is done.
    pub(super) fn finish(self) -> Result<(Traffic, Facts), TlsError> {
        let state = self.state();
        let certificate = state.peer_certificates().and_then(<[_]>::first);
        let facts = Facts {
            // It is one of ours, and ours are strings.
            protocol: state.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            // A server's certificate is checked and then of no more use to its client; who a client is its server wants to know.
            peer_certificate: certificate.filter(|_| matches!(self, Self::Server(_))).map(|der| Box::from(&**der)),
        };
        let (secrets, side) = match self {
            Self::Server(connection) => {
                let (secrets, connection) = connection.dangerous_into_kernel_connection()?;
                (secrets, Side::Server(connection))
            }
            Self::Client(connection) => {
                let (secrets, connection) = connection.dangerous_into_kernel_connection()?;
                (secrets, Side::Client(connection))
            }
        };
        Ok((Traffic::new(secrets, side)?, facts))
    }
}

/// Does what a connection asks for. Returns how many of its input's bytes are done with.
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Waiting,
    settings: &Settings,
) -> (usize, Result<Turn, rustls::Error>) {
    let turn = status.state.map(|state| match state {
        ConnectionState::EncodeTlsData(mut message) => {
            // It says how much room it wants when it gets none.
            if let Err(EncodeError::InsufficientSize(size)) = message.encode(&mut []) {
                let start = out.len();
                out.append_zeros(size.required_size, settings);
                let _ = message.encode(&mut out.bytes_mut()[start..]);
            }
            Turn::Again
        }
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Turn::Again
        }
        // The others wait for the peer, or come after the handshake.
        _ => Turn::Idle,
    });
    (status.discard, turn)
}

/// An alert in the clear, when there is no connection yet that could send it.
pub(super) fn send_clear_alert(alert: AlertDescription, out: &mut Waiting, settings: &Settings) {
    out.append(&record::clear_alert(alert), settings);
}
