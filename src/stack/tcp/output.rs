//! What a connection sends: segments of its stream, acknowledgements, probes. All of it is written here, straight into the
//! frame that the sink lends.

use super::Cx;
use super::options::State;
use super::recovery::{Next, initial_rto};
use super::seq::Seq;
use super::tcb::{Flags, NEVER, Tcb};
use super::write::{Out, Plain, write_control, write_data};
use crate::stack::ip::Ip;
use crate::stack::{Full, Sink};
use crate::wire::tcp::Flags as Bits;
use std::time::Duration;

/// Segments written for one connection before the next one has its turn.
const QUANTUM: u32 = 32;

/// How long a cork holds a small segment back (Linux: 200 ms).
const CORK: Duration = Duration::from_millis(200);

/// What became of a connection's turn to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Everything that is due has been written.
    Done,
    /// Others first, then again.
    Again,
    /// The device has no room.
    Full,
}

/// Why nothing of the stream is sent now.
enum Hold {
    /// Nothing is left, or windows are full.
    Rest,
    /// Small segments wait for company.
    Company,
    /// The peer's window is too small for a segment worth sending.
    Window,
}

impl Tcb {
    /// Writes what is due.
    pub(super) fn egress<S: Sink>(&mut self, index: u32, ip: &mut Ip, sink: &mut S, cx: &mut Cx<'_>) -> Turn {
        if self.flags.has(Flags::SYN_DUE) && self.send_syn(ip, sink, cx).is_err() {
            return Turn::Full;
        }
        let turn = if self.is_synchronized() {
            self.send_due(index, ip, sink, cx).unwrap_or(Turn::Full)
        } else if self.state == State::SynReceived && self.flags.has(Flags::ACK_NOW) {
            // A challenge (RFC 5961, 3.2 and 4.2).
            self.send_ack(ip, sink, cx).map_or(Turn::Full, |()| Turn::Done)
        } else {
            Turn::Done
        };
        self.arm(index, cx);
        turn
    }

    #[inline]
    fn send_due<S: Sink>(&mut self, index: u32, ip: &mut Ip, sink: &mut S, cx: &mut Cx<'_>) -> Result<Turn, Full> {
        if self.flags.any(Flags::PROBE.or(Flags::KEEP_ALIVE)) {
            self.send_probe(ip, sink, cx)?;
        }
        if self.flags.has(Flags::ANNOUNCE) {
            self.flags.clear(Flags::ANNOUNCE);
            if self.has_window_to_announce() {
                self.flags.set(Flags::ACK_NOW);
            }
        }
        // What is reported selectively goes alone, so that segments of the stream are always full.
        if self.flags.has(Flags::ACK_NOW) && (self.rx.has_gaps() || self.duplicate.is_some()) {
            self.send_ack(ip, sink, cx)?;
        }
        let turn = if self.unacked() > 0 { self.send_stream(index, ip, sink, cx)? } else { Turn::Done };
        if self.flags.has(Flags::ACK_NOW) {
            self.send_ack(ip, sink, cx)?;
        }
        Ok(turn)
    }

    /// Segments of the stream: what was lost first, then what is new.
    #[inline]
    fn send_stream<S: Sink>(&mut self, index: u32, ip: &mut Ip, sink: &mut S, cx: &mut Cx<'_>) -> Result<Turn, Full> {
        let window_end = self.window_end();
        let mut unsent = self.unsent();
        for _ in 0..QUANTUM {
            match self.recovery.next(cx.now, unsent, window_end) {
                Next::New { max } => {
                    let len = match self.choose(unsent, max) {
                        Ok(len) => len,
                        Err(hold) => {
                            self.hold(&hold, cx);
                            return Ok(Turn::Done);
                        }
                    };
                    self.send_new(len, unsent, ip, sink, cx)?;
                    unsent -= len;
                }
                Next::Resend { seq, len } => {
                    self.send_again(seq, len, ip, sink, cx)?;
                }
                Next::Paced(at) => {
                    cx.shared.pace.schedule(index, at);
                    return Ok(Turn::Done);
                }
                Next::Nothing => {
                    if unsent > 0 && self.recovery.outstanding() == 0 {
                        self.hold(&Hold::Window, cx);
                    }
                    return Ok(Turn::Done);
                }
            }
        }
        Ok(Turn::Again)
    }

    /// How much of the sequence space to send next, of `unsent` and at most `max`: Nagle, cork, and the sender's part against silly
    /// windows (RFC 9293, 3.8.6.2.1).
    #[inline]
    fn choose(&mut self, unsent: u32, max: u32) -> Result<u32, Hold> {
        let fin = u32::from(self.flags.has(Flags::FIN));
        let data = unsent - fin.min(unsent);
        let mss = u32::from(self.mss);
        let len = data.min(mss).min(max);
        if len == data && fin == 1 && max > len {
            return Ok(len + 1);
        }
        if len == mss {
            return Ok(len);
        }
        if len == 0 {
            return Err(if max == 0 { Hold::Rest } else { Hold::Company });
        }
        if len < data {
            // A window cuts it short. Half of the largest window ever seen is worth a segment.
            if self.flags.has(Flags::PUSH) || len >= self.max_snd_wnd / 2 {
                return Ok(len);
            }
            return Err(Hold::Window);
        }
        if self.flags.has(Flags::PUSH) {
            return Ok(len);
        }
        if self.flags.has(Flags::CORK) {
            return Err(Hold::Company);
        }
        if self.flags.has(Flags::NODELAY) || !self.small_end.after(self.recovery.una()) {
            return Ok(len);
        }
        Err(Hold::Rest)
    }

    /// Sees to it that what is held back is not forgotten.
    fn hold(&mut self, why: &Hold, cx: &Cx<'_>) {
        if self.state_at != NEVER {
            return;
        }
        match why {
            Hold::Rest => {}
            Hold::Company => {
                if self.flags.has(Flags::CORK) && self.unsent() > 0 {
                    self.state_at = cx.now + CORK;
                }
            }
            Hold::Window => {
                // Acknowledgements of what is in flight bring news of the window; without any the peer must be asked.
                if self.recovery.outstanding() == 0 {
                    let wait = self.recovery.backoff(u32::from(self.tries));
                    self.state_at = cx.now + wait;
                }
            }
        }
    }

    /// The next `len` of the `unsent` sequence numbers as one segment.
    #[inline]
    fn send_new<S: Sink>(
        &mut self,
        len: u32,
        unsent: u32,
        ip: &mut Ip,
        sink: &mut S,
        cx: &mut Cx<'_>,
    ) -> Result<(), Full> {
        let seq = self.recovery.nxt();
        let data = self.send_segment(seq, len, ip, sink, cx)?;
        self.recovery.sent_next(cx.now, len);
        self.bytes_sent += data as u64;
        cx.shared.stats.tx_bytes += data as u64;
        if len < u32::from(self.mss) {
            self.small_end = seq + len;
        }
        if len == unsent || data < usize::from(self.mss) {
            self.flags.clear(Flags::PUSH);
        }
        Ok(())
    }

    /// `len` sequence numbers from `seq` on once more.
    #[inline(never)]
    fn send_again<S: Sink>(
        &mut self,
        seq: Seq,
        len: u32,
        ip: &mut Ip,
        sink: &mut S,
        cx: &mut Cx<'_>,
    ) -> Result<(), Full> {
        let data = self.send_segment(seq, len, ip, sink, cx)?;
        self.recovery.sent(cx.now, seq, len);
        self.retransmits += 1;
        cx.shared.stats.retransmitted_segments += 1;
        cx.shared.stats.retransmitted_bytes += u64::from(len);
        if self.unsent() == 0 || data < usize::from(self.mss) {
            self.flags.clear(Flags::PUSH);
        }
        Ok(())
    }

    /// Writes `len` of the sequence space from `seq` on as one segment; the last of it is the FIN if it goes beyond the
    /// data. Returns how many bytes of data that were.
    #[inline(never)]
    fn send_segment<S: Sink>(
        &mut self,
        seq: Seq,
        len: u32,
        ip: &mut Ip,
        sink: &mut S,
        cx: &mut Cx<'_>,
    ) -> Result<usize, Full> {
        let offset = seq.since(self.recovery.una()) as usize;
        let queued = self.tx.len() - offset;
        let data = (len as usize).min(queued);
        let mut flags = Bits::ACK;
        if data == queued {
            flags |= Bits::PSH;
        }
        if data < len as usize {
            flags |= Bits::FIN;
        }
        let header = self.header(seq, flags, cx);
        write_data((&self.key, &mut self.path), header, (&self.tx, offset..offset + data), ip, sink, cx)?;
        if self.flags.has(Flags::ACK_DUE) {
            self.flags.set(Flags::INTERACTIVE);
        }
        self.acknowledged();
        Ok(data)
    }

    /// An acknowledgement without payload.
    pub(super) fn send_ack<S: Sink>(&mut self, ip: &mut Ip, sink: &mut S, cx: &mut Cx<'_>) -> Result<(), Full> {
        let mut out = Out::from(self.header(self.recovery.nxt(), Bits::ACK, cx));
        if self.flags.has(Flags::SACK) {
            if let Some(range) = self.duplicate {
                out.report(range);
                cx.shared.stats.tx_dsacks += 1;
            }
            if self.rx.has_gaps() {
                let mut blocks = [(Seq::default(), Seq::default()); 4];
                let count = self.rx.sack_blocks(cx.buffers, &mut blocks);
                blocks[..count].iter().for_each(|block| out.report(*block));
            }
        }
        write_control((&self.key, &mut self.path), &out, ip, sink, cx)?;
        self.duplicate = None;
        self.acknowledged();
        Ok(())
    }

    /// A segment from before the window: the peer drops it and says where it is (RFC 9293, 3.8.4 and 3.8.6.1).
    #[cold]
    fn send_probe<S: Sink>(&mut self, ip: &mut Ip, sink: &mut S, cx: &mut Cx<'_>) -> Result<(), Full> {
        let out = Out::from(self.header(self.recovery.una() - 1, Bits::ACK, cx));
        write_control((&self.key, &mut self.path), &out, ip, sink, cx)?;
        if self.flags.has(Flags::KEEP_ALIVE) {
            cx.shared.stats.keep_alive_probes += 1;
        } else {
            cx.shared.stats.window_probes += 1;
        }
        self.flags.clear(Flags::PROBE.or(Flags::KEEP_ALIVE));
        Ok(())
    }

    /// SYN, or SYN-ACK of a simultaneous open.
    #[cold]
    fn send_syn<S: Sink>(&mut self, ip: &mut Ip, sink: &mut S, cx: &mut Cx<'_>) -> Result<(), Full> {
        let answers = self.state == State::SynReceived;
        let out = self.syn(answers, cx);
        write_control((&self.key, &mut self.path), &out, ip, sink, cx)?;
        self.flags.clear(Flags::SYN_DUE);
        self.state_at = cx.now + initial_rto(&cx.shared.config, u32::from(self.tries));
        if self.tries == 0 {
            self.unacked_since = cx.now;
        } else {
            cx.shared.stats.retransmitted_segments += 1;
        }
        if answers {
            self.acknowledged();
        }
        Ok(())
    }

    /// The header of a segment that carries our acknowledgement and window.
    #[inline(always)]
    fn header(&mut self, seq: Seq, flags: Bits, cx: &Cx<'_>) -> Plain {
        let window = self.window();
        let timestamps = self.flags.has(Flags::TIMESTAMPS).then(|| (self.ts_now(cx.now), self.ts_recent));
        Plain { seq, ack: self.rcv_nxt, flags, window, timestamps }
    }

    /// The window to announce, and from now on promised. Its right edge never goes back, and forward only by steps worth
    /// while (RFC 9293, 3.8.6.2.2).
    #[inline]
    fn window(&mut self) -> u16 {
        let (room, promised) = (self.room(), self.promised());
        let step = (self.most_window() / 2).min(u32::from(self.rcv_mss));
        let field = if room >= promised.saturating_add(step) {
            room >> self.rcv_scale
        } else {
            // Rounded up: what is promised stays promised.
            (promised + (1 << self.rcv_scale) - 1) >> self.rcv_scale
        };
        let field = field.min(u32::from(u16::MAX));
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + (field << self.rcv_scale));
        field as u16
    }

    /// Everything received so far has been acknowledged.
    #[inline]
    fn acknowledged(&mut self) {
        self.last_ack = self.rcv_nxt;
        self.flags.clear(Flags::ACK_NOW.or(Flags::ACK_DUE));
    }

    /// After the program has read: whether so little is promised that there may be more to announce.
    #[inline(always)]
    pub(super) fn may_announce(&self) -> bool {
        // That is so too wherever less than a segment is left, which counts as half of it at most.
        let (promised, most) = (self.promised(), self.most_window());
        most.saturating_sub(promised) >= most / 4
    }

    /// After the program has read: whether the window has opened enough to be announced is decided with the next egress,
    /// when what it has put back is back.
    #[inline(never)]
    pub(super) fn announce_window(&mut self, index: u32, cx: &mut Cx<'_>) {
        if !self.flags.has(Flags::ANNOUNCE) && self.has_window_to_announce() {
            self.flags.set(Flags::ANNOUNCE);
            self.enqueue(index, cx);
        }
    }

    /// Whether the window has opened by a step worth while (RFC 9293, 3.8.6.2.2).
    #[inline]
    fn has_window_to_announce(&self) -> bool {
        if !self.may_receive() {
            return false;
        }
        let (promised, most) = (self.promised(), self.most_window());
        let mss = u32::from(self.rcv_mss).min(most / 2);
        let gain = self.room().saturating_sub(promised);
        gain >= most / 4 || promised < mss && gain >= mss
    }
}
