//! What the programs over `nethuns_rs::usockets` share; as `net.rs`, each takes it in by
//! `#[path = "../common/us.rs"] mod common;`.
#![allow(dead_code, reason = "each program uses a part of it")]

#[path = "net.rs"]
mod net;

pub use net::{NetArgs, Ready};

use nethuns_rs::usockets::{ListenSocket, Loop, SocketContext, UsError};
use nethuns_tools::{Failure, Output, Stop};
use std::net::SocketAddr;

/// What goes wrong with a loop or on it, in a line.
pub fn failed(error: UsError) -> Failure {
    Failure::new(error.to_string())
}

/// Opens a loop on the network that the command line or the environment names.
pub fn open(net: &NetArgs, sockets: usize) -> Result<Loop<()>, Failure> {
    Loop::on_network(net.builder(sockets)?, ()).map_err(failed)
}

/// Listens and tells so.
pub fn listen<const TLS: bool, S: 'static>(
    loop_: &Loop<()>,
    context: &SocketContext<TLS, (), S>,
    address: SocketAddr,
    output: &Output,
) -> Result<ListenSocket<TLS, ()>, Failure> {
    let listener = context.listen(&address.ip().to_string(), address.port(), 0).map_err(failed)?;
    let address = listener.local_addr().unwrap_or(address);
    output.tell(&Ready { net: loop_.network().to_owned(), address, how: "listening on" });
    Ok(listener)
}

/// Does something when the program is asked to end (ctrl-C). It is looked for ten times a second, by a timer of the loop,
/// which keeps the loop running until then.
pub fn on_stop(loop_: &Loop<()>, stop: Stop, end: impl FnOnce() + 'static) -> Result<(), Failure> {
    let timer = loop_.create_timer().map_err(failed)?;
    let mut end = Some(end);
    timer
        .set(100, 100, move |timer| {
            if stop.requested() {
                if let Some(end) = end.take() {
                    end();
                }
                // The only timer there is: nothing is left to say if it has gone.
                let _ = timer.close();
            }
        })
        .map_err(failed)?;
    timer.detach();
    Ok(())
}
