//! The driver of the TCP engine's benchmarks: `scripts/bench.sh tcp` builds everything and runs it.
//!
//! In memory, without a driver: what an exchange of 64 bytes costs at the server, what an idle connection keeps, and what
//! a bulk transfer costs at both ends. Against smoltcp in the set-up in which it does best, see `smoltcp.rs`. And over veth:
//! a server on our stack over AF_XDP against the same server on the kernel, see `veth`.

mod veth;

use nethuns_bench::{
    Contender, Options, Report, Row, Sample, instructions, median, one_cpu, race, race_until_clear, sibling,
};
use std::process::ExitCode;

/// The gates: nanoseconds of CPU per exchange with one connection active, and with 100 000.
const EXCHANGE_NS: f64 = 100.0;
const CROWD_NS: f64 = 250.0;
/// What an exchange may cost more among 10 000 connections than alone: nothing, but for what caches do.
const SLOPE: f64 = 1.1;
const SLOPE_INSTRUCTIONS: f64 = 1.01;
/// Bytes of heap that an idle connection may keep.
const IDLE_BYTES: f64 = 1024.0;

struct Bench<'a> {
    options: &'a Options,
    pairs: usize,
}

impl Bench<'_> {
    /// Both contenders, ours first.
    fn contenders(&self, args: &str) -> [Contender; 2] {
        let [ours, smoltcp] = ["tcp-ours", "tcp-smoltcp"].map(sibling);
        [Contender::new("ours", &ours, args), Contender::new("smoltcp", &smoltcp, args)]
    }

    /// The figure's name, if it was asked for.
    fn wanted(&self, figure: &str) -> Option<String> {
        self.options.wants(figure).then(|| figure.to_owned())
    }
}

/// A load, and what an exchange may cost under it.
struct Load {
    name: &'static str,
    args: &'static str,
    limit: Option<f64>,
}

const LOADS: [Load; 6] = [
    Load { name: "requests 1 open", args: "requests --open 1", limit: Some(EXCHANGE_NS) },
    Load { name: "requests 100 open", args: "requests --open 100", limit: Some(EXCHANGE_NS) },
    Load { name: "requests 1000 open", args: "requests --open 1000", limit: Some(EXCHANGE_NS) },
    Load { name: "requests 10000 open", args: "requests --open 10000", limit: Some(EXCHANGE_NS) },
    Load { name: "requests 10000 active", args: "requests --open 10000 --active 10000 --burst 32", limit: None },
    Load {
        name: "requests 100000 active",
        args: "requests --open 100000 --active 100000 --burst 32",
        limit: Some(CROWD_NS),
    },
];

/// Exchanges under each load. Our medians in nanoseconds, where there are any.
fn requests(bench: &Bench, report: &mut Report) -> Vec<Option<f64>> {
    LOADS.iter().map(|load| exchange(bench, report, load)).collect()
}

fn exchange(bench: &Bench, report: &mut Report, load: &Load) -> Option<f64> {
    let figure = bench.wanted(load.name)?;
    let packets = bench.options.pick(500_000, 50_000);
    let contenders = bench.contenders(&format!("{} --packets {packets}", load.args));
    let ours = |samples: &[Vec<Sample>]| median(samples[0].iter().map(Sample::cpu));
    let clear = |samples: &[Vec<Sample>]| bench.options.quick || load.limit.is_none_or(|limit| ours(samples) <= limit);
    let samples = match race_until_clear(&contenders, bench.pairs, clear) {
        Ok(samples) => samples,
        Err(problem) => {
            report.fail(figure, "smoltcp", problem);
            return None;
        }
    };
    report.compare(&figure, "ns/exchange", (&samples[0], &samples[1]), "smoltcp", None, Sample::cpu);
    if let Some(limit) = load.limit {
        report.limit(&figure, "ns/exchange", ours(&samples), limit, false);
    }
    report.limit(format!("{figure} heap"), "allocations", samples[0].iter().map(|s| s.allocations).sum(), 0.0, true);
    if load.name == "requests 10000 open" {
        let bytes = |at: usize| median(samples[at].iter().map(|s| s.bytes));
        report.limit("idle connection", "bytes", bytes(0), IDLE_BYTES, true);
    }
    Some(ours(&samples))
}

/// Instructions of an exchange, alone and among 10 000 connections, and in bursts: exact, whatever the machine does.
fn count_instructions(bench: &Bench, report: &mut Report) {
    const UNIT: &str = "instructions/exchange";
    let packets = bench.options.pick(64 * 512, 16 * 512);
    let mut alone = None;
    for load in &LOADS[..5] {
        let Some(figure) = bench.wanted(&format!("{} instructions", load.name)) else { continue };
        let [ours, theirs] = bench.contenders(load.args);
        let ours = match instructions::per_packet(&ours, packets) {
            Ok(ours) => ours,
            Err(problem) => {
                report.fail(figure, "smoltcp", problem);
                continue;
            }
        };
        match instructions::per_packet(&theirs, packets) {
            Ok(theirs) => report.add(Row {
                figure: figure.clone(),
                unit: UNIT,
                ours,
                peer: "smoltcp",
                theirs: Some(theirs),
                ratio: Some(theirs / ours),
                ..Row::default()
            }),
            Err(problem) => report.fail(&figure, "smoltcp", problem),
        }
        match (load.name, alone) {
            ("requests 1 open", _) => alone = Some(ours),
            ("requests 10000 open", Some(alone)) => {
                report.limit("slope instructions", "10000 open / 1 open", ours / alone, SLOPE_INSTRUCTIONS, true);
            }
            _ => {}
        }
    }
}

/// Both ends of a transfer in one thread, with and without checksums.
fn bulk(bench: &Bench, report: &mut Report) {
    for (name, args) in [("bulk", "bulk"), ("bulk no checksums", "bulk no-checksums")] {
        let Some(figure) = bench.wanted(name) else { continue };
        let packets = bench.options.pick(500_000, 50_000);
        match race(&bench.contenders(&format!("{args} --packets {packets}")), bench.pairs) {
            Ok(samples) => {
                let pair = (samples[0].as_slice(), samples[1].as_slice());
                report.compare(&figure, "ns/1460 B both ends", pair, "smoltcp", None, Sample::cpu);
                let heap = samples[0].iter().map(|s| s.allocations).sum();
                report.limit(format!("{figure} heap"), "allocations", heap, 0.0, true);
            }
            Err(problem) => report.fail(figure, "smoltcp", problem),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let bench = Bench { options: &options, pairs: options.pick(9, 3) };
    one_cpu(true);
    let mut report = Report::new("tcp", &options);
    if let [Some(alone), _, _, Some(among), ..] = requests(&bench, &mut report)[..] {
        report.limit("slope", "10000 open / 1 open", among / alone, SLOPE, false);
    }
    bulk(&bench, &mut report);
    count_instructions(&bench, &mut report);
    if options.only.as_ref().is_none_or(|text| text.contains("veth")) {
        veth::figures(&bench, &mut report);
    }
    report.finish()
}
