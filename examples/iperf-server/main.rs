//! A server for the clients of iperf3 (`iperf3 -c`): TCP in either direction or both, any number of streams, one test at
//! a time.
//!
//! ```text
//! iperf-server --listen 10.0.0.2:5201 --net 'af_xdp:eth0?ip=10.0.0.2/24'
//! iperf3 -c 10.0.0.2 -P 4          # from another machine, or with -R, or with --bidir
//! ```

#[path = "../common/net.rs"]
mod common;
mod protocol;
mod server;

use clap::Parser;
use common::{LINGER, NetArgs};
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Serve iperf3's TCP tests over the kernel's network or our own stack
#[derive(Parser)]
#[command(name = "iperf-server", version)]
struct Args {
    /// Where to listen
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:5201")]
    listen: SocketAddr,
    /// End after one test
    #[arg(short = '1', long)]
    one_off: bool,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a test came to.
#[derive(Debug, Serialize)]
struct Tested {
    streams: usize,
    seconds: f64,
    bytes_received: u64,
    bytes_sent: u64,
    /// Segments of ours that were sent again.
    retransmits: u64,
}

impl Record for Tested {
    const EVENT: &'static str = "test";

    fn text(&self) -> String {
        let Self { streams, seconds, bytes_received, bytes_sent, retransmits } = self;
        let mbit = |bytes: &u64| *bytes as f64 * 8.0 / 1e6 / seconds.max(1e-9);
        format!(
            "{streams} streams, {seconds:.2} s: received {bytes_received} bytes ({:.0} Mbit/s), sent {bytes_sent} bytes \
             ({:.0} Mbit/s), {retransmits} retransmits",
            mbit(bytes_received),
            mbit(bytes_sent)
        )
    }
}

fn main() -> ExitCode {
    args::main("iperf-server", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("iperf-server", &args.output, &stop)?;
    let mut net = args.net.open(1024)?;
    common::listen(&mut net, args.listen, 256, &output)?;
    let mut server = server::Server::new(net);
    while !stop.requested() {
        let Some(tested) = server.turn()? else { continue };
        output.tell(&tested);
        if args.one_off {
            break;
        }
    }
    server.end(LINGER)
}
