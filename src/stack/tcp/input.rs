//! A segment arrives for a connection (RFC 9293, 3.10.7.4, with RFC 5961 and RFC 7323).
//!
//! Nothing is sent from here: what must be answered is noted in the connection, which is put into the queue of those that
//! have something to send. So one acknowledgement answers a burst of segments, and rides on the program's answer where
//! there is one.

use super::Cx;
use super::options::State;
use super::recovery::Ack;
use super::segment::Segment;
use super::seq::Seq;
use super::tcb::{Flags, NEVER, Tcb};
use crate::stack::chunk::Carrier;
use crate::stack::{Instant, Readiness, SocketError};
use crate::wire::tcp::Flags as Bits;
use std::ops::Range;
use std::time::Duration;

/// How long a timestamp of the peer is remembered for PAWS (RFC 7323, 5.5): 24 days.
const TS_RECENT_LIFE: Duration = Duration::from_secs(24 * 86400);

/// What becomes of a connection after a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It lives on.
    Stays,
    /// It is over in order, and a record answers what still comes.
    TimeWait,
    /// It is over: reset by the peer, or the last acknowledgement has come.
    Over,
    /// It is over, and the peer is told so by a reset.
    Reset,
    /// It lives on, but this segment is none of it: its sender is told so by a reset.
    Refused,
}

impl Tcb {
    /// Takes a segment in. `packet` is what its payload lies in, and is kept if it must be.
    #[inline]
    pub(super) fn receive(&mut self, index: u32, seg: &Segment, packet: impl Carrier, cx: &mut Cx<'_>) -> Verdict {
        if self.is_expected(seg) {
            return self.receive_expected(index, seg, packet, cx);
        }
        self.receive_any(index, seg, packet, cx)
    }

    /// Header prediction: whether this is payload that is next in order, on a connection on which nothing else is going on.
    /// Most segments are of this kind, and none of the general case's questions needs to be asked about them.
    #[inline(always)]
    fn is_expected(&self, seg: &Segment) -> bool {
        let in_order = seg.seq == self.rcv_nxt && !self.rx.has_gaps();
        let fits = seg.len.wrapping_sub(1) < self.promised();
        let plain = seg.flags.without(Bits::PSH) == Bits::ACK && self.state == State::Established;
        let on_time = match seg.timestamps {
            Some((val, _)) => (val.wrapping_sub(self.ts_recent) as i32) >= 0,
            None => !self.flags.has(Flags::TIMESTAMPS),
        };
        in_order
            && fits
            && plain
            && on_time
            && self.fin_at.is_none()
            && !self.flags.any(Flags::READ_SHUT.or(Flags::ORPHAN))
    }

    /// Takes in what [is expected](Self::is_expected).
    #[inline(always)]
    fn receive_expected(&mut self, index: u32, seg: &Segment, packet: impl Carrier, cx: &mut Cx<'_>) -> Verdict {
        self.heard_at = cx.now;
        self.kept_alive = 0;
        if !self.receive_expected_ack(index, seg, cx) {
            match self.receive_ack(index, seg, cx) {
                Some(Verdict::Stays) => {}
                Some(over) => return over,
                None => return Verdict::Stays,
            }
        }
        self.rcv_mss = self.rcv_mss.max(seg.len.min(u32::from(u16::MAX)) as u16);
        let range = seg.start as usize..(seg.start + seg.len) as usize;
        if self.rx.push(cx.buffers, packet, range) {
            self.received(index, seg.len, cx);
        } else {
            // As good as lost for want of memory.
            cx.shared.stats.rx_no_memory += 1;
            self.flags.set(Flags::ACK_NOW);
        }
        self.enqueue(index, cx);
        Verdict::Stays
    }

    /// Takes an acknowledgement in short, if it says nothing but that data has arrived which was sent once. Returns whether it
    /// does; otherwise nothing has been done.
    #[inline(always)]
    fn receive_expected_ack(&mut self, index: u32, seg: &Segment, cx: &mut Cx<'_>) -> bool {
        if !seg.sacks().is_empty() {
            return false;
        }
        let Some((acked, rtt)) = self.recovery.ack_plain(cx.now, seg.ack) else { return false };
        cx.shared.rtt.record(rtt);
        self.remember_timestamp(seg, cx.now);
        self.update_window(seg);
        self.acknowledged_data(index, acked as usize, cx);
        if !self.tx.is_empty() {
            self.enqueue(index, cx);
        }
        true
    }

    /// Takes in whatever is not expected.
    #[inline(never)]
    fn receive_any(&mut self, index: u32, seg: &Segment, packet: impl Carrier, cx: &mut Cx<'_>) -> Verdict {
        if !self.is_synchronized() {
            return self.receive_opening(index, seg, packet, cx);
        }
        if !self.acceptable(index, seg, cx) {
            return Verdict::Stays;
        }
        if seg.flags.intersects(Bits::RST | Bits::SYN) {
            return self.receive_rst_or_syn(index, seg, cx);
        }
        if !seg.flags.contains(Bits::ACK) {
            return Verdict::Stays;
        }
        self.receive_acceptable(index, seg, packet, cx)
    }

    /// What follows the checks of sequence number, RST and SYN: acknowledgement, payload, FIN.
    pub(super) fn receive_acceptable(
        &mut self,
        index: u32,
        seg: &Segment,
        packet: impl Carrier,
        cx: &mut Cx<'_>,
    ) -> Verdict {
        self.heard_at = cx.now;
        self.kept_alive = 0;
        match self.receive_ack(index, seg, cx) {
            Some(Verdict::Stays) => {}
            Some(over) => return over,
            None => return Verdict::Stays,
        }
        if seg.len > 0 || seg.flags.contains(Bits::FIN) {
            return self.receive_text(index, seg, packet, cx);
        }
        Verdict::Stays
    }

    /// Whether the peer's last timestamp is so old that its clock may have gone half around since (RFC 7323, 5.5).
    #[cold]
    fn ts_recent_expired(&self, now: Instant) -> bool {
        now.saturating_since(self.ts_recent_at) >= TS_RECENT_LIFE
    }

    /// PAWS and the check of the sequence number. What fails is answered by an acknowledgement that says where we are.
    #[inline]
    fn acceptable(&mut self, index: u32, seg: &Segment, cx: &mut Cx<'_>) -> bool {
        let rst = seg.flags.contains(Bits::RST);
        if self.flags.has(Flags::TIMESTAMPS) && !rst {
            // RFC 7323, 3.2: what lacks the timestamp that was agreed on is none of the peer's.
            let Some((val, _)) = seg.timestamps else {
                cx.shared.stats.rx_paws_dropped += 1;
                return false;
            };
            if (val.wrapping_sub(self.ts_recent) as i32) < 0 && !self.ts_recent_expired(cx.now) {
                cx.shared.stats.rx_paws_dropped += 1;
                self.answer_unacceptable(index, seg, cx);
                return false;
            }
        }
        let end = seg.end();
        let new = if seg.seq_len() == 0 { seg.seq.at_or_after(self.last_ack) } else { end.after(self.rcv_nxt) };
        if new && seg.seq.at_or_before(self.rcv_adv) {
            return true;
        }
        if rst {
            // In doubt a reset is nobody's (RFC 5961, 3.2).
            cx.shared.stats.rx_outside_window += 1;
            return false;
        }
        if end.at_or_before(self.rcv_nxt) {
            if seg.len > 0 {
                cx.shared.stats.rx_duplicates += 1;
                self.note_duplicate(seg.seq, seg.seq + seg.len);
            }
        } else {
            cx.shared.stats.rx_outside_window += 1;
        }
        self.answer_unacceptable(index, seg, cx);
        false
    }

    /// Says where we are. Without a payload to answer for it counts as a challenge, so that two ends that disagree do not
    /// answer each other for ever.
    fn answer_unacceptable(&mut self, index: u32, seg: &Segment, cx: &mut Cx<'_>) {
        if seg.seq_len() > 0 && !seg.flags.contains(Bits::SYN) {
            self.ack_now(index, cx);
        } else {
            self.challenge(index, cx);
        }
    }

    /// RFC 5961, 3.2 and 4.2: a reset counts if it stands exactly where the stream does, a SYN never.
    #[cold]
    fn receive_rst_or_syn(&mut self, index: u32, seg: &Segment, cx: &mut Cx<'_>) -> Verdict {
        if seg.flags.contains(Bits::RST) && seg.seq == self.rcv_nxt {
            cx.shared.stats.resets_received += 1;
            if self.error.is_none() {
                self.error = Some(SocketError::ConnectionReset);
            }
            return Verdict::Over;
        }
        self.challenge(index, cx);
        Verdict::Stays
    }

    /// Takes the acknowledgement. `None`: the segment is to be dropped.
    #[inline(never)]
    fn receive_ack(&mut self, index: u32, seg: &Segment, cx: &mut Cx<'_>) -> Option<Verdict> {
        let una = self.recovery.una();
        if seg.ack.after(self.recovery.nxt()) || seg.ack.before(una - self.max_snd_wnd) {
            // RFC 5961, 5.2.
            self.challenge(index, cx);
            return None;
        }
        self.remember_timestamp(seg, cx.now);
        if seg.ack.before(una) {
            return Some(Verdict::Stays);
        }
        let window_changed = self.update_window(seg);
        if seg.ack == una && self.recovery.outstanding() == 0 && seg.sacks().is_empty() {
            // Nothing is acknowledged. A window that has opened may let something out.
            if self.unacked() > 0 {
                self.enqueue(index, cx);
            }
            return Some(Verdict::Stays);
        }
        let echo_rtt = match seg.timestamps {
            Some((_, ecr)) if ecr != 0 && self.flags.has(Flags::TIMESTAMPS) => {
                let ms = self.ts_now(cx.now).wrapping_sub(ecr);
                ((ms as i32) >= 0).then(|| Duration::from_millis(u64::from(ms)))
            }
            _ => None,
        };
        let acked = self.recovery.ack(
            cx.now,
            &Ack {
                ack: seg.ack,
                sacks: seg.sacks(),
                echo_rtt,
                window_changed,
                has_payload: seg.seq_len() > 0,
                ece: false,
            },
        );
        cx.count_ack(&acked);
        if acked.bytes > 0 {
            let data = (acked.bytes as usize).min(self.tx.len());
            self.acknowledged_data(index, data, cx);
            if acked.bytes as usize > data {
                let verdict = self.fin_acknowledged(cx);
                if verdict != Verdict::Stays {
                    return Some(verdict);
                }
            }
        }
        if self.unacked() > 0 {
            self.enqueue(index, cx);
        }
        Some(Verdict::Stays)
    }

    /// The timestamp to be echoed (RFC 7323, 4.3).
    #[inline(always)]
    fn remember_timestamp(&mut self, seg: &Segment, now: Instant) {
        if let Some((val, _)) = seg.timestamps
            && seg.seq.at_or_before(self.last_ack)
            && ((val.wrapping_sub(self.ts_recent) as i32) >= 0 || self.ts_recent_expired(now))
        {
            self.ts_recent = val;
            self.ts_recent_at = now;
        }
    }

    /// These bytes of the stream have arrived.
    #[inline(always)]
    fn acknowledged_data(&mut self, index: u32, bytes: usize, cx: &mut Cx<'_>) {
        self.unacked_since = cx.now;
        self.soft_error = None;
        self.tries = 0;
        self.tx.consume(cx.buffers, bytes);
        if self.flags.has(Flags::WANTS_ROOM) {
            self.tell_room(index, cx);
        }
    }

    /// RFC 9293, 3.10.7.4: an older segment does not bring an older window back. Returns whether the window is another.
    #[inline]
    fn update_window(&mut self, seg: &Segment) -> bool {
        let newer = self.snd_wl1.before(seg.seq) || self.snd_wl1 == seg.seq && self.snd_wl2.at_or_before(seg.ack);
        if !newer {
            return false;
        }
        let window = u32::from(seg.window) << self.snd_scale;
        let changed = window != self.snd_wnd;
        self.snd_wnd = window;
        self.max_snd_wnd = self.max_snd_wnd.max(window);
        self.snd_wl1 = seg.seq;
        self.snd_wl2 = seg.ack;
        if window > 0 && self.state_at != NEVER && self.state != State::FinWait2 {
            // The window is open again: no more probes.
            self.state_at = NEVER;
            self.tries = 0;
        }
        changed
    }

    /// Our FIN has arrived.
    fn fin_acknowledged(&mut self, cx: &mut Cx<'_>) -> Verdict {
        match self.state {
            State::FinWait1 => {
                if self.flags.has(Flags::OWES) {
                    self.flags.clear(Flags::OWES);
                    cx.shared.owing -= 1;
                }
                self.state = State::FinWait2;
                self.state_at =
                    if self.flags.has(Flags::ORPHAN) { cx.now + cx.shared.config.fin_wait_2 } else { NEVER };
                Verdict::Stays
            }
            State::Closing => Verdict::TimeWait,
            State::LastAck => Verdict::Over,
            _ => Verdict::Stays,
        }
    }

    /// Takes payload and FIN.
    fn receive_text(&mut self, index: u32, seg: &Segment, packet: impl Carrier, cx: &mut Cx<'_>) -> Verdict {
        if !self.may_receive() {
            // The peer has ended its stream before; what it sends now is nobody's.
            self.ack_now(index, cx);
            return Verdict::Stays;
        }
        let (mut seq, mut start, mut len) = (seg.seq, seg.start, seg.len);
        let mut fin = seg.flags.contains(Bits::FIN);
        if seq.before(self.rcv_nxt) {
            let old = self.rcv_nxt.since(seq).min(len);
            self.note_duplicate(seq, seq + old);
            (seq, start, len) = (seq + old, start + old, len - old);
            self.flags.set(Flags::ACK_NOW);
        }
        let room = self.rcv_adv.since(seq);
        if len > room {
            (len, fin) = (room, false);
            cx.shared.stats.rx_outside_window += 1;
            self.flags.set(Flags::ACK_NOW);
        }
        if let Some(fin_at) = self.fin_at {
            // Nothing stands behind a FIN.
            len = if seq.before(fin_at) { len.min(fin_at.since(seq)) } else { 0 };
        } else if fin {
            self.fin_at = Some(seq + len);
        }
        if len > 0 {
            if self.flags.has(Flags::ORPHAN) {
                // Nobody will ever read it: the peer must know (RFC 1122, 4.2.2.13).
                return Verdict::Reset;
            }
            let range = start as usize..(start + len) as usize;
            self.rcv_mss = self.rcv_mss.max(seg.len.min(u32::from(u16::MAX)) as u16);
            self.receive_payload(index, seq, range, packet, cx);
        }
        let verdict = if self.fin_at == Some(self.rcv_nxt) { self.receive_fin(index, cx) } else { Verdict::Stays };
        if len == 0 && self.fin_at.is_some() {
            // A FIN before its time.
            self.flags.set(Flags::ACK_NOW);
        }
        self.enqueue(index, cx);
        verdict
    }

    fn receive_payload(&mut self, index: u32, seq: Seq, range: Range<usize>, packet: impl Carrier, cx: &mut Cx<'_>) {
        let ready = if self.flags.has(Flags::READ_SHUT) {
            // Acknowledged and thrown away; what comes out of order is sent again.
            if seq == self.rcv_nxt { range.len() as u32 } else { 0 }
        } else if seq == self.rcv_nxt && !self.rx.has_gaps() {
            let len = range.len() as u32;
            if self.rx.push(cx.buffers, packet, range) { len } else { 0 }
        } else {
            self.receive_out_of_order(seq, range, packet, cx)
        };
        if ready == 0 {
            // Out of order, or as good as lost for want of memory.
            cx.shared.stats.rx_no_memory += u64::from(seq == self.rcv_nxt);
            self.flags.set(Flags::ACK_NOW);
            return;
        }
        self.received(index, ready, cx);
    }

    /// The next `len` bytes are there.
    #[inline(always)]
    fn received(&mut self, index: u32, len: u32, cx: &mut Cx<'_>) {
        self.rcv_nxt += len;
        self.bytes_received += u64::from(len);
        cx.shared.stats.rx_bytes += u64::from(len);
        self.acknowledge_later(cx);
        if !self.flags.has(Flags::READ_SHUT) {
            self.tell(index, Readiness::READABLE, cx);
        }
    }

    /// Payload behind a gap, or that may close one. Returns how much became readable.
    #[cold]
    fn receive_out_of_order(&mut self, seq: Seq, range: Range<usize>, packet: impl Carrier, cx: &mut Cx<'_>) -> u32 {
        self.flags.set(Flags::ACK_NOW);
        let limit = 2 * self.rcv_limit as usize;
        let placed = self.rx.receive(cx.buffers, self.rcv_nxt, seq, packet, range, limit);
        if let Some((from, to)) = placed.duplicate {
            cx.shared.stats.rx_duplicates += u64::from(placed.ready == 0 && placed.fresh == 0);
            self.note_duplicate(from, to);
        }
        cx.shared.stats.rx_out_of_order += u64::from(placed.fresh > 0);
        cx.shared.stats.rx_no_memory += u64::from(placed.dropped && placed.ready == 0);
        placed.ready
    }

    /// The peer's stream ends here.
    #[cold]
    fn receive_fin(&mut self, index: u32, cx: &mut Cx<'_>) -> Verdict {
        self.rcv_nxt += 1;
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt);
        self.fin_at = None;
        self.flags.set(Flags::FIN_RECEIVED.or(Flags::ACK_NOW));
        self.tell(index, Readiness::READABLE | Readiness::PEER_CLOSED, cx);
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            _ => return Verdict::TimeWait,
        }
        Verdict::Stays
    }

    /// Notes that something is to be acknowledged: at once for every second full segment, otherwise when there is
    /// company or time is up (RFC 9293, 3.8.6.3; RFC 5681, 4.2).
    #[inline]
    fn acknowledge_later(&mut self, cx: &Cx<'_>) {
        let waiting = self.rcv_nxt.since(self.last_ack);
        if !self.flags.has(Flags::ACK_DUE) {
            self.flags.set(Flags::ACK_DUE);
            self.ack_at = cx.now + cx.shared.config.delayed_ack;
        }
        if waiting >= 2 * u32::from(self.rcv_mss) || self.flags.has(Flags::ACK_QUICKLY) {
            self.flags.set(Flags::ACK_NOW);
        } else if self.quick > 0 && !self.flags.has(Flags::INTERACTIVE) {
            self.quick -= 1;
            self.flags.set(Flags::ACK_NOW);
        }
    }

    /// Remembers a range that came twice for the next acknowledgement, if the peer understands that.
    #[cold]
    fn note_duplicate(&mut self, from: Seq, to: Seq) {
        if self.flags.has(Flags::SACK) && from != to {
            self.duplicate = Some((from, to));
        }
    }

    /// An acknowledgement leaves with the next egress.
    pub(super) fn ack_now(&mut self, index: u32, cx: &mut Cx<'_>) {
        self.flags.set(Flags::ACK_NOW);
        self.enqueue(index, cx);
    }

    /// A challenge acknowledgement (RFC 5961), if the limit per second allows.
    #[cold]
    pub(super) fn challenge(&mut self, index: u32, cx: &mut Cx<'_>) {
        if cx.shared.challenges.allow(cx.now) {
            cx.shared.stats.challenge_acks += 1;
            self.ack_now(index, cx);
        } else {
            cx.shared.stats.challenge_acks_limited += 1;
        }
    }

    /// Tells the program that there is room, once there is enough of it to be worth while: a third of the buffer.
    pub(super) fn tell_room(&mut self, index: u32, cx: &mut Cx<'_>) {
        let free = (self.snd_limit as usize).saturating_sub(self.tx.len());
        if free >= self.snd_limit as usize / 3 {
            self.flags.clear(Flags::WANTS_ROOM);
            self.tell(index, Readiness::WRITABLE, cx);
        }
    }

    /// Notes something for the program to be told.
    #[inline]
    pub(super) fn tell(&mut self, index: u32, what: Readiness, cx: &mut Cx<'_>) {
        self.ready |= what;
        if !self.flags.any(Flags::TOLD.or(Flags::EMBRYO).or(Flags::ORPHAN)) {
            self.flags.set(Flags::TOLD);
            cx.shared.events.tell(index);
        }
    }

    /// Puts the connection into the queue of those that have something to send.
    #[inline]
    pub(super) fn enqueue(&mut self, index: u32, cx: &mut Cx<'_>) {
        if !self.flags.has(Flags::QUEUED) {
            self.flags.set(Flags::QUEUED);
            cx.shared.sending.push_back(index);
        }
    }

    /// Makes sure that the wheel wakes us no later than the next deadline.
    #[inline]
    pub(super) fn arm(&mut self, index: u32, cx: &mut Cx<'_>) {
        let at = self.deadline();
        if at < self.timer_at {
            // What is due already waits for its egress, and the wheel must not turn on the spot for it.
            self.arm_at(index, at.max(cx.now + Duration::from_nanos(1)), cx);
        }
    }

    fn arm_at(&mut self, index: u32, at: Instant, cx: &mut Cx<'_>) {
        self.timer_at = at;
        cx.shared.wheel.schedule(index, at);
    }
}
