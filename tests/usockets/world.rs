//! A loop on a network, contexts that note what they are told, and a peer that speaks TCP without uSockets.

use nethuns_rs::mem::{self, MemFlags};
use nethuns_rs::net::{self, ConnectOptions, Event, ListenOptions, Net, Reader, Readiness, SocketError, TcpId};
use nethuns_rs::usockets::{ListenSocket, Loop, Socket, SocketContext, SocketContextOptions};
use std::cell::RefCell;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take: far more than it does, on a machine that is busy with other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A context of the tests: plain TCP, nothing kept with the loop.
pub type Context<S = ()> = SocketContext<false, (), S>;

/// A socket of the tests.
pub type Sock<S = ()> = Socket<false, S>;

/// Where a loop is opened: on the kernel's network, or on a wire in memory.
#[derive(Clone)]
pub struct Network {
    wire: Option<String>,
    options: &'static str,
    /// Two addresses of the loop's own.
    pub ips: [&'static str; 2],
    /// The other end's: of the peer, or of a second loop.
    pub other: &'static str,
}

impl Network {
    pub fn kernel() -> Self {
        Self { wire: None, options: "", ips: ["127.0.0.1", "127.0.0.2"], other: "127.0.0.3" }
    }

    pub fn memory() -> Self {
        // There is somebody at 10.0.0.77 who never answers.
        Self::memory_with("&neigh=10.0.0.77=02:00:00:00:00:77")
    }

    /// The same with more options, at both ends.
    pub fn memory_with(options: &'static str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let wire = format!("mem:usockets-tests-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { wire: Some(wire), options, ips: ["10.0.0.1", "10.0.0.2"], other: "10.0.0.3" }
    }

    /// The same network from the other end.
    pub fn turned(&self) -> Self {
        Self { ips: [self.other; 2], other: self.ips[0], ..self.clone() }
    }

    pub fn is_kernel(&self) -> bool {
        self.wire.is_none()
    }

    /// What a loop on it is opened with.
    pub fn spec(&self) -> String {
        let Some(wire) = &self.wire else { return "kernel".into() };
        let mut ips: Vec<_> = self.ips.iter().map(|ip| format!("{ip}/24")).collect();
        ips.dedup();
        format!("{wire}?ip={}{}", ips.join(","), self.options)
    }

    /// Opens a loop, and sees that it is where it shall be.
    pub fn open<T: 'static>(&self, ext: T) -> Loop<T> {
        let spec = self.spec();
        let event_loop = Loop::on_network(net::Net::builder().spec(&spec), ext).unwrap();
        assert_eq!(event_loop.network(), spec, "the test is about another network");
        event_loop
    }

    /// The other end, without uSockets.
    pub fn peer(&self) -> Peer {
        let spec = self.turned().spec();
        let net = Net::builder().spec(&spec).build().unwrap();
        assert_eq!(net.name(), spec);
        Peer { reader: net.reader(), net, told: Vec::new(), ip: self.other.parse().unwrap() }
    }

    /// Frames that have not come home, if there are frames. Only those that are on their way to nobody may be missing
    /// when no socket is left.
    pub fn frames_in_flight(&self) -> usize {
        use nethuns_rs::api::Socket as _;
        let Some(wire) = &self.wire else { return 0 };
        let observer = mem::Sock::create(wire, None, MemFlags::default()).unwrap();
        observer.frames_in_flight().expect("the wire counts its frames")
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub fn add(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub fn has(&self, what: &str) -> bool {
        self.0.borrow().iter().any(|line| line == what)
    }

    pub fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Insists on what a log says.
#[track_caller]
pub fn says(log: &Log, expected: &[&str]) {
    assert_eq!(log.all(), expected);
}

/// A context with a log of all that it is told, and the sockets that it has opened.
pub struct End<S: Default + 'static = ()> {
    pub context: Context<S>,
    pub log: Log,
    sockets: Rc<RefCell<Vec<Sock<S>>>>,
}

impl<S: Default + 'static> End<S> {
    pub fn new(world: &World) -> Self {
        let context = world.context::<S>();
        let (log, sockets) = (Log::default(), Rc::new(RefCell::new(Vec::new())));
        note(&context, &log, &sockets);
        Self { context, log, sockets }
    }

    /// How many have been opened.
    pub fn opened(&self) -> usize {
        self.sockets.borrow().len()
    }

    /// The one that was opened so many after the first.
    #[track_caller]
    pub fn socket(&self, n: usize) -> Sock<S> {
        self.sockets.borrow()[n].clone()
    }

    #[track_caller]
    pub fn says(&self, expected: &[&str]) {
        says(&self.log, expected);
    }
}

/// What data looks like in a log.
pub fn shown(data: &[u8]) -> String {
    if data.len() > 40 { format!("data {}", data.len()) } else { format!("data {}", String::from_utf8_lossy(data)) }
}

/// What a close looks like in a log.
pub fn closed(code: i32, reason: Option<SocketError>) -> String {
    reason.map_or_else(|| format!("close {code}"), |reason| format!("close {code} {reason:?}"))
}

fn note<S: Default + 'static>(context: &Context<S>, log: &Log, sockets: &Rc<RefCell<Vec<Sock<S>>>>) {
    let (to, opened) = (log.clone(), sockets.clone());
    context.on_open(move |socket, is_client, _| {
        to.add(if is_client { "open client" } else { "open server" });
        opened.borrow_mut().push(socket.clone());
    });
    let to = log.clone();
    context.on_data(move |_, data| to.add(shown(data)));
    let to = log.clone();
    context.on_end(move |_| to.add("end"));
    let to = log.clone();
    context.on_writable(move |_| to.add("writable"));
    let to = log.clone();
    context.on_timeout(move |_| to.add("timeout"));
    let to = log.clone();
    context.on_long_timeout(move |_| to.add("long timeout"));
    let to = log.clone();
    context.on_close(move |_, code, reason| to.add(closed(code, reason)));
    let to = log.clone();
    context.on_connect_error(move |socket, _| to.add(format!("connect error {:?}", socket.error())));
}

/// A loop on its network.
pub struct World {
    pub network: Network,
    pub event_loop: Loop<()>,
}

impl World {
    pub fn new(network: &Network) -> Self {
        Self { event_loop: network.open(()), network: network.clone() }
    }

    pub fn context<S: Default + 'static>(&self) -> Context<S> {
        self.event_loop.create_socket_context(SocketContextOptions::default()).unwrap()
    }

    pub fn ip(&self) -> &'static str {
        self.network.ips[0]
    }

    /// One iteration that does not wait long; whether anything keeps the loop alive.
    pub fn turn(&mut self) -> bool {
        self.event_loop.step(Some(Duration::from_millis(1))).unwrap()
    }

    /// Turns until something is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < PATIENCE, "not so: {what}");
            self.turn();
        }
    }

    /// The same with a peer that turns too.
    #[track_caller]
    pub fn with(&mut self, peer: &mut Peer, what: &str, mut so: impl FnMut(&mut Peer) -> bool) {
        let start = Instant::now();
        while !so(peer) {
            assert!(start.elapsed() < PATIENCE, "not so: {what}; the peer was told {:?}", peer.told);
            self.turn();
            peer.turn();
        }
    }

    /// Lets some time pass in which nothing should happen.
    pub fn idle(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            self.turn();
        }
    }

    /// Turns until nothing keeps the loop alive.
    #[track_caller]
    pub fn end(&mut self) {
        let start = Instant::now();
        while self.turn() {
            assert!(start.elapsed() < PATIENCE, "something keeps the loop alive: {}", self.event_loop.metrics());
        }
    }

    /// Listens on any port.
    pub fn listen<S: Default + 'static>(&self, context: &Context<S>) -> (ListenSocket<false, ()>, u16) {
        let listener = context.listen(self.ip(), 0, 0).unwrap();
        let port = u16::try_from(listener.port()).unwrap();
        assert_ne!(port, 0);
        (listener, port)
    }

    /// A connection of the loop with itself, the listener closed and the logs empty.
    pub fn pair(&mut self) -> Pair {
        self.pair_of::<(), ()>()
    }

    /// The same with user data.
    pub fn pair_of<C: Default + 'static, S: Default + 'static>(&mut self) -> Pair<C, S> {
        let (client, server) = (End::<C>::new(self), End::<S>::new(self));
        let (listener, port) = self.listen(&server.context);
        client.context.connect(self.ip(), port, None, 0).unwrap().expect("a socket");
        self.until("a connection", || client.opened() + server.opened() == 2);
        client.says(&["open client"]);
        server.says(&["open server"]);
        listener.close();
        client.log.forget();
        server.log.forget();
        Pair { to: client.socket(0), from: server.socket(0), client, server }
    }

    /// A connection that the loop has accepted from a peer.
    pub fn accepted(&mut self, peer: &mut Peer) -> (End, Sock, TcpId) {
        let server = End::<()>::new(self);
        let (listener, port) = self.listen(&server.context);
        let address = SocketAddr::new(self.ip().parse().unwrap(), port);
        let id = peer.net.tcp_connect(address, &ConnectOptions::default()).unwrap();
        self.with(peer, "a connection", |peer| server.opened() == 1 && peer.told_of(id).contains(Readiness::CONNECTED));
        server.says(&["open server"]);
        listener.close();
        server.log.forget();
        peer.told.clear();
        let socket = server.socket(0);
        (server, socket, id)
    }
}

/// Both ends of a connection of a loop with itself.
pub struct Pair<C: Default + 'static = (), S: Default + 'static = ()> {
    pub client: End<C>,
    pub server: End<S>,
    /// The client's socket.
    pub to: Sock<C>,
    /// The server's.
    pub from: Sock<S>,
}

/// TCP without uSockets, at the other end.
pub struct Peer {
    pub net: Net,
    reader: Reader,
    pub told: Vec<Event>,
    pub ip: IpAddr,
}

impl Peer {
    pub fn turn(&mut self) {
        self.net.poll(Some(Duration::from_micros(200))).unwrap();
        while let Some(event) = self.net.next_event() {
            self.told.push(event);
        }
    }

    pub fn told_of(&self, id: TcpId) -> Readiness {
        self.told.iter().fold(Readiness::NONE, |all, event| match event {
            Event::Tcp(other, what) if *other == id => all | *what,
            _ => all,
        })
    }

    pub fn send(&mut self, id: TcpId, bytes: &[u8]) {
        assert_eq!(self.net.tcp_send(id, bytes), Ok(bytes.len()));
        self.net.flush();
    }

    pub fn finish(&mut self, id: TcpId) {
        self.net.tcp_shutdown(id, Shutdown::Write).unwrap();
        self.net.flush();
    }

    /// Reads all there is: the bytes, and how it ended.
    pub fn read(&mut self, id: TcpId) -> (Vec<u8>, Result<(), SocketError>) {
        let mut bytes = Vec::new();
        loop {
            match self.net.tcp_recv(id) {
                Ok(Some(data)) => bytes.extend_from_slice(&self.reader.open(data)),
                Ok(None) => return (bytes, Ok(())),
                Err(error) => return (bytes, Err(error)),
            }
        }
    }

    /// Listens on any port.
    pub fn listen(&mut self) -> (net::ListenerId, u16) {
        let listener = self.net.tcp_listen(SocketAddr::new(self.ip, 0), &ListenOptions::default()).unwrap();
        (listener, self.net.tcp_listener_addr(listener).unwrap().port())
    }
}
