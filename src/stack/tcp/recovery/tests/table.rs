//! Scenarios in whole segments and milliseconds.

use std::time::Duration;

use super::super::{Ack, Acked, Agreed, Expired, Next, Recovery};
use crate::stack::config::{CongestionControl, TcpConfig};
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// Bytes of a segment.
pub(super) const MSS: u32 = 1000;
const FIRST: Seq = Seq(0xffff_f000);

/// A sender and a clock. Segments are numbered from 0.
pub(super) struct Table {
    pub(super) sender: Recovery,
    pub(super) now: Instant,
    /// Bytes that the peer's window takes beyond what is acknowledged.
    pub(super) window: u32,
}

/// What a table begins with: a round trip of 100 ms, SACK, no timestamps, NewReno, a window of ten segments.
pub(super) struct Setup {
    pub(super) config: TcpConfig,
    pub(super) congestion: CongestionControl,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    pub(super) rtt: Option<u64>,
    pub(super) resent: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: TcpConfig::default(),
            congestion: CongestionControl::NewReno,
            sack: true,
            timestamps: false,
            rtt: Some(100),
            resent: 0,
        }
    }
}

impl Setup {
    pub(super) fn table(self) -> Table {
        let timestamps = self.timestamps.then_some(Duration::from_millis(1));
        let agreed = Agreed { sack: self.sack, timestamps, mss: MSS as u16 };
        let mut sender = Recovery::new(&self.config, self.congestion, agreed, FIRST);
        let now = Instant::from_millis(1_000_000);
        sender.handshake(now, self.rtt.map(Duration::from_millis), self.resent);
        Table { sender, now, window: 1 << 24 }
    }
}

pub(super) fn table() -> Table {
    Setup::default().table()
}

pub(super) fn seq(segment: u32) -> Seq {
    FIRST + segment * MSS
}

impl Table {
    /// Lets time pass; no deadline is honoured.
    pub(super) fn wait(&mut self, millis: u64) -> &mut Self {
        self.now += Duration::from_millis(millis);
        self
    }

    /// Sends what may be sent of `segments` new segments, and everything that is to be sent again. Returns the numbers
    /// of what left.
    pub(super) fn send(&mut self, segments: u32) -> Vec<u32> {
        let (mut unsent, mut left) = (segments * MSS, Vec::new());
        loop {
            let window_end = self.sender.una() + self.window;
            let (at, len) = match self.sender.next(self.now, unsent, window_end) {
                Next::Resend { seq, len } => (seq, len),
                Next::New { max } => {
                    let len = max.min(MSS);
                    unsent -= len;
                    (self.sender.nxt(), len)
                }
                Next::Paced(_) | Next::Nothing => break,
            };
            self.sender.sent(self.now, at, len);
            left.push(at.since(FIRST) / MSS);
            super::check(&self.sender);
        }
        left
    }

    /// All segments before `next` are acknowledged, and those in `blocks`, each from its first to before its second.
    pub(super) fn ack(&mut self, next: u32, blocks: &[(u32, u32)]) -> Acked {
        self.ack_echo(next, blocks, None)
    }

    /// The same with an echoed timestamp that old, in milliseconds.
    pub(super) fn ack_echo(&mut self, next: u32, blocks: &[(u32, u32)], echo: Option<u64>) -> Acked {
        let sacks: Vec<(Seq, Seq)> = blocks.iter().map(|block| (seq(block.0), seq(block.1))).collect();
        let echo_rtt = echo.map(Duration::from_millis);
        let ack =
            Ack { ack: seq(next), sacks: &sacks, echo_rtt, window_changed: false, has_payload: false, ece: false };
        let acked = self.sender.ack(self.now, &ack);
        super::check(&self.sender);
        acked
    }

    /// Waits for the deadline. Returns how long that took, in milliseconds, and what it brought.
    pub(super) fn expire(&mut self) -> (u64, Expired) {
        let at = self.sender.deadline().expect("no deadline");
        let waited = at.saturating_since(self.now).as_millis() as u64;
        self.now = self.now.max(at);
        let expired = self.sender.expired(self.now);
        super::check(&self.sender);
        assert!(self.sender.deadline().is_none_or(|at| at > self.now));
        (waited, expired)
    }

    /// The window in segments.
    pub(super) fn cwnd(&self) -> f64 {
        f64::from(self.sender.numbers().cwnd) / f64::from(MSS)
    }

    pub(super) fn ssthresh(&self) -> f64 {
        f64::from(self.sender.numbers().ssthresh) / f64::from(MSS)
    }
}
