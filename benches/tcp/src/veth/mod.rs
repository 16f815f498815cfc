//! Over veth: the same server on our stack over AF_XDP and on the kernel, under the same load.
//!
//! The server has one CPU, the load another. Each figure is the median over pairs of runs in turn.

mod ports;

use super::Bench;
use nethuns_bench::{Report, sibling};
use nethuns_bench_veth::{
    BOTH_CPU, Client, Exchange, FOR_MANY, MOST, Network, Outcome, Run, SERVER_CPU, Server, Side, Veth, WALL, for_crowd,
    timed,
};
use ports::{CHARGEN, DISCARD, ECHO, ONCE};
use std::io;
use std::time::Duration;

const KERNEL: &str = "kernel";

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

/// Connections that are opened and closed at once.
const AT_ONCE: usize = 64;

/// Ours first.
type Pair = [Vec<Run>; 2];

/// The server on our stack with these options, and on the kernel.
fn race(veth: &Veth, options: &'static str, load: &dyn Fn(&Server) -> io::Result<Run>) -> Result<Pair, String> {
    let side = |name, network| Side::new(name, &sibling("tcp-server"), network);
    let runs = veth.race(&[side("ours", Network::Ours(options)), side(KERNEL, Network::Kernel)], load)?;
    runs.try_into().map_err(|_| "a side without runs".to_owned())
}

/// Requests of 64 bytes from a crowd of connections.
fn requests(veth: &Veth, report: &mut Report, count: usize, steered: bool, bars: [Option<f64>; 2]) {
    let name = format!("veth {count}{}", if steered { " steered" } else { "" });
    let Some(figure) = veth.wanted(&name) else { return };
    veth.site.steer(steered);
    let runs = race(veth, for_crowd(count), &|server| {
        let mut client = Client::connect(Server::address(ECHO), count, false)?;
        veth.requests(server, &mut client, Exchange::ECHO)
    });
    veth.site.steer(false);
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
fn round_trip(veth: &Veth, report: &mut Report) {
    for (name, sleepless, bar) in
        [("veth round trip", false, Some(ROUND_TRIP)), ("veth round trip, client spins", true, None)]
    {
        let Some(figure) = veth.wanted(name) else { continue };
        let runs = race(veth, "&poll=busy", &|server| {
            let spins = sleepless || server.network() != Network::Kernel;
            let mut client = Client::connect(Server::address(ECHO), 1, spins)?;
            veth.requests(server, &mut client, Exchange::ECHO)
        });
        match runs {
            Ok(runs) => compare_latency(report, figure, &runs, 500, bar),
            Err(problem) => report.fail(figure, KERNEL, problem),
        }
    }
}

/// A transfer of that long.
type Transfer = fn(Duration) -> io::Result<Outcome>;
const UP: Transfer = |time| Client::upload(Server::address(DISCARD), time);
const DOWN: Transfer = |time| Client::download(Server::address(CHARGEN), time);

fn bulk(veth: &Veth, report: &mut Report) {
    // The bar is for the kernel without any segmentation offload, its own one included.
    for (name, transfer, late, bar) in [
        ("veth bulk receiving", UP, false, Some(BULK)),
        ("veth bulk sending", DOWN, false, Some(BULK)),
        ("veth bulk receiving GSO", UP, true, None),
        ("veth bulk sending GSO", DOWN, true, None),
    ] {
        let Some(figure) = veth.wanted(name) else { continue };
        veth.site.segment_late(late);
        match race(veth, "", &|server| timed(server, || transfer(veth.duration()))) {
            Ok(runs) => {
                compare(report, figure.clone(), "ns/KiB", &runs, 1024.0, bar, WALL);
                compare(report, format!("{figure} server CPU"), "ns/KiB", &runs, 1024.0, None, SERVER_CPU);
                compare(report, format!("{figure} both CPUs"), "ns/KiB", &runs, 1024.0, None, BOTH_CPU);
            }
            Err(problem) => report.fail(figure, KERNEL, problem),
        }
        veth.site.segment_late(false);
    }
}

/// Bulk while the load's end loses one of a hundred packets that it receives: of the stream that the server sends, or of
/// its acknowledgements.
fn lossy(veth: &Veth, report: &mut Report) {
    for (name, transfer) in [("veth lossy receiving", UP), ("veth lossy sending", DOWN)] {
        let Some(figure) = veth.wanted(name) else { continue };
        veth.site.lose(true);
        let runs = race(veth, "", &|server| timed(server, || transfer(veth.duration())));
        veth.site.lose(false);
        match runs {
            Ok(runs) => compare(report, figure, "ns/KiB", &runs, 1024.0, Some(LOSSY), WALL),
            Err(problem) => report.fail(figure, KERNEL, problem),
        }
    }
}

fn opens(veth: &Veth, report: &mut Report) {
    let Some(figure) = veth.wanted("veth open and close") else { return };
    let load = |server: &Server| {
        timed(server, || Client::opens(Server::address(ONCE), Exchange::ECHO, AT_ONCE, veth.duration()))
    };
    match race(veth, "", &load) {
        Ok(runs) => {
            compare(report, figure.clone(), "ns/connection", &runs, 1.0, Some(OPENS), WALL);
            compare(report, format!("{figure} server CPU"), "ns/connection", &runs, 1.0, None, SERVER_CPU);
        }
        Err(problem) => report.fail(figure, KERNEL, problem),
    }
}

/// By what the server's memory grows.
fn idle(veth: &Veth, report: &mut Report) {
    let Some(figure) = veth.wanted("veth idle connection") else { return };
    let ours = Side::new("ours", &sibling("tcp-server"), Network::Ours(FOR_MANY));
    match veth.growth(&ours, ECHO, Exchange::ECHO) {
        Ok(bytes) => report.limit(figure, "bytes of RSS", bytes, IDLE_BYTES, false),
        Err(problem) => report.fail(figure, KERNEL, problem),
    }
}

fn compare(
    report: &mut Report,
    figure: String,
    unit: &'static str,
    [ours, theirs]: &Pair,
    per: f64,
    bar: Option<f64>,
    value: fn(&Run) -> f64,
) {
    nethuns_bench_veth::compare(report, figure, unit, (ours, theirs), (KERNEL, bar), per, value);
}

fn compare_latency(report: &mut Report, figure: String, [ours, theirs]: &Pair, mille: usize, bar: Option<f64>) {
    nethuns_bench_veth::compare_latency(report, figure, (ours, theirs), (KERNEL, bar), mille);
}

/// All figures over veth.
pub fn figures(bench: &Bench, report: &mut Report) {
    Veth::run(bench.options, report, 5, Duration::from_millis(1500), |veth, report| {
        for crowd in CROWDS {
            let count = veth.crowd(crowd.count);
            requests(veth, report, count, false, [crowd.server, crowd.wall]);
            requests(veth, report, count, true, [crowd.steered, None]);
        }
        round_trip(veth, report);
        bulk(veth, report);
        lossy(veth, report);
        opens(veth, report);
        idle(veth, report);
    });
}
