//! What one sender may send, and what it must send again: pure state and numbers, no bytes and no I/O.
//!
//! A [`Recovery`] belongs to one established connection. It is told what was sent ([`Recovery::sent`]), what was
//! acknowledged ([`Recovery::ack`]) and when its deadline passed ([`Recovery::expired`]); it answers what to send next
//! ([`Recovery::next`]). A FIN is one more byte at the end of the stream; a SYN is not seen here.
//!
//! With selective acknowledgements losses are found by RACK-TLP (RFC 8985), without them by duplicate acknowledgements
//! (RFC 5681, 6582); in both cases the window falls proportionally (RFC 9937), a timeout is the last resort (RFC 6298),
//! and what proves to have been needless is undone (RFC 5682, 4015, 3708). Where these leave room, Linux is followed.
//!
//! * `ring` – the segments in flight and the sums over them (RFC 6675, `Pipe`)
//! * `holes` – ranges selectively acknowledged; retransmissions in the order in which they were sent
//! * `rtt`, `rack`, `prr`, `pacer` – one mechanism each
//! * `acked` – the course of an acknowledgement
//! * `timer` – what waits for time

mod acked;
mod holes;
mod pacer;
mod prr;
mod rack;
mod ring;
mod rtt;
#[cfg(test)]
mod tests;
mod timer;

use std::time::Duration;

use holes::Holes;
use pacer::Pacer;
use prr::Prr;
use rack::Rack;
use ring::{Ring, SACKED};
use rtt::Rtt;
use timer::Timer;

use crate::stack::config::{CongestionControl, TcpConfig};
use crate::stack::tcp::congestion::Congestion;
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// What the handshake agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    /// Whether selective acknowledgements may come (RFC 2018).
    pub(crate) sack: bool,
    /// The tick of our timestamp clock, if both sides send timestamps (RFC 7323).
    pub(crate) timestamps: Option<Duration>,
    /// Payload bytes of a full segment, what options take already taken off.
    pub(crate) mss: u16,
}

/// The same in eight bytes.
#[derive(Clone, Copy, Debug)]
struct Terms {
    sack: bool,
    mss: u16,
    /// Nanoseconds; 0: no timestamps.
    tick: u32,
}

impl Terms {
    fn timestamps(self) -> Option<Duration> {
        Some(self.tick).filter(|tick| *tick > 0).map(|tick| Duration::from_nanos(tick.into()))
    }
}

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// These bytes again, as one segment.
    Resend {
        /// The first of them.
        seq: Seq,
        /// How many; not more than the MSS.
        len: u32,
    },
    /// New data, from [`Recovery::nxt`] on.
    New {
        /// How many bytes at most: whole segments, or all that there is or that the peer's window takes.
        max: u32,
    },
    /// There is something, but not before then.
    Paced(Instant),
    /// Nothing, until something else happens.
    Nothing,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack<'a> {
    /// The acknowledgement number.
    pub(crate) ack: Seq,
    /// SACK blocks as they came, left edge and right edge. Anything may stand in them.
    pub(crate) sacks: &'a [(Seq, Seq)],
    /// Our timestamp clock less the echoed timestamp, in whole ticks.
    pub(crate) echo_rtt: Option<Duration>,
    /// Whether it changed the peer's window.
    pub(crate) window_changed: bool,
    /// Whether the segment holds payload, a SYN or a FIN.
    pub(crate) has_payload: bool,
    /// ECN-echo (RFC 3168), on a connection that uses it.
    pub(crate) ece: bool,
}

/// What an acknowledgement told. Counts are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Newly acknowledged cumulatively.
    pub(crate) bytes: u32,
    /// Newly acknowledged selectively.
    pub(crate) sacked: u32,
    /// Newly found lost.
    pub(crate) lost: u32,
    /// A round-trip time.
    pub(crate) rtt: Option<Duration>,
    /// Whether it was a duplicate acknowledgement (RFC 5681, 2).
    pub(crate) duplicate: bool,
    /// Whether it told of a needless retransmission (RFC 2883).
    pub(crate) dsack: bool,
    /// Whether a fast recovery began.
    pub(crate) entered: bool,
    /// Whether a recovery or timeout proved needless, and was undone.
    pub(crate) spurious: bool,
}

/// What a deadline brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing: there is another deadline now, or none.
    Nothing,
    /// Segments are lost: [`Recovery::next`] has them.
    Lost {
        /// Whether a fast recovery began.
        entered: bool,
    },
    /// The tail may be lost: [`Recovery::next`] has a probe.
    Probe,
    /// A retransmission timeout: [`Recovery::next`] has the oldest segment.
    Timeout {
        /// How many there were since something was last acknowledged, this one included.
        count: u32,
    },
}

/// What is done about losses at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// None are known.
    Open,
    /// The window falls because the network asked for it (RFC 3168); none are known.
    Reduction,
    /// Losses are being repaired.
    Recovery,
    /// A retransmission timeout is being repaired.
    Loss,
}

/// What a connection's sender knows, for those who want to see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// Smoothed round-trip time; zero before the first sample.
    pub(crate) rtt: Duration,
    /// Its variation.
    pub(crate) rtt_var: Duration,
    /// The shortest of the last minutes.
    pub(crate) min_rtt: Duration,
    /// The retransmission timeout.
    pub(crate) rto: Duration,
    /// Congestion window, bytes.
    pub(crate) cwnd: u32,
    /// Where slow start ends, bytes; `u32::MAX` if no loss has told yet.
    pub(crate) ssthresh: u32,
    /// In flight, bytes.
    pub(crate) in_flight: u32,
    /// Selectively acknowledged, bytes.
    pub(crate) sacked: u32,
    /// Waiting to be sent again, bytes.
    pub(crate) lost: u32,
    /// Whether the path has been seen to reorder.
    pub(crate) reordering_seen: bool,
    /// Retransmission timeouts since something was last acknowledged.
    pub(crate) timeouts: u32,
    /// What is done about losses.
    pub(crate) phase: Phase,
    /// Bytes per second; 0 if segments are not paced.
    pub(crate) pacing_rate: u64,
}

/// More than the largest window cannot be outstanding, and sequence numbers would not tell before from after.
const MAX_OUTSTANDING: u32 = 1 << 30;

/// Whether a timeout was needless (RFC 5682).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frto {
    /// Not asked, or decided.
    Off,
    /// Only the oldest segment has been sent again; the first acknowledgement is awaited.
    Waiting,
    /// It moved the left edge: new data goes out rather than retransmissions, and the answer to it tells.
    Probing,
}

/// What there is to undo should the present or last recovery prove needless.
#[derive(Clone, Copy, Debug)]
struct Undo {
    /// Whether there is something.
    armed: bool,
    /// Whether anything was resent in it.
    resent: bool,
    /// Whether it was for a timeout.
    timed_out: bool,
    /// Bytes resent in it that the receiver has not said to have had already.
    unproven: u32,
    /// When the first of them was sent.
    first: Instant,
    /// All of them lie behind this.
    from: Seq,
    /// Forgotten when all before this is acknowledged and the recovery is over.
    until: Seq,
}

/// The sender's side of one connection, as far as it is numbers. What nothing but a loss touches comes last.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Recovery {
    ring: Ring,
    rtt: Rtt,
    rack: Rack,
    timer: Timer,
    /// When something was last sent.
    last_sent: Instant,
    /// Most that was outstanding in this round trip, bytes.
    usage: u32,
    usage_until: Seq,
    timeouts: u32,
    /// Duplicate acknowledgements in a row, without SACK.
    duplicates: u32,
    /// Bytes that have arrived by their word.
    presumed: u32,
    agreed: Terms,
    phase: Phase,
    pacing: bool,
    /// Nothing odd is going on: no segment has a mark, nothing is being repaired, probed or undone.
    calm: bool,
    /// A tail loss probe is due.
    probe: bool,
    /// Whether the window is in the way of more, as of `usage_until` (RFC 7661).
    limited: bool,
    /// No recovery may begin before more than what was recovered is acknowledged (RFC 6582, 3.2 step 1).
    hold: bool,
    congestion: Congestion,

    frto: Frto,
    /// The receiver has seen this tail loss probe, if `probed`.
    probed: bool,
    /// The probe held nothing new.
    probe_resent: bool,
    probe_end: Seq,
    /// The recovery ends when all before this is acknowledged.
    recover: Seq,
    prr: Prr,
    pacer: Pacer,
    undo: Undo,
    holes: Option<Box<Holes>>,
}

impl Recovery {
    /// For a connection that has just been established; `first` is the first byte's sequence number.
    pub(crate) fn new(config: &TcpConfig, congestion: CongestionControl, agreed: Agreed, first: Seq) -> Self {
        let tick = agreed.timestamps.map_or(0, |tick| u32::try_from(tick.as_nanos()).unwrap_or(u32::MAX).max(1));
        let agreed = Terms { sack: agreed.sack, mss: agreed.mss.max(1), tick };
        Self {
            ring: Ring::new(first),
            holes: None,
            timer: Timer::default(),
            rtt: Rtt::new(config, first),
            rack: Rack::new(first),
            congestion: Congestion::new(congestion, u32::from(agreed.mss), config.initial_window, first),
            prr: Prr::default(),
            pacer: Pacer::default(),
            undo: Undo {
                armed: false,
                resent: false,
                timed_out: false,
                unproven: 0,
                first: Instant::ZERO,
                from: first,
                until: first,
            },
            agreed,
            phase: Phase::Open,
            frto: Frto::Off,
            pacing: config.pacing,
            calm: true,
            probe: false,
            limited: false,
            hold: false,
            probe_end: first,
            probed: false,
            probe_resent: false,
            duplicates: 0,
            presumed: 0,
            recover: first,
            usage: 0,
            usage_until: first,
            timeouts: 0,
            last_sent: Instant::ZERO,
        }
    }

    /// What the handshake told: its round-trip time, unless it had to be repeated and no timestamp tells, and how often
    /// it was repeated.
    pub(crate) fn handshake(&mut self, now: Instant, rtt: Option<Duration>, resent: u32) {
        self.last_sent = now;
        match rtt {
            Some(rtt) => {
                let rtt = nanos(rtt);
                self.rtt.sample(rtt, self.una(), self.nxt());
                self.rtt.sample_min(now, rtt);
                self.set_pace();
            }
            None if resent > 0 => self.rtt.handshake_lost(),
            None => {}
        }
        if resent > 1 {
            self.congestion.start_small();
        }
    }

    /// Reads something of each cache line, for nothing but their being there soon.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        self.ring.touch() ^ self.rtt.touch() ^ self.rack.touch() ^ self.last_sent.as_nanos()
    }

    /// The oldest unacknowledged byte.
    #[inline(always)]
    pub(crate) fn una(&self) -> Seq {
        self.ring.una()
    }

    /// The next byte that was never sent.
    #[inline(always)]
    pub(crate) fn nxt(&self) -> Seq {
        self.ring.nxt()
    }

    /// Bytes believed to be in the network (RFC 6675, `Pipe`); what was sent twice counts twice.
    #[inline(always)]
    pub(crate) fn in_flight(&self) -> u32 {
        self.ring.pipe().saturating_sub(self.presumed)
    }

    /// Bytes sent and not acknowledged cumulatively.
    #[inline(always)]
    pub(crate) fn outstanding(&self) -> u32 {
        self.ring.outstanding()
    }

    /// The retransmission timeout as it is now.
    pub(crate) fn rto(&self) -> Duration {
        Duration::from_nanos(self.rtt.rto())
    }

    /// The retransmission timeout doubled `n` times.
    pub(crate) fn backoff(&self, n: u32) -> Duration {
        Duration::from_nanos(self.rtt.backed_off(n))
    }

    /// For those who want to see it.
    pub(crate) fn numbers(&self) -> Numbers {
        Numbers {
            rtt: Duration::from_nanos(self.rtt.srtt()),
            rtt_var: Duration::from_nanos(self.rtt.variation()),
            min_rtt: Duration::from_nanos(self.rtt.min()),
            rto: self.rto(),
            cwnd: self.congestion.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            in_flight: self.in_flight(),
            sacked: self.ring.sacked(),
            lost: self.ring.due(),
            reordering_seen: self.rack.reordering_seen(),
            timeouts: self.timeouts,
            phase: self.phase,
            pacing_rate: self.pacer.rate(),
        }
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.ring.heap_bytes() + self.holes.as_ref().map_or(0, |holes| holes.heap_bytes())
    }

    /// What to send next, if `unsent` bytes wait behind [`nxt`](Self::nxt) and the peer takes what lies before
    /// `window_end`. May be asked as often as one likes.
    #[inline]
    pub(crate) fn next(&mut self, now: Instant, unsent: u32, window_end: Seq) -> Next {
        if unsent == 0 && (self.calm || (self.ring.due() == 0 && !self.probe)) {
            return Next::Nothing;
        }
        // The usual case: new data, and room for all of it.
        let awake = !self.ring.is_empty() || now.nanos_since(self.last_sent) < self.rtt.min_rto();
        if self.calm && !self.pacing && awake {
            let window = window_end.since(self.nxt());
            if unsent <= window && window <= MAX_OUTSTANDING && unsent <= self.room() {
                return Next::New { max: unsent };
            }
        }
        self.choose(now, unsent, window_end)
    }

    #[inline(never)]
    fn choose(&mut self, now: Instant, unsent: u32, window_end: Seq) -> Next {
        let mss = u32::from(self.agreed.mss);
        let window = if window_end.after(self.nxt()) { window_end.since(self.nxt()) } else { 0 };
        let new = unsent.min(window);
        if self.probe {
            if let Some(next) = self.choose_probe(new, window_end) {
                return next;
            }
            self.probe = false;
        }
        if self.frto == Frto::Probing && new == 0 && self.nxt() == self.recover {
            // There is nothing to ask with: the timeout is taken for a real one (RFC 5682, 2.1 step 2b).
            self.frto = Frto::Off;
        }
        if self.frto != Frto::Probing {
            if let Some((seq, len)) = self.due(window_end) {
                if self.room() < len && self.in_flight() > 0 {
                    return Next::Nothing;
                }
                // What begins a repair is not held back.
                let urgent = self.prr.is_fresh() || seq == self.una();
                if let Some(at) = self.pace(now).filter(|_| !urgent) {
                    return Next::Paced(at);
                }
                return Next::Resend { seq, len };
            }
        }
        if new == 0 {
            return Next::Nothing;
        }
        if self.ring.is_empty() {
            self.after_idle(now);
        }
        let room = self.room();
        if room < new.min(mss) {
            return Next::Nothing;
        }
        if let Some(at) = self.pace(now) {
            return Next::Paced(at);
        }
        Next::New { max: if room < new { room - room % mss } else { new } }
    }

    /// Bytes that may be sent, the window taken to the nearest whole segment: only whole segments leave, and to cut off
    /// every fraction would waste half a segment on the average, a tenth of the window on a path with much loss.
    #[inline]
    fn room(&self) -> u32 {
        (self.congestion.cwnd() + u32::from(self.agreed.mss) / 2).saturating_sub(self.in_flight())
    }

    /// The window is lowered if nothing was sent for longer than a timeout.
    fn after_idle(&mut self, now: Instant) {
        let (idle, rto) = (now.nanos_since(self.last_sent), self.rtt.rto());
        if idle > rto {
            self.congestion.on_idle(idle, rto);
            self.last_sent = now;
        }
    }

    /// The oldest bytes that wait to be sent again and that the peer's window takes, as many as fit into one segment.
    /// The very oldest ones go out whatever the window: a receiver that has closed it must not stop them (RFC 9293,
    /// 3.8.6).
    fn due(&mut self, window_end: Seq) -> Option<(Seq, u32)> {
        let mss = u32::from(self.agreed.mss);
        let mut index = self.ring.first_due()?;
        let first = *self.ring.get(index)?;
        let mut end = first.end;
        while end.since(first.start) < mss {
            index += 1;
            match self.ring.get(index) {
                Some(record) if record.is_due() && record.end.since(first.start) <= mss => end = record.end,
                _ => break,
            }
        }
        if first.start != self.una() {
            end = end.min(window_end);
        }
        let len = if end.after(first.start) { end.since(first.start).min(mss) } else { 0 };
        (len > 0).then_some((first.start, len))
    }

    /// The probe that is due: new data if there is some, otherwise the last segment (RFC 8985, 7.3). The window does
    /// not count.
    fn choose_probe(&self, new: u32, window_end: Seq) -> Option<Next> {
        let mss = u32::from(self.agreed.mss);
        if new > 0 {
            return Some(Next::New { max: new.min(mss) });
        }
        let last = self.ring.back().filter(|last| !last.has(SACKED)).or(self.ring.front());
        let last = last.filter(|last| !last.has(SACKED) && last.end.at_or_before(window_end))?;
        let len = last.len().min(mss);
        Some(Next::Resend { seq: last.end - len, len })
    }

    /// A segment has left: `len` sequence numbers from `seq` on. What lies before [`nxt`](Self::nxt) has been sent
    /// before.
    #[inline(never)]
    pub(crate) fn sent(&mut self, now: Instant, seq: Seq, len: u32) {
        if len == 0 || seq.after(self.nxt()) || len > MAX_OUTSTANDING.saturating_sub(self.outstanding()) {
            return;
        }
        self.last_sent = now;
        if self.pacing {
            self.pacer.sent(now, len);
        }
        if seq == self.nxt() {
            self.sent_new(now, len);
        } else {
            let end = seq + len;
            self.sent_again(now, seq.max(self.una()), end.min(self.nxt()));
            if end.after(self.nxt()) {
                self.sent_new(now, end.since(self.nxt()));
            }
        }
        self.settle();
    }

    /// As [`sent`](Self::sent), where `len` sequence numbers from [`nxt`](Self::nxt) on have left, not more than
    /// [`next`](Self::next) allowed.
    #[inline(always)]
    pub(crate) fn sent_next(&mut self, now: Instant, len: u32) {
        if !self.calm || self.pacing {
            return self.sent(now, self.nxt(), len);
        }
        self.last_sent = now;
        let was_empty = self.ring.is_empty();
        self.ring.push(now, len);
        self.use_window();
        self.arm_sent_calm(now, was_empty);
    }

    /// Notes whether nothing odd is going on.
    pub(super) fn settle(&mut self) {
        self.calm = self.is_calm();
    }

    /// What [`calm`](Self::calm) stands for.
    fn is_calm(&self) -> bool {
        self.phase == Phase::Open
            && self.ring.is_plain()
            && !self.undo.armed
            && !self.probed
            && !self.probe
            && self.presumed == 0
            && !self.is_judging()
    }

    /// Notes how much of the window is used: the most of a round trip counts, and once in a round trip the word that
    /// the window was in the way (Linux).
    #[inline]
    fn use_window(&mut self) {
        let outstanding = self.outstanding();
        let limited = self.room() < u32::from(self.agreed.mss);
        if limited || !self.una().before(self.usage_until) || (!self.limited && outstanding > self.usage) {
            (self.limited, self.usage, self.usage_until) = (limited, outstanding, self.nxt());
        }
    }

    fn sent_new(&mut self, now: Instant, len: u32) {
        let was_empty = self.ring.is_empty();
        self.ring.push(now, len);
        if self.phase != Phase::Open {
            self.prr.sent(len);
        }
        if self.probe {
            (self.probe, self.probed, self.probe_resent, self.probe_end) = (false, true, false, self.nxt());
        }
        self.use_window();
        self.arm_sent(now, was_empty);
    }

    #[cold]
    fn sent_again(&mut self, now: Instant, start: Seq, end: Seq) {
        let head = self.una();
        let mut index = self.ring.find(start);
        while let Some(record) = self.ring.get(index).copied().filter(|record| record.start.before(end)) {
            if record.start.before(start) {
                self.ring.split(index, start);
                index += 1;
                continue;
            }
            if record.end.after(end) {
                self.ring.split(index, end);
                continue;
            }
            if !record.has(SACKED) {
                self.ring.resend(index, now);
                self.holes.get_or_insert_default().push_resent(record.start, now);
                self.prr.sent(record.len());
                if self.undo.armed {
                    if !self.undo.resent {
                        (self.undo.resent, self.undo.first) = (true, now);
                    }
                    self.undo.unproven = self.undo.unproven.saturating_add(record.len());
                }
            }
            index += 1;
        }
        if self.probe {
            (self.probe, self.probed, self.probe_resent, self.probe_end) = (false, true, true, self.nxt());
        }
        self.arm_resent(now, start == head);
    }

    /// Until when to wait for the pacer.
    fn pace(&mut self, now: Instant) -> Option<Instant> {
        if self.pacing { self.pacer.wait(now, u32::from(self.agreed.mss)) } else { None }
    }

    /// The pacing rate follows the window.
    #[inline]
    fn set_pace(&mut self) {
        if self.pacing {
            self.pacer.set_rate(self.congestion.pacing_rate(self.rtt.srtt(), self.outstanding()));
        }
    }

    /// The size of a segment changes. If it falls, what is larger did not get through: it is cut and sent again, and
    /// that is no congestion (RFC 1191, 6.5).
    pub(crate) fn set_mss(&mut self, now: Instant, mss: u16) {
        let mss = mss.max(1);
        self.agreed.mss = mss;
        self.congestion.set_mss(u32::from(mss));
        if !self.ring.cut(u32::from(mss)) {
            return;
        }
        self.probe = false;
        if matches!(self.phase, Phase::Open | Phase::Reduction) {
            self.phase = Phase::Loss;
            self.frto = Frto::Off;
            self.undo.armed = false;
            self.recover = self.nxt();
            self.prr = Prr::new(self.outstanding());
        }
        self.presumed = 0;
        self.arm_acked(now, false, None);
        self.settle();
    }
}

/// The timeout of the `n`-th (0, 1, ..) SYN or SYN-ACK (RFC 6298, 2.1 and 5.5).
pub(crate) fn initial_rto(config: &TcpConfig, n: u32) -> Duration {
    Duration::from_nanos(rtt::INITIAL.saturating_mul(1 << n.min(31))).min(config.max_rto)
}

/// Nanoseconds, saturating.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
