//! TCP (RFC 9293): connections, listeners and what remains of both.
//!
//! | file | concern |
//! |---|---|
//! | `tcb` | one connection: its state, and what follows from it alone |
//! | `input` | a segment arrives for a connection; `segment` takes it apart |
//! | `output` | what a connection sends; `write` puts it into a frame |
//! | `open`, `listen` | connections that we open, and those that others open: SYN queue, cookies, accept queue |
//! | `timers` | what time does to a connection |
//! | `recovery`, `congestion` | what may be sent and what is sent again |
//! | `send_buffer`, `recv_queue` | the bytes |
//! | `table`, `wheel`, `half_open`, `time_wait` | where connections, deadlines and records are found |
//! | `api` | what programs call |
//!
//! A segment is looked up once in one table for connections, half-open connections and TIME-WAIT records alike. A
//! connection that has something to say waits in one queue, from which [`Tcp::egress`] serves all in turn.

mod api;
mod congestion;
mod cookie;
mod half_open;
mod input;
pub(super) mod isn;
mod listen;
mod open;
pub mod options;
mod output;
mod queues;
mod recovery;
pub(super) mod recv_queue;
mod segment;
pub(super) mod send_buffer;
pub(super) mod seq;
pub(super) mod table;
mod tcb;
mod time_wait;
mod timers;
pub(super) mod wheel;
mod write;

use self::cookie::Cookies;
use self::half_open::HalfOpen;
use self::input::Verdict;
use self::isn::{Isn, Ports};
use self::listen::{Listener, Listening};
use self::options::State;
use self::output::Turn;
use self::recovery::Acked;
use self::segment::Segment;
use self::seq::Seq;
use self::table::{Flow, FlowHash, FlowKey, FlowTable};
use self::tcb::{Flags, NEVER, Tcb};
use self::time_wait::{Answer, Arrival, Record, TimeWait};
use self::wheel::{Tick, Wheel};
use self::write::{Out, write_control};
use super::buffers::Buffers;
use super::chunk::Carrier;
use super::config::{Config, RxChecksum, TcpConfig, TxChecksum};
use super::ip::{IcmpError, IcmpErrorKind, Ip, Packet, Path};
use super::limit::Limit;
use super::prf::Purpose;
use super::rtt::RttHistogram;
use super::slab::Slab;
use super::{Event, Instant, Key, ListenerId, MemoryStats, Readiness, Sink, SocketError, TcpId, TcpStats};
use crate::wire::checksum::Sum;
use crate::wire::tcp::{Flags as Bits, Header};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// How long after a cookie was sent an acknowledgement may carry it.
const COOKIE_LIFE: Duration = Duration::from_secs(128);

/// TCP of one engine.
pub(super) struct Tcp {
    rx_checksum: RxChecksum,
    table: FlowTable,
    conns: Slab<Tcb>,
    pub(super) shared: Shared,
    listeners: Slab<Listener>,
    listening: Listening,
    half_open: HalfOpen,
    time_wait: TimeWait,
    isn: Isn,
    ports: Ports,
    cookies: Cookies,
    cookie_sent_at: Option<Instant>,
    orphans: usize,
}

/// What connections share and each of them may touch.
pub(super) struct Shared {
    config: TcpConfig,
    tx_checksum: TxChecksum,
    pub(super) stats: TcpStats,
    events: Events,
    /// Deadlines, one entry per connection.
    wheel: Wheel,
    /// When paced connections may go on.
    pace: Wheel,
    /// Connections that have something to send, by index. One that is gone, or no longer has, is passed over.
    sending: VecDeque<u32>,
    challenges: Limit,
    rtt: RttHistogram,
    /// Connections with [`Flags::OWES`].
    owing: usize,
}

/// The connection that a segment is of.
#[derive(Clone, Copy)]
pub(super) struct Target {
    key: FlowKey,
    hash: FlowHash,
    /// Where the segment lies in its packet.
    start: u32,
    len: u32,
}

/// Sockets of which something is to be told.
#[derive(Default)]
pub(super) struct Events {
    queue: VecDeque<Source>,
}

#[derive(Clone, Copy)]
enum Source {
    Connection(u32),
    Listener(Key),
}

impl Events {
    #[inline(always)]
    fn tell(&mut self, index: u32) {
        self.queue.push_back(Source::Connection(index));
    }

    fn accept(&mut self, listener: Key) {
        self.queue.push_back(Source::Listener(listener));
    }
}

/// What handling one segment or deadline needs besides the connection.
pub(super) struct Cx<'a> {
    now: Instant,
    buffers: &'a mut Buffers,
    shared: &'a mut Shared,
}

impl Cx<'_> {
    #[inline]
    fn count_ack(&mut self, acked: &Acked) {
        if let Some(rtt) = acked.rtt {
            self.shared.rtt.record(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
        }
        if acked.dsack || acked.entered || acked.spurious {
            self.shared.stats.rx_dsacks += u64::from(acked.dsack);
            self.shared.stats.fast_recoveries += u64::from(acked.entered);
            self.shared.stats.spurious_recoveries += u64::from(acked.spurious);
        }
    }
}

/// The world around TCP during one call: the time, the engine's memory, IP, and where frames go.
pub(super) struct Io<'a, S> {
    pub(super) now: Instant,
    pub(super) buffers: &'a mut Buffers,
    pub(super) ip: &'a mut Ip,
    pub(super) sink: &'a mut S,
}

/// The [`Cx`] of `$tcp`, with its connections left out so that one of them can be borrowed beside it.
macro_rules! cx {
    ($tcp:expr, $io:expr) => {
        $crate::stack::tcp::cx!($tcp, $io.now, $io.buffers)
    };
    ($tcp:expr, $now:expr, $buffers:expr) => {
        $crate::stack::tcp::Cx { now: $now, buffers: $buffers, shared: &mut $tcp.shared }
    };
}
use cx;

impl Tcp {
    pub(super) fn new(config: &Config) -> Self {
        let tcp = &config.tcp;
        let secret = config.secret;
        Self {
            rx_checksum: config.checksum.rx,
            table: FlowTable::new(secret),
            conns: Slab::new(tcp.max_connections),
            shared: Shared {
                config: tcp.clone(),
                tx_checksum: config.checksum.tx,
                stats: TcpStats::default(),
                events: Events::default(),
                wheel: Wheel::new(Tick::COARSE),
                pace: Wheel::new(Tick::FINE),
                sending: VecDeque::new(),
                challenges: Limit::new(tcp.challenge_acks_per_second, secret, Purpose::ChallengeAcks),
                rtt: RttHistogram::default(),
                owing: 0,
            },
            listeners: Slab::new(1 << 20),
            listening: Listening::default(),
            half_open: HalfOpen::new(tcp.max_half_open, tcp.synack_retries),
            time_wait: TimeWait::new(tcp.time_wait, tcp.max_time_wait),
            isn: Isn::new(secret),
            ports: Ports::new(secret),
            cookies: Cookies::new(secret),
            cookie_sent_at: None,
            orphans: 0,
        }
    }

    /// What connection a segment is of, from its first four bytes.
    #[inline(always)]
    pub(super) fn look_up(&self, packet: &Packet, bytes: &[u8]) -> Option<Target> {
        let ports = bytes.get(packet.range())?.first_chunk::<4>()?;
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        let key = FlowKey::from_ips(packet.destination, port(2), packet.source, port(0));
        Some(Target { key, hash: self.table.hash(&key), start: packet.start, len: packet.len })
    }

    /// Sends for the place in the table. Where that is done for several segments before anything is done for the first one,
    /// waiting for memory overlaps.
    #[inline(always)]
    pub(super) fn touch_place(&self, target: &Target) {
        self.table.touch(target.hash);
    }

    /// Sends for the connection that a segment is of, likewise.
    #[inline]
    pub(super) fn touch(&self, target: &Target) {
        if let Some(tcb) = self.table.candidate(target.hash).and_then(|index| self.conns.at(index)) {
            tcb.touch();
        }
    }

    /// A segment has arrived in `carrier`; `checked`: its checksum needs no look.
    #[inline(never)]
    pub(super) fn receive<S: Sink>(
        &mut self,
        target: &Target,
        carrier: impl Carrier,
        checked: bool,
        io: &mut Io<'_, S>,
    ) {
        self.shared.stats.rx_segments += 1;
        let &Target { ref key, start, len, .. } = target;
        let Some(bytes) = carrier.get(start as usize..start as usize + len as usize) else { return };
        let Ok(header) = Header::parse(bytes) else {
            self.shared.stats.rx_malformed += 1;
            return;
        };
        if !checked && self.rx_checksum == RxChecksum::Verify && !is_intact(key, bytes) {
            self.shared.stats.rx_bad_checksum += 1;
            return;
        }
        let seg = Segment::new(&header, bytes, start);
        if let Some(index) = self.table.candidate(target.hash)
            && let Some(tcb) = self.conns.at_mut(index)
            && tcb.key == *key
        {
            let verdict = tcb.receive(index, &seg, carrier, &mut cx!(self, io));
            return self.conclude_segment(index, verdict, key, &seg, io);
        }
        self.receive_elsewhere(target, &seg, carrier, io);
    }

    /// A segment that is not of the connection that the table names first.
    #[inline(never)]
    fn receive_elsewhere<S: Sink>(
        &mut self,
        target: &Target,
        seg: &Segment,
        carrier: impl Carrier,
        io: &mut Io<'_, S>,
    ) {
        let &Target { ref key, hash, .. } = target;
        let (conns, half_open, time_wait) = (&self.conns, &self.half_open, &self.time_wait);
        let flow = self.table.find(hash, |flow| match flow {
            Flow::Connection(index) => conns.at(index).is_some_and(|tcb| tcb.key == *key),
            Flow::HalfOpen(index) => half_open.get(index).is_some_and(|request| request.key == *key),
            Flow::TimeWait(index) => time_wait.get(index).is_some_and(|record| record.key == *key),
        });
        match flow {
            Some(Flow::Connection(index)) => {
                let Some(tcb) = self.conns.at_mut(index) else { return };
                let verdict = tcb.receive(index, seg, carrier, &mut cx!(self, io));
                self.conclude_segment(index, verdict, key, seg, io);
            }
            Some(Flow::HalfOpen(index)) => self.receive_half_open(index, seg, carrier, io),
            Some(Flow::TimeWait(index)) => self.receive_late(index, key, seg, carrier, io),
            None => self.receive_unknown(key, seg, None, carrier, io),
        }
    }

    /// What a connection says of a segment.
    #[inline(always)]
    fn conclude_segment<S: Sink>(
        &mut self,
        index: u32,
        verdict: Verdict,
        key: &FlowKey,
        seg: &Segment,
        io: &mut Io<'_, S>,
    ) {
        match verdict {
            Verdict::Stays => {}
            Verdict::Refused => self.refuse(key, seg, io),
            over => self.conclude(index, over, io),
        }
    }

    /// A segment for a connection that is over.
    #[cold]
    fn receive_late<S: Sink>(
        &mut self,
        index: u32,
        key: &FlowKey,
        seg: &Segment,
        carrier: impl Carrier,
        io: &mut Io<'_, S>,
    ) {
        let arrival = Arrival {
            seq: seg.seq,
            len: seg.len,
            syn: seg.flags.contains(Bits::SYN),
            ack: seg.flags.contains(Bits::ACK),
            fin: seg.flags.contains(Bits::FIN),
            rst: seg.flags.contains(Bits::RST),
            ts: seg.timestamps.map(|(val, _)| val),
        };
        match self.time_wait.arrival(io.now, index, &arrival) {
            Answer::Ignore => {}
            Answer::Ack => self.ack_time_wait(index, io),
            Answer::Challenge => {
                if self.shared.challenges.allow(io.now) {
                    self.shared.stats.challenge_acks += 1;
                    self.ack_time_wait(index, io);
                } else {
                    self.shared.stats.challenge_acks_limited += 1;
                }
            }
            Answer::Reuse { least } => {
                if self.listens(key) {
                    self.shared.stats.time_wait_reused += 1;
                    self.forget_time_wait(index, key);
                    self.receive_unknown(key, seg, Some(least), carrier, io);
                } else {
                    self.ack_time_wait(index, io);
                }
            }
        }
    }

    /// Repeats the last acknowledgement of a connection that is over.
    fn ack_time_wait<S: Sink>(&mut self, index: u32, io: &mut Io<'_, S>) {
        let Some(record) = self.time_wait.get(index).copied() else { return };
        let timestamps =
            record.timestamps.then(|| ((io.now.as_millis() as u32).wrapping_add(record.ts_offset), record.ts_recent));
        let out = Out::new(record.snd_nxt, record.rcv_nxt, Bits::ACK, record.window, timestamps);
        let _ = write_control((&record.key, &mut Path::default()), &out, io.ip, io.sink, &mut cx!(self, io));
    }

    fn forget_time_wait(&mut self, index: u32, key: &FlowKey) {
        self.time_wait.remove(index);
        self.table.remove(self.table.hash(key), Flow::TimeWait(index));
    }

    /// Answers a segment of no connection with a reset (RFC 9293, 3.5.2).
    #[cold]
    fn refuse<S: Sink>(&mut self, key: &FlowKey, seg: &Segment, io: &mut Io<'_, S>) {
        if seg.flags.contains(Bits::RST) {
            return;
        }
        let out = if seg.flags.contains(Bits::ACK) {
            Out::new(seg.ack, Seq(0), Bits::RST, 0, None)
        } else {
            Out::new(Seq(0), seg.end(), Bits::RST | Bits::ACK, 0, None)
        };
        self.shared.stats.resets_sent += 1;
        let _ = write_control((key, &mut Path::default()), &out, io.ip, io.sink, &mut cx!(self, io));
    }

    /// A connection is over, in whichever way.
    #[cold]
    fn conclude<S: Sink>(&mut self, index: u32, verdict: Verdict, io: &mut Io<'_, S>) {
        match verdict {
            Verdict::Stays | Verdict::Refused => return,
            Verdict::Over => self.detach(index),
            Verdict::Reset => {
                self.abort(index, io.now, io.buffers);
                return;
            }
            Verdict::TimeWait => self.enter_time_wait(index, io),
        }
        self.finish(index, io.now, io.buffers);
    }

    /// Puts a record in the place of a connection that is over in order, and sends the last acknowledgement.
    fn enter_time_wait<S: Sink>(&mut self, index: u32, io: &mut Io<'_, S>) {
        let Some(tcb) = self.conns.at_mut(index) else { return };
        let scale = tcb.rcv_scale;
        let record = Record {
            key: tcb.key,
            rcv_nxt: tcb.rcv_nxt,
            snd_nxt: tcb.recovery.nxt(),
            ts_recent: tcb.ts_recent,
            ts_offset: tcb.ts_offset,
            window: (tcb.rcv_limit >> scale).min(u32::from(u16::MAX)) as u16,
            timestamps: tcb.flags.has(Flags::TIMESTAMPS),
        };
        let answers = tcb.flags.any(Flags::ACK_NOW.or(Flags::ACK_DUE));
        tcb.state = State::TimeWait;
        self.detach(index);
        let (at, dropped) = self.time_wait.insert(io.now, record);
        if let Some((old, old_record)) = dropped {
            self.shared.stats.time_wait_overflow += 1;
            self.table.remove(self.table.hash(&old_record.key), Flow::TimeWait(old));
        }
        self.table.insert(self.table.hash(&record.key), Flow::TimeWait(at));
        self.shared.stats.time_waits += 1;
        if answers {
            self.ack_time_wait(at, io);
        }
    }

    /// Takes a connection out of the table and stops its timers.
    fn detach(&mut self, index: u32) {
        let Some(tcb) = self.conns.at_mut(index) else { return };
        self.shared.wheel.cancel(index);
        self.shared.pace.cancel(index);
        tcb.timer_at = NEVER;
        if tcb.state != State::TimeWait {
            tcb.state = State::Closed;
        }
        if tcb.flags.has(Flags::IN_TABLE) {
            tcb.flags.clear(Flags::IN_TABLE);
            let hash = self.table.hash(&tcb.key);
            self.table.remove(hash, Flow::Connection(index));
        }
    }

    /// Frees a detached connection, or tells the program that still holds it.
    fn finish(&mut self, index: u32, now: Instant, buffers: &mut Buffers) {
        let Some(tcb) = self.conns.at_mut(index) else { return };
        tcb.tx.clear(buffers);
        if tcb.flags.has(Flags::ORPHAN) {
            self.shared.owing -= usize::from(tcb.flags.has(Flags::OWES));
            tcb.rx.clear(buffers);
            self.orphans = self.orphans.saturating_sub(1);
            self.conns.remove_at(index);
            return;
        }
        if tcb.recovery.una() == tcb.iss + 1 && tcb.bytes_received == 0 && tcb.listener.is_none() && tcb.error.is_some()
        {
            self.shared.stats.failed_connects += 1;
        }
        tcb.tell(index, Readiness::CLOSED, &mut cx!(self, now, buffers));
    }

    /// Ends a connection without ceremony: the peer gets a reset with the next egress, and the program an error.
    fn abort(&mut self, index: u32, now: Instant, buffers: &mut Buffers) {
        let Some(tcb) = self.conns.at_mut(index) else { return };
        let owes_reset = !matches!(tcb.state, State::SynSent | State::TimeWait | State::Closed);
        if tcb.error.is_none() {
            tcb.error = Some(SocketError::ConnectionAborted);
        }
        self.detach(index);
        let Some(tcb) = self.conns.at_mut(index) else { return };
        if !owes_reset {
            self.finish(index, now, buffers);
            return;
        }
        tcb.tx.clear(buffers);
        tcb.flags.set(Flags::ABORT);
        tcb.enqueue(index, &mut cx!(self, now, buffers));
    }

    /// Sends the reset that an aborted connection owes, and ends it.
    fn send_reset<S: Sink>(&mut self, index: u32, io: &mut Io<'_, S>) -> Turn {
        let Some(tcb) = self.conns.at_mut(index) else { return Turn::Done };
        let out = Out::new(tcb.recovery.nxt(), tcb.rcv_nxt, Bits::RST | Bits::ACK, 0, None);
        let (key, mut path) = (tcb.key, tcb.path);
        if write_control((&key, &mut path), &out, io.ip, io.sink, &mut cx!(self, io)).is_err() {
            return Turn::Full;
        }
        self.shared.stats.resets_sent += 1;
        tcb.flags.clear(Flags::ABORT);
        self.finish(index, io.now, io.buffers);
        Turn::Done
    }

    /// Does what is due. Segments that this makes necessary leave with the next egress.
    pub(super) fn advance<S: Sink>(&mut self, io: &mut Io<'_, S>) {
        while let Some(index) = self.shared.wheel.pop(io.now) {
            let Some(tcb) = self.conns.at_mut(index) else { continue };
            let verdict = tcb.expire(index, &mut cx!(self, io));
            self.conclude(index, verdict, io);
        }
        while let Some(index) = self.shared.pace.pop(io.now) {
            if let Some(tcb) = self.conns.at_mut(index) {
                tcb.enqueue(index, &mut cx!(self, io));
            }
        }
        self.repeat_syn_acks(io);
        while let Some((index, record)) = self.time_wait.expired(io.now) {
            self.table.remove(self.table.hash(&record.key), Flow::TimeWait(index));
        }
        if self.table.wants_rekey() {
            let (conns, half_open, time_wait) = (&self.conns, &self.half_open, &self.time_wait);
            self.table.rekey(|flow| match flow {
                Flow::Connection(index) => conns.at(index).map(|tcb| tcb.key),
                Flow::HalfOpen(index) => half_open.get(index).map(|request| request.key),
                Flow::TimeWait(index) => time_wait.get(index).map(|record| record.key),
            });
        }
    }

    /// Writes what connections have to send, all in turn. Whether something is left, for want of room in the device.
    pub(super) fn egress<S: Sink>(&mut self, io: &mut Io<'_, S>) -> bool {
        while let Some(index) = self.shared.sending.pop_front() {
            let Some(tcb) = self.conns.at_mut(index) else { continue };
            if !tcb.flags.has(Flags::QUEUED) {
                continue;
            }
            tcb.flags.clear(Flags::QUEUED);
            let turn = if tcb.flags.has(Flags::ABORT) {
                self.send_reset(index, io)
            } else if matches!(tcb.state, State::TimeWait | State::Closed) {
                Turn::Done
            } else {
                if tcb.heard_at == io.now {
                    io.ip.confirm(io.now, &tcb.path);
                }
                tcb.egress(index, io.ip, io.sink, &mut cx!(self, io))
            };
            if turn == Turn::Done {
                continue;
            }
            if let Some(tcb) = self.conns.at_mut(index) {
                tcb.flags.set(Flags::QUEUED);
                if turn == Turn::Full {
                    self.shared.sending.push_front(index);
                    return true;
                }
                self.shared.sending.push_back(index);
            }
        }
        false
    }

    /// When to be called again though nothing comes.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        if !self.shared.sending.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.shared.wheel.next(), self.shared.pace.next(), self.half_open.next(), self.time_wait.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to tell.
    #[inline]
    pub(super) fn next_event(&mut self) -> Option<Event> {
        while let Some(source) = self.shared.events.queue.pop_front() {
            match source {
                Source::Connection(index) => {
                    let Some((key, tcb)) = self.conns.entry_at(index) else { continue };
                    if tcb.flags.has(Flags::TOLD) && !tcb.flags.has(Flags::ORPHAN) {
                        tcb.flags.clear(Flags::TOLD);
                        let ready = std::mem::take(&mut tcb.ready);
                        return Some(Event::Tcp(TcpId(key), ready));
                    }
                }
                Source::Listener(key) => {
                    let Some(listener) = self.listeners.get_mut(key) else { continue };
                    listener.told = false;
                    if !listener.queue.is_empty() {
                        return Some(Event::Accept(ListenerId(key)));
                    }
                }
            }
        }
        None
    }

    /// Word from the network about a segment of ours (RFC 5927: only if it was one that is in flight).
    pub(super) fn icmp_error(&mut self, now: Instant, error: &IcmpError, ip: &mut Ip, buffers: &mut Buffers) {
        let key = FlowKey::from_ips(error.local, error.local_port(), error.remote, error.remote_port());
        let hash = self.table.hash(&key);
        let conns = &self.conns;
        let flow = self.table.find(hash, |flow| match flow {
            Flow::Connection(index) => conns.at(index).is_some_and(|tcb| tcb.key == key),
            _ => false,
        });
        let Some(Flow::Connection(index)) = flow else { return };
        let Some(tcb) = self.conns.at_mut(index) else { return };
        let seq = Seq(error.tcp_seq());
        let opening = matches!(tcb.state, State::SynSent | State::SynReceived);
        let ours = if opening {
            seq == tcb.iss
        } else {
            seq.at_or_after(tcb.recovery.una()) && seq.before(tcb.recovery.nxt())
        };
        if !ours {
            return;
        }
        if let IcmpErrorKind::FragmentationNeeded { mtu } = error.kind {
            let mtu = ip.learn_path_mtu(now, error.remote, mtu);
            let path_mss = path_mss(mtu, error.remote);
            let mss = tcb.segment_size(path_mss);
            if path_mss < tcb.path_mss && mss < tcb.mss {
                self.shared.stats.path_mtu_reduced += 1;
                tcb.path_mss = path_mss;
                tcb.mss = mss;
                tcb.recovery.set_mss(now, mss);
                tcb.enqueue(index, &mut cx!(self, now, buffers));
            }
            return;
        }
        let Some(reason) = error.kind.error() else { return };
        if opening {
            // RFC 1122, 4.2.3.9: hard errors end a connect at once; Linux lets all do that.
            tcb.error = Some(reason);
            self.detach(index);
            self.finish(index, now, buffers);
        } else {
            tcb.soft_error = Some(reason);
        }
    }

    /// The round trips that were measured.
    pub(super) fn rtt(&self) -> RttHistogram {
        self.shared.rtt
    }

    /// What TCP holds now.
    pub(super) fn memory(&self, memory: &mut MemoryStats) {
        memory.connections = self.conns.len() as u64;
        memory.orphans = self.orphans as u64;
        memory.half_open = self.half_open.len() as u64;
        memory.time_wait = self.time_wait.len() as u64;
        let timers = self.shared.wheel.footprint() + self.shared.pace.footprint();
        let records = self.half_open.footprint() + self.time_wait.footprint();
        let sockets = self.conns.footprint() + self.listeners.footprint();
        memory.table_bytes = (self.table.footprint() + timers + records + sockets) as u64;
    }

    fn cookies_lately(&self, now: Instant) -> bool {
        self.cookie_sent_at.is_some_and(|at| now.saturating_since(at) <= COOKIE_LIFE)
    }
}

/// Whether a segment's checksum is right.
#[inline]
fn is_intact(key: &FlowKey, segment: &[u8]) -> bool {
    Sum::of(segment).add(key.pseudo(segment.len())).is_valid()
}

/// What a segment may carry, options included, on a path that takes packets of `mtu` bytes.
fn path_mss(mtu: u16, remote: IpAddr) -> u16 {
    mtu.saturating_sub(if remote.is_ipv4() { 40 } else { 60 })
}
