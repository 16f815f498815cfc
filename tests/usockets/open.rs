//! How connections begin: listening, accepting, refusing, connecting.

use crate::world::{End, Log, Network, Sock, World};
use nethuns_rs::usockets::{LISTEN_EXCLUSIVE_PORT, ListenSocket, UsError};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

pub fn both_sides_are_told(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (listener, port) = world.listen(&server.context);
    let seen = Rc::new(RefCell::new(Vec::new()));
    for end in [&client, &server] {
        let (told, log) = (seen.clone(), end.log.clone());
        end.context.on_open(move |socket, is_client, ip| {
            assert!(socket.is_established() && !socket.is_closed() && !socket.is_shut_down());
            log.add("open");
            told.borrow_mut().push((is_client, ip.to_vec(), socket.clone()));
        });
    }
    let socket = client.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    assert!(!socket.is_established() && !socket.is_closed(), "on its way");
    assert_eq!(socket.write(b"too early", false), 0);
    client.says(&[]);
    world.until("two", || seen.borrow().len() == 2);
    for (is_client, ip, opened) in seen.borrow().iter() {
        let expected: IpAddr = world.ip().parse().unwrap();
        assert_eq!(opened.remote_address(), Some(expected));
        match (is_client, expected) {
            (true, _) => assert_eq!(ip, &[], "a client knows where it went"),
            (false, IpAddr::V4(from)) => assert_eq!(ip, &from.octets()),
            (false, IpAddr::V6(_)) => unreachable!(),
        }
    }
    let [to, from] = [true, false].map(|side| seen.borrow().iter().find(|(c, ..)| *c == side).unwrap().2.clone());
    assert_eq!((to.remote_port(), from.local_port()), (i32::from(port), i32::from(port)));
    assert_eq!(to.local_port(), from.remote_port());
    assert!(to.local_port() > 0);
    world.idle();
    client.says(&["open"]);
    server.says(&["open"]);
    assert_eq!((client.context.sockets(), server.context.sockets()), (1, 1));
    drop(listener);
    // Dropping the handle does not close the listener.
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.until("two more", || seen.borrow().len() == 4);
    server.context.close();
    assert_eq!(server.context.sockets(), 0);
}

pub fn a_listener_knows_its_address(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    let (listener, port) = world.listen(&end.context);
    assert_eq!(listener.local_addr(), Some(SocketAddr::new(world.ip().parse().unwrap(), port)));
    // Every address.
    let any = end.context.listen("", 0, 0).unwrap();
    let port = any.local_addr().unwrap().port();
    assert!(any.local_addr().unwrap().ip().is_unspecified());
    for ip in network.ips {
        let before = end.opened();
        end.context.connect(ip, port, None, 0).unwrap();
        world.until("a connection", || end.opened() == before + 2);
    }
    any.close();
    listener.close();
    end.log.forget();
    end.context.connect(world.ip(), port, None, 0).unwrap();
    let log = end.log.clone();
    world.until("a refusal", || log.len() > 0);
    end.says(&["connect error Some(ConnectionRefused)"]);
}

pub fn a_port_is_shared_or_exclusive(network: &Network) {
    let mut world = World::new(network);
    let (client, one, two) = (End::<()>::new(&world), End::<()>::new(&world), End::<()>::new(&world));
    let (first, port) = world.listen(&one.context);
    let refused = two.context.listen(world.ip(), port, LISTEN_EXCLUSIVE_PORT).unwrap_err();
    assert!(matches!(&refused, UsError::NetworkOperation { operation } if operation.contains("in use")), "{refused}");
    first.close();
    let exclusive = one.context.listen(world.ip(), port, LISTEN_EXCLUSIVE_PORT).unwrap();
    assert!(two.context.listen(world.ip(), port, 0).is_err());
    assert!(two.context.listen(world.ip(), port, LISTEN_EXCLUSIVE_PORT).is_err());
    exclusive.close();
    // Two share a port that was named.
    let both = [&one, &two].map(|end| end.context.listen(world.ip(), port, 0).unwrap());
    for n in 1..=60 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
        world.until("a connection", || client.opened() == n && one.opened() + two.opened() == n);
    }
    assert!(one.opened() > 0 && two.opened() > 0, "{} and {}", one.opened(), two.opened());
    both.iter().for_each(ListenSocket::close);
}

pub fn what_cannot_be_listened_on_is_said(network: &Network) {
    let world = World::new(network);
    let context = world.context::<()>();
    for host in ["198.51.100.7", "not an address", "nobody.invalid", "inner\0nul"] {
        let error = context.listen(host, 0, 0).map(|_| ()).unwrap_err();
        let fits = match host {
            "198.51.100.7" => matches!(&error, UsError::NetworkOperation { operation } if operation.contains(host)),
            _ => matches!(&error, UsError::NetworkOperation { .. } | UsError::InvalidHostString { .. }),
        };
        assert!(fits, "{host}: {error:?}");
    }
}

pub fn a_connect_that_fails_is_told_once(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    let codes = Rc::new(RefCell::new(Vec::new()));
    let (told, log) = (codes.clone(), end.log.clone());
    end.context.on_connect_error(move |socket, code| {
        assert!(!socket.is_closed() && !socket.is_established(), "not closed yet");
        assert_eq!(socket.write(b"x", false), 0);
        told.borrow_mut().push(code);
        log.add(format!("{:?}", socket.error().unwrap()));
    });
    let socket = end.context.connect(world.ip(), 1, None, 0).unwrap().unwrap();
    world.end();
    end.says(&["ConnectionRefused"]);
    assert_eq!(*codes.borrow(), [111], "errno of connection refused");
    assert!(socket.is_closed() && !socket.is_valid());
    assert_eq!(end.context.sockets(), 0);
    assert_eq!(world.event_loop.metrics().connect_errors, 1);
    // Closed in the callback: no on_close even so.
    end.context.on_connect_error(|socket, _| socket.close(3));
    end.log.forget();
    end.context.connect(world.ip(), 1, None, 0).unwrap();
    world.end();
    assert!(end.log.len() <= 1, "{:?}", end.log.all());
}

pub fn a_new_connect_may_follow_in_the_callback(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    let (_listener, port) = world.listen(&end.context);
    let (ip, log, tries) = (world.ip(), end.log.clone(), Rc::new(Cell::new(0)));
    let (again, count) = (end.context.clone(), tries.clone());
    end.context.on_connect_error(move |_, _| {
        log.add("refused");
        count.set(count.get() + 1);
        let port = if count.get() < 3 { 1 } else { port };
        again.connect(ip, port, None, 0).unwrap();
    });
    end.context.connect(ip, 1, None, 0).unwrap();
    world.until("a connection", || end.opened() == 2);
    assert_eq!(end.log.all().iter().filter(|line| *line == "refused").count(), 3);
    // The context keeps itself alive through its own callback; closed, it lets go.
    end.context.on_connect_error(|_, _| {});
    end.context.close();
    world.end();
}

pub fn a_connect_can_be_taken_back(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    let (_listener, port) = world.listen(&world.context::<()>());
    let socket = end.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    socket.close_connecting();
    assert!(socket.is_closed());
    socket.close_connecting();
    world.idle();
    end.says(&[]);
    assert_eq!(end.context.sockets(), 0);
    // By an ordinary close it is told.
    let socket = end.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    socket.close(7);
    world.idle();
    end.says(&["close 7"]);
}

pub fn a_source_can_be_chosen(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    let from: IpAddr = network.ips[1].parse().unwrap();
    client.context.connect(world.ip(), port, Some(network.ips[1]), 0).unwrap().unwrap();
    world.until("a connection", || client.opened() + server.opened() == 2);
    assert_eq!(server.socket(0).remote_address(), Some(from));
    // Upstream takes no notice of a source that it cannot have.
    for source in ["nobody.invalid", "10.0.0.1/24", "inner\0nul"] {
        let refused = client.context.connect(world.ip(), port, Some(source), 0);
        assert_eq!(refused.unwrap_err(), UsError::InvalidSourceHostString { host: source.into() });
    }
    client.log.forget();
    server.log.forget();
    client.context.connect(world.ip(), port, Some("198.51.100.7"), 0).unwrap().unwrap();
    let log = client.log.clone();
    world.until("refused", || log.len() == 1);
    client.says(&["connect error Some(AddrNotAvailable)"]);
    server.says(&[]);
}

pub fn user_data_can_be_given_to_a_connect(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<String>::new(&world), End::<u64>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    let next = Cell::new(40);
    server.context.set_ext_factory(move || {
        next.set(next.get() + 1);
        next.get()
    });
    client.context.connect_with(world.ip(), port, None, 0, "mine".to_owned()).unwrap().unwrap();
    client.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    world.until("connections", || client.opened() + server.opened() == 4);
    let mut texts = [0, 1].map(|n| client.socket(n).ext().unwrap().clone());
    texts.sort();
    assert_eq!(texts, ["", "mine"]);
    let mut numbers = [0, 1].map(|n| *server.socket(n).ext().unwrap());
    numbers.sort_unstable();
    assert_eq!(numbers, [41, 42]);
}

pub fn a_connection_can_be_refused_before_it_opens(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let told = asked.clone();
    server.context.on_pre_open(move |from| {
        told.borrow_mut().push(from);
        told.borrow().len() % 2 == 0
    });
    let log = client.log.clone();
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.until("a refusal", || log.len() == 2);
    assert_eq!(client.log.all()[0], "open client");
    assert!(client.log.has("end") || client.log.has("close 0 ConnectionReset"), "{:?}", client.log.all());
    world.idle();
    server.says(&[]);
    assert_eq!(server.context.sockets(), 0);
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.until("an opening", || server.opened() == 1);
    server.says(&["open server"]);
    let expected: IpAddr = world.ip().parse().unwrap();
    assert_eq!(asked.borrow().len(), 2);
    assert_eq!(asked.borrow()[1], SocketAddr::new(expected, u16::try_from(server.socket(0).remote_port()).unwrap()));
}

pub fn accepting_stops_when_the_listener_is_closed(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (listener, port) = world.listen(&server.context);
    let listener = Rc::new(RefCell::new(Some(listener)));
    let log = server.log.clone();
    server.context.on_open(move |_, _, _| {
        log.add("open");
        listener.borrow_mut().take().expect("one connection only").close();
    });
    for _ in 0..5 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
    }
    let log = client.log.clone();
    let opened_server = server.log.clone();
    world.until("an answer for each", || {
        opened_server.len() > 0 && log.all().iter().filter(|line| !line.starts_with("open")).count() >= 4
    });
    world.idle();
    server.says(&["open"]);
    assert_eq!(server.context.sockets(), 1);
}

pub fn everybody_is_accepted(network: &Network) {
    const MANY: usize = 200;
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    let sockets: Vec<Sock> =
        (0..MANY).map(|_| client.context.connect(world.ip(), port, None, 0).unwrap().unwrap()).collect();
    world.until("everybody", || client.opened() + server.opened() == 2 * MANY);
    assert!(sockets.iter().all(Sock::is_established));
    assert_eq!((client.context.sockets(), server.context.sockets()), (MANY, MANY));
    client.context.close();
    let log = server.log.clone();
    world.until("the end of everybody", || log.all().iter().filter(|line| *line == "end").count() == MANY);
}

pub fn a_socket_may_be_closed_when_it_opens(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (listener, port) = world.listen(&server.context);
    let note = |log: &Log| {
        let log = log.clone();
        move |socket: &mut Sock, _: bool, _: &[u8]| {
            log.add("open");
            socket.write(b"hello", false);
            socket.close(4);
            log.add("opened");
        }
    };
    server.context.on_open(note(&server.log));
    client.context.connect(world.ip(), port, None, 0).unwrap();
    let log = client.log.clone();
    world.until("the end", || log.has("end"));
    client.says(&["open client", "data hello", "end"]);
    server.says(&["open", "close 4", "opened"]);
    client.context.on_open(note(&client.log));
    client.log.forget();
    client.context.connect(world.ip(), port, None, 0).unwrap();
    world.until("both", || log.len() == 3);
    client.says(&["open", "close 4", "opened"]);
    listener.close();
}
