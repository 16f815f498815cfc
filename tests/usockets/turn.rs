//! Iterations of a loop: their order, what keeps a loop alive, and when it ends.

use crate::world::{End, Log, Network, Pair, World, says};
use nethuns_rs::usockets::{Loop, SocketContextOptions};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub fn an_iteration_has_its_order(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, server, client: _client, .. } = world.pair();
    let log = Log::default();
    let note = |what: &'static str| {
        let log = log.clone();
        move || log.add(what)
    };
    let (pre, post, data, timer_fired) = (note("pre"), note("post"), note("data"), note("timer"));
    world.event_loop.on_pre(move |_| pre());
    world.event_loop.on_post(move |_| post());
    server.context.on_data(move |_, _| data());
    server.context.on_close({
        let closed = note("close");
        move |_, _, _| closed()
    });
    let timer = world.event_loop.create_timer().unwrap();
    timer.set(1, 0, move |_| timer_fired()).unwrap();
    assert_eq!(to.write(b"x", false), 1);
    // Sent by this iteration or before; received by this one or the next.
    std::thread::sleep(Duration::from_millis(5));
    world.until("data", || log.has("data") && log.has("timer"));
    let all = log.all();
    let iterations: Vec<_> = all.split_inclusive(|line| line == "post").collect();
    for iteration in &iterations {
        assert_eq!(iteration.first().map(String::as_str), Some("pre"), "{all:?}");
        assert_eq!(iteration.last().map(String::as_str), Some("post"), "{all:?}");
        assert_eq!(iteration.iter().filter(|line| *line == "pre").count(), 1, "{all:?}");
    }
    // Deferred callbacks before timers, timers before events.
    let deferred = Arc::new(AtomicBool::new(false));
    let (ran, to_log) = (deferred.clone(), log.clone());
    timer
        .set(1, 0, move |_| {
            to_log.add(if ran.swap(false, Ordering::Relaxed) { "timer after deferred" } else { "timer" })
        })
        .unwrap();
    let mut all_three = 0;
    for _ in 0..20 {
        log.forget();
        let ran = deferred.clone();
        world.event_loop.as_mut().defer(move |_| ran.store(true, Ordering::Relaxed)).unwrap();
        timer.reset(1, 0).unwrap();
        to.write(b"x", false);
        std::thread::sleep(Duration::from_millis(3));
        world.turn();
        let all = log.all();
        assert!(!deferred.load(Ordering::Relaxed) && all.iter().any(|line| line == "timer after deferred"), "{all:?}");
        let place = |what: &str| all.iter().position(|line| line == what);
        if let (Some(timer), Some(data)) = (place("timer after deferred"), place("data")) {
            assert!(timer < data, "{all:?}");
            all_three += 1;
        }
    }
    assert!(all_three > 0, "never all three in one iteration");
}

pub fn nothing_to_do_is_the_end(network: &Network) {
    let calls = Rc::new(Cell::new(0));
    let event_loop = network.open(());
    let (before, after) = (calls.clone(), calls.clone());
    event_loop.on_pre(move |_| before.set(before.get() + 1));
    event_loop.on_post(move |_| after.set(after.get() + 1));
    let start = Instant::now();
    event_loop.run().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(calls.get(), 0, "without anything to wait for there is no iteration");
    network.open(()).run_simple().unwrap();
    // Contexts and their callbacks keep nothing alive.
    let event_loop = network.open(());
    let _context = event_loop.create_socket_context::<false, ()>(SocketContextOptions::default()).unwrap();
    event_loop.run().unwrap();
}

pub fn what_keeps_a_loop_alive(network: &Network) {
    let mut world = World::new(network);
    assert!(!world.turn(), "nothing");
    // A timer that has not been closed, even one that is not set or has fired.
    let timer = world.event_loop.create_timer().unwrap();
    assert!(world.turn());
    let fired = Rc::new(Cell::new(false));
    let told = fired.clone();
    timer.set(1, 0, move |_| told.set(true)).unwrap();
    world.until("the timer", || fired.get());
    assert!(world.turn(), "until it is closed");
    timer.close().unwrap();
    world.end();
    // A listener.
    let end = End::<()>::new(&world);
    let (listener, port) = world.listen(&end.context);
    world.idle();
    assert!(world.turn());
    // A connection, that is, both of its ends.
    let socket = end.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    world.until("a connection", || end.opened() == 2);
    listener.close();
    world.idle();
    assert!(world.turn(), "connections");
    socket.close(0);
    let log = end.log.clone();
    world.until("the end of the stream", || log.has("end"));
    world.idle();
    assert!(world.turn(), "half a connection is a connection");
    (0..2).for_each(|n| end.socket(n).close(0));
    world.end();
    // A connection that is on its way.
    let _on_its_way = end.context.connect(world.ip(), 1, None, 0).unwrap().unwrap();
    end.log.forget();
    world.end();
    says(&end.log, &["connect error Some(ConnectionRefused)"]);
}

pub fn a_loop_can_be_stepped_after_its_end(network: &Network) {
    let mut world = World::new(network);
    for _ in 0..3 {
        assert!(!world.turn());
        let Pair { to, from, client, server } = world.pair();
        to.close(1);
        from.close(2);
        world.end();
        client.says(&["close 1"]);
        server.says(&["close 2"]);
    }
}

pub fn iterations_are_counted(network: &Network) {
    let mut world = World::new(network);
    let _timer = world.event_loop.create_timer().unwrap();
    let seen = Rc::new(Cell::new((0, 0)));
    let (pre, post) = (seen.clone(), seen.clone());
    world.event_loop.on_pre(move |me| pre.set((me.iteration_number(), pre.get().1)));
    world.event_loop.on_post(move |me| post.set((post.get().0, me.iteration_number())));
    let first = world.event_loop.iteration_number();
    for n in 1..=5 {
        world.turn();
        assert_eq!(world.event_loop.iteration_number(), first + n);
        assert_eq!(seen.get(), (first + n, first + n), "counted when it begins");
    }
}

pub fn the_loop_has_user_data(network: &Network) {
    let event_loop: Loop<String> = network.open("kept".to_owned());
    assert_eq!(*event_loop.as_mut().ext().unwrap(), "kept");
    event_loop.as_mut().ext_mut().unwrap().push_str(" with it");
    let handle = event_loop.handle();
    handle
        .defer(|event_loop| {
            assert_eq!(*event_loop.ext().unwrap(), "kept with it");
            let timer = event_loop.create_timer::<u32>().unwrap();
            timer.set(1, 0, |timer| timer.close().unwrap()).unwrap();
            timer.detach();
            event_loop.ext_mut().unwrap().push('!');
        })
        .unwrap();
    let context = event_loop.create_socket_context::<false, ()>(SocketContextOptions::default()).unwrap();
    assert_eq!(*context.loop_mut().ext().unwrap(), "kept with it");
    event_loop.run().unwrap();
    assert!(context.loop_mut().ext().is_none(), "the loop is gone");
}

pub fn numbers_are_told(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, server, client: _client } = world.pair();
    let before = world.event_loop.metrics();
    assert_eq!((before.accepted, before.connected, before.connect_errors), (1, 1, 0));
    assert_eq!(before.sockets_open, 2);
    to.write(&[7; 1000], false);
    let log = server.log.clone();
    world.until("data", || log.len() > 0);
    to.close(0);
    from.close(0);
    world.end();
    let after = world.event_loop.metrics();
    assert_eq!((after.bytes_in - before.bytes_in, after.bytes_out - before.bytes_out), (1000, 1000));
    assert_eq!((after.closed, after.sockets_open), (2, 0));
    assert!(after.iterations > before.iterations && after.callbacks > before.callbacks);
    assert!(after.busy.count() > 0 && after.waiting.count() > 0);
    assert!(after.busy.quantile(0.5) <= after.busy.quantile(0.99));
    let text = after.to_string();
    assert!(text.contains("1000") && text.contains("accepted"), "{text}");
}
