//! The generator's loop.
//!
//! One slot of memory per packet of a batch holds a copy of the template; only the stamps are written anew, then the
//! batch is copied into the port's frames. A refused packet is tried again with the same number and a new time.

use crate::Failure;
use crate::frame::Template;
use crate::output::{Output, Ticker};
use crate::pacer::{Pacer, Rate, Waiter};
use crate::port::explain;
use crate::report::{Flow, Sending, Sent, tx_causes};
use crate::stamp::{Stamp, now_ns};
use crate::stop::Stop;
use nethuns_rs::api::{Interest, Socket, Stats};
use std::time::{Duration, Instant};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the port in reports.
    pub port: String,
    /// The frame.
    pub template: Template,
    /// The stream in its stamps; `None` writes none.
    pub stream: Option<u16>,
    /// Ends after so many packets.
    pub count: Option<u64>,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// How fast.
    pub rate: Rate,
    /// Packets that leave together.
    pub burst: usize,
    /// Most packets per call.
    pub batch: usize,
    /// How to wait for the next.
    pub waiter: Waiter,
    /// Between two lines.
    pub interval: Duration,
    /// How long to wait at the end for what has not been completed.
    pub drain: Duration,
}

/// Copies of the template, to be stamped.
struct Slots {
    bytes: Vec<u8>,
    size: usize,
}

impl Slots {
    fn new(template: &Template, batch: usize) -> Self {
        Self { bytes: template.bytes().repeat(batch), size: template.bytes().len() }
    }

    fn stamp(&mut self, template: &Template, n: usize, stream: u16, first: u64) {
        let time_ns = now_ns();
        for (slot, sequence) in self.bytes.chunks_exact_mut(self.size).take(n).zip(first..) {
            template.stamp(slot, &Stamp { stream, sequence, time_ns });
        }
    }

    fn packets(&self, n: usize) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.size).take(n)
    }
}

/// Counters of the socket now, less those at the start of the run.
struct Since {
    start: Stats,
}

impl Since {
    fn completed(&self, now: &Stats) -> u64 {
        now.tx_packets - self.start.tx_packets
    }
}

/// Sends what the plan says, then waits for completion.
///
/// # Errors
///
/// If the port refuses packets for another reason than want of room.
pub fn run<S: Socket>(socket: &S, plan: &Plan, output: &Output, stop: &Stop) -> Result<Sent, Failure> {
    let size = plan.template.bytes().len();
    let batch = plan.batch.max(plan.burst).max(1);
    let mut slots = Slots::new(&plan.template, batch);
    let mut pacer = Pacer::new(plan.rate, plan.burst);
    let since = Since { start: socket.stats() };
    let start = Instant::now();
    let end = plan.duration.and_then(|d| start.checked_add(d));
    let mut ticker = Ticker::new(plan.interval, start);
    let mut told = (0, tx_causes(&since.start), 0);
    let (mut sent, mut refused) = (0u64, 0u64);

    while !stop.requested() {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) || plan.count.is_some_and(|count| sent >= count) {
            break;
        }
        if let Some((at, seconds)) = ticker.due(now) {
            socket.flush();
            let stats = socket.stats();
            let (completed, dropped) = (since.completed(&stats), tx_causes(&stats));
            let packets = completed - told.0;
            output.tell(&Sending {
                port: plan.port.clone(),
                at,
                flow: Flow::new(packets, packets * size as u64, seconds),
                pending: stats.tx_pending(),
                refused: refused - told.2,
                dropped: dropped.since(&told.1),
            });
            told = (completed, dropped, refused);
        }
        let left = plan.count.map_or(batch, |count| usize::try_from(count - sent).unwrap_or(batch).min(batch));
        let elapsed = now - start;
        let due = pacer.due(elapsed.as_nanos() as u64, size, left);
        if due == 0 {
            let next = start + Duration::from_nanos(pacer.next_due_ns());
            plan.waiter.until(next.min(ticker.next()).min(end.unwrap_or(next)));
            continue;
        }
        if let Some(stream) = plan.stream {
            slots.stamp(&plan.template, due, stream, sent);
        }
        let accepted = match socket.send_batch(slots.packets(due)) {
            Ok(n) => n,
            Err(error) if error.is_transient() => 0,
            Err(error) => return Err(explain(&plan.port, error)),
        };
        socket.flush();
        sent += accepted as u64;
        pacer.spend(size, accepted);
        if accepted < due {
            refused += 1;
        }
        if accepted == 0 {
            // An engine that cannot tell when there is room says so at once: let others run meanwhile.
            socket.wait(Interest::Writable, Some(Duration::from_millis(1))).map_err(|e| explain(&plan.port, e))?;
            std::thread::yield_now();
        }
    }

    let elapsed = start.elapsed();
    // What the last wait was too long for has been given up too.
    let _ = pacer.due(elapsed.as_nanos() as u64, size, 0);
    socket.drain(plan.drain).map_err(|e| explain(&plan.port, e))?;
    let stats = socket.stats();
    let completed = since.completed(&stats);
    Ok(Sent {
        port: plan.port.clone(),
        stream: plan.stream,
        frame: size,
        flow: Flow::new(completed, completed * size as u64, elapsed.as_secs_f64()),
        submitted: sent,
        pending: stats.tx_pending(),
        refused,
        dropped: tx_causes(&stats).since(&tx_causes(&since.start)),
        given_up: pacer.given_up(),
    })
}

/// Whether the run did what was asked for.
///
/// # Errors
///
/// [`Failure::short`] naming what is missing.
pub fn verdict(sent: &Sent, count: Option<u64>, interrupted: bool) -> Result<(), Failure> {
    let port = &sent.port;
    if sent.pending > 0 {
        return Err(Failure::short(format!("{port}: {} packets were not completed", sent.pending)));
    }
    if sent.dropped.total() > 0 {
        return Err(Failure::short(format!("{port}: packets were dropped: {}", sent.dropped.brief())));
    }
    match count {
        Some(count) if sent.flow.packets < count && !interrupted => {
            Err(Failure::short(format!("{port}: {} of {count} packets sent in the time given", sent.flow.packets)))
        }
        _ => Ok(()),
    }
}
