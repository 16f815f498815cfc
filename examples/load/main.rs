//! Loads a server and measures it, over the kernel's network or our own stack.
//!
//! ```text
//! load 10.0.0.2:7007 -c 100 -s 64                     an echo server: one request of 64 bytes at a time on each
//! load 10.0.0.2:8080 -c 10k --http /                  an HTTP server
//! load 10.0.0.2:8080 -c 100 --http / --mode crr       connect, request, answer, close
//! load 10.0.0.2:7007 -c 4 --mode stream               as much as goes, to echo or echo --discard
//! ```

mod answer;
mod client;
#[path = "../common/net.rs"]
mod common;

use clap::{Parser, ValueEnum};
use client::{Client, Plan};
use common::{NetArgs, Ready};
use nethuns_tools::latency::Percentiles;
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// Load a TCP server and measure it
#[derive(Parser)]
#[command(name = "load", version)]
struct Args {
    /// The server
    #[arg(value_name = "ADDRESS:PORT")]
    server: SocketAddr,
    /// Connections at once
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = args::count)]
    connections: u64,
    /// What they do
    #[arg(short, long, value_enum, default_value_t = Mode::Rr)]
    mode: Mode,
    /// Bytes of a request to an echo server
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = args::count)]
    size: u64,
    /// Ask an HTTP server for this path instead
    #[arg(long, value_name = "PATH")]
    http: Option<String>,
    /// How long to measure (10s, 500ms, 2m), once all connections are there
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = args::duration)]
    duration: Duration,
    /// End after so many requests
    #[arg(short = 'n', long, value_name = "N", value_parser = args::count)]
    requests: Option<u64>,
    /// Local addresses, used in turn; each has some 28000 ports towards one server
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    local: Vec<IpAddr>,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// One request after the other, each when the answer to the one before it is there
    Rr,
    /// The same, with a connection of its own for each
    Crr,
    /// Bytes without end; what comes back is thrown away
    Stream,
}

/// What has happened since the line before.
#[derive(Debug, Serialize)]
struct Interval {
    time_s: f64,
    requests_per_s: f64,
    sent_mbit_s: f64,
    received_mbit_s: f64,
    connections: usize,
}

impl Record for Interval {
    const EVENT: &'static str = "interval";

    fn text(&self) -> String {
        let Self { time_s, requests_per_s, sent_mbit_s, received_mbit_s, connections } = self;
        format!("{time_s:8.2} {requests_per_s:12.0} {sent_mbit_s:14.1} {received_mbit_s:17.1} {connections:12}")
    }

    fn columns(&self) -> Option<String> {
        Some("  time s   requests/s    sent Mbit/s   received Mbit/s  connections".into())
    }
}

/// All of it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    net: String,
    mode: Option<Mode>,
    connections: u64,
    /// From the first connect to the last connection that was there; nothing in mode crr.
    connect_s: f64,
    /// What was measured, in seconds, and the CPU time of this program meanwhile.
    seconds: f64,
    cpu_s: f64,
    requests: u64,
    requests_per_s: f64,
    bytes_sent: u64,
    bytes_received: u64,
    /// Of a request from its first byte (in mode crr from the connect) to the last byte of its answer.
    latency: Option<Percentiles>,
    /// What went wrong, and how often.
    errors: BTreeMap<String, u64>,
}

impl Record for Summary {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        let Self { connections, connect_s, seconds, cpu_s, requests, requests_per_s, .. } = self;
        let mbit = |bytes: u64| bytes as f64 * 8.0 / 1e6 / seconds.max(1e-9);
        let mut text = format!(
            "{connections} connections in {connect_s:.3} s; {requests} requests in {seconds:.3} s: {requests_per_s:.0}/s\n  \
             sent {} bytes ({:.1} Mbit/s), received {} bytes ({:.1} Mbit/s); {cpu_s:.3} s of CPU here",
            self.bytes_sent,
            mbit(self.bytes_sent),
            self.bytes_received,
            mbit(self.bytes_received)
        );
        if let Some(latency) = &self.latency {
            text += &format!("\n  latency {latency}");
        }
        for (what, count) in &self.errors {
            text += &format!("\n  {count} times: {what}");
        }
        text
    }
}

fn main() -> ExitCode {
    args::main("load", run)
}

fn run(args: Args) -> Result<(), Failure> {
    if args.http.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(char::is_whitespace)) {
        return Err(Failure::usage("--http: expected a path such as / or /bytes/1000"));
    }
    if args.http.is_some() && args.mode == Mode::Stream {
        return Err(Failure::usage("--mode stream sends bytes, not requests: leave --http out"));
    }
    let stop = Stop::on_signal()?;
    let output = Output::new("load", &args.output, &stop)?;
    let connections = usize::try_from(args.connections).unwrap_or(usize::MAX);
    let net = args.net.open(connections)?;
    output.tell(&Ready { net: net.name().into(), address: args.server, how: "loading" });
    let close = if args.mode == Mode::Crr { "Connection: close\r\n" } else { "" };
    let request = match (&args.http, args.mode) {
        (Some(path), _) => format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{close}\r\n", args.server).into_bytes(),
        (None, Mode::Stream) => vec![b'x'; 64 << 10],
        (None, _) => (0..args.size).map(|i| b'a' + (i % 26) as u8).collect(),
    };
    let plan = Plan {
        server: args.server,
        connections,
        mode: args.mode,
        request,
        http: args.http.is_some(),
        duration: args.duration,
        requests: args.requests.unwrap_or(u64::MAX),
        local: args.local,
        interval: args.output.interval,
    };
    let summary = Client::new(net, plan).run(&output, &stop)?;
    let failed: u64 = summary.errors.values().sum();
    output.tell(&summary);
    match failed {
        0 => Ok(()),
        n => Err(Failure::short(format!("{n} requests or connections failed"))),
    }
}
