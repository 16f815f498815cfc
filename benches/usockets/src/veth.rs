//! Over veth: the servers on uSockets on our stack over AF_XDP, the same on the kernel, and one in C on epoll.
//!
//! The server has one CPU, the load another. Each figure is the median over runs in turn.

use crate::services::{ANSWER, ECHO, HTTP, HTTPS, REQUEST};
use crate::tls::{Secrets, Tls};
use nethuns_bench::{Options, Report, sibling};
use nethuns_bench_veth::{
    BOTH_CPU, Client, Exchange, FOR_MANY, MOST, Network, Run, SERVER_CPU, Server, Side, Veth, WALL, compare,
    compare_latency, for_crowd,
};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

const KERNEL: &str = "kernel";
const EPOLL: &str = "epoll in C";

/// So many connections, and how many more requests per second of the server's CPU than the kernel there must be; the same
/// with receive packet steering.
struct Crowd {
    count: usize,
    server: Option<f64>,
    steered: Option<f64>,
}

const CROWDS: [Crowd; 3] = [
    Crowd { count: 1, server: None, steered: None },
    Crowd { count: 100, server: Some(1.4), steered: Some(2.5) },
    Crowd { count: MOST, server: Some(2.0), steered: Some(3.0) },
];
/// The round trip, busy polling against the kernel sleeping, may take a fifth.
const ROUND_TRIP: f64 = 5.0;
/// Requests per second over TLS, against the kernel.
const TLS: f64 = 1.0;
/// Connections over TLS.
const TLS_CROWD: usize = 100;
/// Bytes that a server grows by with a connection: 1.2 KB.
const IDLE_BYTES: f64 = 1.2 * 1024.0;

/// One request for the page after the other.
const PAGE: Exchange = Exchange { request: REQUEST, answer: ANSWER.len() };

const SERVICES: [(&str, u16, Exchange); 2] = [("echo", ECHO, Exchange::ECHO), ("http", HTTP, PAGE)];

/// The server on our stack with these options of the host, and on the kernel.
fn both(options: &'static str) -> [Side; 2] {
    let side = |name, network| Side::new(name, &sibling("us-server"), network);
    [side("ours", Network::Ours(options)), side(KERNEL, Network::Kernel)]
}

/// Rows of one load: what it cost the server, both, and time.
fn rows(
    report: &mut Report,
    figure: &str,
    runs: (&[Run], &[Run]),
    peer: &'static str,
    [server, wall]: [Option<f64>; 2],
) {
    let rows = [("server CPU", server, SERVER_CPU), ("both CPUs", None, BOTH_CPU), ("end to end", wall, WALL)];
    for (name, bar, value) in rows {
        compare(report, format!("{figure} {name}"), "ns/request", runs, (peer, bar), 1.0, value);
    }
    for (mille, name) in [(500, "p50"), (990, "p99")] {
        compare_latency(report, format!("{figure} {name}"), runs, (peer, None), mille);
    }
}

/// Requests of a crowd of connections.
fn requests(
    veth: &Veth,
    report: &mut Report,
    (service, port, exchange): (&str, u16, Exchange),
    (count, steered): (usize, bool),
    bar: Option<f64>,
    epoll: &Side,
) {
    let name = format!("veth {service} {count}{}", if steered { " steered" } else { "" });
    let Some(figure) = veth.wanted(&name) else { return };
    let [ours, kernel] = both(for_crowd(count));
    veth.site.steer(steered);
    let runs = veth.race(&[ours, kernel, epoll.clone()], &|server| {
        let mut client = Client::connect(Server::address(port), count, false)?;
        veth.requests(server, &mut client, exchange)
    });
    veth.site.steer(false);
    match runs.as_deref() {
        Ok([ours, kernel, epoll]) => {
            rows(report, &figure, (ours, kernel), KERNEL, [bar, None]);
            compare(
                report,
                format!("{figure} server CPU"),
                "ns/request",
                (ours, epoll),
                (EPOLL, None),
                1.0,
                SERVER_CPU,
            );
            compare(report, format!("{figure} end to end"), "ns/request", (ours, epoll), (EPOLL, None), 1.0, WALL);
        }
        Ok(_) => report.fail(figure, KERNEL, "a side without runs"),
        Err(problem) => report.fail(figure, KERNEL, problem),
    }
}

/// A load on both, and the rows that it makes.
fn contest(
    veth: &Veth,
    report: &mut Report,
    figure: &str,
    sides: &[Side; 2],
    load: &dyn Fn(&Server) -> io::Result<Run>,
    rows: impl FnOnce(&mut Report, (&[Run], &[Run])),
) {
    match veth.race(sides, load).as_deref() {
        Ok([ours, kernel]) => rows(report, (ours, kernel)),
        Ok(_) => report.fail(figure, KERNEL, "a side without runs"),
        Err(problem) => report.fail(figure, KERNEL, problem),
    }
}

/// One request after the other on one connection: nobody ever sleeping, against everybody sleeping while there is nothing
/// to do.
fn round_trip(veth: &Veth, report: &mut Report) {
    let Some(figure) = veth.wanted("veth round trip") else { return };
    let load = |server: &Server| {
        let mut client = Client::connect(Server::address(ECHO), 1, server.network() != Network::Kernel)?;
        veth.requests(server, &mut client, Exchange::ECHO)
    };
    contest(veth, report, &figure, &both("&poll=busy"), &load, |report, runs| {
        compare_latency(report, figure.clone(), runs, (KERNEL, Some(ROUND_TRIP)), 500);
    });
}

/// Requests for the page over TLS.
fn tls(veth: &Veth, report: &mut Report) {
    let names = [("veth tls 100", false), ("veth tls 100 steered", true)];
    let wanted: Vec<_> = names.iter().filter_map(|(name, steered)| Some((veth.wanted(name)?, *steered))).collect();
    if wanted.is_empty() {
        return;
    }
    let secrets = Secrets::make().and_then(|secrets| Ok((secrets.client()?, secrets)));
    let (config, secrets) = match secrets {
        Ok(secrets) => secrets,
        Err(problem) => return report.fail("veth tls", KERNEL, problem),
    };
    let sides = both("").map(|side| Side { args: secrets.files().into(), ..side });
    let load = |server: &Server| {
        let mut client = Client::connect_with(Server::address(HTTPS), TLS_CROWD, false, || Tls::new(&config))?;
        veth.requests(server, &mut client, PAGE)
    };
    for (figure, steered) in wanted {
        veth.site.steer(steered);
        contest(veth, report, &figure, &sides, &load, |report, runs| {
            rows(report, &figure, runs, KERNEL, [Some(TLS), Some(TLS)]);
        });
        veth.site.steer(false);
    }
}

/// By what the server's memory grows.
fn idle(veth: &Veth, report: &mut Report) {
    let Some(figure) = veth.wanted("veth idle connection") else { return };
    let [ours, _] = both(FOR_MANY);
    match veth.growth(&ours, ECHO, Exchange::ECHO) {
        Ok(bytes) => report.limit(figure, "bytes of RSS", bytes, IDLE_BYTES, false),
        Err(problem) => report.fail(figure, KERNEL, problem),
    }
}

/// All figures over veth. The server in C lies in the folder of the peers.
pub fn figures(options: &Options, report: &mut Report) {
    let program: PathBuf = options.peers.join("epoll_server");
    let epoll = Side::new(EPOLL, &program, Network::Kernel);
    Veth::run(options, report, 5, Duration::from_millis(700), |veth, report| {
        for service in SERVICES {
            for crowd in &CROWDS {
                let count = veth.crowd(crowd.count);
                requests(veth, report, service, (count, false), crowd.server, &epoll);
                requests(veth, report, service, (count, true), crowd.steered, &epoll);
            }
        }
        round_trip(veth, report);
        tls(veth, report);
        idle(veth, report);
    });
}
