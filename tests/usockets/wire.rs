//! Two loops in two threads: each on its own end of a wire in memory, or both on the kernel's network.

use crate::world::{End, Network, PATIENCE, World};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Runs a server's thread and a client's. The server tells its port when it listens; both run until nothing is left.
fn both(
    network: &Network,
    serve: impl FnOnce(&World, &End) + Send + 'static,
    ask: impl FnOnce(&World, &End) + Send + 'static,
) {
    let (tell, told) = mpsc::channel();
    let (done, finished) = mpsc::channel();
    let (here, there) = (network.clone(), network.turned());
    let result = done.clone();
    let server = std::thread::spawn(move || {
        let world = World::new(&here);
        let end = End::<()>::new(&world);
        serve(&world, &end);
        let (listener, port) = world.listen(&end.context);
        let (listener, log) = (RefCell::new(Some(listener)), end.log.clone());
        end.context.on_open(move |_, _, _| {
            log.add("open");
            // One connection is all there is to come: then the loop may end.
            listener.borrow_mut().take().expect("one connection").close();
        });
        tell.send(port).unwrap();
        world.event_loop.run().unwrap();
        result.send("server").unwrap();
    });
    let result = done;
    let to = network.ips[0];
    let client = std::thread::spawn(move || {
        let world = World::new(&there);
        let end = End::<()>::new(&world);
        ask(&world, &end);
        end.context.connect(to, told.recv().unwrap(), None, 0).unwrap().expect("a socket");
        world.event_loop.run().unwrap();
        result.send("client").unwrap();
    });
    // A failed thread drops its sender.
    for _ in 0..2 {
        match finished.recv_timeout(PATIENCE) {
            Ok(_) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("a loop does not end"),
        }
    }
    for thread in [server, client] {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

/// The byte at a place in a stream.
fn byte(at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

/// Sends so many bytes as there is room, then ends the stream.
fn pump(end: &End, all: usize) -> impl FnMut(&crate::world::Sock) + Clone + 'static {
    let sent = Rc::new(Cell::new(0));
    let pump = move |socket: &crate::world::Sock| {
        while sent.get() < all {
            let piece: Vec<u8> = (sent.get()..(sent.get() + 40_000).min(all)).map(byte).collect();
            let n = socket.write(&piece, false);
            sent.set(sent.get() + n);
            if n < piece.len() {
                return;
            }
        }
        socket.shutdown();
    };
    let again = pump.clone();
    end.context.on_writable(move |socket| again(socket));
    pump
}

/// Insists on the stream, and counts it.
fn check(end: &End) -> Rc<Cell<usize>> {
    let received = Rc::new(Cell::new(0));
    let count = received.clone();
    end.context.on_data(move |_, data| {
        let bad = data.iter().enumerate().find(|(i, b)| **b != byte(count.get() + i));
        assert_eq!(bad, None, "after {} bytes", count.get());
        count.set(count.get() + data.len());
    });
    received
}

pub fn much_goes_both_ways(network: &Network) {
    const ALL: usize = 3 << 20;
    let side = |_: &World, end: &End| {
        let received = check(end);
        let mut send = pump(end, ALL);
        let begun = Cell::new(false);
        // Both send from their first event on: the client's opening, the server's first data.
        let mut first = send.clone();
        let count = received.clone();
        end.context.on_data(move |socket, data| {
            let bad = data.iter().enumerate().find(|(i, b)| **b != byte(count.get() + i));
            assert_eq!(bad, None, "after {} bytes", count.get());
            count.set(count.get() + data.len());
            if !begun.replace(true) {
                first(socket);
            }
        });
        let done = received.clone();
        end.context.on_end(move |_| assert_eq!(done.get(), ALL, "the end comes last"));
        let done = received;
        end.context.on_close(move |_, code, reason| assert_eq!((done.get(), code, reason), (ALL, 0, None)));
        end.context.on_open(move |socket, _, _| send(socket));
    };
    both(network, side, side);
}

pub fn what_was_written_before_a_close_arrives(network: &Network) {
    let (tell, told) = mpsc::channel();
    let serve = move |_: &World, end: &End| {
        let received = check(end);
        end.context.on_end(move |socket| {
            tell.send(received.get()).unwrap();
            socket.close(0);
        });
    };
    let (sent, count) = mpsc::channel();
    let ask = move |_: &World, end: &End| {
        end.context.on_open(move |socket, _, _| {
            let bytes: Vec<u8> = (0..800_000).map(byte).collect();
            sent.send(socket.write(&bytes, false)).unwrap();
            socket.close(0);
        });
    };
    both(network, serve, ask);
    let sent = count.recv().unwrap();
    assert!(sent > 50_000, "{sent}");
    assert_eq!(told.recv().unwrap(), sent);
}

pub fn half_a_connection_answers(network: &Network) {
    let serve = |_: &World, end: &End| {
        let received = check(end);
        end.context.on_end(move |socket| {
            assert_eq!(received.get(), 100_000);
            assert_eq!(socket.write(b"thanks", false), 6);
            socket.shutdown();
        });
    };
    let (tell, told) = mpsc::channel();
    let ask = move |_: &World, end: &End| {
        let mut send = pump(end, 100_000);
        let log = end.log.clone();
        end.context.on_open(move |socket, _, _| send(socket));
        end.context.on_close(move |_, code, reason| {
            log.add(crate::world::closed(code, reason));
            tell.send(log.all()).unwrap();
        });
    };
    both(network, serve, ask);
    let all = told.recv().unwrap();
    assert_eq!(all, ["data thanks", "close 0"], "our stream had ended: no `on_end`");
}

pub fn a_reset_reaches_the_other_loop(network: &Network) {
    let (tell, told) = mpsc::channel();
    let serve = move |_: &World, end: &End| {
        let log = end.log.clone();
        end.context.on_data(|socket, _| {
            // It writes until the connection breaks.
            while socket.write(&[1; 10_000], false) == 10_000 {}
        });
        end.context.on_end(|socket| while socket.write(&[1; 10_000], false) == 10_000 {});
        end.context.on_writable(|socket| while socket.write(&[1; 10_000], false) == 10_000 {});
        end.context.on_close(move |_, code, reason| {
            log.add(crate::world::closed(code, reason));
            tell.send(log.all()).unwrap();
        });
    };
    let ask = |world: &World, end: &End| {
        let timer = world.event_loop.create_timer().unwrap();
        let (start, context) = (Instant::now(), end.context.clone());
        end.context.on_open(|socket, _, _| {
            socket.write(b"go", false);
            socket.pause();
        });
        // Closed with unread data: the peer is told by a reset.
        timer
            .set(100, 100, move |timer| {
                if start.elapsed() > Duration::from_millis(300) {
                    context.close();
                }
                // A reset may get lost, and then it takes somebody to send another.
                if start.elapsed() > Duration::from_millis(1000) {
                    timer.close().unwrap();
                }
            })
            .unwrap();
        timer.detach();
    };
    both(network, serve, ask);
    let all = told.recv().unwrap();
    let last = all.last().unwrap();
    assert!(last == "close 0 ConnectionReset" || last == "close 0 BrokenPipe", "{all:?}");
}
