//! Listening, connecting, accepting; names and options.

use crate::world::World;
use nethuns_rs::net::{ConnectOptions, Event, KeepAlive, ListenOptions, Readiness, SocketError, SocketOptions, State};
use std::net::SocketAddr;
use std::time::Duration;

pub fn a_connect_that_succeeds_is_told(world: &mut World) {
    let (listener, address) = world.listen(&ListenOptions::default());
    let client = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    world.until("accept", |world| world.server.accepts() > 0);
    let server = world.server.net.tcp_accept(listener).unwrap();
    world.until("connected", |world| !world.client.told_of(client).is_empty());
    assert_eq!(world.client.told, [Event::Tcp(client, Readiness::CONNECTED | Readiness::WRITABLE)]);
    world.idle();
    assert_eq!(world.server.told_of(server), Readiness::NONE, "an accepted connection has no CONNECTED");
    assert_eq!(world.client.net.tcp_state(client), Ok(State::Established));
    assert_eq!(world.client.net.tcp_peer_addr(client), Ok(address));
    assert_eq!(world.server.net.tcp_local_addr(server), Ok(address));
    assert_eq!(world.client.net.tcp_local_addr(client), world.server.net.tcp_peer_addr(server));
    assert_eq!(world.client.net.tcp_error(client), None);
}

pub fn accept_is_told_until_the_queue_is_empty(world: &mut World) {
    let (listener, address) = world.listen(&ListenOptions::default());
    let clients: Vec<_> =
        (0..3).map(|_| world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap()).collect();
    world.until("three connections", |world| {
        clients.iter().all(|id| world.client.told_of(*id).contains(Readiness::CONNECTED))
    });
    world.until("accept", |world| world.server.accepts() > 0);
    for _ in 0..3 {
        world.forget();
        world.until("accept, again", |world| world.server.accepts() > 0);
        world.server.net.tcp_accept(listener).unwrap();
    }
    assert_eq!(world.server.net.tcp_accept(listener), Err(SocketError::WouldBlock));
    world.turn();
    world.forget();
    world.idle();
    assert_eq!(world.server.accepts(), 0, "the queue is empty");
    let one_more = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    world.until("accept, a fourth time", |world| world.server.accepts() > 0);
    world.client.net.tcp_close(one_more);
}

pub fn data_before_accept_is_told_after_it(world: &mut World) {
    let (listener, address) = world.listen(&ListenOptions::default());
    let client = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    world.until("connected", |world| world.client.told_of(client).contains(Readiness::CONNECTED));
    assert_eq!(world.client.net.tcp_send(client, b"early"), Ok(5));
    world.idle();
    assert!(world.server.told.iter().all(|event| *event == Event::Accept(listener)), "{:?}", world.server.told);
    let server = world.server.net.tcp_accept(listener).unwrap();
    world.until("readable", |world| world.server.told_of(server).contains(Readiness::READABLE));
    assert_eq!(world.server.read_all(server), (b"early".to_vec(), Err(SocketError::WouldBlock)));
}

pub fn a_refused_connect_is_told(world: &mut World) {
    let (listener, address) = world.listen(&ListenOptions::default());
    world.server.net.tcp_unlisten(listener).unwrap();
    let client = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    world.until("closed", |world| !world.client.told_of(client).is_empty());
    assert_eq!(world.client.told, [Event::Tcp(client, Readiness::CLOSED)]);
    assert_eq!(world.client.net.tcp_error(client), Some(SocketError::ConnectionRefused));
    assert_eq!(world.client.net.tcp_recv(client).unwrap_err(), SocketError::ConnectionRefused);
    assert!(world.client.net.tcp_send(client, b"x").is_err());
    world.client.net.tcp_close(client);
    world.forget();
    world.idle();
    assert_eq!(world.client.told, [], "nothing after close");
}

pub fn the_local_end_can_be_chosen(world: &mut World) {
    let (_, address) = world.listen(&ListenOptions::default());
    let connect = |world: &mut World, local: SocketAddr| {
        let options = ConnectOptions { local: Some(local), ..ConnectOptions::default() };
        let id = world.client.net.tcp_connect(address, &options)?;
        world.until("connected", |world| world.client.told_of(id).contains(Readiness::CONNECTED));
        world.client.net.tcp_local_addr(id)
    };
    let first = connect(world, SocketAddr::new(world.client_ip, 0)).unwrap();
    assert_eq!(first.ip(), world.client_ip);
    assert!(connect(world, first).is_err(), "that port is taken towards this peer");
    // A port that nobody has: one below those that are given out.
    let free = (20_000..21_000).find_map(|port| connect(world, SocketAddr::new(world.client_ip, port)).ok()).unwrap();
    assert_eq!(free.ip(), world.client_ip);
    assert!((20_000..21_000).contains(&free.port()));
}

pub fn what_is_known_at_once_is_said_at_once(world: &mut World) {
    let (_, address) = world.listen(&ListenOptions::default());
    let again = world.server.net.tcp_listen(address, &ListenOptions::default());
    assert_eq!(again.unwrap_err(), SocketError::AddrInUse);
    let foreign: SocketAddr = "198.51.100.7:0".parse().unwrap();
    let options = ConnectOptions { local: Some(foreign), ..ConnectOptions::default() };
    assert_eq!(world.client.net.tcp_connect(address, &options).unwrap_err(), SocketError::AddrNotAvailable);
    assert_eq!(
        world.server.net.tcp_listen(foreign, &ListenOptions::default()).unwrap_err(),
        SocketError::AddrNotAvailable
    );
}

pub fn names_outlive_nothing(world: &mut World) {
    let (client, server) = world.connect();
    world.server.net.tcp_send(server, b"unread").unwrap();
    world.client.net.tcp_close(client);
    let (other, _) = world.connect();
    assert_ne!(client, other);
    let net = &mut world.client.net;
    assert_eq!(net.tcp_send(client, b"x"), Err(SocketError::Closed));
    assert_eq!(net.tcp_recv(client).unwrap_err(), SocketError::Closed);
    assert_eq!(net.tcp_read(client, &mut [0; 8]), Err(SocketError::Closed));
    assert_eq!(net.tcp_shutdown(client, std::net::Shutdown::Write), Err(SocketError::Closed));
    assert_eq!(net.tcp_peer_addr(client), Err(SocketError::Closed));
    assert_eq!(net.tcp_set_reading(client, true), Err(SocketError::Closed));
    assert_eq!((net.tcp_user(client), net.tcp_error(client)), (None, None));
    net.tcp_set_user(client, 9);
    // Giving up what is given up already does no harm, least of all to who lives there now.
    net.tcp_close(client);
    net.tcp_abort(client);
    assert_eq!(net.tcp_user(other), Some(0));
    assert_eq!(net.tcp_send(other, b"x"), Ok(1));
    world.forget();
    world.idle();
    assert_eq!(world.client.told, [], "nothing of a closed connection");
}

pub fn unlisten_resets_those_who_wait(world: &mut World) {
    let (listener, address) = world.listen(&ListenOptions::default());
    let accepted = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    world.until("accept", |world| world.server.accepts() > 0);
    let server = world.server.net.tcp_accept(listener).unwrap();
    let waiting = world.client.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    world.until("both connected", |world| {
        [accepted, waiting].iter().all(|id| world.client.told_of(*id).contains(Readiness::CONNECTED))
    });
    world.idle();
    world.server.net.tcp_unlisten(listener).unwrap();
    assert_eq!(world.server.net.tcp_unlisten(listener), Err(SocketError::Closed));
    assert_eq!(world.server.net.tcp_accept(listener), Err(SocketError::Closed));
    world.until("reset", |world| world.client.told_of(waiting).contains(Readiness::CLOSED));
    assert_eq!(world.client.net.tcp_error(waiting), Some(SocketError::ConnectionReset));
    world.client.net.tcp_send(accepted, b"alive").unwrap();
    world.until("readable", |world| world.server.told_of(server).contains(Readiness::READABLE));
}

pub fn options_are_read_as_they_were_set(world: &mut World) {
    let keep_alive = KeepAlive { idle: Duration::from_secs(30), interval: Duration::from_secs(5), probes: 4 };
    let set = SocketOptions {
        nodelay: true,
        keep_alive: Some(keep_alive),
        user_timeout: Some(Duration::from_millis(7500)),
        ..SocketOptions::default()
    };
    let listen = ListenOptions { socket: set, ..ListenOptions::default() };
    let connect = ConnectOptions { socket: set, ..ConnectOptions::default() };
    let (client, server) = world.connect_with(&listen, &connect);
    // Whether acknowledgements are delayed is the kernel's to change at any time.
    let same = |read: SocketOptions| SocketOptions { quick_ack: false, ..read };
    assert_eq!(same(world.client.net.tcp_options(client).unwrap()), set);
    assert_eq!(same(world.server.net.tcp_options(server).unwrap()), set, "accepted connections inherit");
    let other = SocketOptions { cork: true, ..SocketOptions::default() };
    world.client.net.tcp_set_options(client, &other).unwrap();
    assert_eq!(same(world.client.net.tcp_options(client).unwrap()), other);
}

pub fn the_programs_word_stays(world: &mut World) {
    let (client, server) = world.connect();
    assert_eq!(world.client.net.tcp_user(client), Some(0));
    world.client.net.tcp_set_user(client, u64::MAX - 1);
    world.server.net.tcp_abort(server);
    world.until("closed", |world| world.client.told_of(client).contains(Readiness::CLOSED));
    assert_eq!(world.client.net.tcp_user(client), Some(u64::MAX - 1));
    assert!(world.client.net.tcp_peer_addr(client).is_ok(), "the peer is known after its reset");
    let bits = client.0.to_bits();
    assert_eq!(nethuns_rs::stack::Key::from_bits(bits), client.0);
}
