//! What the library is about, in one process and without privileges: a generator, a forwarder and a meter, each in a
//! thread of its own, on two wires in memory; then the table in which every packet is accounted for.
//!
//! ```text
//!   pkt-gen ──[ mem:…-1 ]──▶ forward ──[ mem:…-2 ]──▶ meter
//! ```
//!
//! `demo --account FILE…` makes the same table from the logs of programs that ran apart: see `scripts/demo.sh`.

use clap::Parser;
use nethuns_rs::any::Sock;
use nethuns_tools::account::{Account, Stage};
use nethuns_tools::args::Mac;
use nethuns_tools::frame::{Endpoint, UdpFrame};
use nethuns_tools::pacer::Waiter;
use nethuns_tools::port::open;
use nethuns_tools::report::{Forwarded, Received};
use nethuns_tools::{Failure, Output, OutputArgs, Rate, Stop, args, forward, generate, meter};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Generator, forwarder and meter on wires in memory, every packet accounted for
#[derive(Parser)]
#[command(name = "demo", version)]
struct Args {
    /// How long to generate
    #[arg(short, long, value_name = "TIME", default_value = "8s", value_parser = args::duration)]
    duration: Duration,
    /// How fast
    #[arg(short, long, default_value = "100k", value_parser = args::rate)]
    rate: Rate,
    /// Bytes of a frame without FCS
    #[arg(short, long, value_name = "BYTES", default_value_t = 60)]
    size: usize,
    /// Ports instead of the two wires in memory: from the first to the second, from the third to the fourth
    #[arg(long, num_args = 4, value_name = "PORT", conflicts_with = "account")]
    ports: Vec<String>,
    /// Only make the closing table, from the logs (--log) of pkt-gen, forward and meter, in this order
    #[arg(long, num_args = 2.., value_name = "FILE")]
    account: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

fn main() -> ExitCode {
    args::main("demo", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("demo", &args.output, &stop)?;
    let account = if args.account.is_empty() { in_memory(&args, &output, &stop)? } else { from_logs(&args)? };
    output.tell(&account);
    match account.faults().first() {
        None => Ok(()),
        Some(_) => Err(Failure::short("not every packet is accounted for")),
    }
}

fn from_logs(args: &Args) -> Result<Account, Failure> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        Stage::from_log(&text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))
    };
    Ok(Account::new(args.account.iter().map(read).collect::<Result<_, _>>()?))
}

/// Runs the three loops and takes their summaries.
fn in_memory(args: &Args, loud: &Output, stop: &Stop) -> Result<Account, Failure> {
    let at = |last, port| Endpoint { ip: [10, 0, 0, last].into(), port };
    let frame = UdpFrame {
        src_mac: Mac([2, 0, 0, 0, 0, 1]),
        dst_mac: Mac([2, 0, 0, 0, 0, 2]),
        src: at(1, 9),
        dst: at(2, 9),
        size: args.size,
        stamped: true,
    };
    let template = frame.template()?;
    let quiet = OutputArgs { quiet: true, log: None, ..args.output.clone() };
    let quiet = Output::new("demo", &quiet, stop)?;
    // Deep queues: a machine with few CPUs may leave a thread waiting for a while.
    let wire = |n| format!("mem:demo-{n}?frames=65536&queue=32768");
    let ports = match args.ports.as_slice() {
        [] => [wire(1), wire(1), wire(2), wire(2)],
        given => std::array::from_fn(|n| given[n].clone()),
    };
    let [out, arrived, on, last] = ports.each_ref();
    let generator = open(out, loud)?;
    let ends = (open(arrived, loud)?, open(on, loud)?);
    let metered = open(last, loud)?;

    let plan = generate::Plan {
        port: out.clone(),
        template,
        stream: Some(1),
        count: None,
        duration: Some(args.duration),
        rate: args.rate,
        burst: 1,
        batch: 64,
        waiter: Waiter { spin: false },
        interval: args.output.interval,
        drain: Duration::from_secs(2),
    };
    // Each stage ends when the one before it has ended and its wire is drained.
    let (sent_all, forwarded_all) = (Stop::default(), Stop::default());
    let (show, hide, first_over, second_over) = (loud, &quiet, &sent_all, &forwarded_all);
    let (sent, forwarded, received) = std::thread::scope(|scope| {
        let forwarder = scope.spawn(move || forward_all(ends, [arrived, on], args, hide, first_over));
        let meter = scope.spawn(move || meter_all(metered, last, args, show, second_over));
        let sent = generate::run(&generator, &plan, &quiet, stop);
        sent_all.when_idle();
        let forwarded = join(forwarder.join());
        forwarded_all.when_idle();
        let received = join(meter.join());
        Ok::<_, Failure>((sent?, forwarded?, received?))
    })?;
    loud.tell(&sent);
    loud.tell(&forwarded);
    loud.tell(&received);
    Ok(Account::in_memory(vec![Stage::from(&sent), Stage::from(&forwarded), Stage::from(&received)]))
}

fn join<T>(outcome: std::thread::Result<Result<T, Failure>>) -> Result<T, Failure> {
    outcome.unwrap_or_else(|_| Err(Failure::new("a thread failed")))
}

fn forward_all(
    (from, to): (Sock, Sock),
    ports: [&String; 2],
    args: &Args,
    output: &Output,
    stop: &Stop,
) -> Result<Forwarded, Failure> {
    let plan = forward::Plan {
        ports: ports.map(Clone::clone),
        both: false,
        swap: true,
        patience: Duration::from_millis(100),
        count: None,
        duration: None,
        idle: None,
        spin: false,
        batch: 64,
        interval: args.output.interval,
        drain: Duration::from_secs(2),
    };
    let summaries = forward::run((&from, &to), &plan, output, stop)?;
    forward::verdict(&summaries, None, false)?;
    summaries.into_iter().next().ok_or_else(|| Failure::new("no summary of the forwarder"))
}

fn meter_all(socket: Sock, port: &str, args: &Args, output: &Output, stop: &Stop) -> Result<Received, Failure> {
    let plan = meter::Plan {
        port: port.to_owned(),
        count: None,
        duration: None,
        idle: None,
        stamps: true,
        queues: false,
        spin: false,
        batch: 64,
        interval: args.output.interval,
    };
    meter::run(&socket, &plan, output, stop)
}
