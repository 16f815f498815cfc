//! Work for the loop's thread, from its callbacks and from other threads.

use crate::world::{Network, PATIENCE, Pair, World};
use nethuns_rs::usockets::{Loop, LoopCallback, LoopMut, Timer, UsError};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub fn before_the_run(network: &Network) {
    let event_loop = network.open(Vec::<u32>::new());
    for n in 0..10 {
        event_loop.handle().defer(move |event_loop| event_loop.ext_mut().unwrap().push(n)).unwrap();
    }
    // Something that ends: what waits is run, in order, before the loop ends.
    let handle = event_loop.handle();
    handle
        .defer(|event_loop| {
            assert_eq!(*event_loop.ext().unwrap(), (0..10).collect::<Vec<_>>());
            let timer = event_loop.create_timer::<()>().unwrap();
            timer.set(1, 0, |timer| timer.close().unwrap()).unwrap();
            timer.detach();
        })
        .unwrap();
    let first = event_loop.create_timer().unwrap();
    first.set(1, 0, |timer| timer.close().unwrap()).unwrap();
    event_loop.run().unwrap();
}

pub fn from_other_threads(network: &Network) {
    const EACH: usize = 1000;
    let event_loop = network.open(vec![0usize; 4]);
    let handle = event_loop.handle();
    // It sleeps for ever if it is not woken.
    let _alive = event_loop.create_timer().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|who| {
            let handle = handle.clone();
            thread::spawn(move || {
                for n in 0..EACH {
                    handle
                        .defer(move |event_loop| {
                            let count = &mut event_loop.ext_mut().unwrap()[who];
                            assert_eq!(*count, n, "in the order of each thread");
                            *count += 1;
                        })
                        .unwrap();
                    if n % 100 == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    let mut event_loop = event_loop;
    let start = Instant::now();
    while event_loop.as_mut().ext().unwrap().iter().any(|n| *n < EACH) {
        assert!(start.elapsed() < PATIENCE);
        event_loop.step(Some(Duration::from_secs(10))).unwrap();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(start.elapsed() < Duration::from_secs(9), "nobody waited for a timeout");
    assert_eq!(event_loop.metrics().deferred, 4 * EACH as u64);
}

/// A loop that its user data keeps alive: until that is taken away.
type Kept = Option<Timer<()>>;

fn kept(network: &Network) -> Loop<Kept> {
    let event_loop = network.open(None);
    let timer = event_loop.as_mut().create_timer().unwrap();
    *event_loop.as_mut().ext_mut().unwrap() = Some(timer);
    event_loop
}

fn let_go(event_loop: LoopMut<'_, Kept>) {
    let timer = event_loop.ext_mut().unwrap().take();
    timer.expect("once").close().unwrap();
}

pub fn a_run_sleeps_and_is_woken(network: &Network) {
    let (tell, told) = mpsc::channel();
    let network = network.clone();
    let thread = thread::spawn(move || {
        let event_loop = kept(&network);
        let handle = event_loop.handle();
        assert!(!handle.is_loop_running() && !handle.is_on_loop_thread() && handle.is_valid());
        tell.send(handle).unwrap();
        event_loop.run().unwrap();
    });
    let handle = told.recv().unwrap();
    let start = Instant::now();
    while !handle.is_loop_running() {
        assert!(start.elapsed() < PATIENCE);
        thread::yield_now();
    }
    assert!(!handle.is_on_loop_thread() && handle.is_valid());
    let start = Instant::now();
    for _ in 0..20 {
        let (tell, told) = mpsc::channel();
        let inside = handle.clone();
        handle
            .defer(move |_| {
                assert!(inside.is_on_loop_thread() && inside.is_loop_running() && inside.is_valid());
                tell.send(()).unwrap();
            })
            .unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        handle.wake();
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    handle.defer_callback(LoopCallback::Fn(let_go)).unwrap();
    thread.join().unwrap();
    // The loop is gone; the handle is harmless.
    assert!(!handle.is_valid() && !handle.is_loop_running() && !handle.is_on_loop_thread());
    handle.wake();
    assert!(matches!(handle.defer(|_| unreachable!()), Err(UsError::LoopNotRunning)));
}

pub fn all_three_forms(network: &Network) {
    let event_loop = network.open(0);
    let handle = event_loop.handle();
    let shared = Arc::new(AtomicUsize::new(0));
    let count = shared.clone();
    let arc = Arc::new(move |event_loop: LoopMut<'_, i32>| {
        count.fetch_add(1, Ordering::Relaxed);
        *event_loop.ext_mut().unwrap() += 100;
    });
    fn plain(event_loop: LoopMut<'_, i32>) {
        *event_loop.ext_mut().unwrap() += 10;
    }
    handle.defer_callback(LoopCallback::Box(Box::new(|event_loop| *event_loop.ext_mut().unwrap() += 1))).unwrap();
    handle.defer_callback(LoopCallback::Arc(arc.clone())).unwrap();
    handle.defer_callback(LoopCallback::Arc(arc)).unwrap();
    handle.defer_callback(LoopCallback::Fn(plain)).unwrap();
    let mut event_loop = event_loop;
    event_loop.step(Some(Duration::ZERO)).unwrap();
    assert_eq!(*event_loop.as_mut().ext().unwrap(), 211);
    assert_eq!(shared.load(Ordering::Relaxed), 2);
    assert_eq!(Arc::strong_count(&shared), 1, "what has been run is dropped");
}

pub fn from_inside_it_is_the_next_iteration(network: &Network) {
    let mut world = World::new(network);
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    world
        .event_loop
        .as_mut()
        .defer(move |event_loop| {
            let first = event_loop.iteration_number();
            count.fetch_add(1, Ordering::Relaxed);
            let again = count.clone();
            event_loop
                .defer(move |event_loop| {
                    assert!(event_loop.iteration_number() > first);
                    again.fetch_add(1, Ordering::Relaxed);
                })
                .unwrap();
            assert_eq!(count.load(Ordering::Relaxed), 1, "not at once");
        })
        .unwrap();
    // It does not wait for a timeout either.
    let _alive = world.event_loop.create_timer().unwrap();
    let start = Instant::now();
    while seen.load(Ordering::Relaxed) < 2 {
        world.event_loop.step(Some(Duration::from_secs(10))).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    // From a callback of a socket.
    let Pair { to, server, client: _client, .. } = world.pair();
    let (handle, count) = (world.event_loop.handle(), seen.clone());
    server.context.on_data(move |_, _| {
        let count = count.clone();
        let add = move |_: LoopMut<'_, ()>| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        handle.defer(add).unwrap();
    });
    to.write(b"x", false);
    world.until("deferred", || seen.load(Ordering::Relaxed) == 3);
}

pub fn a_simple_run_leaves_it(network: &Network) {
    let event_loop = network.open(());
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let handle = event_loop.handle();
    let add = move |_: LoopMut<'_, ()>| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    handle.defer(add).unwrap();
    let timer = event_loop.create_timer().unwrap();
    timer.set(20, 0, |timer| timer.close().unwrap()).unwrap();
    event_loop.run_simple().unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(Arc::strong_count(&ran), 1, "dropped with the loop");
    assert!(matches!(handle.defer(|_| ()), Err(UsError::LoopNotRunning)));
}

pub fn what_is_left_is_dropped_with_the_loop(network: &Network) {
    let event_loop = network.open(());
    let handle = event_loop.handle();
    let alive = Arc::new(());
    let inside = alive.clone();
    handle.defer(move |_| drop(inside)).unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(event_loop);
    assert_eq!(Arc::strong_count(&alive), 1);
    let inside = alive.clone();
    assert!(handle.defer(move |_| drop(inside)).is_err());
    assert_eq!(Arc::strong_count(&alive), 1, "refused is dropped");
}

pub fn a_loop_that_ends_while_others_defer(network: &Network) {
    for _ in 0..20 {
        let event_loop = kept(network);
        let handle = event_loop.handle();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let handle = handle.clone();
                // Until it is refused: then it is over.
                thread::spawn(move || while handle.defer(|_| ()).is_ok() {})
            })
            .collect();
        handle.defer_callback(LoopCallback::Fn(let_go)).unwrap();
        event_loop.run().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

pub fn sockets_can_be_used_from_deferred_work(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, server, client: _client, .. } = world.pair();
    // What is deferred is `Send`, sockets are not: it finds them where the loop's thread keeps them.
    thread_local! {
        static HERE: Cell<Option<crate::world::Sock>> = const { Cell::new(None) };
    }
    HERE.set(Some(to));
    let handle = world.event_loop.handle();
    let thread = thread::spawn(move || {
        handle
            .defer(|_| {
                let socket = HERE.take().expect("this is the loop's thread");
                assert_eq!(socket.write(b"from afar", false), 9);
                HERE.set(Some(socket));
            })
            .unwrap();
    });
    thread.join().unwrap();
    let log = server.log.clone();
    world.until("data", || log.len() == 1);
    server.says(&["data from afar"]);
    HERE.take().unwrap().close(0);
    server.context.close();
    world.end();
}

pub fn a_panic_in_one_does_not_lose_the_loop(network: &Network) {
    let event_loop = network.open(());
    let handle = event_loop.handle();
    handle.defer(|_| panic!("on purpose")).unwrap();
    let timer = event_loop.create_timer().unwrap();
    timer.set(1, 0, |_| {}).unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event_loop.run()));
    assert!(ended.is_err(), "the panic is the caller's");
    assert!(!handle.is_valid() && !handle.is_loop_running());
    assert!(!timer.is_valid());
}
