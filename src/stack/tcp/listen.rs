//! Listeners, and connections on their way to them: SYN queue, SYN cookies, accept queue (RFC 9293, 3.10.7.2; RFC 4987).

use super::options::ListenOptions;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::cookie::CookieOptions;
use super::half_open::{Due, Request, RequestFlags};
use super::input::Verdict;
use super::open::DEFAULT_MSS;
use super::segment::Segment;
use super::seq::Seq;
use super::table::{Flow, FlowKey};
use super::tcb::{Flags, Tcb, Wish, window_scale};
use super::write::{Out, SynOptions, write_control};
use super::{Io, Tcp, cx};
use crate::stack::chunk::Carrier;
use crate::stack::ip::Path;
use crate::stack::{Instant, Key, ListenerId, Readiness, Sink};
use crate::wire::tcp::Flags as Bits;
use std::time::Duration;

/// A listener.
pub(super) struct Listener {
    pub(super) local: SocketAddr,
    pub(super) options: ListenOptions,
    /// Connections that wait to be accepted, by index.
    pub(super) queue: VecDeque<u32>,
    /// An event of it waits to be taken.
    pub(super) told: bool,
}

impl Listener {
    /// Whether no further connection may wait.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= self.options.backlog.max(1)
    }

    fn wish(&self) -> Wish {
        let ListenOptions { socket, send_buffer, receive_buffer, congestion, .. } = self.options;
        Wish { socket, send_buffer, receive_buffer, congestion }
    }
}

/// Listeners by port.
#[derive(Default)]
pub(super) struct Listening {
    by_port: HashMap<u16, Vec<(SocketAddr, Key)>>,
}

impl Listening {
    pub(super) fn insert(&mut self, local: SocketAddr, key: Key) {
        self.by_port.entry(local.port()).or_default().push((local, key));
    }

    pub(super) fn remove(&mut self, local: SocketAddr, key: Key) {
        if let Some(those) = self.by_port.get_mut(&local.port()) {
            those.retain(|(_, other)| *other != key);
            if those.is_empty() {
                self.by_port.remove(&local.port());
            }
        }
    }

    /// Those on this port.
    pub(super) fn on(&self, port: u16) -> &[(SocketAddr, Key)] {
        self.by_port.get(&port).map_or(&[], Vec::as_slice)
    }

    /// Who listens there: one for that very address before one for any. Several that share it take turns by `spread`.
    fn find(&self, local: SocketAddr, spread: u32) -> Option<Key> {
        let those = self.on(local.port());
        let pick = |fits: &dyn Fn(&SocketAddr) -> bool| {
            let count = those.iter().filter(|(address, _)| fits(address)).count();
            let which = (spread as usize).checked_rem(count)?;
            those.iter().filter(|(address, _)| fits(address)).nth(which).map(|(_, key)| *key)
        };
        pick(&|address| address.ip() == local.ip()).or_else(|| {
            // The unspecified IPv6 address stands for both kinds.
            pick(&|address| address.ip().is_unspecified() && (address.is_ipv6() || local.is_ipv4()))
        })
    }
}

impl Tcp {
    /// A segment to no connection: for a listener, or for nobody.
    #[cold]
    pub(super) fn receive_unknown<S: Sink>(
        &mut self,
        key: &FlowKey,
        seg: &Segment,
        least: Option<Seq>,
        packet: impl Carrier,
        io: &mut Io<'_, S>,
    ) {
        let spread = self.isn.timestamp_offset(key);
        let listener = self.listening.find(key.local(), spread);
        let rst = seg.flags.contains(Bits::RST);
        match listener {
            _ if rst => self.shared.stats.rx_unknown += 1,
            Some(listener) if seg.flags.contains(Bits::ACK) => {
                if !self.receive_cookie(key, listener, seg, packet, io) {
                    self.refuse(key, seg, io);
                }
            }
            Some(listener) if seg.flags.contains(Bits::SYN) => {
                if !seg.flags.contains(Bits::FIN) {
                    self.receive_syn(key, listener, seg, least, io);
                }
            }
            Some(_) => {}
            None => {
                self.shared.stats.rx_unknown += 1;
                self.refuse(key, seg, io);
            }
        }
    }

    /// A SYN for a listener.
    fn receive_syn<S: Sink>(
        &mut self,
        key: &FlowKey,
        listener: Key,
        seg: &Segment,
        least: Option<Seq>,
        io: &mut Io<'_, S>,
    ) {
        if self.listeners.get(listener).is_none_or(Listener::is_full) {
            self.shared.stats.accept_queue_full += 1;
            return;
        }
        let mut request = Request {
            key: *key,
            irs: seg.seq,
            iss: self.isn.initial(io.now, key),
            ts_recent: seg.timestamps.map_or(0, |(val, _)| val),
            listener,
            mss: seg.mss.unwrap_or(DEFAULT_MSS),
            window_scale: seg.window_scale.unwrap_or(0),
            flags: self.request_flags(seg),
            retransmits: 0,
        };
        if let Some(least) = least {
            request.iss = request.iss.max(least);
        }
        if !self.half_open.is_full() {
            if let Ok(index) = self.half_open.insert(io.now, request) {
                let hash = self.table.hash(key);
                self.table.insert(hash, Flow::HalfOpen(index));
            }
            self.send_syn_ack(&request, None, io);
        } else if self.shared.config.syn_cookies {
            request.iss = self.cookies.make(io.now, key, seg.seq, request.mss);
            let has = |flag| request.flags.contains(flag);
            let stamp = has(RequestFlags::TIMESTAMPS).then(|| {
                let scale = has(RequestFlags::WINDOW_SCALE).then_some(request.window_scale);
                CookieOptions { window_scale: scale, sack: has(RequestFlags::SACK), ecn: false }.stamp(clock(io.now))
            });
            if stamp.is_none() {
                // Without timestamps to carry them, the options are lost.
                request.flags = RequestFlags::default();
            }
            self.shared.stats.syn_cookies_sent += 1;
            self.cookie_sent_at = Some(io.now);
            self.send_syn_ack(&request, stamp, io);
        } else {
            self.shared.stats.syn_queue_full += 1;
        }
    }

    /// What the peer offers and we do too.
    fn request_flags(&self, seg: &Segment) -> RequestFlags {
        let mut flags = RequestFlags::default();
        if self.shared.config.timestamps && seg.timestamps.is_some() {
            flags = flags | RequestFlags::TIMESTAMPS;
        }
        if self.shared.config.sack && seg.sack_permitted {
            flags = flags | RequestFlags::SACK;
        }
        if self.shared.config.window_scaling && seg.window_scale.is_some() {
            flags = flags | RequestFlags::WINDOW_SCALE;
        }
        flags
    }

    fn receive_limit(&self, listener: Key) -> u32 {
        let wished = self.listeners.get(listener).and_then(|l| l.options.receive_buffer);
        super::tcb::limit(wished.unwrap_or(self.shared.config.receive_buffer))
    }

    /// Answers a SYN. `stamp`: the timestamp clock with a cookie's options in it.
    fn send_syn_ack<S: Sink>(&mut self, request: &Request, stamp: Option<u32>, io: &mut Io<'_, S>) {
        let (local, remote) = (request.key.local_ip(), request.key.remote_ip());
        let Ok(mut path) = io.ip.path(io.now, local, remote) else { return };
        let limit = self.receive_limit(request.listener);
        let window = limit.min(u32::from(u16::MAX)) as u16;
        let timestamps = request.flags.contains(RequestFlags::TIMESTAMPS).then(|| {
            let clock = stamp.unwrap_or_else(|| clock(io.now));
            (clock.wrapping_add(self.isn.timestamp_offset(&request.key)), request.ts_recent)
        });
        let mut out = Out::new(request.iss, request.irs + 1, Bits::SYN | Bits::ACK, window, timestamps);
        out.syn = SynOptions {
            mss: Some(super::path_mss(io.ip.path_mtu(remote), remote)),
            window_scale: request.flags.contains(RequestFlags::WINDOW_SCALE).then(|| window_scale(limit)),
            sack_permitted: request.flags.contains(RequestFlags::SACK),
        };
        // One that meets a full device is sent again by its timer.
        let _ = write_control((&request.key, &mut path), &out, io.ip, io.sink, &mut cx!(self, io));
    }

    /// A segment for a connection of which we have answered the SYN.
    pub(super) fn receive_half_open<S: Sink>(
        &mut self,
        index: u32,
        seg: &Segment,
        packet: impl Carrier,
        io: &mut Io<'_, S>,
    ) {
        let Some(request) = self.half_open.get(index).copied() else { return };
        if seg.flags.contains(Bits::RST) {
            if seg.seq == request.irs + 1 {
                self.shared.stats.resets_received += 1;
                self.forget_half_open(index);
            }
            return;
        }
        if seg.flags.contains(Bits::SYN) {
            if seg.seq == request.irs {
                self.send_syn_ack(&request, None, io);
            } else if self.shared.challenges.allow(io.now) {
                self.shared.stats.challenge_acks += 1;
                self.ack_half_open(&request, io);
            }
            return;
        }
        if !seg.flags.contains(Bits::ACK) {
            return;
        }
        if seg.ack != request.iss + 1 {
            self.refuse(&request.key, seg, io);
            return;
        }
        let old = seg.timestamps.is_some_and(|(val, _)| {
            request.flags.contains(RequestFlags::TIMESTAMPS) && (val.wrapping_sub(request.ts_recent) as i32) < 0
        });
        let window = self.receive_limit(request.listener).min(u32::from(u16::MAX));
        if old || seg.seq.since(request.irs + 1) > window {
            self.shared.stats.rx_outside_window += u64::from(!old);
            self.shared.stats.rx_paws_dropped += u64::from(old);
            if self.shared.challenges.allow(io.now) {
                self.ack_half_open(&request, io);
            }
            return;
        }
        if self.listeners.get(request.listener).is_none_or(Listener::is_full) {
            // The SYN-ACK is sent again, and with it the peer's answer comes again.
            self.shared.stats.accept_queue_full += 1;
            return;
        }
        let sent_at = self.half_open.sent_at(index);
        self.forget_half_open(index);
        let rtt = match seg.timestamps {
            _ if request.retransmits == 0 => sent_at.map(|at| io.now.saturating_since(at)),
            Some((_, echo)) if request.flags.contains(RequestFlags::TIMESTAMPS) => {
                let clock = clock(io.now).wrapping_add(self.isn.timestamp_offset(&request.key));
                Some(Duration::from_millis(u64::from(clock.wrapping_sub(echo) & 0x7fff_ffff)))
            }
            _ => None,
        };
        self.complete(&request, rtt, seg, packet, io);
    }

    fn ack_half_open<S: Sink>(&mut self, request: &Request, io: &mut Io<'_, S>) {
        let window = self.receive_limit(request.listener).min(u32::from(u16::MAX)) as u16;
        let timestamps = request
            .flags
            .contains(RequestFlags::TIMESTAMPS)
            .then(|| (clock(io.now).wrapping_add(self.isn.timestamp_offset(&request.key)), request.ts_recent));
        let out = Out::new(request.iss + 1, request.irs + 1, Bits::ACK, window, timestamps);
        let mut path = Path::default();
        let _ = write_control((&request.key, &mut path), &out, io.ip, io.sink, &mut cx!(self, io));
    }

    /// An acknowledgement that nobody waits for may carry a SYN cookie. Whether it did.
    fn receive_cookie<S: Sink>(
        &mut self,
        key: &FlowKey,
        listener: Key,
        seg: &Segment,
        packet: impl Carrier,
        io: &mut Io<'_, S>,
    ) -> bool {
        if !self.shared.config.syn_cookies || seg.flags.contains(Bits::SYN) || !self.cookies_lately(io.now) {
            return false;
        }
        let (irs, iss) = (seg.seq - 1, seg.ack - 1);
        let Some(mss) = self.cookies.check(io.now, key, irs, iss) else {
            self.shared.stats.syn_cookies_invalid += 1;
            return false;
        };
        if self.listeners.get(listener).is_none_or(Listener::is_full) {
            self.shared.stats.accept_queue_full += 1;
            return true;
        }
        let mut flags = RequestFlags::default();
        let mut window_scale = 0;
        if let Some((_, echo)) = seg.timestamps
            && self.shared.config.timestamps
        {
            let options = CookieOptions::from_stamp(echo.wrapping_sub(self.isn.timestamp_offset(key)));
            flags = flags | RequestFlags::TIMESTAMPS;
            if options.sack {
                flags = flags | RequestFlags::SACK;
            }
            if let Some(scale) = options.window_scale {
                (flags, window_scale) = (flags | RequestFlags::WINDOW_SCALE, scale);
            }
        }
        let ts_recent = seg.timestamps.map_or(0, |(val, _)| val);
        let request = Request { key: *key, irs, iss, ts_recent, listener, mss, window_scale, flags, retransmits: 0 };
        self.shared.stats.syn_cookies_valid += 1;
        self.complete(&request, None, seg, packet, io);
        true
    }

    /// The handshake is complete: makes the connection, gives it what came with its last segment, and puts it into the
    /// accept queue.
    fn complete<S: Sink>(
        &mut self,
        request: &Request,
        rtt: Option<Duration>,
        seg: &Segment,
        packet: impl Carrier,
        io: &mut Io<'_, S>,
    ) {
        let Some(wish) = self.listeners.get(request.listener).map(Listener::wish) else { return };
        let (local, remote) = (request.key.local_ip(), request.key.remote_ip());
        let Ok(path) = io.ip.path(io.now, local, remote) else { return };
        let path_mss = super::path_mss(io.ip.path_mtu(remote), remote);
        let ts_offset = self.isn.timestamp_offset(&request.key);
        let hash = self.table.hash(&request.key);
        let mut cx = cx!(self, io);
        let mut tcb = Tcb::new(request.key, request.iss, path, path_mss, &wish, &cx);
        let agreed = |flag| request.flags.contains(flag);
        for (request, flag) in [
            (RequestFlags::TIMESTAMPS, Flags::TIMESTAMPS),
            (RequestFlags::SACK, Flags::SACK),
            (RequestFlags::WINDOW_SCALE, Flags::SCALING),
        ] {
            if !agreed(request) {
                tcb.flags.clear(flag);
            }
        }
        if agreed(RequestFlags::WINDOW_SCALE) {
            tcb.snd_scale = request.window_scale;
        } else {
            tcb.rcv_scale = 0;
        }
        tcb.ts_offset = ts_offset;
        tcb.ts_recent = request.ts_recent;
        tcb.peer_mss = request.mss;
        tcb.rcv_nxt = request.irs + 1;
        tcb.last_ack = tcb.rcv_nxt;
        tcb.rcv_adv = tcb.rcv_nxt + tcb.rcv_limit.min(u32::from(u16::MAX));
        tcb.snd_wnd = u32::from(seg.window) << tcb.snd_scale;
        tcb.max_snd_wnd = tcb.snd_wnd;
        (tcb.snd_wl1, tcb.snd_wl2) = (seg.seq, seg.ack);
        tcb.listener = Some(ListenerId(request.listener));
        tcb.flags.set(Flags::EMBRYO.or(Flags::IN_TABLE));
        tcb.start(&cx, rtt, u32::from(request.retransmits));
        tcb.ready = Readiness::CONNECTED | Readiness::WRITABLE;
        let Ok(key) = self.conns.insert(tcb) else {
            cx.shared.stats.accept_queue_full += 1;
            return;
        };
        self.table.insert(hash, Flow::Connection(key.index));
        cx.shared.stats.passive_opens += 1;
        let Some(tcb) = self.conns.at_mut(key.index) else { return };
        let verdict = tcb.receive_acceptable(key.index, seg, packet, &mut cx);
        // The listener's options may ask for keep-alive probes.
        tcb.arm(key.index, &mut cx);
        if let Some(listener) = self.listeners.get_mut(request.listener) {
            listener.queue.push_back(key.index);
            if !listener.told {
                listener.told = true;
                self.shared.events.accept(request.listener);
            }
        }
        debug_assert_eq!(verdict, Verdict::Stays, "a connection cannot end with the segment that makes it");
    }

    /// Takes a half-open connection out of the queue and the table.
    fn forget_half_open(&mut self, index: u32) {
        if let Some(request) = self.half_open.remove(index) {
            let hash = self.table.hash(&request.key);
            self.table.remove(hash, Flow::HalfOpen(index));
        }
    }

    /// SYN-ACKs that are due again.
    pub(super) fn repeat_syn_acks<S: Sink>(&mut self, io: &mut Io<'_, S>) {
        while let Some(due) = self.half_open.due(io.now) {
            match due {
                Due::Resend(index) => {
                    if let Some(request) = self.half_open.get(index).copied() {
                        self.shared.stats.retransmitted_segments += 1;
                        self.send_syn_ack(&request, None, io);
                    }
                }
                Due::GiveUp(index, request) => {
                    self.shared.stats.half_open_timeouts += 1;
                    let hash = self.table.hash(&request.key);
                    self.table.remove(hash, Flow::HalfOpen(index));
                }
            }
        }
    }

    /// Takes a listener away with everything that waits for it. The connections in its queue are to be reset.
    pub(super) fn remove_listener(&mut self, key: Key) -> Option<Listener> {
        let listener = self.listeners.remove(key)?;
        self.listening.remove(listener.local, key);
        let table = &mut self.table;
        self.half_open.remove_listener(key, |index, request| {
            let hash = table.hash(&request.key);
            table.remove(hash, Flow::HalfOpen(index));
        });
        Some(listener)
    }
}

/// The clock of timestamps before its offset: milliseconds.
fn clock(now: Instant) -> u32 {
    now.as_millis() as u32
}
