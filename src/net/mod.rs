//! The network under a program: our engine over packets, or the kernel's, chosen when the program runs.
//!
//! ```text
//!                        ┌ Kernel ── epoll, send, recv                       NETHUNS_NET unset, empty or "kernel"
//!   program ──▶ Net ──▶ ─┤
//!                        └ Host ── Stack ── AF_XDP, netmap, DPDK, pcap, mem  NETHUNS_NET="af_xdp:eth0?ip=10.0.0.2/24"
//!                             └─ a Kernel beside it, for unix sockets and descriptors, once there are any
//! ```
//!
//! A [`Net`] belongs to one thread and owns all of its sockets. A program asks it to [`poll`](Net::poll), takes
//! [events](Net::next_event), and reads and writes; nothing waits but `poll`. Which network it is can be read
//! ([`Net::name`]), so that nobody mistakes one for the other.
//!
//! ```
//! use nethuns_rs::net::{ConnectOptions, Event, ListenOptions, Net, SocketError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut net = Net::kernel()?; // or Net::from_env()?
//! let reader = net.reader();
//! let listener = net.tcp_listen("127.0.0.1:0".parse()?, &ListenOptions::default())?;
//! let client = net.tcp_connect(net.tcp_listener_addr(listener)?, &ConnectOptions::default())?;
//! let mut answer = Vec::new();
//! while answer != b"hello" {
//!     net.poll(None)?;
//!     while let Some(event) = net.next_event() {
//!         match event {
//!             Event::Accept(listener) => while net.tcp_accept(listener).is_ok() {},
//!             Event::Tcp(id, what) if id == client && what.contains(nethuns_rs::net::Readiness::CONNECTED) => {
//!                 net.tcp_send(id, b"hello")?;
//!             }
//!             // The server's end sends back what it receives, straight from where it lies.
//!             Event::Tcp(id, _) => loop {
//!                 match net.tcp_recv(id) {
//!                     Ok(Some(data)) if id == client => answer.extend_from_slice(&reader.open(data)),
//!                     Ok(Some(data)) => drop(net.tcp_send(id, &reader.open(data))?),
//!                     Ok(None) => break net.tcp_close(id),
//!                     Err(SocketError::WouldBlock) => break,
//!                     Err(error) => return Err(error.into()),
//!                 }
//!             },
//!             Event::Udp(..) | Event::Watch(..) => {}
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What every operation and event means
//!
//! The same on both networks, and `tests/net` tests each line on both. Events are edges: a socket is told of once for
//! all that has happened to it since it was told of last.
//!
//! | what happens | what is told |
//! |---|---|
//! | a connection waits in a listener's queue | `Accept`, with every [`poll`](Net::poll) until [`tcp_accept`](Net::tcp_accept) has said `WouldBlock` |
//! | data came before it was accepted | `READABLE` after `tcp_accept`; an accepted connection has no `CONNECTED` |
//! | a connect succeeds | `CONNECTED + WRITABLE` |
//! | a connect fails | `CLOSED`; [`tcp_error`](Net::tcp_error) says why. What can be known without the network (no route, no port, not our address) `tcp_connect` says itself |
//! | data comes | `READABLE`; it may be told again before the program has taken what is there, and is told again for what comes after it has |
//! | the peer ends its stream | `READABLE + PEER_CLOSED`; [`tcp_recv`](Net::tcp_recv) brings what came before, then `None`, and `None` ever after |
//! | the peer ends its stream after we ended ours, or we end ours after it did | `CLOSED` (with the former, if that is news), `tcp_error` is `None` |
//! | the peer resets, or does not answer any more | `CLOSED`, never `PEER_CLOSED`; `tcp_error` says why; `tcp_recv` brings what had come before, then the reason (or `None`, if the peer had ended its stream before) |
//! | there is room after a send was cut short or refused | `WRITABLE`; at no other time but with `CONNECTED` |
//! | reading was paused ([`tcp_set_reading`](Net::tcp_set_reading)) | no `READABLE`; everything else is told. When it is resumed: `READABLE` if there is something to take |
//! | a datagram comes, or a word from the network about one that a connected socket has sent | `READABLE`; [`udp_recv`](Net::udp_recv) brings the datagram, or the word as its error, once |
//! | what is asked for of a [watched](Net::watch) descriptor is so | `Watch`, with every `poll` as long as it is (a level, not an edge); with `CLOSED` if there is an error or a hang-up, and then everything that is asked for |
//! | the peer of a unix socket closes it | `READABLE + PEER_CLOSED + CLOSED`, `tcp_error` is `None` unless it left something unread |
//! | a connection that was [adopted](Net::tcp_adopt) | as of an accepted one |
//! | a socket is closed or aborted by the program | nothing ever after, whatever had happened |
//!
//! | operation | how it ends |
//! |---|---|
//! | anything with a name whose socket is closed | [`SocketError::Closed`], also when the place has a new socket |
//! | `tcp_recv` with nothing there | `WouldBlock` |
//! | `tcp_send` without any room | `WouldBlock` |
//! | `tcp_send` and `tcp_recv` before `CONNECTED` | `WouldBlock` |
//! | `tcp_shutdown` before `CONNECTED` and after `CLOSED` | `NotConnected` |
//! | `tcp_send` after [`tcp_shutdown`](Net::tcp_shutdown) of that direction | `BrokenPipe` |
//! | `tcp_send` after the connection broke | the reason, or `BrokenPipe` |
//! | `tcp_recv` after `tcp_shutdown` of reading | `None`, once what had come before is taken |
//! | `tcp_close` | what was sent is delivered, then the stream ends; if there was something unread the peer may be told by a reset |
//! | `tcp_abort` | the peer gets a reset: its `CLOSED` says `ConnectionReset` |
//! | `tcp_unlisten` | connections that wait are reset; those accepted live on |
//! | `tcp_accept` when the process has no descriptors left | `NoBuffers`; the connection waits, `Accept` is told again when a socket was closed or after a tenth of a second (kernel only) |
//! | `tcp_local_addr`, `tcp_peer_addr`, `tcp_listener_addr` over a unix socket | `InvalidAddress` |
//! | `tcp_set_options`, `tcp_flush` over a unix socket | nothing: it has no options, `tcp_options` shows the defaults |
//! | `tcp_abort` over a unix socket | as `tcp_close` |
//! | [`unix_listen`](Net::unix_listen) on a path | a socket that lies there is replaced, anything else is `AddrInUse`; the path stays when the listener is closed |
//! | [`unix_connect`](Net::unix_connect) to a path | with nothing there `ENOENT` (`System`) at once; with nobody there, or a full queue, `CLOSED` and `ConnectionRefused` |
//! | [`tcp_fd`](Net::tcp_fd), [`tcp_into_fd`](Net::tcp_into_fd) of a connection that the engine made | `None`, and the connection stays |
//!
//! A program that reads until `WouldBlock` (or `None`) and writes until a short count misses nothing.
//!
//! # Received bytes
//!
//! [`tcp_recv`](Net::tcp_recv) gives [`Data`]: the frame itself from the engine, a buffer from the kernel. A [`Reader`]
//! opens it ([`Reader::open`]) as a `&mut [u8]`; the network can be used meanwhile. Dropped, frame or buffer is used
//! again; nothing is allocated in the steady state.

mod builder;
mod data;
mod host;
mod network;
mod side;

pub use crate::kernel::{Event, Turn, WatchId};
pub use crate::stack::{
    ConnectOptions, Datagram, KeepAlive, ListenOptions, ListenerId, Readiness, SocketError, SocketOptions, State,
    TcpId, TcpInfo, UdpId, UdpOptions,
};
pub use builder::Builder;
pub use data::{Data, Opened, Reader, UdpPacket};
pub use network::{Net, Waker};
