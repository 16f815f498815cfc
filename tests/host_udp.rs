//! Datagrams between hosts on a wire in memory: batches, fragments, refusals, and no allocation on the way. No rights needed.
#![cfg(all(unix, feature = "net"))]

mod common;

use common::counting::{Counting, allocations};
use common::host::patience;
use nethuns_rs::host::Host;
use nethuns_rs::stack::{Datagram, SocketError, UdpId, UdpOptions, UdpPacket};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Two hosts on a wire of their own, with a socket each.
struct Pair {
    client: Host,
    server: Host,
    from: UdpId,
    to: UdpId,
}

const SERVER: &str = "10.0.0.2:5000";

impl Pair {
    fn new(wire: &str, options: &str) -> Self {
        let open =
            |address: &str| Host::open(&format!("mem:{wire}?ip={address}/24&mtu=1500&poll=busy{options}")).unwrap();
        let (mut client, mut server) = (open("10.0.0.1"), open("10.0.0.2"));
        let udp = UdpOptions::default();
        let from = client.udp_bind("10.0.0.1:0".parse().unwrap(), &udp).unwrap();
        let to = server.udp_bind(SERVER.parse().unwrap(), &udp).unwrap();
        client.udp_connect(from, Some(SERVER.parse().unwrap())).unwrap();
        Self { client, server, from, to }
    }

    fn turn(&mut self) {
        self.client.poll(Some(Duration::ZERO)).unwrap();
        while self.client.next_event().is_some() {}
        self.server.poll(Some(Duration::ZERO)).unwrap();
        while self.server.next_event().is_some() {}
    }

    /// Turns until `done` says so.
    #[track_caller]
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            self.turn();
            assert!(start.elapsed() < patience(), "{}\n\n{}", self.client.stats(), self.server.stats());
        }
    }

    /// Sends datagrams of `len` bytes that the server sends back, `count` at a time.
    fn round(&mut self, count: usize, bytes: &[u8], packets: &mut Vec<UdpPacket>) {
        let datagram = Datagram { to: None, from: None, ecn: 0, bytes };
        for _ in 0..count {
            self.client.udp_send(self.from, &datagram).unwrap();
        }
        let mut echoed = 0;
        self.until(|pair| {
            if pair.server.udp_recv_batch(pair.to, packets, count).is_ok() {
                let reader = pair.server.reader();
                for packet in packets.drain(..) {
                    let data = reader.open(packet.chunk);
                    let back = Datagram { to: Some(packet.from), from: Some(packet.to), ecn: 0, bytes: &data };
                    pair.server.udp_send(pair.to, &back).unwrap();
                }
            }
            if let Ok(got) = pair.client.udp_recv_batch(pair.from, packets, count) {
                echoed += got;
                let reader = pair.client.reader();
                for packet in packets.drain(..) {
                    assert_eq!(packet.from, SERVER.parse::<SocketAddr>().unwrap());
                    assert_eq!(*reader.open(packet.chunk), *bytes);
                }
            }
            echoed == count
        });
    }
}

#[test]
fn batches_go_there_and_back_without_an_allocation() {
    let mut pair = Pair::new("udp-batches", "");
    let mut packets = Vec::with_capacity(64);
    for bytes in [&[0x5a; 64][..], &[0xa5; 1472], &[]] {
        for _ in 0..100 {
            pair.round(64, bytes, &mut packets);
        }
        let before = allocations();
        for _ in 0..200 {
            pair.round(64, bytes, &mut packets);
        }
        assert_eq!(allocations() - before, 0, "{} bytes: 12800 datagrams there and back", bytes.len());
    }
    let stats = pair.server.stats();
    assert_eq!((stats.stack.udp.rx_datagrams, stats.stack.udp.tx_datagrams), (57_600, 57_600), "{stats}");
}

#[test]
fn datagrams_of_any_length_arrive_whole() {
    let mut pair = Pair::new("udp-lengths", "");
    let bytes: Vec<u8> = (0..65_507).map(|n| (n * 7) as u8).collect();
    let mut packets = Vec::new();
    for len in [0, 1, 1472, 1473, 2952, 9000, 65_506, 65_507] {
        pair.round(1, &bytes[..len], &mut packets);
    }
    let stats = pair.server.stats();
    assert_eq!((stats.stack.ip.reassembled, stats.stack.memory.block_bytes), (5, 0), "{stats}");
    let datagram = Datagram { to: None, from: None, ecn: 0, bytes: &[0; 65_508] };
    assert_eq!(pair.client.udp_send(pair.from, &datagram), Err(SocketError::MessageTooLong));
}

/// Fragments lost, doubled, out of order and damaged: what arrives is whole.
#[test]
fn a_bad_wire_gives_whole_datagrams_or_none() {
    let mut pair = Pair::new("udp-bad", "&seed=5&loss=2%&dup=2%&reorder=5%&corrupt=0.5%");
    let mut arrived = 0;
    for n in 0..600u16 {
        let mut bytes: Vec<u8> = (0..6000u16).map(|at| (at ^ n) as u8 ^ (n >> 8) as u8).collect();
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        let _ = pair.client.udp_send(pair.from, &Datagram { to: None, from: None, ecn: 0, bytes: &bytes });
        for _ in 0..3 {
            pair.turn();
        }
        while let Ok(packet) = pair.server.udp_recv(pair.to) {
            let reader = pair.server.reader();
            let data = reader.open(packet.chunk);
            let n = u16::from_be_bytes([data[0], data[1]]);
            assert_eq!(data.len(), 6000);
            assert!((2..6000u16).all(|at| data[usize::from(at)] == (at ^ n) as u8 ^ (n >> 8) as u8), "datagram {n}");
            arrived += 1;
        }
    }
    assert!((200..600).contains(&arrived), "{arrived} of 600\n{}", pair.server.stats());
}

#[test]
fn a_port_that_nobody_has_is_refused() {
    let mut pair = Pair::new("udp-refused", "");
    pair.client.udp_connect(pair.from, Some("10.0.0.2:9".parse().unwrap())).unwrap();
    let datagram = Datagram { to: None, from: None, ecn: 0, bytes: b"x" };
    pair.client.udp_send(pair.from, &datagram).unwrap();
    pair.until(|pair| match pair.client.udp_recv(pair.from) {
        Err(SocketError::WouldBlock) => false,
        Err(error) => {
            assert_eq!(error, SocketError::ConnectionRefused);
            true
        }
        Ok(packet) => panic!("{packet:?}"),
    });
}
