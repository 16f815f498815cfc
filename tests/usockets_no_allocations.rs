//! Nothing is allocated per event, write or timeout of uSockets once things are running, on either network.
#![cfg(all(target_os = "linux", feature = "usockets"))]

mod common;

use common::counting::{Counting, allocations};
use nethuns_rs::net;
use nethuns_rs::usockets::{Loop, Socket, SocketContext, SocketContextOptions};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Context = SocketContext<false, (), u64>;
type Sock = Socket<false, u64>;

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

fn conversations(spec: &str, ip: &str) {
    const MANY: usize = 8;
    let mut event_loop: Loop<()> = Loop::on_network(net::Net::builder().spec(spec), ()).expect("a loop");
    assert_eq!(event_loop.network(), spec);
    let context =
        || -> Context { event_loop.create_socket_context(SocketContextOptions::default()).expect("a context") };
    let (client, server, other) = (context(), context(), context());
    let listener = server.listen(ip, 0, 0).expect("a listener");
    let port = u16::try_from(listener.port()).expect("a port");
    // An echo with a timeout per request, as servers do.
    for context in [&server, &other] {
        context.on_data(|socket, data| {
            socket.set_timeout(10);
            socket.set_long_timeout(3);
            *socket.ext_mut().expect("user data") += 1;
            assert_eq!(socket.write(data, false), data.len());
        });
    }
    let accepted: Rc<RefCell<Vec<Sock>>> = Rc::default();
    let keep = accepted.clone();
    server.on_open(move |socket, _, _| keep.borrow_mut().push(socket.clone()));
    let back = Rc::new(Cell::new(0));
    let count = back.clone();
    client.on_data(move |_, data| count.set(count.get() + data.len()));
    let sockets: Vec<Sock> =
        (0..MANY).map(|_| client.connect(ip, port, None, 0).expect("a connect").expect("a socket")).collect();
    let step = |event_loop: &mut Loop<()>, timeout| {
        event_loop.step(Some(timeout)).expect("the network");
    };
    while accepted.borrow().len() < MANY || !sockets.iter().all(Sock::is_established) {
        step(&mut event_loop, Duration::from_millis(1));
    }
    for len in [64, 20_000] {
        let request = vec![7; len];
        steady(&format!("{spec}: requests of {len} bytes on {MANY} connections"), || {
            back.set(0);
            for socket in &sockets {
                socket.set_timeout(10);
                assert_eq!(socket.write(&request, false), len);
            }
            while back.get() < MANY * len {
                step(&mut event_loop, Duration::ZERO);
            }
        });
    }
    steady(&format!("{spec}: head and body in one"), || {
        back.set(0);
        sockets[0].write2(b"head", b"body");
        sockets[0].write(b"more", true);
        sockets[0].flush();
        while back.get() < 12 {
            step(&mut event_loop, Duration::ZERO);
        }
    });
    steady(&format!("{spec}: timeouts set and taken away"), || {
        for (seconds, socket) in [3, 400, 0, 8, 900, 5, 1, 0].into_iter().zip(&sockets) {
            socket.set_timeout(seconds);
            socket.set_long_timeout(seconds / 4);
        }
        step(&mut event_loop, Duration::ZERO);
    });
    sockets.iter().for_each(|socket| {
        socket.set_timeout(0);
        socket.set_long_timeout(0);
    });
    let timer = event_loop.create_timer().expect("a timer");
    let fired = Rc::new(Cell::new(0u64));
    let count = fired.clone();
    timer.set(1, 1, move |_| count.set(count.get() + 1)).expect("it is open");
    let before = fired.get();
    steady(&format!("{spec}: a timer that repeats, and is reset"), || {
        step(&mut event_loop, Duration::from_micros(200));
        timer.reset(1, 1).expect("it is open");
    });
    steady(&format!("{spec}: a timer that fires"), || step(&mut event_loop, Duration::from_millis(1)));
    assert!(fired.get() > before);
    timer.close().expect("it is open");
    steady(&format!("{spec}: pause and resume"), || {
        accepted.borrow()[0].pause();
        step(&mut event_loop, Duration::ZERO);
        accepted.borrow()[0].resume();
        step(&mut event_loop, Duration::ZERO);
    });
    // There and back again.
    let mut moving = accepted.borrow()[1].clone();
    steady(&format!("{spec}: adopted"), || {
        moving = other.adopt(&moving, |ext| ext).expect("it is open");
        moving = server.adopt(&moving, |ext| ext).expect("it is open");
        step(&mut event_loop, Duration::ZERO);
    });
    assert!(*moving.ext().expect("user data") > 1000);
    steady(&format!("{spec}: nothing"), || step(&mut event_loop, Duration::ZERO));
}

#[test]
fn on_the_kernel() {
    conversations("kernel", "127.0.0.1");
}

#[test]
fn on_the_engine() {
    conversations("mem:usockets-no-allocations?ip=10.0.0.1/24&frame_size=4096", "10.0.0.1");
}
