//! What the programs over `nethuns_rs::net` share. It is a file, not a part of `nethuns_tools`: each takes it in by
//! `#[path = "../common/net.rs"] mod common;`, so that the tools for packets are built without a network stack.
#![allow(dead_code, reason = "each program uses a part of it")]

use nethuns_rs::net::{Builder, ListenOptions, ListenerId, Net, SocketError, SocketOptions, TcpId};
use nethuns_tools::{Failure, Output, Record};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a poll lasts at most, so that ctrl-C is seen.
pub const TICK: Duration = Duration::from_millis(100);

/// How long a program that ends waits for what it has sent.
pub const LINGER: Duration = Duration::from_secs(2);

/// Which network, and how large.
#[derive(clap::Args, Clone, Debug)]
pub struct NetArgs {
    /// The network: kernel, or our own stack on a port, such as af_xdp:eth0?ip=10.0.0.2/24 [default: $NETHUNS_NET, else kernel]
    #[arg(long, value_name = "SPEC")]
    pub net: Option<String>,
}

impl NetArgs {
    /// The network, not opened yet, ready for that many sockets: the kernel's need that many descriptors.
    pub fn builder(&self, sockets: usize) -> Result<Builder, Failure> {
        Net::kernel()?.allow_sockets(sockets)?;
        self.chosen()
    }

    fn chosen(&self) -> Result<Builder, Failure> {
        Ok(match &self.net {
            Some(spec) => Builder::new().spec(spec),
            None => Builder::from_env()?,
        })
    }

    /// Opens the network, ready for that many sockets.
    pub fn open(&self, sockets: usize) -> Result<Net, Failure> {
        let net = self.chosen()?.build()?;
        net.allow_sockets(sockets)?;
        Ok(net)
    }
}

/// A program is ready.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// The network: `kernel` or a port spec.
    pub net: String,
    /// Where it listens, or what it connects to.
    pub address: SocketAddr,
    /// `on` or `to`.
    #[serde(skip)]
    pub how: &'static str,
}

impl Record for Ready {
    const EVENT: &'static str = "start";

    fn text(&self) -> String {
        format!("{} {}, network {}", self.how, self.address, self.net)
    }
}

/// Listens and tells so. Small answers leave at once.
pub fn listen(net: &mut Net, address: SocketAddr, backlog: usize, output: &Output) -> Result<ListenerId, Failure> {
    let socket = SocketOptions { nodelay: true, ..SocketOptions::default() };
    let options = ListenOptions { backlog, socket, ..ListenOptions::default() };
    let failed = |error: SocketError| Failure::new(format!("{address}: {error}"));
    let listener = net.tcp_listen(address, &options).map_err(failed)?;
    let address = net.tcp_listener_addr(listener).map_err(failed)?;
    output.tell(&Ready { net: net.name().into(), address, how: "listening on" });
    Ok(listener)
}

/// Takes all connections that wait. One that there is no descriptor or memory for goes on waiting.
pub fn accept_all(net: &mut Net, listener: ListenerId, mut each: impl FnMut(&mut Net, TcpId)) {
    loop {
        match net.tcp_accept(listener) {
            Ok(id) => each(net, id),
            Err(_) => return,
        }
    }
}

/// Sends what there is room for: none is 0, not an error.
#[inline]
pub fn send(net: &mut Net, id: TcpId, bytes: &[u8]) -> Result<usize, SocketError> {
    match net.tcp_send(id, bytes) {
        Err(SocketError::WouldBlock) => Ok(0),
        other => other,
    }
}

/// Bytes that there was no room for yet.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends bytes behind those that wait already, and keeps what there is no room for.
    #[inline]
    pub fn send(&mut self, net: &mut Net, id: TcpId, bytes: &[u8]) -> Result<(), SocketError> {
        let sent = if self.is_empty() { send(net, id, bytes)? } else { 0 };
        self.bytes.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what waits. Returns whether all of it went.
    pub fn flush(&mut self, net: &mut Net, id: TcpId) -> Result<bool, SocketError> {
        if self.is_empty() {
            return Ok(true);
        }
        self.sent += send(net, id, &self.bytes[self.sent..])?;
        if self.sent < self.bytes.len() {
            return Ok(false);
        }
        // The memory too: most connections never need it again.
        *self = Self::default();
        Ok(true)
    }
}

/// What a program keeps of some connections, found by the word that the network keeps for each: one above its place, 0
/// for connections that it keeps nothing of.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Table<T> {
    pub const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// What is kept of a connection.
    #[inline]
    pub fn get(&mut self, net: &Net, id: TcpId) -> Option<&mut T> {
        let place = usize::try_from(net.tcp_user(id)?).ok()?.checked_sub(1)?;
        self.places.get_mut(place)?.as_mut()
    }

    /// Keeps something of a connection.
    pub fn put(&mut self, net: &mut Net, id: TcpId, value: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(value);
        net.tcp_set_user(id, place as u64 + 1);
    }

    /// Takes what is kept of a connection.
    #[inline]
    pub fn take(&mut self, net: &mut Net, id: TcpId) -> Option<T> {
        let place = usize::try_from(net.tcp_user(id)?).ok()?.checked_sub(1)?;
        let value = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        net.tcp_set_user(id, 0);
        Some(value)
    }
}
