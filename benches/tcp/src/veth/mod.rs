//! Over veth: the same server on our stack over AF_XDP and on the kernel, under the same load.
//!
//! The server has one CPU, the load another. Each figure is the median over pairs of runs in turn.

mod client;
mod ports;
mod site;

use super::Bench;
use client::{Client, Outcome};
use nethuns_bench::{Report, Sample, one_cpu};
use nethuns_rs::net::Net;
use ports::{CHARGEN, DISCARD, ECHO, ONCE};
use site::{Network, Server, Site, own_cpu_ns};
use std::io;
use std::time::Duration;

const KERNEL: &str = "kernel";

/// Connections at once, at most; fewer in a quick run.
const MOST: usize = 10_000;
const MOST_QUICK: usize = 2000;

/// So many connections, and how much more than the kernel there must be.
struct Crowd {
    count: usize,
    /// Requests per second of the server's CPU; the same with receive packet steering.
    server: Option<f64>,
    steered: Option<f64>,
    /// Requests per second.
    wall: Option<f64>,
}

const CROWDS: [Crowd; 3] = [
    Crowd { count: 1, server: None, steered: None, wall: None },
    Crowd { count: 100, server: Some(1.4), steered: Some(2.5), wall: Some(1.3) },
    Crowd { count: MOST, server: Some(2.0), steered: Some(3.0), wall: Some(1.3) },
];
/// Bulk throughput, connections opened and closed.
const BULK: f64 = 1.3;
const OPENS: f64 = 1.5;
/// Bulk throughput where packets are lost: within a tenth of the kernel's.
const LOSSY: f64 = 0.9;
/// The round trip, busy polling against the kernel sleeping, may take a fifth.
const ROUND_TRIP: f64 = 5.0;
/// Bytes that a server grows by with a connection.
const IDLE_BYTES: f64 = 1024.0;

/// What a host is told that will have that many connections speaking at once: frames and room for a packet of each, see
/// docs/host.md.
const FOR_MANY: &str = "&frames=32768&rx=16384";

/// Connections that are opened and closed at once.
const AT_ONCE: usize = 64;

/// One run.
struct Run {
    outcome: Outcome,
    server_ns: f64,
    client_ns: f64,
}

const SERVER_CPU: fn(&Run) -> f64 = |run| run.server_ns;
const BOTH_CPU: fn(&Run) -> f64 = |run| run.server_ns + run.client_ns;
const WALL: fn(&Run) -> f64 = |run| run.outcome.wall.as_nanos() as f64;

impl Run {
    /// A latency that so many of 1000 requests stay below, in microseconds.
    fn latency(&self, mille: usize) -> f64 {
        let all = &self.outcome.latencies;
        all.get(all.len() * mille / 1000).map_or(f64::NAN, |ns| f64::from(*ns) / 1000.0)
    }

    /// As the report wants it: the figure is `cpu`.
    fn sample(&self, unit: f64, value: f64) -> Sample {
        Sample { packets: self.outcome.done as f64 / unit, cpu_ns: value, wall_ns: WALL(self), ..Sample::default() }
    }
}

struct Veth<'a> {
    bench: &'a Bench<'a>,
    site: Site,
}

impl Veth<'_> {
    /// What a load costs on a network.
    fn measure(&self, network: Network, load: &dyn Fn(&Server) -> io::Result<Run>) -> Result<Run, String> {
        let server = self.site.serve(&super::sibling("tcp-server"), network)?;
        let mut run = load(&server).map_err(|error| format!("{network:?}: {error}"))?;
        run.outcome.latencies.sort_unstable();
        Ok(run)
    }

    /// Pairs of runs, ours first in each.
    fn race(&self, networks: [Network; 2], load: &dyn Fn(&Server) -> io::Result<Run>) -> Result<[Vec<Run>; 2], String> {
        let mut runs = [Vec::new(), Vec::new()];
        for pair in 0..self.bench.options.pick(5, 1) {
            for at in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
                runs[at].push(self.measure(networks[at], load)?);
            }
        }
        Ok(runs)
    }

    fn duration(&self) -> Duration {
        Duration::from_millis(self.bench.options.pick(1500, 200))
    }

    /// Requests of 64 bytes from a crowd of connections.
    fn requests(&self, report: &mut Report, count: usize, steered: bool, bars: [Option<f64>; 2]) {
        let name = format!("veth {count}{}", if steered { " steered" } else { "" });
        let Some(figure) = self.bench.wanted(&name) else { return };
        self.site.steer(steered);
        let load = |server: &Server| {
            let mut client = Client::connect(Server::address(ECHO), count, false)?;
            client.requests(self.duration() / 10)?;
            timed(server, || client.requests(self.duration()))
        };
        let ours = Network::Ours(if count > 1000 { FOR_MANY } else { "" });
        let runs = self.race([ours, Network::Kernel], &load);
        self.site.steer(false);
        let runs = match runs {
            Ok(runs) => runs,
            Err(problem) => return report.fail(figure, KERNEL, problem),
        };
        compare(report, format!("{figure} server CPU"), "ns/request", &runs, 1.0, bars[0], SERVER_CPU);
        compare(report, format!("{figure} both CPUs"), "ns/request", &runs, 1.0, None, BOTH_CPU);
        compare(report, format!("{figure} end to end"), "ns/request", &runs, 1.0, bars[1], WALL);
        for (mille, name) in [(500, "p50"), (990, "p99"), (999, "p99.9")] {
            compare_latency(report, format!("{figure} {name}"), &runs, mille, None);
        }
    }

    /// One request after the other on one connection: nobody ever sleeping, against everybody sleeping while there is nothing
    /// to do. And against a kernel whose client does not sleep either.
    fn round_trip(&self, report: &mut Report) {
        for (name, sleepless, bar) in
            [("veth round trip", false, Some(ROUND_TRIP)), ("veth round trip, client spins", true, None)]
        {
            let Some(figure) = self.bench.wanted(name) else { continue };
            let load = |server: &Server| {
                let spins = sleepless || server.network() != Network::Kernel;
                let mut client = Client::connect(Server::address(ECHO), 1, spins)?;
                client.requests(self.duration() / 10)?;
                timed(server, || client.requests(self.duration()))
            };
            match self.race([Network::Ours("&poll=busy"), Network::Kernel], &load) {
                Ok(runs) => compare_latency(report, figure, &runs, 500, bar),
                Err(problem) => report.fail(figure, KERNEL, problem),
            }
        }
    }

    fn bulk(&self, report: &mut Report) {
        let up: fn(Duration) -> io::Result<Outcome> = |time| Client::upload(Server::address(DISCARD), time);
        let down: fn(Duration) -> io::Result<Outcome> = |time| Client::download(Server::address(CHARGEN), time);
        // The bar is for the kernel without any segmentation offload, its own one included.
        for (name, transfer, late, bar) in [
            ("veth bulk receiving", up, false, Some(BULK)),
            ("veth bulk sending", down, false, Some(BULK)),
            ("veth bulk receiving GSO", up, true, None),
            ("veth bulk sending GSO", down, true, None),
        ] {
            let Some(figure) = self.bench.wanted(name) else { continue };
            self.site.segment_late(late);
            let load = |server: &Server| timed(server, || transfer(self.duration()));
            match self.race([Network::Ours(""), Network::Kernel], &load) {
                Ok(runs) => {
                    compare(report, figure.clone(), "ns/KiB", &runs, 1024.0, bar, WALL);
                    compare(report, format!("{figure} server CPU"), "ns/KiB", &runs, 1024.0, None, SERVER_CPU);
                    compare(report, format!("{figure} both CPUs"), "ns/KiB", &runs, 1024.0, None, BOTH_CPU);
                }
                Err(problem) => report.fail(figure, KERNEL, problem),
            }
            self.site.segment_late(false);
        }
    }

    /// Bulk while the load's end loses one of a hundred packets that it receives: of the stream that the server sends, or of
    /// its acknowledgements.
    fn lossy(&self, report: &mut Report) {
        let up: fn(Duration) -> io::Result<Outcome> = |time| Client::upload(Server::address(DISCARD), time);
        let down: fn(Duration) -> io::Result<Outcome> = |time| Client::download(Server::address(CHARGEN), time);
        for (name, transfer) in [("veth lossy receiving", up), ("veth lossy sending", down)] {
            let Some(figure) = self.bench.wanted(name) else { continue };
            self.site.lose(true);
            let runs =
                self.race([Network::Ours(""), Network::Kernel], &|server| timed(server, || transfer(self.duration())));
            self.site.lose(false);
            match runs {
                Ok(runs) => compare(report, figure, "ns/KiB", &runs, 1024.0, Some(LOSSY), WALL),
                Err(problem) => report.fail(figure, KERNEL, problem),
            }
        }
    }

    fn opens(&self, report: &mut Report) {
        let Some(figure) = self.bench.wanted("veth open and close") else { return };
        let load = |server: &Server| timed(server, || Client::opens(Server::address(ONCE), AT_ONCE, self.duration()));
        match self.race([Network::Ours(""), Network::Kernel], &load) {
            Ok(runs) => {
                compare(report, figure.clone(), "ns/connection", &runs, 1.0, Some(OPENS), WALL);
                compare(report, format!("{figure} server CPU"), "ns/connection", &runs, 1.0, None, SERVER_CPU);
            }
            Err(problem) => report.fail(figure, KERNEL, problem),
        }
    }

    /// By what the server's memory grows. The kernel keeps its own outside of it.
    fn idle(&self, report: &mut Report) {
        let Some(figure) = self.bench.wanted("veth idle connection") else { return };
        let count = self.bench.options.pick(MOST, MOST_QUICK);
        let grown = self.site.serve(&super::sibling("tcp-server"), Network::Ours(FOR_MANY)).and_then(|server| {
            let grow = || -> io::Result<f64> {
                // What a server touches once: frames, buffers, the first pieces of its tables.
                let few = count / 10;
                Client::connect(Server::address(ECHO), few, false)?.requests(self.duration())?;
                let before = server.resident();
                let many = Client::connect(Server::address(ECHO), count, false)?;
                let after = server.resident();
                drop(many);
                Ok((after - before) / (count - few) as f64)
            };
            grow().map_err(|error| error.to_string())
        });
        match grown {
            Ok(bytes) => report.limit(figure, "bytes of RSS", bytes, IDLE_BYTES, false),
            Err(problem) => report.fail(figure, KERNEL, problem),
        }
    }
}

/// What both sides paid for something.
fn timed(server: &Server, load: impl FnOnce() -> io::Result<Outcome>) -> io::Result<Run> {
    let before = [server.cpu_ns(), own_cpu_ns()];
    let outcome = load()?;
    Ok(Run { outcome, server_ns: server.cpu_ns() - before[0], client_ns: own_cpu_ns() - before[1] })
}

fn compare(
    report: &mut Report,
    figure: String,
    unit: &'static str,
    runs: &[Vec<Run>; 2],
    per: f64,
    bar: Option<f64>,
    value: fn(&Run) -> f64,
) {
    let [ours, theirs] =
        runs.each_ref().map(|runs| runs.iter().map(|run| run.sample(per, value(run))).collect::<Vec<_>>());
    report.compare(figure, unit, (&ours, &theirs), KERNEL, bar, Sample::cpu);
}

fn compare_latency(report: &mut Report, figure: String, runs: &[Vec<Run>; 2], mille: usize, bar: Option<f64>) {
    let [ours, theirs] =
        runs.each_ref().map(|runs| runs.iter().map(|run| run.sample(1.0, run.latency(mille))).collect::<Vec<_>>());
    report.compare(figure, "us", (&ours, &theirs), KERNEL, bar, |sample| sample.cpu_ns);
}

/// All figures over veth.
pub fn figures(bench: &Bench, report: &mut Report) {
    // A thread of its own: it does not come back out of the namespaces.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let Some(site) = Site::enter("veth") else { return };
            if let Err(problem) = Net::kernel().and_then(|net| net.allow_sockets(MOST + 1000)) {
                return report.fail("veth", KERNEL, problem.to_string());
            }
            one_cpu(true);
            let veth = Veth { bench, site };
            for crowd in CROWDS {
                let count = crowd.count.min(bench.options.pick(MOST, MOST_QUICK));
                veth.requests(report, count, false, [crowd.server, crowd.wall]);
                veth.requests(report, count, true, [crowd.steered, None]);
            }
            veth.round_trip(report);
            veth.bulk(report);
            veth.lossy(report);
            veth.opens(report);
            veth.idle(report);
        });
    });
}
