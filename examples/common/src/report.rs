//! The records that tools tell: one struct per kind of line. Rates are per second; bits are those of frames without
//! FCS; times are seconds since the start of the run.

use crate::latency::{Ns, Percentiles};
use crate::output::{Causes, Record};
use crate::sequence::Order;
use nethuns_rs::api::Stats;
use serde::Serialize;
use std::fmt::Write as _;

/// A port without its options, for people.
fn short(port: &str) -> &str {
    port.split_once('?').map_or(port, |(name, _)| name)
}

fn rate(packets: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { packets as f64 / seconds } else { 0.0 }
}

/// Causes of loss on the way in.
#[must_use]
pub fn rx_causes(stats: &Stats) -> Causes {
    Causes(stats.rx_dropped.causes().to_vec())
}

/// Causes of loss on the way out.
#[must_use]
pub fn tx_causes(stats: &Stats) -> Causes {
    Causes(stats.tx_dropped.causes().to_vec())
}

/// Packets over a time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Flow {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Over how many seconds.
    pub seconds: f64,
    /// Packets per second.
    pub pps: f64,
    /// Bits per second.
    pub bps: f64,
}

impl Flow {
    /// So many packets and bytes in so many seconds.
    #[must_use]
    pub fn new(packets: u64, bytes: u64, seconds: f64) -> Self {
        Self { packets, bytes, seconds, pps: rate(packets, seconds), bps: rate(bytes, seconds) * 8.0 }
    }

    const HEADING: &str = "        pps      Mbit/s";

    fn row(&self) -> String {
        format!("{:>11.0} {:>11.3}", self.pps, self.bps / 1e6)
    }

    fn text(&self) -> String {
        format!(
            "{} packets, {} bytes in {:.3} s: {:.0} packets/s, {:.3} Mbit/s",
            self.packets,
            self.bytes,
            self.seconds,
            self.pps,
            self.bps / 1e6
        )
    }
}

/// What a generator did in an interval.
#[derive(Clone, Debug, Serialize)]
pub struct Sending {
    /// The port.
    pub port: String,
    /// When.
    pub at: f64,
    /// Packets completed.
    #[serde(flatten)]
    pub flow: Flow,
    /// Packets accepted and not completed yet.
    pub pending: u64,
    /// Sends refused for want of room, and tried again.
    pub refused: u64,
    /// Packets accepted that never left.
    pub dropped: Causes,
}

impl Record for Sending {
    const EVENT: &'static str = "interval";

    fn columns(&self) -> Option<String> {
        Some(format!("  time s {}  pending  refused{}", Flow::HEADING, self.dropped.heading()))
    }

    fn text(&self) -> String {
        format!("{:>8.2} {} {:>8} {:>8}{}", self.at, self.flow.row(), self.pending, self.refused, self.dropped.row())
    }
}

/// What a generator did.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// The port.
    pub port: String,
    /// The stream in its stamps.
    pub stream: Option<u16>,
    /// Bytes of a frame.
    pub frame: usize,
    /// Packets completed.
    #[serde(flatten)]
    pub flow: Flow,
    /// Packets accepted by the port.
    pub submitted: u64,
    /// Packets accepted of which nothing was heard to the end.
    pub pending: u64,
    /// Sends refused for want of room, and tried again.
    pub refused: u64,
    /// Packets accepted that never left.
    pub dropped: Causes,
    /// Seconds of the schedule that were given up because the port could not keep up.
    pub given_up: f64,
}

impl Record for Sent {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        let mut out = format!("sent {}: {}", short(&self.port), self.flow.text());
        let _ = write!(
            out,
            "\n  submitted {}, completed {}, pending {}, dropped {}",
            self.submitted,
            self.flow.packets,
            self.pending,
            self.dropped.brief()
        );
        if self.refused > 0 {
            let _ = write!(out, "\n  the port was full {} times (tried again, nothing lost)", self.refused);
        }
        if self.given_up >= 0.001 {
            let _ = write!(out, "\n  fell behind the rate by {:.3} s", self.given_up);
        }
        out
    }
}

/// Packets of one receive queue.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueueFlow {
    /// The queue.
    pub queue: u32,
    /// Its packets.
    pub packets: u64,
    /// Packets per second.
    pub pps: f64,
}

/// What a meter saw in an interval.
#[derive(Clone, Debug, Serialize)]
pub struct Receiving {
    /// The port.
    pub port: String,
    /// When.
    pub at: f64,
    /// Packets received.
    #[serde(flatten)]
    pub flow: Flow,
    /// Packets per receive call that found any.
    pub batch: f64,
    /// Packets that arrived and did not reach the meter.
    pub dropped: Causes,
    /// What stamps told; `None` if there were none. Lost packets may still turn up, so this can be negative.
    pub stamped: Option<StampedInterval>,
    /// Per queue, if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueFlow>,
}

/// What the stamps of an interval told.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StampedInterval {
    /// Numbers skipped, less those that turned up late.
    pub lost: i64,
    /// See [`Order::reordered`]; with [`Order::late`].
    pub reordered: u64,
    /// See [`Order::duplicates`].
    pub duplicates: u64,
    /// One-way latency.
    pub latency: Option<Percentiles>,
}

impl Record for Receiving {
    const EVENT: &'static str = "interval";

    fn columns(&self) -> Option<String> {
        let mut out = format!("  time s {}  batch{}", Flow::HEADING, self.dropped.heading());
        if self.stamped.is_some() {
            out += "     lost  reorder  duplic       p50       p99       max";
        }
        Some(out)
    }

    fn text(&self) -> String {
        let mut out = format!("{:>8.2} {} {:>6.1}{}", self.at, self.flow.row(), self.batch, self.dropped.row());
        if let Some(stamped) = &self.stamped {
            let _ = write!(out, " {:>8} {:>8} {:>7}", stamped.lost, stamped.reordered, stamped.duplicates);
            if let Some(p) = &stamped.latency {
                let _ = write!(out, " {:>9} {:>9} {:>9}", Ns(p.p50_ns), Ns(p.p99_ns), Ns(p.max_ns));
            }
        }
        for queue in &self.queues {
            let _ = write!(out, "\n         {:>11.0} on queue {}", queue.pps, queue.queue);
        }
        out
    }
}

/// A stream and what became of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StreamOrder {
    /// The stream's number.
    pub stream: u16,
    /// What became of it.
    #[serde(flatten)]
    pub order: Order,
}

/// What a meter saw.
#[derive(Clone, Debug, Serialize)]
pub struct Received {
    /// The port.
    pub port: String,
    /// Packets received; seconds from the first to the last of them.
    #[serde(flatten)]
    pub flow: Flow,
    /// Seconds of the whole run.
    pub run: f64,
    /// Packets cut because they were longer than a frame.
    pub truncated: u64,
    /// Packets per receive call that found any.
    pub batch: f64,
    /// Packets that arrived and did not reach the meter.
    pub dropped: Causes,
    /// Packets that carried a stamp.
    pub stamped: u64,
    /// All streams together.
    pub order: Order,
    /// Each stream.
    pub streams: Vec<StreamOrder>,
    /// Packets of more streams than are followed.
    pub untracked: u64,
    /// One-way latency.
    pub latency: Option<Percentiles>,
    /// Per queue, if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueFlow>,
}

impl Received {
    /// Packets received, each counted once where stamps tell them apart.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.flow.packets - self.order.duplicates
    }
}

impl Record for Received {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        let mut out = format!("received {}: {}", short(&self.port), self.flow.text());
        let _ = write!(out, "\n  dropped {}, truncated {}", self.dropped.brief(), self.truncated);
        let _ = write!(out, ", average batch {:.1}", self.batch);
        for queue in &self.queues {
            let _ = write!(out, "\n  queue {}: {} packets", queue.queue, queue.packets);
        }
        for StreamOrder { stream, order } in &self.streams {
            let _ = write!(
                out,
                "\n  stream {stream}: received {}, lost {}, reordered {}, duplicates {}",
                order.received, order.lost, order.reordered, order.duplicates
            );
            for (n, what) in [(order.late, "too late to tell"), (order.restarts, "restarts of the generator")] {
                if n > 0 {
                    let _ = write!(out, ", {n} {what}");
                }
            }
            if order.first > 0 {
                let _ = write!(out, "; the first seen was number {}", order.first);
            }
        }
        if self.untracked > 0 {
            let _ = write!(out, "\n  {} packets of further streams", self.untracked);
        }
        if let Some(latency) = &self.latency {
            let _ = write!(out, "\n  latency: {latency}");
        }
        out
    }
}

/// What a forwarder did in an interval, in one direction.
#[derive(Clone, Debug, Serialize)]
pub struct Forwarding {
    /// From this port.
    pub from: String,
    /// To that one.
    pub to: String,
    /// When.
    pub at: f64,
    /// Packets completed.
    #[serde(flatten)]
    pub flow: Flow,
    /// Packets received.
    pub received: u64,
    /// Packets that arrived and did not reach the forwarder.
    pub rx_dropped: Causes,
    /// Packets received that were not forwarded.
    pub dropped: Causes,
}

impl Record for Forwarding {
    const EVENT: &'static str = "interval";

    fn columns(&self) -> Option<String> {
        Some(format!("  time s {}  received  rx-drops{}", Flow::HEADING, self.dropped.heading()))
    }

    fn text(&self) -> String {
        format!(
            "{:>8.2} {} {:>9} {:>9}{}  {} > {}",
            self.at,
            self.flow.row(),
            self.received,
            self.rx_dropped.total(),
            self.dropped.row(),
            short(&self.from),
            short(&self.to)
        )
    }
}

/// What a forwarder did, in one direction.
#[derive(Clone, Debug, Serialize)]
pub struct Forwarded {
    /// From this port.
    pub from: String,
    /// To that one.
    pub to: String,
    /// Whether packets were sent without being copied.
    pub zero_copy: bool,
    /// Packets completed.
    #[serde(flatten)]
    pub flow: Flow,
    /// Packets received.
    pub received: u64,
    /// Packets accepted for sending.
    pub submitted: u64,
    /// Packets accepted of which nothing was heard to the end.
    pub pending: u64,
    /// Sends refused for want of room, and tried again.
    pub refused: u64,
    /// Packets that arrived and did not reach the forwarder.
    pub rx_dropped: Causes,
    /// Packets received that were not forwarded.
    pub dropped: Causes,
    /// Packets that each consumer handled, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<u64>,
}

impl Forwarded {
    /// Whether every packet received was forwarded, dropped for a known cause, or is still pending.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.received == self.flow.packets + self.dropped.total() + self.pending
    }
}

impl Record for Forwarded {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        let how = if self.zero_copy { "one pool, no copy" } else { "copied" };
        let mut out = format!("forwarded {} > {} ({how}): {}", short(&self.from), short(&self.to), self.flow.text());
        let _ = write!(
            out,
            "\n  received {} = forwarded {} + dropped {} + pending {}; lost before: {}",
            self.received,
            self.flow.packets,
            self.dropped.brief(),
            self.pending,
            self.rx_dropped.brief()
        );
        if self.refused > 0 {
            let _ = write!(out, "\n  the port was full {} times (tried again)", self.refused);
        }
        for (n, packets) in self.consumers.iter().enumerate() {
            let _ = write!(out, "\n  consumer {n}: {packets} packets");
        }
        if !self.balanced() {
            out += "\n  THE SUM DOES NOT HOLD";
        }
        out
    }
}
