//! Forwards packets between two ports, in one thread, without copying where the two can share a pool.
//!
//! ```text
//! forward af_xdp:eth0 af_xdp:eth1 --both
//! forward pcap:eth0 pcap:copy.pcapng?write --count 1000
//! ```

use clap::Parser;
use nethuns_tools::forward::{self, Plan};
use nethuns_tools::port::{open, open_beside, ports_help};
use nethuns_tools::{Failure, Output, OutputArgs, Stop, args};
use std::process::ExitCode;
use std::time::Duration;

/// Forward packets between two ports
#[derive(Parser)]
#[command(name = "forward", version, after_help = ports_help())]
struct Args {
    /// Where packets come from; a capture file is read to its end
    from: String,
    /// Where they go
    to: String,
    /// Forward back as well
    #[arg(short, long)]
    both: bool,
    /// Exchange source and destination MAC address
    #[arg(long)]
    swap_mac: bool,
    /// How long a packet that finds no room is tried again before it is dropped
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = args::duration)]
    patience: Duration,
    /// End after so many packets received
    #[arg(short = 'n', long, value_parser = args::count)]
    count: Option<u64>,
    /// End after so long (10s, 500ms, 2m)
    #[arg(short, long, value_name = "TIME", value_parser = args::duration)]
    duration: Option<Duration>,
    /// End when nothing has come for so long
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    idle_timeout: Option<Duration>,
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
    args::main("forward", run)
}

fn run(args: Args) -> Result<(), Failure> {
    if args.from == args.to {
        return Err(Failure::usage(format!("{} twice: forwarding needs two ports", args.from)));
    }
    let stop = Stop::on_signal()?;
    let output = Output::new("forward", &args.output, &stop)?;
    let from = open(&args.from, &output)?;
    let to = open_beside(&from, &args.to, &output)?;
    let plan = Plan {
        ports: [args.from, args.to],
        both: args.both,
        swap: args.swap_mac,
        patience: args.patience,
        count: args.count,
        duration: args.duration,
        idle: args.idle_timeout,
        spin: args.spin,
        batch: args.batch.into(),
        interval: args.output.interval,
        drain: Duration::from_secs(2),
    };
    let summaries = forward::run((&from, &to), &plan, &output, &stop)?;
    for summary in &summaries {
        output.tell(summary);
    }
    forward::verdict(&summaries, args.count, stop.requested())
}
