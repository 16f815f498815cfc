//! Sockets that move to another context, children of contexts, and what becomes of user data.

use crate::world::{End, Log, Network, Pair, World, says};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// User data that notes how often it was dropped.
#[derive(Default)]
pub struct Mark {
    name: String,
    dropped: Option<Log>,
}

impl Mark {
    fn new(name: &str, log: &Log) -> Self {
        Self { name: name.into(), dropped: Some(log.clone()) }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(log) = &self.dropped {
            log.add(format!("drop {}", self.name));
        }
    }
}

pub fn a_socket_moves_with_its_data(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair_of::<(), String>();
    *from.ext_mut().unwrap() = "41".into();
    let next = End::<u32>::new(&world);
    let moved = next.context.adopt(&from, |text| text.parse::<u32>().unwrap() + 1).unwrap();
    assert_eq!(*moved.ext().unwrap(), 42);
    assert_eq!((server.context.sockets(), next.context.sockets()), (0, 1));
    assert!(!moved.is_closed() && moved.is_established());
    // No `on_open`; from now on everything is told there.
    next.says(&[]);
    to.write(b"hello", false);
    let log = next.log.clone();
    world.until("data", || log.len() == 1);
    next.says(&["data hello"]);
    // The old name is one of the same socket, but not of its new data.
    assert!(!from.is_closed() && from.ext().is_none() && from.ext_mut().is_none());
    assert_eq!(from.write(b"ans", false) + moved.write(b"wer", false), 6);
    let (log, bytes) = (client.log.clone(), Rc::new(Cell::new(0)));
    let count = bytes.clone();
    client.context.on_data(move |_, data| count.set(count.get() + data.len()));
    world.until("data", || bytes.get() == 6);
    moved.close(2);
    assert!(from.is_closed());
    next.says(&["data hello", "close 2"]);
    server.says(&[]);
    says(&log, &[]);
    to.close(0);
    world.end();
}

pub fn interest_and_shutdown_are_kept(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let next = End::<()>::new(&world);
    from.pause();
    from.shutdown();
    let moved = next.context.adopt(&from, |ext| ext).unwrap();
    assert!(moved.is_shut_down());
    assert_eq!(moved.write(b"x", false), 0);
    to.write(b"wait", false);
    world.idle();
    next.says(&[]);
    moved.resume();
    let log = next.log.clone();
    world.until("data", || log.len() == 1);
    client.says(&["end"]);
    to.close(0);
    world.end();
    next.says(&["data wait", "close 0"]);
    server.says(&[]);
}

pub fn it_may_move_in_its_callbacks(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let upgraded = End::<String>::new(&world);
    let (_listener, port) = world.listen(&server.context);
    let (next, log) = (upgraded.context.clone(), server.log.clone());
    server.context.on_data(move |socket, data| {
        log.add("upgrade");
        let name = String::from_utf8(data.to_vec()).unwrap();
        let moved = next.adopt(socket, |()| name).unwrap();
        moved.write(b"upgraded", false);
    });
    let socket = client.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    world.until("a connection", || client.opened() + server.opened() == 2);
    client.log.forget();
    socket.write(b"protocol", false);
    let log = client.log.clone();
    world.until("an answer", || log.len() == 1);
    socket.write(b"second", false);
    let log = upgraded.log.clone();
    world.until("data", || log.len() == 1);
    upgraded.says(&["data second"]);
    socket.close(0);
    world.until("the end", || log.len() == 2);
    upgraded.context.close();
    upgraded.says(&["data second", "end", "close 0"]);
    // In on_open and in on_end as well.
    let next = upgraded.context.clone();
    server.context.on_open(move |socket, _, _| drop(next.adopt(socket, |()| "opened".into()).unwrap()));
    upgraded.log.forget();
    let socket = client.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    world.until("adopted", || upgraded.context.sockets() == 1 && socket.is_established());
    socket.write(b"third", false);
    world.until("data", || log.len() == 1);
    upgraded.says(&["data third"]);
    let last = End::<()>::new(&world);
    let (next, moved) = (last.context.clone(), Rc::new(Cell::new(false)));
    let told = moved.clone();
    upgraded.context.on_end(move |socket| {
        assert_eq!(*socket.ext().unwrap(), "opened");
        next.adopt(socket, drop).unwrap().close(11);
        told.set(true);
    });
    socket.shutdown();
    world.until("moved", || moved.get());
    last.says(&["close 11"]);
    upgraded.says(&["data third"]);
}

pub fn what_is_closed_cannot_be_adopted(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, server, client: _client } = world.pair();
    let next = End::<()>::new(&world);
    from.close(0);
    assert!(next.context.adopt(&from, |ext| ext).is_err());
    // Nor in on_close.
    let (context, log, refused) = (next.context.clone(), server.log.clone(), Rc::new(Cell::new(false)));
    log.forget();
    let told = refused.clone();
    let second = world.pair();
    second.server.context.on_close(move |socket, _, _| told.set(context.adopt(socket, |ext| ext).is_err()));
    second.from.close(0);
    assert!(refused.get());
    to.close(0);
    second.to.close(0);
    world.end();
    assert_eq!(next.context.sockets(), 0);
    // Nor one of another loop.
    let mut other = World::new(&if network.is_kernel() { Network::kernel() } else { Network::memory() });
    let foreign = other.pair();
    assert!(next.context.adopt(&foreign.to, |ext| ext).is_err());
    assert!(!foreign.to.is_closed());
}

pub fn a_child_is_a_context_of_its_own(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let child = server.context.create_child::<u8>().unwrap();
    let log = Log::default();
    let to_log = log.clone();
    child.on_data(move |_, data| to_log.add(crate::world::shown(data)));
    let to_log = log.clone();
    child.on_close(move |_, code, _| to_log.add(format!("close {code}")));
    let moved = child.adopt(&from, |()| 7).unwrap();
    assert_eq!(*moved.ext().unwrap(), 7);
    to.write(b"to the child", false);
    world.until("data", || log.len() == 1);
    // The parent's end is not the child's.
    server.context.close();
    drop(server);
    assert!(!moved.is_closed() && child.is_valid());
    child.close();
    says(&log, &["data to the child", "close 0"]);
    to.close(0);
    world.end();
    drop(client);
}

pub fn user_data_is_dropped_once_at_the_end_of_the_iteration(network: &Network) {
    let mut world = World::new(network);
    let log = Log::default();
    let (client, server) = (End::<Mark>::new(&world), End::<Mark>::new(&world));
    let factory = log.clone();
    server.context.set_ext_factory(move || Mark::new("server", &factory));
    let (listener, port) = world.listen(&server.context);
    let mark = Mark::new("client", &log);
    let to = client.context.connect_with(world.ip(), port, None, 0, mark).unwrap().unwrap();
    world.until("a connection", || client.opened() + server.opened() == 2);
    let from = server.socket(0);
    let note = log.clone();
    server.context.on_data(move |socket, _| {
        socket.close(0);
        assert_eq!(socket.ext().unwrap().name, "server", "until the iteration ends");
        assert!(socket.ext_mut().is_some() && socket.try_ext().is_ok());
        note.add("closed");
    });
    let note = log.clone();
    world.event_loop.on_post(move |_| {
        if note.has("closed") && !note.has("post") {
            note.add("post");
        }
    });
    to.write(b"x", false);
    world.until("closed", || log.has("post"));
    says(&log, &["closed", "drop server", "post"]);
    assert!(from.ext().is_none() && from.try_ext().is_err() && !from.is_valid() && from.is_closed());
    // Closed outside an iteration: with the next.
    log.forget();
    to.close(0);
    assert!(to.ext().is_some());
    says(&log, &[]);
    listener.close();
    world.end();
    says(&log, &["drop client", "post"][..1]);
    // A connect that fails, one that is taken back.
    log.forget();
    client.context.connect_with(world.ip(), 1, None, 0, Mark::new("refused", &log)).unwrap();
    world.end();
    says(&log, &["drop refused"]);
    log.forget();
    let socket = client.context.connect_with(world.ip(), 1, None, 0, Mark::new("taken back", &log)).unwrap().unwrap();
    socket.close_connecting();
    world.end();
    says(&log, &["drop taken back"]);
    // One that cannot even begin.
    log.forget();
    let _ = client.context.connect_with("inner\0nul", 1, None, 0, Mark::new("nowhere", &log));
    says(&log, &["drop nowhere"]);
}

pub fn user_data_is_dropped_with_the_loop(network: &Network) {
    let log = Log::default();
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair_of::<Mark, Mark>();
    *to.ext_mut().unwrap() = Mark::new("client", &log);
    *from.ext_mut().unwrap() = Mark::new("server", &log);
    let next = world.context::<(Mark, u8)>();
    let moved = next.adopt(&from, |mark| (mark, 1)).unwrap();
    says(&log, &[]);
    drop(world);
    let mut all = log.all();
    all.sort();
    assert_eq!(all, ["drop client", "drop server"]);
    assert!(moved.is_closed() && moved.ext().is_none() && to.ext().is_none());
    drop((client, server, next));
    assert_eq!(log.len(), 2);
}

pub fn user_data_can_be_held_while_the_loop_is_used(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server: _server } = world.pair_of::<(), RefCell<Vec<u8>>>();
    {
        let mine = from.ext().unwrap();
        mine.borrow_mut().extend_from_slice(b"kept");
        assert_eq!(from.write(&mine.borrow(), false), 4);
        assert!(from.ext().is_some(), "two may look");
        // Closing and opening meanwhile is nobody's panic.
        to.close(0);
        from.close(0);
        client.context.connect(world.ip(), 1, None, 0).unwrap();
        assert_eq!(*mine.borrow(), b"kept");
        // Nor is an iteration that would drop it.
        world.idle();
        assert_eq!(*mine.borrow(), b"kept");
    }
    world.end();
    assert!(from.ext().is_none());
}
