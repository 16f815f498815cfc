//! Sends back what it receives (RFC 862), with the callbacks of uSockets.
//!
//! ```text
//! us-echo --listen 127.0.0.1:7007
//! NETHUNS_NET='af_xdp:eth0?ip=10.0.0.2/24' us-echo --listen 10.0.0.2:7
//! ```

#[path = "../common/us.rs"]
mod common;

use clap::Parser;
use common::{NetArgs, failed};
use nethuns_rs::usockets::{Socket, SocketContextOptions};
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Echo TCP over the kernel's network or our own stack
#[derive(Parser)]
#[command(name = "us-echo", version)]
struct Args {
    /// Where to listen
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7007")]
    listen: SocketAddr,
    /// Connections that must be possible at once
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What came.
#[derive(Debug, Serialize)]
struct Echoed {
    connections: u64,
    bytes: u64,
}

impl Record for Echoed {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        format!("{} connections, {} bytes", self.connections, self.bytes)
    }
}

/// User data of a socket: bytes that the peer does not take back yet. Until it does, no more are read.
type Backlog = Vec<u8>;

fn main() -> ExitCode {
    args::main("us-echo", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("us-echo", &args.output, &stop)?;
    let loop_ = common::open(&args.net, args.connections as usize)?;
    let echo = loop_.create_socket_context::<false, Backlog>(SocketContextOptions::default()).map_err(failed)?;

    echo.on_data(|socket, data| {
        let sent = socket.write(data, false);
        if sent < data.len() {
            keep(socket, &data[sent..]);
            socket.pause();
        }
    });
    echo.on_writable(|socket| {
        let backlog = socket.ext_mut().map(|mut backlog| std::mem::take(&mut *backlog)).unwrap_or_default();
        let sent = socket.write(&backlog, false);
        if sent < backlog.len() {
            keep(socket, &backlog[sent..]);
        } else {
            socket.resume();
        }
    });
    // Whatever was sent back still arrives.
    echo.on_end(|socket| socket.close(0));

    let listener = common::listen(&loop_, &echo, args.listen, &output)?;
    common::on_stop(&loop_, stop, move || {
        listener.close();
        echo.close();
        let metrics = echo.loop_mut().metrics();
        output.tell(&Echoed { connections: metrics.accepted, bytes: metrics.bytes_in });
    })?;
    loop_.run().map_err(failed)
}

fn keep(socket: &Socket<false, Backlog>, bytes: &[u8]) {
    if let Some(mut backlog) = socket.ext_mut() {
        backlog.extend_from_slice(bytes);
    }
}
