//! Datagrams.

use crate::world::World;
use nethuns_rs::net::{Datagram, Event, Readiness, SocketError, UdpId, UdpOptions, UdpPacket};
use std::net::SocketAddr;

struct Pair {
    client: UdpId,
    server: UdpId,
    to: SocketAddr,
    from: SocketAddr,
}

fn open(world: &mut World) -> Pair {
    let options = UdpOptions::default();
    let client = world.client.net.udp_bind(SocketAddr::new(world.client_ip, 0), &options).unwrap();
    let server = world.server.net.udp_bind(SocketAddr::new(world.ip, 0), &options).unwrap();
    let to = world.server.net.udp_local_addr(server).unwrap();
    let from = world.client.net.udp_local_addr(client).unwrap();
    assert_eq!((to.ip(), from.ip()), (world.ip, world.client_ip));
    Pair { client, server, to, from }
}

fn datagram<'a>(to: SocketAddr, bytes: &'a [u8]) -> Datagram<'a> {
    Datagram { to: Some(to), from: None, ecn: 0, bytes }
}

/// What the server has received, up to so many.
fn receive(world: &mut World, id: UdpId, n: usize) -> Vec<UdpPacket> {
    let mut got = Vec::new();
    world.until("datagrams", |world| {
        match world.server.net.udp_recv_batch(id, &mut got, 64) {
            Ok(_) | Err(SocketError::WouldBlock) => {}
            Err(error) => panic!("{error}"),
        }
        got.len() >= n
    });
    got
}

pub fn datagrams_tell_where_they_came_from_and_went(world: &mut World) {
    let Pair { client, to, from, .. } = open(world);
    // One that receives for every address.
    let any = world.server.net.udp_bind(SocketAddr::new([0, 0, 0, 0].into(), 0), &UdpOptions::default()).unwrap();
    let port = world.server.net.udp_local_addr(any).unwrap().port();
    assert_eq!(world.server.net.udp_recv(any).unwrap_err(), SocketError::WouldBlock);
    for ecn in 0..4 {
        let to = SocketAddr::new(to.ip(), port);
        let from = if ecn % 2 == 0 { None } else { Some(from.ip()) };
        let sent = Datagram { to: Some(to), from, ecn, bytes: &[ecn; 20] };
        world.forget();
        world.client.net.udp_send(client, &sent).unwrap();
        world.until("readable", |world| !world.server.told.is_empty());
        assert_eq!(world.server.told, [Event::Udp(any, Readiness::READABLE)]);
        let packet = world.server.net.udp_recv(any).unwrap();
        assert_eq!(
            (packet.from, packet.to, packet.ecn),
            (world.client.net.udp_local_addr(client).unwrap(), to.ip(), ecn)
        );
        assert_eq!(world.server.reader.open(packet.data)[..], [ecn; 20]);
        assert_eq!(world.server.net.udp_recv(any).unwrap_err(), SocketError::WouldBlock);
    }
    // And back, from the address it was sent to.
    let answer = Datagram { to: Some(from), from: Some(to.ip()), ecn: 0, bytes: b"" };
    world.server.net.udp_send(any, &answer).unwrap();
    let mut packet = None;
    world.until("the answer", |world| {
        packet = world.client.net.udp_recv(client).ok();
        packet.is_some()
    });
    let packet = packet.unwrap();
    assert_eq!((packet.from, packet.to), (SocketAddr::new(to.ip(), port), from.ip()));
    assert!(packet.data.is_empty(), "a datagram may be empty");
    world.server.net.udp_close(any);
    assert_eq!(world.server.net.udp_send(any, &answer), Err(SocketError::Closed));
    assert_eq!(world.server.net.udp_recv(any).unwrap_err(), SocketError::Closed);
}

pub fn batches_keep_order_and_size(world: &mut World) {
    let Pair { client, server, to, from } = open(world);
    let sizes = [0, 1, 2, 31, 32, 33, 511, 1000, 1471, 1472];
    let contents: Vec<Vec<u8>> = (0..100u8).map(|i| vec![i; sizes[usize::from(i) % sizes.len()]]).collect();
    let batch: Vec<_> = contents.iter().map(|bytes| datagram(to, bytes)).collect();
    assert_eq!(world.client.net.udp_send_batch(client, &batch), Ok(100));
    assert_eq!(world.client.net.udp_send_batch(client, &[]), Ok(0));
    for (packet, bytes) in receive(world, server, 100).into_iter().zip(&contents) {
        assert_eq!((packet.from, packet.to), (from, to.ip()));
        assert_eq!(packet.data.len(), bytes.len());
        assert_eq!(world.server.reader.open(packet.data)[..], bytes[..]);
    }
    // Larger than any frame: in fragments.
    for len in [1473, 9000, 40_000, 65_507] {
        let large: Vec<u8> = (0..len).map(|i| (i * 7 % 253) as u8).collect();
        world.client.net.udp_send(client, &datagram(to, &large)).unwrap();
        let packet = receive(world, server, 1).pop().unwrap();
        assert!(world.server.reader.open(packet.data)[..] == large[..], "{len} bytes");
    }
}

pub fn a_connected_socket_hears_its_peer_only(world: &mut World) {
    let Pair { client, server, to, from } = open(world);
    let stranger = world.client.net.udp_bind(SocketAddr::new(world.client_ip, 0), &UdpOptions::default()).unwrap();
    world.server.net.udp_connect(server, Some(from)).unwrap();
    world.client.net.udp_connect(client, Some(to)).unwrap();
    world.client.net.udp_send(stranger, &datagram(to, b"not for you")).unwrap();
    world.client.net.udp_send(client, &Datagram { to: None, from: None, ecn: 0, bytes: b"for you" }).unwrap();
    let packet = receive(world, server, 1).remove(0);
    assert_eq!(world.server.reader.open(packet.data)[..], *b"for you");
    world.idle();
    assert_eq!(world.server.net.udp_recv(server).unwrap_err(), SocketError::WouldBlock);
    world.server.net.udp_connect(server, None).unwrap();
    assert_eq!(world.server.net.udp_local_addr(server), Ok(to));
    world.client.net.udp_send(stranger, &datagram(to, b"for all")).unwrap();
    let packet = receive(world, server, 1).remove(0);
    assert_eq!(world.server.reader.open(packet.data)[..], *b"for all");
    let nowhere = Datagram { to: None, from: None, ecn: 0, bytes: b"" };
    assert_eq!(world.server.net.udp_send(server, &nowhere), Err(SocketError::InvalidAddress));
}

pub fn nobody_there_is_told_once(world: &mut World) {
    let Pair { client, server, to, .. } = open(world);
    world.server.net.udp_close(server);
    world.client.net.udp_connect(client, Some(to)).unwrap();
    world.client.net.udp_send(client, &Datagram { to: None, from: None, ecn: 0, bytes: b"hello?" }).unwrap();
    world.until("a word", |world| world.client.told.contains(&Event::Udp(client, Readiness::READABLE)));
    assert_eq!(world.client.net.udp_recv(client).unwrap_err(), SocketError::ConnectionRefused);
    assert_eq!(world.client.net.udp_recv(client).unwrap_err(), SocketError::WouldBlock);
}

pub fn too_long_is_refused(world: &mut World) {
    let Pair { client, to, .. } = open(world);
    let sent = world.client.net.udp_send(client, &datagram(to, &[0; 65_508]));
    assert_eq!(sent, Err(SocketError::MessageTooLong));
    // To the kernel that is no address for this socket, to the engine none that a route leads to.
    let sent = world.client.net.udp_send(client, &datagram("[2001:db8::1]:9".parse().unwrap(), b"x"));
    assert!(matches!(sent, Err(SocketError::InvalidAddress | SocketError::NetworkUnreachable)), "{sent:?}");
}
