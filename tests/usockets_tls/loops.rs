//! Our client and our server on one loop.

use crate::place::{PATIENCE, Place};
use nethuns_rs::usockets::{Loop, Socket, SocketContext, SocketContextOptions};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Runs a loop until something is the case.
fn until(event_loop: &mut Loop<()>, mut it_is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !it_is() {
        assert!(start.elapsed() < PATIENCE, "it never is");
        event_loop.step(Some(Duration::from_millis(50))).expect("a step");
    }
}

fn there(place: &Place, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            place.enter();
            work();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// How much has gone which way through a connection.
#[derive(Default)]
struct Flow {
    sent: usize,
    received: usize,
}

const MUCH: usize = 20_000_000;

/// The byte at a place of the stream.
fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

/// Sends what is left of the stream, in pieces of odd sizes.
fn send(socket: &mut Socket<true, Flow>) {
    let mut flow = socket.ext_mut().expect("it is open");
    let mut piece = Vec::new();
    while flow.sent < MUCH {
        let len = (1 + flow.sent % 50_000).min(MUCH - flow.sent);
        piece.clear();
        piece.extend((flow.sent..flow.sent + len).map(byte));
        let written = socket.write(&piece, flow.sent.is_multiple_of(3));
        flow.sent += written;
        if written < len {
            break;
        }
    }
}

pub fn much_goes_both_ways(place: &Place) {
    there(place, || {
        for low in [false, true] {
            let mut event_loop = place.open(());
            let options = |options| SocketContextOptions { ssl_prefer_low_memory_usage: low, ..options };
            let server =
                event_loop.create_socket_context::<true, Flow>(options(place.good(&[place.ours]))).expect("a server");
            let client = event_loop.create_socket_context::<true, Flow>(options(place.trusts())).expect("a client");
            let done = Rc::new(Cell::new(0));
            let paused = Rc::new(RefCell::new(Vec::new()));
            for context in [&server, &client] {
                context.on_open(|socket, _, _| send(socket));
                context.on_writable(send);
                let (done, paused) = (done.clone(), paused.clone());
                context.on_data(move |socket, data| {
                    let mut flow = socket.ext_mut().expect("it is open");
                    let at = flow.received;
                    assert!(data.iter().enumerate().all(|(i, got)| *got == byte(at + i)), "garbage at {at}");
                    flow.received += data.len();
                    if flow.received == MUCH {
                        done.set(done.get() + 1);
                    }
                    // Now and then nothing is wanted for a moment.
                    if flow.received / 1_000_000 != at / 1_000_000 {
                        socket.pause();
                        paused.borrow_mut().push(socket.clone());
                    }
                });
                context.on_close(|socket, _, reason| panic!("{reason:?}: {:?}", socket.tls_error()));
            }
            let listener = server.listen(place.ours, 0, 0).expect("a listener");
            client.connect(place.ours, listener.port() as u16, None, 0).expect("a connection");
            until(&mut event_loop, || {
                paused.take().iter().for_each(Socket::resume);
                done.get() == 2
            });
            assert_eq!(event_loop.metrics().tls_handshakes, 2);
            for context in [&server, &client] {
                context.on_close(|_, _, _| {});
            }
        }
    });
}

pub fn handshakes_wait_for_their_turn(place: &Place) {
    /// So many handshakes are read in an iteration.
    const AT_ONCE: u64 = 5;
    const CLIENTS: u64 = 60;
    there(place, || {
        let mut event_loop = place.open(());
        let server = event_loop.create_socket_context::<true, ()>(place.good(&[place.ours])).expect("a server");
        let client = event_loop.create_socket_context::<true, ()>(place.trusts()).expect("a client");
        let listener = server.listen(place.ours, 0, 0).expect("a listener");
        // How many handshakes end in one iteration.
        let (most, before) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        event_loop.on_post({
            let most = most.clone();
            move |it| {
                let now = it.metrics().tls_handshakes;
                most.set(most.get().max(now - before.replace(now)));
            }
        });
        for _ in 0..CLIENTS {
            client.connect(place.ours, listener.port() as u16, None, 0).expect("a connection");
        }
        let alive = event_loop.handle();
        until(&mut event_loop, || {
            assert!(alive.is_valid());
            server.sockets() as u64 == CLIENTS && most.get() > 0
        });
        let start = Instant::now();
        while event_loop.metrics().tls_handshakes < 2 * CLIENTS {
            assert!(start.elapsed() < PATIENCE, "{}", event_loop.metrics().tls_handshakes);
            event_loop.step(Some(Duration::from_millis(50))).expect("a step");
        }
        assert!((1..=AT_ONCE).contains(&most.get()), "{} at once", most.get());
    });
}

pub fn a_connection_that_is_cut_off_ends(place: &Place) {
    // A client of the kernel's that sends half a hello, or nothing, and goes.
    std::thread::scope(|scope| {
        let (to_test, from_loop) = std::sync::mpsc::channel();
        let (closed, closes) = std::sync::mpsc::channel();
        scope.spawn(move || {
            place.enter();
            let mut event_loop = place.open(());
            let server: SocketContext<true, (), ()> =
                event_loop.create_socket_context(place.good(&[place.ours])).expect("a server");
            let count = Rc::new(Cell::new(0));
            server.on_close({
                let count = count.clone();
                move |socket, code, _| {
                    count.set(count.get() + 1);
                    let _ = closed.send((code, socket.tls_error()));
                }
            });
            server.on_end(|_| panic!("with TLS there is no half of a connection"));
            let listener = server.listen(place.ours, 0, 0).expect("a listener");
            to_test.send(listener.port() as u16).expect("the test waits");
            until(&mut event_loop, || count.get() == 3);
        });
        let port = from_loop.recv().expect("a port");
        for hello in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\x00\x04\xff\xff\xff\xff"] {
            let mut stream = std::net::TcpStream::connect((place.ours, port)).expect("a connection");
            stream.write_all(hello).expect("it is sent");
            stream.shutdown(std::net::Shutdown::Write).expect("it is ended");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let (code, error) = closes.recv_timeout(PATIENCE).expect("it is closed");
            let is_alert = answer.first() == Some(&21);
            assert_eq!(
                (code, error.is_some(), is_alert),
                (0, hello.len() == 9, hello.len() == 9),
                "{hello:?}: {error:?}"
            );
        }
    });
}
