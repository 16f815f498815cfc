//! Any frames at any time into an engine with sockets on it: nothing panics, memory stays bounded, and in the end nothing is
//! left.
//!
//! The bytes are a program: commands that the engine's own user could give, and frames. Half of the frames are put right
//! (addresses, lengths, checksums, sequence numbers near those of the conversation), since hardly any random one would get
//! beyond the first check.

use nethuns_rs::pool::{Geometry, Pool, PoolContext};
use nethuns_rs::stack::config::{Config, RxChecksum};
use nethuns_rs::stack::{
    ConnectOptions, Event, Full, Instant, ListenOptions, Received, Sink, SocketOptions, Stack, TcpId,
};
use nethuns_rs::wire::checksum::Sum;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::time::Duration;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Remembers what the engine said last, so that frames can be made that fit.
#[derive(Default)]
struct Wire {
    last_tcp: Option<(u16, u16, u32, u32)>,
    frames: usize,
    refuse: bool,
}

impl Sink for Wire {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        if self.refuse {
            return Err(Full);
        }
        let mut frame = vec![0xa5; len];
        let result = fill(&mut frame);
        self.frames += 1;
        if frame.len() >= 54 && frame[12..14] == [8, 0] && frame[23] == 6 {
            let half = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let word = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
            self.last_tcp = Some((half(34), half(36), word(38), word(42)));
        }
        Ok(result)
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn half(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Runs the bytes against an engine.
pub fn ingress(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut config = Config::default();
    config.addresses = vec![(IpAddr::V4(OURS), 24)];
    config.neighbours = vec![(IpAddr::V4(PEER), [2, 0, 0, 0, 0, 9])];
    config.secret = [1, 2];
    config.max_kept_frames = 16;
    config.tcp.max_half_open = 4;
    config.tcp.max_time_wait = 4;
    config.tcp.max_buffered_bytes = 1 << 20;
    config.ip.max_reassembly_bytes = 1 << 16;
    if input.byte() & 1 == 0 {
        config.checksum.rx = RxChecksum::Trust;
    }
    let pool = Pool::heap(Geometry::new(64, 2048)).expect("a small pool");
    let ctx = PoolContext::attach(&pool);
    let mut stack = Stack::new(config).expect("a good configuration");
    let mut wire = Wire::default();
    let mut now = Instant::from_millis(1_000_000);
    let options = ListenOptions { backlog: 4, receive_buffer: Some(16 << 10), ..ListenOptions::default() };
    let listener = stack.tcp_listen(SocketAddr::new(OURS.into(), 80), &options).expect("a listener");
    let mut ids: Vec<TcpId> = Vec::new();

    while !input.0.is_empty() {
        match input.byte() % 16 {
            0..=5 => {
                let frame = frame(&mut input, &wire);
                let Ok(token) = ctx.copy_in(&frame) else { continue };
                stack.ingress(now, &ctx, [Received { token, checked: false }], &mut wire);
            }
            6 => {
                let len = usize::from(input.byte());
                let frame = input.take(len).to_vec();
                let Ok(token) = ctx.copy_in(&frame) else { continue };
                stack.ingress(now, &ctx, [Received { token, checked: true }], &mut wire);
            }
            7 => now += Duration::from_micros(u64::from(input.half()) * 50),
            8 => now += Duration::from_millis(u64::from(input.half())),
            9 => {
                let remote = SocketAddr::new(PEER.into(), input.half());
                let local = Some(SocketAddr::new(OURS.into(), 1024 + u16::from(input.byte())));
                let options = ConnectOptions { local, ..ConnectOptions::default() };
                ids.extend(stack.tcp_connect(now, remote, &options));
            }
            10 => {
                if let Some(id) = pick(&ids, &mut input) {
                    let len = usize::from(input.half());
                    let _ = stack.tcp_send(now, id, &vec![7; len]);
                }
            }
            11 => {
                if let Some(id) = pick(&ids, &mut input) {
                    while let Ok(Some(chunk)) = stack.tcp_recv(now, id) {
                        drop(chunk.open(&ctx));
                    }
                }
            }
            12 => {
                if let Some(id) = pick(&ids, &mut input) {
                    match input.byte() % 6 {
                        0 => drop(stack.tcp_shutdown(now, id, Shutdown::Write)),
                        1 => drop(stack.tcp_shutdown(now, id, Shutdown::Read)),
                        2 => stack.tcp_close(now, id),
                        3 => stack.tcp_abort(now, id),
                        4 => {
                            let (cork, nodelay) = (input.byte() & 1 == 0, input.byte() & 1 == 0);
                            let options = SocketOptions { cork, nodelay, ..SocketOptions::default() };
                            let _ = stack.tcp_set_options(now, id, &options);
                        }
                        _ => assert!(stack.tcp_info(id).is_ok() || stack.tcp_state(id).is_err()),
                    }
                }
            }
            13 => ids.extend(stack.tcp_accept(now, listener)),
            14 => {
                while let Some(event) = stack.next_event() {
                    if let Event::Accept(id) = event {
                        ids.extend(stack.tcp_accept(now, id));
                    }
                }
            }
            _ => wire.refuse = input.byte() & 1 == 0,
        }
        stack.advance(now, &mut wire);
        stack.egress(now, &mut wire);
        let memory = stack.stats().memory;
        assert!(memory.half_open <= 4 && memory.time_wait <= 4, "{memory:?}");
        assert!(memory.block_bytes <= 4 << 20, "{memory:?}");
        assert!(memory.kept_frames <= 17, "{memory:?}");
        assert!(wire.frames < 20_000 + 100 * bytes.len(), "a flood of {} frames", wire.frames);
    }

    // Everything ends.
    wire.refuse = false;
    let _ = stack.tcp_unlisten(now, listener);
    for id in ids {
        stack.tcp_abort(now, id);
    }
    for _ in 0..5_000 {
        stack.advance(now, &mut wire);
        stack.egress(now, &mut wire);
        let memory = stack.stats().memory;
        if memory.connections + memory.half_open + memory.time_wait + memory.kept_frames == 0 {
            break;
        }
        now += Duration::from_secs(1);
    }
    let memory = stack.stats().memory;
    assert_eq!((memory.connections, memory.half_open, memory.time_wait, memory.kept_frames), (0, 0, 0, 0));
    drop(stack);
    assert_eq!(pool.in_flight(), 0, "frames are missing");
}

fn pick(ids: &[TcpId], input: &mut Input<'_>) -> Option<TcpId> {
    let which = usize::from(input.byte());
    (!ids.is_empty()).then(|| ids[which % ids.len()])
}

/// A TCP segment, or another IPv4 packet, that is put right as far as the input wishes.
fn frame(input: &mut Input<'_>, wire: &Wire) -> Vec<u8> {
    let kind = input.byte();
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    let protocol = match kind % 8 {
        0 => 17,
        1 => 1,
        _ => 6,
    };
    let mut transport = Vec::new();
    if protocol == 6 {
        let (ours, theirs, seq, ack) = wire.last_tcp.unwrap_or((80, 4000, 0, 0));
        let (to, from) = if kind & 8 == 0 { (ours, theirs) } else { (80, 4000 + u16::from(input.byte() % 4)) };
        // Their next byte is what ours acknowledges, and the other way about; give or take a little.
        let near = |base: u32, by: u8| base.wrapping_add(u32::from(by)).wrapping_sub(64);
        let (theirs_next, ours_next) = (near(ack, input.byte()), near(seq, input.byte()));
        transport.extend_from_slice(&from.to_be_bytes());
        transport.extend_from_slice(&to.to_be_bytes());
        transport.extend_from_slice(&(if kind & 16 == 0 { ack } else { theirs_next }).to_be_bytes());
        transport.extend_from_slice(&(if kind & 32 == 0 { seq.wrapping_add(1) } else { ours_next }).to_be_bytes());
        let options = usize::from(input.byte() % 11);
        transport.push(((5 + options) << 4) as u8);
        transport.push(input.byte());
        transport.extend_from_slice(&input.half().to_be_bytes());
        transport.extend_from_slice(&[0; 4]);
        let options = input.take(4 * options).to_vec();
        transport.extend_from_slice(&options);
        transport.resize(usize::from(transport[12] >> 4) * 4, 1);
    }
    let len = usize::from(input.byte()) * 4;
    let data = input.take(len).to_vec();
    transport.extend_from_slice(&data);
    if protocol == 6 && kind & 64 == 0 {
        let sum = Sum::of(&transport).add(Sum::pseudo(PEER.into(), OURS.into(), 6, transport.len()));
        transport[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    }
    let total = 20 + transport.len();
    let fragment = if kind & 128 == 0 { [0x40, 0] } else { [input.byte() & 0x3f, input.byte()] };
    let mut header = vec![0x45, 0, (total >> 8) as u8, total as u8, 0, 1, fragment[0], fragment[1], 64, protocol, 0, 0];
    header.extend_from_slice(&PEER.octets());
    header.extend_from_slice(&OURS.octets());
    let sum = Sum::of(&header).finish();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&transport);
    frame.truncate(2048);
    frame
}
