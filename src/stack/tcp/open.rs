//! A connection that we open: SYN-SENT, and SYN-RECEIVED where both ends open at once (RFC 9293, 3.5 and 3.10.7.3).

use super::Cx;
use super::input::Verdict;
use super::options::State;
use super::recovery::{Agreed, Recovery};
use super::segment::Segment;
use super::tcb::{Flags, NEVER, Tcb};
use super::write::{Out, SynOptions};
use crate::stack::chunk::Carrier;
use crate::stack::{Readiness, SocketError};
use crate::wire::tcp::Flags as Bits;
use std::time::Duration;

/// Bytes of the timestamps in the header of a segment.
const TIMESTAMPS_LEN: u16 = 12;

impl Tcb {
    /// A segment for a connection that is not established yet.
    #[cold]
    pub(super) fn receive_opening(
        &mut self,
        index: u32,
        seg: &Segment,
        packet: impl Carrier,
        cx: &mut Cx<'_>,
    ) -> Verdict {
        if self.state == State::SynReceived {
            return self.receive_crossed(index, seg, packet, cx);
        }
        let (ack, rst) = (seg.flags.contains(Bits::ACK), seg.flags.contains(Bits::RST));
        if ack && seg.ack != self.iss + 1 {
            return if rst { Verdict::Stays } else { Verdict::Refused };
        }
        if rst {
            if !ack {
                return Verdict::Stays;
            }
            cx.shared.stats.resets_received += 1;
            self.error = Some(SocketError::ConnectionRefused);
            return Verdict::Over;
        }
        if !seg.flags.contains(Bits::SYN) {
            return Verdict::Stays;
        }
        self.agree(seg, cx);
        if ack {
            self.establish(index, seg, cx);
            self.ack_now(index, cx);
        } else {
            self.state = State::SynReceived;
            self.tries = 0;
            self.flags.set(Flags::SYN_DUE);
            self.enqueue(index, cx);
        }
        // What came with the SYN is not acknowledged, and comes again.
        Verdict::Stays
    }

    /// Both ends have sent a SYN; ours waits for its acknowledgement.
    fn receive_crossed(&mut self, index: u32, seg: &Segment, packet: impl Carrier, cx: &mut Cx<'_>) -> Verdict {
        if seg.flags.contains(Bits::SYN) && seg.seq + 1 == self.rcv_nxt && !seg.flags.contains(Bits::RST) {
            if seg.flags.contains(Bits::ACK) && seg.ack == self.iss + 1 {
                self.establish(index, seg, cx);
                self.ack_now(index, cx);
            } else {
                self.flags.set(Flags::SYN_DUE);
                self.enqueue(index, cx);
            }
            return Verdict::Stays;
        }
        let in_window = seg.seq.at_or_after(self.rcv_nxt) && seg.seq.at_or_before(self.rcv_adv);
        if !in_window {
            if !seg.flags.contains(Bits::RST) {
                self.challenge(index, cx);
            }
            return Verdict::Stays;
        }
        if seg.flags.intersects(Bits::RST | Bits::SYN) {
            if seg.flags.contains(Bits::RST) && seg.seq == self.rcv_nxt {
                cx.shared.stats.resets_received += 1;
                self.error = Some(SocketError::ConnectionRefused);
                return Verdict::Over;
            }
            self.challenge(index, cx);
            return Verdict::Stays;
        }
        if !seg.flags.contains(Bits::ACK) {
            return Verdict::Stays;
        }
        if seg.ack != self.iss + 1 {
            return Verdict::Refused;
        }
        self.establish(index, seg, cx);
        self.receive_acceptable(index, seg, packet, cx)
    }

    /// Takes the peer's SYN: its sequence number, and what both sides can do.
    pub(super) fn agree(&mut self, seg: &Segment, cx: &Cx<'_>) {
        self.rcv_nxt = seg.seq + 1;
        self.rcv_adv = self.rcv_nxt + self.room().min(u32::from(u16::MAX));
        self.last_ack = self.rcv_nxt;
        // Only what both have offered holds.
        if !seg.sack_permitted {
            self.flags.clear(Flags::SACK);
        }
        match seg.window_scale {
            Some(scale) if self.flags.has(Flags::SCALING) => self.snd_scale = scale,
            _ => {
                self.flags.clear(Flags::SCALING);
                (self.snd_scale, self.rcv_scale) = (0, 0);
            }
        }
        match seg.timestamps {
            Some((val, _)) if self.flags.has(Flags::TIMESTAMPS) => {
                (self.ts_recent, self.ts_recent_at) = (val, cx.now);
            }
            _ => self.flags.clear(Flags::TIMESTAMPS),
        }
        self.peer_mss = seg.mss.unwrap_or(DEFAULT_MSS);
        // The window of a SYN is never scaled (RFC 7323, 2.2).
        self.snd_wnd = u32::from(seg.window);
        self.max_snd_wnd = self.snd_wnd;
        (self.snd_wl1, self.snd_wl2) = (seg.seq, self.iss);
    }

    /// The handshake is complete: `seg` acknowledges our SYN.
    pub(super) fn establish(&mut self, index: u32, seg: &Segment, cx: &mut Cx<'_>) {
        let echoed = seg.timestamps.filter(|_| self.flags.has(Flags::TIMESTAMPS)).map(|(_, echo)| echo);
        let rtt = if self.tries == 0 {
            Some(cx.now.saturating_since(self.unacked_since))
        } else {
            echoed.map(|echo| Duration::from_millis(u64::from(self.ts_now(cx.now).wrapping_sub(echo) & 0x7fff_ffff)))
        };
        let resent = u32::from(self.tries);
        if !seg.flags.contains(Bits::SYN) {
            self.snd_wnd = u32::from(seg.window) << self.snd_scale;
        }
        self.snd_wl1 = seg.seq;
        self.snd_wl2 = seg.ack;
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        self.flags.clear(Flags::WANTS_ROOM);
        self.start(cx, rtt, resent);
        self.tell(index, Readiness::CONNECTED | Readiness::WRITABLE, cx);
        self.enqueue(index, cx);
    }

    /// Enters ESTABLISHED with what has been agreed on.
    pub(super) fn start(&mut self, cx: &Cx<'_>, rtt: Option<Duration>, resent: u32) {
        self.state = State::Established;
        self.state_at = NEVER;
        self.tries = 0;
        self.heard_at = cx.now;
        self.flags.clear(Flags::SYN_DUE);
        self.mss = self.segment_size(self.path_mss);
        self.rcv_mss = self.mss;
        let agreed = Agreed {
            sack: self.flags.has(Flags::SACK),
            timestamps: self.flags.has(Flags::TIMESTAMPS).then_some(Duration::from_millis(1)),
            mss: self.mss,
        };
        self.recovery = Recovery::new(&cx.shared.config, self.congestion, agreed, self.iss + 1);
        self.recovery.handshake(cx.now, rtt, resent);
        self.small_end = self.iss + 1;
        if self.flags.has(Flags::FIN) {
            // Closed by the program before it was open.
            self.state = State::FinWait1;
        }
    }

    /// Payload bytes of a full segment on a path that takes `path_mss`.
    pub(super) fn segment_size(&self, path_mss: u16) -> u16 {
        let timestamps = if self.flags.has(Flags::TIMESTAMPS) { TIMESTAMPS_LEN } else { 0 };
        self.peer_mss.min(path_mss).max(LEAST_MSS).saturating_sub(timestamps)
    }

    /// The header of our SYN, or of our SYN-ACK.
    pub(super) fn syn(&self, answers: bool, cx: &Cx<'_>) -> Out {
        let flags = if answers { Bits::SYN | Bits::ACK } else { Bits::SYN };
        let timestamps = self.flags.has(Flags::TIMESTAMPS).then(|| (self.ts_now(cx.now), self.ts_recent));
        let ack = if answers { self.rcv_nxt } else { Default::default() };
        let window = self.rcv_limit.min(u32::from(u16::MAX)) as u16;
        let mut out = Out::new(self.iss, ack, flags, window, timestamps);
        out.syn = SynOptions {
            mss: Some(self.path_mss),
            window_scale: self.flags.has(Flags::SCALING).then_some(self.rcv_scale),
            sack_permitted: self.flags.has(Flags::SACK),
        };
        out
    }
}

/// What a peer takes that does not say (RFC 9293, 3.7.1).
pub(super) const DEFAULT_MSS: u16 = 536;

/// No peer can make us send smaller segments than this (Linux: `tcp_min_snd_mss`).
const LEAST_MSS: u16 = 48;
