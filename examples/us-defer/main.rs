//! Threads that work, and a loop that they report to: how other threads reach a uSockets loop, and timers.
//!
//! ```text
//! us-defer --threads 4 --upto 2000000
//! ```
//!
//! Each thread counts the primes of its part of the numbers and defers what it has found to the loop, whose user data is
//! the sum. A timer shows how far it is; the last report closes it, and as nothing else is left the loop ends.

#[path = "../common/us.rs"]
mod common;

use clap::Parser;
use common::{NetArgs, failed};
use nethuns_rs::usockets::{Loop, LoopMut, Timer};
use nethuns_tools::{Failure, args};
use std::process::ExitCode;
use std::thread;

/// Count primes in threads that report to a loop
#[derive(Parser)]
#[command(name = "us-defer", version)]
struct Args {
    /// How many threads
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Where the numbers end
    #[arg(short, long, value_name = "N", default_value_t = 500_000)]
    upto: u32,
    #[command(flatten)]
    net: NetArgs,
}

/// User data of the loop.
struct Sum {
    primes: usize,
    /// Threads that have not reported yet.
    working: u32,
    /// Shows the progress, and keeps the loop running.
    progress: Option<Timer<()>>,
}

fn main() -> ExitCode {
    args::main("us-defer", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let sum = Sum { primes: 0, working: args.threads, progress: None };
    let loop_ = Loop::on_network(args.net.builder(0)?, sum).map_err(failed)?;
    let handle = loop_.handle();

    let progress = loop_.as_mut().create_timer::<()>().map_err(failed)?;
    let asked = handle.clone();
    progress
        .set(50, 50, move |_| {
            // A timer's callback is not given the loop; what is deferred is.
            let _ = asked.defer(show);
        })
        .map_err(failed)?;
    if let Some(mut sum) = loop_.as_mut().ext_mut() {
        sum.progress = Some(progress);
    }

    for part in 0..args.threads {
        let (handle, step, upto) = (handle.clone(), args.threads as usize, args.upto);
        thread::spawn(move || {
            let primes = (2 + part..upto).step_by(step).filter(|n| is_prime(*n)).count();
            // Nobody is left to be told if the loop has ended.
            let _ = handle.defer(move |loop_mut| report(loop_mut, primes));
        });
    }
    loop_.run().map_err(failed)
}

fn report(loop_mut: LoopMut<'_, Sum>, primes: usize) {
    let Some(mut sum) = loop_mut.ext_mut() else { return };
    sum.primes += primes;
    sum.working -= 1;
    if sum.working == 0 {
        println!("{} primes", sum.primes);
        // Dropped, it is closed.
        sum.progress = None;
    }
}

fn show(loop_mut: LoopMut<'_, Sum>) {
    if let Some(sum) = loop_mut.ext().filter(|sum| sum.working > 0) {
        println!("{} primes, {} threads at work", sum.primes, sum.working);
    }
}

fn is_prime(n: u32) -> bool {
    (2..).take_while(|d| *d <= n / d).all(|d| !n.is_multiple_of(d))
}
