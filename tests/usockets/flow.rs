//! Bytes on their way: reading, writing, waiting for room, pausing.

use crate::world::{End, Network, PATIENCE, Pair, Sock, World};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub fn data_is_told_as_it_comes(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    for (n, text) in ["one", "two", "three"].into_iter().enumerate() {
        assert_eq!(to.write(text.as_bytes(), false), text.len());
        let log = server.log.clone();
        world.until("data", || log.len() == n + 1);
    }
    server.says(&["data one", "data two", "data three"]);
    assert_eq!(from.write(b"back", false), 4);
    let log = client.log.clone();
    world.until("data", || log.len() == 1);
    client.says(&["data back"]);
    // Nothing is nothing, and no event.
    assert_eq!(to.write(b"", false), 0);
    world.idle();
    server.says(&["data one", "data two", "data three"]);
    client.says(&["data back"]);
}

pub fn data_can_be_changed_where_it_lies(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, client, server, .. } = world.pair();
    server.context.on_data(|socket, data| {
        data.make_ascii_uppercase();
        assert_eq!(socket.write(data, false), data.len());
    });
    to.write(b"quietly", false);
    let log = client.log.clone();
    world.until("an answer", || log.len() == 1);
    client.says(&["data QUIETLY"]);
}

pub fn two_pieces_are_one_write(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, server, client: _client, .. } = world.pair();
    assert_eq!(to.write2(b"head, ", b"body"), 10);
    let log = server.log.clone();
    world.until("data", || log.len() == 1);
    assert_eq!(to.write2(b"", b"second"), 6);
    world.until("data", || log.len() == 2);
    assert_eq!(to.write2(b"first", b""), 5);
    world.until("data", || log.len() == 3);
    assert_eq!(to.write2(b"", b""), 0);
    server.says(&["data head, body", "data second", "data first"]);
}

pub fn what_waits_for_more_leaves_when_flushed(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, server, client: _client, .. } = world.pair();
    assert_eq!(to.write(b"a ", true), 2);
    world.idle();
    server.says(&[]);
    assert_eq!(to.write(b"b", false), 1);
    let log = server.log.clone();
    world.until("both", || log.len() == 1);
    server.says(&["data a b"]);
    let start = Instant::now();
    to.write(b"flushed", true);
    to.flush();
    world.until("flushed", || log.len() == 2);
    assert!(start.elapsed() < Duration::from_millis(150), "it left when it was flushed: {:?}", start.elapsed());
    server.says(&["data a b", "data flushed"]);
}

/// Writes until there is no room.
fn fill(socket: &Sock) -> usize {
    let bytes = vec![7; 100_000];
    let mut sent = 0;
    loop {
        let n = socket.write(&bytes, false);
        sent += n;
        if n < bytes.len() {
            return sent;
        }
        assert!(sent < 1 << 30, "no end of room");
    }
}

pub fn writable_is_told_once_after_a_short_write(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    to.write(b"all of it", false);
    world.idle();
    client.says(&[]);
    server.says(&["data all of it"]);
    let received = Rc::new(Cell::new(0));
    let count = received.clone();
    server.context.on_data(move |_, data| count.set(count.get() + data.len()));
    from.pause();
    // Until the peer's window is closed too.
    let (mut sent, mut still) = (0, Instant::now());
    while still.elapsed() < Duration::from_millis(100) {
        let n = fill(&to);
        if n > 0 {
            (sent, still) = (sent + n, Instant::now());
        }
        world.turn();
    }
    assert!(sent > 100_000);
    client.log.forget();
    world.idle();
    client.says(&[]);
    assert_eq!(received.get(), 0, "it is paused");
    from.resume();
    world.until("all read", || received.get() == sent);
    let log = client.log.clone();
    world.until("room", || log.len() > 0);
    world.idle();
    client.says(&["writable"]);
    to.write(b"all of it", false);
    world.until("read", || received.get() == sent + 9);
    world.idle();
    client.says(&["writable"]);
}

pub fn a_short_write_in_on_writable_is_told_again(network: &Network) {
    const ALL: usize = 12_000_000;
    let mut world = World::new(network);
    let Pair { to, client, server, .. } = world.pair();
    let (sent, received, told) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let pump = {
        let sent = sent.clone();
        move |socket: &Sock| {
            let bytes = [9; 50_000];
            while sent.get() < ALL {
                let piece = bytes.len().min(ALL - sent.get());
                let n = socket.write(&bytes[..piece], false);
                sent.set(sent.get() + n);
                if n < piece {
                    return;
                }
            }
            socket.shutdown();
        }
    };
    pump(&to);
    let count = told.clone();
    client.context.on_writable(move |socket| {
        count.set(count.get() + 1);
        pump(socket);
    });
    let count = received.clone();
    server.context.on_data(move |_, data| {
        assert!(!data.is_empty() && data.iter().all(|byte| *byte == 9));
        count.set(count.get() + data.len());
    });
    let log = server.log.clone();
    world.until("the end", || log.has("end"));
    assert_eq!((sent.get(), received.get()), (ALL, ALL));
    let before = told.get();
    assert!(before > 0, "12 MB find no room at once");
    world.idle();
    assert_eq!(told.get(), before, "not after a write that was not short");
}

pub fn a_paused_socket_is_told_of_no_data(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, server, client: _client } = world.pair();
    from.pause();
    assert!(from.is_paused() && !to.is_paused());
    to.write(b"wait", false);
    world.idle();
    server.says(&[]);
    from.resume();
    assert!(!from.is_paused());
    let log = server.log.clone();
    world.until("data", || log.len() == 1);
    from.pause();
    from.pause();
    from.resume();
    world.idle();
    server.says(&["data wait"]);
    // Paused in its own callback: what is left waits.
    server.context.on_data({
        let log = log.clone();
        move |socket, data| {
            log.add(crate::world::shown(data));
            socket.pause();
        }
    });
    to.write(b"first", false);
    world.until("data", || log.len() == 2);
    to.write(b"second", false);
    // The end of the stream waits behind what is not read.
    to.shutdown();
    world.idle();
    server.says(&["data wait", "data first"]);
    from.resume();
    world.until("data", || log.len() == 3);
    world.idle();
    server.says(&["data wait", "data first", "data second"]);
    from.resume();
    world.until("the end", || log.len() == 4);
    server.says(&["data wait", "data first", "data second", "end"]);
}

pub fn reading_can_be_shut_down(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    to.write(b"before", false);
    let log = server.log.clone();
    world.until("data", || log.len() == 1);
    from.shutdown_read();
    world.until("the end", || log.has("end"));
    server.says(&["data before", "end"]);
    assert!(!from.is_shut_down() && !from.is_closed(), "writing goes on");
    assert_eq!(from.write(b"still talking", false), 13);
    let log = client.log.clone();
    world.until("data", || log.len() == 1);
    client.says(&["data still talking"]);
    from.close(5);
    server.says(&["data before", "end", "close 5"]);
}

pub fn much_goes_both_ways_at_once(network: &Network) {
    const ALL: usize = 4 << 20;
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let byte = |at: usize| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    let received = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
    let sent = [Rc::new(Cell::new(0)), Rc::new(Cell::new(0))];
    let pump = move |socket: &Sock, sent: &Cell<usize>| {
        while sent.get() < ALL {
            let piece: Vec<u8> = (sent.get()..(sent.get() + 30_000).min(ALL)).map(byte).collect();
            let n = socket.write(&piece, false);
            sent.set(sent.get() + n);
            if n < piece.len() {
                return;
            }
        }
    };
    for (i, end) in [&client, &server].into_iter().enumerate() {
        let (count, sent) = (received[i].clone(), sent[i].clone());
        end.context.on_data(move |_, data| {
            assert!(data.len() <= 512 << 10, "never more at once");
            let bad = data.iter().enumerate().find(|(i, b)| **b != byte(count.get() + i));
            assert_eq!(bad, None, "after {} bytes", count.get());
            count.set(count.get() + data.len());
        });
        end.context.on_writable(move |socket| pump(socket, &sent));
    }
    pump(&to, &sent[0]);
    pump(&from, &sent[1]);
    let start = Instant::now();
    while received.iter().any(|count| count.get() < ALL) {
        assert!(start.elapsed() < PATIENCE);
        world.turn();
    }
}

pub fn no_socket_starves_the_others(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    for _ in 0..2 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
    }
    world.until("connections", || client.opened() + server.opened() == 4);
    // One never stops; the other wants an answer.
    let flood = client.socket(0);
    let chunk = vec![1; 1 << 20];
    client.context.on_writable({
        let chunk = chunk.clone();
        move |socket| while socket.write(&chunk, false) == chunk.len() {}
    });
    let answers = Rc::new(RefCell::new(Vec::new()));
    let told = answers.clone();
    server.context.on_data(move |socket, data| {
        if data[0] == b'?' {
            socket.write(b"!", false);
        }
    });
    client.context.on_data(move |_, data| told.borrow_mut().extend_from_slice(data));
    while flood.write(&chunk, false) == chunk.len() {}
    for n in 1..=20 {
        client.socket(1).write(b"?", false);
        world.until("an answer", || answers.borrow().len() == n);
    }
}
