//! Fetches one document by HTTP, with the callbacks of uSockets.
//!
//! ```text
//! us-client http://127.0.0.1:8080/
//! NETHUNS_NET='af_xdp:eth0?ip=10.0.0.2/24' us-client http://10.0.0.1:8080/bytes/1000
//! ```

#[path = "../common/us.rs"]
mod common;

use clap::Parser;
use common::{NetArgs, failed};
use nethuns_rs::usockets::SocketContextOptions;
use nethuns_tools::{Failure, args};
use std::cell::Cell;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;

/// Fetch a document by HTTP
#[derive(Parser)]
#[command(name = "us-client", version)]
struct Args {
    /// What to fetch
    #[arg(value_name = "http://HOST[:PORT]/PATH")]
    url: String,
    /// Give up after so many seconds of silence
    #[arg(short, long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..900))]
    timeout: u32,
    #[command(flatten)]
    net: NetArgs,
}

fn main() -> ExitCode {
    args::main("us-client", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let usage = || Failure::usage(format!("{}: expected http://HOST[:PORT]/PATH", args.url));
    let rest = args.url.strip_prefix("http://").ok_or_else(usage)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| usage())?),
        None => (authority, 80),
    };
    let path = if path.is_empty() { "/" } else { path };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");

    let loop_ = common::open(&args.net, 1)?;
    let client = loop_.create_socket_context::<false, Vec<u8>>(SocketContextOptions::default()).map_err(failed)?;
    // How it went; nobody has said yet.
    let outcome = Rc::new(Cell::new(Some("the connection broke".to_owned())));

    let timeout = args.timeout;
    client.on_open(move |socket, _, _| {
        socket.set_timeout(timeout);
        // So little fits always.
        socket.write(request.as_bytes(), false);
    });
    client.on_data(move |socket, data| {
        socket.set_timeout(timeout);
        if let Some(mut answer) = socket.ext_mut() {
            answer.extend_from_slice(data);
        }
    });
    let told = outcome.clone();
    client.on_end(move |socket| {
        // The server closes when all has been sent.
        let answer = socket.ext_mut().map(|mut answer| std::mem::take(&mut *answer)).unwrap_or_default();
        told.set(show(&answer).err());
        socket.close(0);
    });
    let told = outcome.clone();
    client.on_timeout(move |socket| {
        told.set(Some(format!("no answer within {timeout} seconds")));
        if socket.is_established() { socket.close(0) } else { socket.close_connecting() }
    });
    let told = outcome.clone();
    client.on_connect_error(move |socket, _| {
        told.set(Some(socket.error().map_or_else(|| "no connection".into(), |error| error.to_string())));
    });

    let socket = client.connect(host, port, None, 0).map_err(failed)?;
    // Names that take long to find count too.
    socket.inspect(|socket| socket.set_timeout(timeout));
    loop_.run().map_err(failed)?;
    match outcome.take() {
        None => Ok(()),
        Some(why) => Err(Failure::new(format!("{authority}: {why}"))),
    }
}

/// Writes the body to standard output, if there is a good one.
fn show(answer: &[u8]) -> Result<(), String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("that was no HTTP")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).unwrap_or("missing");
    if status != "200" {
        return Err(format!("status {status}"));
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
    let body = &answer[end + 4..];
    if length.is_some_and(|length| length != body.len()) {
        return Err(format!("{} bytes came, another number was promised", body.len()));
    }
    std::io::stdout().write_all(body).map_err(|error| format!("writing the body: {error}"))
}
