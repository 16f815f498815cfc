//! The load: many connections of one thread, on the kernel's network, as lean as it goes with one system call for sending
//! and one for receiving.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// Bytes of a request and of its answer.
pub const REQUEST: usize = 64;
/// Connects under way at once: fewer than a server's queue takes.
const CONNECTING: usize = 256;
/// How long anything may take before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a load came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests answered, or bytes moved.
    pub done: u64,
    pub wall: Duration,
    /// Of each request, in nanoseconds.
    pub latencies: Vec<u32>,
}

struct Connection {
    stream: TcpStream,
    begun: Instant,
    received: usize,
    /// It has been counted: as connected, or as over. An edge may come more than once.
    counted: bool,
}

pub struct Client {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    /// Does not sleep while it waits.
    spins: bool,
}

impl Client {
    /// Opens so many connections.
    pub fn connect(server: SocketAddr, count: usize, spins: bool) -> io::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1024));
        let mut client = Self { poll, events, connections: Vec::with_capacity(count), spins: false };
        let (begun, mut there) = (Instant::now(), 0);
        while there < count {
            while client.connections.len() < count && client.connections.len() - there < CONNECTING {
                client.add(server)?;
            }
            client.wait(begun + PATIENCE)?;
            for event in &client.events {
                let connection = &mut client.connections[event.token().0];
                if let Some(error) = connection.stream.take_error()? {
                    return Err(error);
                }
                connection.stream.peer_addr()?;
                there += usize::from(!std::mem::replace(&mut connection.counted, true));
            }
        }
        // What comes from now on are answers: room to send there always is.
        for (at, connection) in client.connections.iter_mut().enumerate() {
            client.poll.registry().reregister(&mut connection.stream, Token(at), Interest::READABLE)?;
        }
        client.spins = spins;
        Ok(client)
    }

    fn add(&mut self, server: SocketAddr) -> io::Result<()> {
        let mut stream = begin_to_connect(server)?;
        self.poll.registry().register(&mut stream, Token(self.connections.len()), Interest::WRITABLE)?;
        self.connections.push(Connection { stream, begun: Instant::now(), received: 0, counted: false });
        Ok(())
    }

    /// Waits for events until that time at most, but not beyond patience.
    fn wait(&mut self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        let patience = if self.spins { Duration::ZERO } else { left.max(Duration::from_micros(100)) };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if self.events.is_empty() && left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// One request after the other on every connection, for that long.
    pub fn requests(&mut self, duration: Duration) -> io::Result<Outcome> {
        let mut outcome = Outcome { latencies: Vec::with_capacity(1 << 20), ..Outcome::default() };
        let start = Instant::now();
        let end = start + duration;
        for connection in &mut self.connections {
            connection.begin(start)?;
        }
        let mut flight = self.connections.len();
        // The last answers are waited for, and do not count.
        while flight > 0 {
            self.wait(end + PATIENCE)?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                let mut answer = [0; 2 * REQUEST];
                match connection.stream.read(&mut answer) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(n) => connection.received += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
                if connection.received < REQUEST {
                    continue;
                }
                let now = Instant::now();
                if now >= end {
                    flight -= 1;
                    continue;
                }
                outcome.latencies.push(now.duration_since(connection.begun).as_nanos() as u32);
                connection.begin(now)?;
            }
        }
        outcome.done = outcome.latencies.len() as u64;
        outcome.wall = duration;
        Ok(outcome)
    }

    /// Connections that live for one request each, as many at once as there are, for that long.
    pub fn opens(server: SocketAddr, at_once: usize, duration: Duration) -> io::Result<Outcome> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1024));
        let mut client = Self { poll, events, connections: Vec::with_capacity(at_once), spins: false };
        let start = Instant::now();
        let end = start + duration;
        for _ in 0..at_once {
            client.add(server)?;
        }
        let mut outcome = Outcome::default();
        let mut flight = at_once;
        while flight > 0 {
            client.wait(end + PATIENCE)?;
            for event in &client.events {
                let at = event.token().0;
                let connection = &mut client.connections[at];
                let registry = client.poll.registry();
                if event.is_writable() && connection.received == 0 && !event.is_readable() {
                    registry.reregister(&mut connection.stream, event.token(), Interest::READABLE)?;
                    let now = Instant::now();
                    connection.begin(now)?;
                }
                if !event.is_readable() {
                    continue;
                }
                // The answer, then the end of the stream.
                let mut answer = [0; 2 * REQUEST];
                let over = loop {
                    match connection.stream.read(&mut answer) {
                        Ok(0) => break true,
                        Ok(n) => connection.received += n,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                        Err(error) => return Err(error),
                    }
                };
                if !over {
                    continue;
                }
                if connection.received != REQUEST {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                if Instant::now() >= end {
                    flight -= usize::from(!std::mem::replace(&mut connection.counted, true));
                    continue;
                }
                outcome.done += 1;
                let mut stream = begin_to_connect(server)?;
                registry.register(&mut stream, event.token(), Interest::WRITABLE)?;
                *connection = Connection { stream, begun: Instant::now(), received: 0, counted: false };
            }
        }
        outcome.wall = duration;
        Ok(outcome)
    }

    /// Sends as much as goes, for that long. What counts is what has been acknowledged.
    pub fn upload(server: SocketAddr, duration: Duration) -> io::Result<Outcome> {
        let mut stream = connect(server)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let block = vec![b'x'; 256 << 10];
        let mut outcome = Outcome::default();
        let start = Instant::now();
        while start.elapsed() < duration {
            outcome.done += stream.write(&block)? as u64;
        }
        // What has been written counts once the server has it: it closes when it has seen the end.
        stream.shutdown(Shutdown::Write)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        while stream.read(&mut [0; 64])? != 0 {}
        outcome.wall = start.elapsed();
        Ok(outcome)
    }

    /// Receives as much as comes, for that long.
    pub fn download(server: SocketAddr, duration: Duration) -> io::Result<Outcome> {
        let mut stream = connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut block = vec![0; 256 << 10];
        let mut outcome = Outcome::default();
        let start = Instant::now();
        while start.elapsed() < duration {
            match stream.read(&mut block)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => outcome.done += n as u64,
            }
        }
        outcome.wall = start.elapsed();
        Ok(outcome)
    }
}

/// A socket with the congestion control that the server has too. Before it connects: where the machine's own is BBR, it
/// would go on pacing for ever.
fn socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_congestion(b"cubic")?;
    Ok(socket)
}

/// A connection for a transfer.
fn connect(server: SocketAddr) -> io::Result<std::net::TcpStream> {
    let socket = socket()?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// A connection for requests, which is on its way.
fn begin_to_connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket()?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

impl Drop for Client {
    /// Resets the connections: the ports of ten thousand that were closed in order would be missing for a minute.
    fn drop(&mut self) {
        for connection in &self.connections {
            let _ = SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Connection {
    /// Sends a request.
    #[inline]
    fn begin(&mut self, now: Instant) -> io::Result<()> {
        self.begun = now;
        self.received = 0;
        let request = [b'r'; REQUEST];
        if self.stream.write(&request)? != REQUEST {
            return Err(ErrorKind::WriteZero.into());
        }
        Ok(())
    }
}
