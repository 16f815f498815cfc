//! Descriptors of the program's own on a loop.

use crate::world::{Log, Network, World, says};
use nethuns_rs::usockets::{LoopMut, Poll, Readiness, UsError};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A watch that notes what it is told.
fn watch(event_loop: LoopMut<'_, ()>, stream: &UnixStream, events: Readiness, log: &Log) -> Poll {
    let (to, fd) = (log.clone(), stream.as_raw_fd());
    let callback = move |poll: &Poll, what| {
        assert_eq!(poll.fd(), fd);
        to.add(format!("{what:?}"));
    };
    event_loop.create_poll(fd, events, callback).unwrap()
}

pub fn what_is_so_is_told_in_every_iteration(network: &Network) {
    let (mut world, log) = (World::new(network), Log::default());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let poll = watch(world.event_loop.as_mut(), &ours, Readiness::READABLE, &log);
    world.idle();
    says(&log, &[]);
    theirs.write_all(b"x").unwrap();
    for _ in 0..3 {
        world.turn();
    }
    says(&log, &["readable"; 3]);
    log.forget();
    poll.change(Readiness::READABLE | Readiness::WRITABLE).unwrap();
    assert_eq!(poll.events(), Readiness::READABLE | Readiness::WRITABLE);
    world.turn();
    (&ours).read_exact(&mut [0; 1]).unwrap();
    world.turn();
    poll.change(Readiness::NONE).unwrap();
    world.turn();
    says(&log, &["readable+writable", "writable"]);
    log.forget();
    poll.change(Readiness::READABLE).unwrap();
    drop(theirs);
    world.turn();
    says(&log, &["readable+closed"]);
    assert!(poll.is_valid());
    poll.stop();
    poll.stop();
    log.forget();
    world.idle();
    says(&log, &[]);
    assert!(!poll.is_valid() && poll.events() == Readiness::NONE);
    assert!(matches!(poll.change(Readiness::READABLE), Err(UsError::NetworkOperation { .. })));
}

pub fn it_keeps_the_loop_alive_unless_told_otherwise(network: &Network) {
    let (mut world, log) = (World::new(network), Log::default());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let poll = watch(world.event_loop.as_mut(), &ours, Readiness::NONE, &log);
    assert!(world.turn(), "also while nothing is asked for");
    poll.set_keeps_alive(false);
    assert!(!world.turn());
    poll.set_keeps_alive(false);
    poll.set_keeps_alive(true);
    assert!(world.turn());
    drop(poll);
    assert!(!world.turn(), "the owner ends it");
    // One that is the loop's ends with its callback, which is dropped then.
    let held = Rc::new(());
    let holds = held.clone();
    let callback = move |poll: &Poll, _| {
        let _ = &holds;
        poll.stop();
    };
    world.event_loop.as_mut().create_poll(ours.as_raw_fd(), Readiness::READABLE, callback).unwrap().detach();
    theirs.write_all(b"x").unwrap();
    let start = Instant::now();
    world.event_loop.run().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(Rc::strong_count(&held), 1);
    assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1, "the descriptor is the program's");
}

pub fn a_loop_sleeps_until_a_descriptor_is_ready(network: &Network) {
    let world = World::new(network);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let got = Rc::new(RefCell::new(Vec::new()));
    let (to, reader) = (got.clone(), ours.try_clone().unwrap());
    let callback = move |poll: &Poll, _| {
        let mut room = [0; 8];
        let n = (&reader).read(&mut room).unwrap();
        to.borrow_mut().extend_from_slice(&room[..n]);
        if n == 0 {
            poll.stop();
        }
    };
    world.event_loop.as_mut().create_poll(ours.as_raw_fd(), Readiness::READABLE, callback).unwrap().detach();
    let writer = std::thread::spawn(move || {
        for byte in b"abc" {
            std::thread::sleep(Duration::from_millis(20));
            (&theirs).write_all(&[*byte]).unwrap();
        }
    });
    world.event_loop.run().unwrap();
    writer.join().unwrap();
    assert_eq!(*got.borrow(), b"abc");
}

pub fn it_may_be_changed_and_stopped_in_callbacks(network: &Network) {
    let (mut world, log) = (World::new(network), Log::default());
    let pairs: Vec<_> = (0..2).map(|_| UnixStream::pair().unwrap()).collect();
    let polls: Rc<RefCell<Vec<Poll>>> = Rc::default();
    // Both are ready at once: whichever is told first stops the other, and itself asks for nothing any more.
    for (at, (ours, theirs)) in pairs.iter().enumerate() {
        (&*theirs).write_all(b"x").unwrap();
        let (to, others) = (log.clone(), polls.clone());
        let callback = move |poll: &Poll, _| {
            to.add("told");
            poll.change(Readiness::NONE).unwrap();
            others.borrow()[1 - at].stop();
        };
        let poll = world.event_loop.as_mut().create_poll(ours.as_raw_fd(), Readiness::READABLE, callback).unwrap();
        polls.borrow_mut().push(poll);
    }
    world.idle();
    says(&log, &["told"]);
    assert_eq!(polls.borrow().iter().filter(|poll| poll.is_valid()).count(), 1);
    let all = polls.take();
    drop(all);
    assert!(!world.turn());
}

pub fn what_cannot_be_watched_is_said(network: &Network) {
    let world = World::new(network);
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    for fd in [file.as_raw_fd(), -1] {
        let error = world.event_loop.as_mut().create_poll(fd, Readiness::READABLE, |_, _| {}).unwrap_err();
        assert!(error.to_string().contains(&fd.to_string()), "{error}");
    }
    assert!(!world.event_loop.is_alive());
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let log = Log::default();
    let poll = watch(world.event_loop.as_mut(), &ours, Readiness::WRITABLE, &log);
    // Outliving the loop is harmless.
    drop(world);
    assert!(!poll.is_valid());
    assert_eq!(poll.change(Readiness::READABLE), Err(UsError::LoopNotRunning));
    poll.set_keeps_alive(false);
    poll.stop();
}
