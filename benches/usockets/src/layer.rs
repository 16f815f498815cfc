//! What the uSockets layer costs over `net`: the same exchanges in memory, driven directly and through a loop.
//!
//! ```text
//! us-layer net|usockets [--open N] [--active N] [--burst N] [--packets N]
//! ```
//!
//! The clients are those of the TCP engine's benchmarks: frames that come out of a wire in memory, written before the
//! clock runs. Both take the same turns: `--burst` frames onto the wire, then one poll, or one iteration of the loop,
//! which answers each of them. On a simulated clock, so that the same instructions run every time.

#[path = "../../tcp/src/common/mod.rs"]
mod common;

use common::load::{BATCH, Load, SERVER};
use common::{Args, Server, TICK, heap};
use nethuns_rs::api::{Context, Socket, Token};
use nethuns_rs::host::{Clock, HostBuilder};
use nethuns_rs::mem::{self, SimClock};
use nethuns_rs::net::{Builder, Event, ListenOptions, Net, Reader, SocketOptions};
use nethuns_rs::usockets::{Loop, SocketContext, SocketContextOptions};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The wire. Checksums are the same on both sides of the comparison: none.
const WIRE: &str = "mem:bench?frames=8192&queue=4096&full=refuse";

/// The engine's network on the wire.
fn network(clock: &SimClock) -> Builder {
    let spec = format!("{WIRE}&rx_checksum=trust&tx_checksum=omit");
    let host = HostBuilder::new(spec).address(SERVER.1.into(), 8).mac(SERVER.0);
    Builder::new().host(host.seed(1).clock(Clock::Simulated(clock.clone())))
}

/// A program on the network.
trait Program {
    /// Receives what is on the wire, answers it, and sends what was answered in the turn before.
    fn turn(&mut self);
}

/// On `net`.
struct Direct {
    net: Net,
    reader: Reader,
}

impl Direct {
    fn new(network: Builder) -> Self {
        let mut net = network.build().expect("a wire in memory");
        let socket = SocketOptions { nodelay: true, ..SocketOptions::default() };
        let options = ListenOptions { socket, ..ListenOptions::default() };
        net.tcp_listen(SocketAddr::from((SERVER.1, SERVER.2)), &options).expect("a free port");
        Self { reader: net.reader(), net }
    }
}

impl Program for Direct {
    #[inline(always)]
    fn turn(&mut self) {
        self.net.poll(Some(Duration::ZERO)).expect("a wire that works");
        while let Some(event) = self.net.next_event() {
            match event {
                Event::Accept(listener) => while self.net.tcp_accept(listener).is_ok() {},
                Event::Tcp(id, _) => {
                    while let Ok(Some(data)) = self.net.tcp_recv(id) {
                        let _ = self.net.tcp_send(id, &self.reader.open(data));
                    }
                }
                Event::Udp(..) | Event::Watch(..) => {}
            }
        }
    }
}

/// On uSockets, with a context without user data.
struct Layered {
    us: Loop<()>,
    _context: SocketContext<false, (), ()>,
}

impl Layered {
    fn new(network: Builder) -> Self {
        let us = Loop::on_network(network, ()).expect("a wire in memory");
        let context = us
            .create_socket_context::<false, ()>(SocketContextOptions::default())
            .expect("a context without TLS cannot fail");
        context.on_data(|socket, data| {
            socket.write(data, false);
        });
        context.on_end(|socket| socket.close(0));
        context.listen(&IpAddr::from(SERVER.1).to_string(), SERVER.2, 0).expect("a free port");
        Self { us, _context: context }
    }
}

impl Program for Layered {
    #[inline(always)]
    fn turn(&mut self) {
        self.us.step(Some(Duration::ZERO)).expect("a wire that works");
    }
}

/// What is counted by callgrind.
#[inline(never)]
fn serve_burst(program: &mut impl Program) {
    program.turn();
}

/// A program, and the other end of its wire.
struct World<P> {
    program: P,
    far: mem::Sock,
    loaded: Vec<Token>,
    clock: SimClock,
}

impl<P: Program> Server for World<P> {
    fn load(&mut self, frame: &[u8]) {
        let mut packet = self.far.alloc(frame.len()).expect("a free frame");
        packet.copy_from_slice(frame);
        self.loaded.push(packet.into_token());
    }

    fn serve(&mut self, now: &mut u64, burst: usize) {
        let mut loaded = self.loaded.drain(..);
        while loaded.len() > 0 {
            *now += TICK * burst.min(loaded.len()) as u64;
            self.clock.advance_to(*now);
            for token in loaded.by_ref().take(burst) {
                self.far.send_payload(self.far.context().packet(token)).expect("room in the queue");
            }
            serve_burst(&mut self.program);
        }
        // The last answers.
        serve_burst(&mut self.program);
    }

    fn sent(&mut self, each: &mut dyn FnMut(&[u8])) {
        while let Ok((frame, _)) = self.far.recv() {
            each(&frame);
        }
    }
}

fn run<P: Program>(args: &Args, program: impl FnOnce(Builder) -> P) {
    let clock = SimClock::new();
    // The wire is the driver's: not counted as the connections'.
    let flags = mem::MemFlags { clock: mem::Clock::Simulated(clock.clone()), ..mem::MemFlags::default() };
    let far = mem::Sock::create(WIRE, None, flags).expect("memory");
    let loaded = Vec::with_capacity(BATCH);
    let before = heap::live();
    let mut world = World { program: program(network(&clock)), far, loaded, clock };
    Load::run(&mut world, args, before);
    // Not dropped: a loop that ends waits until its connections have delivered their end, and these clients do not answer.
    std::process::exit(0);
}

fn main() {
    let args = Args::parse();
    if args.has("usockets") { run(&args, Layered::new) } else { run(&args, Direct::new) }
}
