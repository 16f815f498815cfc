//! UDP sockets.

use super::error::{meaning, told};
use super::mmsg::Packet;
use super::{Kernel, Socket, canonical, options, sys};
use crate::stack::{Datagram, Readiness, SocketError, UdpId, UdpOptions};
use mio::Interest;
use mio::unix::SourceFd;
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

/// Ends the connection of a socket. The kernel takes a port that it had chosen itself away with it: it is taken back.
fn forget_peer(udp: &Udp) -> io::Result<()> {
    sys::disconnect(&udp.socket)?;
    let port = udp.socket.local_addr()?.as_socket().map(|address| address.port());
    if port == Some(0) { udp.socket.bind(&udp.local) } else { Ok(()) }
}

/// One socket.
pub(super) struct Udp {
    pub(super) socket: socket2::Socket,
    /// What it was bound to.
    local: SockAddr,
    /// Whether it is of IPv6.
    v6: bool,
    pending: Readiness,
    /// A receive may bring something.
    readable: bool,
    wants_room: bool,
    asked_for_room: bool,
}

impl Udp {
    /// An event of epoll. Returns whether the socket is to be entered among those with something to tell.
    pub(super) fn happened(&mut self, event: &mio::event::Event) -> bool {
        let mut news = Readiness::NONE;
        // An ICMP error of a connected socket is received like a datagram.
        if event.is_readable() || event.is_error() {
            self.readable = true;
            news |= Readiness::READABLE;
        }
        if self.wants_room && event.is_writable() {
            self.wants_room = false;
            news |= Readiness::WRITABLE;
        }
        let first = self.pending.is_empty() && !news.is_empty();
        self.pending |= news;
        first
    }

    pub(super) fn take_told(&mut self) -> Readiness {
        std::mem::take(&mut self.pending)
    }
}

impl Kernel {
    /// Opens a UDP socket. Port 0 is any free one; `[::]` receives of both families.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](SocketError::AddrInUse), [`AddrNotAvailable`](SocketError::AddrNotAvailable),
    /// [`PermissionDenied`](SocketError::PermissionDenied), [`NoBuffers`](SocketError::NoBuffers).
    pub fn udp_bind(&mut self, local: SocketAddr, options: &UdpOptions) -> Result<UdpId, SocketError> {
        let v6 = local.is_ipv6();
        let open = || -> io::Result<socket2::Socket> {
            let kind = Type::DGRAM.nonblocking().cloexec();
            let socket = socket2::Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
            if v6 {
                socket.set_only_v6(false)?;
                sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
                sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            } else {
                sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            }
            // On a socket of IPv6 too: for what reaches it over IPv4.
            sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
            if options.reuse_port {
                socket.set_reuse_port(true)?;
            }
            if options.broadcast {
                socket.set_broadcast(true)?;
            }
            if options.dont_fragment {
                sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
                if v6 {
                    sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
                }
            }
            options::sizes(&socket, options.receive_buffer, options.send_buffer)?;
            socket.bind(&local.into())?;
            Ok(socket)
        };
        let socket = open().map_err(told)?;
        let udp = Udp {
            local: socket.local_addr().map_err(told)?,
            socket,
            v6,
            pending: Readiness::NONE,
            readable: false,
            wants_room: false,
            asked_for_room: false,
        };
        Ok(UdpId(self.enter(Socket::Udp(Box::new(udp)), Interest::READABLE).map_err(told)?))
    }

    /// Fixes the peer: only its datagrams are received, and datagrams without a destination go there. `None` ends that.
    ///
    /// # Errors
    ///
    /// [`NetworkUnreachable`](SocketError::NetworkUnreachable), [`InvalidAddress`](SocketError::InvalidAddress).
    pub fn udp_connect(&mut self, id: UdpId, remote: Option<SocketAddr>) -> Result<(), SocketError> {
        let udp = self.udp_mut(id)?;
        match remote {
            Some(SocketAddr::V4(v4)) if udp.v6 => {
                let mapped = SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0);
                udp.socket.connect(&mapped.into())
            }
            Some(remote) => udp.socket.connect(&remote.into()),
            None => forget_peer(udp),
        }
        .map_err(told)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock) if there is no room ([`WRITABLE`](Readiness::WRITABLE) will tell);
    /// [`MessageTooLong`](SocketError::MessageTooLong); [`InvalidAddress`](SocketError::InvalidAddress) without a
    /// destination or with an address of the other family; a word from the network about what was sent before.
    pub fn udp_send(&mut self, id: UdpId, datagram: &Datagram<'_>) -> Result<(), SocketError> {
        self.udp_send_batch(id, std::slice::from_ref(datagram)).map(|_| ())
    }

    /// Sends datagrams in order, and says how many were taken. Fewer than all: [`WRITABLE`](Readiness::WRITABLE) will
    /// tell of room, or the next one has an error of its own that a second call tells.
    ///
    /// # Errors
    ///
    /// As [`udp_send`](Self::udp_send), of the first.
    pub fn udp_send_batch(&mut self, id: UdpId, datagrams: &[Datagram<'_>]) -> Result<usize, SocketError> {
        let Self { sockets, sender, poll, .. } = self;
        let Some(Socket::Udp(udp)) = sockets.get_mut(id.0) else { return Err(SocketError::Closed) };
        // Up to the first that no socket of this family can send.
        let v6 = udp.v6;
        let fits = |datagram: &&Datagram<'_>| {
            v6 || (datagram.to.is_none_or(|to| to.is_ipv4()) && datagram.from.is_none_or(|from| from.is_ipv4()))
        };
        let good = &datagrams[..datagrams.iter().take_while(fits).count()];
        if good.is_empty() {
            return if datagrams.is_empty() { Ok(0) } else { Err(SocketError::InvalidAddress) };
        }
        let sent = loop {
            match sender.send(&udp.socket, v6, good) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|error| meaning(&error)),
            }
        };
        match sent {
            Ok(n) if n == good.len() => return Ok(n),
            Ok(_) | Err(SocketError::WouldBlock) => {}
            Err(error) => return Err(error),
        }
        udp.wants_room = true;
        if !udp.asked_for_room {
            udp.asked_for_room = true;
            let token = mio::Token(id.0.to_bits() as usize);
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().reregister(&mut SourceFd(&udp.socket.as_raw_fd()), token, both).map_err(told)?;
        }
        sent
    }

    /// Takes one datagram.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock); [`ConnectionRefused`](SocketError::ConnectionRefused) or another word
    /// from the network about what a connected socket has sent, once.
    pub fn udp_recv(&mut self, id: UdpId) -> Result<Packet, SocketError> {
        let mut one = None;
        self.udp_recv_each(id, 1, |packet| one = Some(packet))?;
        one.ok_or(SocketError::WouldBlock)
    }

    /// Takes up to `most` datagrams with one system call, and says how many there were.
    ///
    /// # Errors
    ///
    /// As [`udp_recv`](Self::udp_recv).
    pub fn udp_recv_each(
        &mut self,
        id: UdpId,
        most: usize,
        mut take: impl FnMut(Packet),
    ) -> Result<usize, SocketError> {
        let Self { sockets, receiver, buffers, .. } = self;
        let Some(Socket::Udp(udp)) = sockets.get_mut(id.0) else { return Err(SocketError::Closed) };
        if !udp.readable {
            return Err(SocketError::WouldBlock);
        }
        let most = most.clamp(1, super::mmsg::MOST);
        loop {
            match receiver.receive(&udp.socket, most, buffers, &mut take) {
                Ok(n) => {
                    // A batch that is not full has emptied the queue.
                    udp.readable = n == most;
                    return Ok(n);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        udp.readable = false;
                        return Err(SocketError::WouldBlock);
                    }
                    _ => return Err(meaning(&error)),
                },
            }
        }
    }

    /// The address bound to.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn udp_local_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        let Some(Socket::Udp(udp)) = self.sockets.get(id.0) else { return Err(SocketError::Closed) };
        let address = udp.socket.local_addr().map_err(told)?;
        address.as_socket().map(canonical).ok_or(SocketError::InvalidAddress)
    }

    /// Whom the socket is connected to.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](SocketError::NotConnected), [`Closed`](SocketError::Closed).
    pub fn udp_peer_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        let Some(Socket::Udp(udp)) = self.sockets.get(id.0) else { return Err(SocketError::Closed) };
        let address = udp.socket.peer_addr().map_err(told)?;
        address.as_socket().map(canonical).ok_or(SocketError::NotConnected)
    }

    /// Closes the socket; datagrams that wait to be received are lost.
    pub fn udp_close(&mut self, id: UdpId) {
        if let Some(Socket::Udp(_)) = self.sockets.get(id.0) {
            self.leave(id.0);
        }
    }

    fn udp_mut(&mut self, id: UdpId) -> Result<&mut Udp, SocketError> {
        match self.sockets.get_mut(id.0) {
            Some(Socket::Udp(udp)) => Ok(udp),
            _ => Err(SocketError::Closed),
        }
    }
}
