//! Descriptors of the program's own.

use crate::world::World;
use nethuns_rs::net::{Event, Net, Readiness, SocketError, WatchId};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Either way.
fn both() -> Readiness {
    Readiness::READABLE | Readiness::WRITABLE
}

/// What one poll tells of it.
fn told(net: &mut Net, id: WatchId) -> Readiness {
    net.poll(Some(Duration::from_millis(1))).unwrap();
    let mut all = Readiness::NONE;
    while let Some(event) = net.next_event() {
        if let Event::Watch(other, what) = event {
            assert_eq!((other, all), (id, Readiness::NONE), "once with every poll");
            all = what;
        }
    }
    all
}

pub fn a_level_is_told_with_every_poll(world: &mut World) {
    let net = &mut world.client.net;
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let id = net.watch(ours.as_raw_fd(), Readiness::READABLE).unwrap();
    assert_eq!(told(net, id), Readiness::NONE);
    theirs.write_all(b"xy").unwrap();
    for _ in 0..3 {
        assert_eq!(told(net, id), Readiness::READABLE);
    }
    assert_eq!(ours.read(&mut [0; 1]).unwrap(), 1);
    assert_eq!(told(net, id), Readiness::READABLE, "there is more");
    assert_eq!(ours.read(&mut [0; 8]).unwrap(), 1);
    assert_eq!(told(net, id), Readiness::NONE);
    net.rewatch(id, both()).unwrap();
    assert_eq!(told(net, id), Readiness::WRITABLE);
    theirs.write_all(b"z").unwrap();
    assert_eq!(told(net, id), both());
    while ours.write(&[0; 4096]).is_ok() {}
    assert_eq!(told(net, id), Readiness::READABLE, "no room");
    net.rewatch(id, Readiness::NONE).unwrap();
    assert_eq!(told(net, id), Readiness::NONE);
    // The rest is not asked for, and means nothing.
    net.rewatch(id, Readiness::READABLE | Readiness::CLOSED | Readiness::CONNECTED).unwrap();
    assert_eq!(told(net, id), Readiness::READABLE);
    drop(theirs);
    assert_eq!(told(net, id), Readiness::READABLE | Readiness::CLOSED);
    net.rewatch(id, both()).unwrap();
    assert_eq!(told(net, id), both() | Readiness::CLOSED, "nothing has to be waited for");
    net.rewatch(id, Readiness::NONE).unwrap();
    assert_eq!(told(net, id), Readiness::NONE);
    net.unwatch(id);
}

pub fn what_is_not_asked_for_any_more_is_not_told(world: &mut World) {
    let net = &mut world.client.net;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"x").unwrap();
    let id = net.watch(ours.as_raw_fd(), both()).unwrap();
    net.poll(Some(Duration::from_secs(5))).unwrap();
    net.rewatch(id, Readiness::WRITABLE).unwrap();
    assert_eq!(net.next_event(), Some(Event::Watch(id, Readiness::WRITABLE)));
    net.poll(Some(Duration::from_secs(5))).unwrap();
    net.rewatch(id, Readiness::NONE).unwrap();
    assert_eq!(net.next_event(), None);
    net.rewatch(id, both()).unwrap();
    net.poll(Some(Duration::from_secs(5))).unwrap();
    net.unwatch(id);
    assert_eq!(net.next_event(), None);
    assert_eq!(net.rewatch(id, both()), Err(SocketError::Closed));
    net.unwatch(id);
    // The place has another one now.
    let other = net.watch(ours.as_raw_fd(), Readiness::READABLE).unwrap();
    assert_ne!(other, id);
    assert_eq!(net.rewatch(id, both()), Err(SocketError::Closed));
    assert_eq!(told(net, other), Readiness::READABLE);
    net.unwatch(other);
}

pub fn what_cannot_be_watched_is_said(world: &mut World) {
    let net = &mut world.client.net;
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert_eq!(net.watch(file.as_raw_fd(), both()), Err(SocketError::PermissionDenied));
    assert_eq!(net.watch(-1, both()), Err(SocketError::Closed));
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let id = net.watch(ours.as_raw_fd(), both()).unwrap();
    assert_eq!(net.watch(ours.as_raw_fd(), both()), Err(SocketError::System(libc::EEXIST as u16)));
    assert_eq!(told(net, id), Readiness::WRITABLE);
    net.unwatch(id);
    world.idle();
    assert_eq!(world.client.told, []);
}

/// Waits for a descriptor as for a packet, and for both at once.
pub fn a_poll_waits_for_descriptors_too(world: &mut World) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (client, server) = world.connect();
    let id = world.client.net.watch(ours.as_raw_fd(), Readiness::READABLE).unwrap();
    world.idle();
    for pause in [0, 5, 50] {
        let mut theirs = theirs.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(pause));
            theirs.write_all(b"x").unwrap();
        });
        let start = Instant::now();
        while !world.client.net.poll(Some(Duration::from_secs(30))).unwrap().events {}
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(world.client.net.next_event(), Some(Event::Watch(id, Readiness::READABLE)));
        assert_eq!(world.client.net.next_event(), None);
        ours.read_exact(&mut [0; 1]).unwrap();
        writer.join().unwrap();
    }
    // Neither keeps the other waiting.
    (&theirs).write_all(b"x").unwrap();
    world.server.net.tcp_send(server, b"x").unwrap();
    world.forget();
    world.until("both", |world| {
        let told = |what| world.client.told.contains(&what);
        told(Event::Watch(id, Readiness::READABLE)) && told(Event::Tcp(client, Readiness::READABLE))
    });
    // What is told of by level does not use up the time of the others, nor the other way round.
    world.forget();
    let before = world.client.told.len();
    for _ in 0..50 {
        world.server.net.tcp_send(server, b"x").unwrap();
        world.turn();
        let _ = world.client.read_all(client);
    }
    let watched = world.client.told[before..].iter().filter(|event| matches!(event, Event::Watch(..))).count();
    assert_eq!(watched, 50);
    world.client.net.unwatch(id);
    world.idle();
    let (other, server) = world.connect();
    world.server.net.tcp_send(server, b"x").unwrap();
    world.until("the network alone", |world| world.client.told_of(other).contains(Readiness::READABLE));
}

pub fn a_descriptor_can_be_handed_from_one_watch_to_the_next(world: &mut World) {
    let net = &mut world.client.net;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"x").unwrap();
    let mut seen = Vec::new();
    for _ in 0..100 {
        let id = net.watch(ours.as_raw_fd(), Readiness::READABLE).unwrap();
        assert!(!seen.contains(&id));
        seen.push(id);
        assert_eq!(told(net, id), Readiness::READABLE);
        net.unwatch(id);
        assert!(!net.poll(Some(Duration::ZERO)).unwrap().events);
    }
}
