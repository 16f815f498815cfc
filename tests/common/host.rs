//! Programs over hosts, and over the kernel, that send and check a known stream of bytes.

use nethuns_rs::api::Socket;
use nethuns_rs::host::{Host, Reader};
use nethuns_rs::stack::{Datagram, Event, ListenerId, Readiness, SocketError, TcpId};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. `NETHUNS_TEST_PATIENCE` (seconds) for slow machines.
pub fn patience() -> Duration {
    let seconds = std::env::var("NETHUNS_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Bytes that a long transfer moves: `NETHUNS_TEST_BYTES`, or what suits the build.
pub fn long() -> u64 {
    let asked = std::env::var("NETHUNS_TEST_BYTES").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { 20_000_000 } else { 100_000_000 })
}

/// A stream in which no piece looks like the piece a segment, a window or a power of two further on.
fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(1_000_003).collect()
    })
}

/// The stream from `offset` on, as far as it lies in one piece, at most `most` bytes.
pub fn stream(offset: u64, most: u64) -> &'static [u8] {
    let table = table();
    let start = (offset % table.len() as u64) as usize;
    let len = (table.len() - start).min(usize::try_from(most).unwrap_or(usize::MAX));
    &table[start..start + len]
}

/// Insists that these are the bytes of the stream from `offset` on.
#[track_caller]
pub fn check(mut offset: u64, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let expected = stream(offset, bytes.len() as u64);
        if bytes[..expected.len()] != *expected {
            let at = bytes.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
            panic!("byte {} of the stream is wrong", offset + at as u64);
        }
        offset += expected.len() as u64;
        bytes = &bytes[expected.len()..];
    }
}

/// A datagram with nothing special about it.
pub fn datagram(to: Option<SocketAddr>, bytes: &[u8]) -> Datagram<'_> {
    Datagram { to, from: None, ecn: 0, bytes }
}

/// One connection of a host that sends so many bytes of the stream and receives it until its end.
#[derive(Debug)]
pub struct Flow {
    pub id: TcpId,
    pub send: u64,
    pub sent: u64,
    pub received: u64,
    /// The peer has ended its stream.
    pub ended: bool,
    shut: bool,
    /// Why it is over, if it did not end well.
    pub error: Option<SocketError>,
}

impl Flow {
    pub fn new(id: TcpId, send: u64) -> Self {
        Self { id, send, sent: 0, received: 0, ended: false, shut: false, error: None }
    }

    pub fn is_done(&self) -> bool {
        self.error.is_some() || self.ended && self.shut
    }

    /// Sends what there is room for, then the end.
    pub fn push<S: Socket>(&mut self, host: &mut Host<S>) {
        while self.sent < self.send {
            match host.tcp_send(self.id, stream(self.sent, self.send - self.sent)) {
                Ok(n) => self.sent += n as u64,
                Err(SocketError::WouldBlock) => return,
                Err(error) => return self.error = Some(error),
            }
        }
        if !self.shut {
            match host.tcp_shutdown(self.id, Shutdown::Write) {
                Ok(()) => self.shut = true,
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Receives and checks what there is.
    pub fn pull<S: Socket>(&mut self, host: &mut Host<S>, reader: &Reader<S>) {
        while !self.ended {
            match host.tcp_recv(self.id) {
                Ok(Some(chunk)) => {
                    let bytes = reader.open(chunk);
                    check(self.received, &bytes);
                    self.received += bytes.len() as u64;
                }
                Ok(None) => self.ended = true,
                Err(SocketError::WouldBlock) => return,
                Err(error) => return self.error = Some(error),
            }
        }
    }
}

/// The connections of a host: accepted ones send `answer` bytes. Those that are done are closed and kept for the record.
#[derive(Debug, Default)]
pub struct Flows {
    pub open: HashMap<TcpId, Flow>,
    pub done: Vec<Flow>,
    pub answer: u64,
    /// Connections do not read while this is set.
    pub deaf: bool,
}

impl Flows {
    pub fn answering(answer: u64) -> Self {
        Self { answer, ..Self::default() }
    }

    pub fn add(&mut self, id: TcpId, send: u64) {
        self.open.insert(id, Flow::new(id, send));
    }

    /// Handles everything that a host has to tell.
    pub fn handle<S: Socket>(&mut self, host: &mut Host<S>, reader: &Reader<S>) {
        while let Some(event) = host.next_event() {
            match event {
                Event::Accept(listener) => self.accept(host, reader, listener),
                Event::Tcp(id, readiness) => self.step(host, reader, id, readiness),
                Event::Udp(..) => {}
            }
        }
    }

    fn accept<S: Socket>(&mut self, host: &mut Host<S>, reader: &Reader<S>, listener: ListenerId) {
        while let Ok(id) = host.tcp_accept(listener) {
            self.add(id, self.answer);
            self.step(host, reader, id, Readiness::CONNECTED | Readiness::READABLE);
        }
    }

    pub fn step<S: Socket>(&mut self, host: &mut Host<S>, reader: &Reader<S>, id: TcpId, readiness: Readiness) {
        let Some(flow) = self.open.get_mut(&id) else { return };
        flow.push(host);
        if !self.deaf {
            flow.pull(host, reader);
        }
        if readiness.contains(Readiness::CLOSED) && flow.error.is_none() && !flow.is_done() {
            flow.error = Some(host.tcp_error(id).unwrap_or(SocketError::Closed));
        }
        if flow.is_done() {
            host.tcp_close(id);
            self.done.extend(self.open.remove(&id));
        }
    }

    /// Lets those that were deaf read.
    pub fn listen_again<S: Socket>(&mut self, host: &mut Host<S>, reader: &Reader<S>) {
        self.deaf = false;
        for id in self.open.keys().copied().collect::<Vec<_>>() {
            self.step(host, reader, id, Readiness::READABLE);
        }
    }
}

/// Drives one host until it is enough.
#[track_caller]
pub fn drive<S: Socket>(
    host: &mut Host<S>,
    flows: &mut Flows,
    mut enough: impl FnMut(&mut Host<S>, &mut Flows) -> bool,
) {
    let (reader, start) = (host.reader(), Instant::now());
    while !enough(host, flows) {
        host.poll(Some(Duration::from_millis(5))).unwrap();
        flows.handle(host, &reader);
        assert!(start.elapsed() < patience(), "not yet: {flows:?}\n{}\n{:#?}", host.stats(), host.advice());
    }
}

/// The kernel's side of a connection: sends so many bytes of the stream and then the end, receives until the peer's end,
/// checks, and returns how many bytes it got.
pub fn kernel_flow(mut stream_: TcpStream, send: u64) -> u64 {
    stream_.set_read_timeout(Some(patience())).unwrap();
    stream_.set_write_timeout(Some(patience())).unwrap();
    let mut writer = stream_.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < send {
            sent += writer.write(stream(sent, send - sent)).expect("the kernel sends") as u64;
        }
        writer.shutdown(Shutdown::Write).expect("the kernel ends its stream");
    });
    let received = kernel_read(&mut stream_);
    sender.join().unwrap();
    received
}

/// Reads and checks the stream until its end.
pub fn kernel_read(stream_: &mut TcpStream) -> u64 {
    let (mut received, mut buffer) = (0u64, vec![0; 1 << 17]);
    loop {
        match stream_.read(&mut buffer) {
            Ok(0) => return received,
            Ok(n) => {
                check(received, &buffer[..n]);
                received += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("the kernel has received {received} bytes: {error}"),
        }
    }
}
