//! Names that outlive what they name, callbacks that meet themselves, and drops in every order.

use crate::world::{End, Log, Network, Pair, Sock, World};
use nethuns_rs::usockets::{Loop, SocketContextOptions, UsError};
use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

pub fn a_closed_socket_does_nothing(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair_of::<String, String>();
    to.close(0);
    from.close(0);
    world.end();
    // Its place is taken by another.
    let again = world.pair();
    for socket in [&to, &from] {
        assert!(socket.is_closed() && !socket.is_valid() && !socket.is_established());
        assert_eq!((socket.write(b"x", false), socket.write2(b"x", b"y")), (0, 0));
        socket.flush();
        socket.shutdown();
        socket.shutdown_read();
        socket.pause();
        socket.resume();
        socket.set_timeout(1);
        socket.set_long_timeout(1);
        socket.close(1);
        socket.close_connecting();
        assert!(socket.ext().is_none() && socket.ext_mut().is_none());
        assert!(matches!(socket.try_ext(), Err(UsError::SocketExtNull)));
        assert_eq!((socket.local_port(), socket.remote_port(), socket.remote_address()), (-1, -1, None));
        assert_eq!(socket.error(), None);
    }
    let log = again.server.log.clone();
    again.to.write(b"undisturbed", false);
    world.until("data", || log.len() == 1);
    again.server.says(&["data undisturbed"]);
    drop((client, server));
}

pub fn what_outlives_the_loop_is_harmless(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let (listener, _) = world.listen(&server.context);
    let timer = world.event_loop.create_timer().unwrap();
    let handle = world.event_loop.handle();
    drop(world);
    for socket in [&to, &from] {
        assert!(socket.is_closed() && !socket.is_valid());
        assert_eq!(socket.write(b"x", false), 0);
        socket.shutdown();
        socket.close(0);
    }
    let context = &client.context;
    assert!(!context.is_valid() && context.loop_mut().ext().is_none());
    assert_eq!(context.sockets(), 0);
    assert!(context.listen("", 0, 0).is_err());
    assert!(context.connect("127.0.0.1", 1, None, 0).is_err());
    assert!(context.adopt(&from, |ext| ext).is_err());
    assert!(context.create_child::<()>().is_err());
    context.close();
    context.on_data(|_, _| {});
    assert_eq!((listener.port(), listener.local_addr()), (-1, None));
    listener.close();
    assert!(!timer.is_valid());
    assert!(matches!(timer.set(1, 0, |_| {}), Err(UsError::TimerLoopNull)));
    assert!(matches!(timer.reset(1, 0), Err(UsError::TimerLoopNull)));
    assert!(timer.close().is_err());
    assert!(matches!(handle.defer(|_| ()), Err(UsError::LoopNotRunning)));
}

/// All orders of so many things (Heap's algorithm).
fn orders(n: usize) -> Vec<Vec<usize>> {
    fn go(k: usize, items: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if k <= 1 {
            return all.push(items.clone());
        }
        for i in 0..k {
            go(k - 1, items, all);
            items.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
        }
    }
    let mut all = Vec::new();
    go(n, &mut (0..n).collect(), &mut all);
    all
}

pub fn things_are_dropped_in_every_order(network: &Network) {
    let all = orders(5);
    assert_eq!(all.len(), 120);
    for order in all {
        let mut world = World::new(network);
        let Pair { to, from, client, server } = world.pair();
        let (client_log, server_log) = (client.log.clone(), server.log.clone());
        let timer = world.event_loop.create_timer().unwrap();
        // Everything holds on to something of the others.
        let (context, socket) = (client.context.clone(), from.clone());
        timer.set(1000, 0, move |_| drop((context.clone(), socket.clone()))).unwrap();
        let socket = to.clone();
        server.context.on_writable(move |_| socket.close(1));
        let mut things: Vec<Option<Box<dyn Any>>> = vec![
            Some(Box::new(world.event_loop)),
            Some(Box::new(client)),
            Some(Box::new(server)),
            Some(Box::new((to, from))),
            Some(Box::new(timer)),
        ];
        for i in &order {
            drop(things[*i].take());
        }
        for log in [client_log, server_log] {
            let closes = log.all().iter().filter(|line| line.starts_with("close")).count();
            assert!(closes <= 1, "{order:?}: {:?}", log.all());
        }
    }
}

pub fn a_loop_may_be_dropped_with_all_it_has(network: &Network) {
    let log = Log::default();
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (listener, port) = world.listen(&server.context);
    for _ in 0..10 {
        client.context.connect(world.ip(), port, None, 0).unwrap();
    }
    world.until("connections", || client.opened() + server.opened() == 20);
    // Contexts that hold themselves alive through their callbacks, and one another.
    let (one, two, note) = (client.context.clone(), server.context.clone(), log.clone());
    client.context.on_close(move |_, _, _| {
        note.add("close");
        drop((one.clone(), two.clone()));
    });
    let (one, two) = (client.context.clone(), server.context.clone());
    server.context.on_data(move |_, _| drop((one.clone(), two.clone())));
    client.socket(0).write(b"never read", false);
    client.context.connect(world.ip(), port, None, 0).unwrap();
    drop(listener);
    drop(world);
    assert!(!client.context.is_valid());
    let weak = Rc::new(());
    let inside = weak.clone();
    server.context.on_end(move |_| drop(inside.clone()));
    drop((client, server));
    assert_eq!(Rc::strong_count(&weak), 1, "callbacks are dropped");
}

pub fn a_callback_may_be_replaced_in_itself(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, server, client: _client, .. } = world.pair();
    let (context, log) = (server.context.clone(), server.log.clone());
    server.context.on_data(move |_, _| {
        log.add("first");
        let log = log.clone();
        context.on_data(move |_, _| log.add("second"));
    });
    let log = server.log.clone();
    to.write(b"x", false);
    world.until("data", || log.len() == 1);
    to.write(b"x", false);
    world.until("data", || log.len() == 2);
    server.says(&["first", "second"]);
}

pub fn a_context_without_callbacks_works(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (world.context::<()>(), world.context::<()>());
    let (listener, port) = world.listen(&server);
    let sockets: Vec<Sock> = (0..3).map(|_| client.connect(world.ip(), port, None, 0).unwrap().unwrap()).collect();
    world.until("connections", || sockets.iter().all(Sock::is_established) && server.sockets() == 3);
    sockets[0].write(b"nobody cares", false);
    sockets[0].set_timeout(1);
    sockets[1].shutdown();
    sockets[2].close(0);
    client.connect(world.ip(), 1, None, 0).unwrap();
    world.idle();
    world.idle();
    assert_eq!((client.sockets(), server.sockets()), (2, 3), "the end of a stream closes nothing");
    listener.close();
    server.close();
    client.close();
    world.end();
}

pub fn objects_can_be_made_in_callbacks(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, server, client: _client, .. } = world.pair();
    let (ip, log, context) = (world.ip(), server.log.clone(), server.context.clone());
    let made = Rc::new(RefCell::new(Vec::<Box<dyn Any>>::new()));
    let keep = made.clone();
    server.context.on_data(move |socket, _| {
        let event_loop = context.loop_mut();
        let other = event_loop.create_socket_context::<false, u8>(SocketContextOptions::default()).unwrap();
        let listener = other.listen(ip, 0, 0).unwrap();
        let port = u16::try_from(listener.port()).unwrap();
        let note = log.clone();
        other.on_open(move |socket, is_client, _| {
            note.add(format!("open {is_client}"));
            socket.close(0);
        });
        other.connect(ip, port, None, 0).unwrap();
        let timer = event_loop.create_timer::<()>().unwrap();
        let note = log.clone();
        timer.set(1, 0, move |_| note.add("timer")).unwrap();
        keep.borrow_mut().push(Box::new((other, listener, timer)));
        log.add("made");
        socket.close(0);
    });
    to.write(b"x", false);
    let log = server.log.clone();
    world.until("all of it", || log.has("timer") && log.has("open true"));
    assert_eq!(log.all()[..2], ["made", "close 0"]);
    made.borrow_mut().clear();
    to.close(0);
    world.end();
}

pub fn two_loops_in_a_thread_are_two(network: &Network) {
    let other = if network.is_kernel() { Network::kernel() } else { Network::memory() };
    let (mut one, mut two) = (World::new(network), World::new(&other));
    let (first, second) = (one.pair(), two.pair());
    first.to.write(b"one", false);
    second.to.write(b"two", false);
    one.until("data", || first.server.log.len() == 1);
    first.server.says(&["data one"]);
    second.server.says(&[]);
    two.until("data", || second.server.log.len() == 1);
    second.server.says(&["data two"]);
    // A callback of one may use the other.
    let socket = second.to.clone();
    first.server.context.on_data(move |_, data| assert_eq!(socket.write(data, false), data.len()));
    first.to.write(b"across", false);
    one.idle();
    two.until("data", || second.server.log.len() == 2);
    second.server.says(&["data two", "data across"]);
}

pub fn a_panic_in_a_callback_leaves_nothing_behind(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    server.context.on_data(|_, _| panic!("on purpose"));
    to.write(b"x", false);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        (0..1000).for_each(|_| drop(world.event_loop.step(Some(Duration::from_millis(1)))));
    }));
    assert!(panicked.is_err());
    // The loop can be used on, or dropped: nothing is poisoned.
    to.close(0);
    from.close(0);
    world.end();
    drop((client, server));
}

pub fn types_are_what_they_are_said_to_be(network: &Network) {
    fn sent<T: Send>() {}
    fn shared<T: Sync + Clone>() {}
    sent::<nethuns_rs::usockets::LoopHandle<Rc<()>>>();
    shared::<nethuns_rs::usockets::LoopHandle<Rc<()>>>();
    let event_loop: Loop<Rc<()>> = network.open(Rc::new(()));
    let handle = event_loop.handle();
    assert!(std::thread::spawn(move || handle.is_valid()).join().unwrap());
}
