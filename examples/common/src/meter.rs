//! The meter's loop.

use crate::Failure;
use crate::latency::Latency;
use crate::output::{Causes, Output, Ticker};
use crate::port::explain;
use crate::report::{Flow, QueueFlow, Received, Receiving, StampedInterval, StreamOrder, rx_causes};
use crate::sequence::{Order, Sequences};
use crate::stamp::{Stamp, now_ns};
use crate::stop::Stop;
use nethuns_rs::Error;
use nethuns_rs::api::{Context, Interest, Metadata, Socket, Stats};
use std::time::{Duration, Instant};

/// What to measure, and until when.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the port in reports.
    pub port: String,
    /// Ends after so many packets.
    pub count: Option<u64>,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// Ends when nothing has come for so long.
    pub idle: Option<Duration>,
    /// Whether to look for stamps.
    pub stamps: bool,
    /// Whether to tell queues apart in reports.
    pub queues: bool,
    /// Whether to ask the port again at once when nothing is there, instead of sleeping until something is.
    pub spin: bool,
    /// Most packets per call.
    pub batch: usize,
    /// Between two lines.
    pub interval: Duration,
}

/// What has been seen so far.
#[derive(Default)]
struct Tally {
    packets: u64,
    bytes: u64,
    batches: u64,
    queues: Vec<u64>,
    stamped: u64,
    sequences: Sequences,
    /// Latencies since the last line.
    latency: Latency,
    /// The time given to packets that have none of their own.
    clock: u64,
}

impl Tally {
    #[inline]
    fn packet(&mut self, packet: &[u8], meta: &impl Metadata, stamps: bool) {
        self.packets += 1;
        self.bytes += u64::from(meta.wire_len().unwrap_or(packet.len() as u32));
        let queue = meta.queue() as usize;
        if queue >= self.queues.len() {
            self.queues.resize(queue + 1, 0);
        }
        self.queues[queue] += 1;
        let stamp = if stamps { Stamp::find(packet) } else { None };
        if let Some(stamp) = stamp {
            self.stamped += 1;
            self.sequences.note(&stamp);
            let arrival = meta.timestamp_ns();
            let mut age = stamp.age_ns(arrival.unwrap_or(self.clock));
            if age < 0 && arrival.is_none() {
                // It came in after the batch was begun.
                self.clock = now_ns();
                age = stamp.age_ns(self.clock);
            }
            self.latency.note(age);
        }
    }

    fn mark(&self, stats: &Stats) -> Mark {
        Mark {
            packets: self.packets,
            bytes: self.bytes,
            batches: self.batches,
            queues: self.queues.clone(),
            order: self.sequences.total(),
            dropped: rx_causes(stats),
        }
    }
}

/// The figures as of the last line.
struct Mark {
    packets: u64,
    bytes: u64,
    batches: u64,
    queues: Vec<u64>,
    order: Order,
    dropped: Causes,
}

impl Mark {
    fn queues_since(&self, earlier: &Mark, seconds: f64) -> Vec<QueueFlow> {
        let before = |q: usize| earlier.queues.get(q).copied().unwrap_or(0);
        let flow = |(q, n): (usize, &u64)| {
            let flow = Flow::new(n - before(q), 0, seconds);
            QueueFlow { queue: q as u32, packets: flow.packets, pps: flow.pps }
        };
        self.queues.iter().enumerate().map(flow).collect()
    }
}

fn average(packets: u64, batches: u64) -> f64 {
    if batches == 0 { 0.0 } else { packets as f64 / batches as f64 }
}

/// Receives until the plan, the port or `stop` ends it.
///
/// # Errors
///
/// If the port fails.
pub fn run<S: Socket>(socket: &S, plan: &Plan, output: &Output, stop: &Stop) -> Result<Received, Failure> {
    // Long enough to sleep, short enough for ctrl-C.
    const SLICE: Duration = Duration::from_millis(50);
    let mut tally = Tally::default();
    let mut latency = Latency::default();
    let at_start = rx_causes(&socket.stats());
    let mut last = tally.mark(&socket.stats());
    let start = Instant::now();
    let end = plan.duration.and_then(|d| start.checked_add(d));
    let (mut first_packet, mut last_packet) = (None, start);
    let mut ticker = Ticker::new(plan.interval, start);
    let context = socket.context();

    while !stop.requested() {
        let left = plan.count.map_or(plan.batch as u64, |count| (count - tally.packets).min(plan.batch as u64));
        if left == 0 {
            break;
        }
        let last_look = stop.if_idle();
        tally.clock = now_ns();
        let outcome = socket.recv_each(left as usize, |token, meta| {
            let packet = context.packet(token);
            tally.packet(&packet, &meta, plan.stamps);
        });
        let n = match outcome {
            Ok(n) => n,
            Err(Error::NoPacket) => 0,
            Err(Error::EndOfFile) => break,
            Err(error) => return Err(explain(&plan.port, error)),
        };
        let now = Instant::now();
        if n > 0 {
            tally.batches += 1;
            first_packet.get_or_insert(now);
            last_packet = now;
        }
        if let Some((at, seconds)) = ticker.due(now) {
            let mark = tally.mark(&socket.stats());
            output.tell(&Receiving {
                port: plan.port.clone(),
                at,
                flow: Flow::new(mark.packets - last.packets, mark.bytes - last.bytes, seconds),
                batch: average(mark.packets - last.packets, mark.batches - last.batches),
                dropped: mark.dropped.since(&last.dropped),
                stamped: (tally.stamped > 0).then(|| StampedInterval {
                    lost: mark.order.lost as i64 - last.order.lost as i64,
                    reordered: mark.order.reordered + mark.order.late - last.order.reordered - last.order.late,
                    duplicates: mark.order.duplicates - last.order.duplicates,
                    latency: tally.latency.percentiles(),
                }),
                queues: if plan.queues { mark.queues_since(&last, seconds) } else { Vec::new() },
            });
            latency.absorb(&mut tally.latency);
            last = mark;
        }
        let idle = last_look || plan.idle.is_some_and(|idle| now - last_packet >= idle);
        if end.is_some_and(|end| now >= end) || (n == 0 && idle) {
            break;
        }
        if n == 0 && !plan.spin {
            let idle_end = plan.idle.map(|idle| last_packet + idle);
            let wake = [Some(ticker.next()), end, idle_end].into_iter().flatten().min();
            let timeout = wake.map_or(SLICE, |wake| wake.saturating_duration_since(now)).min(SLICE);
            socket.wait(Interest::Readable, Some(timeout)).map_err(|e| explain(&plan.port, e))?;
        }
    }

    let stats = socket.stats();
    latency.absorb(&mut tally.latency);
    let active = first_packet.map_or(0.0, |first| (last_packet - first).as_secs_f64());
    let mark = tally.mark(&stats);
    Ok(Received {
        port: plan.port.clone(),
        flow: Flow::new(tally.packets, tally.bytes, active),
        run: start.elapsed().as_secs_f64(),
        truncated: stats.rx_truncated,
        batch: average(tally.packets, tally.batches),
        dropped: mark.dropped.since(&at_start),
        stamped: tally.stamped,
        order: mark.order,
        streams: tally.sequences.streams().map(|(stream, order)| StreamOrder { stream, order }).collect(),
        untracked: tally.sequences.untracked,
        latency: latency.percentiles(),
        queues: if plan.queues {
            let flow = |(queue, n): (usize, &u64)| {
                let flow = Flow::new(*n, 0, active);
                QueueFlow { queue: queue as u32, packets: flow.packets, pps: flow.pps }
            };
            tally.queues.iter().enumerate().map(flow).collect()
        } else {
            Vec::new()
        },
    })
}

/// Whether as many packets came as were to be counted, and as many different ones as were expected.
///
/// # Errors
///
/// [`Failure::short`] naming how many are missing.
pub fn verdict(received: &Received, count: Option<u64>, expected: Option<u64>) -> Result<(), Failure> {
    let short = |what: &str, n: u64, wanted: u64| {
        Failure::short(format!("{}: {n} of {wanted} {what}packets received", received.port))
    };
    match (count, expected) {
        (Some(count), _) if received.flow.packets < count => Err(short("", received.flow.packets, count)),
        (_, Some(expected)) if received.distinct() < expected => Err(short("expected ", received.distinct(), expected)),
        _ => Ok(()),
    }
}
