//! An HTTP/1.1 server with the callbacks of uSockets, over the kernel's sockets or over our own stack on a network card.
//!
//! ```text
//! us-http --listen 0.0.0.0:8080
//! NETHUNS_NET='af_xdp:eth0?ip=10.0.0.2/24' us-http --listen 10.0.0.2:80
//! ```
//!
//! `/` is a greeting, `/bytes/N` a body of N bytes. Connections stay open (keep-alive) until they are silent for a minute;
//! requests may be pipelined.

#[path = "../common/us.rs"]
mod common;
#[path = "../http/date.rs"]
mod date;
#[path = "../http/request.rs"]
mod request;
mod session;

use clap::Parser;
use common::{NetArgs, failed};
use date::Date;
use nethuns_rs::usockets::SocketContextOptions;
use nethuns_tools::{Failure, Output, OutputArgs, Record, Stop, args};
use serde::Serialize;
use session::{Answers, Session};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

/// Seconds of silence after which a connection is closed.
const IDLE: u32 = 60;

/// Serve HTTP over the kernel's network or our own stack
#[derive(Parser)]
#[command(name = "us-http", version)]
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
#[derive(Debug, Serialize)]
struct Served {
    connections: u64,
    requests: u64,
}

impl Record for Served {
    const EVENT: &'static str = "summary";

    fn text(&self) -> String {
        format!("answered {} requests on {} connections", self.requests, self.connections)
    }
}

fn main() -> ExitCode {
    args::main("us-http", run)
}

fn run(args: Args) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let output = Output::new("us-http", &args.output, &stop)?;
    let loop_ = common::open(&args.net, args.connections as usize)?;
    let http = loop_.create_socket_context::<false, Session>(SocketContextOptions::default()).map_err(failed)?;

    // What all connections share: answers are put together in one place.
    let answers = Rc::new(RefCell::new(Answers::default()));
    let mine = answers.clone();
    loop_.on_pre(move |_| mine.borrow_mut().date.update());
    http.on_open(|socket, _, _| socket.set_timeout(IDLE));
    let mine = answers.clone();
    http.on_data(move |socket, data| {
        socket.set_timeout(IDLE);
        mine.borrow_mut().take(socket, data);
    });
    let mine = answers.clone();
    http.on_writable(move |socket| mine.borrow_mut().go_on(socket));
    http.on_end(|socket| socket.close(0));
    http.on_timeout(|socket| socket.close(0));

    let listener = common::listen(&loop_, &http, args.listen, &output)?;
    common::on_stop(&loop_, stop, move || {
        listener.close();
        http.close();
        let connections = http.loop_mut().metrics().accepted;
        output.tell(&Served { connections, requests: answers.borrow().count });
    })?;
    loop_.run().map_err(failed)
}
