//! Every variant of `UsError`, reached.

use crate::world::{Network, World};
use nethuns_rs::net;
use nethuns_rs::usockets::{Loop, SocketContextOptions, UsError};
use std::cell::RefCell;
use std::rc::Rc;

fn options() -> SocketContextOptions {
    SocketContextOptions::default()
}

pub fn of_loops(network: &Network) {
    for spec in ["mem:no-address", "no-such-backend:x?ip=10.0.0.1/24", "mem:x?ip=nonsense"] {
        let refused = Loop::on_network(net::Net::builder().spec(spec), ()).map(|_| ()).unwrap_err();
        assert!(matches!(&refused, UsError::LoopCreation { message } if !message.is_empty()), "{spec}: {refused}");
    }
    // Another loop cannot be run from within a callback of this one.
    let mut world = World::new(network);
    let seen = Rc::new(RefCell::new(None));
    let told = seen.clone();
    let timer = world.event_loop.create_timer().unwrap();
    timer.set(1, 0, move |_| *told.borrow_mut() = Some(Network::kernel().open(()).run())).unwrap();
    world.until("the timer", || seen.borrow().is_some());
    assert_eq!(*seen.borrow(), Some(Err(UsError::LoopAlreadyRunning)));
    // And it may run once that has returned.
    Network::kernel().open(()).run().unwrap();

    let handle = world.event_loop.handle();
    assert_eq!(handle.check_thread(), Err(UsError::LoopNotRunning));
    let (told, inside) = (seen.clone(), handle.clone());
    timer
        .set(1, 0, move |_| {
            let there = inside.clone();
            let elsewhere = std::thread::spawn(move || there.check_thread()).join().unwrap();
            assert_eq!(elsewhere, Err(UsError::NotOnLoopThread));
            *told.borrow_mut() = Some(inside.check_thread());
        })
        .unwrap();
    *seen.borrow_mut() = None;
    world.until("the timer", || seen.borrow().is_some());
    assert_eq!(*seen.borrow(), Some(Ok(())));
    let context = world.context::<()>();
    assert!(context.loop_mut().try_ext().is_ok());
    drop(world);
    assert_eq!(handle.defer(|_| ()), Err(UsError::LoopNotRunning));
    assert!(matches!(context.loop_mut().try_ext().map(|_| ()), Err(UsError::LoopExtNull)));
}

pub fn of_timers(network: &Network) {
    let world = World::new(network);
    let (first, second) = (world.event_loop.create_timer().unwrap(), world.event_loop.create_timer().unwrap());
    first.set(1000, 0, |timer| timer.close().unwrap()).unwrap();
    let context = world.context::<()>();
    let closed = Rc::new(RefCell::new(None));
    let keep = closed.clone();
    second
        .set(1, 0, move |timer| {
            *keep.borrow_mut() = Some(timer);
        })
        .unwrap();
    let mut world = world;
    world.until("the timer", || closed.borrow().is_some());
    second.close().unwrap();
    let name = closed.borrow_mut().take().unwrap();
    assert_eq!(name.set(1, 0, |_| {}), Err(UsError::TimerExtNull));
    assert_eq!(name.reset(1, 0), Err(UsError::TimerExtNull));
    assert_eq!(name.close(), Err(UsError::TimerExtNull));
    drop(world);
    assert_eq!(first.reset(1, 0), Err(UsError::TimerLoopNull));
    let refused = context.loop_mut().create_timer::<()>().map(|_| ()).unwrap_err();
    assert!(matches!(refused, UsError::TimerCreation { .. }), "{refused}");
}

pub fn of_contexts(network: &Network) {
    let world = World::new(network);
    let event_loop = &world.event_loop;
    let nul = SocketContextOptions { key_file_name: Some("inner\0nul".into()), ..options() };
    let refused = event_loop.create_socket_context::<false, ()>(nul).map(|_| ()).unwrap_err();
    assert_eq!(refused, UsError::InvalidStringConversion);
    // With TLS that cannot be had, or without any.
    let missing = SocketContextOptions { cert_file_name: Some("/nowhere/cert.pem".into()), ..options() };
    let refused = event_loop.create_socket_context::<true, ()>(missing).map(|_| ()).unwrap_err();
    let fits = matches!(&refused, UsError::SocketContextCreation { message }
        if message.contains(if cfg!(feature = "tls") { "/nowhere/cert.pem" } else { "tls" }));
    assert!(fits, "{refused}");
    let context = world.context::<()>();
    for host in ["", "a b", "inner\0nul"] {
        let refused = context.connect(host, 1, None, 0).map(|_| ()).unwrap_err();
        assert_eq!(refused, UsError::InvalidHostString { host: host.into() });
    }
    let refused = context.connect("127.0.0.1", 1, Some("inner\0nul"), 0).map(|_| ()).unwrap_err();
    assert_eq!(refused, UsError::InvalidSourceHostString { host: "inner\0nul".into() });
    let refused = context.listen("198.51.100.7", 0, 0).map(|_| ()).unwrap_err();
    assert!(matches!(refused, UsError::NetworkOperation { .. }), "{refused}");
    drop(world);
    assert_eq!(context.create_child::<()>().map(|_| ()).unwrap_err(), UsError::SocketContextExtNull);
    assert_eq!(context.listen("", 0, 0).map(|_| ()).unwrap_err(), UsError::LoopNotRunning);
}

pub fn of_sockets(network: &Network) {
    let mut world = World::new(network);
    let pair = world.pair();
    let borrowed = pair.to.ext_mut().unwrap();
    assert!(matches!(pair.to.try_ext().map(|_| ()), Err(UsError::SocketExtNull)), "while it is changed");
    drop(borrowed);
    assert!(pair.to.try_ext().is_ok());
    pair.to.close(0);
    pair.from.close(0);
    world.end();
    assert!(matches!(pair.to.try_ext().map(|_| ()), Err(UsError::SocketExtNull)));
}

pub fn all_say_something(_: &Network) {
    let text = || "such".to_owned();
    for error in [
        UsError::LoopAlreadyRunning,
        UsError::LoopCreation { message: text() },
        UsError::LoopExtNull,
        UsError::TimerCreation { message: text() },
        UsError::TimerExtNull,
        UsError::SocketContextCreation { message: text() },
        UsError::SocketContextExtNull,
        UsError::SocketExtNull,
        UsError::InvalidHostString { host: text() },
        UsError::InvalidSourceHostString { host: text() },
        UsError::NotOnLoopThread,
        UsError::LoopNotRunning,
        UsError::MutexLockFailed { operation: text() },
        UsError::TimerLoopNull,
        UsError::AllocationFailed,
        UsError::NetworkOperation { operation: text() },
        UsError::InvalidStringConversion,
    ] {
        let shown = error.to_string();
        assert!(!shown.is_empty() && (!format!("{error:?}").contains("such") || shown.contains("such")), "{shown}");
        let _: &dyn std::error::Error = &error;
    }
}
