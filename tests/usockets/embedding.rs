//! What those need who build on loops: room around received bytes, user data by listener, wake-ups, sweeps when they like.

use crate::world::{Network, World};
use nethuns_rs::usockets::{LoopHandle, UsError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

pub fn there_is_room_around_what_is_received(network: &Network) {
    let mut world = World::new(network);
    let (server, client) = (world.context::<()>(), world.context::<()>());
    let got = Rc::new(RefCell::new(Vec::new()));
    let to = got.clone();
    server.on_received(move |_, received| {
        let before = received.to_vec();
        for (front, back) in [(32, 32), (0, 0), (13, 8), (255, 255)] {
            let (all, at) = received.with_padding(front, back);
            assert_eq!((at.start, all.len() - at.end), (usize::from(front), usize::from(back)));
            all[..at.start].fill(b'<');
            all[at.end..].fill(b'>');
            all[at].iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        }
        assert!(received.iter().eq(before.iter().map(|byte| byte.wrapping_add(4)).collect::<Vec<_>>().iter()));
        to.borrow_mut().extend(before);
    });
    let port = server.listen(world.ip(), 0, 0).unwrap().port();
    client.connect(world.ip(), u16::try_from(port).unwrap(), None, 0).unwrap();
    let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    // Pieces of every size: what is left over from one write goes with the next.
    let (mut at, mut size) = (0, 0);
    let rest = sent.clone();
    let mut go_on = move |socket: &mut nethuns_rs::usockets::Socket<false, ()>| {
        while at < rest.len() {
            size = size % 1700 + 1;
            let piece = &rest[at..(at + size).min(rest.len())];
            let written = socket.write(piece, false);
            at += written;
            if written < piece.len() {
                break;
            }
        }
    };
    let shared = Rc::new(RefCell::new(move |socket: &mut _| go_on(socket)));
    let first = shared.clone();
    client.on_open(move |socket, _, _| first.borrow_mut()(socket));
    client.on_writable(move |socket| shared.borrow_mut()(socket));
    let len = sent.len();
    world.until("all of it", || got.borrow().len() == len);
    assert!(*got.borrow() == sent, "nothing is lost or changed");
}

pub fn the_last_of_two_data_callbacks_counts(network: &Network) {
    let mut world = World::new(network);
    let (server, client) = (world.context::<()>(), world.context::<()>());
    let told = Rc::new(RefCell::new(Vec::new()));
    let [first, second] = [told.clone(), told.clone()];
    server.on_data(move |_, _| first.borrow_mut().push("data"));
    server.on_received(move |socket, _| {
        second.borrow_mut().push("received");
        socket.write(b"x", false);
    });
    let again = told.clone();
    let of = server.clone();
    client.on_data(move |socket, _| {
        let again = again.clone();
        of.on_data(move |_, _| again.borrow_mut().push("data again"));
        socket.write(b"x", false);
    });
    client.on_open(|socket, _, _| {
        socket.write(b"x", false);
    });
    let port = server.listen(world.ip(), 0, 0).unwrap().port();
    client.connect(world.ip(), u16::try_from(port).unwrap(), None, 0).unwrap();
    world.until("both", || told.borrow().len() == 2);
    assert_eq!(*told.borrow(), ["received", "data again"]);
}

pub fn a_listener_has_a_factory_of_its_own(network: &Network) {
    let mut world = World::new(network);
    let held = Rc::new(());
    let server = world.context::<String>();
    let client = world.context::<()>();
    let (plain, special) = (server.listen(world.ip(), 0, 0).unwrap(), server.listen(world.ip(), 0, 0).unwrap());
    let (holds, count) = (held.clone(), Cell::new(0));
    let factory = move || {
        let _ = &holds;
        count.set(count.get() + 1);
        format!("special {}", count.get())
    };
    server.set_ext_factory_for(&special, factory).unwrap();
    let other = world.context::<String>();
    assert_eq!(other.set_ext_factory_for(&special, String::new), Err(UsError::SocketContextExtNull));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let to = seen.clone();
    server.on_open(move |socket, _, _| to.borrow_mut().push(socket.ext().unwrap().clone()));
    for listener in [&special, &plain, &special] {
        let before = seen.borrow().len();
        client.connect(world.ip(), u16::try_from(listener.port()).unwrap(), None, 0).unwrap();
        world.until("open", || seen.borrow().len() > before);
    }
    assert_eq!(*seen.borrow(), ["special 1", "", "special 2"]);
    assert_eq!(Rc::strong_count(&held), 2);
    special.close();
    assert_eq!(Rc::strong_count(&held), 1, "the factory goes with its listener");
    assert_eq!(server.set_ext_factory_for(&special, String::new), Err(UsError::SocketContextExtNull));
    // And with its context.
    let holds = held.clone();
    server.set_ext_factory_for(&plain, move || format!("{holds:?}")).unwrap();
    server.close();
    assert_eq!(Rc::strong_count(&held), 1);
}

pub fn wake_ups_are_told_once(network: &Network) {
    let mut world = World::new(network);
    let told = Rc::new(Cell::new(0));
    let to = told.clone();
    world.event_loop.on_wakeup(move |_| to.set(to.get() + 1));
    let handle = world.event_loop.handle();
    world.idle();
    assert_eq!(told.get(), 0, "nobody has called");
    // Before the loop runs, and from its own thread.
    (0..100).for_each(|_| handle.wake());
    world.idle();
    assert_eq!(told.get(), 1);
    let from: LoopHandle<()> = handle.clone();
    std::thread::spawn(move || (0..1000).for_each(|_| from.wake())).join().unwrap();
    world.idle();
    assert_eq!(told.get(), 2);
    // What is deferred wakes the loop too, and is no wake-up.
    handle.defer(|_| {}).unwrap();
    world.idle();
    assert_eq!(told.get(), 2);
    // From within one: the next iteration.
    let (again, to) = (handle.clone(), told.clone());
    world.event_loop.on_wakeup(move |_| {
        to.set(to.get() + 1);
        if to.get() < 5 {
            again.wake();
        }
    });
    handle.wake();
    world.event_loop.step(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(told.get(), 3);
    world.event_loop.step(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(told.get(), 4);
    world.idle();
    assert_eq!(told.get(), 5);
}

pub fn a_sweep_can_be_had_at_once(network: &Network) {
    let mut world = World::new(network);
    let context = world.context::<()>();
    let log = Rc::new(RefCell::new(Vec::new()));
    let (to, long) = (log.clone(), log.clone());
    context.on_timeout(move |_| to.borrow_mut().push("timeout"));
    context.on_long_timeout(move |_| long.borrow_mut().push("long"));
    let sockets = Rc::new(RefCell::new(Vec::new()));
    let to = sockets.clone();
    context.on_open(move |socket, _, _| to.borrow_mut().push(socket.clone()));
    let port = context.listen(world.ip(), 0, 0).unwrap().port();
    context.connect(world.ip(), u16::try_from(port).unwrap(), None, 0).unwrap();
    world.until("both ends", || sockets.borrow().len() == 2);
    let socket = sockets.borrow()[0].clone();
    let before = context.timestamp();
    socket.set_timeout(8);
    socket.set_long_timeout(1);
    world.event_loop.as_mut().sweep();
    assert_eq!(*log.borrow(), [""; 0]);
    // From within a callback as well: a short timeout in the sweep that it causes.
    let handle = world.event_loop.handle();
    handle.defer(|event_loop| event_loop.sweep()).unwrap();
    world.turn();
    assert_eq!(*log.borrow(), ["timeout"]);
    assert_eq!(context.timestamp(), (before + 2) % 240);
    (0..30).for_each(|_| world.event_loop.as_mut().sweep());
    assert_eq!(*log.borrow(), ["timeout", "long"]);
}

pub fn a_loop_says_whether_it_is_alive_and_drains(network: &Network) {
    let mut world = World::new(network);
    assert!(!world.event_loop.is_alive());
    let (server, client) = (world.context::<()>(), world.context::<()>());
    let listener = server.listen(world.ip(), 0, 0).unwrap();
    assert!(world.event_loop.is_alive() && world.event_loop.as_mut().is_alive());
    let got = Rc::new(Cell::new(0));
    let (to, paused) = (got.clone(), Rc::new(RefCell::new(None)));
    server.on_data(move |_, data| to.set(to.get() + data.len()));
    let keep = paused.clone();
    server.on_open(move |socket, _, _| {
        keep.replace(Some(socket.clone()));
    });
    server.on_end(|socket| socket.close(0));
    client.on_open(|socket, _, _| {
        assert_eq!(socket.write(&[7; 1000], false), 1000);
        socket.close(0);
    });
    client.connect(world.ip(), u16::try_from(listener.port()).unwrap(), None, 0).unwrap();
    world.until("closed by the client", || client.sockets() == 0);
    // Nothing is told while the loop drains, and nothing of it is lost.
    let before = got.get();
    let all = world.event_loop.drain(Duration::from_millis(20)).unwrap();
    assert!(all, "it has arrived, though nobody has read it and the other end, ours too, cannot close meanwhile");
    assert_eq!(got.get(), before);
    world.until("all of it", || got.get() == 1000);
    world.until("the end", || paused.borrow().as_ref().is_some_and(|socket| socket.is_closed()));
    assert!(world.event_loop.is_alive(), "the listener");
    listener.close();
    world.turn();
    assert!(!world.event_loop.is_alive());
    assert!(world.event_loop.drain(Duration::from_secs(20)).unwrap());
    let timer = world.event_loop.create_timer().unwrap();
    assert!(world.event_loop.is_alive());
    timer.close().unwrap();
    assert!(!world.event_loop.is_alive());
}
