//! Two engines on one wire, frame by frame.

use super::*;
use crate::pool::{Geometry, Pool, PoolContext};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Frames that have been sent, in order.
#[derive(Default)]
struct Wire(Vec<Vec<u8>>);

impl Sink for Wire {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R, Full> {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push(frame);
        Ok(result)
    }
}

/// An engine with its pool and the frames that it has sent.
struct Host {
    stack: Stack,
    pool: Arc<Pool>,
    ctx: PoolContext,
    wire: Wire,
}

impl Host {
    fn new(last: u8, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            mac: [2, 0, 0, 0, 0, last],
            addresses: vec![(address(last), 24)],
            secret: [u64::from(last), 7],
            ..Config::default()
        };
        set(&mut config);
        let pool = Pool::heap(Geometry::new(4096, 2048)).unwrap();
        let ctx = PoolContext::attach(&pool);
        Self { stack: Stack::new(config).unwrap(), pool, ctx, wire: Wire::default() }
    }

    /// One turn with these frames; the program's part lies between turns.
    fn turn(&mut self, now: Instant, frames: Vec<Vec<u8>>) {
        let received = frames.iter().map(|frame| Received { token: self.ctx.copy_in(frame).unwrap(), checked: false });
        self.stack.ingress(now, &self.ctx, received, &mut self.wire);
        self.stack.advance(now, &mut self.wire);
        assert!(!self.stack.egress(now, &mut self.wire));
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.stack.next_event()).collect()
    }

    fn read(&mut self, now: Instant, id: TcpId) -> (Vec<u8>, Result<(), SocketError>) {
        let mut bytes = Vec::new();
        loop {
            match self.stack.tcp_recv(now, id) {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.open(&self.ctx)),
                Ok(None) => return (bytes, Ok(())),
                Err(error) => return (bytes, Err(error)),
            }
        }
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

/// Lets both have turns until neither has anything to say.
fn settle(now: Instant, a: &mut Host, b: &mut Host) {
    for _ in 0..1000 {
        let (from_a, from_b) = (std::mem::take(&mut a.wire.0), std::mem::take(&mut b.wire.0));
        b.turn(now, from_a);
        a.turn(now, from_b);
        if a.wire.0.is_empty() && b.wire.0.is_empty() {
            return;
        }
    }
    panic!("they never stop");
}

fn pair() -> (Host, Host) {
    (Host::new(1, |_| {}), Host::new(2, |_| {}))
}

fn connect(now: Instant, a: &mut Host, b: &mut Host) -> (TcpId, TcpId, ListenerId) {
    let listener = b.stack.tcp_listen(SocketAddr::new(address(2), 80), &ListenOptions::default()).unwrap();
    let client = a.stack.tcp_connect(now, SocketAddr::new(address(2), 80), &ConnectOptions::default()).unwrap();
    settle(now, a, b);
    assert_eq!(b.events(), [Event::Accept(listener)]);
    assert_eq!(a.events(), [Event::Tcp(client, Readiness::CONNECTED | Readiness::WRITABLE)]);
    let server = b.stack.tcp_accept(now, listener).unwrap();
    assert_eq!(b.stack.tcp_accept(now, listener), Err(SocketError::WouldBlock));
    (client, server, listener)
}

#[test]
fn a_request_and_its_answer_and_an_end_in_order() {
    let (mut a, mut b) = pair();
    let now = Instant::from_millis(1000);
    let (client, server, _) = connect(now, &mut a, &mut b);
    assert_eq!(a.stack.tcp_send(now, client, b"request"), Ok(7));
    settle(now, &mut a, &mut b);
    assert_eq!(b.events(), [Event::Tcp(server, Readiness::READABLE)]);
    assert_eq!(b.read(now, server), (b"request".to_vec(), Err(SocketError::WouldBlock)));
    assert_eq!(b.stack.tcp_send(now, server, b"answer"), Ok(6));
    b.stack.tcp_close(now, server);
    settle(now, &mut a, &mut b);
    assert_eq!(a.events(), [Event::Tcp(client, Readiness::READABLE | Readiness::PEER_CLOSED)]);
    assert_eq!(a.read(now, client), (b"answer".to_vec(), Ok(())));
    a.stack.tcp_close(now, client);
    settle(now, &mut a, &mut b);
    assert_eq!((a.stack.stats().memory.connections, b.stack.stats().memory.connections), (0, 0));
    assert_eq!(b.stack.stats().memory.time_wait, 1, "who closed first keeps a record");
    assert_eq!((a.pool.in_flight(), b.pool.in_flight()), (0, 0));
    assert_eq!(a.stack.stats().memory.block_bytes + b.stack.stats().memory.block_bytes, 0);
    let later = now + Duration::from_secs(61);
    b.turn(later, Vec::new());
    assert_eq!(b.stack.stats().memory.time_wait, 0);
}

#[test]
fn a_megabyte_each_way() {
    let (mut a, mut b) = pair();
    let mut now = Instant::from_millis(1000);
    let (client, server, _) = connect(now, &mut a, &mut b);
    let data: Vec<u8> = (0..1_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let (mut sent, mut back) = ([0; 2], [Vec::new(), Vec::new()]);
    while back.iter().any(|got| got.len() < data.len()) {
        now += Duration::from_millis(1);
        sent[0] += a.stack.tcp_send(now, client, &data[sent[0]..]).unwrap_or(0);
        sent[1] += b.stack.tcp_send(now, server, &data[sent[1]..]).unwrap_or(0);
        settle(now, &mut a, &mut b);
        back[0].extend(b.read(now, server).0);
        back[1].extend(a.read(now, client).0);
        assert!(now < Instant::from_millis(60_000), "{:?} {:?}", sent, back.each_ref().map(Vec::len));
    }
    assert!(back[0] == data && back[1] == data);
    a.stack.tcp_shutdown(now, client, Shutdown::Write).unwrap();
    settle(now, &mut a, &mut b);
    assert_eq!(b.read(now, server).1, Ok(()));
    assert_eq!(b.stack.tcp_send(now, server, b"after your end"), Ok(14));
    settle(now, &mut a, &mut b);
    assert_eq!(a.read(now, client).0, b"after your end");
    assert_eq!(a.stack.stats().tcp.retransmitted_segments, 0);
}

#[test]
fn nobody_listens() {
    let (mut a, mut b) = pair();
    let now = Instant::from_millis(1000);
    let client = a.stack.tcp_connect(now, SocketAddr::new(address(2), 81), &ConnectOptions::default()).unwrap();
    settle(now, &mut a, &mut b);
    assert_eq!(a.events(), [Event::Tcp(client, Readiness::CLOSED)]);
    assert_eq!(a.stack.tcp_error(client), Some(SocketError::ConnectionRefused));
    assert_eq!(a.stack.stats().tcp.failed_connects, 1);
    a.stack.tcp_close(now, client);
    assert_eq!(a.stack.tcp_state(client), Err(SocketError::Closed));
}

#[test]
fn with_oneself() {
    let mut a = Host::new(1, |_| {});
    let now = Instant::from_millis(1000);
    for host in [IpAddr::V4(Ipv4Addr::LOCALHOST), address(1)] {
        let listener = a.stack.tcp_listen(SocketAddr::new(host, 8080), &ListenOptions::default()).unwrap();
        let client = a.stack.tcp_connect(now, SocketAddr::new(host, 8080), &ConnectOptions::default()).unwrap();
        let turns = |a: &mut Host| (0..10).for_each(|_| a.turn(now, Vec::new()));
        turns(&mut a);
        let server = a.stack.tcp_accept(now, listener).unwrap();
        let data = vec![42; 100_000];
        assert_eq!(a.stack.tcp_send(now, client, &data), Ok(data.len()));
        turns(&mut a);
        assert_eq!(a.read(now, server).0, data);
        a.stack.tcp_close(now, server);
        turns(&mut a);
        assert_eq!(a.read(now, client), (Vec::new(), Ok(())));
        a.stack.tcp_close(now, client);
        a.stack.tcp_unlisten(now, listener).unwrap();
        turns(&mut a);
        a.events();
    }
    assert!(a.wire.0.iter().all(|frame| frame[12..14] == [8, 6]), "only ARP's announcement goes out");
    assert_eq!(a.stack.stats().memory.connections, 0);
    assert_eq!(a.stack.stats().memory.block_bytes, 0);
}
