//! Connections: requests in, answers out.

use crate::Date;
use crate::request::{Parsed, Request, parse};
use nethuns_rs::usockets::Socket;
use std::io::Write;

const GREETING: &[u8] = b"Hello, World!\n";

/// What bodies of `/bytes/N` are made of, again and again.
static PATTERN: [u8; 64 << 10] = [b'x'; 64 << 10];

/// What is kept of a connection between two events: nothing, as long as requests come whole and answers fit.
#[derive(Default)]
pub struct Session {
    /// Requests that are not whole, or wait for the answer before them.
    input: Vec<u8>,
    /// Answers that there is no room for yet.
    output: Vec<u8>,
    /// Bytes of a body that are still to come.
    body: u64,
    /// No more requests are read.
    last: bool,
}

impl Session {
    /// Whether an answer is on its way.
    fn is_busy(&self) -> bool {
        !self.output.is_empty() || self.body > 0
    }
}

/// Answers under way, of one connection at a time.
#[derive(Default)]
pub struct Answers {
    out: Vec<u8>,
    pub date: Date,
    /// Requests answered.
    pub count: u64,
}

impl Answers {
    /// Bytes have come.
    pub fn take<const TLS: bool>(&mut self, socket: &Socket<TLS, Session>, data: &[u8]) {
        let Some(mut session) = socket.ext_mut() else { return };
        if session.last {
            return;
        }
        if session.input.is_empty() {
            // Straight from where they were received.
            let used = self.answer(data, &mut session);
            session.input.extend_from_slice(&data[used..]);
        } else {
            session.input.extend_from_slice(data);
        }
        self.send(socket, &mut session);
    }

    /// There is room again.
    pub fn go_on<const TLS: bool>(&mut self, socket: &Socket<TLS, Session>) {
        let Some(mut session) = socket.ext_mut() else { return };
        self.send(socket, &mut session);
    }

    /// Sends what there is to send, and answers what has waited for that. A client that does not read is not read either.
    fn send<const TLS: bool>(&mut self, socket: &Socket<TLS, Session>, session: &mut Session) {
        loop {
            // Answers just made stand behind those that wait, and before the body.
            if session.output.is_empty() {
                let sent = socket.write(&self.out, session.body > 0);
                session.output.extend_from_slice(&self.out[sent..]);
            } else {
                session.output.extend_from_slice(&self.out);
                let sent = socket.write(&session.output, session.body > 0);
                session.output.drain(..sent);
            }
            self.out.clear();
            while session.output.is_empty() && session.body > 0 {
                let piece = session.body.min(PATTERN.len() as u64) as usize;
                let sent = socket.write(&PATTERN[..piece], false);
                session.body -= sent as u64;
                if sent < piece {
                    break;
                }
            }
            if session.is_busy() {
                return socket.pause();
            }
            let input = std::mem::take(&mut session.input);
            let used = self.answer(&input, session);
            session.input.extend_from_slice(&input[used..]);
            if self.out.is_empty() {
                break;
            }
        }
        socket.resume();
        if session.last {
            // The client's end is waited for: closed with something unread, a connection is reset and the answer lost.
            socket.shutdown();
        }
    }

    /// Answers requests as far as they are whole, and says how many bytes they took.
    fn answer(&mut self, bytes: &[u8], session: &mut Session) -> usize {
        let mut used = 0;
        while used < bytes.len() && !session.is_busy() && !session.last {
            match parse(&bytes[used..]) {
                Parsed::More => break,
                Parsed::Bad(status) => {
                    session.last = true;
                    self.write(status, b"", true, None);
                    return bytes.len();
                }
                Parsed::Request(request) => {
                    used += request.len;
                    self.count += 1;
                    self.respond(&request, session);
                }
            }
        }
        if session.last { bytes.len() } else { used }
    }

    fn respond(&mut self, request: &Request<'_>, session: &mut Session) {
        session.last = request.close;
        let head = match request.method {
            b"GET" => false,
            b"HEAD" => true,
            _ => return self.write(501, b"not implemented\n", request.close, None),
        };
        let size = request
            .target
            .strip_prefix(b"/bytes/")
            .filter(|digits| digits.first().is_some_and(u8::is_ascii_digit))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        let (status, body, len) = match (request.target, size) {
            (_, Some(size)) => {
                session.body = if head { 0 } else { size };
                (200, &b""[..], size)
            }
            (b"/", _) => (200, GREETING, GREETING.len() as u64),
            _ => (404, &b"not found\n"[..], 10),
        };
        self.write(status, if head { b"" } else { body }, request.close, Some(len));
    }

    /// Writes an answer. `len` is what Content-Length says, if not the body's own.
    fn write(&mut self, status: u16, body: &[u8], close: bool, len: Option<u64>) {
        let reason = match status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            _ => "HTTP Version Not Supported",
        };
        let (len, end) = (len.unwrap_or(body.len() as u64), if close { "Connection: close\r\n" } else { "" });
        // Writing to memory does not fail.
        let _ = write!(self.out, "HTTP/1.1 {status} {reason}\r\nServer: nethuns\r\nDate: ");
        self.out.extend_from_slice(self.date.as_bytes());
        let _ = write!(self.out, "\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n{end}\r\n");
        self.out.extend_from_slice(body);
    }
}
