//! One connection's TLS.

use super::TlsError;
use super::handshake::{self, Facts, Handshake};
use super::record::{self, Fault};
use super::settings::Settings;
use super::traffic::{Record, Traffic};
use super::waiting::Waiting;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::{AlertDescription, ProtocolVersion};
use std::mem;
use std::rc::Rc;

/// What a session has for its owner.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::usockets) enum Step {
    /// Data from the peer: it is in `plain`.
    Plain,
    /// The handshake is done. Told once.
    Established,
    /// The client asks for a server name that the context does not have. Told once; the next step looks again, and goes on with
    /// the context's own certificate if the name still is not there.
    UnknownName(String),
    /// The peer sends no more (close_notify). Told once; what it sends all the same is ignored.
    PeerClosed,
    /// Nothing, until more comes from the peer. The input is used up.
    More,
}

/// One connection's TLS. See [the module](super) for who owns its bytes when.
pub(in crate::usockets) struct Session {
    state: State,
    settings: Rc<Settings>,
    /// Ciphertext that came: a part of a record, or what the owner did not want to see yet.
    kept: Waiting,
    /// Ciphertext for the network.
    out: Waiting,
    /// The name that the client asked for (SNI).
    name: Option<Box<str>>,
    /// What there was in the handshake, once it is done.
    facts: Option<Box<Facts>>,
    peer_closed: bool,
}

enum State {
    /// A server that has not read the ClientHello whole. So many bytes of it went to the acceptor.
    Hello(Option<Box<Acceptor>>, usize),
    /// A server that has read it; its owner was asked for the name.
    Asked,
    /// The handshake goes on. So many bytes that were kept are of records that the handshake has seen.
    Handshake(Handshake, usize),
    Traffic(Box<Traffic>),
    Failed(Box<TlsError>),
}

impl Session {
    /// A server's side. Its certificate is chosen when the client has said which host it wants.
    pub(in crate::usockets) fn server(settings: Rc<Settings>) -> Self {
        Self::new(State::Hello(None, 0), settings)
    }

    /// A client's side, whose ClientHello is waiting to be sent.
    ///
    /// # Errors
    ///
    /// [`TlsError::Name`] if `host` is neither a name nor an address; [`TlsError::NoRoots`] if no certificate is trusted.
    pub(in crate::usockets) fn client(settings: Rc<Settings>, host: &str) -> Result<Self, TlsError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare).map_err(|_| TlsError::Name(host.into()))?.to_owned();
        let connection = UnbufferedClientConnection::new(settings.client()?, name)?;
        let mut handshake = Handshake::Client(Box::new(connection));
        let mut out = Waiting::default();
        let (_, begun) = handshake.process(&mut [], &mut out, &settings);
        begun.map_err(|Fault(_, error)| error)?;
        let mut session = Self::new(State::Handshake(handshake, 0), settings);
        session.out = out;
        Ok(session)
    }

    fn new(state: State, settings: Rc<Settings>) -> Self {
        let (kept, out) = (Waiting::default(), Waiting::default());
        Self { state, settings, kept, out, name: None, facts: None, peer_closed: false }
    }

    /// Keeps ciphertext for a later step: what was left of a [`step`](Self::step)'s input when its owner stopped.
    pub(in crate::usockets) fn feed(&mut self, cipher: &[u8]) {
        if !self.peer_closed && !matches!(self.state, State::Failed(_)) {
            self.kept.append(cipher, &self.settings);
        }
    }

    /// Goes one step on: with what was kept, then with `input`, which becomes what is left of it. It is to be called until it
    /// says [`Step::More`]; if its owner wants to stop before, what is left of the input is to be given to [`feed`](Self::feed).
    /// `plain` is emptied first, and then holds a record's data at most.
    ///
    /// # Errors
    ///
    /// The session is broken. Once [`outgoing`](Self::outgoing) is sent, which tells the peer why, the connection is to be
    /// closed. Every further step says the same.
    pub(in crate::usockets) fn step(&mut self, input: &mut &[u8], plain: &mut Vec<u8>) -> Result<Step, TlsError> {
        plain.clear();
        loop {
            match self.turn(input, plain) {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(Fault(alert, error)) => {
                    if let Some(alert) = alert {
                        match &mut self.state {
                            State::Traffic(traffic) => traffic.refuse(alert, &mut self.out, &self.settings),
                            State::Failed(_) => {}
                            _ => handshake::send_clear_alert(alert, &mut self.out, &self.settings),
                        }
                    }
                    self.kept.clear(&self.settings);
                    plain.clear();
                    *input = &[];
                    self.state = State::Failed(Box::new(error.clone()));
                    return Err(error);
                }
            }
        }
    }

    /// A part of a step. `None`: there is more to do.
    fn turn(&mut self, input: &mut &[u8], plain: &mut Vec<u8>) -> Result<Option<Step>, Fault> {
        let Self { state, settings, kept, out, .. } = self;
        match state {
            State::Failed(error) => Err(Fault(None, (**error).clone())),
            _ if self.peer_closed => {
                kept.clear(settings);
                *input = &[];
                Ok(Some(Step::More))
            }
            State::Hello(acceptor, seen) => {
                let Some(end) = complete(kept, *seen, input, settings)? else { return Ok(Some(Step::More)) };
                let acceptor = acceptor.get_or_insert_default();
                let accepted = handshake::hello(acceptor, &kept.bytes()[*seen..end], out, settings)?;
                *seen = end;
                let Some(accepted) = accepted else { return Ok(None) };
                self.name = accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into());
                *state = State::Asked;
                let unknown = self.name.as_deref().filter(|name| !settings.knows(name));
                Ok(unknown.map(|name| Step::UnknownName(name.into())))
            }
            State::Asked => {
                let Some(config) = settings.server(self.name.as_deref()) else {
                    let name =
                        self.name.as_deref().map_or("clients that name no host".into(), |name| format!("`{name}`"));
                    return Err(Fault(Some(AlertDescription::UnrecognisedName), TlsError::NoCertificate(name)));
                };
                let connection = UnbufferedServerConnection::new(config).map_err(record::internal)?;
                *state = State::Handshake(Handshake::Server(Box::new(connection)), 0);
                Ok(None)
            }
            State::Handshake(handshake, seen) => {
                // What was seen and not discarded is part of a message, and has to stay in front of the rest.
                let Some(end) = complete(kept, *seen, input, settings)? else { return Ok(Some(Step::More)) };
                let (done, processed) = handshake.process(&mut kept.bytes_mut()[..end], out, settings);
                kept.discard(done, settings);
                *seen = end - done;
                processed?;
                if *seen > MAX_HANDSHAKE {
                    return record::fault(AlertDescription::DecodeError, "a handshake message is too large");
                }
                if handshake.is_under_way() {
                    return Ok(None);
                }
                self.established()
            }
            State::Traffic(traffic) => {
                let received = if kept.is_empty() {
                    match record::len(input)? {
                        Some(len) if len <= input.len() => {
                            let (record, rest) = input.split_at(len);
                            *input = rest;
                            traffic.receive(record, plain, out, settings)?
                        }
                        _ => {
                            kept.append(mem::take(input), settings);
                            return Ok(Some(Step::More));
                        }
                    }
                } else {
                    let Some(end) = complete(kept, 0, input, settings)? else { return Ok(Some(Step::More)) };
                    let received = traffic.receive(&kept.bytes()[..end], plain, out, settings)?;
                    kept.discard(end, settings);
                    received
                };
                match received {
                    Record::Data => Ok(Some(Step::Plain)),
                    Record::Nothing => Ok(None),
                    Record::Closed => {
                        self.peer_closed = true;
                        Ok(Some(Step::PeerClosed))
                    }
                }
            }
        }
    }

    /// The handshake is done.
    fn established(&mut self) -> Result<Option<Step>, Fault> {
        let gone = State::Failed(Box::new(TlsError::Internal("the handshake did not end".into())));
        let State::Handshake(handshake, seen) = mem::replace(&mut self.state, gone) else { return Ok(None) };
        // Bytes of records that were seen are of no use to anybody else. There are none unless the peer is odd.
        self.kept.discard(seen, &self.settings);
        let (traffic, facts) = handshake.finish().map_err(|error| Fault(None, error))?;
        self.state = State::Traffic(Box::new(traffic));
        self.facts = Some(Box::new(facts));
        Ok(Some(Step::Established))
    }

    /// Encrypts the first bytes of `plain`, one record of them, and returns how many. None during the handshake, after
    /// [`close_notify`](Self::close_notify), after an error, and as long as a whole record waits to be sent.
    pub(in crate::usockets) fn write(&mut self, plain: &[u8]) -> usize {
        match &mut self.state {
            State::Traffic(traffic) if self.out.len() < self.settings.record_size() => {
                traffic.send(plain, &mut self.out, &self.settings)
            }
            _ => 0,
        }
    }

    /// What is to be sent to the peer, in this order.
    pub(in crate::usockets) fn outgoing(&self) -> &[u8] {
        self.out.bytes()
    }

    /// The network has taken the first `n` bytes of [`outgoing`](Self::outgoing).
    pub(in crate::usockets) fn sent(&mut self, n: usize) {
        self.out.discard(n, &self.settings);
        if let State::Traffic(traffic) = &mut self.state {
            // It fails only with a cipher that would not have been chosen; then the peer does not see its new key.
            let _ = traffic.renew_key(&mut self.out, &self.settings);
        }
    }

    /// Tells the peer that we send no more. During the handshake nothing is told: whoever ends the connection then just ends it.
    pub(in crate::usockets) fn close_notify(&mut self) {
        if let State::Traffic(traffic) = &mut self.state {
            traffic.close(&mut self.out, &self.settings);
        }
    }

    /// Whether the handshake is not done, so that nothing can be written yet.
    pub(in crate::usockets) fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Hello(..) | State::Asked | State::Handshake(..))
    }

    /// The application protocol that was agreed on (ALPN).
    pub(in crate::usockets) fn alpn(&self) -> Option<String> {
        self.facts.as_ref()?.protocol.clone()
    }

    /// On a server, the host name that the client asked for (SNI), in lower case.
    pub(in crate::usockets) fn server_name(&self) -> Option<String> {
        self.name.as_deref().map(String::from)
    }

    /// Whether an earlier session was taken up again.
    pub(in crate::usockets) fn resumed(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.resumed)
    }

    /// On a server, the certificate that the client has shown, in DER.
    pub(in crate::usockets) fn peer_certificate(&self) -> Option<&[u8]> {
        self.facts.as_ref()?.peer_certificate.as_deref()
    }

    /// The version that was agreed on, in OpenSSL's words.
    pub(in crate::usockets) fn version(&self) -> Option<&'static str> {
        match &self.state {
            State::Traffic(traffic) if traffic.version() == ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            State::Traffic(_) => Some("TLSv1.2"),
            _ => None,
        }
    }

    /// The cipher that was agreed on, in OpenSSL's words.
    pub(in crate::usockets) fn cipher(&self) -> Option<&'static str> {
        match &self.state {
            State::Traffic(traffic) => super::ciphers::name(traffic.suite()),
            _ => None,
        }
    }
}

#[cfg(test)]
impl Session {
    /// How much memory it holds for bytes that wait.
    pub(super) fn waiting_memory(&self) -> usize {
        self.kept.capacity() + self.out.capacity()
    }

    /// Makes its keys wear out early.
    pub(super) fn wear_out_after(&mut self, records: u64) {
        if let State::Traffic(traffic) = &mut self.state {
            traffic.wear_out_after(records);
        }
    }
}

/// A handshake message may not be larger. The protocol allows 16 MiB, which is a way to be robbed of memory; the largest that
/// exist are chains of certificates.
const MAX_HANDSHAKE: usize = 64 << 10;

/// Completes the record that begins at `start` of what is kept, with bytes of `input`. Returns where it ends; `None` if it did
/// not come whole, and then the input is used up.
fn complete(kept: &mut Waiting, start: usize, input: &mut &[u8], settings: &Settings) -> Result<Option<usize>, Fault> {
    loop {
        let there = &kept.bytes()[start..];
        let wanted = match record::len(there)? {
            Some(len) if len <= there.len() => return Ok(Some(start + len)),
            Some(len) => len,
            None => record::HEADER,
        };
        let (taken, rest) = input.split_at(input.len().min(wanted - there.len()));
        if taken.is_empty() {
            return Ok(None);
        }
        kept.expect(wanted - there.len(), settings);
        kept.append(taken, settings);
        *input = rest;
    }
}
