//! Timeouts of sockets: in steps of four seconds. Time is real here, so there are few tests, and they wait at the same
//! time.

use crate::world::{Context, End, Log, Network, Pair, Peer, Sock, World, says};
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

/// Sweeps so many times by hand.
fn sweep(world: &mut World, n: u32) {
    for _ in 0..n {
        world.event_loop.as_mut().sweep();
    }
    world.turn();
}

/// Notes after how many sweeps something fires.
fn note_sweeps(context: &Context, log: &Log) {
    let (clock, to) = (context.clone(), log.clone());
    context.on_timeout(move |_| to.add(format!("short {}", clock.timestamp())));
    let (clock, to) = (context.clone(), log.clone());
    context.on_long_timeout(move |_| to.add(format!("long {}", clock.timestamp())));
}

pub fn both_kinds_count_for_themselves(network: &Network) {
    let mut world = World::new(network);
    let Pair { to, from, client, server } = world.pair();
    let log = Log::default();
    note_sweeps(&client.context, &log);
    to.set_timeout(61);
    to.set_long_timeout(2);
    assert_eq!(client.context.timestamp(), 0, "the machine is too slow for this test");
    sweep(&mut world, 100);
    says(&log, &["short 16", "long 30"]);
    // Once; and the longest there are, which upstream takes for others.
    log.forget();
    let now = u32::from(client.context.timestamp());
    to.set_timeout(u32::MAX);
    to.set_long_timeout(u32::MAX);
    sweep(&mut world, 238);
    assert_eq!(log.all(), [""; 0], "{now}");
    sweep(&mut world, 2);
    assert_eq!(log.len(), 1);
    sweep(&mut world, 240 * 15);
    assert_eq!(log.len(), 2);
    assert!(log.all()[0].starts_with("short") && log.all()[1].starts_with("long"), "{:?}", log.all());
    // Taken away one by one, and together by a close.
    to.set_timeout(1);
    to.set_long_timeout(1);
    to.set_timeout(0);
    sweep(&mut world, 30);
    assert_eq!(log.len(), 3);
    to.set_timeout(1);
    to.set_long_timeout(1);
    to.close(0);
    from.set_long_timeout(1);
    from.set_timeout(1);
    // Its place is taken by another, who has set none.
    let again = world.pair();
    sweep(&mut world, 30);
    assert_eq!(log.len(), 3);
    server.says(&["end", "timeout", "long timeout"]);
    again.client.says(&[]);
    again.server.says(&[]);
    // The client holds itself alive by its callbacks.
    client.context.on_timeout(|_| {});
    client.context.on_long_timeout(|_| {});
}

pub fn adopting_and_connecting_clear_them(network: &Network) {
    let mut world = World::new(network);
    let (client, server) = (End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    let socket = client.context.connect(world.ip(), port, None, 0).unwrap().unwrap();
    socket.set_timeout(1);
    socket.set_long_timeout(1);
    world.until("a connection", || client.opened() + server.opened() == 2);
    sweep(&mut world, 30);
    // Success takes the short one away, the long one is the program's.
    client.says(&["open client", "long timeout"]);
    let next = End::<()>::new(&world);
    socket.set_timeout(1);
    socket.set_long_timeout(1);
    let moved = next.context.adopt(&socket, |ext| ext).unwrap();
    sweep(&mut world, 30);
    client.says(&["open client", "long timeout"]);
    next.says(&[]);
    moved.set_timeout(1);
    sweep(&mut world, 1);
    next.says(&["timeout"]);
}

pub fn a_sweep_may_close_and_move_everybody(network: &Network) {
    const MANY: usize = 50;
    let mut world = World::new(network);
    let (client, server, other) = (End::<()>::new(&world), End::<()>::new(&world), End::<()>::new(&world));
    let (_listener, port) = world.listen(&server.context);
    let sockets: Rc<Vec<Sock>> =
        Rc::new((0..MANY).map(|_| client.context.connect(world.ip(), port, None, 0).unwrap().unwrap()).collect());
    world.until("connections", || client.opened() + server.opened() == 2 * MANY);
    client.log.forget();
    sockets.iter().for_each(|socket| socket.set_timeout(1));
    let (all, log, next) = (sockets.clone(), client.log.clone(), other.context.clone());
    client.context.on_timeout(move |socket| {
        log.add("timeout");
        // Within its own sweep: nothing is lost, nothing told twice, and what is set now is for the next.
        socket.set_timeout(1);
        for (n, socket) in all.iter().enumerate() {
            match n % 3 {
                0 => socket.close(0),
                1 => drop(next.adopt(socket, |ext| ext)),
                _ => {}
            }
        }
    });
    sweep(&mut world, 1);
    let told = client.log.all().iter().filter(|line| *line == "timeout").count();
    let closed = client.log.all().iter().filter(|line| *line == "close 0").count();
    // The first of all, and those who were neither closed nor moved.
    assert!((16..=17).contains(&told), "{told}");
    assert_eq!(closed, 17);
    assert_eq!((client.context.sockets(), other.context.sockets()), (16, 17));
    other.says(&[]);
    client.log.forget();
    sweep(&mut world, 1);
    assert_eq!(client.log.all().iter().filter(|line| *line == "timeout").count(), 16);
    client.context.on_timeout(|_| {});
}

pub fn a_sweep_within_a_sweep_loses_nothing(network: &Network) {
    let mut world = World::new(network);
    let pair = world.pair();
    let second = world.pair();
    let log = Log::default();
    for end in [&pair.client, &second.client] {
        let (context, to) = (pair.client.context.clone(), log.clone());
        end.context.on_timeout(move |_| {
            to.add("timeout");
            context.loop_mut().sweep();
        });
    }
    pair.to.set_timeout(1);
    let moved = pair.client.context.adopt(&second.to, |ext| ext).unwrap();
    moved.set_timeout(5);
    sweep(&mut world, 1);
    sweep(&mut world, 1);
    says(&log, &["timeout", "timeout"]);
    for end in [&pair.client, &second.client] {
        end.context.on_timeout(|_| {});
    }
}
