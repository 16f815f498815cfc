//! Connections.

use super::error::{meaning, told};
use super::{Kernel, Socket, buffer::Buffer, canonical, options, sys};
use crate::stack::{ConnectOptions, Readiness, SocketError, SocketOptions, State, TcpId, TcpInfo};
use mio::Interest;
use mio::unix::SourceFd;
use socket2::{Domain, Protocol, Type};
use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// One connection.
pub(super) struct Tcp {
    pub(super) socket: socket2::Socket,
    /// What has happened and was not told.
    pending: Readiness,
    flags: u16,
    /// Why it is over.
    error: Option<SocketError>,
    /// `None` over a unix socket.
    peer: Option<SocketAddr>,
    user: u64,
}

/// The connection is not established yet.
const CONNECTING: u16 = 1;
/// A receive may bring something: an edge came, and the queue was not seen empty since.
const READABLE: u16 = 1 << 1;
/// epoll has told of the peer's FIN, or of the end of both directions: the end of the stream follows what is queued.
const FIN: u16 = 1 << 2;
/// A receive has brought the end of the stream.
const END: u16 = 1 << 3;
/// A send was cut short: room is news.
const WANTS_ROOM: u16 = 1 << 4;
/// epoll has been asked to tell of room.
const ASKED_FOR_ROOM: u16 = 1 << 5;
/// The program has ended its stream.
const WRITE_SHUT: u16 = 1 << 6;
/// The end of the connection has been told.
const CLOSED: u16 = 1 << 7;
/// The program does not want to hear of received data.
const PAUSED: u16 = 1 << 8;
/// The program reads no more.
const READ_SHUT: u16 = 1 << 9;
/// Over a socket of `unix(7)`: without the options of TCP.
const LOCAL: u16 = 1 << 10;

impl Tcp {
    fn new(socket: socket2::Socket, peer: Option<SocketAddr>, flags: u16) -> Self {
        Self { socket, pending: Readiness::NONE, flags, error: None, peer, user: 0 }
    }

    pub(super) fn accepted(socket: socket2::Socket, peer: Option<SocketAddr>) -> Self {
        Self::new(socket, peer, 0)
    }

    /// A connection over a unix socket, which is there.
    pub(super) fn local(socket: socket2::Socket) -> Self {
        Self::new(socket, None, LOCAL)
    }

    /// A connection over a unix socket that has been asked for.
    pub(super) fn connecting_locally(socket: socket2::Socket) -> Self {
        Self::new(socket, None, LOCAL | CONNECTING | ASKED_FOR_ROOM)
    }

    /// The state of a connection over a unix socket, as TCP would call it.
    fn local_state(&self) -> State {
        match (self.has(WRITE_SHUT), self.has(FIN | END)) {
            _ if self.has(CLOSED) => State::Closed,
            _ if self.has(CONNECTING) => State::SynSent,
            (false, false) => State::Established,
            (true, false) => State::FinWait2,
            (false, true) => State::CloseWait,
            (true, true) => State::Closed,
        }
    }

    #[inline]
    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// An event of epoll. Returns whether the socket is to be entered among those with something to tell.
    #[inline]
    pub(super) fn happened(&mut self, event: &mio::event::Event) -> bool {
        let news = self.news(event);
        let first = self.pending.is_empty() && !news.is_empty();
        self.pending |= news;
        first
    }

    #[inline]
    fn news(&mut self, event: &mio::event::Event) -> Readiness {
        // EPOLLHUP is "both directions are over"; mio tells it as both halves closed.
        if event.is_error() || (event.is_read_closed() && event.is_write_closed()) {
            return self.over();
        }
        let mut news = Readiness::NONE;
        if self.has(CONNECTING) {
            if !event.is_writable() {
                return news;
            }
            self.flags &= !CONNECTING;
            news |= Readiness::CONNECTED | Readiness::WRITABLE;
        } else if self.has(WANTS_ROOM) && event.is_writable() {
            self.flags &= !WANTS_ROOM;
            news |= Readiness::WRITABLE;
        }
        if event.is_readable() && !self.has(END) {
            self.flags |= READABLE;
            if !self.has(PAUSED) {
                news |= Readiness::READABLE;
            }
        }
        if event.is_read_closed() && !self.has(FIN) {
            self.flags |= FIN | READABLE;
            if !self.has(READ_SHUT) {
                news |= Readiness::PEER_CLOSED;
            }
        }
        news
    }

    /// An error, or the end of both directions.
    #[cold]
    fn over(&mut self) -> Readiness {
        if let Ok(Some(error)) = self.socket.take_error() {
            self.error.get_or_insert(meaning(&error));
        }
        if self.has(CLOSED) {
            return Readiness::NONE;
        }
        self.flags |= CLOSED;
        if self.has(CONNECTING) {
            self.flags &= !CONNECTING;
            // epoll says "over" without an error only of a connection that was there.
            self.error.get_or_insert(SocketError::ConnectionRefused);
            return Readiness::CLOSED;
        }
        let mut news = Readiness::CLOSED;
        if self.error.is_none() {
            if !self.has(FIN) && !self.has(READ_SHUT) {
                news |= Readiness::PEER_CLOSED;
            }
            self.flags |= FIN;
            if !self.has(END) {
                self.flags |= READABLE;
                news |= Readiness::READABLE;
            }
        } else if sys::received(&self.socket) > 0 {
            self.flags |= READABLE;
            news |= Readiness::READABLE;
        } else {
            self.flags &= !READABLE;
        }
        if self.has(PAUSED) { news.without(Readiness::READABLE) } else { news }
    }

    /// What was not told, which is told now.
    #[inline]
    pub(super) fn take_told(&mut self) -> Readiness {
        std::mem::take(&mut self.pending)
    }

    /// Receives into `room`; 0 is the end of the stream.
    #[inline]
    fn receive(&mut self, room: &mut [u8]) -> Result<usize, SocketError> {
        if !self.has(READABLE) {
            return self.end();
        }
        loop {
            let error = match (&self.socket).read(room) {
                Ok(0) if room.is_empty() => return Ok(0),
                Ok(0) => {
                    self.flags &= !READABLE;
                    // After a reset the kernel tells the error once, and then the end.
                    if self.error.is_none() {
                        self.flags |= END;
                    }
                    return self.end();
                }
                Ok(n) => {
                    // Over a unix socket a receive also stops behind what came with descriptors or out of band.
                    if n < room.len() && !self.has(FIN | LOCAL) {
                        self.flags &= !READABLE;
                    }
                    return Ok(n);
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    self.flags &= !READABLE;
                    return self.end();
                }
                _ => {
                    self.flags &= !READABLE;
                    self.error.get_or_insert(meaning(&error));
                    return self.end();
                }
            }
        }
    }

    /// What a receive says when nothing is there. If the peer had ended its stream before the connection broke, that is
    /// what a receiver needs to know.
    fn end(&self) -> Result<usize, SocketError> {
        match self.error {
            _ if self.has(END) => Ok(0),
            Some(_) if self.has(FIN) => Ok(0),
            Some(error) => Err(error),
            None => Err(SocketError::WouldBlock),
        }
    }

    /// Whether sending makes sense, and if not, why.
    #[inline]
    fn may_send(&self) -> Result<(), SocketError> {
        if self.has(CONNECTING) {
            Err(SocketError::WouldBlock)
        } else if self.has(WRITE_SHUT) {
            Err(SocketError::BrokenPipe)
        } else {
            self.error.map_or(Ok(()), Err)
        }
    }
}

/// Sends without a signal if the peer is gone, whatever the process does about `SIGPIPE`.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

impl Kernel {
    /// Begins to connect. [`CONNECTED`](Readiness::CONNECTED) tells of success, [`CLOSED`](Readiness::CLOSED) of failure.
    ///
    /// # Errors
    ///
    /// What can be told at once of this end: [`AddrInUse`](SocketError::AddrInUse),
    /// [`AddrNotAvailable`](SocketError::AddrNotAvailable), [`NoPorts`](SocketError::NoPorts),
    /// [`NetworkUnreachable`](SocketError::NetworkUnreachable), [`NoBuffers`](SocketError::NoBuffers).
    pub fn tcp_connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<TcpId, SocketError> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = socket2::Socket::new(Domain::for_address(remote), kind, Some(Protocol::TCP)).map_err(told)?;
        options::apply_new(&socket, &options.socket).map_err(told)?;
        options::sizes(&socket, options.receive_buffer, options.send_buffer).map_err(told)?;
        options::congestion(&socket, options.congestion).map_err(told)?;
        if let Some(local) = options.local {
            if local.port() == 0 {
                // The port is chosen by connect, for this peer: the same one may serve towards another (ip(7)).
                sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1).map_err(told)?;
            } else {
                socket.set_reuse_address(true).map_err(told)?;
            }
            socket.bind(&local.into()).map_err(told)?;
        }
        let failed = match socket.connect(&remote.into()) {
            Ok(()) => None,
            Err(error) => match meaning(&error) {
                SocketError::WouldBlock => None,
                // Over loopback the answer may be there before the call returns; it is told as any other.
                refused @ (SocketError::ConnectionRefused
                | SocketError::ConnectionReset
                | SocketError::HostUnreachable
                | SocketError::TimedOut) => Some(refused),
                SocketError::AddrNotAvailable => return Err(SocketError::NoPorts),
                other => return Err(other),
            },
        };
        let flags = CONNECTING | ASKED_FOR_ROOM;
        self.enter_connecting(Tcp::new(socket, Some(canonical(remote)), flags), failed)
    }

    /// Takes in a connection that has been asked for, and tells if that has failed already.
    pub(super) fn enter_connecting(&mut self, tcp: Tcp, failed: Option<SocketError>) -> Result<TcpId, SocketError> {
        let key = self.enter(Socket::Tcp(tcp), Interest::READABLE | Interest::WRITABLE).map_err(told)?;
        if let (Some(error), Some(Socket::Tcp(tcp))) = (failed, self.sockets.get_mut(key)) {
            tcp.error = Some(error);
            tcp.flags = tcp.flags & LOCAL | CLOSED;
            Self::tell(&mut self.told, key, &mut tcp.pending, Readiness::CLOSED);
        }
        Ok(TcpId(key))
    }

    /// Gives bytes to be sent, and says how many were taken. Fewer than all: [`WRITABLE`](Readiness::WRITABLE) will tell
    /// of room.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock) if there is no room at all, or no connection yet;
    /// [`BrokenPipe`](SocketError::BrokenPipe) after shutdown; the reason if the connection is over.
    #[inline]
    pub fn tcp_send(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        self.send(id, bytes.len(), |socket| socket.send_with_flags(bytes, FLAGS))
    }

    /// As [`tcp_send`](Self::tcp_send), when more is about to be sent: what does not fill a segment waits for it
    /// (`MSG_MORE` of `send(2)`), for 200 ms at most.
    ///
    /// # Errors
    ///
    /// As [`tcp_send`](Self::tcp_send).
    pub fn tcp_send_more(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        self.send(id, bytes.len(), |socket| socket.send_with_flags(bytes, FLAGS | libc::MSG_MORE))
    }

    /// As [`tcp_send`](Self::tcp_send), from several places.
    ///
    /// # Errors
    ///
    /// As [`tcp_send`](Self::tcp_send).
    pub fn tcp_sendv(&mut self, id: TcpId, parts: &[IoSlice<'_>]) -> Result<usize, SocketError> {
        // Beyond UIO_MAXIOV parts the kernel refuses; what it is not shown it has not taken.
        let shown = &parts[..parts.len().min(1024)];
        let len = parts.iter().map(|part| part.len()).sum();
        self.send(id, len, |socket| socket.send_vectored_with_flags(shown, FLAGS))
    }

    #[inline]
    fn send(
        &mut self,
        id: TcpId,
        len: usize,
        mut call: impl FnMut(&socket2::Socket) -> io::Result<usize>,
    ) -> Result<usize, SocketError> {
        let Some(Socket::Tcp(tcp)) = self.sockets.get_mut(id.0) else { return Err(SocketError::Closed) };
        tcp.may_send()?;
        if len == 0 {
            return Ok(0);
        }
        let sent = loop {
            match call(&tcp.socket) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| meaning(&error)),
            }
        };
        match sent {
            Ok(n) if n == len => return Ok(n),
            Ok(_) | Err(SocketError::WouldBlock) => {}
            Err(error) => {
                // EPIPE: the error itself has been told already, or the edge that tells it is on its way.
                if error != SocketError::BrokenPipe {
                    tcp.error.get_or_insert(error);
                }
                return Err(error);
            }
        }
        tcp.flags |= WANTS_ROOM;
        if !tcp.has(ASKED_FOR_ROOM) {
            tcp.flags |= ASKED_FOR_ROOM;
            let token = mio::Token(id.0.to_bits() as usize);
            let both = Interest::READABLE | Interest::WRITABLE;
            let asked = self.poll.registry().reregister(&mut SourceFd(&tcp.socket.as_raw_fd()), token, both);
            asked.map_err(told)?;
        }
        sent
    }

    /// Takes received bytes. `None` is the end of the peer's stream.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock) if nothing is there; the reason once everything has been taken that came before the connection broke.
    #[inline]
    pub fn tcp_recv(&mut self, id: TcpId) -> Result<Option<Buffer>, SocketError> {
        let Some(Socket::Tcp(tcp)) = self.sockets.get_mut(id.0) else { return Err(SocketError::Closed) };
        if !tcp.has(READABLE) {
            return tcp.receive(&mut []).map(|_| None);
        }
        let mut buffer = self.buffers.stream();
        let received = tcp.receive(buffer.room());
        if let Ok(n @ 1..) = received {
            buffer.set_len(n);
            return Ok(Some(buffer));
        }
        self.buffers.give_back(buffer);
        received.map(|_| None)
    }

    /// Receives into the program's own memory; 0 is the end of the peer's stream.
    ///
    /// # Errors
    ///
    /// As [`tcp_recv`](Self::tcp_recv).
    #[inline]
    pub fn tcp_read(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        self.tcp_mut(id)?.receive(room)
    }

    /// Copies bytes that wait to be received, and leaves them there. 0 is the end of the peer's stream.
    ///
    /// # Errors
    ///
    /// As [`tcp_recv`](Self::tcp_recv).
    pub fn tcp_peek(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        let tcp = self.tcp_mut(id)?;
        if !tcp.has(READABLE) {
            return tcp.end();
        }
        match sys::peek(&tcp.socket, room) {
            Ok(n @ 1..) => Ok(n),
            // Whatever else there is to be said a receive says, and does not forget.
            _ => tcp.receive(room),
        }
    }

    /// Bytes that wait to be received.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_readable(&self, id: TcpId) -> Result<usize, SocketError> {
        Ok(sys::received(&self.tcp(id)?.socket))
    }

    /// Whether received data is told of ([`READABLE`](Readiness::READABLE)): `false` lets it wait, and in the end the
    /// peer too, as its window closes.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_set_reading(&mut self, id: TcpId, reading: bool) -> Result<(), SocketError> {
        let Some(Socket::Tcp(tcp)) = self.sockets.get_mut(id.0) else { return Err(SocketError::Closed) };
        if !reading {
            tcp.flags |= PAUSED;
            tcp.pending = tcp.pending.without(Readiness::READABLE);
        } else if tcp.has(PAUSED) {
            tcp.flags &= !PAUSED;
            if tcp.has(READABLE) {
                Self::tell(&mut self.told, id.0, &mut tcp.pending, Readiness::READABLE);
            }
        }
        Ok(())
    }

    /// Ends the stream to the peer after what was sent (`Write`), stops receiving (`Read`), or both.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed); [`NotConnected`](SocketError::NotConnected) before the connection is there and
    /// after it is over.
    pub fn tcp_shutdown(&mut self, id: TcpId, how: Shutdown) -> Result<(), SocketError> {
        let tcp = self.tcp_mut(id)?;
        if tcp.has(CONNECTING) || tcp.has(CLOSED) {
            return Err(SocketError::NotConnected);
        }
        if how != Shutdown::Write {
            tcp.flags |= READ_SHUT;
        }
        if how != Shutdown::Read {
            tcp.flags |= WRITE_SHUT;
        }
        match tcp.socket.shutdown(how) {
            Ok(()) => Ok(()),
            Err(error) => Err(meaning(&error)),
        }
    }

    /// Gives the connection up in order: what was sent is still delivered. If received data was not taken, the peer is
    /// told so by a reset (RFC 1122, 4.2.2.13). The name means nothing any more.
    pub fn tcp_close(&mut self, id: TcpId) {
        if let Some(Socket::Tcp(_)) = self.sockets.get(id.0) {
            self.leave(id.0);
        }
    }

    /// Gives the connection up at once: the peer gets a reset, what was sent and not delivered is lost.
    pub fn tcp_abort(&mut self, id: TcpId) {
        if let Some(Socket::Tcp(tcp)) = self.sockets.get(id.0) {
            // Without it the descriptor would close in order; nothing else can fail here.
            let _ = tcp.socket.set_linger(Some(Duration::ZERO));
            self.leave(id.0);
        }
    }

    /// The options as they are.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_options(&self, id: TcpId) -> Result<SocketOptions, SocketError> {
        let tcp = self.tcp(id)?;
        if tcp.has(LOCAL) {
            return Ok(SocketOptions::default());
        }
        options::read(&tcp.socket).map_err(told)
    }

    /// Sets the options. Taking the cork off sends what waits.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_set_options(&mut self, id: TcpId, options: &SocketOptions) -> Result<(), SocketError> {
        let tcp = self.tcp(id)?;
        if tcp.has(LOCAL) {
            return Ok(());
        }
        options::apply(&tcp.socket, options).map_err(told)
    }

    /// Sends what waits for company ([`tcp_send_more`](Self::tcp_send_more)); the cork, if there is one, comes off.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_flush(&mut self, id: TcpId) -> Result<(), SocketError> {
        let tcp = self.tcp(id)?;
        if tcp.has(LOCAL) {
            return Ok(());
        }
        tcp.socket.set_tcp_cork(false).map_err(told)
    }

    /// Our end.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed); [`InvalidAddress`](SocketError::InvalidAddress) over a unix socket.
    pub fn tcp_local_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        let address = self.tcp(id)?.socket.local_addr().map_err(told)?;
        address.as_socket().map(canonical).ok_or(SocketError::InvalidAddress)
    }

    /// The peer's end, also after the connection is over.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed); [`InvalidAddress`](SocketError::InvalidAddress) over a unix socket.
    pub fn tcp_peer_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        self.tcp(id)?.peer.ok_or(SocketError::InvalidAddress)
    }

    /// Why the connection is over, if it is and not in order.
    #[must_use]
    pub fn tcp_error(&self, id: TcpId) -> Option<SocketError> {
        self.tcp(id).ok()?.error
    }

    /// Where the connection stands.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_state(&self, id: TcpId) -> Result<State, SocketError> {
        let tcp = self.tcp(id)?;
        if tcp.has(LOCAL) {
            return Ok(tcp.local_state());
        }
        Ok(self.tcp_info(id)?.state)
    }

    /// How the connection fares (`TCP_INFO`).
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, SocketError> {
        options::info(&self.tcp(id)?.socket).map_err(told)
    }

    /// Keeps a word of the program's with the connection.
    pub fn tcp_set_user(&mut self, id: TcpId, user: u64) {
        if let Ok(tcp) = self.tcp_mut(id) {
            tcp.user = user;
        }
    }

    /// The program's word; 0 before it was set.
    #[inline]
    #[must_use]
    pub fn tcp_user(&self, id: TcpId) -> Option<u64> {
        Some(self.tcp(id).ok()?.user)
    }

    #[inline]
    fn tcp(&self, id: TcpId) -> Result<&Tcp, SocketError> {
        match self.sockets.get(id.0) {
            Some(Socket::Tcp(tcp)) => Ok(tcp),
            _ => Err(SocketError::Closed),
        }
    }

    #[inline]
    fn tcp_mut(&mut self, id: TcpId) -> Result<&mut Tcp, SocketError> {
        match self.sockets.get_mut(id.0) {
            Some(Socket::Tcp(tcp)) => Ok(tcp),
            _ => Err(SocketError::Closed),
        }
    }
}
