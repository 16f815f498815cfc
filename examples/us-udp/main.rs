//! Sends datagrams back to where they came from (RFC 862), in the batches that they come in.
//!
//! ```text
//! us-udp --listen 127.0.0.1:7007
//! NETHUNS_NET='af_xdp:eth0?ip=10.0.0.2/24' us-udp --listen 10.0.0.2:7
//! ```

#[path = "../common/us.rs"]
mod common;

use clap::Parser;
use common::{NetArgs, Ready, failed};
use nethuns_rs::usockets::{SocketContextOptions, UdpPacketBuffer, UdpSocket};
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Echo UDP over the kernel's network or our own stack
#[derive(Parser)]
#[command(name = "us-udp", version)]
struct Args {
    /// Where to receive
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7007")]
    listen: SocketAddr,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What came.
#[derive(Debug, Serialize)]
struct Echoed {
    datagrams: u64,
    /// Datagrams that were not sent back: there was no room for them.
    dropped: u64,
}

impl Record for Echoed {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        format!("{} datagrams, {} not sent back", self.datagrams, self.dropped)
    }
}

fn main() -> ExitCode {
    args::main("us-udp", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("us-udp", &args.output, &stop)?;
    let loop_ = common::open(&args.net, 1)?;

    let mut buffer = UdpPacketBuffer::new().map_err(failed)?;
    let host = args.listen.ip().to_string();
    let echo = UdpSocket::create(
        &loop_,
        &mut buffer,
        Some(&host),
        args.listen.port(),
        Some(Box::new(|socket, buffer, packets| {
            // A packet that was received goes back as it is: to its peer, from the address that was asked. One that the
            // network refuses is passed over; when there is no room, the rest is lost, as datagrams are.
            let mut next = 0;
            while next < packets {
                match socket.send_range(buffer, next..packets) {
                    Ok(0) => break,
                    Ok(sent) => next += sent,
                    Err(_) => next += 1,
                }
            }
        })),
        None,
    )
    .map_err(failed)?;
    let address = echo.local_addr().unwrap_or(args.listen);
    output.tell(&Ready { net: loop_.network().to_owned(), address, how: "receiving on" });

    // A context is the way from a callback to its loop.
    let context = loop_.create_socket_context::<false, ()>(SocketContextOptions::default()).map_err(failed)?;
    common::on_stop(&loop_, stop, move || {
        echo.close();
        let metrics = context.loop_mut().metrics();
        let dropped = metrics.datagrams_in.saturating_sub(metrics.datagrams_out);
        output.tell(&Echoed { datagrams: metrics.datagrams_in, dropped });
    })?;
    loop_.run().map_err(failed)
}
