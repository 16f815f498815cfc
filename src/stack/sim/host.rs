//! One engine with a pool of frames of its own, and what it has sent.

use super::super::{BURST, Config, Full, Instant, Received, Sink, Stack};
use crate::pool::{Geometry, Pool, PoolContext};
use std::collections::VecDeque;
use std::sync::Arc;

/// Turns at one moment after which an engine is said to run in circles. Each moves what is on loopback by one step.
pub(super) const MOST_TURNS: usize = 100_000;

/// An engine, its frames, and the queue of its network card.
pub(super) struct Host {
    pub(super) stack: Stack,
    pub(super) ctx: PoolContext,
    pool: Arc<Pool>,
    pub(super) card: Card,
}

/// Where the engine's frames go: a queue with room for some.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) sent: VecDeque<Vec<u8>>,
    /// Frames that it takes before it is full.
    pub(super) room: usize,
    /// Frames of whose sending it was asked while it was full.
    pub(super) refused: u64,
}

impl Sink for Card {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        if self.sent.len() >= self.room {
            self.refused += 1;
            return Err(Full);
        }
        // Bytes that the engine leaves unwritten are found by the checksums.
        let mut frame = vec![0xa5; len];
        let out = fill(&mut frame);
        self.sent.push_back(frame);
        Ok(out)
    }
}

impl Host {
    /// A host with so many frames for what it receives.
    pub(super) fn new(config: Config, frames: usize) -> Self {
        let frame_size = usize::from(config.mtu) + 18;
        let pool = Pool::heap(Geometry::new(frames, frame_size)).expect("a pool");
        let stack = Stack::new(config).expect("a configuration that can be used");
        let card = Card { sent: VecDeque::new(), room: usize::MAX, refused: 0 };
        Self { stack, ctx: PoolContext::attach(&pool), pool, card }
    }

    /// Takes in what has arrived, in bursts. Returns how many frames were lost because none was free for them.
    pub(super) fn receive<'f>(&mut self, now: Instant, frames: impl IntoIterator<Item = &'f [u8]>) -> usize {
        let (mut frames, mut lost) = (frames.into_iter().peekable(), 0);
        while frames.peek().is_some() {
            let burst = frames.by_ref().take(BURST).map(|frame| self.ctx.copy_in(frame));
            let burst: Vec<_> = burst.filter_map(|token| token.map_err(|_| lost += 1).ok()).collect();
            let burst = burst.into_iter().map(|token| Received { token, checked: false });
            self.stack.ingress(now, &self.ctx, burst, &mut self.card);
        }
        lost
    }

    /// Lets timers run.
    pub(super) fn advance(&mut self, now: Instant) {
        self.stack.advance(now, &mut self.card);
    }

    /// Sends what is due; says whether there is more to do at once.
    pub(super) fn egress(&mut self, now: Instant) -> bool {
        self.stack.egress(now, &mut self.card)
    }

    /// Whether the card takes no more.
    pub(super) fn is_full(&self) -> bool {
        self.card.sent.len() >= self.card.room
    }

    /// Turns until nothing is due any more at this time, and checks that this comes to an end.
    pub(super) fn settle(&mut self, now: Instant) {
        for _ in 0..MOST_TURNS {
            self.advance(now);
            let left = self.egress(now);
            if self.is_full() || !left && self.stack.poll_at().is_none_or(|at| at > now) {
                return;
            }
        }
        panic!("after {MOST_TURNS} turns at {now} there is still work, and poll_at is {:?}", self.stack.poll_at());
    }

    /// What the engine still holds for sockets and packets; its tables stay as large as they were.
    pub(super) fn held(&self) -> Vec<(&'static str, u64)> {
        let gauges = self.stack.stats().memory.each();
        gauges.filter(|(name, value)| *value != 0 && *name != "table_bytes").collect()
    }

    /// Frames that are not in the pool.
    pub(super) fn in_flight(&self) -> usize {
        self.pool.in_flight()
    }
}
