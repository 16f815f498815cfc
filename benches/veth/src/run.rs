//! What a run came to, and rows of a report from runs.

use crate::client::Outcome;
use crate::site::{Server, own_cpu_ns};
use nethuns_bench::{Report, Sample};
use std::io;

/// One run: what was done, and what it cost each CPU.
#[derive(Debug)]
pub struct Run {
    pub outcome: Outcome,
    server_ns: f64,
    client_ns: f64,
}

/// CPU time of the server.
pub const SERVER_CPU: fn(&Run) -> f64 = |run| run.server_ns;
/// CPU time of server and load.
pub const BOTH_CPU: fn(&Run) -> f64 = |run| run.server_ns + run.client_ns;
/// Time that passed.
pub const WALL: fn(&Run) -> f64 = |run| run.outcome.wall.as_nanos() as f64;

impl Run {
    /// A latency that so many of 1000 requests stay below, in microseconds.
    #[must_use]
    pub fn latency(&self, mille: usize) -> f64 {
        let all = &self.outcome.latencies;
        all.get(all.len() * mille / 1000).map_or(f64::NAN, |ns| f64::from(*ns) / 1000.0)
    }

    /// As the report wants it: the figure is `cpu`.
    fn sample(&self, unit: f64, value: f64) -> Sample {
        Sample { packets: self.outcome.done as f64 / unit, cpu_ns: value, wall_ns: WALL(self), ..Sample::default() }
    }
}

/// What both sides paid for something.
///
/// # Errors
///
/// Of the load.
pub fn timed(server: &Server, load: impl FnOnce() -> io::Result<Outcome>) -> io::Result<Run> {
    let before = [server.cpu_ns(), own_cpu_ns()];
    let outcome = load()?;
    Ok(Run { outcome, server_ns: server.cpu_ns() - before[0], client_ns: own_cpu_ns() - before[1] })
}

/// A row: what each cost per so much of what it did.
pub fn compare(
    report: &mut Report,
    figure: impl Into<String>,
    unit: &'static str,
    (ours, theirs): (&[Run], &[Run]),
    (peer, bar): (&'static str, Option<f64>),
    per: f64,
    value: fn(&Run) -> f64,
) {
    let [ours, theirs] =
        [ours, theirs].map(|runs| runs.iter().map(|run| run.sample(per, value(run))).collect::<Vec<_>>());
    report.compare(figure, unit, (&ours, &theirs), peer, bar, Sample::cpu);
}

/// A row: the latency that so many of 1000 requests stay below.
pub fn compare_latency(
    report: &mut Report,
    figure: impl Into<String>,
    (ours, theirs): (&[Run], &[Run]),
    (peer, bar): (&'static str, Option<f64>),
    mille: usize,
) {
    let [ours, theirs] =
        [ours, theirs].map(|runs| runs.iter().map(|run| run.sample(1.0, run.latency(mille))).collect::<Vec<_>>());
    report.compare(figure, "us", (&ours, &theirs), peer, bar, |sample| sample.cpu_ns);
}
