//! How connections end: in order, by halves, by force, and by our own hand.

use crate::world::{End, Log, Network, PATIENCE, Pair, Sock, World, closed, says};
use nethuns_rs::net::{ConnectOptions, Readiness, SocketError};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub fn the_end_is_told_once_and_closes_nothing(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    to.write(b"the last", false);
    to.shutdown();
    assert!(to.is_shut_down() && !to.is_closed());
    assert_eq!(to.write(b"too late", false), 0);
    to.shutdown();
    let log = server.log.clone();
    world.until("the end", || log.has("end"));
    world.idle();
    server.says(&["data the last", "end"]);
    client.says(&[]);
    assert!(!from.is_closed() && !from.is_shut_down(), "until the program closes it");
    // Half a connection goes on.
    for _ in 0..3 {
        assert_eq!(from.write(b"more", false), 4);
        world.idle();
    }
    client.says(&["data more", "data more", "data more"]);
    from.close(3);
    server.says(&["data the last", "end", "close 3"]);
    // Ours was shut down: theirs is the end of it all, and `on_end` is not told.
    world.end();
    client.says(&["data more", "data more", "data more", "close 0"]);
    server.says(&["data the last", "end", "close 3"]);
}

pub fn both_halves_are_the_whole(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    to.shutdown();
    let log = server.log.clone();
    world.until("the end", || log.has("end"));
    from.shutdown();
    world.end();
    server.says(&["end", "close 0"]);
    client.says(&["close 0"]);
    assert!(to.is_closed() && from.is_closed());
}

pub fn data_before_the_end_is_not_lost_when_ours_was_shut_down(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    to.shutdown();
    let log = server.log.clone();
    world.until("the end", || log.has("end"));
    // Data and end in one go; upstream loses the data.
    from.write(b"an answer", false);
    from.close(0);
    world.end();
    client.says(&["data an answer", "close 0"]);
    server.says(&["end", "close 0"]);
}

pub fn both_may_end_at_once(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    to.write(b"bye", false);
    from.write(b"good bye", false);
    to.shutdown();
    from.shutdown();
    world.end();
    client.says(&["data good bye", "close 0"]);
    server.says(&["data bye", "close 0"]);
}

pub fn the_end_may_be_answered_in_its_callback(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, client, server, .. } = world.pair();
    let log = server.log.clone();
    server.context.on_end(move |socket| {
        log.add("end");
        assert_eq!(socket.write(b"fare well", false), 9);
        socket.shutdown();
        socket.close(8);
        log.add("ended");
    });
    to.shutdown();
    world.end();
    server.says(&["end", "close 8", "ended"]);
    client.says(&["data fare well", "close 0"]);
}

pub fn a_reset_is_a_close_with_a_reason(network: &Network) {
    let mut world = World::new(network);
    let mut peer = network.peer();
    let (server, socket, id) = world.accepted(&mut peer);
    peer.net.tcp_abort(id);
    world.with(&mut peer, "closed", |_| socket.is_closed());
    server.says(&["close 0 ConnectionReset"]);
    // With data before it.
    let (server, socket, id) = world.accepted(&mut peer);
    peer.send(id, b"before the reset");
    let log = server.log.clone();
    world.with(&mut peer, "data", |_| log.len() == 1);
    peer.net.tcp_abort(id);
    world.with(&mut peer, "closed", |_| socket.is_closed());
    server.says(&["data before the reset", "close 0 ConnectionReset"]);
    // After the end of its stream.
    let (server, socket, id) = world.accepted(&mut peer);
    peer.finish(id);
    let log = server.log.clone();
    world.with(&mut peer, "the end", |_| log.len() == 1);
    peer.net.tcp_abort(id);
    world.with(&mut peer, "closed", |_| {
        socket.write(b"is anybody there?", false);
        socket.is_closed()
    });
    let all = server.log.all();
    assert_eq!((all.len(), &all[0][..]), (2, "end"), "{all:?}");
    assert!(all[1].starts_with("close 0"), "{all:?}");
    world.idle();
    assert_eq!(server.log.len(), 2);
}

pub fn data_that_came_before_a_reset_is_delivered(network: &Network) {
    let mut world = World::new(network);
    let mut peer = network.peer();
    let (server, socket, id) = world.accepted(&mut peer);
    // Both are there before the loop looks. The kernel throws away what it holds when a reset comes, so there the data
    // may be gone; the engine keeps it.
    peer.send(id, b"before the reset");
    std::thread::sleep(Duration::from_millis(20));
    if !network.is_kernel() {
        world.turn();
        server.log.forget();
        socket.pause();
        peer.send(id, b"and more");
        peer.turn();
    }
    peer.net.tcp_abort(id);
    peer.turn();
    std::thread::sleep(Duration::from_millis(20));
    world.with(&mut peer, "closed", |_| socket.is_closed());
    let all = server.log.all();
    assert_eq!(all.last().map(String::as_str), Some("close 0 ConnectionReset"), "{all:?}");
    assert!(all.len() <= 2 && all.iter().all(|line| line != "end"), "{all:?}");
}

pub fn a_close_with_unread_data_tells_the_peer(network: &Network) {
    let mut world = World::new(network);
    let mut peer = network.peer();
    let (_server, socket, id) = world.accepted(&mut peer);
    socket.pause();
    peer.send(id, b"nobody will read this");
    world.idle();
    socket.close(0);
    world.with(&mut peer, "the end", |peer| peer.told_of(id).intersects(Readiness::PEER_CLOSED | Readiness::CLOSED));
    world.end();
}

pub fn a_close_is_told_at_once_and_once(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let log = server.log.clone();
    server.context.on_data(move |socket, _| {
        log.add("data");
        socket.close(42);
        log.add("closed");
        assert!(socket.is_closed());
        socket.close(43);
        socket.close(44);
    });
    let log = server.log.clone();
    server.context.on_close(move |socket, code, reason| {
        assert!(socket.is_closed());
        // Nothing of this does anything, or harm.
        assert_eq!(socket.write(b"x", false), 0);
        assert_eq!(socket.write2(b"x", b"y"), 0);
        socket.flush();
        socket.shutdown();
        socket.shutdown_read();
        socket.set_timeout(1);
        socket.set_long_timeout(1);
        socket.pause();
        socket.resume();
        socket.close_connecting();
        socket.close(45);
        assert!(socket.ext().is_some() && !socket.is_established());
        log.add(closed(code, reason));
    });
    to.write(b"x", false);
    let log = server.log.clone();
    world.until("closed", || log.has("closed"));
    server.says(&["data", "close 42", "closed"]);
    assert!(from.is_closed());
    let log = client.log.clone();
    world.until("the end", || log.len() > 0);
    world.idle();
    server.says(&["data", "close 42", "closed"]);
    client.says(&["end"]);
}

pub fn data_behind_a_close_is_not_told(network: &Network) {
    let mut world = World::new(network);
    let mut peer = network.peer();
    let (server, _, id) = world.accepted(&mut peer);
    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    server.context.on_data(move |socket, data| {
        count.set(count.get() + data.len());
        socket.close(0);
    });
    for _ in 0..50 {
        peer.send(id, &[1; 1000]);
    }
    let log = server.log.clone();
    world.with(&mut peer, "closed", |_| log.len() == 1);
    let first = seen.get();
    world.idle();
    assert_eq!(seen.get(), first);
    server.says(&["close 0"]);
}

pub fn a_close_in_on_close_is_told_after_it(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    let (listener, port) = world.listen(&end.context);
    for _ in 0..2 {
        end.context.connect(world.ip(), port, None, 0).unwrap();
    }
    world.until("connections", || end.opened() == 4);
    listener.close();
    let sockets: Rc<RefCell<Vec<Sock>>> = Rc::new(RefCell::new((0..4).map(|n| end.socket(n)).collect()));
    let (log, others) = (Log::default(), sockets.clone());
    let to = log.clone();
    end.context.on_close(move |_, code, _| {
        to.add(format!("enter {code}"));
        let all = others.borrow().clone();
        all.iter().for_each(|other| other.close(code + 1));
        assert!(all.iter().all(Sock::is_closed), "closed at once, told later");
        to.add(format!("leave {code}"));
    });
    let first = sockets.borrow()[0].clone();
    first.close(0);
    let all = log.all();
    assert_eq!((all.len(), &all[..2]), (8, &["enter 0".to_owned(), "leave 0".to_owned()][..]));
    for pair in all.chunks(2) {
        assert_eq!(pair[0].replace("enter", "leave"), pair[1], "never one within the other: {all:?}");
    }
    world.end();
    assert_eq!(log.len(), 8);
}

pub fn another_context_is_told_within(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let log = Log::default();
    let to_log = log.clone();
    client.context.on_close(move |_, _, _| {
        to_log.add("enter");
        from.close(0);
        to_log.add("leave");
    });
    let to_log = log.clone();
    server.context.on_close(move |_, _, _| to_log.add("the other"));
    to.close(0);
    says(&log, &["enter", "the other", "leave"]);
    world.end();
}

pub fn what_was_written_before_a_close_arrives(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, client, server, .. } = world.pair();
    let received = Rc::new(RefCell::new(Vec::new()));
    let bytes = received.clone();
    server.context.on_data(move |_, data| bytes.borrow_mut().extend_from_slice(data));
    let text: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let sent = to.write(&text, false);
    assert!(sent > 50_000, "{sent}");
    to.shutdown();
    to.close(9);
    client.says(&["close 9"]);
    let log = server.log.clone();
    world.until("the end", || log.has("end"));
    assert!(received.borrow()[..] == text[..sent], "{} of {sent} bytes", received.borrow().len());
}

pub fn a_run_ends_when_everything_is_delivered(network: &Network) {
    let (tell, told) = mpsc::channel();
    let there = network.clone();
    let peer = std::thread::spawn(move || {
        let mut peer = there.peer();
        let (listener, port) = peer.listen();
        tell.send(port).unwrap();
        let (start, mut id, mut bytes) = (Instant::now(), None, Vec::new());
        loop {
            assert!(start.elapsed() < PATIENCE, "{} bytes", bytes.len());
            peer.turn();
            id = id.or_else(|| peer.net.tcp_accept(listener).ok());
            let Some(id) = id else { continue };
            // It reads late: the loop has nothing left but what it owes.
            if bytes.is_empty() {
                std::thread::sleep(Duration::from_millis(100));
            }
            let (some, end) = peer.read(id);
            bytes.extend(some);
            if end != Err(SocketError::WouldBlock) {
                // The acknowledgement of the end.
                peer.net.tcp_close(id);
                peer.net.drain(Duration::from_secs(1)).unwrap();
                return (bytes, end);
            }
        }
    });
    let port = told.recv().unwrap();
    let world = World::new(network);
    let end = End::<()>::new(&world);
    let text: Vec<u8> = (0..900_000u32).map(|i| (i % 251) as u8).collect();
    let (sent, expected) = (Rc::new(Cell::new(0)), text.clone());
    let count = sent.clone();
    end.context.on_open(move |socket, _, _| {
        count.set(socket.write(&text, false));
        socket.close(0);
    });
    end.context.connect(network.other, port, None, 0).unwrap();
    world.event_loop.run().unwrap();
    let (bytes, how) = peer.join().unwrap();
    assert_eq!(how, Ok(()));
    assert!(sent.get() > 50_000);
    assert!(bytes == expected[..sent.get()], "{} of {} bytes", bytes.len(), sent.get());
}

pub fn a_context_closes_all_it_has(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    for _ in 0..3 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
    }
    world.until("connections", || client.opened() + server.opened() == 6);
    for end in [&client, &server] {
        end.log.forget();
    }
    // One more that is on its way.
    let on_its_way = client.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    client.context.close();
    client.says(&["close 0"; 4]);
    assert!(on_its_way.is_closed());
    assert_eq!(client.context.sockets(), 0);
    client.context.close();
    client.says(&["close 0"; 4]);
    // The listener and its sockets; the context is as new.
    server.context.close();
    world.end();
    assert!(client.context.is_valid());
    client.log.forget();
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.end();
    client.says(&["connect error Some(ConnectionRefused)"]);
    let (listener, port) = world.listen(&client.context);
    server.context.connect(world.ip(), port, None, 0).unwrap();
    let before = server.opened();
    world.until("a connection", || server.opened() == before + 1);
    listener.close();
    client.context.close();
    server.context.close();
    world.end();
}

pub fn a_context_may_be_closed_in_its_callbacks(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    for _ in 0..4 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
    }
    world.until("connections", || client.opened() + server.opened() == 8);
    server.log.forget();
    let (context, log) = (server.context.clone(), server.log.clone());
    server.context.on_data(move |_, _| {
        log.add("data");
        context.close();
        log.add("closed");
    });
    (0..4).for_each(|n| assert_eq!(client.socket(n).write(b"x", false), 1));
    let log = server.log.clone();
    world.until("closed", || log.has("closed"));
    server.says(&["data", "close 0", "close 0", "close 0", "close 0", "closed"]);
    // In on_close: everybody is told once.
    let context = client.context.clone();
    let (log, count) = (client.log.clone(), Rc::new(Cell::new(0)));
    log.forget();
    client.context.on_close(move |_, _, _| {
        count.set(count.get() + 1);
        context.close();
        log.add(format!("close {}", count.get()));
    });
    client.socket(0).close(0);
    let log = client.log.clone();
    world.until("everybody", || log.all().iter().filter(|line| line.starts_with("close")).count() == 4);
    server.context.on_data(|_, _| {});
    client.context.on_close(|_, _, _| {});
    world.end();
}

pub fn the_last_clone_of_a_context_closes_it(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let log = client.log.clone();
    let second = client.context.clone();
    drop(client);
    assert!(!to.is_closed());
    drop(second);
    assert!(to.is_closed());
    says(&log, &["close 0"]);
    let log = server.log.clone();
    world.until("the end", || log.len() == 1);
    server.says(&["end"]);
    from.close(0);
    world.end();
}

pub fn what_waits_in_the_queue_is_reset_with_the_listener(network: &Network) {
    let mut world = World::new(network);
    let mut peer = network.peer();
    let server = End::<()>::new(&world);
    let (listener, port) = world.listen(&server.context);
    let address = SocketAddr::new(world.ip().parse().unwrap(), port);
    // Where the engine has not looked yet there is no connection, only somebody who asks.
    let id = peer.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    peer.turn();
    listener.close();
    world.with(&mut peer, "refused or reset", |peer| peer.told_of(id).contains(Readiness::CLOSED));
    world.end();
    server.says(&[]);
}

pub fn a_close_of_all_ends_though_others_come(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (listener, port) = world.listen(&server.context);
    for _ in 0..3 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
    }
    world.until("connections", || client.opened() + server.opened() == 6);
    // A client that connects again whenever its connection is closed.
    let (again, ip, count) = (client.context.clone(), world.ip(), Rc::new(Cell::new(0)));
    let tries = count.clone();
    client.context.on_close(move |_, _, _| {
        tries.set(tries.get() + 1);
        assert!(tries.get() < 1000, "for ever");
        again.connect(ip, port, None, 0).unwrap();
    });
    client.context.close();
    assert_eq!((count.get(), client.context.sockets()), (3, 3), "those that were there");
    client.context.on_close(|_, _, _| {});
    client.context.close();
    listener.close();
    server.context.close();
    world.end();
}

pub fn a_paused_socket_keeps_what_came_before_the_end(network: &Network) {
    let mut world = World::new(network);
    let mut peer = network.peer();
    let (server, socket, id) = world.accepted(&mut peer);
    socket.pause();
    socket.shutdown();
    world.with(&mut peer, "the end", |peer| peer.told_of(id).contains(Readiness::PEER_CLOSED));
    // Both streams end now, with something that nobody has read.
    peer.send(id, b"kept");
    peer.finish(id);
    world.with(&mut peer, "the other end", |peer| peer.told_of(id).contains(Readiness::CLOSED));
    world.idle();
    server.says(&[]);
    socket.resume();
    world.end();
    server.says(&["data kept", "close 0"]);
}

pub fn a_loop_ends_though_a_peer_does_not(network: &Network) {
    let mut world = World::new(network);
    let mut peer = network.peer();
    let (server, socket, id) = world.accepted(&mut peer);
    socket.write(b"all there is", false);
    socket.close(0);
    world.with(&mut peer, "the end", |peer| peer.told_of(id).contains(Readiness::PEER_CLOSED));
    // The peer has acknowledged it all, and keeps its half of the connection.
    for _ in 0..100 {
        peer.turn();
        world.turn();
    }
    let start = Instant::now();
    drop((server, world));
    assert!(start.elapsed() < Duration::from_secs(5), "nothing was owed any more: {:?}", start.elapsed());
    assert_eq!(peer.read(id), (b"all there is".to_vec(), Ok(())));
}
