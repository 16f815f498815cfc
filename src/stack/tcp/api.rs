//! What programs call.

use super::listen::Listener;
use super::options::{ConnectOptions, ListenOptions, SocketOptions, State, TcpInfo};
use super::recovery::Phase;
use super::table::{Flow, FlowKey};
use super::tcb::{Flags, Tcb, Wish};
use super::{Tcp, cx, path_mss};
use crate::stack::buffers::Buffers;
use crate::stack::chunk::Chunk;
use crate::stack::ip::Ip;
use crate::stack::{Instant, ListenerId, Readiness, SocketError, Stack, TcpId};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};

type Result<T> = std::result::Result<T, SocketError>;

/// TCP. A handle that names no socket any more is answered by [`SocketError::Closed`].
impl Stack {
    /// Listens on an address and port. An unspecified address stands for all (the IPv6 one for both kinds); port 0 lets
    /// the engine choose.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](SocketError::AddrInUse), [`AddrNotAvailable`](SocketError::AddrNotAvailable),
    /// [`NoPorts`](SocketError::NoPorts), [`NoBuffers`](SocketError::NoBuffers).
    pub fn tcp_listen(&mut self, local: SocketAddr, options: &ListenOptions) -> Result<ListenerId> {
        self.tcp.listen(local, options, &self.ip)
    }

    /// The address and port of a listener.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_listener_addr(&self, id: ListenerId) -> Result<SocketAddr> {
        self.tcp.listeners.get(id.0).map(|listener| listener.local).ok_or(SocketError::Closed)
    }

    /// Takes a connection out of a listener's accept queue. What has happened to it before is told by an event after this.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock) if none waits; [`Closed`](SocketError::Closed).
    pub fn tcp_accept(&mut self, now: Instant, id: ListenerId) -> Result<TcpId> {
        self.tcp.accept(now, id, &mut self.buffers)
    }

    /// Ends a listener. Connections that nobody has accepted are reset.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_unlisten(&mut self, now: Instant, id: ListenerId) -> Result<()> {
        let listener = self.tcp.remove_listener(id.0).ok_or(SocketError::Closed)?;
        for index in listener.queue {
            self.tcp.give_up(index);
            self.tcp.abort(index, now, &mut self.buffers);
        }
        Ok(())
    }

    /// Opens a connection. An event tells when it is [`CONNECTED`](Readiness::CONNECTED), or
    /// [`CLOSED`](Readiness::CLOSED) if that fails. An unspecified remote address stands for this host itself.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`](SocketError::InvalidAddress), [`NetworkUnreachable`](SocketError::NetworkUnreachable),
    /// [`AddrNotAvailable`](SocketError::AddrNotAvailable), [`AddrInUse`](SocketError::AddrInUse),
    /// [`NoPorts`](SocketError::NoPorts), [`NoBuffers`](SocketError::NoBuffers).
    pub fn tcp_connect(&mut self, now: Instant, remote: SocketAddr, options: &ConnectOptions) -> Result<TcpId> {
        self.tcp.connect(now, remote, options, &mut self.ip, &mut self.buffers)
    }

    /// Takes as many of the bytes as there is room for and returns how many; if not all, [`WRITABLE`](Readiness::WRITABLE)
    /// tells when there is room again.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock) if there is no room or the connection is not established yet;
    /// [`BrokenPipe`](SocketError::BrokenPipe) after a shutdown; the reason for which the connection is over;
    /// [`NoBuffers`](SocketError::NoBuffers).
    #[inline]
    pub fn tcp_send(&mut self, now: Instant, id: TcpId, bytes: &[u8]) -> Result<usize> {
        self.tcp.send(now, id, std::iter::once(bytes), &mut self.buffers)
    }

    /// [`tcp_send`](Self::tcp_send) of several pieces in a row.
    ///
    /// # Errors
    ///
    /// As [`tcp_send`](Self::tcp_send).
    pub fn tcp_sendv(&mut self, now: Instant, id: TcpId, parts: &[IoSlice<'_>]) -> Result<usize> {
        self.tcp.send(now, id, parts.iter().map(|part| &**part), &mut self.buffers)
    }

    /// How many bytes [`tcp_send`](Self::tcp_send) would take now.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_send_room(&self, id: TcpId) -> Result<usize> {
        let tcb = self.tcp.conn(id)?;
        Ok(if tcb.may_send() { (tcb.snd_limit as usize).saturating_sub(tcb.tx.len()) } else { 0 })
    }

    /// Takes the next received bytes, without a copy: [`Chunk::open`] shows them. `None` is the end of the peer's stream.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](SocketError::WouldBlock); once everything has been taken, the reason for which the connection is
    /// over.
    #[inline]
    pub fn tcp_recv(&mut self, now: Instant, id: TcpId) -> Result<Option<Chunk>> {
        let tcb = self.tcp.conns.get_mut(id.0).ok_or(SocketError::Closed)?;
        if tcb.rx.readable() == 0 {
            return tcb.nothing_to_read();
        }
        Ok(tcb.take(id.0.index, &mut cx!(self.tcp, now, &mut self.buffers)))
    }

    /// Puts back what is left of the chunk that [`tcp_recv`](Self::tcp_recv) gave last.
    pub fn tcp_unread(&mut self, id: TcpId, chunk: Chunk) {
        if let Some(tcb) = self.tcp.conns.get_mut(id.0)
            && !chunk.is_empty()
        {
            tcb.rx.unread(&mut self.buffers, chunk);
        }
    }

    /// Whether nothing is left to be received now, not even the end of the stream: an event tells when there is.
    #[inline]
    #[must_use]
    pub fn tcp_drained(&self, id: TcpId) -> bool {
        self.tcp.conns.get(id.0).is_some_and(|tcb| {
            tcb.rx.readable() == 0
                && !tcb.flags.any(Flags::FIN_RECEIVED.or(Flags::READ_SHUT))
                && !matches!(tcb.state, State::Closed | State::TimeWait)
        })
    }

    /// Bytes that wait to be received.
    #[must_use]
    pub fn tcp_readable(&self, id: TcpId) -> usize {
        self.tcp.conns.get(id.0).map_or(0, |tcb| tcb.rx.readable())
    }

    /// Ends our stream after what has been accepted (`Write`), or gives up reading: what comes from then on is acknowledged
    /// and thrown away (`Read`).
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed), [`NotConnected`](SocketError::NotConnected).
    pub fn tcp_shutdown(&mut self, now: Instant, id: TcpId, how: Shutdown) -> Result<()> {
        let tcb = self.tcp.conns.get_mut(id.0).ok_or(SocketError::Closed)?;
        if matches!(tcb.state, State::Closed | State::TimeWait) {
            return Err(SocketError::NotConnected);
        }
        let index = id.0.index;
        let cx = &mut cx!(self.tcp, now, &mut self.buffers);
        if matches!(how, Shutdown::Read | Shutdown::Both) && !tcb.flags.has(Flags::READ_SHUT) {
            tcb.flags.set(Flags::READ_SHUT);
            tcb.tell(index, Readiness::READABLE, cx);
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            tcb.end_stream(index, cx);
        }
        Ok(())
    }

    /// Gives the handle up. What was accepted is still delivered, and then the connection ends in order; but if something
    /// received has not been read, the peer gets a reset (RFC 9293, 3.6.1; RFC 2525, 2.17). Does nothing if the handle
    /// names no connection.
    pub fn tcp_close(&mut self, now: Instant, id: TcpId) {
        self.tcp.close(now, id, &mut self.buffers);
    }

    /// Gives the handle up and resets the connection: nothing more is delivered.
    pub fn tcp_abort(&mut self, now: Instant, id: TcpId) {
        if self.tcp.conns.get(id.0).is_some() {
            self.tcp.give_up(id.0.index);
            self.tcp.abort(id.0.index, now, &mut self.buffers);
        }
    }

    /// The options of a connection.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_options(&self, id: TcpId) -> Result<SocketOptions> {
        self.tcp.conn(id).map(Tcb::options)
    }

    /// Sets the options of a connection.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_set_options(&mut self, now: Instant, id: TcpId, options: &SocketOptions) -> Result<()> {
        let tcb = self.tcp.conns.get_mut(id.0).ok_or(SocketError::Closed)?;
        let before = tcb.options();
        let pushes = before.cork && !options.cork || options.nodelay && !before.nodelay;
        tcb.set_options(options);
        tcb.kept_alive = 0;
        if matches!(tcb.state, State::Closed | State::TimeWait) {
            return Ok(());
        }
        let cx = &mut cx!(self.tcp, now, &mut self.buffers);
        if pushes && tcb.unsent() > 0 {
            tcb.flags.set(Flags::PUSH);
        }
        // Its egress also looks at the timers.
        tcb.enqueue(id.0.index, cx);
        Ok(())
    }

    /// Our address and port of a connection.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_local_addr(&self, id: TcpId) -> Result<SocketAddr> {
        self.tcp.conn(id).map(|tcb| tcb.key.local())
    }

    /// The peer's address and port.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_peer_addr(&self, id: TcpId) -> Result<SocketAddr> {
        self.tcp.conn(id).map(|tcb| tcb.key.remote())
    }

    /// Why a connection is over; `None` while it is not, and if it ended in order.
    #[must_use]
    pub fn tcp_error(&self, id: TcpId) -> Option<SocketError> {
        self.tcp.conns.get(id.0).and_then(|tcb| tcb.error)
    }

    /// The state of a connection.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_state(&self, id: TcpId) -> Result<State> {
        self.tcp.conn(id).map(|tcb| tcb.state)
    }

    /// Everything that is known of a connection.
    ///
    /// # Errors
    ///
    /// [`Closed`](SocketError::Closed).
    pub fn tcp_info(&self, id: TcpId) -> Result<TcpInfo> {
        self.tcp.conn(id).map(Tcb::info)
    }

    /// Keeps a word of the program's with the connection.
    pub fn tcp_set_user(&mut self, id: TcpId, user: u64) {
        if let Some(tcb) = self.tcp.conns.get_mut(id.0) {
            tcb.user = user;
        }
    }

    /// The word that [`tcp_set_user`](Self::tcp_set_user) keeps; 0 before.
    #[must_use]
    pub fn tcp_user(&self, id: TcpId) -> Option<u64> {
        self.tcp.conns.get(id.0).map(|tcb| tcb.user)
    }

    /// The listener that a connection came by; `None` if we opened it.
    #[must_use]
    pub fn tcp_listener_of(&self, id: TcpId) -> Option<ListenerId> {
        self.tcp.conns.get(id.0).and_then(|tcb| tcb.listener)
    }

    /// Connections that the program has closed and that are still delivering.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.tcp.orphans
    }

    /// Those of the [`orphans`](Self::orphans) whose peer has not acknowledged everything: bytes, or the end of the stream.
    /// The others only wait for the peer to end its own.
    #[must_use]
    pub fn owing(&self) -> usize {
        self.tcp.shared.owing
    }
}

impl Tcp {
    fn conn(&self, id: TcpId) -> Result<&Tcb> {
        self.conns.get(id.0).ok_or(SocketError::Closed)
    }

    /// Whether there is a listener for segments of this flow.
    pub(super) fn listens(&self, key: &FlowKey) -> bool {
        self.listening
            .on(key.local_port())
            .iter()
            .any(|(address, _)| address.ip() == key.local_ip() || address.ip().is_unspecified())
    }

    fn listen(&mut self, mut local: SocketAddr, options: &ListenOptions, ip: &Ip) -> Result<ListenerId> {
        if !local.ip().is_unspecified() && !ip.is_local(local.ip()) {
            return Err(SocketError::AddrNotAvailable);
        }
        let (listening, listeners) = (&self.listening, &self.listeners);
        let taken = |port: u16| {
            listening.on(port).iter().any(|(address, key)| {
                let shared = options.reuse_port && listeners.get(*key).is_some_and(|l| l.options.reuse_port);
                let apart =
                    !address.ip().is_unspecified() && !local.ip().is_unspecified() && address.ip() != local.ip();
                !shared && !apart
            })
        };
        if local.port() == 0 {
            let range = self.shared.config.ephemeral_ports;
            local.set_port(self.ports.choose_any(range, taken).ok_or(SocketError::NoPorts)?);
        } else if taken(local.port()) {
            return Err(SocketError::AddrInUse);
        }
        let listener = Listener { local, options: *options, queue: VecDeque::new(), told: false };
        let key = self.listeners.insert(listener).map_err(|_| SocketError::NoBuffers)?;
        self.listening.insert(local, key);
        Ok(ListenerId(key))
    }

    fn accept(&mut self, now: Instant, id: ListenerId, buffers: &mut Buffers) -> Result<TcpId> {
        let listener = self.listeners.get_mut(id.0).ok_or(SocketError::Closed)?;
        let index = listener.queue.pop_front().ok_or(SocketError::WouldBlock)?;
        if !listener.queue.is_empty() && !listener.told {
            listener.told = true;
            self.shared.events.accept(id.0);
        }
        let key = self.conns.key_of(index).ok_or(SocketError::WouldBlock)?;
        let tcb = self.conns.at_mut(index).ok_or(SocketError::WouldBlock)?;
        tcb.flags.clear(Flags::EMBRYO);
        // Accepting says that it is connected and may be written to.
        let ready = tcb.ready.without(Readiness::CONNECTED | Readiness::WRITABLE);
        tcb.ready = ready;
        if !ready.is_empty() {
            tcb.tell(index, ready, &mut cx!(self, now, buffers));
        }
        Ok(TcpId(key))
    }

    fn connect(
        &mut self,
        now: Instant,
        mut remote: SocketAddr,
        options: &ConnectOptions,
        ip: &mut Ip,
        buffers: &mut Buffers,
    ) -> Result<TcpId> {
        if remote.port() == 0 {
            return Err(SocketError::InvalidAddress);
        }
        if remote.ip().is_unspecified() {
            remote.set_ip(match remote {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        let wished = options.local.filter(|local| !local.ip().is_unspecified());
        let source = match wished {
            Some(local) if !ip.is_local(local.ip()) => return Err(SocketError::AddrNotAvailable),
            Some(local) => local.ip(),
            None => ip.source_for(remote.ip())?,
        };
        let path = ip.path(now, source, remote.ip())?;
        if path.is_broadcast() {
            return Err(SocketError::NetworkUnreachable);
        }
        if self.conns.is_full() {
            return Err(SocketError::NoBuffers);
        }
        let key = |port| FlowKey::from_ips(source, port, remote.ip(), remote.port());
        let (table, conns, half_open, time_wait) = (&self.table, &self.conns, &self.half_open, &self.time_wait);
        let flow_of = |port| {
            let key = key(port);
            table.find(table.hash(&key), |flow| match flow {
                Flow::Connection(index) => conns.at(index).is_some_and(|tcb| tcb.key == key),
                Flow::HalfOpen(index) => half_open.get(index).is_some_and(|request| request.key == key),
                Flow::TimeWait(index) => time_wait.get(index).is_some_and(|record| record.key == key),
            })
        };
        let port = match options.local.map_or(0, |local| local.port()) {
            0 => {
                let range = self.shared.config.ephemeral_ports;
                // Towards an own address, a connection from the very port it goes to would be one with itself.
                let itself = |port| port == remote.port() && source == remote.ip();
                let taken = |port| itself(port) || flow_of(port).is_some();
                let free = self.ports.choose(range, source, remote, taken);
                // If none is free, one whose connection is over may be: its timestamps tell old segments from new ones.
                free.or_else(|| {
                    self.ports.choose(range, source, remote, |port| match flow_of(port) {
                        None => itself(port),
                        Some(Flow::TimeWait(index)) => !time_wait.get(index).is_some_and(|record| record.timestamps),
                        Some(_) => true,
                    })
                })
                .ok_or(SocketError::NoPorts)?
            }
            port => port,
        };
        let late = match flow_of(port) {
            None => None,
            Some(Flow::TimeWait(index)) => Some(index),
            Some(_) => return Err(SocketError::AddrInUse),
        };
        let key = key(port);
        let mut iss = self.isn.initial(now, &key);
        if let Some(index) = late {
            // RFC 9293, 3.4.3: beyond everything that the connection before it has sent.
            if let Some(record) = self.time_wait.get(index) {
                iss = iss.max(record.snd_nxt + REUSE_GAP);
            }
            self.forget_time_wait(index, &key);
        }
        let ConnectOptions { socket, send_buffer, receive_buffer, congestion, .. } = *options;
        let wish = Wish { socket, send_buffer, receive_buffer, congestion };
        let path_mss = path_mss(ip.path_mtu(remote.ip()), remote.ip());
        let ts_offset = self.isn.timestamp_offset(&key);
        let hash = self.table.hash(&key);
        let mut cx = cx!(self, now, buffers);
        let mut tcb = Tcb::new(key, iss, path, path_mss, &wish, &cx);
        tcb.ts_offset = ts_offset;
        tcb.flags.set(Flags::SYN_DUE.or(Flags::IN_TABLE));
        let id = self.conns.insert(tcb).map_err(|_| SocketError::NoBuffers)?;
        self.table.insert(hash, Flow::Connection(id.index));
        cx.shared.stats.active_opens += 1;
        if let Some(tcb) = self.conns.at_mut(id.index) {
            tcb.enqueue(id.index, &mut cx);
        }
        Ok(TcpId(id))
    }

    fn send<'a>(
        &mut self,
        now: Instant,
        id: TcpId,
        parts: impl Iterator<Item = &'a [u8]>,
        buffers: &mut Buffers,
    ) -> Result<usize> {
        let tcb = self.conns.get_mut(id.0).ok_or(SocketError::Closed)?;
        if !tcb.may_send() {
            return Err(match (tcb.error, tcb.state) {
                (Some(error), _) => error,
                (None, State::SynSent | State::SynReceived) if !tcb.flags.has(Flags::FIN) => {
                    tcb.flags.set(Flags::WANTS_ROOM);
                    SocketError::WouldBlock
                }
                _ => SocketError::BrokenPipe,
            });
        }
        if tcb.unacked() == 0 {
            tcb.unacked_since = now;
        }
        let (mut sent, mut short) = (0, false);
        for bytes in parts {
            let room = (tcb.snd_limit as usize).saturating_sub(tcb.tx.len());
            let wanted = bytes.len().min(room);
            let n = tcb.tx.write(buffers, &bytes[..wanted]);
            sent += n;
            if n < bytes.len() {
                short = true;
                break;
            }
        }
        if short {
            tcb.flags.set(Flags::WANTS_ROOM);
            if sent == 0 {
                // With nothing on its way no acknowledgement will ever bring room.
                return Err(if tcb.tx.is_empty() { SocketError::NoBuffers } else { SocketError::WouldBlock });
            }
        }
        if sent > 0 {
            tcb.enqueue(id.0.index, &mut cx!(self, now, buffers));
        }
        Ok(sent)
    }

    /// The program lets go of a connection.
    fn give_up(&mut self, index: u32) {
        if let Some(tcb) = self.conns.at_mut(index)
            && !tcb.flags.has(Flags::ORPHAN)
        {
            tcb.flags.set(Flags::ORPHAN);
            tcb.flags.clear(Flags::EMBRYO.or(Flags::TOLD));
            self.orphans += 1;
            if tcb.state != State::FinWait2 {
                tcb.flags.set(Flags::OWES);
                self.shared.owing += 1;
            }
            self.conns.renew(index);
        }
    }

    fn close(&mut self, now: Instant, id: TcpId, buffers: &mut Buffers) {
        let index = id.0.index;
        let Some(tcb) = self.conns.get(id.0) else { return };
        let (state, unread) = (tcb.state, tcb.rx.readable() > 0);
        self.give_up(index);
        let Some(tcb) = self.conns.at_mut(index) else { return };
        match state {
            State::Closed | State::TimeWait => {
                // A reset that is still owed is sent first.
                if !tcb.flags.has(Flags::ABORT) {
                    self.finish(index, now, buffers);
                }
            }
            State::SynSent => self.abort(index, now, buffers),
            _ if unread => self.abort(index, now, buffers),
            _ => {
                tcb.rx.clear(buffers);
                let mut cx = cx!(self, now, buffers);
                tcb.end_stream(index, &mut cx);
                if tcb.state == State::FinWait2 {
                    tcb.state_at = now + cx.shared.config.fin_wait_2;
                    tcb.arm(index, &mut cx);
                }
            }
        }
    }
}

/// How far beyond a connection's last sequence number the next one with the same addresses and ports begins.
const REUSE_GAP: u32 = 65536 + 2;

impl Tcb {
    /// The next of what waits to be read.
    #[inline(never)]
    fn take(&mut self, index: u32, cx: &mut super::Cx<'_>) -> Option<Chunk> {
        let chunk = self.rx.pop(cx.buffers);
        if self.may_announce() {
            self.announce_window(index, cx);
        }
        chunk
    }

    /// What [`Stack::tcp_recv`] says where nothing is left to be taken.
    #[inline(never)]
    fn nothing_to_read(&self) -> Result<Option<Chunk>> {
        if self.flags.any(Flags::FIN_RECEIVED.or(Flags::READ_SHUT)) {
            return Ok(None);
        }
        match (self.error, self.state) {
            (Some(error), _) => Err(error),
            (None, State::Closed | State::TimeWait) => Ok(None),
            (None, _) => Err(SocketError::WouldBlock),
        }
    }

    /// Our stream ends behind what has been accepted.
    fn end_stream(&mut self, index: u32, cx: &mut super::Cx<'_>) {
        if self.flags.has(Flags::FIN) {
            return;
        }
        if self.unacked() == 0 && self.is_synchronized() {
            self.unacked_since = cx.now;
        }
        self.flags.set(Flags::FIN.or(Flags::PUSH));
        self.flags.clear(Flags::WANTS_ROOM);
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            // A handshake that is under way takes note of it at its end.
            _ => {}
        }
        self.enqueue(index, cx);
    }

    fn info(&self) -> TcpInfo {
        let numbers = self.recovery.numbers();
        TcpInfo {
            state: self.state,
            srtt: numbers.rtt,
            rttvar: numbers.rtt_var,
            min_rtt: numbers.min_rtt,
            rto: numbers.rto,
            cwnd: numbers.cwnd,
            ssthresh: numbers.ssthresh,
            in_flight: numbers.in_flight,
            mss: self.mss,
            send_window: self.snd_wnd,
            receive_window: self.promised(),
            send_queued: self.tx.len(),
            receive_queued: self.rx.readable(),
            out_of_order: self.rx.out_of_order(),
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            retransmits: self.retransmits,
            sacked: numbers.sacked,
            lost: numbers.lost,
            timeouts: numbers.timeouts,
            recovering: numbers.phase != Phase::Open,
            reordering: numbers.reordering_seen,
            pacing_rate: numbers.pacing_rate,
            congestion: Some(self.congestion),
            timestamps: self.flags.has(Flags::TIMESTAMPS),
            sack: self.flags.has(Flags::SACK),
            window_scale: self.flags.has(Flags::SCALING).then_some((self.snd_scale, self.rcv_scale)),
        }
    }
}
