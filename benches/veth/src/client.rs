//! The load: many connections of one thread, on the kernel's network, as lean as it goes with one system call for sending
//! and one for receiving.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// A request, and how many bytes answer it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub request: &'static [u8],
    pub answer: usize,
}

impl Exchange {
    /// 64 bytes that come back.
    pub const ECHO: Self = Self { request: &[b'r'; 64], answer: 64 };
}

/// How bytes travel on a connection of the load.
pub trait Transport {
    /// Sends all of this.
    ///
    /// # Errors
    ///
    /// If it does not go at once, or the connection is broken.
    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()>;

    /// Takes everything that has come, and says how many bytes it was.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnexpectedEof`] at the end of the stream, [`ErrorKind::WouldBlock`] if nothing was there, or why the
    /// connection is broken.
    fn receive(&mut self, stream: &mut TcpStream) -> io::Result<usize>;
}

/// As they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

/// Bytes that one call receives: more than an answer has, so that after it nothing is left.
const ROOM: usize = 256;

impl Transport for Plain {
    #[inline]
    fn send(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        if stream.write(bytes)? != bytes.len() {
            return Err(ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        match stream.read(&mut [0; ROOM])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }
}

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

#[derive(Debug)]
struct Connection<T> {
    stream: TcpStream,
    transport: T,
    begun: Instant,
    received: usize,
    /// It has been counted: as connected, or as over. An edge may come more than once.
    counted: bool,
}

/// Many connections to a server.
#[derive(Debug)]
pub struct Client<T = Plain> {
    poll: Poll,
    events: Events,
    connections: Vec<Connection<T>>,
    /// Does not sleep while it waits.
    spins: bool,
}

impl Client {
    /// Opens so many connections. `spins`: the load does not sleep while it waits for answers.
    ///
    /// # Errors
    ///
    /// If one of them cannot be opened.
    pub fn connect(server: SocketAddr, count: usize, spins: bool) -> io::Result<Self> {
        Self::connect_with(server, count, spins, || Plain)
    }
}

impl<T: Transport> Client<T> {
    /// As [`Client::connect`], each connection with a transport of its own.
    ///
    /// # Errors
    ///
    /// If one of them cannot be opened.
    pub fn connect_with(
        server: SocketAddr,
        count: usize,
        spins: bool,
        mut transport: impl FnMut() -> T,
    ) -> io::Result<Self> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1024));
        let mut client = Self { poll, events, connections: Vec::with_capacity(count), spins: false };
        let (begun, mut there) = (Instant::now(), 0);
        while there < count {
            while client.connections.len() < count && client.connections.len() - there < CONNECTING {
                client.add(server, transport())?;
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

    fn add(&mut self, server: SocketAddr, transport: T) -> io::Result<()> {
        let mut stream = begin_to_connect(server)?;
        self.poll.registry().register(&mut stream, Token(self.connections.len()), Interest::WRITABLE)?;
        self.connections.push(Connection { stream, transport, begun: Instant::now(), received: 0, counted: false });
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
    ///
    /// # Errors
    ///
    /// If the server does not answer, or not what it should.
    pub fn requests(&mut self, exchange: Exchange, duration: Duration) -> io::Result<Outcome> {
        let mut outcome = Outcome { latencies: Vec::with_capacity(1 << 20), ..Outcome::default() };
        let start = Instant::now();
        let end = start + duration;
        for connection in &mut self.connections {
            connection.begin(exchange, start)?;
        }
        let mut flight = self.connections.len();
        // The last answers are waited for, and do not count.
        while flight > 0 {
            self.wait(end + PATIENCE)?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                match connection.transport.receive(&mut connection.stream) {
                    Ok(n) => connection.received += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
                if connection.received < exchange.answer {
                    continue;
                }
                if connection.received > exchange.answer {
                    return Err(io::Error::other("an answer is longer than it should be"));
                }
                let now = Instant::now();
                if now >= end {
                    flight -= 1;
                    continue;
                }
                outcome.latencies.push(now.duration_since(connection.begun).as_nanos() as u32);
                connection.begin(exchange, now)?;
            }
        }
        outcome.done = outcome.latencies.len() as u64;
        outcome.wall = duration;
        Ok(outcome)
    }
}

impl Client {
    /// Connections that live for one request each, `at_once` of them, for that long. The server ends them.
    ///
    /// # Errors
    ///
    /// If the server does not answer, or not what it should.
    pub fn opens(server: SocketAddr, exchange: Exchange, at_once: usize, duration: Duration) -> io::Result<Outcome> {
        let (poll, events) = (Poll::new()?, Events::with_capacity(1024));
        let mut client = Self { poll, events, connections: Vec::with_capacity(at_once), spins: false };
        let start = Instant::now();
        let end = start + duration;
        for _ in 0..at_once {
            client.add(server, Plain)?;
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
                    connection.begin(exchange, Instant::now())?;
                }
                if !event.is_readable() {
                    continue;
                }
                // The answer, then the end of the stream.
                let over = loop {
                    match connection.stream.read(&mut [0; ROOM]) {
                        Ok(0) => break true,
                        Ok(n) => connection.received += n,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                        Err(error) => return Err(error),
                    }
                };
                if !over {
                    continue;
                }
                if connection.received != exchange.answer {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                if Instant::now() >= end {
                    flight -= usize::from(!std::mem::replace(&mut connection.counted, true));
                    continue;
                }
                outcome.done += 1;
                let mut stream = begin_to_connect(server)?;
                registry.register(&mut stream, event.token(), Interest::WRITABLE)?;
                *connection =
                    Connection { stream, transport: Plain, begun: Instant::now(), received: 0, counted: false };
            }
        }
        outcome.wall = duration;
        Ok(outcome)
    }

    /// Sends as much as goes, for that long. What counts is what has been acknowledged.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
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
    ///
    /// # Errors
    ///
    /// If the connection ends.
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

impl<T> Drop for Client<T> {
    /// Resets the connections: the ports of ten thousand that were closed in order would be missing for a minute.
    fn drop(&mut self) {
        for connection in &self.connections {
            let _ = SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl<T: Transport> Connection<T> {
    /// Sends a request.
    #[inline]
    fn begin(&mut self, exchange: Exchange, now: Instant) -> io::Result<()> {
        self.begun = now;
        self.received = 0;
        self.transport.send(&mut self.stream, exchange.request)
    }
}
