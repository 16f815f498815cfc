//! Forwards packets through several threads and the channel API.
//!
//! ```text
//!               batches of tokens            batches of tokens
//!   receiver ──────────▶ channel ──▶ consumer 0 ─┐
//!   thread                       ├─▶ consumer 1 ─┼─▶ channel ──▶ sender thread
//!                                └─▶ consumer n ─┘
//! ```
//!
//! Consumers own the packets they work on, not sockets: that works for every backend and any number of them, with one
//! transmit ring, and where the two ports share a pool no packet is copied on the whole way. A channel that is full
//! holds its pushers up, so losses happen in one place only: at the receiving engine, which counts them. With more than
//! one consumer, packets of different batches may overtake each other.

use clap::Parser;
use nethuns_rs::any::{AnyFlags, Sock};
use nethuns_rs::api::{Batch, Context, Interest, NethunsPopper, NethunsPusher, Socket, TryPopError};
use nethuns_rs::{Error, any};
use nethuns_tools::forward::{self, Outlet, swap_macs};
use nethuns_tools::output::Causes;
use nethuns_tools::port::{announce, explain, open_beside, ports_help};
use nethuns_tools::report::{Forwarded, rx_causes};
use nethuns_tools::{Failure, Output, OutputArgs, Stop, args};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Packets per message of a channel.
const BATCH: usize = 32;

/// How long threads sleep at most before they look whether they should end.
const SLICE: Duration = Duration::from_millis(20);

type PoolContext = <any::Sock as Socket>::Context;
type Pusher = NethunsPusher<BATCH>;
type Popper = NethunsPopper<PoolContext, BATCH>;

/// Forward packets through several threads and the channel API
#[derive(Parser)]
#[command(name = "forward_mt", version, after_help = ports_help())]
struct Args {
    /// Where packets come from; a capture file is read to its end
    from: String,
    /// Where they go
    to: String,
    /// Threads that work on packets
    #[arg(short, long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    consumers: u8,
    /// Batches of 32 that each channel holds
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4096))]
    depth: u16,
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
    #[command(flatten)]
    output: OutputArgs,
}

/// What the receiver has done, for the lines of the sender.
#[derive(Default)]
struct Intake {
    received: AtomicU64,
    dropped: Mutex<Causes>,
}

impl Intake {
    fn publish(&self, received: u64, dropped: Causes) {
        self.received.store(received, Ordering::Relaxed);
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) = dropped;
    }

    fn now(&self) -> (u64, Causes) {
        let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.received.load(Ordering::Relaxed), dropped)
    }
}

/// Receives into the channel until it is time to end.
fn receive(socket: &Sock, pusher: &Pusher, args: &Args, intake: &Intake, stop: &Stop) -> Result<(), Failure> {
    let fail = |error| explain(&args.from, error);
    let start = Instant::now();
    let at_start = rx_causes(&socket.stats());
    let end = args.duration.and_then(|d| start.checked_add(d));
    let (mut received, mut last_packet, mut published) = (0u64, start, start);
    while !stop.requested() {
        let left = args.count.map_or(BATCH as u64, |count| (count - received).min(BATCH as u64)) as usize;
        let mut batch = Batch::new();
        let outcome = socket.recv_each(left, |token, _| batch.push(token));
        let n = match outcome {
            Ok(n) => n,
            Err(Error::NoPacket) => 0,
            Err(Error::EndOfFile) => break,
            Err(error) => return Err(fail(error)),
        };
        let now = Instant::now();
        if n > 0 {
            received += n as u64;
            last_packet = now;
            if pusher.push(batch).is_err() {
                // The consumers are gone: the sender has failed and tells why.
                break;
            }
        }
        if n == 0 || now - published >= SLICE {
            intake.publish(received, rx_causes(&socket.stats()).since(&at_start));
            published = now;
        }
        let idle = n == 0 && args.idle_timeout.is_some_and(|idle| now - last_packet >= idle);
        if idle || end.is_some_and(|end| now >= end) || args.count == Some(received) {
            break;
        }
        if n == 0 {
            socket.wait(Interest::Readable, Some(SLICE)).map_err(fail)?;
        }
    }
    intake.publish(received, rx_causes(&socket.stats()).since(&at_start));
    Ok(())
}

/// Works on packets; how many there were.
fn consume(popper: &Popper, pusher: &Pusher, swap: bool) -> u64 {
    let mut packets = 0;
    while let Some(mut batch) = popper.pop_tokens() {
        packets += batch.len() as u64;
        if swap {
            batch = batch
                .into_iter()
                .map(|token| {
                    let mut packet = popper.context().packet(token);
                    swap_macs(&mut packet);
                    packet.into_token()
                })
                .collect();
        }
        if pusher.push(batch).is_err() {
            break;
        }
    }
    packets
}

/// Sends what consumers hand on, until the last of them is gone.
fn send(to: &Sock, popper: &Popper, args: &Args, intake: &Intake, output: &Output) -> Result<Forwarded, Failure> {
    let context = popper.context();
    let mut outlet = Outlet::new(to, context, &args.to, args.patience, BATCH);
    let mut ticker = nethuns_tools::output::Ticker::new(args.output.interval, Instant::now());
    let start = Instant::now();
    loop {
        match popper.pop_timeout(SLICE) {
            Ok(packets) => {
                packets.for_each(|packet| outlet.push(packet.into_token()));
                outlet.send()?;
            }
            Err(TryPopError::Empty) => to.flush(),
            Err(TryPopError::Disconnected) => break,
        }
        if let Some(spans) = ticker.due(Instant::now()) {
            let (received, dropped) = intake.now();
            output.tell(&outlet.line(&args.from, received, dropped, spans));
        }
    }
    outlet.drain(Duration::from_secs(2))?;
    let (received, dropped) = intake.now();
    Ok(outlet.report(&args.from, received, dropped, start.elapsed().as_secs_f64()))
}

fn main() -> ExitCode {
    args::main("forward_mt", run)
}

fn run(args: Args) -> Result<(), Failure> {
    if args.from == args.to {
        return Err(Failure::usage(format!("{} twice: forwarding needs two ports", args.from)));
    }
    let stop = Stop::on_signal()?;
    let output = Output::new("forward_mt", &args.output, &stop)?;
    let depth = usize::from(args.depth);
    let (from, pusher, popper) =
        Sock::create_with_channel::<BATCH>(&args.from, None, AnyFlags::default(), flume::bounded(depth))
            .map_err(|e| explain(&args.from, e))?;
    announce(&args.from, &from, &output);
    let to = open_beside(&from, &args.to, &output)?;
    // The second channel carries tokens of the same pool.
    let (done, finished) = nethuns_rs::api::Channel::from(flume::bounded(depth)).split(from.context().clone());
    let intake = Intake::default();

    let summary = std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..args.consumers)
            .map(|_| {
                let (popper, done) = (popper.clone(), done.clone());
                let swap = args.swap_mac;
                scope.spawn(move || consume(&popper, &done, swap))
            })
            .collect();
        // Only the consumers' handles keep the channels open.
        drop((popper, done));
        let (args, intake, output) = (&args, &intake, &output);
        let sender = scope.spawn(move || send(&to, &finished, args, intake, output));
        let received = receive(&from, &pusher, args, intake, &stop);
        drop(pusher);
        let died = || Failure::new("a thread failed");
        let packets: Vec<u64> =
            consumers.into_iter().map(|t| t.join().map_err(|_| died())).collect::<Result<_, _>>()?;
        let mut summary = sender.join().map_err(|_| died())??;
        summary.consumers = packets;
        received.map(|()| summary)
    })?;
    output.tell(&summary);
    forward::verdict(&[summary], args.count, stop.requested())
}
