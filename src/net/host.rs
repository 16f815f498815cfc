//! The engine's network: a [`Host`], and the few things that a program over `net` is promised beyond it.

use super::{
    ConnectOptions, Datagram, Event, ListenOptions, ListenerId, Readiness, SocketError, SocketOptions, State, TcpId,
    TcpInfo, Turn, UdpId, UdpOptions,
};
use crate::errors;
use crate::host::Host;
use crate::stack;
use std::collections::{HashSet, VecDeque};
use std::io::IoSlice;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// A host under a program.
pub(super) struct Engine {
    pub(super) host: Host,
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
        let turn = self.host.poll(timeout)?;
        Ok(Turn { events: turn.events || !self.again.is_empty(), woken: turn.woken })
    }

    #[inline]
    pub(super) fn next_event(&mut self) -> Option<Event> {
        while let Some(event) = self.again.pop_front() {
            let lives = match event {
                Event::Accept(id) => self.host.tcp_listener_addr(id).is_ok(),
                Event::Tcp(id, _) => self.host.tcp_state(id).is_ok(),
                Event::Udp(..) => true,
            };
            if lives {
                return Some(event);
            }
        }
        loop {
            match self.host.next_event()? {
                Event::Accept(id) if !self.eager.contains(&id) => {
                    self.eager.push(id);
                    return Some(Event::Accept(id));
                }
                // Told already with this poll.
                Event::Accept(_) => {}
                Event::Tcp(id, what) if !self.paused.is_empty() && self.paused.contains(&id) => {
                    let what = what.without(Readiness::READABLE);
                    if !what.is_empty() {
                        return Some(Event::Tcp(id, what));
                    }
                }
                other => return Some(other),
            }
        }
    }

    pub(super) fn tcp_listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId, SocketError> {
        self.host.tcp_listen(local, options)
    }

    pub(super) fn tcp_listener_addr(&self, id: ListenerId) -> Result<SocketAddr, SocketError> {
        self.host.tcp_listener_addr(id)
    }

    #[inline]
    pub(super) fn tcp_accept(&mut self, id: ListenerId) -> Result<TcpId, SocketError> {
        let accepted = self.host.tcp_accept(id);
        if accepted.is_err() {
            self.eager.retain(|eager| *eager != id);
        }
        accepted
    }

    pub(super) fn tcp_unlisten(&mut self, id: ListenerId) -> Result<(), SocketError> {
        self.eager.retain(|eager| *eager != id);
        self.host.tcp_unlisten(id)
    }

    pub(super) fn tcp_connect(&mut self, remote: SocketAddr, options: &ConnectOptions) -> Result<TcpId, SocketError> {
        self.host.tcp_connect(remote, options)
    }

    #[inline]
    pub(super) fn tcp_send(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        let sent = self.host.tcp_send(id, bytes);
        self.uncork(id);
        sent
    }

    #[inline]
    pub(super) fn tcp_sendv(&mut self, id: TcpId, parts: &[IoSlice<'_>]) -> Result<usize, SocketError> {
        let sent = self.host.tcp_sendv(id, parts);
        self.uncork(id);
        sent
    }

    pub(super) fn tcp_send_more(&mut self, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
        let options = self.host.tcp_options(id)?;
        if !options.cork {
            self.host.tcp_set_options(id, &SocketOptions { cork: true, ..options })?;
            self.waiting.insert(id);
        }
        self.host.tcp_send(id, bytes)
    }

    pub(super) fn tcp_flush(&mut self, id: TcpId) -> Result<(), SocketError> {
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
    pub(super) fn tcp_read(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        self.host.tcp_read(id, room)
    }

    pub(super) fn tcp_peek(&mut self, id: TcpId, room: &mut [u8]) -> Result<usize, SocketError> {
        let Some(chunk) = self.host.tcp_recv(id)? else { return Ok(0) };
        let reader = self.host.reader();
        let bytes = reader.open(chunk);
        let n = bytes.len().min(room.len());
        room[..n].copy_from_slice(&bytes[..n]);
        self.host.tcp_unread(id, bytes.into_chunk());
        Ok(n)
    }

    pub(super) fn tcp_readable(&self, id: TcpId) -> Result<usize, SocketError> {
        self.host.tcp_state(id)?;
        Ok(self.host.tcp_readable(id))
    }

    pub(super) fn tcp_set_reading(&mut self, id: TcpId, reading: bool) -> Result<(), SocketError> {
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
        match self.host.tcp_state(id)? {
            State::SynSent | State::SynReceived => Err(SocketError::NotConnected),
            _ => self.host.tcp_shutdown(id, how),
        }
    }

    pub(super) fn tcp_close(&mut self, id: TcpId) {
        self.uncork(id);
        self.forget(id);
        self.host.tcp_close(id);
    }

    pub(super) fn tcp_abort(&mut self, id: TcpId) {
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
        self.host.tcp_options(id)
    }

    pub(super) fn tcp_set_options(&mut self, id: TcpId, options: &SocketOptions) -> Result<(), SocketError> {
        self.waiting.remove(&id);
        self.host.tcp_set_options(id, options)
    }

    pub(super) fn tcp_local_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        self.host.tcp_local_addr(id)
    }

    pub(super) fn tcp_peer_addr(&self, id: TcpId) -> Result<SocketAddr, SocketError> {
        self.host.tcp_peer_addr(id)
    }

    pub(super) fn tcp_error(&self, id: TcpId) -> Option<SocketError> {
        self.host.tcp_error(id)
    }

    pub(super) fn tcp_state(&self, id: TcpId) -> Result<State, SocketError> {
        self.host.tcp_state(id)
    }

    pub(super) fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, SocketError> {
        self.host.tcp_info(id)
    }

    #[inline]
    pub(super) fn tcp_set_user(&mut self, id: TcpId, user: u64) {
        self.host.tcp_set_user(id, user);
    }

    #[inline]
    pub(super) fn tcp_user(&self, id: TcpId) -> Option<u64> {
        self.host.tcp_user(id)
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
