//! Callbacks that take away what they stand on.

use crate::world::{Context, End, Log, Network, Sock, World, says};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A context that a callback can drop: its last clone.
type Last = Rc<RefCell<Option<Context>>>;

fn last(world: &World) -> (Last, Context) {
    let context = world.context::<()>();
    (Rc::new(RefCell::new(Some(context.clone()))), context)
}

fn gone(last: &Last) {
    drop(last.borrow_mut().take());
}

/// A server's context that is dropped in each callback of itself.
pub fn a_context_may_be_dropped_in_its_own_callback(network: &Network) {
    for which in ["pre_open", "open", "data", "end", "close", "timeout"] {
        let mut world = World::new(network);
        let client = End::<()>::new(&world);
        let (kept, context) = last(&world);
        let log = Log::default();
        let hit = {
            let (kept, log) = (kept.clone(), log.clone());
            move |here: &str| {
                if here == which {
                    log.add(here);
                    gone(&kept);
                    log.add("gone");
                }
            }
        };
        let at = hit.clone();
        context.on_pre_open(move |_| {
            at("pre_open");
            true
        });
        let at = hit.clone();
        context.on_open(move |socket, _, _| {
            socket.set_timeout(1);
            at("open");
        });
        let at = hit.clone();
        context.on_data(move |_, _| at("data"));
        let at = hit.clone();
        context.on_end(move |socket| {
            at("end");
            socket.close(0);
        });
        let at = hit.clone();
        context.on_timeout(move |_| at("timeout"));
        let to = log.clone();
        context.on_close(move |_, _, _| {
            to.add("close");
            hit("close");
        });
        let (_, port) = world.listen(&context);
        // Two connections: what is left of the other must not be told to a context that is gone.
        for _ in 0..2 {
            client.context.connect(world.ip(), port, None, 0).unwrap();
        }
        drop(context);
        world.until("connections", || client.opened() == 2);
        world.idle();
        for n in 0..2 {
            client.socket(n).write(b"data", false);
        }
        world.idle();
        world.event_loop.as_mut().sweep();
        for n in 0..2 {
            client.socket(n).shutdown();
        }
        let told = log.clone();
        world.until(which, || told.has("gone"));
        client.context.close();
        world.end();
        let all = log.all();
        let after = all.iter().skip_while(|line| *line != "gone").skip(1).filter(|line| *line != "close").count();
        assert_eq!(after, 0, "{which}: {all:?}");
        assert!(kept.borrow().is_none());
    }
}

pub fn a_client_may_drop_its_context(network: &Network) {
    for which in ["open", "connect error"] {
        let mut world = World::new(network);
        let server = End::<()>::new(&world);
        let (_, port) = world.listen(&server.context);
        let (kept, context) = last(&world);
        let log = Log::default();
        let (take, to) = (kept.clone(), log.clone());
        context.on_open(move |_, _, _| {
            to.add("open");
            gone(&take);
        });
        let (take, to) = (kept.clone(), log.clone());
        context.on_connect_error(move |_, _| {
            to.add("connect error");
            gone(&take);
        });
        let port = if which == "open" { port } else { 1 };
        let sockets: Vec<Sock> = (0..3).map(|_| context.connect(world.ip(), port, None, 0).unwrap().unwrap()).collect();
        drop(context);
        let told = log.clone();
        world.until("told", || told.len() > 0);
        server.context.close();
        world.end();
        says(&log, &[which]);
        assert!(sockets.iter().all(Sock::is_closed));
    }
}

pub fn a_listener_may_be_closed_before_its_connection_opens(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (listener, port) = world.listen(&server.context);
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    server.context.on_pre_open(move |_| {
        count.set(count.get() + 1);
        listener.close();
        listener.close();
        true
    });
    for _ in 0..3 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
    }
    world.until("one", || server.opened() == 1);
    world.idle();
    assert_eq!((asked.get(), server.opened()), (1, 1), "the one that was let in");
    server.context.close();
    client.context.close();
    world.end();
}

pub fn a_socket_may_move_before_it_is_connected(network: &Network) {
    let mut world = World::new(network);
    let (first, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let second = End::<&'static str>::new(&world);
    let (_listener, port) = world.listen(&server.context);
    let socket = first.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    let moved = second.context.adopt(&socket, |()| "moved").unwrap();
    let refused = first.context.connect(world.ip(), 1, None, 0).unwrap().unwrap();
    second.context.adopt(&refused, |()| "refused").unwrap();
    let unknown = first.context.connect("nobody.invalid", 1, None, 0).unwrap().unwrap();
    second.context.adopt(&unknown, |()| "unknown").unwrap();
    let log = second.log.clone();
    world.until("told", || log.len() == 3);
    first.says(&[]);
    let mut all = log.all();
    all.sort();
    assert!(all[0].starts_with("connect error") && all[1].starts_with("connect error"), "{all:?}");
    assert_eq!(all[2], "open client");
    assert!(moved.is_established() && *moved.ext().unwrap() == "moved");
    second.context.close();
    server.context.close();
    world.end();
}

pub fn a_conversion_may_close_what_it_converts(network: &Network) {
    let mut world = World::new(network);
    let pair = world.pair();
    let next = End::<u8>::new(&world);
    let socket = pair.to.clone();
    let moved = next.context.adopt(&pair.to, move |()| {
        socket.close(9);
        7
    });
    assert!(pair.to.is_closed() && moved.is_err() | moved.is_ok_and(|moved| moved.is_closed()));
    assert_eq!(pair.client.log.len() + next.log.len(), 1, "told once");
    assert_eq!((pair.client.context.sockets(), next.context.sockets()), (0, 0));
    pair.from.close(0);
    world.end();
}

pub fn timers_may_close_all_there_is(network: &Network) {
    let mut world = World::new(network);
    let pair = world.pair();
    let timers = Rc::new(RefCell::new(Vec::new()));
    let (all, contexts) = (timers.clone(), [pair.client.context.clone(), pair.server.context.clone()]);
    for _ in 0..5 {
        let (all, contexts) = (all.clone(), contexts.clone());
        let timer = world.event_loop.create_timer().unwrap();
        timer
            .set(1, 1, move |_| {
                contexts.iter().for_each(Context::close);
                let all = std::mem::take(&mut *all.borrow_mut());
                drop(all);
            })
            .unwrap();
        timers.borrow_mut().push(timer);
    }
    world.end();
    pair.client.says(&["close 0"]);
    pair.server.says(&["close 0"]);
}
