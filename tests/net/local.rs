//! Connections over paths, and those that come from elsewhere or go there.

use crate::world::{PATIENCE, Side, World};
use nethuns_rs::net::{ListenerId, Readiness, SocketError, SocketOptions, State, TcpId};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A name that needs no file.
fn name() -> PathBuf {
    let name = format!("\0nethuns-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    OsString::from_vec(name.into_bytes()).into()
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("nethuns-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A connection over a path: the client's end and the server's. Nothing is left to tell.
fn connect(world: &mut World) -> (TcpId, TcpId) {
    let path = name();
    let listener = world.server.net.unix_listen(&path, 16).unwrap();
    let client = world.client.net.unix_connect(&path).unwrap();
    let server = accept(world, listener);
    world.until("connected", |world| world.client.told_of(client).contains(Readiness::CONNECTED));
    assert_eq!(world.client.told_of(client), Readiness::CONNECTED | Readiness::WRITABLE);
    world.server.net.tcp_unlisten(listener).unwrap();
    world.turn();
    world.forget();
    (client, server)
}

fn accept(world: &mut World, listener: ListenerId) -> TcpId {
    let mut accepted = None;
    world.until("accepted", |world| {
        accepted = world.server.net.tcp_accept(listener).ok();
        accepted.is_some()
    });
    accepted.unwrap()
}

fn told(side: &Side, id: TcpId, what: Readiness) -> bool {
    side.told_of(id).contains(what)
}

pub fn a_path_is_as_good_as_an_address(world: &mut World) {
    let (client, server) = connect(world);
    for (from, to) in [(true, b"over there"), (false, b"and back..")] {
        let World { client: one, server: other, .. } = &mut *world;
        let ((sender, sends), (receiver, receives)) =
            if from { ((one, client), (other, server)) } else { ((other, server), (one, client)) };
        assert_eq!(sender.net.tcp_send(sends, to), Ok(10));
        let start = Instant::now();
        while !told(receiver, receives, Readiness::READABLE) {
            assert!(start.elapsed() < PATIENCE);
            receiver.turn();
        }
        assert_eq!(receiver.net.tcp_readable(receives), Ok(10));
        let mut room = [0; 4];
        assert_eq!(receiver.net.tcp_peek(receives, &mut room), Ok(4));
        let data = receiver.piece(receives);
        let mut opened = receiver.reader.open(data);
        assert_eq!(*opened, to[..]);
        assert_eq!(opened.with_padding(32, 32).unwrap().0.len(), 74);
        drop(opened);
        assert_eq!(receiver.net.tcp_recv(receives).map(|_| ()), Err(SocketError::WouldBlock));
    }
    let net = &mut world.client.net;
    assert_eq!(net.tcp_peer_addr(client), Err(SocketError::InvalidAddress));
    assert_eq!(net.tcp_local_addr(client), Err(SocketError::InvalidAddress));
    assert_eq!(net.tcp_state(client), Ok(State::Established));
    assert_eq!(net.tcp_error(client), None);
    // Options of TCP are none of its.
    net.tcp_set_options(client, &SocketOptions { nodelay: true, ..Default::default() }).unwrap();
    assert_eq!(net.tcp_options(client), Ok(SocketOptions::default()));
    assert_eq!(net.tcp_send_more(client, b"more"), Ok(4));
    assert_eq!(net.tcp_flush(client), Ok(()));
    net.tcp_set_user(client, 7);
    assert_eq!(net.tcp_user(client), Some(7));
    assert!(net.tcp_fd(client).is_some());
}

pub fn over_a_path_a_slow_reader_loses_nothing(world: &mut World) {
    let (client, server) = connect(world);
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 253) as u8).collect();
    world.server.net.tcp_set_reading(server, false).unwrap();
    let mut sent = 0;
    while let Ok(n) = world.client.net.tcp_send(client, &bytes[sent..]) {
        sent += n;
        if sent == bytes.len() {
            break;
        }
    }
    assert!(sent > 0 && sent < bytes.len(), "the kernel keeps so much: {sent}");
    world.idle();
    assert_eq!(world.server.told_of(server), Readiness::NONE, "it does not read");
    assert_eq!(world.client.told_of(client), Readiness::NONE, "there is no room");
    world.server.net.tcp_set_reading(server, true).unwrap();
    let mut got = Vec::new();
    world.until("all of it", |world| {
        got.extend(world.server.read_all(server).0);
        if told(&world.client, client, Readiness::WRITABLE) {
            world.client.told.clear();
            while sent < bytes.len() {
                match world.client.net.tcp_send(client, &bytes[sent..]) {
                    Ok(n) => sent += n,
                    Err(_) => break,
                }
            }
        }
        got.len() == bytes.len()
    });
    assert!(got == bytes);
}

pub fn half_a_path_goes_on_and_its_end_is_an_end(world: &mut World) {
    let (client, server) = connect(world);
    world.client.net.tcp_send(client, b"the last").unwrap();
    world.client.net.tcp_shutdown(client, Shutdown::Write).unwrap();
    assert_eq!(world.client.net.tcp_send(client, b"x"), Err(SocketError::BrokenPipe));
    world.until("end", |world| told(&world.server, server, Readiness::PEER_CLOSED));
    assert_eq!(world.server.read_all(server), (b"the last".to_vec(), Ok(())));
    assert_eq!(world.server.net.tcp_state(server), Ok(State::CloseWait));
    assert_eq!(world.client.net.tcp_state(client), Ok(State::FinWait2));
    assert_eq!(world.server.net.tcp_send(server, b"answer"), Ok(6));
    world.server.net.tcp_close(server);
    world.until("closed", |world| told(&world.client, client, Readiness::CLOSED));
    assert_eq!(world.client.read_all(client), (b"answer".to_vec(), Ok(())));
    assert_eq!(world.client.net.tcp_error(client), None);
    assert_eq!(world.client.net.tcp_state(client), Ok(State::Closed));
    world.client.net.tcp_close(client);
    assert_eq!(world.client.net.tcp_state(client), Err(SocketError::Closed));
    // A peer that closes ends both directions; what it had sent is not lost.
    let (client, server) = connect(world);
    world.client.net.tcp_send(client, b"bye").unwrap();
    world.client.net.tcp_close(client);
    world.until("closed", |world| told(&world.server, server, Readiness::CLOSED));
    assert_eq!(world.server.read_all(server), (b"bye".to_vec(), Ok(())));
    assert_eq!(world.server.net.tcp_send(server, b"x"), Err(SocketError::BrokenPipe));
}

pub fn what_lies_at_a_path_matters(world: &mut World) {
    let folder = Folder::new();
    let path = folder.0.join("socket");
    let missing = SocketError::System(libc::ENOENT as u16);
    assert_eq!(world.client.net.unix_connect(&path), Err(missing));
    let first = world.server.net.unix_listen(&path, 16).unwrap();
    assert_eq!(world.server.net.tcp_listener_addr(first), Err(SocketError::InvalidAddress));
    world.server.net.tcp_unlisten(first).unwrap();
    // It stays, and nobody answers: told as of any connect.
    let client = world.client.net.unix_connect(&path).unwrap();
    world.until("refused", |world| told(&world.client, client, Readiness::CLOSED));
    assert_eq!(world.client.told_of(client), Readiness::CLOSED);
    assert_eq!(world.client.net.tcp_error(client), Some(SocketError::ConnectionRefused));
    // A socket is replaced, anything else is not.
    let again = world.server.net.unix_listen(&path, 16).unwrap();
    let client = world.client.net.unix_connect(&path).unwrap();
    accept(world, again);
    world.until("connected", |world| told(&world.client, client, Readiness::CONNECTED));
    let file = folder.0.join("file");
    std::fs::write(&file, "precious").unwrap();
    assert_eq!(world.server.net.unix_listen(&file, 16), Err(SocketError::AddrInUse));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    for wrong in [PathBuf::new(), folder.0.join("x".repeat(200))] {
        assert_eq!(world.server.net.unix_listen(&wrong, 16), Err(SocketError::InvalidAddress));
        assert_eq!(world.client.net.unix_connect(&wrong), Err(SocketError::InvalidAddress));
    }
    // A queue that is full refuses.
    let full = name();
    world.server.net.unix_listen(&full, 1).unwrap();
    let many: Vec<_> = (0..5).map(|_| world.client.net.unix_connect(&full).unwrap()).collect();
    let last = *many.last().unwrap();
    world.until("refused", |world| told(&world.client, last, Readiness::CLOSED));
    assert_eq!(world.client.net.tcp_error(last), Some(SocketError::ConnectionRefused));
    assert!(told(&world.client, many[0], Readiness::CONNECTED));
}

pub fn names_of_both_kinds_do_not_mix(world: &mut World) {
    let (client, server) = world.connect();
    let (other, peer) = connect(world);
    assert_ne!(client, other);
    world.client.net.tcp_set_user(client, 1);
    world.client.net.tcp_set_user(other, 2);
    assert_eq!((world.client.net.tcp_user(client), world.client.net.tcp_user(other)), (Some(1), Some(2)));
    world.client.net.tcp_send(client, b"one").unwrap();
    world.client.net.tcp_send(other, b"two").unwrap();
    world.until("both", |world| {
        told(&world.server, server, Readiness::READABLE) && told(&world.server, peer, Readiness::READABLE)
    });
    assert_eq!(world.server.read_all(server).0, b"one");
    assert_eq!(world.server.read_all(peer).0, b"two");
    world.client.net.tcp_close(other);
    assert_eq!(world.client.net.tcp_send(other, b"x"), Err(SocketError::Closed));
    assert_eq!(world.client.net.tcp_user(client), Some(1));
    world.until("closed", |world| told(&world.server, peer, Readiness::CLOSED));
    assert_eq!(world.server.net.tcp_state(server), Ok(State::Established));
    world.server.net.tcp_abort(peer);
    world.client.net.tcp_send(client, b"still there").unwrap();
    let mut got = Vec::new();
    world.until("data", |world| {
        got.extend(world.server.read_all(server).0);
        got == b"still there"
    });
}

pub fn a_receive_that_stops_early_is_not_the_last(world: &mut World) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let id = world.client.net.tcp_adopt(ours.into(), &SocketOptions::default()).unwrap();
    let theirs = socket2::Socket::from(OwnedFd::from(theirs));
    theirs.send(b"before").unwrap();
    if theirs.send_out_of_band(b"!").is_err() {
        println!("SKIPPED: this kernel has no out-of-band data over unix sockets (5.15, CONFIG_AF_UNIX_OOB)");
        return;
    }
    theirs.send(b"behind").unwrap();
    world.until("data", |world| told(&world.client, id, Readiness::READABLE));
    assert_eq!(world.client.read_all(id).0, b"beforebehind");
}

/// A connection of the kernel's, made without `net`.
fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (stream, listener.accept().unwrap().0)
}

pub fn a_connection_can_be_adopted(world: &mut World) {
    let options = SocketOptions { nodelay: true, ..Default::default() };
    let (mut theirs, ours) = streams();
    let (address, local) = (theirs.local_addr().unwrap(), ours.local_addr().unwrap());
    theirs.write_all(b"before").unwrap();
    let fd = ours.as_raw_fd();
    let id = world.client.net.tcp_adopt(ours.into(), &options).unwrap();
    assert_eq!(world.client.net.tcp_fd(id), Some(fd));
    assert_eq!(world.client.net.tcp_peer_addr(id), Ok(address));
    assert_eq!(world.client.net.tcp_local_addr(id), Ok(local));
    assert!(world.client.net.tcp_options(id).unwrap().nodelay);
    world.until("data", |world| told(&world.client, id, Readiness::READABLE));
    assert_eq!(world.client.told_of(id), Readiness::READABLE, "no CONNECTED");
    assert_eq!(world.client.read_all(id).0, b"before");
    assert_eq!(world.client.net.tcp_send(id, b"answer"), Ok(6));
    let mut room = [0; 6];
    theirs.read_exact(&mut room).unwrap();
    assert_eq!(&room, b"answer");
    drop(theirs);
    world.until("end", |world| told(&world.client, id, Readiness::PEER_CLOSED));
    world.client.net.tcp_close(id);
    // Over a path the same.
    let (mut theirs, ours) = UnixStream::pair().unwrap();
    let id = world.client.net.tcp_adopt(ours.into(), &options).unwrap();
    theirs.write_all(b"hello").unwrap();
    world.until("data", |world| told(&world.client, id, Readiness::READABLE));
    assert_eq!(world.client.read_all(id).0, b"hello");
    // One that is over already is told to be.
    let (theirs, ours) = streams();
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    std::thread::sleep(Duration::from_millis(20));
    let id = world.client.net.tcp_adopt(ours.into(), &options).unwrap();
    world.until("closed", |world| told(&world.client, id, Readiness::CLOSED));
    assert_eq!(world.client.net.tcp_error(id), Some(SocketError::ConnectionReset));
}

pub fn what_is_no_connection_is_not_adopted(world: &mut World) {
    let folder = Folder::new();
    let wrong: [OwnedFd; 3] = [
        TcpListener::bind("127.0.0.1:0").unwrap().into(),
        UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        UnixListener::bind(folder.0.join("socket")).unwrap().into(),
    ];
    for fd in wrong {
        assert_eq!(world.client.net.tcp_adopt(fd, &SocketOptions::default()), Err(SocketError::InvalidAddress));
    }
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let refused = world.client.net.tcp_adopt(file.into(), &SocketOptions::default());
    assert_eq!(refused, Err(SocketError::System(libc::ENOTSOCK as u16)));
    world.idle();
    assert_eq!(world.client.told, []);
}

pub fn a_connection_can_be_given_away(world: &mut World) {
    let (mut theirs, ours) = streams();
    let id = world.client.net.tcp_adopt(ours.into(), &SocketOptions::default()).unwrap();
    theirs.write_all(b"unread").unwrap();
    world.until("data", |world| told(&world.client, id, Readiness::READABLE));
    world.forget();
    let mut stream = TcpStream::from(world.client.net.tcp_into_fd(id).unwrap());
    assert_eq!(world.client.net.tcp_state(id), Err(SocketError::Closed));
    assert!(world.client.net.tcp_fd(id).is_none() && world.client.net.tcp_into_fd(id).is_none());
    let mut room = [0; 16];
    assert_eq!(stream.read(&mut room).unwrap(), 6);
    theirs.write_all(b"more").unwrap();
    world.idle();
    assert_eq!(world.client.told, [], "it is somebody else's");
    // And back again.
    let id = world.client.net.tcp_adopt(stream.into(), &SocketOptions::default()).unwrap();
    world.until("data", |world| told(&world.client, id, Readiness::READABLE));
    assert_eq!(world.client.read_all(id).0, b"more");
    // A connection of the network's own has a descriptor on the kernel, and stays where it is on the engine.
    let (client, server) = world.connect();
    let is_kernel = world.client.net.is_kernel();
    assert_eq!(world.client.net.tcp_fd(client).is_some(), is_kernel);
    let away = world.client.net.tcp_into_fd(client);
    assert_eq!(away.is_some(), is_kernel);
    let client = match away {
        Some(fd) => world.client.net.tcp_adopt(fd, &SocketOptions::default()).unwrap(),
        None => client,
    };
    world.client.net.tcp_send(client, b"still there").unwrap();
    let mut got = Vec::new();
    world.until("data", |world| {
        got.extend(world.server.read_all(server).0);
        got == b"still there"
    });
}
