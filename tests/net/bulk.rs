//! Much, at once, and slowly.

use crate::world::{PATIENCE, Side, World};
use nethuns_rs::net::{ConnectOptions, Event, ListenOptions, Readiness, SocketError, TcpId};
use std::collections::HashMap;
use std::time::Instant;

/// The byte at a place in a stream.
fn byte(seed: usize, at: usize) -> u8 {
    (at.wrapping_add(seed).wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// One direction of a stream.
struct Stream {
    seed: usize,
    len: usize,
    sent: usize,
    received: usize,
}

impl Stream {
    fn new(seed: usize, len: usize) -> Self {
        Self { seed, len, sent: 0, received: 0 }
    }

    /// Sends until there is no room.
    fn send(&mut self, side: &mut Side, id: TcpId, piece: usize) {
        while self.sent < self.len {
            let end = (self.sent + piece).min(self.len);
            let bytes: Vec<u8> = (self.sent..end).map(|at| byte(self.seed, at)).collect();
            match side.net.tcp_send(id, &bytes) {
                Ok(n) => self.sent += n,
                Err(SocketError::WouldBlock) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Takes what is there, at most so many pieces, and compares it.
    fn receive(&mut self, side: &mut Side, id: TcpId, most: usize) {
        for _ in 0..most {
            match side.net.tcp_recv(id) {
                Ok(Some(data)) => {
                    let bytes = side.reader.open(data);
                    let bad = bytes.iter().enumerate().find(|(i, b)| **b != byte(self.seed, self.received + i));
                    assert_eq!(bad, None, "after {} bytes", self.received);
                    self.received += bytes.len();
                }
                Ok(None) => panic!("end after {} bytes", self.received),
                Err(SocketError::WouldBlock) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn done(&self) -> bool {
        self.received == self.len
    }
}

pub fn bytes_arrive_in_order_both_ways(world: &mut World) {
    let (client, server) = world.connect();
    let (mut up, mut down) = (Stream::new(1, 8 << 20), Stream::new(2, 8 << 20));
    world.until("all of it", |world| {
        up.send(&mut world.client, client, 40_000);
        down.send(&mut world.server, server, 70_000);
        up.receive(&mut world.server, server, 1000);
        down.receive(&mut world.client, client, 1000);
        up.done() && down.done()
    });
    assert_eq!(world.server.net.tcp_recv(server).unwrap_err(), SocketError::WouldBlock);
}

pub fn a_slow_reader_loses_nothing(world: &mut World) {
    let (client, server) = world.connect();
    let mut up = Stream::new(3, 3 << 20);
    let mut turns = 0;
    world.until("all of it", |world| {
        // Sends by its events alone, as a program does; reads seldom and little, so that the window closes.
        if turns == 0 || world.client.told_of(client).contains(Readiness::WRITABLE) {
            world.client.told.clear();
            up.send(&mut world.client, client, 100_000);
        }
        turns += 1;
        if turns % 4 == 0 {
            up.receive(&mut world.server, server, if up.received > 2 << 20 { 1000 } else { 1 });
        }
        up.done()
    });
}

pub fn many_connections_at_once(world: &mut World) {
    const MANY: usize = 300;
    const ROUNDS: u64 = 5;
    let (_, address) = world.listen(&ListenOptions { backlog: MANY, ..ListenOptions::default() });
    let mut rounds: HashMap<TcpId, u64> = HashMap::new();
    for i in 0..MANY {
        let id = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
        world.client.net.tcp_set_user(id, i as u64);
        rounds.insert(id, 0);
    }
    let start = Instant::now();
    let (mut finished, mut ended) = (0, 0);
    // A server that echoes and a client that asks, both by their events alone.
    while finished < MANY || ended < MANY {
        assert!(start.elapsed() < PATIENCE, "{finished} finished, {ended} ended");
        world.turn();
        for event in std::mem::take(&mut world.server.told) {
            match event {
                Event::Accept(listener) => while world.server.net.tcp_accept(listener).is_ok() {},
                Event::Tcp(id, _) => {
                    let (bytes, end) = world.server.read_all(id);
                    if !bytes.is_empty() {
                        assert_eq!(world.server.net.tcp_send(id, &bytes), Ok(bytes.len()));
                    }
                    if end == Ok(()) {
                        world.server.net.tcp_close(id);
                        ended += 1;
                    }
                }
                Event::Udp(..) | Event::Watch(..) => unreachable!(),
            }
        }
        for event in std::mem::take(&mut world.client.told) {
            let Event::Tcp(id, what) = event else { unreachable!() };
            let round = rounds.get_mut(&id).unwrap();
            let user = world.client.net.tcp_user(id).unwrap();
            let question = |round: u64| (round << 32 | user).to_le_bytes();
            if what.contains(Readiness::CONNECTED) {
                let bytes = question(0);
                assert_eq!(world.client.net.tcp_send(id, &bytes), Ok(8));
            }
            if what.contains(Readiness::READABLE) {
                let expected = question(*round);
                let next = question(*round + 1);
                let (bytes, _) = world.client.read_all(id);
                if bytes.is_empty() {
                    continue;
                }
                assert_eq!(bytes, expected);
                *round += 1;
                if *round == ROUNDS {
                    finished += 1;
                    world.client.net.tcp_close(id);
                } else {
                    assert_eq!(world.client.net.tcp_send(id, &next), Ok(8));
                }
            }
        }
    }
}
