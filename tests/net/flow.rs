//! Bytes on their way: what is told, when, and what can be done meanwhile.

use crate::world::World;
use nethuns_rs::net::{ConnectOptions, ListenOptions, Readiness, SocketError, SocketOptions, TcpId};
use std::io::IoSlice;
use std::time::{Duration, Instant};

#[track_caller]
fn readable(world: &mut World, server: TcpId) {
    world.until("readable", |world| world.server.told_of(server).contains(Readiness::READABLE));
}

pub fn data_is_told_again_when_more_comes(world: &mut World) {
    let (client, server) = world.connect();
    assert_eq!(world.server.net.tcp_recv(server).unwrap_err(), SocketError::WouldBlock);
    for round in 0..3u8 {
        world.client.net.tcp_send(client, &[round; 100]).unwrap();
        readable(world, server);
        // Some of it, then the rest.
        let mut some = [0; 30];
        assert_eq!(world.server.net.tcp_read(server, &mut some), Ok(30));
        assert_eq!(some, [round; 30]);
        assert_eq!(world.server.net.tcp_readable(server), Ok(70));
        assert!(!world.server.net.tcp_drained(server), "there is more");
        assert_eq!(world.server.read_all(server), (vec![round; 70], Err(SocketError::WouldBlock)));
        assert_eq!(world.server.net.tcp_readable(server), Ok(0));
        // The kernel would have to be asked.
        assert!(world.server.net.tcp_drained(server) || world.server.net.is_kernel());
        world.forget();
        world.idle();
        assert_eq!(world.server.told_of(server), Readiness::NONE, "nothing new");
    }
    // Whoever leaves something unread is told of what comes after it nevertheless.
    world.client.net.tcp_send(client, b"first").unwrap();
    readable(world, server);
    world.forget();
    world.client.net.tcp_send(client, b", second").unwrap();
    readable(world, server);
    world.until("all of it", |world| world.server.net.tcp_readable(server) == Ok(13));
    assert_eq!(world.server.read_all(server).0, b"first, second");
    assert_eq!(world.server.net.tcp_info(server).unwrap().bytes_received, 313);
}

pub fn received_bytes_can_be_held_while_the_network_is_used(world: &mut World) {
    let (client, server) = world.connect();
    let mut held = Vec::new();
    for text in ["one", "two", "three"] {
        world.client.net.tcp_send(client, text.as_bytes()).unwrap();
        world.forget();
        readable(world, server);
        held.push(world.server.piece(server));
    }
    let reader = world.server.reader.clone();
    let mut open: Vec<_> = held.into_iter().map(|data| reader.open(data)).collect();
    // They are the program's alone: writing one leaves the others.
    open[1].make_ascii_uppercase();
    let parts: Vec<_> = open.iter().map(|bytes| IoSlice::new(bytes)).collect();
    assert_eq!(world.server.net.tcp_sendv(server, &parts), Ok(11));
    drop(open);
    let mut back = Vec::new();
    world.until("all back", |world| {
        back.extend(world.client.read_all(client).0);
        back.len() == 11
    });
    assert_eq!(back, b"oneTWOthree");
}

pub fn received_bytes_can_be_looked_at_and_left(world: &mut World) {
    let (client, server) = world.connect();
    let mut room = [0; 100];
    assert_eq!(world.server.net.tcp_peek(server, &mut room), Err(SocketError::WouldBlock));
    world.client.net.tcp_send(client, b"look").unwrap();
    readable(world, server);
    for _ in 0..3 {
        assert_eq!(world.server.net.tcp_peek(server, &mut room), Ok(4));
        assert_eq!(room[..4], *b"look");
        assert_eq!(world.server.net.tcp_peek(server, &mut room[..2]), Ok(2));
    }
    assert_eq!(world.server.net.tcp_readable(server), Ok(4));
    assert_eq!(world.server.read_all(server), (b"look".to_vec(), Err(SocketError::WouldBlock)));
    world.client.net.tcp_shutdown(client, std::net::Shutdown::Write).unwrap();
    world.until("end", |world| world.server.told_of(server).contains(Readiness::PEER_CLOSED));
    assert_eq!(world.server.net.tcp_peek(server, &mut room), Ok(0));
    assert_eq!(world.server.net.tcp_read(server, &mut room), Ok(0));
}

pub fn there_is_room_around_received_bytes(world: &mut World) {
    let (client, server) = world.connect();
    world.client.net.tcp_send(client, b"0123456789").unwrap();
    readable(world, server);
    let data = world.server.piece(server);
    let mut opened = world.server.reader.open(data);
    let (bytes, place) = opened.with_padding(32, 32).expect("room on both sides");
    assert_eq!(bytes.len(), 32 + 10 + 32);
    bytes[..place.start].fill(b'<');
    bytes[place.end..].fill(b'>');
    assert_eq!(bytes[place.clone()], *b"0123456789");
    assert_eq!(opened[..], *b"0123456789", "what is around them is not of them");
    assert!(opened.with_padding(1 << 20, 0).is_none());
    drop(opened);
    world.client.net.tcp_send(client, b"more").unwrap();
    world.forget();
    readable(world, server);
    assert_eq!(world.server.read_all(server).0, b"more");
}

/// Sends until there is no room; how much went.
fn fill(world: &mut World, client: TcpId) -> usize {
    let bytes = vec![7; 256 << 10];
    let mut sent = 0;
    loop {
        match world.client.net.tcp_send(client, &bytes) {
            Ok(n) => sent += n,
            Err(SocketError::WouldBlock) => return sent,
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 1 << 30, "no end of room");
    }
}

pub fn room_is_told_after_a_short_send_only(world: &mut World) {
    let (client, server) = world.connect();
    world.client.net.tcp_send(client, b"all of it").unwrap();
    readable(world, server);
    assert_eq!(world.server.read_all(server).0, b"all of it");
    world.idle();
    assert_eq!(world.client.told_of(client), Readiness::NONE, "nobody asked for room");
    let mut sent = 0;
    // Until the peer's window is closed too.
    let mut still = Instant::now();
    while still.elapsed() < Duration::from_millis(100) {
        let n = fill(world, client);
        sent += n;
        if n > 0 {
            still = Instant::now();
        }
        world.turn();
    }
    world.forget();
    world.idle();
    assert_eq!(world.client.told_of(client), Readiness::NONE, "no room yet");
    let mut received = 0;
    world.until("all read", |world| {
        received += world.server.read_all(server).0.len();
        received == sent
    });
    world.until("room", |world| world.client.told_of(client).contains(Readiness::WRITABLE));
    assert_eq!(world.client.told_of(client), Readiness::WRITABLE);
    world.forget();
    world.client.net.tcp_send(client, b"all of it").unwrap();
    readable(world, server);
    world.idle();
    assert_eq!(world.client.told_of(client), Readiness::NONE, "once");
}

pub fn a_paused_connection_is_not_told_of(world: &mut World) {
    let (client, server) = world.connect();
    world.server.net.tcp_set_reading(server, false).unwrap();
    world.client.net.tcp_send(client, b"wait").unwrap();
    world.idle();
    assert_eq!(world.server.told_of(server), Readiness::NONE);
    world.server.net.tcp_set_reading(server, true).unwrap();
    readable(world, server);
    assert_eq!(world.server.read_all(server).0, b"wait");
    // Nothing to take: nothing to tell.
    world.forget();
    world.server.net.tcp_set_reading(server, false).unwrap();
    world.server.net.tcp_set_reading(server, true).unwrap();
    world.idle();
    assert_eq!(world.server.told_of(server), Readiness::NONE);
    // Paused between the event and its being taken.
    world.server.net.tcp_set_reading(server, false).unwrap();
    world.client.net.tcp_send(client, b"once more").unwrap();
    world.idle();
    // The end of the stream is told all the same.
    world.client.net.tcp_shutdown(client, std::net::Shutdown::Write).unwrap();
    world.until("end", |world| world.server.told_of(server).contains(Readiness::PEER_CLOSED));
    assert_eq!(world.server.told_of(server), Readiness::PEER_CLOSED);
    world.server.net.tcp_set_reading(server, true).unwrap();
    readable(world, server);
    assert_eq!(world.server.read_all(server), (b"once more".to_vec(), Ok(())));
}

pub fn parts_arrive_as_one_stream(world: &mut World) {
    let (client, server) = world.connect();
    let texts: Vec<String> = (0..2000).map(|i| format!("{i};")).collect();
    let whole = texts.concat();
    let parts: Vec<_> = texts.iter().map(|text| IoSlice::new(text.as_bytes())).collect();
    let sent = world.client.net.tcp_sendv(client, &parts).unwrap();
    assert!(sent > 0 && sent <= whole.len());
    assert_eq!(world.client.net.tcp_sendv(client, &[]), Ok(0));
    assert_eq!(world.client.net.tcp_send(client, b""), Ok(0));
    let mut received = Vec::new();
    world.until("all of it", |world| {
        received.extend(world.server.read_all(server).0);
        received.len() == sent
    });
    assert_eq!(received, whole.as_bytes()[..sent]);
}

pub fn what_waits_for_company_leaves_when_flushed(world: &mut World) {
    let nodelay = SocketOptions { nodelay: true, ..SocketOptions::default() };
    let connect = ConnectOptions { socket: nodelay, ..ConnectOptions::default() };
    let (client, server) = world.connect_with(&ListenOptions::default(), &connect);
    let mut received = Vec::new();
    world.client.net.tcp_send_more(client, b"head ").unwrap();
    world.idle();
    assert_eq!(world.server.read_all(server).0, b"", "it waits");
    world.client.net.tcp_send(client, b"and body").unwrap();
    world.until("both", |world| {
        received.extend(world.server.read_all(server).0);
        received == b"head and body"
    });
    received.clear();
    world.client.net.tcp_send_more(client, b"flushed").unwrap();
    world.client.net.tcp_flush(client).unwrap();
    let start = Instant::now();
    world.until("flushed", |world| {
        received.extend(world.server.read_all(server).0);
        received == b"flushed"
    });
    assert!(start.elapsed() < Duration::from_millis(150), "it left when it was flushed: {:?}", start.elapsed());
}
