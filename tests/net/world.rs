//! Two programs and the network between them, in one thread.

use nethuns_rs::net::{
    ConnectOptions, Data, Event, ListenOptions, ListenerId, Net, Reader, Readiness, SocketError, TcpId,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take.
/// Far more than it does, on a machine that is busy with other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One program's side.
pub struct Side {
    pub net: Net,
    pub reader: Reader,
    /// Everything that was told, in order.
    pub told: Vec<Event>,
}

impl Side {
    fn new(net: Net) -> Self {
        Self { reader: net.reader(), net, told: Vec::new() }
    }

    /// One short poll, and what it tells.
    pub fn turn(&mut self) {
        self.net.poll(Some(Duration::from_micros(200))).unwrap();
        while let Some(event) = self.net.next_event() {
            self.told.push(event);
        }
    }

    /// All that was told of a connection.
    pub fn told_of(&self, id: TcpId) -> Readiness {
        let of = |event: &Event| matches!(event, Event::Tcp(other, _) if *other == id);
        self.told.iter().filter(|event| of(event)).fold(Readiness::NONE, |all, event| match event {
            Event::Tcp(_, what) => all | *what,
            _ => all,
        })
    }

    /// How often connections were told to wait.
    pub fn accepts(&self) -> usize {
        self.told.iter().filter(|event| matches!(event, Event::Accept(_))).count()
    }

    /// Reads all there is: the bytes, and how it ended.
    pub fn read_all(&mut self, id: TcpId) -> (Vec<u8>, Result<(), SocketError>) {
        let mut bytes = Vec::new();
        loop {
            match self.net.tcp_recv(id) {
                Ok(Some(data)) => {
                    assert!(!data.is_empty());
                    let len = data.len();
                    let opened = self.reader.open(data);
                    assert_eq!(opened.len(), len);
                    bytes.extend_from_slice(&opened);
                }
                Ok(None) => return (bytes, Ok(())),
                Err(error) => return (bytes, Err(error)),
            }
        }
    }

    /// What is there now, one piece.
    pub fn piece(&mut self, id: TcpId) -> Data {
        self.net.tcp_recv(id).unwrap().expect("no end of stream")
    }
}

/// A client's side and a server's.
pub struct World {
    pub client: Side,
    pub server: Side,
    /// The server's address.
    pub ip: IpAddr,
    /// The client's.
    pub client_ip: IpAddr,
}

impl World {
    pub fn kernel() -> Self {
        let net = || Side::new(Net::kernel().unwrap());
        let [ip, client_ip] = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().unwrap());
        Self { client: net(), server: net(), ip, client_ip }
    }

    /// The engine on both sides of a wire in memory.
    pub fn memory() -> Self {
        Self::memory_with("")
    }

    /// The same with more options on both sides.
    pub fn memory_with(options: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let wire = format!("mem:net-tests-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let side = |ip: &str| {
            let spec = format!("{wire}?ip={ip}/24{options}");
            let net = Net::builder().spec(&spec).build().unwrap();
            assert_eq!(net.name(), spec);
            Side::new(net)
        };
        let (client, server) = (side("10.0.0.1"), side("10.0.0.2"));
        let [ip, client_ip] = ["10.0.0.2", "10.0.0.1"].map(|ip| ip.parse().unwrap());
        Self { client, server, ip, client_ip }
    }

    pub fn turn(&mut self) {
        self.client.turn();
        self.server.turn();
    }

    /// Turns until something is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !so(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "not so: {what}; client {:?}, server {:?}",
                last(&self.client.told),
                last(&self.server.told)
            );
            self.turn();
        }
    }

    /// Lets some time pass in which nothing should happen.
    pub fn idle(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            self.turn();
        }
    }

    /// Forgets what was told.
    pub fn forget(&mut self) {
        self.client.told.clear();
        self.server.told.clear();
    }

    pub fn listen(&mut self, options: &ListenOptions) -> (ListenerId, SocketAddr) {
        let listener = self.server.net.tcp_listen(SocketAddr::new(self.ip, 0), options).unwrap();
        let address = self.server.net.tcp_listener_addr(listener).unwrap();
        assert_eq!(address.ip(), self.ip);
        assert_ne!(address.port(), 0);
        (listener, address)
    }

    /// A connection: the client's end and the server's. Nothing is left to tell.
    pub fn connect(&mut self) -> (TcpId, TcpId) {
        self.connect_with(&ListenOptions::default(), &ConnectOptions::default())
    }

    pub fn connect_with(&mut self, listen: &ListenOptions, connect: &ConnectOptions) -> (TcpId, TcpId) {
        let (listener, address) = self.listen(listen);
        let client = self.client.net.tcp_connect(address, connect).unwrap();
        let mut server = None;
        self.until("a connection", |world| {
            if server.is_none() {
                server = world.server.net.tcp_accept(listener).ok();
            }
            server.is_some() && world.client.told_of(client).contains(Readiness::CONNECTED)
        });
        self.server.net.tcp_unlisten(listener).unwrap();
        self.turn();
        self.forget();
        (client, server.unwrap())
    }
}

/// The last few of many.
fn last(told: &[Event]) -> &[Event] {
    &told[told.len().saturating_sub(5)..]
}
