//! Timeouts of sockets: in steps of four seconds. Time is real here, so there are few tests, and they wait at the same
//! time.

use crate::world::{End, Log, Network, Peer, World, says};
use nethuns_rs::net::{ConnectOptions, ListenOptions};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What fires when, in seconds after the start of the loop.
#[derive(Clone)]
struct Clock(Rc<RefCell<Vec<(String, f64)>>>, Instant);

impl Clock {
    fn note(&self, what: &str) {
        self.0.borrow_mut().push((what.to_owned(), self.1.elapsed().as_secs_f64()));
    }

    /// Insists that something fired once, within these seconds.
    #[track_caller]
    fn fired(&self, what: &str, from: f64, to: f64) {
        let times: Vec<f64> = self.0.borrow().iter().filter(|(name, _)| name == what).map(|(_, at)| *at).collect();
        assert!(times.len() == 1 && (from..to).contains(&times[0]), "{what}: {times:?}, not in {from}..{to}");
    }
}

pub fn they_fire_with_the_sweep(network: &Network) {
    let mut world = World::new(network);
    let clock = Clock(Rc::default(), Instant::now());
    let (client, server) = (End::<&'static str>::new(&world), End::<()>::new(&world));
    let (listener, port) = world.listen(&server.context);
    let connect = |name: &'static str| client.context.connect_with(world.network.ips[0], port, None, 0, name);
    let names =
        ["1 s", "4 s", "5 s", "8 s", "never", "cleared", "moved away", "again", "closed", "adopted", "a minute"];
    let sockets = names.map(|name| connect(name).unwrap().unwrap());
    // The connect's own: cleared by its success.
    sockets[4].set_timeout(1);
    assert_eq!(client.context.timestamp(), 0);
    world.until("connections", || client.opened() == names.len());
    let [one, four, five, eight, _, cleared, away, again, shut, adopted, minute] = sockets;
    let (told, other) = (clock.clone(), eight.clone());
    client.context.on_timeout(move |socket| {
        let name = *socket.ext().unwrap();
        told.note(name);
        match name {
            // Within the sweep: a close of its own, and of one that is due later.
            "1 s" => socket.close(1),
            "5 s" => other.set_timeout(0),
            "again" if told.0.borrow().iter().filter(|(name, _)| *name == "again").count() == 1 => {
                *socket.ext_mut().unwrap() = "once more";
                socket.set_timeout(1);
            }
            _ => {}
        }
    });
    one.set_timeout(1);
    four.set_timeout(4);
    five.set_timeout(5);
    eight.set_timeout(8);
    cleared.set_timeout(1);
    cleared.set_timeout(0);
    away.set_timeout(1);
    away.set_timeout(9);
    again.set_timeout(1);
    shut.set_timeout(1);
    shut.close(0);
    adopted.set_timeout(1);
    minute.set_long_timeout(1);
    let next = End::<()>::new(&world);
    let moved = next.context.adopt(&adopted, drop).unwrap();
    // Neither FIN nor silence of the other half takes the timeout away.
    four.shutdown();
    let mut turns = 0;
    let last = |clock: &Clock| clock.0.borrow().iter().any(|(name, _)| name == "moved away");
    while !last(&clock) {
        world.event_loop.step(Some(Duration::from_secs(20))).unwrap();
        turns += 1;
        assert!(turns < 1000, "it waits: {turns} turns");
    }
    clock.fired("1 s", 3.5, 4.5);
    clock.fired("4 s", 3.5, 4.5);
    clock.fired("5 s", 7.5, 8.5);
    clock.fired("again", 3.5, 4.5);
    clock.fired("once more", 7.5, 8.5);
    clock.fired("moved away", 11.5, 12.5);
    for name in ["never", "cleared", "closed", "adopted", "a minute"] {
        assert!(clock.0.borrow().iter().all(|(fired, _)| fired != name), "{name}: {:?}", clock.0.borrow());
    }
    // Which of two that are due in one sweep comes first is not said.
    assert!(clock.0.borrow().iter().filter(|(fired, _)| fired == "8 s").count() <= 1);
    assert!(one.is_closed() && !four.is_closed(), "a timeout closes nothing");
    assert_eq!(client.context.timestamp(), 3);
    assert!(!moved.is_closed());
    next.says(&[]);
    assert!(world.event_loop.metrics().timeouts >= 5);
    listener.close();
    client.context.close();
    next.context.close();
    server.context.close();
    world.end();
}

pub fn a_connect_may_time_out(network: &Network) {
    let mut world = World::new(network);
    let end = End::<()>::new(&world);
    let (host, port, _full) = silent(network);
    let socket = end.context.connect(&host, port, None, 0).unwrap().unwrap();
    socket.set_timeout(1);
    let log = end.log.clone();
    let to = log.clone();
    end.context.on_timeout(move |socket| {
        to.add(format!("timeout, established: {}", socket.is_established()));
        socket.close_connecting();
    });
    let start = Instant::now();
    world.until("the timeout", || log.len() > 0);
    assert!(start.elapsed() < Duration::from_millis(4600));
    world.end();
    says(&log, &["timeout, established: false"]);
}

/// Where nobody answers.
fn silent(network: &Network) -> (String, u16, Option<Peer>) {
    if !network.is_kernel() {
        return ("10.0.0.77".into(), 9, None);
    }
    // The kernel drops what comes when the queue of a listener is full.
    let mut peer = network.peer();
    let options = ListenOptions { backlog: 1, ..ListenOptions::default() };
    let listener = peer.net.tcp_listen(SocketAddr::new(peer.ip, 0), &options).unwrap();
    let address = peer.net.tcp_listener_addr(listener).unwrap();
    for _ in 0..10 {
        peer.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    (peer.ip.to_string(), address.port(), Some(peer))
}

pub fn the_sweep_does_not_keep_a_loop_alive(network: &Network) {
    let mut world = World::new(network);
    let log = Log::default();
    let pair = world.pair();
    pair.to.set_timeout(100);
    pair.to.set_long_timeout(100);
    pair.to.close(0);
    pair.from.close(0);
    let start = Instant::now();
    world.end();
    assert!(start.elapsed() < Duration::from_secs(1));
    says(&log, &[]);
}
