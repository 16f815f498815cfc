//! Two nodes and the wire between them, in simulated time.

use super::super::Instant;
use super::frame::Packet;
use super::link::{Link, Path};
use super::rng::Rng;
use std::time::Duration;

/// One end of a wire.
pub(super) trait Node {
    /// One turn: takes in what has arrived, does what is due, and adds what it sends to `out`. Returns whether the program
    /// on it got anywhere.
    fn turn(&mut self, now: Instant, arrived: &[Vec<u8>], out: &mut Vec<Vec<u8>>) -> bool;
    /// When it wants its next turn if nothing arrives.
    fn next(&self) -> Option<Instant>;
}

/// Turns without an arrival, a frame sent or progress of a program, one after the other: more are a livelock. An engine
/// may wake up in vain now and then, because timers are re-armed lazily.
const MOST_IDLE_TURNS: u32 = 20_000;

/// Two nodes and their wire.
pub(super) struct Net<A, B> {
    pub(super) a: A,
    pub(super) b: B,
    /// From a to b, and back.
    pub(super) links: [Link; 2],
    pub(super) now: Instant,
    idle_turns: u32,
    /// Whether every packet is printed.
    trace: bool,
    arrived: Vec<Vec<u8>>,
    out: Vec<Vec<u8>>,
}

impl<A: Node, B: Node> Net<A, B> {
    /// At time zero plus a second, so that nothing depends on the epoch.
    pub(super) fn new(a: A, b: B, there: Path, back: Path, rng: &mut Rng) -> Self {
        Self {
            a,
            b,
            links: [Link::new(there, rng.fork()), Link::new(back, rng.fork())],
            now: Instant::from_millis(1000),
            idle_turns: 0,
            trace: std::env::var_os("NETHUNS_SIM_TRACE").is_some(),
            arrived: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Runs until nothing is left to happen, `done` says so, or time is up; says whether it was not the last.
    pub(super) fn run(&mut self, until: Instant, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            self.turn(0);
            self.turn(1);
            if done(self) {
                return true;
            }
            let next = [self.links[0].next(), self.links[1].next(), self.a.next(), self.b.next()];
            match next.into_iter().flatten().min() {
                None => return true,
                Some(next) if next > until => {
                    self.now = until;
                    return false;
                }
                Some(next) => self.now = self.now.max(next),
            }
        }
    }

    /// One turn of one node.
    fn turn(&mut self, node: usize) {
        self.links[1 - node].arrivals(self.now, &mut self.arrived);
        let next = if node == 0 { self.a.next() } else { self.b.next() };
        if self.arrived.is_empty() && next.is_none_or(|at| at > self.now) {
            return;
        }
        let came = !self.arrived.is_empty();
        let got_on = match node {
            0 => self.a.turn(self.now, &self.arrived, &mut self.out),
            _ => self.b.turn(self.now, &self.arrived, &mut self.out),
        };
        self.arrived.clear();
        self.idle_turns = if came || got_on || !self.out.is_empty() { 0 } else { self.idle_turns + 1 };
        assert!(self.idle_turns < MOST_IDLE_TURNS, "node {node} turns in circles at {}", self.now);
        for frame in self.out.drain(..) {
            let text = self.trace.then(|| describe(&frame));
            let fate = match self.links[node].refusal(&frame) {
                Some(answer) => {
                    self.links[1 - node].slip_in(self.now, answer);
                    "too large"
                }
                None => self.links[node].send(self.now, frame),
            };
            if let Some(text) = text {
                eprintln!("{} {} {fate:10} {text}", self.now, ["a→b", "b→a"][node]);
            }
        }
    }

    /// How long it has been running.
    pub(super) fn elapsed(&self) -> Duration {
        self.now.saturating_since(Instant::from_millis(1000))
    }
}

/// A frame for the trace; what we send must be readable.
fn describe(frame: &[u8]) -> String {
    Packet::read(frame).map_or_else(|why| format!("a frame with {why}"), |packet| packet.to_string())
}
