//! Measures what arrives at a port: rates, drops by cause, and what the stamps of pkt-gen tell.
//!
//! ```text
//! meter af_xdp:eth0
//! meter pcap:eth0 --count 1000 --json
//! meter trace.pcapng --queues
//! ```

use clap::Parser;
use nethuns_tools::meter::{self, Plan};
use nethuns_tools::port::{open, ports_help};
use nethuns_tools::{Failure, Output, OutputArgs, Stop, args};
use std::process::ExitCode;
use std::time::Duration;

/// Measure what arrives at a port
#[derive(Parser)]
#[command(name = "meter", version, after_help = ports_help())]
struct Args {
    /// Where packets come from; a capture file is read to its end
    port: String,
    /// End after so many packets; fewer are a failure
    #[arg(short = 'n', long, value_parser = args::count)]
    count: Option<u64>,
    /// Fail (status 3) if fewer packets than this have come by the end, duplicates not counted
    #[arg(long, value_name = "N", value_parser = args::count)]
    expect: Option<u64>,
    /// End after so long (10s, 500ms, 2m)
    #[arg(short, long, value_name = "TIME", value_parser = args::duration)]
    duration: Option<Duration>,
    /// End when nothing has come for so long
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    idle_timeout: Option<Duration>,
    /// Tell receive queues apart
    #[arg(long)]
    queues: bool,
    /// Do not look for stamps
    #[arg(long)]
    no_stamp: bool,
    /// Never sleep: lower latency, for the price of a CPU
    #[arg(long)]
    spin: bool,
    /// Most packets per call
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    #[command(flatten)]
    output: OutputArgs,
}

fn main() -> ExitCode {
    args::main("meter", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("meter", &args.output, &stop)?;
    let socket = open(&args.port, &output)?;
    let plan = Plan {
        port: args.port,
        count: args.count,
        duration: args.duration,
        idle: args.idle_timeout,
        stamps: !args.no_stamp,
        queues: args.queues,
        spin: args.spin,
        batch: args.batch.into(),
        interval: args.output.interval,
    };
    let received = meter::run(&socket, &plan, &output, &stop)?;
    output.tell(&received);
    // A count that ctrl-C cut short is no failure.
    meter::verdict(&received, args.count.filter(|_| !stop.requested()), args.expect)
}
