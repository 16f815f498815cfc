//! Sockets over paths, and connections that come from elsewhere or go there.
#![allow(unsafe_code)]

use crate::world::{Context, End, Log, Network, Sock, World, says};
use nethuns_rs::usockets::{PreOpen, Readiness, SocketError, UsError};
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A name that needs no file.
fn name() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("\0usockets-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    OsString::from_vec(name.into_bytes()).into()
}

pub fn a_path_is_as_good_as_an_address(network: &Network) {
    let mut world = World::new(network);
    let (server, client) = (End::<()>::new(&world), End::<String>::new(&world));
    let ips = Rc::new(RefCell::new(Vec::new()));
    let (to, log) = (ips.clone(), server.log.clone());
    let accepted: Rc<RefCell<Option<Sock>>> = Rc::default();
    let keep = accepted.clone();
    server.context.on_open(move |socket, is_client, ip| {
        log.add("open server");
        assert!(!is_client);
        to.borrow_mut().push(ip.to_vec());
        keep.replace(Some(socket.clone()));
    });
    // Who comes over a path has no address to be asked about.
    server.context.on_pre_open(|_| false);
    let path = name();
    let listener = server.context.listen_unix(&path, 0).unwrap();
    assert_eq!((listener.port(), listener.local_addr()), (-1, None));
    let socket = client.context.connect_unix_with(&path, 0, "mine".into()).unwrap().unwrap();
    client.says(&[]);
    world.until("a connection", || client.opened() == 1 && accepted.borrow().is_some());
    client.says(&["open client"]);
    assert_eq!(*socket.ext().unwrap(), "mine");
    assert_eq!(*ips.borrow(), [Vec::<u8>::new()]);
    assert_eq!((socket.local_port(), socket.remote_port(), socket.remote_address()), (-1, -1, None));
    assert!(socket.fd().is_some() && socket.is_established());
    let peer = accepted.borrow().clone().unwrap();
    assert_eq!(socket.write2(b"to the ", b"server"), 13);
    world.until("data", || server.log.has("data to the server"));
    assert_eq!(peer.write(b"to the client", true), 13);
    peer.flush();
    world.until("data", || client.log.has("data to the client"));
    // Half a connection goes on; the end of the second half is the end.
    socket.shutdown();
    world.until("end", || server.log.has("end"));
    assert_eq!(peer.write(b"after that", false), 10);
    world.until("data", || client.log.has("data after that"));
    peer.close(7);
    world.until("closed", || socket.is_closed());
    server.says(&["open server", "data to the server", "end", "close 7"]);
    client.says(&["open client", "data to the client", "data after that", "close 0"]);
    listener.close();
    world.end();
}

pub fn much_goes_over_a_path_and_the_reader_may_pause(network: &Network) {
    let mut world = World::new(network);
    let (server, client) = (world.context::<()>(), world.context::<()>());
    let path = name();
    let listener = server.listen_unix(&path, 0).unwrap();
    let (got, sum) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0u64)));
    let (count, add) = (got.clone(), sum.clone());
    server.on_data(move |_, data| {
        count.set(count.get() + data.len());
        add.set(data.iter().fold(add.get(), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte))));
    });
    let accepted: Rc<RefCell<Option<Sock>>> = Rc::default();
    let keep = accepted.clone();
    server.on_open(move |socket, _, _| {
        socket.pause();
        assert_eq!(socket.poll_events(), Readiness::NONE);
        keep.replace(Some(socket.clone()));
    });
    server.on_end(|socket| socket.close(0));
    let bytes: Rc<Vec<u8>> = Rc::new((0..3_000_000_u32).map(|n| (n % 249) as u8).collect());
    let expected = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let sent = Rc::new(Cell::new(0));
    let (from, at) = (bytes.clone(), sent.clone());
    let go_on = move |socket: &mut Sock| {
        at.set(at.get() + socket.write(&from[at.get()..], false));
        if at.get() == from.len() {
            socket.shutdown();
        }
    };
    let again = go_on.clone();
    client.on_open(move |socket, _, _| go_on(socket));
    client.on_writable(move |socket| again(socket));
    let socket = client.connect_unix(&path, 0).unwrap().unwrap();
    assert_eq!(socket.poll_events(), Readiness::WRITABLE, "it is being connected");
    world.until("a connection", || accepted.borrow().is_some());
    world.idle();
    assert!(got.get() == 0 && sent.get() > 0 && sent.get() < bytes.len(), "it waits");
    assert_eq!(socket.poll_events(), Readiness::READABLE | Readiness::WRITABLE);
    accepted.borrow().as_ref().unwrap().resume();
    world.until("all of it", || got.get() == bytes.len());
    assert_eq!(sum.get(), expected);
    listener.close();
    world.end();
}

pub fn a_path_without_anybody_is_a_connect_error(network: &Network) {
    let mut world = World::new(network);
    let client = End::<()>::new(&world);
    let codes = Rc::new(RefCell::new(Vec::new()));
    let (to, log) = (codes.clone(), client.log.clone());
    client.context.on_connect_error(move |socket, code| {
        log.add("connect error");
        to.borrow_mut().push((code, socket.error()));
    });
    client.context.connect_unix(name(), 0).unwrap();
    client.context.connect_unix("/nonexistent/socket", 0).unwrap();
    client.says(&[]);
    world.end();
    client.says(&["connect error", "connect error"]);
    let mut codes = codes.take();
    codes.sort_unstable_by_key(|code| code.0);
    assert_eq!(codes[0], (libc::ENOENT, Some(SocketError::System(libc::ENOENT as u16))));
    assert_eq!(codes[1], (libc::ECONNREFUSED, Some(SocketError::ConnectionRefused)));
    for wrong in [String::new(), "x".repeat(200)] {
        assert!(matches!(client.context.connect_unix(&wrong, 0), Err(UsError::InvalidHostString { .. })));
        assert!(matches!(client.context.listen_unix(&wrong, 0), Err(UsError::InvalidHostString { .. })));
    }
    let error = client.context.listen_unix("/nonexistent/socket", 0).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/socket"), "{error}");
    world.end();
}

/// A connection of the kernel's, made without us.
fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (stream, listener.accept().unwrap().0)
}

pub fn a_connection_from_elsewhere_can_be_adopted(network: &Network) {
    let mut world = World::new(network);
    let context: Context<String> = world.context();
    let log = Log::default();
    let [to, data, end, close] = [log.clone(), log.clone(), log.clone(), log.clone()];
    context.on_open(move |socket, is_client, ip| {
        to.add(format!("open {is_client} {ip:?} {}", socket.ext().unwrap()));
        if *socket.ext().unwrap() == "unwelcome" {
            socket.close(3);
        }
    });
    context.on_data(move |socket, bytes| {
        data.add(format!("data {}", String::from_utf8_lossy(bytes)));
        socket.write(b"answer", false);
    });
    context.on_end(move |socket| {
        end.add("end");
        socket.close(0);
    });
    context.on_close(move |_, code, _| close.add(format!("close {code}")));
    let (mut theirs, ours) = streams();
    theirs.write_all(b"early").unwrap();
    let port = theirs.local_addr().unwrap().port();
    let socket = context.adopt_fd(ours.into(), "given".into(), &[1, 2, 3, 4]).unwrap();
    says(&log, &["open false [1, 2, 3, 4] given"]);
    assert_eq!(socket.remote_port(), i32::from(port));
    world.until("data", || log.has("data early"));
    let mut room = [0; 6];
    theirs.read_exact(&mut room).unwrap();
    assert_eq!(&room, b"answer");
    drop(theirs);
    world.end();
    says(&log, &["open false [1, 2, 3, 4] given", "data early", "end", "close 0"]);
    log.forget();
    // One may be closed before it is given back.
    let (_theirs, ours) = UnixStream::pair().unwrap();
    let socket = context.adopt_fd(ours.into(), "unwelcome".into(), &[]).unwrap();
    assert!(socket.is_closed() && socket.fd().is_none());
    says(&log, &["open false [] unwelcome", "close 3"]);
    world.end();
    // What is no connection is refused.
    let listener: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
    let refused = context.adopt_fd(listener, String::new(), &[]);
    assert!(matches!(refused, Err(UsError::NetworkOperation { .. })));
    assert_eq!(context.sockets(), 0);
}

pub fn connections_can_be_handed_on_before_they_open(network: &Network) {
    let mut world = World::new(network);
    let (server, client) = (End::<()>::new(&world), End::<()>::new(&world));
    let other = End::<()>::new(&world);
    let answers = Rc::new(RefCell::new(vec![PreOpen::Export, PreOpen::Refuse, PreOpen::Keep]));
    let asked = Rc::new(RefCell::new(Vec::new()));
    let (to, next, elsewhere) = (asked.clone(), answers.clone(), other.context.clone());
    server.context.on_pre_open_fd(move |fd, peer| {
        let answer = next.borrow_mut().pop().unwrap();
        to.borrow_mut().push((fd, peer));
        if answer == PreOpen::Export {
            // At once, to a context of the same loop.
            // SAFETY: the answer makes it ours, and nobody else closes it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            elsewhere.adopt_fd(fd, (), &[9, 9, 9, 9]).unwrap();
        }
        answer
    });
    let path = name();
    let listener = server.context.listen_unix(&path, 0).unwrap();
    let connect = || client.context.connect_unix(&path, 0).unwrap().unwrap();
    connect();
    world.until("kept", || server.opened() == 1);
    connect();
    world.until("refused", || client.log.has("close 0"));
    assert_eq!((server.opened(), world.event_loop.metrics().refused), (1, 1));
    let third = connect();
    world.until("exported", || other.opened() == 1);
    world.until("connected", || client.opened() == 3);
    assert_eq!(asked.borrow().len(), 3);
    assert!(asked.borrow().iter().all(|(fd, peer)| *fd >= 0 && peer.is_none()));
    server.says(&["open server"]);
    assert_eq!(third.write(b"hello", false), 5);
    world.until("data", || other.log.has("data hello"));
    other.says(&["open server", "data hello"]);
    assert_eq!(client.socket(0).write(b"to the first", false), 12);
    world.until("data", || server.log.has("data to the first"));
    listener.close();
    client.context.close();
    world.until("closed", || server.context.sockets() + other.context.sockets() == 0);
    world.end();
}

pub fn a_connection_of_the_network_itself_may_be_handed_on_if_it_has_a_descriptor(network: &Network) {
    let mut world = World::new(network);
    let (server, client) = (End::<()>::new(&world), End::<()>::new(&world));
    let asked = Rc::new(RefCell::new(Vec::new()));
    let to = asked.clone();
    server.context.on_pre_open_fd(move |fd, peer| {
        to.borrow_mut().push((fd, peer.unwrap().ip().to_string()));
        if to.borrow().len() == 1 { PreOpen::Keep } else { PreOpen::Export }
    });
    let (listener, port) = world.listen(&server.context);
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.until("kept", || server.opened() == 1);
    assert_eq!(server.socket(0).fd().is_some(), network.is_kernel());
    assert_eq!(client.socket(0).write(b"hello", false), 5);
    world.until("data", || server.log.has("data hello"));
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.until("asked", || asked.borrow().len() == 2);
    let (fd, ip) = asked.borrow()[1].clone();
    assert_eq!(ip, world.ip());
    if network.is_kernel() {
        // SAFETY: it was exported to us, and nobody else closes it.
        let mut stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
        world.until("connected", || client.opened() == 2);
        stream.set_nonblocking(false).unwrap();
        assert_eq!(client.socket(1).write(b"exported", false), 8);
        let mut room = [0; 8];
        stream.read_exact(&mut room).unwrap();
        assert_eq!(&room, b"exported");
    } else {
        assert_eq!(fd, -1);
        world.until("refused", || client.log.has("close 0 ConnectionReset"));
        assert_eq!(world.event_loop.metrics().refused, 1);
    }
    assert_eq!(server.opened(), 1);
    // The plain callback takes its place again.
    server.context.on_pre_open(|_| true);
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.until("kept", || server.opened() == 2);
    listener.close();
    client.context.close();
    server.context.close();
    world.end();
}
