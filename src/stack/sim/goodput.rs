//! What congestion control and loss recovery are worth: goodput under loss, fairness, the time of an answer.

use super::super::config::{CongestionControl, RxChecksum, TxChecksum};
use super::super::{Config, Instant, SocketOptions};
use super::bulk::{Job, Worker};
use super::host::Host;
use super::link::Path;
use super::net::Net;
use super::rng::Rng;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 3, 0, 1), Ipv4Addr::new(10, 3, 0, 2)];
/// Payload of a full segment with timestamps, and its frame.
const SEGMENT: f64 = 1448.0;
const FRAME: u64 = 1514;

const MIN_RTO: Duration = Duration::from_millis(200);

fn host(side: usize, congestion: CongestionControl, min_rto: Duration) -> Host {
    let mut config = Config {
        mac: [2, 0, 0, 0, 3, side as u8],
        addresses: vec![(IpAddr::V4(ADDRESSES[side]), 24)],
        max_kept_frames: 4096,
        secret: [1, 2],
        ..Config::default()
    };
    config.checksum.rx = RxChecksum::Trust;
    config.checksum.tx = TxChecksum::Omit;
    (config.tcp.congestion, config.tcp.min_rto) = (congestion, min_rto);
    config.tcp.send_buffer = 4 << 20;
    config.tcp.receive_buffer = 4 << 20;
    Host::new(config, 8192)
}

/// A path with this round trip and rate, a queue of one bandwidth-delay product or 32 packets, that loses data only.
fn path(rate: u64, round_trip: Duration, loss: f64) -> Path {
    let mut path = Path::clean(rate, round_trip / 2);
    let product = rate as f64 / 8.0 * round_trip.as_secs_f64();
    path.queue = (product as u64).max(32 * FRAME);
    (path.loss, path.spares_acknowledgements) = (loss, true);
    path
}

/// One case of the table.
struct Case {
    congestion: CongestionControl,
    rate: u64,
    round_trip: Duration,
    loss: f64,
    /// Simulated time that is measured, after the first two seconds.
    time: Duration,
}

impl Case {
    /// Goodput in bits per second, of one connection that sends all the time.
    fn measure(&self) -> f64 {
        let path = path(self.rate, self.round_trip, self.loss);
        let begin = Instant::from_millis(1000);
        // Timeouts and probes of 200 ms would be two hundred round trips of the short path.
        let min_rto = (self.round_trip * 10).min(Duration::from_millis(200));
        let client = Worker::client(host(0, self.congestion, min_rto), Job::Flood, ADDRESSES[1], vec![begin]);
        // The bound counts on an acknowledgement for each segment.
        let quick = SocketOptions { quick_ack: true, ..SocketOptions::default() };
        let server = Worker::server(host(1, self.congestion, min_rto), Job::Drain, quick);
        let mut net = Net::new(client, server, path.clone(), path, &mut Rng::new(5));
        let received = |net: &Net<Worker, Worker>| net.b.lines.values().map(|line| line.received).sum::<u64>();
        let warm = begin + Duration::from_secs(2);
        net.run(warm, |_| false);
        let before = received(&net);
        net.run(warm + self.time, |_| false);
        (received(&net) - before) as f64 * 8.0 / self.time.as_secs_f64()
    }

    /// √(3/2p) MSS / RTT (Mathis, Semke, Mahdavi, Ott 1997), or the line if that is less.
    fn bound(&self) -> f64 {
        let line = self.rate as f64 * SEGMENT / FRAME as f64;
        // No segment is back before it has been sent in full.
        let round_trip = self.round_trip.as_secs_f64() + (FRAME * 8) as f64 / self.rate as f64;
        let mathis = (1.5 / self.loss).sqrt() * SEGMENT * 8.0 / round_trip;
        mathis.min(line)
    }
}

/// The table is kept beside this file, so that whatever moves a figure shows. `NETHUNS_UPDATE_TABLES=1` writes it anew.
#[test]
#[cfg_attr(debug_assertions, ignore = "millions of packets: run with --release")]
fn goodput_reaches_the_mathis_bound() {
    let mut table = String::from(
        "# Goodput of one connection in the simulator, % of the line's rate; bound: Mathis or the line, whichever is less.\n\
         # congestion  path              loss %  goodput %  bound %  of bound %\n",
    );
    let mut below = Vec::new();
    for congestion in [CongestionControl::NewReno, CongestionControl::Cubic] {
        for (rate, milliseconds) in [(100_000_000, 20), (500_000_000, 1)] {
            for (loss, seconds) in [(0.0, 600), (0.001, 6000), (0.01, 6000), (0.05, 6000)] {
                let seconds = if milliseconds == 1 { seconds / 200 } else { seconds / 20 };
                let round_trip = Duration::from_millis(milliseconds);
                let case = Case { congestion, rate, round_trip, loss, time: Duration::from_secs(seconds) };
                let (goodput, bound) = (case.measure(), case.bound());
                let percent = |bits: f64| 100.0 * bits / rate as f64;
                let name = format!("{congestion:?}").to_lowercase();
                let path = format!("{} Mbit/s {milliseconds} ms", rate / 1_000_000);
                let of_bound = 100.0 * goodput / bound;
                writeln!(
                    table,
                    "  {name:<11}  {path:<16}  {:>6}  {:>9.1}  {:>7.1}  {of_bound:>10.1}",
                    100.0 * loss,
                    percent(goodput),
                    percent(bound)
                )
                .expect("a string");
                // At 0.1 % and 1 ms the bound is nine tenths of the line, so that half of each tooth of Reno's saw lies
                // above the line.
                let cut_off = congestion == CongestionControl::NewReno && milliseconds == 1 && loss == 0.001;
                let least = if cut_off { 90.0 } else { 95.0 };
                if if loss == 0.0 { percent(goodput) } else { of_bound } < least {
                    below.push(format!("{name} {path} {}", 100.0 * loss));
                }
            }
        }
    }
    println!("{table}");
    assert!(below.is_empty(), "below the bar: {below:?}\n{table}");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/src/stack/sim/goodput.txt");
    if std::env::var_os("NETHUNS_UPDATE_TABLES").is_some() {
        std::fs::write(kept, &table).expect("the table can be written");
    }
    let before = std::fs::read_to_string(kept).expect("the table");
    assert_eq!(before, table, "figures have moved; if that is meant: NETHUNS_UPDATE_TABLES=1");
}

#[test]
fn two_connections_share_a_line() {
    for congestion in [CongestionControl::Cubic, CongestionControl::NewReno] {
        let path = path(10_000_000, Duration::from_millis(20), 0.0);
        let begin = Instant::from_millis(1000);
        // The second comes when the first has filled the line.
        let opens = vec![begin, begin + Duration::from_secs(5)];
        let client = Worker::client(host(0, congestion, MIN_RTO), Job::Flood, ADDRESSES[1], opens);
        let server = Worker::server(host(1, congestion, MIN_RTO), Job::Drain, SocketOptions::default());
        let mut net = Net::new(client, server, path.clone(), path, &mut Rng::new(6));
        let counts =
            |net: &Net<Worker, Worker>| -> Vec<u64> { net.b.lines.values().map(|line| line.received).collect() };
        let warm = begin + Duration::from_secs(15);
        net.run(warm, |_| false);
        let before = counts(&net);
        net.run(warm + Duration::from_secs(30), |_| false);
        let shares: Vec<u64> = counts(&net).iter().zip(before).map(|(now, before)| now - before).collect();
        let ratio = shares[0].max(shares[1]) as f64 / shares[0].min(shares[1]) as f64;
        let sum = (shares[0] + shares[1]) as f64 * 8.0 / 30.0;
        println!("{congestion:?}: shares {shares:?}, ratio {ratio:.2}, {:.1} % of the line", sum / 10e6 * 100.0);
        assert!(ratio < 2.0, "{congestion:?}: shares {shares:?}");
        assert!(sum > 0.93 * 10e6, "{congestion:?}: only {sum} bit/s together");
    }
}

/// Answers of ten segments with losses: what is lost at their end is repaired by a probe, not by a timeout.
#[test]
fn losses_at_the_tail_are_repaired_by_probes() {
    let path = path(100_000_000, Duration::from_millis(20), 0.02);
    let begin = Instant::from_millis(1000);
    let (request, answer, pause) = (100, 14480, Duration::from_millis(5));
    let ask = Job::Ask { request, answer, pause };
    let client = Worker::client(host(0, CongestionControl::Cubic, MIN_RTO), ask, ADDRESSES[1], vec![begin]);
    let server = Worker::server(
        host(1, CongestionControl::Cubic, MIN_RTO),
        Job::Answer { request, answer },
        SocketOptions::default(),
    );
    let mut net = Net::new(client, server, path.clone(), path, &mut Rng::new(7));
    let until = begin + Duration::from_secs(100);
    net.run(until, |_| false);
    let mut times = net.a.times.clone();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let stats = net.b.host.stack.stats().tcp;
    println!(
        "{} answers: median {:?}, 90 % {:?}, 99 % {:?}, longest {:?}; {} probes, {} timeouts, {} recoveries",
        times.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        stats.tail_loss_probes,
        stats.rto_expired,
        stats.fast_recoveries
    );
    assert!(times.len() > 1500, "only {} answers in 100 s", times.len());
    assert!(at(0.5) < Duration::from_millis(45), "the median is {:?}", at(0.5));
    // A lone last segment waits as long as its acknowledgement may be delayed (RFC 8985, 7.2), then comes the repair; a
    // timeout would wait for another round trip and double its time when it is lost again.
    assert!(at(0.99) < Duration::from_millis(320), "one of a hundred takes {:?}", at(0.99));
    assert!(stats.tail_loss_probes > 10, "only {} probes", stats.tail_loss_probes);
    assert!(stats.rto_expired * 5 < stats.tail_loss_probes, "{} timeouts", stats.rto_expired);
}
