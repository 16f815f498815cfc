//! Sends back what it receives, over TCP and UDP (RFC 862), or throws it away (RFC 863).
//!
//! ```text
//! echo --listen 0.0.0.0:7007
//! echo --listen 10.0.0.2:7 --net 'af_xdp:eth0?ip=10.0.0.2/24'
//! ```

#[path = "../common/net.rs"]
mod common;

use clap::Parser;
use common::{Backlog, LINGER, NetArgs, TICK, Table, accept_all};
use nethuns_rs::net::{Datagram, Event, Net, Reader, Readiness, SocketError, TcpId, UdpId, UdpOptions, UdpPacket};
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Echo TCP and UDP over the kernel's network or our own stack
#[derive(Parser)]
#[command(name = "echo", version)]
struct Args {
    /// Where to listen, for TCP and UDP
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7007")]
    listen: SocketAddr,
    /// Throw away what comes instead of sending it back
    #[arg(long)]
    discard: bool,
    /// Connections that must be possible at once
    #[arg(long, value_name = "N", default_value_t = 16384, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What came.
#[derive(Debug, Default, Serialize)]
struct Echoed {
    connections: u64,
    /// Bytes received over TCP.
    bytes: u64,
    datagrams: u64,
    /// Datagrams that could not be sent back.
    dropped: u64,
}

impl Record for Echoed {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        let Self { connections, bytes, datagrams, dropped } = self;
        format!("{connections} connections, {bytes} bytes; {datagrams} datagrams, {dropped} not sent back")
    }
}

fn main() -> ExitCode {
    args::main("echo", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("echo", &args.output, &stop)?;
    let mut net = args.net.open(args.connections as usize)?;
    let listener = common::listen(&mut net, args.listen, 4096, &output)?;
    // The same port, also where the one was any free one.
    let address = net.tcp_listener_addr(listener).map_err(|e| Failure::new(e.to_string()))?;
    net.udp_bind(address, &UdpOptions::default()).map_err(|e| Failure::new(format!("{address}: {e}")))?;
    let mut echo = Echo {
        reader: net.reader(),
        net,
        backlogs: Table::new(),
        packets: Vec::new(),
        discard: args.discard,
        seen: Echoed::default(),
    };
    while !stop.requested() {
        echo.net.poll(Some(TICK))?;
        while let Some(event) = echo.net.next_event() {
            match event {
                Event::Accept(listener) => accept_all(&mut echo.net, listener, |_, _| echo.seen.connections += 1),
                Event::Tcp(id, what) => echo.connection(id, what),
                Event::Udp(id, _) => echo.datagrams(id),
                Event::Watch(..) => {}
            }
        }
    }
    echo.net.drain(LINGER)?;
    output.tell(&echo.seen);
    Ok(())
}

struct Echo {
    net: Net,
    reader: Reader,
    /// Of connections whose peer does not take back what it has sent. Until it does, no more is read.
    backlogs: Table<Backlog>,
    /// Datagrams received and not sent back; empty between two events, kept for its memory.
    packets: Vec<UdpPacket>,
    discard: bool,
    seen: Echoed,
}

impl Echo {
    fn connection(&mut self, id: TcpId, what: Readiness) {
        // Once the connection is broken nobody takes anything back.
        let broken = what.contains(Readiness::CLOSED) && self.net.tcp_error(id).is_some();
        if broken || self.go_on(id).is_err() {
            self.backlogs.take(&mut self.net, id);
            self.net.tcp_close(id);
        }
    }

    fn go_on(&mut self, id: TcpId) -> Result<(), SocketError> {
        let Self { net, reader, backlogs, .. } = self;
        if let Some(backlog) = backlogs.get(net, id) {
            if !backlog.flush(net, id)? {
                return Ok(());
            }
            backlogs.take(net, id);
        }
        loop {
            match net.tcp_recv(id) {
                Ok(Some(data)) => {
                    let bytes = reader.open(data);
                    self.seen.bytes += bytes.len() as u64;
                    if self.discard {
                        continue;
                    }
                    let mut backlog = Backlog::default();
                    backlog.send(net, id, &bytes)?;
                    if !backlog.is_empty() {
                        backlogs.put(net, id, backlog);
                        return Ok(());
                    }
                }
                // All of it has been sent back, and still arrives.
                Ok(None) => {
                    net.tcp_close(id);
                    return Ok(());
                }
                Err(SocketError::WouldBlock) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn datagrams(&mut self, id: UdpId) {
        loop {
            match self.net.udp_recv_batch(id, &mut self.packets, 64) {
                Ok(_) => {}
                Err(SocketError::WouldBlock | SocketError::Closed) => return,
                // A word from the network about an answer is nothing to an echo.
                Err(_) => continue,
            }
            for packet in self.packets.drain(..) {
                self.seen.datagrams += 1;
                if self.discard {
                    continue;
                }
                let (to, from, ecn) = (Some(packet.from), Some(packet.to), packet.ecn);
                let bytes = self.reader.open(packet.data);
                // What there is no room for is lost, as datagrams are.
                if self.net.udp_send(id, &Datagram { to, from, ecn, bytes: &bytes }).is_err() {
                    self.seen.dropped += 1;
                }
            }
        }
    }
}
