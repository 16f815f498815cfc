//! Connections: requests in, answers out.

use crate::Served;
use crate::common::{Backlog, LINGER, Table, accept_all, send};
use crate::date::Date;
use crate::request::{Parsed, Request, parse};
use nethuns_rs::net::{Event, ListenerId, Net, Reader, SocketError, TcpId};
use nethuns_tools::Failure;
use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

const GREETING: &[u8] = b"Hello, World!\n";

/// What bodies of `/bytes/N` are made of, again and again.
const PATTERN: usize = 64 << 10;

/// Answers put together before they are sent.
const ANSWERS: usize = 64 << 10;

/// What is kept of a connection between two events. Nothing, as long as requests come whole and answers fit.
#[derive(Default)]
struct Session {
    /// The beginning of a request, or requests that wait for the answer before them.
    input: Vec<u8>,
    output: Backlog,
    /// Bytes of a body that are still to come.
    body: u64,
    then: Then,
}

/// What comes after the answers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Then {
    #[default]
    KeepAlive,
    /// The connection ends.
    Close,
    /// The stream ends; what the client is still sending is thrown away, so that no reset destroys the answer.
    Linger,
    /// The same, and the end has been sent.
    Lingering,
}

impl Session {
    fn is_idle(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && self.body == 0 && self.then == Then::KeepAlive
    }
}

pub struct Server {
    net: Net,
    reader: Reader,
    sessions: Table<Session>,
    answers: Answers,
    connections: u64,
}

impl Server {
    pub fn new(net: Net) -> Self {
        let answers = Answers { out: Vec::new(), date: Date::default(), pattern: vec![b'x'; PATTERN], count: 0 };
        Self { reader: net.reader(), net, sessions: Table::new(), answers, connections: 0 }
    }

    /// Waits for something to happen, and does what follows.
    pub fn turn(&mut self, timeout: Duration) -> Result<(), Failure> {
        self.net.poll(Some(timeout))?;
        self.answers.date.update();
        while let Some(event) = self.net.next_event() {
            match event {
                Event::Accept(listener) => accept_all(&mut self.net, listener, |_, _| self.connections += 1),
                Event::Tcp(id, _) => self.go_on(id),
                Event::Udp(..) | Event::Watch(..) => {}
            }
        }
        Ok(())
    }

    /// Takes no more connections, and lets those answers leave that are on their way.
    pub fn end(mut self, listener: ListenerId) -> Result<Served, Failure> {
        let _ = self.net.tcp_unlisten(listener);
        self.net.drain(LINGER)?;
        Ok(Served { connections: self.connections, requests: self.answers.count })
    }

    /// Goes on with a connection as far as it goes.
    fn go_on(&mut self, id: TcpId) {
        let mut session = self.sessions.take(&mut self.net, id).unwrap_or_default();
        match self.run(id, &mut session) {
            Ok(true) if session.is_idle() => {}
            Ok(true) => self.sessions.put(&mut self.net, id, session),
            // Done, or broken.
            Ok(false) | Err(_) => self.net.tcp_close(id),
        }
    }

    /// Returns whether the connection lives on.
    fn run(&mut self, id: TcpId, session: &mut Session) -> Result<bool, SocketError> {
        let Self { net, reader, answers, .. } = self;
        loop {
            if !session.output.flush(net, id)? {
                return Ok(true);
            }
            while session.body > 0 {
                let piece = session.body.min(PATTERN as u64) as usize;
                let sent = send(net, id, &answers.pattern[..piece])?;
                session.body -= sent as u64;
                if sent < piece {
                    return Ok(true);
                }
            }
            match session.then {
                Then::Close => return Ok(false),
                Then::Linger => {
                    net.tcp_shutdown(id, Shutdown::Write)?;
                    session.then = Then::Lingering;
                }
                Then::KeepAlive | Then::Lingering => {}
            }
            if !session.input.is_empty() && session.then == Then::KeepAlive {
                let input = std::mem::take(&mut session.input);
                let used = answers.answer(&input, session);
                session.input.extend_from_slice(&input[used..]);
                if used > 0 || session.then != Then::KeepAlive {
                    answers.leave(net, id, session)?;
                    continue;
                }
            }
            match net.tcp_recv(id) {
                Ok(None) => return Ok(false),
                Ok(Some(data)) => {
                    let bytes = reader.open(data);
                    if session.then == Then::Lingering {
                        continue;
                    }
                    if session.input.is_empty() {
                        // Straight from where it was received.
                        let used = answers.answer(&bytes, session);
                        session.input.extend_from_slice(&bytes[used..]);
                    } else {
                        session.input.extend_from_slice(&bytes);
                    }
                    drop(bytes);
                    answers.leave(net, id, session)?;
                }
                Err(SocketError::WouldBlock) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Answers under way, of one connection at a time.
struct Answers {
    out: Vec<u8>,
    date: Date,
    pattern: Vec<u8>,
    /// Requests answered.
    count: u64,
}

impl Answers {
    /// Answers requests as far as they are whole, and says how many bytes they took.
    fn answer(&mut self, bytes: &[u8], session: &mut Session) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.out.len() < ANSWERS && session.body == 0 && session.then == Then::KeepAlive {
            match parse(&bytes[used..]) {
                Parsed::More => break,
                Parsed::Bad(status) => {
                    session.then = Then::Linger;
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
        used
    }

    fn respond(&mut self, request: &Request<'_>, session: &mut Session) {
        if request.close {
            session.then = Then::Close;
        }
        let head = match request.method {
            b"GET" => false,
            b"HEAD" => true,
            _ => return self.write(501, b"not implemented\n", request.close, None),
        };
        // What stands behind `?` is nobody's business here.
        let path = request.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let size = path
            .strip_prefix(b"/bytes/")
            .filter(|digits| digits.first().is_some_and(u8::is_ascii_digit))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        match (path, size) {
            (_, Some(size)) => {
                self.write(200, b"", request.close, Some(size));
                session.body = if head { 0 } else { size };
            }
            (b"/", _) if head => self.write(200, b"", request.close, Some(GREETING.len() as u64)),
            (b"/", _) => self.write(200, GREETING, request.close, None),
            _ if head => self.write(404, b"", request.close, Some(10)),
            _ => self.write(404, b"not found\n", request.close, None),
        }
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
        let out = &mut self.out;
        // Writing to memory does not fail.
        let _ = write!(out, "HTTP/1.1 {status} {reason}\r\nServer: nethuns\r\nDate: ");
        out.extend_from_slice(self.date.as_bytes());
        let _ = write!(out, "\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n{end}\r\n");
        out.extend_from_slice(body);
    }

    /// Sends the answers, and keeps what there is no room for with the connection.
    fn leave(&mut self, net: &mut Net, id: TcpId, session: &mut Session) -> Result<(), SocketError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = session.output.send(net, id, &self.out);
        self.out.clear();
        sent
    }
}
