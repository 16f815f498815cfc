//! Nothing is allocated per request or datagram once things are running, on either network.
#![cfg(all(target_os = "linux", feature = "net"))]

mod common;

use common::counting::{Counting, allocations};
use nethuns_rs::net::{
    ConnectOptions, Datagram, Event, ListenOptions, Net, Reader, Readiness, SocketError, TcpId, UdpId, UdpOptions,
    UdpPacket,
};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `round` until it is warm, then counts over 500 more.
fn steady(what: &str, mut round: impl FnMut()) {
    for _ in 0..500 {
        round();
    }
    let before = allocations();
    for _ in 0..500 {
        round();
    }
    assert_eq!(allocations() - before, 0, "{what}: allocations in 500 rounds");
}

struct Side {
    net: Net,
    reader: Reader,
    packets: Vec<UdpPacket>,
}

impl Side {
    fn new(spec: &str) -> Self {
        let net = Net::builder().spec(spec).build().expect("a network");
        Self { reader: net.reader(), net, packets: Vec::with_capacity(64) }
    }

    /// Polls, and sends back what has come. Returns how many bytes that were.
    fn echo(&mut self) -> usize {
        self.net.poll(Some(Duration::ZERO)).expect("poll");
        let mut bytes = 0;
        while let Some(event) = self.net.next_event() {
            match event {
                Event::Accept(listener) => while self.net.tcp_accept(listener).is_ok() {},
                Event::Tcp(id, _) => {
                    while let Ok(Some(data)) = self.net.tcp_recv(id) {
                        let data = self.reader.open(data);
                        bytes += data.len();
                        assert_eq!(self.net.tcp_send(id, &data), Ok(data.len()));
                    }
                }
                Event::Udp(id, _) => {
                    while self.net.udp_recv_batch(id, &mut self.packets, 64).is_ok() {}
                    for packet in self.packets.drain(..) {
                        let data = self.reader.open(packet.data);
                        bytes += data.len();
                        let back =
                            Datagram { to: Some(packet.from), from: Some(packet.to), ecn: packet.ecn, bytes: &data };
                        self.net.udp_send(id, &back).expect("room");
                    }
                }
                Event::Watch(..) => {}
            }
        }
        bytes
    }

    /// Polls, and takes what has come. Returns how many bytes that were.
    fn take(&mut self) -> usize {
        self.net.poll(Some(Duration::ZERO)).expect("poll");
        let mut bytes = 0;
        while let Some(event) = self.net.next_event() {
            match event {
                Event::Tcp(id, _) => bytes += self.take_tcp(id),
                Event::Udp(id, _) => bytes += self.take_udp(id),
                Event::Accept(_) | Event::Watch(..) => {}
            }
        }
        bytes
    }

    fn take_tcp(&mut self, id: TcpId) -> usize {
        let mut bytes = 0;
        loop {
            match self.net.tcp_recv(id) {
                Ok(Some(data)) => bytes += self.reader.open(data).len(),
                Err(SocketError::WouldBlock) => return bytes,
                other => panic!("{other:?}"),
            }
        }
    }

    fn take_udp(&mut self, id: UdpId) -> usize {
        while self.net.udp_recv_batch(id, &mut self.packets, 64).is_ok() {}
        self.packets.drain(..).map(|packet| self.reader.open(packet.data).len()).sum()
    }
}

fn conversations(name: &str, mut client: Side, mut server: Side, ip: &str) {
    let any = SocketAddr::new(ip.parse().expect("an address"), 0);
    let listener = server.net.tcp_listen(any, &ListenOptions::default()).expect("a listener");
    let address = server.net.tcp_listener_addr(listener).expect("its address");
    let ids: Vec<TcpId> =
        (0..8).map(|_| client.net.tcp_connect(address, &ConnectOptions::default()).expect("a connection")).collect();
    let to = server.net.udp_bind(any, &UdpOptions::default()).expect("a socket");
    let to = server.net.udp_local_addr(to).expect("its address");
    let from = client.net.udp_bind("0.0.0.0:0".parse().expect("an address"), &UdpOptions::default()).expect("a socket");
    for _ in 0..200 {
        client.take();
        server.echo();
    }
    for len in [64, 20_000] {
        let request = vec![7; len];
        steady(&format!("{name}: requests of {len} bytes on 8 connections"), || {
            for id in &ids {
                assert_eq!(client.net.tcp_send(*id, &request), Ok(len));
            }
            let mut back = 0;
            while back < 8 * len {
                server.echo();
                back += client.take();
            }
        });
    }
    let bytes = [7; 100];
    let batch = [Datagram { to: Some(to), from: None, ecn: 1, bytes: &bytes }; 16];
    steady(&format!("{name}: 16 datagrams"), || {
        assert_eq!(client.net.udp_send_batch(from, &batch), Ok(16));
        let mut back = 0;
        while back < 1600 {
            server.echo();
            back += client.take();
        }
    });
    // Beside them: a path, and a descriptor of the program's own, which is told of with every poll.
    let path = format!("\0nethuns-no-allocations-{name}-{}", std::process::id());
    server.net.unix_listen(path.as_ref(), 8).expect("a listener");
    let local = client.net.unix_connect(path.as_ref()).expect("a connection");
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let watched = client.net.watch(ours.as_raw_fd(), Readiness::WRITABLE).expect("a watch");
    steady(&format!("{name}: requests over a path"), || {
        let mut back = 0;
        while client.net.tcp_send(local, &bytes) == Err(SocketError::WouldBlock) {
            client.take();
            server.echo();
        }
        while back < 100 {
            server.echo();
            back += client.take();
        }
    });
    client.net.unwatch(watched);
    client.net.tcp_close(local);
    for _ in 0..10 {
        client.take();
        server.echo();
    }
    steady(&format!("{name}: nothing"), || {
        client.net.poll(Some(Duration::ZERO)).expect("poll");
        assert_eq!(client.net.next_event(), None);
    });
}

#[test]
fn on_the_kernel() {
    conversations("kernel", Side::new("kernel"), Side::new("kernel"), "127.0.0.1");
}

#[test]
fn on_the_engine() {
    let side = |ip: &str| Side::new(&format!("mem:net-no-allocations?ip={ip}/24&frame_size=4096"));
    conversations("engine", side("10.0.0.1"), side("10.0.0.2"), "10.0.0.2");
}
