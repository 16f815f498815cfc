//! Records: their headers, and how they are protected (RFC 8446 section 5; RFC 5246 section 6.2, RFC 5288, RFC 7905).

use super::TlsError;
use super::settings::Settings;
use super::waiting::Waiting;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::{AlertDescription, ConnectionTrafficSecrets};

/// A record's header: its type, a version and the length of its body.
pub(super) const HEADER: usize = 5;

/// The most plaintext that a record may carry.
pub(super) const MAX_PLAIN: usize = 16 << 10;

/// The largest record there is: TLS 1.2 lets protection add 2 KiB.
pub(super) const MAX_RECORD: usize = HEADER + MAX_PLAIN + 2048;

const TAG: usize = 16;

/// The part of a nonce that TLS 1.2 sends along with AES-GCM.
const EXPLICIT_NONCE: usize = 8;

/// What a record is about. The numbers are the protocol's.
pub(super) mod kind {
    pub(in super::super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(in super::super) const ALERT: u8 = 21;
    pub(in super::super) const HANDSHAKE: u8 = 22;
    pub(in super::super) const DATA: u8 = 23;
}

/// Why a connection ends, and the alert that tells the peer so, unless it was the peer that told us.
pub(super) struct Fault(pub(super) Option<AlertDescription>, pub(super) TlsError);

pub(super) fn fault<T>(alert: AlertDescription, words: &str) -> Result<T, Fault> {
    Err(Fault(Some(alert), TlsError::Protocol(words.into())))
}

/// A fault of ours.
pub(super) fn internal(error: rustls::Error) -> Fault {
    Fault(Some(AlertDescription::InternalError), error.into())
}

/// The length of the record that begins here, header included; `None` if the header has not come whole.
///
/// # Errors
///
/// If no record can begin so: it is checked as early as can be, since whoever speaks another protocol waits for an answer.
pub(super) fn len(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    if bytes.first().is_some_and(|kind| !(kind::CHANGE_CIPHER_SPEC..=kind::DATA).contains(kind)) {
        return fault(AlertDescription::UnexpectedMessage, "this is no TLS");
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return fault(AlertDescription::ProtocolVersion, "this is no version of TLS");
    }
    let &[_, _, _, high, low, ..] = bytes else { return Ok(None) };
    let len = HEADER + usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_RECORD {
        return fault(AlertDescription::RecordOverflow, "a record is too large");
    }
    Ok(Some(len))
}

/// An alert in the clear: all that can be said before there are keys.
pub(super) fn clear_alert(alert: AlertDescription) -> [u8; 7] {
    const FATAL: u8 = 2;
    [kind::ALERT, 3, 3, 0, 2, FATAL, u8::from(alert)]
}

/// The key of one direction, and how many records it has protected.
pub(super) struct Key {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    tls13: bool,
}

impl Key {
    /// `None` if these secrets are of an algorithm that is not used here.
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets), tls13: bool) -> Option<Self> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Self { key, iv: iv.as_ref().try_into().ok()?, sequence, tls13 })
    }

    /// How many records it has protected.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes of a nonce that go with each record.
    fn explicit(&self) -> usize {
        if self.tls13 || self.key.algorithm() == &CHACHA20_POLY1305 { 0 } else { EXPLICIT_NONCE }
    }

    /// The static part with the record's number laid over it: a nonce that comes but once in a key's life.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// What TLS 1.2 authenticates beside the record's content.
    fn associated(&self, kind: u8, len: usize) -> [u8; 13] {
        let mut associated = [0; 13];
        associated[..8].copy_from_slice(&self.sequence.to_be_bytes());
        associated[8..11].copy_from_slice(&[kind, 3, 3]);
        associated[11..].copy_from_slice(&(len as u16).to_be_bytes());
        associated
    }

    /// Protects a record, of at most [`MAX_PLAIN`] bytes if the peer is to take it, and appends it to what waits to be sent.
    pub(super) fn seal(&mut self, kind: u8, plain: &[u8], out: &mut Waiting, settings: &Settings) {
        let (nonce, explicit) = (self.nonce(), self.explicit());
        let body = explicit + plain.len() + usize::from(self.tls13) + TAG;
        let [high, low] = (body as u16).to_be_bytes();
        let header = [if self.tls13 { kind::DATA } else { kind }, 3, 3, high, low];
        let associated = self.associated(kind, plain.len());
        let associated = if self.tls13 { &header[..] } else { &associated[..] };
        let out = out.room(HEADER + body, settings);
        out.extend_from_slice(&header);
        out.extend_from_slice(&nonce[4..4 + explicit]);
        let content = out.len();
        out.extend_from_slice(plain);
        if self.tls13 {
            out.push(kind);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        match self.key.seal_in_place_separate_tag(nonce, Aad::from(associated), &mut out[content..]) {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            // Only gigabytes in one piece are refused. Nothing unprotected may leave.
            Err(_) => out[content..].fill(0),
        }
        self.sequence += 1;
    }

    /// Opens a whole record, header included, into `plain`, which must be empty. Returns what kind of record it is.
    pub(super) fn open(&mut self, record: &[u8], plain: &mut Vec<u8>) -> Result<u8, Fault> {
        debug_assert!(plain.is_empty() && record.len() >= HEADER);
        let (header, body) = record.split_at(HEADER);
        let explicit = self.explicit();
        let mut nonce = self.nonce();
        let (Some(sent), Some(len)) = (body.get(..explicit), body.len().checked_sub(explicit + TAG)) else {
            return fault(AlertDescription::BadRecordMac, "a record is too short");
        };
        nonce[4..4 + explicit].copy_from_slice(sent);
        let associated = self.associated(header[0], len);
        let associated = if self.tls13 { header } else { &associated[..] };
        plain.extend_from_slice(&body[explicit..]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        if self.key.open_in_place(nonce, Aad::from(associated), plain).is_err() {
            plain.clear();
            return fault(AlertDescription::BadRecordMac, "a record does not decrypt: it was altered on its way");
        }
        self.sequence += 1;
        plain.truncate(len);
        let mut kind = header[0];
        if self.tls13 {
            if plain.len() > MAX_PLAIN + 1 {
                return fault(AlertDescription::RecordOverflow, "a record is too large");
            }
            // Padding is of zeros, and behind the type.
            let end = plain.iter().rposition(|byte| *byte != 0);
            let Some(end) = end else {
                return fault(AlertDescription::UnexpectedMessage, "a record is of no type");
            };
            kind = plain[end];
            plain.truncate(end);
        }
        if plain.len() > MAX_PLAIN {
            return fault(AlertDescription::RecordOverflow, "a record is too large");
        }
        Ok(kind)
    }
}
