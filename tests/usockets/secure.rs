//! TLS where it is not over TCP of the loop's own making, room around what it has decrypted, and what it owes at the end.
#![allow(unsafe_code)]

use crate::certs::{Authority, Folder};
use crate::world::{Network, World};
use nethuns_rs::usockets::{PreOpen, Socket, SocketContext, SocketContextOptions};
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

type Context = SocketContext<true, (), ()>;
type Sock = Socket<true, ()>;

/// Each test once per network.
macro_rules! on_every_network {
    ($($test:ident)+) => {
        mod kernel {
            $(
                #[test]
                fn $test() {
                    super::$test(&crate::world::Network::kernel());
                }
            )+
        }

        mod memory {
            $(
                #[test]
                fn $test() {
                    super::$test(&crate::world::Network::memory());
                }
            )+
        }
    };
}

on_every_network! {
    over_a_path_and_with_room_around
    a_connection_from_elsewhere_speaks_tls_too
    a_loop_drains_what_was_encrypted
}

fn name(what: &str, network: &Network) -> PathBuf {
    let name = format!("\0usockets-tests-tls-{}-{what}-{}", std::process::id(), network.is_kernel());
    OsString::from_vec(name.into_bytes()).into()
}

/// Options of a server, and of a client that trusts it.
fn options(folder: &Folder) -> [SocketContextOptions; 2] {
    let authority = Authority::new("here");
    let leaf = authority.issue(&["localhost", "127.0.0.3", "10.0.0.3"], |_| {});
    let server = SocketContextOptions {
        key_file_name: Some(folder.file("key.pem", leaf.key)),
        cert_file_name: Some(folder.file("cert.pem", leaf.cert)),
        ..Default::default()
    };
    let client =
        SocketContextOptions { ca_file_name: Some(folder.file("ca.pem", authority.pem())), ..Default::default() };
    [server, client]
}

fn byte(at: usize) -> u8 {
    (at % 247) as u8
}

/// Keeps writing `len` bytes, then does something.
fn stream(context: &Context, len: usize, then: impl Fn(&mut Sock) + 'static) {
    let bytes: Vec<u8> = (0..len).map(byte).collect();
    let sent = Cell::new(0);
    context.on_writable(move |socket| {
        while sent.get() < bytes.len() {
            let end = (sent.get() + 70_001).min(bytes.len());
            let written = socket.write(&bytes[sent.get()..end], false);
            sent.set(sent.get() + written);
            if sent.get() < end {
                return;
            }
        }
        then(socket);
    });
    // Nothing can be written before the handshake: that is told as a write that was cut short.
    context.on_open(|socket, _, _| {
        assert_eq!(socket.write(b"x", false), 0);
    });
}

/// Insists on the bytes of `stream`, and says how many have come.
fn count(context: &Context) -> Rc<Cell<usize>> {
    count_and(context, |_| {})
}

/// The same, and does something with the socket each time.
fn count_and(context: &Context, mut then: impl FnMut(&mut Sock) + 'static) -> Rc<Cell<usize>> {
    let got = Rc::new(Cell::new(0));
    let to = got.clone();
    context.on_received(move |socket, received| {
        then(socket);
        let (all, at) = received.with_padding(32, 32);
        assert_eq!((at.start, all.len() - at.end), (32, 32));
        all[..32].fill(0xaa);
        all[at.end..].fill(0xbb);
        assert!(all[at].iter().enumerate().all(|(n, it)| *it == byte(to.get() + n)));
        to.set(to.get() + received.len());
    });
    got
}

fn over_a_path_and_with_room_around(network: &Network) {
    let folder = Folder::new();
    let [server, client] = options(&folder);
    let mut world = World::new(network);
    let server: Context = world.event_loop.create_socket_context(server).unwrap();
    let client: Context = world.event_loop.create_socket_context(client).unwrap();
    let path = name("path", network);
    let listener = server.listen_unix(&path, 0).unwrap();
    let got = count(&server);
    stream(&client, 1_000_000, |socket| socket.close(0));
    let closes = Rc::new(RefCell::new(Vec::new()));
    let to = closes.clone();
    server.on_close(move |socket, _, reason| to.borrow_mut().push((reason, socket.tls_error())));
    client.connect_unix(&path, 0).unwrap();
    world.until("all of it", || got.get() == 1_000_000);
    world.until("the end", || closes.borrow().len() == 1);
    assert_eq!(*closes.borrow(), [(None, None)]);
    listener.close();
    world.end();
    let start = Instant::now();
    drop(world);
    assert!(start.elapsed() < Duration::from_secs(20), "nobody waits for a peer that has gone");
}

fn a_connection_from_elsewhere_speaks_tls_too(network: &Network) {
    let folder = Folder::new();
    let [server, client] = options(&folder);
    let mut world = World::new(network);
    let front: Context = world.event_loop.create_socket_context(server.clone()).unwrap();
    let server: Context = world.event_loop.create_socket_context(server).unwrap();
    let client: Context = world.event_loop.create_socket_context(client).unwrap();
    let adopts = server.clone();
    front.on_pre_open_fd(move |fd, _| {
        // SAFETY: the answer makes it ours, and nobody else closes it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        adopts.adopt_fd(fd, (), &[]).unwrap();
        PreOpen::Export
    });
    let path = name("elsewhere", network);
    let listener = front.listen_unix(&path, 0).unwrap();
    let got = count(&server);
    stream(&client, 100_000, |socket| socket.close(0));
    client.connect_unix(&path, 0).unwrap();
    world.until("all of it", || got.get() == 100_000);
    assert_eq!(front.sockets(), 0);
    listener.close();
    world.end();
}

fn a_loop_drains_what_was_encrypted(network: &Network) {
    let folder = Folder::new();
    let [server, client] = options(&folder);
    let (one, other) = (network.clone(), network.turned());
    let (port, ports) = std::sync::mpsc::channel();
    let (closed, go_on) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut world = World::new(&other);
        let server: Context = world.event_loop.create_socket_context(server).unwrap();
        let listener = server.listen(world.ip(), 0, 0).unwrap();
        port.send(u16::try_from(listener.port()).unwrap()).unwrap();
        // It reads on when the other side has closed, whose memory is full then.
        let paused: Rc<RefCell<Option<Sock>>> = Rc::default();
        let keep = paused.clone();
        let got = count_and(&server, move |socket| {
            if keep.borrow().is_none() {
                socket.pause();
                keep.replace(Some(socket.clone()));
            }
        });
        let ended = Rc::new(Cell::new(false));
        let to = ended.clone();
        server.on_close(move |_, _, _| to.set(true));
        world.until("data", || paused.borrow().is_some());
        world.until("the other side has closed", || go_on.try_recv().is_ok());
        paused.borrow().as_ref().unwrap().resume();
        world.until("the end", || ended.get());
        listener.close();
        world.end();
        got.get()
    });
    let mut world = World::new(&one);
    let client: Context = world.event_loop.create_socket_context(client).unwrap();
    let written = Rc::new(Cell::new(0));
    let to = written.clone();
    // Until no more is taken, ciphertext that the network does not take included.
    client.on_writable(move |socket| {
        loop {
            let piece: Vec<u8> = (to.get()..to.get() + 100_000).map(byte).collect();
            let n = socket.write(&piece, false);
            to.set(to.get() + n);
            if n < piece.len() {
                break socket.close(0);
            }
        }
    });
    client.on_open(|socket, _, _| {
        assert_eq!(socket.write(b"x", false), 0);
    });
    client.connect(one.other, ports.recv().unwrap(), None, 0).unwrap();
    world.until("closed", || written.get() > 0 && client.sockets() == 0);
    closed.send(()).unwrap();
    world.end();
    assert!(world.event_loop.drain(Duration::from_secs(30)).unwrap());
    // The other side closes too.
    while !reader.is_finished() {
        world.turn();
    }
    assert_eq!(reader.join().unwrap(), written.get());
}
