//! An HTTP/1.1 server in one thread, over the kernel's sockets or over our own stack on a network card.
//!
//! ```text
//! http --listen 0.0.0.0:8080
//! http --listen 10.0.0.2:80 --net 'af_xdp:eth0?ip=10.0.0.2/24'
//! ```
//!
//! `/` is a greeting, `/bytes/N` a body of N bytes. Connections stay open (keep-alive), requests may be pipelined.

#[path = "../common/net.rs"]
mod common;
mod date;
mod request;
mod server;

use clap::Parser;
use common::NetArgs;
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Serve HTTP over the kernel's network or our own stack
#[derive(Parser)]
#[command(name = "http", version)]
struct Args {
    /// Where to listen
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Connections that must be possible at once
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What was served.
#[derive(Debug, Default, Serialize)]
pub struct Served {
    /// Connections accepted.
    pub connections: u64,
    /// Requests answered.
    pub requests: u64,
}

impl Record for Served {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        format!("answered {} requests on {} connections", self.requests, self.connections)
    }
}

fn main() -> ExitCode {
    args::main("http", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("http", &args.output, &stop)?;
    let mut net = args.net.open(args.connections as usize)?;
    let listener = common::listen(&mut net, args.listen, 4096, &output)?;
    let mut server = server::Server::new(net);
    while !stop.requested() {
        server.turn(common::TICK)?;
    }
    output.tell(&server.end(listener)?);
    Ok(())
}
