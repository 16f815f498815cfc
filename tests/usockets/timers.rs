//! Timers of the program.

use crate::world::{Log, Network, World, says};
use nethuns_rs::usockets::{Timer, UsError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A counter, and a callback that counts.
fn counter() -> (Rc<Cell<u32>>, impl FnMut(Timer<()>) + 'static) {
    let n = Rc::new(Cell::new(0));
    let count = n.clone();
    (n, move |_| count.set(count.get() + 1))
}

pub fn once_is_once(network: &Network) {
    let mut world = World::new(network);
    let timer = world.event_loop.create_timer().unwrap();
    let (n, count) = counter();
    let start = Instant::now();
    timer.set(30, 0, count).unwrap();
    world.until("the timer", || n.get() == 1);
    assert!(start.elapsed() >= Duration::from_millis(30));
    world.idle();
    assert_eq!(n.get(), 1);
    // Again, with the callback it has.
    let start = Instant::now();
    timer.reset(20, 0).unwrap();
    world.until("the timer", || n.get() == 2);
    assert!(start.elapsed() >= Duration::from_millis(20));
    // Another callback takes its place.
    let (other, count) = counter();
    timer.set(1, 0, count).unwrap();
    world.until("the timer", || other.get() == 1);
    assert_eq!(n.get(), 2);
}

pub fn it_repeats_until_it_is_disarmed(network: &Network) {
    let mut world = World::new(network);
    let timer = world.event_loop.create_timer().unwrap();
    let (n, count) = counter();
    let start = Instant::now();
    timer.set(5, 10, count).unwrap();
    world.until("four times", || n.get() >= 4);
    assert!(start.elapsed() >= Duration::from_millis(35), "5, 15, 25, 35: {:?}", start.elapsed());
    timer.reset(0, 0).unwrap();
    let seen = n.get();
    world.idle();
    assert_eq!(n.get(), seen);
    assert!(world.turn(), "a timer that is not set keeps the loop alive until it is closed");
    // Upstream takes "at once" for "never" here.
    let start = Instant::now();
    timer.reset(0, 20).unwrap();
    world.until("the timer", || n.get() == seen + 1);
    assert!(start.elapsed() >= Duration::from_millis(20));
    timer.close().unwrap();
    world.end();
}

pub fn missed_periods_are_one(network: &Network) {
    let mut world = World::new(network);
    let timer = world.event_loop.create_timer().unwrap();
    let (n, count) = counter();
    timer.set(5, 5, count).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    world.turn();
    assert_eq!(n.get(), 1);
}

pub fn many_fire_in_their_order(network: &Network) {
    let mut world = World::new(network);
    let log = Log::default();
    let times = [35, 5, 25, 15, 45];
    let timers: Vec<_> = times.map(|_| world.event_loop.create_timer().unwrap()).into();
    for (timer, ms) in timers.iter().zip(times) {
        let log = log.clone();
        timer.set(ms, 0, move |_| log.add(ms.to_string())).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    world.turn();
    says(&log, &["5", "15", "25", "35", "45"]);
}

pub fn it_may_be_closed_and_set_in_its_own_callback(network: &Network) {
    let mut world = World::new(network);
    let log = Log::default();
    let timer = world.event_loop.create_timer().unwrap();
    let to = log.clone();
    timer
        .set(1, 1, move |timer| {
            to.add("first");
            let to = to.clone();
            timer
                .set(1, 1, move |timer| {
                    to.add("second");
                    timer.close().unwrap();
                    to.add("closed");
                })
                .unwrap();
        })
        .unwrap();
    world.end();
    says(&log, &["first", "second", "closed"]);
    assert!(!timer.is_valid());
    assert!(timer.set(1, 0, |_| {}).is_err() && timer.reset(1, 0).is_err());
    assert!(timer.close().is_err());
}

pub fn a_callback_owns_nothing(network: &Network) {
    let mut world = World::new(network);
    let timer = world.event_loop.create_timer().unwrap();
    let (n, count) = counter();
    timer.set(1, 1, count).unwrap();
    // What each call was given is dropped at its end, and nothing happens to the timer.
    world.until("five times", || n.get() == 5);
    assert!(timer.is_valid());
    // The owner's drop closes it.
    drop(timer);
    world.end();
}

pub fn a_detached_timer_is_the_loops(network: &Network) {
    let mut world = World::new(network);
    let (n, mut count) = counter();
    let timer = world.event_loop.create_timer().unwrap();
    let calls = Cell::new(0);
    timer
        .set(1, 1, move |timer| {
            calls.set(calls.get() + 1);
            if calls.get() == 3 { timer.close().unwrap() } else { count(timer) }
        })
        .unwrap();
    timer.detach();
    world.end();
    assert_eq!(n.get(), 2);
}

pub fn it_has_user_data(network: &Network) {
    let world = World::new(network);
    let timer = world.event_loop.as_mut().create_timer::<String>().unwrap();
    assert!(timer.ext().is_none(), "none was given");
    timer.set_ext("one".into());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let told = seen.clone();
    timer
        .set(1, 1, move |timer| {
            told.borrow_mut().push(timer.ext().unwrap().clone());
            timer.ext_mut().unwrap().push('!');
            if told.borrow().len() == 3 {
                timer.close().unwrap();
            }
        })
        .unwrap();
    timer.detach();
    world.event_loop.run().unwrap();
    assert_eq!(*seen.borrow(), ["one", "one!", "one!!"]);
}

pub fn times_that_make_no_sense_are_refused_or_harmless(network: &Network) {
    let mut world = World::new(network);
    let timer = world.event_loop.create_timer().unwrap();
    let (n, count) = counter();
    // Negative is refused or never; the longest is far away.
    match timer.set(-1, -1, count) {
        Ok(()) | Err(UsError::TimerCreation { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    timer.reset(i32::MAX, i32::MAX).unwrap();
    world.idle();
    assert_eq!(n.get(), 0);
    timer.reset(1, 0).unwrap();
    world.idle();
    assert!(n.get() <= 1);
}

pub fn one_timer_may_close_another(network: &Network) {
    let mut world = World::new(network);
    let log = Log::default();
    let victim = Rc::new(RefCell::new(None));
    let killer = world.event_loop.create_timer().unwrap();
    let other = world.event_loop.create_timer().unwrap();
    let (to, take) = (log.clone(), victim.clone());
    killer
        .set(1, 0, move |killer| {
            to.add("killer");
            drop(take.borrow_mut().take());
            killer.close().unwrap();
        })
        .unwrap();
    let to = log.clone();
    other.set(2, 0, move |_: Timer<()>| to.add("victim")).unwrap();
    *victim.borrow_mut() = Some(other);
    std::thread::sleep(Duration::from_millis(5));
    world.end();
    says(&log, &["killer"]);
    assert_eq!(world.event_loop.metrics().timers, 1);
}
