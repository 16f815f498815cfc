//! The driver of the packet layer's benchmarks: `scripts/bench.sh packets` builds everything and runs it.
//!
//! Two veth pairs in a network namespace of the driver's own, which ends with it and its children however they end:
//!
//! ```text
//!   sa0 ═══ sb0    the common source sends from sa0, the contender receives on sb0 (or sends on sa0, sb0 drops)
//!   oa0 ═══ ob0    the contender forwards to oa0, ob0 drops
//! ```

use nethuns_bench::netns::Lab;
use nethuns_bench::{
    Contender, Options, Report, Row, Sample, instructions, one_cpu, race, race_until_clear, ratio, sibling,
};
use std::path::PathBuf;
use std::process::ExitCode;

/// The table of the issue: what the medians of ratios must reach.
const OF_C: f64 = 0.97;
const OF_XSK_RS: f64 = 1.0;
const ANY_OF_C: f64 = 0.95;
const OF_FLUME: f64 = 0.9;
const OF_TESTPMD: f64 = 0.95;
const MEM_NS: f64 = 25.0;
const INSTRUCTIONS: f64 = 60.0;

const SIZES: [usize; 2] = [60, 1514];

/// Where the contenders are.
struct Bench<'a> {
    options: &'a Options,
    ours: PathBuf,
    pairs: usize,
}

impl Bench<'_> {
    /// The figure's name, if it was asked for.
    fn wanted(&self, figure: String) -> Option<String> {
        self.options.wants(&figure).then_some(figure)
    }

    fn ours(&self, name: &'static str, args: &str) -> Contender {
        Contender::new(name, &self.ours, args)
    }

    /// A peer, or why it is not there.
    fn peer(&self, name: &'static str, program: &str, args: &str) -> Result<Contender, String> {
        if let Some((_, reason)) = self.options.without.iter().find(|(peer, _)| peer == name) {
            return Err(reason.clone());
        }
        let path = self.options.peers.join(program);
        if path.is_file() {
            Ok(Contender::new(name, &path, args))
        } else {
            Err(format!("{} is not built: run scripts/bench.sh packets", path.display()))
        }
    }
}

/// Runs the figures that need interfaces.
fn on_interfaces(bench: &Bench, report: &mut Report) {
    for size in SIZES {
        for (mode, ports) in [("rx", "sa0 sb0"), ("tx", "sa0 sb0"), ("fwd", "sa0 sb0 oa0 ob0")] {
            af_xdp(bench, report, size, mode, ports);
        }
    }
    for size in SIZES {
        for (mode, ports) in [("rx", "sa0 sb0"), ("tx", "sa0 sb0")] {
            pcap(bench, report, size, mode, ports);
        }
    }
    for (mode, ports) in [("rx", "sa0 sb0"), ("tx", "sa0 sb0"), ("fwd", "sa0 sb0 oa0 ob0")] {
        count_instructions(bench, report, mode, ports);
    }
}

fn af_xdp(bench: &Bench, report: &mut Report, size: usize, mode: &str, ports: &str) {
    let Some(figure) = bench.wanted(format!("af_xdp {mode} {size}B")) else { return };
    let packets = bench.options.pick(192_000, 16_000);
    let rest = format!("{ports} --size {size} --packets {packets}");
    let mut contenders = vec![
        bench.ours("ours", &format!("{mode} af_xdp {rest}")),
        bench.ours("any", &format!("{mode} any-af_xdp {rest}")),
    ];
    let peers = [
        bench.peer("c loop", "af_xdp_loop", &format!("{mode} {rest}")),
        bench.peer("xsk-rs", "xsk-rs-loop", &format!("{mode} {rest}")),
    ];
    let mut places = Vec::new();
    for (name, peer) in ["c loop", "xsk-rs"].into_iter().zip(peers) {
        match peer {
            Ok(peer) => {
                places.push((name, contenders.len()));
                contenders.push(peer);
            }
            Err(reason) => report.skip(&figure, name, reason),
        }
    }
    // A draw under load looks like a defeat now and then: look longer before saying so. Not in a quick run.
    let clear = |samples: &[Vec<Sample>]| {
        bench.options.quick
            || places.iter().all(|(name, at)| {
                let bar = if *name == "c loop" { OF_C } else { OF_XSK_RS };
                ratio(&samples[0], &samples[*at], Sample::cpu) >= bar
            })
    };
    let samples = match race_until_clear(&contenders, bench.pairs, clear) {
        Ok(samples) => samples,
        Err(problem) => return report.fail(&figure, "all", problem),
    };
    for (name, at) in places {
        let pair = |ours: usize| (samples[ours].as_slice(), samples[at].as_slice());
        if name == "c loop" {
            report.compare(&figure, "ns/packet", pair(0), name, Some(OF_C), Sample::cpu);
            report.compare(format!("{figure} any"), "ns/packet", pair(1), name, Some(ANY_OF_C), Sample::cpu);
        } else {
            report.compare(&figure, "ns/packet", pair(0), name, Some(OF_XSK_RS), Sample::cpu);
        }
        if mode == "rx" {
            // The receiver's own part: no system call in it. For the record: it is what a ratio of 0.97 hides.
            report.compare(format!("{figure} own part"), "ns/packet wall", pair(0), name, None, Sample::part);
        }
    }
    report.limit(format!("{figure} heap"), "allocations", samples[0].iter().map(|s| s.allocations).sum(), 0.0, true);
}

fn pcap(bench: &Bench, report: &mut Report, size: usize, mode: &str, ports: &str) {
    let Some(figure) = bench.wanted(format!("pcap {mode} {size}B")) else { return };
    let packets = bench.options.pick(192_000, 16_000);
    let rest = format!("{ports} --size {size} --packets {packets}");
    let peer = match bench.peer("c loop", "pcap_loop", &format!("{mode} {rest}")) {
        Ok(peer) => peer,
        Err(reason) => return report.skip(figure, "c loop", reason),
    };
    let ours = bench.ours("ours", &format!("{mode} pcap {rest}"));
    let clear = |samples: &[Vec<Sample>]| bench.options.quick || ratio(&samples[0], &samples[1], Sample::cpu) >= OF_C;
    match race_until_clear(&[ours, peer], bench.pairs, clear) {
        Ok(samples) => {
            report.compare(&figure, "ns/packet", (&samples[0], &samples[1]), "c loop", Some(OF_C), Sample::cpu);
            if mode == "rx" {
                let figure = format!("{figure} own part");
                report.compare(figure, "ns/packet wall", (&samples[0], &samples[1]), "c loop", None, Sample::part);
            }
        }
        Err(problem) => report.fail(figure, "c loop", problem),
    }
}

/// Instructions of 60-byte packets in batches of 64; sending includes writing the frame.
fn count_instructions(bench: &Bench, report: &mut Report, mode: &str, ports: &str) {
    let Some(figure) = bench.wanted(format!("af_xdp {mode} instructions")) else { return };
    const UNIT: &str = "instructions/packet";
    let packets = 64 * 64;
    let count = |contender: &Contender| instructions::per_packet(contender, packets);
    let ours = match count(&bench.ours("ours", &format!("{mode} af_xdp {ports} --size 60"))) {
        Ok(ours) => ours,
        Err(problem) => return report.fail(figure, "limit", problem),
    };
    if mode != "fwd" {
        report.limit(&figure, UNIT, ours, INSTRUCTIONS, true);
    }
    let others = [
        ("c loop", bench.peer("c loop", "af_xdp_loop", &format!("{mode} {ports} --size 60"))),
        ("any", Ok(bench.ours("any", &format!("{mode} any-af_xdp {ports} --size 60")))),
    ];
    for (name, other) in others {
        match other.and_then(|other| count(&other)) {
            Ok(theirs) => report.add(Row {
                figure: figure.clone(),
                unit: UNIT,
                ours,
                peer: name,
                theirs: Some(theirs),
                ratio: Some(theirs / ours),
                ..Row::default()
            }),
            Err(reason) => report.skip(&figure, name, reason),
        }
    }
}

/// One thread on an in-memory wire, concretely and through `any`.
fn mem(bench: &Bench, report: &mut Report) {
    for size in SIZES {
        let Some(figure) = bench.wanted(format!("mem {size}B")) else { continue };
        let rest = format!("--size {size} --packets {}", bench.options.pick(8_000_000, 640_000));
        let contenders =
            [bench.ours("ours", &format!("mem mem {rest}")), bench.ours("any", &format!("mem any-mem {rest}"))];
        let samples = match race(&contenders, bench.pairs) {
            Ok(samples) => samples,
            Err(problem) => {
                report.fail(figure, "limit", problem);
                continue;
            }
        };
        let ns = nethuns_bench::median(samples[0].iter().map(Sample::cpu));
        if size == 60 {
            report.limit(&figure, "ns/packet", ns, MEM_NS, false);
        }
        report.limit(
            format!("{figure} heap"),
            "allocations",
            samples[0].iter().map(|s| s.allocations).sum(),
            0.0,
            true,
        );
        let pair = (samples[0].as_slice(), samples[1].as_slice());
        report.compare(format!("{figure} dispatch"), "ns/packet", pair, "any", None, Sample::cpu);
    }
}

/// A netmap pipe of the emulation in one thread, against a loop over the same rings written by hand.
fn netmap(bench: &Bench, report: &mut Report) {
    for size in SIZES {
        let Some(figure) = bench.wanted(format!("netmap pipe {size}B")) else { continue };
        let rest = format!("--size {size} --packets {}", bench.options.pick(8_000_000, 640_000));
        let contenders = [
            bench.ours("ours", &format!("pipe netmap {rest}")),
            bench.ours("any", &format!("pipe any-netmap {rest}")),
            bench.ours("ring loop", &format!("pipe by-hand {rest}")),
        ];
        match race(&contenders, bench.pairs) {
            Ok(samples) => {
                let pair = |ours: usize| (samples[ours].as_slice(), samples[2].as_slice());
                report.compare(&figure, "ns/packet", pair(0), "ring loop", Some(OF_C), Sample::cpu);
                report.compare(format!("{figure} any"), "ns/packet", pair(1), "ring loop", None, Sample::cpu);
                let heap = samples[0].iter().map(|s| s.allocations).sum();
                report.limit(format!("{figure} heap"), "allocations", heap, 0.0, true);
            }
            Err(problem) => report.fail(figure, "ring loop", problem),
        }
    }
}

/// Batches of 32 tokens through pusher and popper against the same arrays through plain flume.
fn channel(bench: &Bench, report: &mut Report) {
    for (threads, packets) in [("one", (6_400_000, 640_000)), ("two", (3_200_000, 640_000))] {
        let Some(figure) = bench.wanted(format!("channel {threads} thread{}", if threads == "two" { "s" } else { "" }))
        else {
            continue;
        };
        one_cpu(threads == "one");
        let run = |whose| format!("channel {whose} {threads} --packets {}", bench.options.pick(packets.0, packets.1));
        let contenders = [bench.ours("ours", &run("nethuns")), bench.ours("flume", &run("flume"))];
        // Twice as many where only the best run counts.
        let pairs = if threads == "one" { bench.pairs } else { 2 * bench.pairs };
        match race(&contenders, pairs) {
            Ok(samples) => {
                let pair = (samples[0].as_slice(), samples[1].as_slice());
                // In one thread CPU time, which does not depend on who else is there; across two it is the pace that counts.
                if threads == "one" {
                    report.compare(&figure, "ns/token", pair, "flume", Some(OF_FLUME), Sample::cpu);
                } else {
                    report.compare_best(&figure, "ns/token best", pair, "flume", Some(OF_FLUME), Sample::wall);
                }
            }
            Err(problem) => report.fail(figure, "flume", problem),
        }
    }
    one_cpu(true);
}

/// Virtual devices of DPDK: the forwarding thread's time per packet, against that of `dpdk-testpmd`'s.
fn dpdk(bench: &Bench, report: &mut Report, device: &str, mode: &str, vdevs: &str) {
    let Some(figure) = bench.wanted(format!("dpdk {device} {mode}")) else { return };
    if let Some((_, reason)) = bench.options.without.iter().find(|(peer, _)| peer == "testpmd") {
        return report.skip(figure, "testpmd", reason.as_str());
    }
    let millis = bench.options.pick(500, 100);
    let program = sibling("packets-dpdk");
    let ours = Contender::new("ours", &program, &format!("ours {mode} {millis} {vdevs}"));
    // Packet by packet, in the program's hands: testpmd has no such mode, so that is for the record.
    let (theirs, bar) = if mode == "token" { ("io", None) } else { (mode, Some(OF_TESTPMD)) };
    let peer = Contender::new("testpmd", &program, &format!("testpmd {theirs} {millis} {vdevs}"));
    match race(&[ours, peer], bench.pairs) {
        Ok(samples) => {
            report.compare(&figure, "ns/packet", (&samples[0], &samples[1]), "testpmd", bar, Sample::cpu);
            let allocations = samples[0].iter().map(|s| s.allocations).sum();
            report.limit(format!("{figure} heap"), "allocations", allocations, 0.0, true);
        }
        Err(problem) => report.fail(figure, "testpmd", problem),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let bench = Bench { options: &options, ours: sibling("packets-ours"), pairs: options.pick(9, 3) };
    one_cpu(true);
    let mut report = Report::new("packets", &options);
    mem(&bench, &mut report);
    channel(&bench, &mut report);
    netmap(&bench, &mut report);
    one_cpu(false);
    for mode in ["rx", "tx", "io", "token"] {
        dpdk(&bench, &mut report, "net_null", mode, "net_null0");
    }
    // A ring has nothing to receive but what was sent, and room for a thousand: forwarding is all it can be asked for.
    dpdk(&bench, &mut report, "net_ring", "io", "net_ring0");
    one_cpu(true);
    if let Some(lab) = Lab::enter("packets over interfaces") {
        lab.veth("sa0", "sb0", 1);
        lab.veth("oa0", "ob0", 1);
        on_interfaces(&bench, &mut report);
        // testpmd's two threads are on CPUs of their own choice.
        one_cpu(false);
        // Between the ends of one pair packets go round. Receiving alone would measure how long a poll waits for a sender.
        dpdk(&bench, &mut report, "net_af_packet", "tx", "net_af_packet0,iface=sa0");
        dpdk(&bench, &mut report, "net_af_packet", "io", "net_af_packet0,iface=sa0 net_af_packet1,iface=sb0");
        one_cpu(true);
    } else {
        report.skip("af_xdp and pcap", "all", "needs root, for a network namespace of its own");
    }
    report.finish()
}
