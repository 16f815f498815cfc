//! The servers that are measured over veth: one program on uSockets, on the kernel's network or on ours.
//!
//! ```text
//! us-server ADDRESS SPEC [CERTIFICATE KEY]
//! ```
//!
//! Prints a line when it listens, and serves until it is ended. Requests are short and each waits for its answer, so there
//! is always room for one: a connection where there is none is closed, as `benches/peers/epoll_server.c` does too.

mod services;

use nethuns_rs::net::Builder;
use nethuns_rs::usockets::{Loop, Socket, SocketContext, SocketContextOptions, UsError};
use services::{ANSWER, ECHO, HTTP, HTTPS};
use std::process::ExitCode;

/// Seconds for which a connection may say nothing.
const PATIENCE: u32 = 60;

/// Sends all of this, or closes the connection; returns whether it was sent.
#[inline]
fn send<const SSL: bool, S: 'static>(socket: &Socket<SSL, S>, bytes: &[u8]) -> bool {
    let sent = socket.write(bytes, false) == bytes.len();
    if !sent {
        socket.close(0);
    }
    sent
}

/// Sends back what comes, on a context without user data.
fn echo(us: &Loop<()>) -> Result<SocketContext<false, (), ()>, UsError> {
    let context = us.create_socket_context::<false, ()>(SocketContextOptions::default())?;
    context.on_data(|socket, data| {
        send(socket, data);
    });
    context.on_end(|socket| socket.close(0));
    Ok(context)
}

/// Answers every request, which ends with an empty line. A connection keeps how much of an empty line has come, and is
/// closed when it has said nothing for long.
fn http<const SSL: bool>(us: &Loop<()>, options: SocketContextOptions) -> Result<SocketContext<SSL, (), u8>, UsError> {
    let context = us.create_socket_context::<SSL, u8>(options)?;
    context.on_open(|socket, _, _| socket.set_timeout(PATIENCE));
    context.on_data(|socket, data| {
        let requests = socket.ext_mut().map_or(0, |mut matched| requests(&mut matched, data));
        socket.set_timeout(PATIENCE);
        // Up to the first that cannot be sent.
        let _ = (0..requests).all(|_| send(socket, ANSWER));
    });
    context.on_timeout(|socket| socket.close(0));
    context.on_end(|socket| socket.close(0));
    Ok(context)
}

/// How many empty lines end in these bytes; one may have begun in those before.
#[inline]
fn requests(matched: &mut u8, bytes: &[u8]) -> usize {
    let mut count = 0;
    for byte in bytes {
        *matched = if *byte == b"\r\n\r\n"[usize::from(*matched)] { *matched + 1 } else { u8::from(*byte == b'\r') };
        if *matched == 4 {
            *matched = 0;
            count += 1;
        }
    }
    count
}

fn serve(address: &str, spec: &str, secrets: Option<(String, String)>) -> Result<(), UsError> {
    let us = Loop::on_network(Builder::new().spec(spec), ())?;
    let echo = echo(&us)?;
    echo.listen(address, ECHO, 0)?;
    let http = http::<false>(&us, SocketContextOptions::default())?;
    http.listen(address, HTTP, 0)?;
    let https = match secrets {
        Some((certificate, key)) => {
            let options = SocketContextOptions {
                cert_file_name: Some(certificate),
                key_file_name: Some(key),
                ..SocketContextOptions::default()
            };
            let https = self::http::<true>(&us, options)?;
            https.listen(address, HTTPS, 0)?;
            Some(https)
        }
        None => None,
    };
    println!("on {}", us.network());
    let outcome = us.run();
    drop((echo, http, https));
    outcome
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(address) = args.next() else {
        eprintln!("usage: us-server ADDRESS [SPEC [CERTIFICATE KEY]]");
        return ExitCode::FAILURE;
    };
    let spec = args.next().unwrap_or_else(|| "kernel".into());
    if let Err(error) = serve(&address, &spec, args.next().zip(args.next())) {
        eprintln!("error: {error}");
    }
    ExitCode::FAILURE
}
