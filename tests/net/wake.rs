//! Waiting, and being woken.

use crate::world::World;
use std::time::{Duration, Instant};

pub fn a_poll_is_woken_from_another_thread(world: &mut World) {
    let waker = world.client.net.waker();
    let start = Instant::now();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        waker.wake();
        waker.wake();
    });
    let mut woken = false;
    while !woken {
        woken = world.client.net.poll(Some(Duration::from_secs(10))).unwrap().woken;
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    assert!(start.elapsed() >= Duration::from_millis(50));
    thread.join().unwrap();
    // The second call may have come after the first was seen; a third there is not.
    let turn = world.client.net.poll(Some(Duration::from_millis(20))).unwrap();
    assert!(!turn.events);
    assert!(!world.client.net.poll(Some(Duration::from_millis(20))).unwrap().woken);
}

pub fn a_wake_before_the_poll_counts(world: &mut World) {
    let waker = world.client.net.waker();
    std::thread::spawn(move || (0..1000).for_each(|_| waker.wake())).join().unwrap();
    let start = Instant::now();
    while !world.client.net.poll(Some(Duration::from_secs(10))).unwrap().woken {}
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!world.client.net.poll(Some(Duration::ZERO)).unwrap().woken, "a thousand calls are one");
}

pub fn time_passes_when_nothing_happens(world: &mut World) {
    let (start, mut turns) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(60) {
        let left = Duration::from_millis(60).saturating_sub(start.elapsed());
        let turn = world.client.net.poll(Some(left)).unwrap();
        assert!(!turn.events && !turn.woken);
        turns += 1;
    }
    assert!(turns < 1000, "it waits: {turns} turns in 60 ms");
    let start = Instant::now();
    for _ in 0..100 {
        world.client.net.poll(Some(Duration::ZERO)).unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(500), "zero does not wait");
}
