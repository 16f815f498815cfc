//! The TCP/IP engine, sans-IO: frames and the time come in, frames and deadlines go out.
//!
//! It knows no socket, no clock and no thread; one engine serves one queue and belongs to one thread.
//!
//! # One turn
//!
//! 1. [`ingress`](Stack::ingress) takes in a burst of received frames. What is nobody's connection is answered at once (ARP,
//!    ICMP, resets, handshakes); what arrives for a connection waits there, in the frame that it came in.
//! 2. [`advance`](Stack::advance) does what time has made due.
//! 3. The program takes [events](Stack::next_event), receives, sends, opens and closes.
//! 4. [`egress`](Stack::egress) writes what all that has made necessary: data, and acknowledgements, which ride on it where
//!    they can.
//! 5. [`poll_at`](Stack::poll_at) says when the next turn is due though nothing comes.
//!
//! # Who owns a frame
//!
//! A received frame is a [`Token`] that the driver hands in. If its payload is for a socket, the token stays in the socket's
//! queue until the program takes it out as a [`Chunk`], opens it with the pool's context, and drops it; otherwise its
//! frame goes home before `ingress` returns. A frame to be sent belongs to the [`Sink`] before and after it is filled.
#![forbid(unsafe_code)]

mod blocks;
mod buffers;
mod chunk;
pub mod config;
mod error;
mod event;
mod ip;
mod limit;
mod prf;
#[cfg(test)]
mod random;
mod rtt;
#[cfg(test)]
mod sim;
mod sink;
mod slab;
mod stats;
mod tcp;
#[cfg(test)]
mod tests;
mod time;
mod udp;

use crate::api::{Context, Token};
use crate::wire::protocol;
use arrayvec::ArrayVec;
use blocks::Block;
use buffers::Buffers;
use chunk::Carrier;
use ip::{Input, Ip, Packet};
use tcp::{Io, Target, Tcp};
use udp::Udp;

pub use chunk::{Chunk, Opened};
pub use config::Config;
pub use error::SocketError;
pub use event::{Event, Key, ListenerId, Readiness, TcpId, UdpId};
pub use ip::EchoReply;
pub use rtt::RttHistogram;
pub use sink::{Full, Sink};
pub use stats::{IpStats, MemoryStats, Stats, TcpStats, UdpStats};
pub use tcp::options::{ConnectOptions, KeepAlive, ListenOptions, SocketOptions, State, TcpInfo};
pub use time::Instant;
pub use udp::{Datagram, UdpOptions, UdpPacket};

/// Frames that [`Stack::ingress`] looks at together.
pub const BURST: usize = 64;

/// A received frame.
#[derive(Debug)]
pub struct Received {
    /// The frame.
    pub token: Token,
    /// The device says that the checksum of TCP or UDP is right.
    pub checked: bool,
}

/// The engine: one interface with its addresses, and the sockets on it.
pub struct Stack {
    config: Config,
    ip: Ip,
    tcp: Tcp,
    udp: Udp,
    buffers: Buffers,
}

impl Stack {
    /// An engine without sockets.
    ///
    /// # Errors
    ///
    /// [`Error::BadOption`](crate::Error::BadOption) for a configuration that makes no sense, with what would.
    pub fn new(config: Config) -> crate::Result<Self> {
        let ip = Ip::new(&config)?;
        let buffers = Buffers::new(config.tcp.max_buffered_bytes, config.max_kept_frames, config.secret[1]);
        Ok(Self { ip, tcp: Tcp::new(&config), udp: Udp::new(&config), buffers, config })
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes in received Ethernet frames, of the pool that `ctx` is of. What can be answered without a program is answered
    /// through `sink`. Frames are looked at in bursts of up to [`BURST`], so that waiting for memory overlaps.
    ///
    /// # Panics
    ///
    /// If a frame is of another pool than `ctx`.
    pub fn ingress<C: Context, S: Sink>(
        &mut self,
        now: Instant,
        ctx: &C,
        frames: impl IntoIterator<Item = Received>,
        sink: &mut S,
    ) {
        let mut frames = frames.into_iter();
        let Some(first) = frames.next() else { return };
        match frames.next() {
            None => self.receive_one(now, ctx, first, sink),
            Some(second) => self.receive_burst(now, ctx, [first, second].into_iter().chain(frames), sink),
        }
    }

    /// Takes in a lone frame.
    #[inline]
    fn receive_one<C: Context, S: Sink>(&mut self, now: Instant, ctx: &C, frame: Received, sink: &mut S) {
        let Received { token, checked } = frame;
        let frame = token.consume(ctx);
        let input = match self.ip.receive_ordinary(&frame) {
            Some(Input::Tcp(packet)) => return self.receive_segment(now, &packet, frame, checked, sink),
            Some(input) => input,
            None => self.ip.receive_other(now, sink, &frame),
        };
        self.dispatch(now, input, frame, checked, sink);
    }

    /// Takes in frames, of which there are several.
    #[inline(never)]
    fn receive_burst<C: Context, S: Sink>(
        &mut self,
        now: Instant,
        ctx: &C,
        frames: impl Iterator<Item = Received>,
        sink: &mut S,
    ) {
        let mut burst = ArrayVec::<_, BURST>::new();
        for Received { token, checked } in frames {
            let frame = token.consume(ctx);
            let input = match self.ip.receive_ordinary(&frame) {
                Some(Input::Tcp(packet)) => {
                    match self.tcp.look_up(&packet, &frame) {
                        Some(target) => {
                            self.tcp.touch_place(&target);
                            burst.push((frame, target, checked));
                        }
                        None => self.tcp.shared.stats.rx_malformed += 1,
                    }
                    if burst.is_full() {
                        self.receive_segments(now, &mut burst, sink);
                    }
                    continue;
                }
                Some(input) => input,
                None => self.ip.receive_other(now, sink, &frame),
            };
            self.dispatch(now, input, frame, checked, sink);
        }
        self.receive_segments(now, &mut burst, sink);
    }

    /// Takes in segments that have been looked up.
    #[inline]
    fn receive_segments<P: Carrier, S: Sink>(
        &mut self,
        now: Instant,
        burst: &mut ArrayVec<(P, Target, bool), BURST>,
        sink: &mut S,
    ) {
        if burst.len() > 1 {
            burst.iter().for_each(|(_, target, _)| self.tcp.touch(target));
        }
        let io = &mut Io { now, buffers: &mut self.buffers, ip: &mut self.ip, sink };
        for (frame, target, checked) in burst.drain(..) {
            self.tcp.receive(&target, frame, checked, io);
        }
    }

    /// Takes in a lone segment.
    #[inline(always)]
    fn receive_segment<S: Sink>(
        &mut self,
        now: Instant,
        packet: &Packet,
        carrier: impl Carrier,
        checked: bool,
        sink: &mut S,
    ) {
        let Some(target) = self.tcp.look_up(packet, &carrier) else {
            self.tcp.shared.stats.rx_malformed += 1;
            return;
        };
        let io = &mut Io { now, buffers: &mut self.buffers, ip: &mut self.ip, sink };
        self.tcp.receive(&target, carrier, checked, io);
    }

    /// Hands a packet to whom it is for.
    fn dispatch<S: Sink>(&mut self, now: Instant, input: Input, carrier: impl Carrier, checked: bool, sink: &mut S) {
        match input {
            Input::Tcp(packet) => self.receive_segment(now, &packet, carrier, checked, sink),
            Input::Reassembled(block) => self.receive_packet(now, block, false, sink),
            Input::IcmpError(error) => self.icmp_error(now, &error),
            Input::Udp(packet) => {
                self.udp.receive(now, &mut self.ip, &mut self.buffers, sink, &packet, carrier, checked);
            }
            Input::Handled | Input::Dropped => carrier.discard(&mut self.buffers.blocks),
        }
    }

    /// A whole IP packet that never was in one frame: reassembled, or sent to oneself.
    fn receive_packet<S: Sink>(&mut self, now: Instant, packet: Block, checked: bool, sink: &mut S) {
        match self.ip.receive_packet(now, sink, &packet) {
            // What was put together once is whole.
            Input::Reassembled(_) => {}
            input => self.dispatch(now, input, packet, checked, sink),
        }
    }

    #[cold]
    fn icmp_error(&mut self, now: Instant, error: &ip::IcmpError) {
        match error.protocol {
            protocol::TCP => self.tcp.icmp_error(now, error, &mut self.ip, &mut self.buffers),
            protocol::UDP => self.udp.icmp_error(now, &mut self.ip, error),
            _ => {}
        }
    }

    /// Does what time has made due: retransmissions, probes, delayed acknowledgements, records and neighbours that have
    /// grown old.
    #[inline(never)]
    pub fn advance<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        self.ip.advance(now, sink);
        while let Some(error) = self.ip.next_error() {
            self.icmp_error(now, &error);
        }
        self.tcp.advance(&mut Io { now, buffers: &mut self.buffers, ip: &mut self.ip, sink });
        self.loop_back(now, sink);
    }

    /// Writes everything that is to be sent into frames of `sink`. Returns whether something is left because the device had
    /// no room.
    pub fn egress<S: Sink>(&mut self, now: Instant, sink: &mut S) -> bool {
        let datagrams = self.udp.egress(now, &mut self.ip, sink);
        let segments = self.tcp.egress(&mut Io { now, buffers: &mut self.buffers, ip: &mut self.ip, sink });
        self.loop_back(now, sink);
        datagrams || segments
    }

    /// Takes in what we have sent to ourselves, up to what lies there now: an answer to oneself is for the next turn.
    fn loop_back<S: Sink>(&mut self, now: Instant, sink: &mut S) {
        for _ in 0..self.ip.loopback_len() {
            let Some(packet) = self.ip.take_loopback() else { return };
            self.receive_packet(now, packet, true, sink);
        }
    }

    /// When the next turn is due though nothing comes; a time that is past means at once. `None`: nothing is waited for.
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        [self.tcp.poll_at(), self.ip.poll_at()].into_iter().flatten().min()
    }

    /// The next thing to tell about a socket.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        self.tcp.next_event().or_else(|| self.udp.next_event().map(|(id, news)| Event::Udp(id, news)))
    }

    /// Counters, and what is held now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut memory = MemoryStats {
            kept_frames: self.buffers.kept_frames() as u64,
            block_bytes: (self.buffers.blocks.in_use() + self.ip.block_bytes()) as u64,
            ..MemoryStats::default()
        };
        self.tcp.memory(&mut memory);
        memory.table_bytes += self.buffers.overhead() as u64;
        let tcp = TcpStats { rx_copied: self.buffers.copied(), ..self.tcp.shared.stats };
        Stats { ip: self.ip.stats, rtt: self.tcp.rtt(), tcp, udp: self.udp.stats, memory }
    }
}
