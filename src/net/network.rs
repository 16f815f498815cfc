//! The network itself: one `match` per call.

use super::data::{Bytes, Home};
use super::host::Engine;
use super::{
    Builder, ConnectOptions, Data, Datagram, Event, ListenOptions, ListenerId, Reader, Readiness, SocketError,
    SocketOptions, State, TcpId, TcpInfo, Turn, UdpId, UdpOptions, UdpPacket, WatchId,
};
use crate::errors::{self, Error};
use crate::host::{self, Host};
use crate::kernel::{self, Kernel};
use std::fmt;
use std::io::IoSlice;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The network of one thread: our engine over packets, or the kernel's. See the [module](super) for what its events and
/// operations mean.
pub struct Net {
    kind: Kind,
    name: Box<str>,
}

enum Kind {
    Kernel(Box<Kernel>),
    Host(Box<Engine>),
}

/// Does the same with whichever network it is.
macro_rules! each {
    ($me:expr, $net:ident => $what:expr) => {
        match $me {
            Kind::Kernel($net) => $what,
            Kind::Host($net) => $what,
        }
    };
}

/// How long a network that ends waits for peers that are owed nothing. One that ends its stream when we have ended ours
/// would repeat that for minutes if nobody were left to acknowledge it; one that does not has the right to.
const FAREWELL: Duration = Duration::from_secs(1);

/// Wakes a [`Net::poll`] from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Bell);

#[derive(Clone, Debug)]
enum Bell {
    Kernel(kernel::Waker),
    Host(host::Waker),
}

impl Waker {
    /// Ends the poll that is under way, or else the next one. Many calls before that are one. Harmless when the network
    /// is gone.
    pub fn wake(&self) {
        match &self.0 {
            Bell::Kernel(waker) => waker.wake(),
            Bell::Host(waker) => waker.wake(),
        }
    }
}

/// Choosing one, and driving it.
impl Net {
    /// The network that the environment names: `NETHUNS_NET`, as [`Builder::spec`] reads it. Without it, the kernel's.
    ///
    /// # Errors
    ///
    /// If it cannot be read or opened.
    pub fn from_env() -> errors::Result<Self> {
        Builder::from_env()?.build()
    }

    /// The kernel's network.
    ///
    /// # Errors
    ///
    /// If the process has no descriptors left.
    pub fn kernel() -> errors::Result<Self> {
        Ok(Self { kind: Kind::Kernel(Box::new(Kernel::new()?)), name: "kernel".into() })
    }

    /// The engine's network, on a host that has been built already. `name` is what [`name`](Self::name) tells.
    #[must_use]
    pub fn host(name: impl Into<String>, host: Host) -> Self {
        Self { kind: Kind::Host(Box::new(Engine::new(host))), name: name.into().into() }
    }

    /// The host under this network, if it is the engine's: for its statistics and its configuration.
    #[must_use]
    pub fn as_host(&self) -> Option<&Host> {
        match &self.kind {
            Kind::Kernel(_) => None,
            Kind::Host(engine) => Some(&engine.host),
        }
    }

    /// A network that is described piece by piece, and travels to the thread that shall drive it.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Which network it is: `kernel`, or the port spec of the engine's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the kernel's.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        matches!(self.kind, Kind::Kernel(_))
    }

    /// Makes sure that so many sockets may be open: raises the process's limit of open files, or sees that the engine's
    /// own limit suffices.
    ///
    /// # Errors
    ///
    /// If that cannot be had; says what to change.
    pub fn allow_sockets(&self, sockets: usize) -> errors::Result<()> {
        match &self.kind {
            Kind::Kernel(_) => Kernel::allow_sockets(sockets),
            Kind::Host(engine) => match engine.host.config().tcp.max_connections {
                most if most < sockets => Err(Error::BadOption {
                    option: "max_connections",
                    value: most.to_string(),
                    expected: format!("at least {sockets}, as the program wants to have so many sockets"),
                }),
                _ => Ok(()),
            },
        }
    }

    /// Sends what was written since the last call, then waits for something to happen to a socket, for somebody to call
    /// [`Waker::wake`], or for the time to be over: `None` is for ever, zero does not wait. Does not wait while events
    /// are left from before. May return early without a reason.
    ///
    /// # Errors
    ///
    /// If the network itself fails. Nothing that a peer sends makes it.
    #[inline]
    pub fn poll(&mut self, timeout: Option<Duration>) -> errors::Result<Turn> {
        each!(&mut self.kind, net => net.poll(timeout))
    }

    /// The next thing to tell.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        each!(&mut self.kind, net => net.next_event())
    }

    /// Sends what was written, now rather than with the next poll. The kernel has sent it already.
    #[inline]
    pub fn flush(&mut self) {
        match &mut self.kind {
            Kind::Kernel(_) => {}
            Kind::Host(engine) => engine.host.flush(),
        }
    }

    /// Ends a poll from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        match &self.kind {
            Kind::Kernel(kernel) => Waker(Bell::Kernel(kernel.waker())),
            Kind::Host(engine) => Waker(Bell::Host(engine.host.waker())),
        }
    }

    /// What opens received bytes.
    #[must_use]
    pub fn reader(&self) -> Reader {
        match &self.kind {
            Kind::Kernel(kernel) => Reader(Home::Kernel(kernel.buffers())),
            Kind::Host(engine) => Reader(Home::Host(engine.host.reader(), engine.side.buffers.clone())),
        }
    }

    /// Connections that the program has closed and that are not over: they still deliver what it had sent, or wait for the
    /// peer to end its own stream. The kernel goes on with its own when the program ends, and counts none here; the engine's
    /// end with the program: see [`drain`](Self::drain).
    #[must_use]
    pub fn orphans(&self) -> usize {
        match &self.kind {
            Kind::Kernel(_) => 0,
            Kind::Host(engine) => engine.host.orphans(),
        }
    }

    /// Of these, the connections whose peer has not acknowledged everything.
    fn owing(&self) -> usize {
        match &self.kind {
            Kind::Kernel(_) => 0,
            Kind::Host(engine) => engine.host.owing(),
        }
    }

    /// Goes on until closed connections have delivered what they owe, or the time is over. Peers that then end their own
    /// streams within a second find somebody who acknowledges that. Events that come meanwhile can be taken afterwards.
    /// Returns whether everything was delivered.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn drain(&mut self, timeout: Duration) -> errors::Result<bool> {
        let end = Instant::now() + timeout;
        let mut farewell = None;
        self.flush();
        while self.orphans() > 0 {
            let now = Instant::now();
            let until = if self.owing() > 0 { end } else { end.min(*farewell.get_or_insert(now + FAREWELL)) };
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                return Ok(self.owing() == 0);
            }
            // Events that are left would keep poll from waiting; a short sleep of its own then.
            if self.poll(Some(left.min(Duration::from_millis(10))))?.events {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Ok(true)
    }
}

/// Connections and listeners.
impl Net {
    /// Listens. Port 0 is any free one, an unspecified address any of this network's.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](SocketError::AddrInUse), [`AddrNotAvailable`](SocketError::AddrNotAvailable),
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers).
    pub fn tcp_listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId, SocketError> {
        each!(&mut self.kind, net => net.tcp_listen(local, options))
    }

    /// The address listened on.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed); [`InvalidAddress`](SocketError::InvalidAddress) if that is a path.
    pub fn tcp_listener_addr(&self, id: ListenerId) -> Result<SocketAddr, SocketError> {
        each!(&self.kind, net => net.tcp_listener_addr(id))
    }

    /// Takes the next connection that waits.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock), [`NoBuffers`](SocketError::NoBuffers).
    #[inline]
    pub fn tcp_accept(&mut self, id: ListenerId) -> Result<TcpId, SocketError> {
        each!(&mut self.kind, net => net.tcp_accept(id))
    }

    /// Stops listening. Connections that wait are reset.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_unlisten(&mut self, id: ListenerId) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.tcp_unlisten(id))
    }

    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// What is known without the network: [`AddrInUse`](SocketError::AddrInUse),
    /// [`AddrNotAvailable`](SocketError::AddrNotAvailable), [`NoPorts`](SocketError::NoPorts),
    /// [`NetworkUnreachable`](SocketError::NetworkUnreachable), [`NoBuffers`](SocketError::NoBuffers).
    pub fn tcp_connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<TcpId, SocketError> {
        each!(&mut self.kind, net => net.tcp_connect(remote, options))
    }

    /// Gives bytes to be sent, and says how many were taken.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock), [`BrokenPipe`](SocketError::BrokenPipe), or why the connection is over.
    #[inline]
    pub fn tcp_send(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        each!(&mut self.kind, net => net.tcp_send(id, bytes))
    }

    /// As [`tcp_send`](Self::tcp_send), when more is about to be sent: what does not fill a segment may wait for it, for
    /// 200 ms at most, until something is sent without "more" or [flushed](Self::tcp_flush).
    ///
    /// # Errors
    ///
    /// As [`tcp_send`](Self::tcp_send).
    #[inline]
    pub fn tcp_send_more(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        each!(&mut self.kind, net => net.tcp_send_more(id, bytes))
    }

    /// As [`tcp_send`](Self::tcp_send), from several places.
    ///
    /// # Errors
    ///
    /// As [`tcp_send`](Self::tcp_send).
    #[inline]
    pub fn tcp_sendv(&mut self, id: TcpId, parts: &[IoSlice<'_>]) -> Result<usize, SocketError> {
        each!(&mut self.kind, net => net.tcp_sendv(id, parts))
    }

    /// Sends what waits for company; the cork, if there is one, comes off.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_flush(&mut self, id: TcpId) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.tcp_flush(id))
    }

    /// Takes received bytes; `None` is the end of the peer's stream. [`Reader::open`] shows them.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock), or why the connection is over, once everything has been taken that came
    /// before.
    #[inline]
    pub fn tcp_recv(&mut self, id: TcpId) -> Result<Option<Data>, SocketError> {
        match &mut self.kind {
            Kind::Kernel(kernel) => Ok(kernel.tcp_recv(id)?.map(|buffer| Data(Bytes::Kernel(buffer)))),
            Kind::Host(engine) => engine.tcp_recv(id),
        }
    }

    /// Whether nothing is left to be received now, not even the end of the stream; an event tells when there is. It spares a
    /// program the last [`tcp_recv`](Self::tcp_recv), and may be `false` where only that can tell.
    #[inline]
    #[must_use]
    pub fn tcp_drained(&self, id: TcpId) -> bool {
        match &self.kind {
            Kind::Kernel(_) => false,
            Kind::Host(engine) => engine.tcp_drained(id),
        }
    }

    /// Receives into the program's own memory; 0 is the end of the peer's stream (or no room given).
    ///
    /// # Errors
    ///
    /// As [`tcp_recv`](Self::tcp_recv).
    #[inline]
    pub fn tcp_read(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        each!(&mut self.kind, net => net.tcp_read(id, room))
    }

    /// Copies bytes that wait to be received, perhaps not all of them, and leaves them there. 0 is the end of the peer's
    /// stream (or no room given).
    ///
    /// # Errors
    ///
    /// As [`tcp_recv`](Self::tcp_recv).
    pub fn tcp_peek(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        each!(&mut self.kind, net => net.tcp_peek(id, room))
    }

    /// Bytes that wait to be received.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_readable(&self, id: TcpId) -> Result<usize, SocketError> {
        each!(&self.kind, net => net.tcp_readable(id))
    }

    /// Whether received data is told of. `false` lets it wait, and in the end the peer too, as its window closes.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_set_reading(&mut self, id: TcpId, reading: bool) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.tcp_set_reading(id, reading))
    }

    /// Ends the stream to the peer after what was sent (`Write`), stops receiving (`Read`), or both.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed), [`NotConnected`](SocketError::NotConnected).
    pub fn tcp_shutdown(&mut self, id: TcpId, how: Shutdown) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.tcp_shutdown(id, how))
    }

    /// Gives the connection up in order: what was sent is still delivered. The name means nothing any more.
    #[inline]
    pub fn tcp_close(&mut self, id: TcpId) {
        each!(&mut self.kind, net => net.tcp_close(id));
    }

    /// Gives the connection up at once: the peer gets a reset, what was sent and not delivered is lost.
    pub fn tcp_abort(&mut self, id: TcpId) {
        each!(&mut self.kind, net => net.tcp_abort(id));
    }

    /// The options as they are.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_options(&self, id: TcpId) -> Result<SocketOptions, SocketError> {
        each!(&self.kind, net => net.tcp_options(id))
    }

    /// Sets the options. Taking the cork off sends what waits.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_set_options(&mut self, id: TcpId, options: &SocketOptions) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.tcp_set_options(id, options))
    }

    /// Our end.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed); [`InvalidAddress`](SocketError::InvalidAddress) over a unix socket.
    pub fn tcp_local_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        each!(&self.kind, net => net.tcp_local_addr(id))
    }

    /// The peer's end, also after the connection is over. An IPv4 peer has an IPv4 address, whatever the listener's.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed); [`InvalidAddress`](SocketError::InvalidAddress) over a unix socket.
    pub fn tcp_peer_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        each!(&self.kind, net => net.tcp_peer_addr(id))
    }

    /// Why the connection is over, if it is and not in order.
    #[must_use]
    pub fn tcp_error(&self, id: TcpId) -> Option<SocketError> {
        each!(&self.kind, net => net.tcp_error(id))
    }

    /// Where the connection stands.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_state(&self, id: TcpId) -> Result<State, SocketError> {
        each!(&self.kind, net => net.tcp_state(id))
    }

    /// How the connection fares.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, SocketError> {
        each!(&self.kind, net => net.tcp_info(id))
    }

    /// Keeps a word of the program's with the connection.
    #[inline]
    pub fn tcp_set_user(&mut self, id: TcpId, user: u64) {
        each!(&mut self.kind, net => net.tcp_set_user(id, user));
    }

    /// The program's word; 0 before it was set.
    #[inline]
    #[must_use]
    pub fn tcp_user(&self, id: TcpId) -> Option<u64> {
        each!(&self.kind, net => net.tcp_user(id))
    }
}

/// What only the kernel has, on either network: sockets of `unix(7)`, and descriptors that come from elsewhere. On the
/// engine's network these live in the kernel beside it, and the engine waits for both.
impl Net {
    /// Listens on a path; one that begins with a NUL is an abstract name. A socket that lies there is removed first,
    /// whoever made it; ours stays when it is closed. What it accepts are connections like any other, without addresses and
    /// without options.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`](SocketError::InvalidAddress) if the path is empty or too long,
    /// [`AddrInUse`](SocketError::AddrInUse) if something else lies there,
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers), or another error of
    /// `bind(2)`.
    pub fn unix_listen(&mut self, path: &Path, backlog: usize) -> Result<ListenerId, SocketError> {
        each!(&mut self.kind, net => net.unix_listen(path, backlog))
    }

    /// Begins to connect to a path.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`](SocketError::InvalidAddress) if the path is empty or too long,
    /// [`System`](SocketError::System) with `ENOENT` if nothing is there,
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers).
    pub fn unix_connect(&mut self, path: &Path) -> Result<TcpId, SocketError> {
        each!(&mut self.kind, net => net.unix_connect(path))
    }

    /// Takes a connected stream socket of the kernel's over, of TCP or of unix, as a connection like an accepted one. One
    /// that is over already is told to be. The options are TCP's.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`](SocketError::InvalidAddress) if the descriptor is something else, a listener too;
    /// [`NoBuffers`](SocketError::NoBuffers). It is closed then.
    pub fn tcp_adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> Result<TcpId, SocketError> {
        each!(&mut self.kind, net => net.tcp_adopt(fd, options))
    }

    /// The descriptor of a connection, if it has one: none has that the engine made. It stays the connection's.
    #[must_use]
    pub fn tcp_fd(&self, id: TcpId) -> Option<RawFd> {
        each!(&self.kind, net => net.tcp_fd(id))
    }

    /// Gives a connection away, if it has a descriptor: non-blocking, with everything that was not received. The name means
    /// nothing any more then; otherwise nothing happens.
    pub fn tcp_into_fd(&mut self, id: TcpId) -> Option<OwnedFd> {
        each!(&mut self.kind, net => net.tcp_into_fd(id))
    }

    /// Watches a descriptor of the program's own, which the program keeps open meanwhile: for `READABLE`, for `WRITABLE`,
    /// for both or for the time being for neither. It is told of by level: with every [`poll`](Self::poll), as long as it
    /// is so.
    ///
    /// # Errors
    ///
    /// Those of `epoll_ctl(2)`: [`PermissionDenied`](SocketError::PermissionDenied) for a regular file,
    /// [`Closed`](SocketError::Closed) if there is no such descriptor, [`System`](SocketError::System) with `EEXIST` if it
    /// is watched already, [`NoBuffers`](SocketError::NoBuffers).
    pub fn watch(&mut self, fd: RawFd, what: Readiness) -> Result<WatchId, SocketError> {
        each!(&mut self.kind, net => net.watch(fd, what))
    }

    /// Changes what a descriptor is watched for. What is not asked for any more is not told, even if it was so already.
    ///
    /// # Errors
    ///
    /// As [`watch`](Self::watch); [`Closed`](SocketError::Closed) as well if it is not watched.
    pub fn rewatch(&mut self, id: WatchId, what: Readiness) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.rewatch(id, what))
    }

    /// Ends watching. The descriptor stays open.
    pub fn unwatch(&mut self, id: WatchId) {
        each!(&mut self.kind, net => net.unwatch(id));
    }
}

/// Datagrams.
impl Net {
    /// Opens a UDP socket. Port 0 is any free one, an unspecified address any of this network's.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](SocketError::AddrInUse), [`AddrNotAvailable`](SocketError::AddrNotAvailable),
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers).
    pub fn udp_bind(&mut self, local: SocketAddr, options: &UdpOptions) -> Result<UdpId, SocketError> {
        each!(&mut self.kind, net => net.udp_bind(local, options))
    }

    /// Fixes the peer: only its datagrams are received, and datagrams without a destination go there. `None` ends that.
    ///
    /// # Errors
    ///
    /// [`NetworkUnreachable`](SocketError::NetworkUnreachable), [`InvalidAddress`](SocketError::InvalidAddress).
    pub fn udp_connect(&mut self, id: UdpId, remote: Option<SocketAddr>) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.udp_connect(id, remote))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock), [`MessageTooLong`](SocketError::MessageTooLong),
    /// [`InvalidAddress`](SocketError::InvalidAddress), or a word from the network about what was sent before.
    #[inline]
    pub fn udp_send(&mut self, id: UdpId, datagram: &Datagram<'_>) -> Result<(), SocketError> {
        each!(&mut self.kind, net => net.udp_send(id, datagram))
    }

    /// Sends datagrams in order, and says how many were taken. Fewer than all: `WRITABLE` will tell of room, or the next
    /// one has an error of its own that a second call tells.
    ///
    /// # Errors
    ///
    /// As [`udp_send`](Self::udp_send), of the first.
    #[inline]
    pub fn udp_send_batch(&mut self, id: UdpId, datagrams: &[Datagram<'_>]) -> Result<usize, SocketError> {
        each!(&mut self.kind, net => net.udp_send_batch(id, datagrams))
    }

    /// Takes one datagram.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock), or a word from the network about what a connected socket has sent, once.
    #[inline]
    pub fn udp_recv(&mut self, id: UdpId) -> Result<UdpPacket, SocketError> {
        match &mut self.kind {
            Kind::Kernel(kernel) => kernel.udp_recv(id).map(UdpPacket::from),
            Kind::Host(engine) => engine.host.udp_recv(id).map(UdpPacket::from),
        }
    }

    /// Takes up to `most` datagrams, appends them to `out`, and says how many there were.
    ///
    /// # Errors
    ///
    /// As [`udp_recv`](Self::udp_recv).
    #[inline]
    pub fn udp_recv_batch(&mut self, id: UdpId, out: &mut Vec<UdpPacket>, most: usize) -> Result<usize, SocketError> {
        match &mut self.kind {
            Kind::Kernel(kernel) => kernel.udp_recv_each(id, most, |packet| out.push(packet.into())),
            Kind::Host(engine) => engine.udp_recv_each(id, most, |packet| out.push(packet.into())),
        }
    }

    /// The address bound to.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn udp_local_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        each!(&self.kind, net => net.udp_local_addr(id))
    }

    /// Whom the socket is connected to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](SocketError::NotConnected), [`Closed`](SocketError::Closed).
    pub fn udp_peer_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        each!(&self.kind, net => net.udp_peer_addr(id))
    }

    /// Closes the socket; datagrams that wait to be received are lost.
    pub fn udp_close(&mut self, id: UdpId) {
        each!(&mut self.kind, net => net.udp_close(id));
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Net({})", self.name)
    }
}
