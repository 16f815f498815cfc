//! Fetches one document by HTTP/1.1, over the kernel's network or our own stack.
//!
//! ```text
//! fetch http://127.0.0.1:8080/
//! fetch http://10.0.0.1:8080/bytes/1000 --output body --net 'af_xdp:eth0?ip=10.0.0.2/24'
//! ```

#[path = "../common/net.rs"]
mod common;

use clap::Parser;
use common::{NetArgs, TICK};
use nethuns_rs::net::{ConnectOptions, Event, Net, Readiness, SocketError, TcpId};
use nethuns_tools::{Failure, Stop, args};
use std::fs::File;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Fetch a document by HTTP
#[derive(Parser)]
#[command(name = "fetch", version)]
struct Args {
    /// What to fetch
    #[arg(value_name = "http://HOST[:PORT]/PATH")]
    url: String,
    /// Where its body goes [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show the header too
    #[arg(short, long)]
    include: bool,
    /// Give up after so long (10s, 500ms)
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = args::duration)]
    timeout: Duration,
    #[command(flatten)]
    net: NetArgs,
}

fn main() -> ExitCode {
    args::main("fetch", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let usage = || Failure::usage(format!("{}: expected http://HOST[:PORT]/PATH", args.url));
    let rest = args.url.strip_prefix("http://").ok_or_else(usage)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let ported = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let name = if ported { host.to_owned() } else { format!("{host}:80") };
    if host.is_empty() || path.contains(char::is_whitespace) {
        return Err(usage());
    }
    // Names are asked for at the system's resolver, whichever network the connection takes.
    let unknown = |error: io::Error| Failure::new(format!("{host}: {error}"));
    let address = name.to_socket_addrs().map_err(unknown)?.next().ok_or_else(usage)?;
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?),
        None => Box::new(io::stdout().lock()),
    };
    let mut net = args.net.open(1)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    fetch(&mut net, address, &request, args.include, args.timeout, &mut out)?;
    out.flush().map_err(|e| Failure::new(format!("writing the body: {e}")))
}

/// Asks, and writes what is answered.
fn fetch(
    net: &mut Net,
    address: SocketAddr,
    request: &str,
    include: bool,
    timeout: Duration,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let failed = |error: SocketError| Failure::new(format!("{address}: {error}"));
    let reader = net.reader();
    let id = net.tcp_connect(address, &ConnectOptions::default()).map_err(failed)?;
    let mut answer = Answer::default();
    let end = Instant::now() + timeout;
    loop {
        if Instant::now() >= end || stop.requested() {
            return Err(Failure::new(format!("{address}: no answer within {timeout:?}")));
        }
        net.poll(Some(TICK))?;
        while let Some(event) = net.next_event() {
            let Event::Tcp(_, what) = event else { continue };
            if what.contains(Readiness::CONNECTED) {
                // A request fits into any send buffer.
                net.tcp_send(id, request.as_bytes()).map_err(failed)?;
                continue;
            }
            loop {
                match net.tcp_recv(id) {
                    Ok(Some(data)) => answer.take(&reader.open(data), include, out)?,
                    Ok(None) => return finish(net, id, &answer),
                    Err(SocketError::WouldBlock) => break,
                    Err(error) => return Err(failed(error)),
                }
                if answer.left == Some(0) {
                    return finish(net, id, &answer);
                }
            }
        }
    }
}

fn finish(net: &mut Net, id: TcpId, answer: &Answer) -> Result<(), Failure> {
    net.tcp_close(id);
    net.drain(common::LINGER)?;
    match answer {
        Answer { status: None, .. } => Err(Failure::new("the server has ended the connection without an answer")),
        Answer { left: Some(left @ 1..), .. } => Err(Failure::short(format!("{left} bytes of the body are missing"))),
        Answer { status: Some(200), .. } => Ok(()),
        Answer { status: Some(status), .. } => Err(Failure::new(format!("the server answers with status {status}"))),
    }
}

/// An answer that is coming in.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    status: Option<u16>,
    /// Bytes of the body that are still to come, if the server has said how long it is.
    left: Option<u64>,
}

impl Answer {
    fn take(&mut self, bytes: &[u8], include: bool, out: &mut impl Write) -> Result<(), Failure> {
        let written = |result: io::Result<()>| result.map_err(|e| Failure::new(format!("writing the body: {e}")));
        if self.status.is_some() {
            return written(self.body(bytes, out));
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.head.len() > 64 << 10 { Err(Failure::new("a header without end")) } else { Ok(()) };
        };
        let body = self.head.split_off(end + 4);
        let head = String::from_utf8_lossy(&self.head);
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        self.status = Some(status.ok_or_else(|| Failure::new("the answer is not HTTP/1.x"))?);
        let fields = || head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let field =
            |name: &str| fields().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        if field("transfer-encoding").is_some() {
            return Err(Failure::new("the answer comes in chunks, which this program does not read"));
        }
        self.left = field("content-length").and_then(|value| value.parse().ok());
        if include {
            written(out.write_all(&self.head))?;
        }
        written(self.body(&body, out))
    }

    fn body(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        let most = self.left.map_or(bytes.len(), |left| bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        self.left = self.left.map(|left| left - most as u64);
        out.write_all(&bytes[..most])
    }
}
