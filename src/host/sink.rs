//! Where the engine's frames go: into frames that the backend lends, and from there into its transmit ring.
//!
//! A frame counts as sent once the engine has written it. If the ring turns out to be full only then, the frame waits
//! here, and until it has left there is no room for another: nothing is lost and nothing overtakes.

use super::stats::Counters;
use super::tap::Tap;
use crate::api::{Payload, Socket, Token};
use crate::capture::Direction;
use crate::errors::{Error, Refused};
use crate::stack::{Full, Instant, Sink};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What the sink keeps from one turn to the next.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// A frame that was written and did not fit into the ring.
    waiting: Option<Waiting>,
    /// For backends that lend no frames.
    scratch: Vec<u8>,
    /// Frames accepted by the socket since its last flush.
    pub(super) unflushed: usize,
    /// The last error of the socket that was no lack of room.
    pub(super) error: Option<String>,
}

impl Outgoing {
    /// Whether a frame waits for room in the ring.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

#[derive(Debug)]
enum Waiting {
    Frame(Token),
    /// In `scratch`.
    Scratch,
}

/// The sink of one turn.
pub(super) struct Out<'a, S: Socket> {
    pub(super) socket: &'a S,
    pub(super) outgoing: &'a mut Outgoing,
    pub(super) counters: &'a mut Counters,
    pub(super) tap: Option<&'a mut Tap>,
    pub(super) now: Instant,
    /// The device computes the checksums of TCP and UDP.
    pub(super) offload: bool,
}

impl<S: Socket> Out<'_, S> {
    pub(super) fn flush(&mut self) {
        self.socket.flush();
        self.outgoing.unflushed = 0;
        self.counters.flushes += 1;
    }

    /// Sends the frame that waits. Whether there is none any more.
    #[inline]
    pub(super) fn catch_up(&mut self) -> bool {
        self.outgoing.waiting.is_none() || self.send_waiting()
    }

    #[cold]
    fn send_waiting(&mut self) -> bool {
        match self.outgoing.waiting.take() {
            None => true,
            Some(Waiting::Frame(token)) => self.send_token(token),
            Some(Waiting::Scratch) => self.send_scratch(),
        }
    }

    /// Sends a token, with one flush in between if there is no room. Whether it is gone, one way or the other.
    #[cold]
    fn send_token(&mut self, token: Token) -> bool {
        let refused = match self.submit(token) {
            Ok(()) => return self.accepted(),
            Err(refused) if !refused.error.is_transient() => return self.failed(&refused.error),
            Err(refused) => refused,
        };
        self.flush();
        match self.submit(refused.packet) {
            Ok(()) => self.accepted(),
            Err(refused) if !refused.error.is_transient() => self.failed(&refused.error),
            Err(refused) => {
                self.outgoing.waiting = Some(Waiting::Frame(refused.packet));
                self.no_room()
            }
        }
    }

    /// Puts a token into the ring.
    #[inline]
    fn submit(&self, token: Token) -> Result<(), Refused<Token>> {
        if self.offload {
            let frame = token.consume(self.socket.context());
            let place = checksum_place(&frame);
            return match place {
                Some((start, offset)) => self.socket.send_token_checksum(frame.into_token(), start, offset),
                None => self.socket.send_token(frame.into_token()),
            };
        }
        self.socket.send_token(token)
    }

    /// The same with a payload of the socket's own context.
    #[inline(always)]
    fn submit_payload(&self, frame: Payload<'_, S::Context>) -> Result<(), Refused<Token>> {
        if self.offload {
            return self.submit(frame.into_token());
        }
        self.socket.send_payload(frame).map_err(|refused| Refused::new(refused.error, refused.packet.into_token()))
    }

    /// The same with what is in `scratch`.
    fn send_scratch(&mut self) -> bool {
        for attempt in 0..2 {
            match self.socket.send(&self.outgoing.scratch) {
                Ok(()) => return self.accepted(),
                Err(error) if !error.is_transient() => return self.failed(&error),
                Err(_) if attempt == 0 => self.flush(),
                Err(_) => {}
            }
        }
        self.outgoing.waiting = Some(Waiting::Scratch);
        self.no_room()
    }

    #[inline(always)]
    fn accepted(&mut self) -> bool {
        self.outgoing.unflushed += 1;
        true
    }

    #[cold]
    fn no_room(&mut self) -> bool {
        self.counters.tx_full += 1;
        false
    }

    /// The socket does not take the frame, now or later: it is lost, as on a wire, and the engine will send it again.
    #[cold]
    fn failed(&mut self, error: &Error) -> bool {
        self.counters.tx_errors += 1;
        let text = error.to_string();
        if self.outgoing.error.as_ref() != Some(&text) {
            self.outgoing.error = Some(text);
        }
        true
    }

    fn note(&mut self, frame: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.note(self.now, frame, Direction::Sent);
        }
    }

    /// No frame was to be had at first.
    #[cold]
    fn emit_with_care<R>(&mut self, error: Error, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        if error.is_transient() {
            // Sent frames come back once the engine is told, or asked.
            self.flush();
            match self.socket.alloc(len) {
                Ok(mut frame) => {
                    let result = fill(&mut frame);
                    self.note(&frame);
                    self.send_token(frame.into_token());
                    return Ok(result);
                }
                Err(error) if error.is_transient() => {
                    self.no_room();
                    return Err(Full);
                }
                Err(_) => {}
            }
        }
        // A backend that lends none, or none that long: then `send` copies, or says what is wrong.
        self.outgoing.scratch.clear();
        self.outgoing.scratch.resize(len, 0);
        let result = fill(&mut self.outgoing.scratch);
        if let Some(tap) = &mut self.tap {
            tap.note(self.now, &self.outgoing.scratch, Direction::Sent);
        }
        self.send_scratch();
        Ok(result)
    }
}

impl<S: Socket> Sink for Out<'_, S> {
    #[inline]
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        if !self.catch_up() {
            return Err(Full);
        }
        let socket = self.socket;
        let mut frame = match socket.alloc(len) {
            Ok(frame) => frame,
            Err(error) => return self.emit_with_care(error, len, fill),
        };
        let result = fill(&mut frame);
        self.note(&frame);
        match self.submit_payload(frame) {
            Ok(()) => _ = self.accepted(),
            Err(refused) if refused.error.is_transient() => {
                self.flush();
                self.send_token(refused.packet);
            }
            Err(refused) => _ = self.failed(&refused.error),
        }
        Ok(result)
    }
}

/// Where the checksum of a frame's TCP segment or UDP datagram is: what it begins to sum at, and where from there it goes.
/// `None` for everything else; fragments have no checksum of their own, and their engine has computed it.
#[inline]
fn checksum_place(frame: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let ip = if word(12)? == 0x8100 { 18 } else { 14 };
    if word(ip - 2)? != 0x0800 || word(ip + 6)? & 0x3fff != 0 {
        return None;
    }
    let offset = match *frame.get(ip + 9)? {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    let start = ip + usize::from(*frame.get(ip)? & 0xf) * 4;
    (start + usize::from(offset) + 2 <= frame.len()).then_some((start as u16, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_found_where_they_are() {
        for (tagged, protocol, fragment, place) in [
            (false, TCP, 0, Some((34, 16))),
            (false, UDP, 0, Some((34, 6))),
            (true, TCP, 0x4000, Some((38, 16))),
            (false, UDP, 0x2000, None),
            (false, UDP, 1, None),
            (false, 1, 0, None),
        ] {
            let mut frame = vec![0; 12];
            if tagged {
                frame.extend_from_slice(&[0x81, 0, 0, 7]);
            }
            frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 0, 0, 0]);
            frame.extend_from_slice(&u16::to_be_bytes(fragment));
            frame.extend_from_slice(&[64, protocol]);
            frame.resize(frame.len() + 10 + 20, 0);
            assert_eq!(checksum_place(&frame), place);
            for len in 0..frame.len() {
                let _ = checksum_place(&frame[..len]);
            }
        }
        assert_eq!(checksum_place(&[0xff; 60]), None);
    }
}
