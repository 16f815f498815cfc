//! Ten thousand connections, of a loop with itself and over a bad line, that are closed, adopted, paused, ended by halves, reset and timed out
//! at random. Everything is told once, all user data is dropped once, and at the end nothing is alive and no frame is
//! missing. `NETHUNS_SOAK_SEED` repeats a run, `NETHUNS_SOAK_CONNECTIONS` makes it longer or shorter.
#![cfg(all(target_os = "linux", feature = "usockets"))]

use nethuns_rs::mem::{self, MemFlags};
use nethuns_rs::net;
use nethuns_rs::usockets::{Loop, Socket, SocketContext, SocketContextOptions, Timer};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// Most connections at once: two descriptors each on the kernel's network.
const AT_ONCE: usize = 300;

/// How long the whole may take.
const PATIENCE: Duration = Duration::from_secs(300);

thread_local! {
    /// User data that was made, and that was dropped, of this thread's loop.
    static MADE: Cell<u64> = const { Cell::new(0) };
    static DROPPED: Cell<u64> = const { Cell::new(0) };
}

/// User data of sockets.
struct Mark {
    closed: bool,
}

impl Default for Mark {
    fn default() -> Self {
        MADE.set(MADE.get() + 1);
        Self { closed: false }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        DROPPED.set(DROPPED.get() + 1);
    }
}

/// User data of adopted sockets: another type, so that it moves.
#[derive(Default)]
struct Adopted(Mark);

impl AsMut<Mark> for Mark {
    fn as_mut(&mut self) -> &mut Mark {
        self
    }
}

impl AsMut<Mark> for Adopted {
    fn as_mut(&mut self) -> &mut Mark {
        &mut self.0
    }
}

type Context<S> = SocketContext<false, (), S>;
type Sock<S> = Socket<false, S>;

/// How often something happened.
#[derive(Default, Debug)]
struct Counts {
    begun: Cell<usize>,
    taken_back: Cell<usize>,
    refused: Cell<usize>,
    opened: Cell<usize>,
    accepted: Cell<usize>,
    closed: Cell<usize>,
    broken: Cell<usize>,
    ended: Cell<usize>,
    adopted: Cell<usize>,
    timeouts: Cell<usize>,
    paused: Cell<usize>,
    bytes: Cell<usize>,
}

fn count(what: &Cell<usize>) {
    what.set(what.get() + 1);
}

/// Sockets, by the type of their user data.
#[derive(Default)]
struct Live {
    first: Vec<Sock<Mark>>,
    adopted: Vec<Sock<Adopted>>,
}

/// One side: a loop's sockets and what they do.
struct Soak {
    counts: Rc<Counts>,
    random: Cell<u64>,
    /// Sockets that may be stirred.
    live: RefCell<Live>,
    clients: Context<Mark>,
    adopters: Context<Adopted>,
    servers: Context<Mark>,
    ip: &'static str,
    port: u16,
    /// Connections that this side shall begin.
    begins: usize,
    bytes: Vec<u8>,
}

impl Soak {
    /// Less than `n` (xorshift64).
    fn random(&self, n: u64) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        (x >> 11) % n
    }

    /// Something, at random. `adopt` is what becomes of a socket that shall move.
    fn act<S>(&self, socket: &Sock<S>, adopt: impl FnOnce(&Sock<S>)) {
        match self.random(24) {
            0 => socket.close(self.random(100) as i32),
            1 => socket.shutdown(),
            2 => {
                count(&self.counts.paused);
                socket.pause();
            }
            3 => socket.resume(),
            4..7 => adopt(socket),
            7 => socket.shutdown_read(),
            // With something unread on the other side, or on its way here: a reset.
            8 => {
                socket.write(&self.bytes[..1000], false);
                socket.close(0);
            }
            9 => {
                socket.write(b"last words", false);
                socket.shutdown();
                socket.close(0);
            }
            10 => {
                // More than there is room for.
                while socket.write(&self.bytes, false) == self.bytes.len() {}
            }
            11 => drop(socket.write2(&self.bytes[..10], &self.bytes[..100])),
            12 => {
                socket.write(b"part", true);
                socket.flush();
            }
            13 => socket.set_timeout(4 + self.random(3) as u32),
            14 => {
                socket.close(1);
                socket.close(2);
            }
            _ => drop(socket.write(&self.bytes[..1 + self.random(5000) as usize], false)),
        }
    }

    fn adopt(&self, socket: &Sock<Mark>) {
        // A socket of this turn may be closed already; then it is refused.
        if let Ok(moved) = self.adopters.adopt(socket, Adopted) {
            count(&self.counts.adopted);
            self.live.borrow_mut().adopted.push(moved);
        }
    }

    fn sockets(&self) -> usize {
        self.clients.sockets() + self.servers.sockets() + self.adopters.sockets()
    }

    /// Begins connections while there is room for them.
    fn connect(&self) {
        for _ in 0..20 {
            if self.counts.begun.get() >= self.begins || self.sockets() >= 2 * AT_ONCE {
                return;
            }
            count(&self.counts.begun);
            let port = if self.random(50) == 0 { 1 } else { self.port };
            let socket = self.clients.connect(self.ip, port, None, 0).expect("a connect").expect("a socket");
            if self.random(100) == 0 {
                socket.close_connecting();
                count(&self.counts.taken_back);
            } else {
                socket.set_timeout(8);
            }
        }
    }

    /// Some sockets do something of their own accord.
    fn stir(&self) {
        for _ in 0..10 {
            let picked = {
                let live = &mut *self.live.borrow_mut();
                live.first.retain(|socket| !socket.is_closed());
                live.adopted.retain(|socket| !socket.is_closed());
                let pick = |len: usize| (len > 0).then(|| self.random(len as u64) as usize);
                let first = pick(live.first.len()).map(|i| live.first[i].clone());
                (first, pick(live.adopted.len()).map(|i| live.adopted[i].clone()))
            };
            match (picked, self.random(2)) {
                ((Some(socket), _), 0) => self.act(&socket, |socket| self.adopt(socket)),
                ((_, Some(socket)), 1) => self.act(&socket, Sock::resume),
                _ => {}
            }
        }
    }
}

/// What all contexts have in common.
fn callbacks<S: AsMut<Mark> + Default + 'static>(
    soak: &Rc<Soak>,
    context: &Context<S>,
    act: fn(&Soak, &Sock<S>),
    keep: fn(&Soak, &Sock<S>),
) {
    let me = soak.clone();
    context.on_open(move |socket, is_client, ip| {
        assert_eq!(is_client, ip.is_empty());
        count(if is_client { &me.counts.opened } else { &me.counts.accepted });
        socket.set_timeout(4);
        keep(&me, socket);
        socket.write(&me.bytes[..1 + me.random(2000) as usize], false);
        act(&me, socket);
    });
    let me = soak.clone();
    context.on_data(move |socket, data| {
        assert!(!data.is_empty() && !socket.is_closed());
        assert!(!socket.ext_mut().expect("user data").as_mut().closed, "data after the end");
        me.counts.bytes.set(me.counts.bytes.get() + data.len());
        data.fill(0);
        act(&me, socket);
    });
    let me = soak.clone();
    context.on_writable(move |socket| act(&me, socket));
    let me = soak.clone();
    context.on_end(move |socket| {
        count(&me.counts.ended);
        match me.random(3) {
            0 => socket.close(0),
            1 => {
                socket.write(b"fare well", false);
                socket.shutdown();
            }
            _ => act(&me, socket),
        }
    });
    let me = soak.clone();
    context.on_timeout(move |socket| {
        count(&me.counts.timeouts);
        match me.random(4) {
            0 => {
                act(&me, socket);
                socket.set_timeout(1);
            }
            // Others are due in the same sweep.
            1 => {
                me.stir();
                socket.close(4);
            }
            _ => socket.close(4),
        }
    });
    let me = soak.clone();
    context.on_close(move |socket, _, reason| {
        count(&me.counts.closed);
        if reason.is_some() {
            count(&me.counts.broken);
        }
        assert!(socket.is_closed());
        let was = std::mem::replace(&mut socket.ext_mut().expect("user data in on_close").as_mut().closed, true);
        assert!(!was, "closed twice");
        act(&me, socket);
        if me.random(20) == 0 {
            me.stir();
        }
    });
    let me = soak.clone();
    context.on_connect_error(move |socket, code| {
        count(&me.counts.refused);
        assert!(!socket.is_closed() && !socket.is_established() && code != 0);
    });
}

fn seed() -> u64 {
    let given = std::env::var("NETHUNS_SOAK_SEED").ok().and_then(|text| text.parse().ok());
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64);
    given.unwrap_or_else(clock).max(1)
}

fn connections() -> usize {
    let given = std::env::var("NETHUNS_SOAK_CONNECTIONS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(10_000)
}

/// A loop, its contexts and what it does.
struct Side {
    event_loop: Loop<()>,
    soak: Rc<Soak>,
    stirring: Timer<()>,
}

impl Side {
    /// Begins so many connections to a port of that address; without one, to a port of its own.
    fn new(spec: &str, seed: u64, counts: &Rc<Counts>, ip: &'static str, port: Option<u16>, begins: usize) -> Self {
        let event_loop = Loop::on_network(net::Net::builder().spec(spec), ()).expect("a loop");
        assert_eq!(event_loop.network(), spec);
        let options = SocketContextOptions::default;
        let clients: Context<Mark> = event_loop.create_socket_context(options()).expect("a context");
        let servers: Context<Mark> = event_loop.create_socket_context(options()).expect("a context");
        let adopters: Context<Adopted> = event_loop.create_socket_context(options()).expect("a context");
        let port = port.unwrap_or_else(|| {
            let listener = servers.listen(ip, 0, 0).expect("a listener");
            u16::try_from(listener.port()).expect("a port")
        });
        let soak = Rc::new(Soak {
            counts: counts.clone(),
            random: Cell::new(seed),
            live: RefCell::default(),
            clients,
            adopters,
            servers,
            ip,
            port,
            begins,
            bytes: vec![7; 100_000],
        });
        let first: fn(&Soak, &Sock<Mark>) = |me, socket| me.act(socket, |socket| me.adopt(socket));
        let keep: fn(&Soak, &Sock<Mark>) = |me, socket| me.live.borrow_mut().first.push(socket.clone());
        callbacks(&soak, &soak.clients, first, keep);
        callbacks(&soak, &soak.servers, first, keep);
        callbacks(&soak, &soak.adopters, |me, socket| me.act(socket, Sock::resume), |_, _| {});
        // No socket is left to itself for ever: each is stirred until it has gone.
        let stirring: Timer<()> = event_loop.create_timer().expect("a timer");
        let (me, all) = (soak.clone(), connections());
        stirring
            .set(1, 1, move |timer| {
                me.connect();
                me.stir();
                if me.counts.begun.get() == all && me.sockets() == 0 {
                    timer.close().expect("it is open");
                }
            })
            .expect("it is open");
        Self { event_loop, soak, stirring }
    }
}

/// Ends with nothing alive.
fn soak(seed: u64, counts: &Counts, sides: &mut [Side]) {
    let start = Instant::now();
    let turn = |sides: &mut [Side]| {
        assert!(start.elapsed() < PATIENCE, "seed {seed}: {counts:?}");
        // One loop may wait; of two, each must be looked after.
        let wait = Duration::from_millis(if sides.len() == 1 { 100 } else { 1 });
        let step = |side: &mut Side| side.event_loop.step(Some(wait)).expect("the network");
        sides.iter_mut().map(step).fold(false, |any, alive| any | alive)
    };
    while sides.iter().any(|side| side.stirring.is_valid()) {
        turn(sides);
    }
    for side in &*sides {
        // The listener, and sockets of clients that had gone before it came to them.
        side.soak.servers.close();
        side.soak.clients.close();
        side.soak.adopters.close();
    }
    while turn(sides) {}
    println!("NETHUNS_SOAK_SEED={seed}: {counts:?} in {:?}", start.elapsed());

    let get = |cell: &Cell<usize>| cell.get();
    assert_eq!(get(&counts.begun), connections());
    // Those that timed out on their way are told of by `on_close`, as any close is.
    let never_opened = get(&counts.closed).checked_sub(get(&counts.opened) + get(&counts.accepted));
    let ends = get(&counts.opened) + get(&counts.refused) + get(&counts.taken_back) + never_opened.expect("all closed");
    assert_eq!(ends, connections(), "seed {seed}: every connect has one end: {counts:?}");
    assert_eq!(MADE.get(), DROPPED.get(), "seed {seed}: user data is dropped once: {counts:?}");
    assert!(MADE.get() >= (get(&counts.begun) + get(&counts.accepted)) as u64);
    for (what, n) in [
        ("refused", get(&counts.refused)),
        ("taken back", get(&counts.taken_back)),
        ("accepted", get(&counts.accepted)),
        ("broken", get(&counts.broken)),
        ("ended", get(&counts.ended)),
        ("adopted", get(&counts.adopted)),
        ("paused", get(&counts.paused)),
    ] {
        assert!(n > 0, "seed {seed}: never {what}: {counts:?}");
    }
    for side in sides {
        assert_eq!(side.event_loop.metrics().sockets_open, 0);
    }
}

/// Drops the loops; nothing of them is left.
fn end(sides: impl AsRef<[Side]> + IntoIterator<Item = Side>) {
    // What one loop owes goes to the other, which a drop would not look after.
    let start = Instant::now();
    let drained = |side: &Side| side.event_loop.drain(Duration::from_millis(2)).expect("the network");
    while sides.as_ref().iter().map(drained).fold(false, |any, done| any | !done) {
        assert!(start.elapsed() < PATIENCE, "something is owed for ever");
    }
    for Side { event_loop, soak, stirring } in sides {
        drop(event_loop);
        assert!(!soak.clients.is_valid() && !stirring.is_valid());
        drop(stirring);
        assert_eq!(Rc::strong_count(&soak), 1, "callbacks are dropped with the loop");
    }
}

/// Frames of a wire that have not come home.
fn frames(wire: &str) -> Option<usize> {
    use nethuns_rs::api::Socket as _;
    mem::Sock::create(wire, None, MemFlags::default()).expect("the wire").frames_in_flight()
}

/// A loop with itself.
fn alone(spec: &str, ip: &'static str) {
    let (seed, counts) = (seed(), Rc::new(Counts::default()));
    println!("{spec}: NETHUNS_SOAK_SEED={seed}");
    let mut side = [Side::new(spec, seed, &counts, ip, None, connections())];
    soak(seed, &counts, &mut side);
    end(side);
}

#[test]
fn on_the_kernel() {
    alone("kernel", "127.0.0.1");
}

#[test]
fn on_the_engine() {
    alone("mem:usockets-soak?ip=10.0.0.1/24", "10.0.0.1");
    assert_eq!(frames("mem:usockets-soak"), Some(0), "every frame has come home");
}

/// Two loops, and a line between them that loses, doubles and reorders.
#[test]
fn on_a_bad_line() {
    let (seed, counts) = (seed(), Rc::new(Counts::default()));
    println!("a bad line: NETHUNS_SOAK_SEED={seed}");
    let spec = |ip: &str| {
        format!(
            "mem:usockets-soak-bad?ip={ip}/24&loss=1%&dup=1%&reorder=1%&delay=100us&min_rto=5ms&faults=rx&seed={seed}"
        )
    };
    let server = Side::new(&spec("10.0.0.2"), seed, &counts, "10.0.0.2", None, 0);
    let port = server.soak.port;
    let client = Side::new(&spec("10.0.0.1"), seed.rotate_left(32), &counts, "10.0.0.2", Some(port), connections());
    let mut sides = [server, client];
    soak(seed, &counts, &mut sides);
    end(sides);
    assert_eq!(frames("mem:usockets-soak-bad"), Some(0), "every frame has come home");
}
