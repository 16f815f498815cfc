//! One connection: its state, and what follows from the state alone.
//!
//! Fields stand in the order in which a request and its answer touch them.

use super::Cx;
use super::options::{KeepAlive, SocketOptions, State};
use super::recovery::{Agreed, Recovery};
use super::recv_queue::RecvQueue;
use super::send_buffer::SendBuffer;
use super::seq::Seq;
use super::table::FlowKey;
use crate::stack::config::CongestionControl;
use crate::stack::ip::Path;
use crate::stack::{Instant, ListenerId, Readiness, SocketError};
use std::time::Duration;

/// Far beyond every deadline.
pub(super) const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// Properties of a connection that are on or off.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags(u32);

impl Flags {
    /// Both sides use timestamps.
    pub(super) const TIMESTAMPS: Self = Self(1);
    /// Both sides use selective acknowledgements.
    pub(super) const SACK: Self = Self(1 << 1);
    /// Both sides scale their windows.
    pub(super) const SCALING: Self = Self(1 << 2);
    /// In the queue of connections that have something to send.
    pub(super) const QUEUED: Self = Self(1 << 3);
    /// An acknowledgement must leave with the next egress.
    pub(super) const ACK_NOW: Self = Self(1 << 4);
    /// Something is to be acknowledged, with the next segment or when `ack_at` comes.
    pub(super) const ACK_DUE: Self = Self(1 << 5);
    /// The stream that we send has an end: a FIN follows the last byte of the send buffer.
    pub(super) const FIN: Self = Self(1 << 6);
    /// The peer's FIN has been received, and everything before it.
    pub(super) const FIN_RECEIVED: Self = Self(1 << 7);
    /// The program has given the handle up.
    pub(super) const ORPHAN: Self = Self(1 << 8);
    /// The program has not accepted it yet.
    pub(super) const EMBRYO: Self = Self(1 << 9);
    /// The program wants to hear when there is room to send.
    pub(super) const WANTS_ROOM: Self = Self(1 << 10);
    /// The program reads no more: what comes is acknowledged and thrown away.
    pub(super) const READ_SHUT: Self = Self(1 << 11);
    /// An event of it waits to be taken.
    pub(super) const TOLD: Self = Self(1 << 12);
    /// The last segment written is pushed even if it is small (a cork was taken off, a FIN follows).
    pub(super) const PUSH: Self = Self(1 << 13);
    /// Its last answer left with the acknowledgement: acknowledgements may wait for company.
    pub(super) const INTERACTIVE: Self = Self(1 << 14);
    /// A zero-window probe is due.
    pub(super) const PROBE: Self = Self(1 << 15);
    /// A keep-alive probe is due.
    pub(super) const KEEP_ALIVE: Self = Self(1 << 16);
    /// It is in the table of flows.
    pub(super) const IN_TABLE: Self = Self(1 << 17);
    /// The SYN or SYN-ACK must be sent (again).
    pub(super) const SYN_DUE: Self = Self(1 << 18);
    /// It is over but for the reset that the peer must get.
    pub(super) const ABORT: Self = Self(1 << 19);
    /// The options of the same names.
    pub(super) const NODELAY: Self = Self(1 << 20);
    pub(super) const CORK: Self = Self(1 << 21);
    pub(super) const ACK_QUICKLY: Self = Self(1 << 22);
    /// The program has read so much that the window may be worth announcing.
    pub(super) const ANNOUNCE: Self = Self(1 << 23);
    /// Given up by the program, and the peer has not acknowledged all of our stream and its end.
    pub(super) const OWES: Self = Self(1 << 24);

    #[inline(always)]
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[inline(always)]
    pub(super) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[inline(always)]
    pub(super) fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    #[inline(always)]
    pub(super) fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    #[inline(always)]
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Segments at the beginning of a connection that are acknowledged at once (Linux: `TCP_MAX_QUICKACKS`).
const QUICK_ACKS: u8 = 16;

/// The shift that lets 16 bits say `limit` bytes.
pub(super) fn window_scale(limit: u32) -> u8 {
    (0..=14).find(|scale| limit >> scale <= u32::from(u16::MAX)).unwrap_or(14)
}

/// A buffer's size as a window can say it: a segment at least, at most what 14 bits of shift allow.
pub(super) fn limit(bytes: usize) -> u32 {
    bytes.clamp(2048, (u16::MAX as usize) << 14) as u32
}

/// What a program, or a listener for it, wishes of a connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Wish {
    pub(super) socket: SocketOptions,
    pub(super) send_buffer: Option<usize>,
    pub(super) receive_buffer: Option<usize>,
    pub(super) congestion: Option<CongestionControl>,
}

/// How long a connection puts up with silence, where the program has said so.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) user_timeout: Option<Duration>,
}

/// A connection, in the order in which a request and its answer touch it: what they do not touch comes last, and in
/// [`Recovery`] too.
#[repr(C)]
pub(super) struct Tcb {
    // What every segment looks at.
    pub(super) key: FlowKey,
    pub(super) flags: Flags,
    pub(super) state: State,
    /// Events that have not been told.
    pub(super) ready: Readiness,
    /// Shift of the windows that the peer sends.
    pub(super) snd_scale: u8,
    /// Shift of the windows that we send.
    pub(super) rcv_scale: u8,

    // Receiving.
    pub(super) rcv_nxt: Seq,
    /// The right edge of the window that we have promised.
    pub(super) rcv_adv: Seq,
    /// What our last segment acknowledged.
    pub(super) last_ack: Seq,
    pub(super) ts_recent: u32,
    pub(super) ts_offset: u32,
    pub(super) ts_recent_at: Instant,
    pub(super) rx: RecvQueue,
    /// When a waiting acknowledgement leaves alone.
    pub(super) ack_at: Instant,
    /// Where the peer's FIN stands, if it came before what precedes it.
    pub(super) fin_at: Option<Seq>,
    /// Largest receive window, in bytes.
    pub(super) rcv_limit: u32,
    /// Largest payload seen: what a full segment of the peer is.
    pub(super) rcv_mss: u16,
    /// Segments that are still acknowledged at once, so that the peer's slow start is not held up.
    pub(super) quick: u8,
    /// Retransmissions of a SYN, or probes of a window since it closed.
    pub(super) tries: u8,
    /// Probes, of an idle peer or of a closed window, without an answer.
    pub(super) kept_alive: u8,
    /// A word from the network that is no reason to give up yet; the reason if time runs out.
    pub(super) soft_error: Option<SocketError>,

    // Sending.
    pub(super) mss: u16,
    pub(super) snd_wnd: u32,
    pub(super) snd_wl1: Seq,
    pub(super) snd_wl2: Seq,
    pub(super) max_snd_wnd: u32,
    /// Where segments go next.
    pub(super) path: Path,
    pub(super) snd_limit: u32,
    /// Where the last segment ended that was sent and was not full (Minshall's form of the Nagle algorithm).
    pub(super) small_end: Seq,
    pub(super) tx: SendBuffer,

    // Timers. The wheel has one entry per connection, at `timer_at` or before the earliest of these.
    pub(super) timer_at: Instant,
    /// Zero-window probe, SYN retransmission, end of FIN-WAIT-2, end of a cork: whichever the state makes of it.
    pub(super) state_at: Instant,
    /// When the peer was last heard.
    pub(super) heard_at: Instant,
    /// Since when something is unacknowledged.
    pub(super) unacked_since: Instant,
    pub(super) patience: Option<Box<Patience>>,

    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) recovery: Recovery,

    // What the program knows and wants, and what was agreed on.
    pub(super) user: u64,
    /// A range received twice, to be reported (RFC 2883).
    pub(super) duplicate: Option<(Seq, Seq)>,
    pub(super) listener: Option<ListenerId>,
    pub(super) iss: Seq,
    pub(super) retransmits: u32,
    /// The MSS option of the peer, and what the path takes: payload with the options of a segment.
    pub(super) peer_mss: u16,
    pub(super) path_mss: u16,
    pub(super) congestion: CongestionControl,
    pub(super) error: Option<SocketError>,
}

// With the slab's eight bytes before it, each begins a cache line.
#[cfg(target_pointer_width = "64")]
const _: () = assert!((size_of::<Tcb>() + 8).is_multiple_of(64));

impl Tcb {
    /// A connection in SYN-SENT, of which nothing has been sent. `agree`, `start` and the caller make the rest.
    pub(super) fn new(key: FlowKey, iss: Seq, path: Path, path_mss: u16, wish: &Wish, cx: &Cx<'_>) -> Self {
        let config = &cx.shared.config;
        let mut flags = Flags::default();
        for (wanted, flag) in [
            (config.timestamps, Flags::TIMESTAMPS),
            (config.sack, Flags::SACK),
            (config.window_scaling, Flags::SCALING),
        ] {
            if wanted {
                flags.set(flag);
            }
        }
        let congestion = wish.congestion.unwrap_or(config.congestion);
        let rcv_limit = limit(wish.receive_buffer.unwrap_or(config.receive_buffer));
        let snd_limit = limit(wish.send_buffer.unwrap_or(config.send_buffer));
        let agreed = Agreed { sack: false, timestamps: None, mss: path_mss };
        let mut me = Self {
            key,
            flags,
            state: State::SynSent,
            ready: Readiness::NONE,
            snd_scale: 0,
            rcv_scale: if config.window_scaling { window_scale(rcv_limit) } else { 0 },
            rcv_nxt: Seq(0),
            rcv_adv: Seq(0),
            last_ack: Seq(0),
            ts_recent: 0,
            ts_recent_at: cx.now,
            ts_offset: 0,
            rx: RecvQueue::default(),
            rcv_limit,
            rcv_mss: path_mss,
            quick: QUICK_ACKS,
            ack_at: NEVER,
            fin_at: None,
            duplicate: None,
            snd_wnd: 0,
            snd_wl1: Seq(0),
            snd_wl2: Seq(0),
            max_snd_wnd: 0,
            mss: path_mss,
            path,
            recovery: Recovery::new(config, congestion, agreed, iss + 1),
            tx: SendBuffer::default(),
            snd_limit,
            small_end: iss + 1,
            timer_at: NEVER,
            state_at: NEVER,
            heard_at: cx.now,
            unacked_since: cx.now,
            tries: 0,
            kept_alive: 0,
            patience: None,
            user: 0,
            error: None,
            soft_error: None,
            listener: None,
            iss,
            peer_mss: path_mss,
            path_mss,
            congestion,
            bytes_sent: 0,
            bytes_received: 0,
            retransmits: 0,
        };
        me.set_options(&wish.socket);
        me
    }

    /// Reads something of each cache line that a segment needs. A burst of such reads overlaps, where the segments' own would
    /// each wait for the one before.
    #[inline]
    pub(super) fn touch(&self) {
        let lines = [self.rx.readable() as u32, self.snd_wnd, self.tx.len() as u32];
        std::hint::black_box((lines, self.bytes_received, self.recovery.touch()));
    }

    /// The options as the program sees them.
    pub(super) fn options(&self) -> SocketOptions {
        SocketOptions {
            nodelay: self.flags.has(Flags::NODELAY),
            cork: self.flags.has(Flags::CORK),
            quick_ack: self.flags.has(Flags::ACK_QUICKLY),
            keep_alive: self.patience.as_ref().and_then(|p| p.keep_alive),
            user_timeout: self.patience.as_ref().and_then(|p| p.user_timeout),
        }
    }

    pub(super) fn set_options(&mut self, options: &SocketOptions) {
        let SocketOptions { nodelay, cork, quick_ack, keep_alive, user_timeout } = *options;
        for (on, flag) in [(nodelay, Flags::NODELAY), (cork, Flags::CORK), (quick_ack, Flags::ACK_QUICKLY)] {
            if on { self.flags.set(flag) } else { self.flags.clear(flag) }
        }
        let patient = keep_alive.is_some() || user_timeout.is_some();
        self.patience = patient.then(|| Box::new(Patience { keep_alive, user_timeout }));
    }

    /// The sequence number behind everything that may be sent now: data, and the FIN if there is one.
    #[inline]
    pub(super) fn end(&self) -> Seq {
        self.recovery.una() + self.unacked()
    }

    /// Bytes of sequence space from the oldest unacknowledged one to the end.
    #[inline]
    pub(super) fn unacked(&self) -> u32 {
        let fin = self.flags.has(Flags::FIN) && !self.fin_acked();
        self.tx.len() as u32 + u32::from(fin)
    }

    /// Whether our FIN has been sent and acknowledged, as far as the state tells.
    #[inline]
    pub(super) fn fin_acked(&self) -> bool {
        matches!(self.state, State::FinWait2 | State::TimeWait | State::Closed)
    }

    /// What has not been sent at all, in bytes of sequence space.
    #[inline]
    pub(super) fn unsent(&self) -> u32 {
        self.end().since(self.recovery.nxt())
    }

    /// Where the peer's window ends.
    #[inline]
    pub(super) fn window_end(&self) -> Seq {
        self.recovery.una() + self.snd_wnd
    }

    /// What is left of the window that we have promised.
    #[inline]
    pub(super) fn promised(&self) -> u32 {
        self.rcv_adv.since(self.rcv_nxt)
    }

    /// The largest window that we ever announce: that of the buffer, or what the header can tell.
    #[inline]
    pub(super) fn most_window(&self) -> u32 {
        self.rcv_limit.min(u32::from(u16::MAX) << self.rcv_scale)
    }

    /// The window that there is room for.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        let free = self.rcv_limit.saturating_sub(u32::try_from(self.rx.readable()).unwrap_or(u32::MAX));
        free.min(self.most_window())
    }

    /// Whether the program may still send.
    #[inline]
    pub(super) fn may_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait) && !self.flags.has(Flags::FIN)
    }

    /// Whether the peer may still send.
    #[inline]
    pub(super) fn may_receive(&self) -> bool {
        matches!(self.state, State::Established | State::FinWait1 | State::FinWait2)
    }

    /// Whether both sides know each other's sequence numbers.
    #[inline]
    pub(super) fn is_synchronized(&self) -> bool {
        !matches!(self.state, State::SynSent | State::SynReceived)
    }

    /// Our clock for timestamps: milliseconds, from an offset that is no one else's business.
    #[inline]
    pub(super) fn ts_now(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    /// The silence after which the next keep-alive probe is due, if there are any.
    pub(super) fn keep_alive_at(&self) -> Instant {
        let Some(KeepAlive { idle, interval, .. }) = self.keep_alive() else { return NEVER };
        if self.is_synchronized() && self.unacked() == 0 {
            let silence = idle.saturating_add(interval.saturating_mul(u32::from(self.kept_alive)));
            self.heard_at + silence
        } else {
            NEVER
        }
    }

    /// When something must be done though nothing comes.
    #[inline]
    pub(super) fn deadline(&self) -> Instant {
        let retransmission = self.recovery.deadline().unwrap_or(NEVER);
        // One that leaves with the next egress is due no more: its time may have come already.
        let ack_waits = self.flags.has(Flags::ACK_DUE) && !self.flags.has(Flags::ACK_NOW);
        let ack = if ack_waits { self.ack_at } else { NEVER };
        let rest = if self.patience.is_none() { NEVER } else { self.keep_alive_at().min(self.user_timeout_at()) };
        retransmission.min(ack).min(self.state_at).min(rest)
    }

    /// When the user's limit for unacknowledged data is over.
    pub(super) fn user_timeout_at(&self) -> Instant {
        let waits = self.unacked() > 0 || !self.is_synchronized();
        self.user_timeout().filter(|_| waits).map_or(NEVER, |limit| self.unacked_since + limit)
    }

    pub(super) fn keep_alive(&self) -> Option<KeepAlive> {
        self.patience.as_ref()?.keep_alive
    }

    pub(super) fn user_timeout(&self) -> Option<Duration> {
        self.patience.as_ref()?.user_timeout
    }
}
