//! In memory: an exchange through the layer against the same on `net`.

use nethuns_bench::{Contender, Options, Report, Row, Sample, instructions, median, race, race_until_clear, sibling};

/// Nanoseconds that the layer may add to an event.
const LAYER_NS: f64 = 30.0;
/// Bytes of heap that an idle connection may keep, engine and layer: 1.2 KB.
const IDLE_BYTES: f64 = 1.2 * 1024.0;
const NET: &str = "net";

/// Connections of which each has a request under way, the events of a turn, and what the layer may add to an event. With
/// one event a turn that is the cost of an iteration, which has no limit of its own.
const LOADS: [(&str, &str, Option<f64>); 3] = [
    ("layer, 1 event a turn", "--open 1", None),
    ("layer, 32 events a turn", "--open 32 --active 32 --burst 32", Some(LAYER_NS)),
    ("layer, 32 of 10000", "--open 10000 --active 10000 --burst 32", Some(LAYER_NS)),
];

fn contenders(args: &str) -> [Contender; 2] {
    let program = sibling("us-layer");
    let named = |name: &'static str| Contender::new(name, &program, &format!("{name} {args}"));
    [named("usockets"), named(NET)]
}

/// What the layer adds, in nanoseconds: the median of the differences of pairs.
fn added(samples: &[Vec<Sample>]) -> f64 {
    median(samples[0].iter().zip(&samples[1]).map(|(layered, direct)| layered.cpu() - direct.cpu()))
}

/// All figures in memory.
pub fn figures(options: &Options, report: &mut Report) {
    for (name, args, limit) in LOADS.iter().filter(|load| options.wants(load.0)) {
        let packets = options.pick(400_000, 50_000);
        let contenders = contenders(&format!("{args} --packets {packets}"));
        let clear = |samples: &[Vec<Sample>]| options.quick || limit.is_none_or(|limit| added(samples) <= limit);
        let samples = match race_until_clear(&contenders, options.pick(9, 3), clear) {
            Ok(samples) => samples,
            Err(problem) => {
                report.fail(*name, NET, problem);
                continue;
            }
        };
        report.compare(*name, "ns/exchange", (&samples[0], &samples[1]), NET, None, Sample::cpu);
        let (figure, unit, added) = (format!("{name}: added"), "ns/event", added(&samples));
        match limit {
            Some(limit) => report.limit(figure, unit, added, *limit, false),
            None => report.add(Row { figure, unit, ours: added, peer: NET, ..Row::default() }),
        }
        report.limit(format!("{name}: heap"), "allocations", samples[0].iter().map(|s| s.allocations).sum(), 0.0, true);
    }
    let packets = options.pick(64 * 512, 16 * 512);
    for (name, args, _) in LOADS[..2].iter().filter(|load| options.wants(load.0)) {
        let counted = contenders(args).map(|contender| instructions::per_packet(&contender, packets));
        let row = match counted {
            [Ok(layered), Ok(direct)] => Row {
                unit: "instructions",
                ours: layered,
                peer: NET,
                theirs: Some(direct),
                ratio: Some(direct / layered),
                ..Row::default()
            },
            [Err(problem), _] | [_, Err(problem)] => Row { peer: NET, failed: Some(problem), ..Row::default() },
        };
        report.add(Row { figure: format!("{name}: instructions"), ..row });
    }
    idle(options, report);
}

/// By what the heap grows with a connection that has had one exchange: everything but the frames of the wire.
fn idle(options: &Options, report: &mut Report) {
    const FIGURE: &str = "idle connection";
    if !options.wants(FIGURE) {
        return;
    }
    match race(&contenders("--open 10000 --packets 1"), 1) {
        Ok(samples) => {
            let bytes = |at: usize| median(samples[at].iter().map(|s: &Sample| s.bytes));
            report.add(Row {
                figure: FIGURE.into(),
                unit: "bytes",
                ours: bytes(0),
                peer: NET,
                theirs: Some(bytes(1)),
                ratio: Some(bytes(1) / bytes(0)),
                exact: true,
                ..Row::default()
            });
            report.limit(FIGURE, "bytes", bytes(0), IDLE_BYTES, true);
        }
        Err(problem) => report.fail(FIGURE, NET, problem),
    }
}
