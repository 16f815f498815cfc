//! How connections end.

use crate::world::World;
use nethuns_rs::net::{ConnectOptions, ListenOptions, Readiness, SocketError};
use std::net::Shutdown;
use std::time::Duration;

pub fn the_end_of_a_stream(world: &mut World) {
    let (client, server) = world.connect();
    world.client.net.tcp_send(client, b"the last").unwrap();
    world.client.net.tcp_shutdown(client, Shutdown::Write).unwrap();
    world.until("end", |world| world.server.told_of(server).contains(Readiness::PEER_CLOSED));
    assert_eq!(world.server.told_of(server), Readiness::READABLE | Readiness::PEER_CLOSED);
    assert_eq!(world.server.read_all(server), (b"the last".to_vec(), Ok(())));
    assert_eq!(world.server.read_all(server), (vec![], Ok(())), "and for ever");
    assert!(!world.server.net.tcp_drained(server), "an end is something to be received");
    assert_eq!(world.server.net.tcp_read(server, &mut [0; 8]), Ok(0));
    world.forget();
    world.idle();
    assert_eq!(world.server.told_of(server), Readiness::NONE, "once");
}

pub fn half_a_connection_goes_on(world: &mut World) {
    let (client, server) = world.connect();
    world.client.net.tcp_shutdown(client, Shutdown::Write).unwrap();
    world.until("end", |world| world.server.told_of(server).contains(Readiness::PEER_CLOSED));
    for round in 0..3 {
        let bytes = vec![round; 10_000];
        assert_eq!(world.server.net.tcp_send(server, &bytes), Ok(10_000));
        let mut received = Vec::new();
        world.until("all of it", |world| {
            received.extend(world.client.read_all(client).0);
            received.len() == 10_000
        });
        assert_eq!(received, bytes);
    }
    assert!(!world.client.told_of(client).intersects(Readiness::PEER_CLOSED | Readiness::CLOSED));
    assert!(!world.server.told_of(server).contains(Readiness::CLOSED));
}

pub fn both_ends_is_closed(world: &mut World) {
    let (client, server) = world.connect();
    world.client.net.tcp_send(client, b"bye").unwrap();
    world.client.net.tcp_shutdown(client, Shutdown::Write).unwrap();
    world.until("end", |world| world.server.told_of(server).contains(Readiness::PEER_CLOSED));
    world.server.net.tcp_send(server, b"good bye").unwrap();
    world.server.net.tcp_shutdown(server, Shutdown::Write).unwrap();
    world.until("closed", |world| {
        world.server.told_of(server).contains(Readiness::CLOSED)
            && world.client.told_of(client).contains(Readiness::CLOSED)
    });
    let all = Readiness::READABLE | Readiness::PEER_CLOSED | Readiness::CLOSED;
    assert_eq!(world.client.told_of(client), all);
    assert_eq!(world.client.net.tcp_shutdown(client, Shutdown::Both), Err(SocketError::NotConnected), "it is over");
    assert_eq!(world.client.net.tcp_error(client), None, "in order");
    assert_eq!(world.server.net.tcp_error(server), None, "in order");
    assert_eq!(world.client.read_all(client), (b"good bye".to_vec(), Ok(())), "what had come can still be taken");
    assert_eq!(world.server.read_all(server), (b"bye".to_vec(), Ok(())));
    world.forget();
    world.idle();
    assert_eq!((&world.client.told[..], &world.server.told[..]), (&[][..], &[][..]), "once");
}

pub fn a_reset_is_told(world: &mut World) {
    let (client, server) = world.connect();
    world.server.net.tcp_send(server, b"before the reset").unwrap();
    world.until("readable", |world| world.client.told_of(client).contains(Readiness::READABLE));
    world.server.net.tcp_abort(server);
    world.until("closed", |world| world.client.told_of(client).contains(Readiness::CLOSED));
    assert!(!world.client.told_of(client).contains(Readiness::PEER_CLOSED), "that was no end of stream");
    assert_eq!(world.client.net.tcp_error(client), Some(SocketError::ConnectionReset));
    let (bytes, end) = world.client.read_all(client);
    assert_eq!((&bytes[..], end), (&b"before the reset"[..], Err(SocketError::ConnectionReset)));
    assert_eq!(world.client.read_all(client), (vec![], Err(SocketError::ConnectionReset)), "and for ever");
    let sent = world.client.net.tcp_send(client, b"x");
    assert!(matches!(sent, Err(SocketError::ConnectionReset | SocketError::BrokenPipe)), "{sent:?}");
    world.forget();
    world.idle();
    assert_eq!(world.client.told, [], "once");
    // A reset that a call meets before the poll tells of it.
    let (client, server) = world.connect();
    world.server.net.tcp_abort(server);
    world.server.net.flush();
    std::thread::sleep(Duration::from_millis(20));
    let _ = world.client.net.tcp_send(client, b"x");
    let _ = world.client.net.tcp_recv(client);
    world.until("closed", |world| world.client.told_of(client).contains(Readiness::CLOSED));
    assert!(!world.client.told_of(client).contains(Readiness::PEER_CLOSED));
    assert_eq!(world.client.net.tcp_error(client), Some(SocketError::ConnectionReset));
}

pub fn an_abort_loses_what_was_not_sent_and_tells_nothing_here(world: &mut World) {
    let (client, server) = world.connect();
    let bytes = vec![1; 64 << 10];
    while world.client.net.tcp_send(client, &bytes).is_ok() {}
    world.client.net.tcp_abort(client);
    world.forget();
    world.until("closed", |world| world.server.told_of(server).contains(Readiness::CLOSED));
    assert_eq!(world.server.net.tcp_error(server), Some(SocketError::ConnectionReset));
    assert_eq!(world.client.told, [], "nothing of what the program has given up");
}

pub fn sending_is_refused_before_and_after(world: &mut World) {
    let (_, address) = world.listen(&ListenOptions::default());
    let client = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    assert_eq!(world.client.net.tcp_send(client, b"x"), Err(SocketError::WouldBlock));
    assert_eq!(world.client.net.tcp_recv(client).unwrap_err(), SocketError::WouldBlock);
    assert_eq!(world.client.net.tcp_shutdown(client, Shutdown::Write), Err(SocketError::NotConnected));
    world.until("connected", |world| world.client.told_of(client).contains(Readiness::CONNECTED));
    assert_eq!(world.client.net.tcp_send(client, b"x"), Ok(1));
    world.client.net.tcp_shutdown(client, Shutdown::Write).unwrap();
    assert_eq!(world.client.net.tcp_shutdown(client, Shutdown::Write), Ok(()), "twice is once");
    assert_eq!(world.client.net.tcp_send(client, b"x"), Err(SocketError::BrokenPipe));
    assert_eq!(world.client.net.tcp_recv(client).unwrap_err(), SocketError::WouldBlock, "the other half is open");
}

pub fn reading_can_be_ended(world: &mut World) {
    let (client, server) = world.connect();
    world.client.net.tcp_send(client, b"before").unwrap();
    world.until("readable", |world| world.server.told_of(server).contains(Readiness::READABLE));
    world.server.net.tcp_shutdown(server, Shutdown::Read).unwrap();
    world.turn();
    assert_eq!(world.server.read_all(server), (b"before".to_vec(), Ok(())));
    assert!(!world.server.told_of(server).contains(Readiness::PEER_CLOSED), "the peer has ended nothing");
    assert_eq!(world.server.net.tcp_send(server, b"still talking"), Ok(13));
    let mut received = Vec::new();
    world.until("all of it", |world| {
        received.extend(world.client.read_all(client).0);
        received == b"still talking"
    });
}

pub fn what_was_sent_before_close_arrives(world: &mut World) {
    let (client, server) = world.connect();
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    let sent = world.client.net.tcp_send(client, &bytes).unwrap();
    assert!(sent > 50_000, "{sent}");
    world.client.net.tcp_close(client);
    let (mut received, mut end) = (Vec::new(), Err(SocketError::WouldBlock));
    world.until("the end", |world| {
        let (some, now) = world.server.read_all(server);
        received.extend(some);
        end = now;
        end != Err(SocketError::WouldBlock)
    });
    assert_eq!(end, Ok(()));
    assert!(received == bytes[..sent], "{} of {sent} bytes", received.len());
    world.server.net.tcp_close(server);
    world.until("no orphans", |world| world.client.net.orphans() + world.server.net.orphans() == 0);
    assert!(world.client.net.drain(Duration::ZERO).unwrap());
}
