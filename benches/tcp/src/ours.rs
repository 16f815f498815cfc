//! Our engine in memory, without a driver.
//!
//! ```text
//! tcp-ours requests [--open N] [--active N] [--burst N] [--packets N]
//! tcp-ours bulk [no-checksums] [--packets N]
//! ```

mod common;

use common::load::{BATCH, Load, SERVER};
use common::meter::Meter;
use common::{Args, Out, SEGMENT, Server, TICK, heap};
use nethuns_rs::api::{Context, Socket, Token};
use nethuns_rs::mem;
use nethuns_rs::stack::config::{RxChecksum, TxChecksum};
use nethuns_rs::stack::{Config, ConnectOptions, Event, Full, Instant, ListenOptions, Received, Sink, Stack, TcpId};
use std::net::SocketAddr;

/// An engine whose checksums are left out or computed in software.
fn engine(mac: [u8; 6], ip: [u8; 4], checksums: bool) -> Stack {
    let mut config = Config::default();
    config.mac = mac;
    config.addresses = vec![(ip.into(), 8)];
    config.secret = [1, 2];
    if !checksums {
        config.checksum.rx = RxChecksum::Trust;
        config.checksum.tx = TxChecksum::Omit;
    }
    Stack::new(config).expect("a configuration that makes sense")
}

fn wire() -> (mem::Sock, mem::Sock) {
    let open = || mem::Sock::create("mem:bench?frames=8192&queue=4096&full=refuse", None, mem::MemFlags::default());
    (open().expect("memory"), open().expect("memory"))
}

impl Sink for Out {
    #[inline(always)]
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        self.next(len).map(fill).ok_or(Full)
    }
}

struct Ours {
    stack: Stack,
    /// Frames come out of a pool, as a driver's do: sent on one end, received on the other before the clock runs.
    near: mem::Sock,
    far: mem::Sock,
    loaded: Vec<Token>,
    out: Out,
}

impl Ours {
    fn new(wire: (mem::Sock, mem::Sock), loaded: Vec<Token>, out: Out) -> Self {
        let mut stack = engine(SERVER.0, SERVER.1, false);
        let options = ListenOptions::default();
        stack.tcp_listen(SocketAddr::from((SERVER.1, SERVER.2)), &options).expect("a free port");
        Self { stack, near: wire.0, far: wire.1, loaded, out }
    }
}

impl Server for Ours {
    fn load(&mut self, frame: &[u8]) {
        self.far.send(frame).expect("room in the queue");
        let (token, _) = self.near.recv_token().expect("what was sent");
        self.loaded.push(token);
    }

    fn serve(&mut self, now: &mut u64, burst: usize) {
        let Self { stack, near, loaded, out, .. } = self;
        let mut tokens = loaded.drain(..);
        while tokens.len() > 0 {
            *now += TICK * burst.min(tokens.len()) as u64;
            serve_burst(stack, Instant::from_nanos(*now), near.context(), &mut tokens, burst, out);
        }
    }

    fn sent(&mut self, each: &mut dyn FnMut(&[u8])) {
        self.out.take(each);
    }
}

/// One turn: what a driver and a program do with it.
#[inline(never)]
fn serve_burst<C: Context>(
    stack: &mut Stack,
    now: Instant,
    ctx: &C,
    tokens: &mut std::vec::Drain<'_, Token>,
    burst: usize,
    out: &mut Out,
) {
    let burst = tokens.by_ref().take(burst).map(|token| Received { token, checked: false });
    stack.ingress(now, ctx, burst, out);
    stack.advance(now, out);
    while let Some(event) = stack.next_event() {
        match event {
            Event::Accept(listener) => while stack.tcp_accept(now, listener).is_ok() {},
            Event::Tcp(id, _) => echo(stack, now, ctx, id),
            Event::Udp(..) => {}
        }
    }
    stack.egress(now, out);
}

/// Sends back what has come.
#[inline(always)]
fn echo<C: Context>(stack: &mut Stack, now: Instant, ctx: &C, id: TcpId) {
    while let Ok(Some(chunk)) = stack.tcp_recv(now, id) {
        let request = chunk.open(ctx);
        let _ = stack.tcp_send(now, id, &request);
    }
}

/// Frames for the other end of a wire.
struct Port<'a>(&'a mem::Sock);

impl Sink for Port<'_> {
    #[inline(always)]
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        let mut frame = self.0.alloc(len).map_err(|_| Full)?;
        let result = fill(&mut frame);
        self.0.send_payload(frame).map(|()| result).map_err(|_| Full)
    }
}

/// One end of a bulk transfer.
struct End {
    stack: Stack,
    port: mem::Sock,
    id: Option<TcpId>,
}

impl End {
    fn new(host: u8, port: mem::Sock, checksums: bool) -> Self {
        Self { stack: engine([2, 0, 0, 0, 0, host], [10, 0, 0, host], checksums), port, id: None }
    }

    fn receive(&mut self, now: Instant) {
        let Self { stack, port, .. } = self;
        let mut frames = std::iter::from_fn(|| {
            let (token, _) = port.recv_token().ok()?;
            Some(Received { token, checked: false })
        });
        stack.ingress(now, port.context(), frames.by_ref(), &mut Port(port));
        stack.advance(now, &mut Port(port));
    }

    fn send(&mut self, now: Instant) {
        self.stack.egress(now, &mut Port(&self.port));
        self.port.flush();
    }
}

/// One turn of both: the sender fills its buffer, the receiver takes what has come. How many bytes came.
#[inline(never)]
fn bulk_burst(from: &mut End, to: &mut End, now: Instant, bytes: &[u8]) -> usize {
    from.receive(now);
    while from.stack.next_event().is_some() {}
    if let Some(id) = from.id {
        while from.stack.tcp_send(now, id, bytes).is_ok_and(|sent| sent == bytes.len()) {}
    }
    from.send(now);
    to.receive(now);
    while let Some(event) = to.stack.next_event() {
        if let Event::Accept(listener) = event
            && let Ok(id) = to.stack.tcp_accept(now, listener)
        {
            to.id = Some(id);
        }
    }
    let mut got = 0;
    if let Some(id) = to.id {
        while let Ok(Some(chunk)) = to.stack.tcp_recv(now, id) {
            got += std::hint::black_box(&*chunk.open(to.port.context())).len();
        }
    }
    to.send(now);
    got
}

fn bulk(args: &Args) {
    let checksums = !args.has("no-checksums");
    let (near, far) = wire();
    let (mut from, mut to) = (End::new(1, near, checksums), End::new(2, far, checksums));
    let port = SocketAddr::from(([10, 0, 0, 2], 80));
    to.stack.tcp_listen(port, &ListenOptions::default()).expect("a free port");
    let id = from.stack.tcp_connect(Instant::from_nanos(1), port, &ConnectOptions::default()).expect("a free port");
    from.id = Some(id);
    let bytes = vec![7; 64 << 10];
    let (mut now, mut idle) = (0, 0);
    let mut move_on = |meter: &mut Meter, want: u64| {
        let mut got = 0;
        while got < want {
            now += 20_000;
            let more = meter.time(|| bulk_burst(&mut from, &mut to, Instant::from_nanos(now), &bytes)) as u64;
            idle = if more == 0 { idle + 1 } else { 0 };
            assert!(idle < 1_000_000, "nothing moves any more");
            got += more;
        }
        got
    };
    move_on(&mut Meter::default(), 64 << 20);
    let mut meter = Meter::default();
    let moved = move_on(&mut meter, args.packets * SEGMENT);
    meter.print(moved / SEGMENT, 0.0);
}

fn main() {
    let args = Args::parse();
    if args.has("bulk") {
        return bulk(&args);
    }
    // The driver's: not counted as the connections'.
    let (wire, loaded, out) = (wire(), Vec::with_capacity(BATCH), Out::new(2 * BATCH));
    let before = heap::live();
    Load::run(&mut Ours::new(wire, loaded, out), &args, before);
}
