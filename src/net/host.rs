//! The engine's network: a [`Host`], and the few things that a program over `net` is promised beyond it.

use super::data::{Bytes, Data};
use super::side::{Side, marked};
use super::{
    ConnectOptions, Datagram, Event, ListenOptions, ListenerId, Readiness, SocketError, SocketOptions, State, TcpId,
    TcpInfo, Turn, UdpId, UdpOptions, WatchId,
};
use crate::errors;
use crate::host::Host;
use crate::stack;
use std::collections::{HashSet, VecDeque};
use std::io::IoSlice;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

/// Leaves an operation to the kernel beside the host, if it is about a socket there.
macro_rules! aside {
    ($engine:ident.$find:ident($id:expr) => $operation:ident($($argument:expr),*)) => {
        if let Some((kernel, key)) = $engine.side.$find($id.0) {
            return kernel.$operation(key.into(), $($argument),*);
        }
    };
}

/// A host under a program.
pub(super) struct Engine {
    pub(super) host: Host,
    /// Unix sockets, and descriptors of the program's own.
    pub(super) side: Side,
    /// Events that are told once more, before those of the host.
    again: VecDeque<Event>,
    /// Listeners whose queue was not seen empty: told of again with every poll.
    eager: Vec<ListenerId>,
    /// Connections whose received data is not told of.
    paused: HashSet<TcpId>,
    /// Connections that are corked until something is sent without "more".
    waiting: HashSet<TcpId>,
    /// Datagrams on their way to the program; empty between two calls.
    packets: Vec<stack::UdpPacket>,
}

impl Engine {
    pub(super) fn new(host: Host) -> Self {
        Self {
            host,
            side: Side::default(),
            again: VecDeque::new(),
            eager: Vec::new(),
            paused: HashSet::new(),
            waiting: HashSet::new(),
            packets: Vec::new(),
        }
    }

    pub(super) fn poll(&mut self, timeout: Option<Duration>) -> errors::Result<Turn> {
        for id in &self.eager {
            let event = Event::Accept(*id);
            if !self.again.contains(&event) {
                self.again.push_back(event);
            }
        }
        let timeout = if self.again.is_empty() { timeout } else { Some(Duration::ZERO) };
        if self.side.kernel(&mut self.host).is_some() {
            return self.poll_both(timeout);
        }
        let turn = self.host.poll(timeout)?;
        Ok(Turn { events: turn.events || !self.again.is_empty(), woken: turn.woken })
    }

    /// Waits for the host and for the kernel beside it.
    fn poll_both(&mut self, timeout: Option<Duration>) -> errors::Result<Turn> {
        let Self { host, side, again, .. } = self;
        let timeout = match side.kernel(host) {
            Some(kernel) => kernel.may_wait(timeout),
            None => timeout,
        };
        let turn = host.poll(timeout)?;
        let mut events = turn.events || !again.is_empty();
        if let Some(kernel) = side.kernel(host) {
            if turn.extra {
                events |= kernel.poll(Some(Duration::ZERO))?.events;
            } else {
                events |= kernel.may_wait(None) == Some(Duration::ZERO);
            }
        }
        Ok(Turn { events, woken: turn.woken })
    }

    #[inline]
    pub(super) fn next_event(&mut self) -> Option<Event> {
        while let Some(event) = self.again.pop_front() {
            let lives = match event {
                Event::Accept(id) => self.host.tcp_listener_addr(id).is_ok(),
                Event::Tcp(id, _) => self.host.tcp_state(id).is_ok(),
                Event::Udp(..) | Event::Watch(..) => true,
            };
            if lives {
                return Some(event);
            }
        }
        // Before the host's, which may never end: of these there is an end with every poll.
        if let Some(event) = self.side.next_event() {
            return Some(event);
        }
        loop {
            match self.host.next_event()? {
                stack::Event::Accept(id) if !self.eager.contains(&id) => {
                    self.eager.push(id);
                    return Some(Event::Accept(id));
                }
                // Told already with this poll.
                stack::Event::Accept(_) => {}
                stack::Event::Tcp(id, what) if !self.paused.is_empty() && self.paused.contains(&id) => {
                    let what = what.without(Readiness::READABLE);
                    if !what.is_empty() {
                        return Some(Event::Tcp(id, what));
                    }
                }
                stack::Event::Tcp(id, what) => return Some(Event::Tcp(id, what)),
                stack::Event::Udp(id, what) => return Some(Event::Udp(id, what)),
            }
        }
    }

    pub(super) fn tcp_listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId, SocketError> {
        self.host.tcp_listen(local, options)
    }

    pub(super) fn tcp_listener_addr(&self, id: ListenerId) -> Result<SocketAddr, SocketError> {
        aside!(self.at(id) => tcp_listener_addr());
        self.host.tcp_listener_addr(id)
    }

    #[inline]
    pub(super) fn tcp_accept(&mut self, id: ListenerId) -> Result<TcpId, SocketError> {
        if let Some((kernel, key)) = self.side.of(id.0) {
            return Ok(TcpId(marked(kernel.tcp_accept(key.into())?.0)));
        }
        let accepted = self.host.tcp_accept(id);
        if accepted.is_err() {
            self.eager.retain(|eager| *eager != id);
        }
        accepted
    }

    pub(super) fn tcp_unlisten(&mut self, id: ListenerId) -> Result<(), SocketError> {
        aside!(self.of(id) => tcp_unlisten());
        self.eager.retain(|eager| *eager != id);
        self.host.tcp_unlisten(id)
    }

    pub(super) fn tcp_connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<TcpId, SocketError> {
        self.host.tcp_connect(remote, options)
    }

    #[inline]
    pub(super) fn tcp_send(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        aside!(self.of(id) => tcp_send(bytes));
        let sent = self.host.tcp_send(id, bytes);
        self.uncork(id);
        sent
    }

    #[inline]
    pub(super) fn tcp_sendv(&mut self, id: TcpId, parts: &[IoSlice<'_>]) -> Result<usize, SocketError> {
        aside!(self.of(id) => tcp_sendv(parts));
        let sent = self.host.tcp_sendv(id, parts);
        self.uncork(id);
        sent
    }

    pub(super) fn tcp_send_more(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        aside!(self.of(id) => tcp_send_more(bytes));
        let options = self.host.tcp_options(id)?;
        if !options.cork {
            self.host.tcp_set_options(id, &SocketOptions { cork: true, ..options })?;
            self.waiting.insert(id);
        }
        self.host.tcp_send(id, bytes)
    }

    pub(super) fn tcp_flush(&mut self, id: TcpId) -> Result<(), SocketError> {
        aside!(self.of(id) => tcp_flush());
        self.waiting.remove(&id);
        let options = self.host.tcp_options(id)?;
        self.host.tcp_set_options(id, &SocketOptions { cork: false, ..options })
    }

    /// What waited for company has got it.
    #[inline]
    fn uncork(&mut self, id: TcpId) {
        if !self.waiting.is_empty() && self.waiting.contains(&id) {
            // A connection that has gone has nothing waiting.
            let _ = self.tcp_flush(id);
        }
    }

    #[inline]
    pub(super) fn tcp_recv(&mut self, id: TcpId) -> Result<Option<Data>, SocketError> {
        if let Some((kernel, key)) = self.side.of(id.0) {
            return Ok(kernel.tcp_recv(key.into())?.map(|buffer| Data(Bytes::Kernel(buffer))));
        }
        Ok(self.host.tcp_recv(id)?.map(|chunk| Data(Bytes::Host(chunk))))
    }

    #[inline]
    pub(super) fn tcp_drained(&self, id: TcpId) -> bool {
        // What is aside has no key among the engine's.
        self.host.tcp_drained(id)
    }

    #[inline]
    pub(super) fn tcp_read(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        aside!(self.of(id) => tcp_read(room));
        self.host.tcp_read(id, room)
    }

    pub(super) fn tcp_peek(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        aside!(self.of(id) => tcp_peek(room));
        let Some(chunk) = self.host.tcp_recv(id)? else { return Ok(0) };
        let reader = self.host.reader();
        let bytes = reader.open(chunk);
        let n = bytes.len().min(room.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.host.tcp_unread(id, bytes.into_chunk());
        Ok(n)
    }

    pub(super) fn tcp_readable(&self, id: TcpId) -> Result<usize, SocketError> {
        aside!(self.at(id) => tcp_readable());
        self.host.tcp_state(id)?;
        Ok(self.host.tcp_readable(id))
    }

    pub(super) fn tcp_set_reading(&mut self, id: TcpId, reading: bool) -> Result<(), SocketError> {
        aside!(self.of(id) => tcp_set_reading(reading));
        let state = self.host.tcp_state(id)?;
        if !reading {
            self.paused.insert(id);
        } else if self.paused.remove(&id) {
            let ended = !matches!(
                state,
                State::SynSent | State::SynReceived | State::Established | State::FinWait1 | State::FinWait2
            );
            if ended || self.host.tcp_readable(id) > 0 {
                self.again.push_back(Event::Tcp(id, Readiness::READABLE));
            }
        }
        Ok(())
    }

    pub(super) fn tcp_shutdown(&mut self, id: TcpId, how: Shutdown) -> Result<(), SocketError> {
        aside!(self.of(id) => tcp_shutdown(how));
        match self.host.tcp_state(id)? {
            State::SynSent | State::SynReceived => Err(SocketError::NotConnected),
            _ => self.host.tcp_shutdown(id, how),
        }
    }

    pub(super) fn tcp_close(&mut self, id: TcpId) {
        aside!(self.of(id) => tcp_close());
        self.uncork(id);
        self.forget(id);
        self.host.tcp_close(id);
    }

    pub(super) fn tcp_abort(&mut self, id: TcpId) {
        aside!(self.of(id) => tcp_abort());
        self.waiting.remove(&id);
        self.forget(id);
        self.host.tcp_abort(id);
    }

    #[inline]
    fn forget(&mut self, id: TcpId) {
        if !self.paused.is_empty() {
            self.paused.remove(&id);
        }
    }

    pub(super) fn tcp_options(&self, id: TcpId) -> Result<SocketOptions, SocketError> {
        aside!(self.at(id) => tcp_options());
        self.host.tcp_options(id)
    }

    pub(super) fn tcp_set_options(&mut self, id: TcpId, options: &SocketOptions) -> Result<(), SocketError> {
        aside!(self.of(id) => tcp_set_options(options));
        self.waiting.remove(&id);
        self.host.tcp_set_options(id, options)
    }

    pub(super) fn tcp_local_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        aside!(self.at(id) => tcp_local_addr());
        self.host.tcp_local_addr(id)
    }

    pub(super) fn tcp_peer_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        aside!(self.at(id) => tcp_peer_addr());
        self.host.tcp_peer_addr(id)
    }

    pub(super) fn tcp_error(&self, id: TcpId) -> Option<SocketError> {
        aside!(self.at(id) => tcp_error());
        self.host.tcp_error(id)
    }

    pub(super) fn tcp_state(&self, id: TcpId) -> Result<State, SocketError> {
        aside!(self.at(id) => tcp_state());
        self.host.tcp_state(id)
    }

    pub(super) fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, SocketError> {
        aside!(self.at(id) => tcp_info());
        self.host.tcp_info(id)
    }

    #[inline]
    pub(super) fn tcp_set_user(&mut self, id: TcpId, user: u64) {
        aside!(self.of(id) => tcp_set_user(user));
        self.host.tcp_set_user(id, user);
    }

    #[inline]
    pub(super) fn tcp_user(&self, id: TcpId) -> Option<u64> {
        aside!(self.at(id) => tcp_user());
        self.host.tcp_user(id)
    }

    pub(super) fn unix_listen(&mut self, path: &Path, backlog: usize) -> Result<ListenerId, SocketError> {
        let id = self.side.open(&mut self.host)?.unix_listen(path, backlog)?;
        Ok(ListenerId(marked(id.0)))
    }

    pub(super) fn unix_connect(&mut self, path: &Path) -> Result<TcpId, SocketError> {
        let id = self.side.open(&mut self.host)?.unix_connect(path)?;
        Ok(TcpId(marked(id.0)))
    }

    pub(super) fn tcp_adopt(&mut self, fd: OwnedFd, options: &SocketOptions) -> Result<TcpId, SocketError> {
        let id = self.side.open(&mut self.host)?.tcp_adopt(fd, options)?;
        Ok(TcpId(marked(id.0)))
    }

    pub(super) fn tcp_fd(&self, id: TcpId) -> Option<RawFd> {
        aside!(self.at(id) => tcp_fd());
        None
    }

    pub(super) fn tcp_into_fd(&mut self, id: TcpId) -> Option<OwnedFd> {
        aside!(self.of(id) => tcp_into_fd());
        None
    }

    pub(super) fn watch(&mut self, fd: RawFd, what: Readiness) -> Result<WatchId, SocketError> {
        let id = self.side.open(&mut self.host)?.watch(fd, what)?;
        Ok(WatchId(marked(id.0)))
    }

    pub(super) fn rewatch(&mut self, id: WatchId, what: Readiness) -> Result<(), SocketError> {
        aside!(self.of(id) => rewatch(what));
        Err(SocketError::Closed)
    }

    pub(super) fn unwatch(&mut self, id: WatchId) {
        aside!(self.of(id) => unwatch());
    }

    pub(super) fn udp_bind(&mut self, local: SocketAddr, options: &UdpOptions) -> Result<UdpId, SocketError> {
        self.host.udp_bind(local, options)
    }

    pub(super) fn udp_connect(&mut self, id: UdpId, remote: Option<SocketAddr>) -> Result<(), SocketError> {
        self.host.udp_connect(id, remote)
    }

    #[inline]
    pub(super) fn udp_send(&mut self, id: UdpId, datagram: &Datagram<'_>) -> Result<(), SocketError> {
        self.host.udp_send(id, datagram)
    }

    #[inline]
    pub(super) fn udp_send_batch(&mut self, id: UdpId, datagrams: &[Datagram<'_>]) -> Result<usize, SocketError> {
        self.host.udp_send_batch(id, datagrams)
    }

    pub(super) fn udp_recv_each(
        &mut self,
        id: UdpId,
        most: usize,
        mut take: impl FnMut(stack::UdpPacket),
    ) -> Result<usize, SocketError> {
        let n = self.host.udp_recv_batch(id, &mut self.packets, most.max(1))?;
        self.packets.drain(..).for_each(&mut take);
        Ok(n)
    }

    pub(super) fn udp_local_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        self.host.udp_local_addr(id)
    }

    pub(super) fn udp_peer_addr(&self, id: UdpId) -> Result<SocketAddr, SocketError> {
        self.host.udp_peer_addr(id)
    }

    pub(super) fn udp_close(&mut self, id: UdpId) {
        self.host.udp_close(id);
    }
}
