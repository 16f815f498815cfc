//! Many connections, each with one request under way.

use crate::answer::{Answer, Progress};
use crate::common::{TICK, send};
use crate::{Interval, Mode, Summary};
use nethuns_rs::net::{ConnectOptions, Event, Net, Reader, Readiness, SocketError, SocketOptions, TcpId};
use nethuns_tools::latency::Latency;
use nethuns_tools::output::Ticker;
use nethuns_tools::{Failure, Output, Stop};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Connects under way at once: fewer than a server's queue takes.
const CONNECTING: usize = 256;

/// How long all connections together may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// What shall be done.
pub struct Plan {
    pub server: SocketAddr,
    pub connections: usize,
    pub mode: Mode,
    pub request: Vec<u8>,
    pub http: bool,
    pub duration: Duration,
    pub requests: u64,
    pub local: Vec<IpAddr>,
    pub interval: Duration,
}

/// One connection.
struct Connection {
    id: TcpId,
    /// Bytes of the request that were sent.
    sent: usize,
    answer: Answer,
    /// When the request began.
    start: Instant,
    connected: bool,
    /// The answer is there, and the server's end of the connection follows.
    answered: bool,
}

pub struct Client {
    net: Net,
    reader: Reader,
    plan: Plan,
    /// By the word that the network keeps for each.
    connections: Vec<Option<Connection>>,
    /// Places to connect (again).
    vacant: Vec<usize>,
    connecting: usize,
    open: usize,
    /// Whether requests count.
    measuring: bool,
    /// How many connects there were, for the choice of the local address.
    connects: usize,
    requests: u64,
    sent: u64,
    received: u64,
    latency: Latency,
    errors: BTreeMap<String, u64>,
}

impl Client {
    pub fn new(net: Net, plan: Plan) -> Self {
        let n = plan.connections;
        Self {
            reader: net.reader(),
            net,
            connections: (0..n).map(|_| None).collect(),
            vacant: (0..n).rev().collect(),
            connecting: 0,
            open: 0,
            measuring: plan.mode == Mode::Crr,
            connects: 0,
            requests: 0,
            sent: 0,
            received: 0,
            latency: Latency::default(),
            errors: BTreeMap::new(),
            plan,
        }
    }

    /// Connects, measures, and tells.
    pub fn run(mut self, output: &Output, stop: &Stop) -> Result<Summary, Failure> {
        let begin = Instant::now();
        while !self.measuring {
            if begin.elapsed() > PATIENCE || stop.requested() || self.failed() > 0 {
                let why = self.errors.keys().next().map_or("no answer", String::as_str);
                let (open, all) = (self.open, self.plan.connections);
                return Err(Failure::new(format!("only {open} of {all} connections: {why}")));
            }
            self.turn(TICK)?;
            self.measuring = self.open == self.plan.connections;
        }
        let start = Instant::now();
        let cpu = cpu_seconds();
        let end = start + self.plan.duration;
        let all: Vec<usize> =
            if self.plan.mode == Mode::Crr { Vec::new() } else { (0..self.connections.len()).collect() };
        for place in all {
            self.begin(place);
        }
        let mut ticker = Ticker::new(self.plan.interval, start);
        let mut before = (0, 0, 0);
        loop {
            let now = Instant::now();
            if let Some((time_s, span)) = ticker.due(now) {
                let (requests, sent, received) = before;
                before = (self.requests, self.sent, self.received);
                let mbit = |bytes: u64| bytes as f64 * 8.0 / 1e6 / span;
                output.tell(&Interval {
                    time_s,
                    requests_per_s: (self.requests - requests) as f64 / span,
                    sent_mbit_s: mbit(self.sent - sent),
                    received_mbit_s: mbit(self.received - received),
                    connections: self.open,
                });
            }
            let broken = self.open + self.connecting + self.vacant.len() == 0;
            if now >= end || stop.requested() || self.requests >= self.plan.requests || broken {
                break;
            }
            self.turn(TICK.min(end - now))?;
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(Summary {
            net: self.net.name().into(),
            mode: Some(self.plan.mode),
            connections: self.plan.connections as u64,
            connect_s: if self.plan.mode == Mode::Crr { 0.0 } else { (start - begin).as_secs_f64() },
            seconds,
            cpu_s: cpu_seconds() - cpu,
            requests: self.requests,
            requests_per_s: self.requests as f64 / seconds,
            bytes_sent: self.sent,
            bytes_received: self.received,
            latency: self.latency.percentiles(),
            errors: self.errors,
        })
    }

    fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    fn turn(&mut self, timeout: Duration) -> Result<(), Failure> {
        self.connect();
        self.net.poll(Some(timeout))?;
        while let Some(event) = self.net.next_event() {
            let Event::Tcp(id, what) = event else { continue };
            let Some(place) = self.net.tcp_user(id).and_then(|word| usize::try_from(word).ok()) else { continue };
            if what.contains(Readiness::CONNECTED) {
                self.connecting -= 1;
                self.open += 1;
                if let Some(connection) = &mut self.connections[place] {
                    connection.connected = true;
                }
                if self.measuring {
                    self.begin(place);
                }
            }
            if let Err(error) = self.go_on(place, id, what) {
                self.end(place, Some(error));
            }
        }
        Ok(())
    }

    /// Begins to connect what is not connected, some at a time.
    fn connect(&mut self) {
        while self.connecting < CONNECTING {
            let Some(place) = self.vacant.pop() else { return };
            let local = self.plan.local.get(self.connects % self.plan.local.len().max(1)).copied();
            self.connects += 1;
            let options = ConnectOptions {
                local: local.map(|ip| SocketAddr::new(ip, 0)),
                socket: SocketOptions { nodelay: true, ..SocketOptions::default() },
                ..ConnectOptions::default()
            };
            match self.net.tcp_connect(self.plan.server, &options) {
                Ok(id) => {
                    self.net.tcp_set_user(id, place as u64);
                    self.connections[place] = Some(Connection {
                        id,
                        sent: 0,
                        answer: Answer::default(),
                        start: Instant::now(),
                        connected: false,
                        answered: false,
                    });
                    self.connecting += 1;
                }
                Err(error) => {
                    self.note(error.to_string());
                    // Ports come back with time.
                    if self.plan.mode == Mode::Crr {
                        self.vacant.push(place);
                    }
                    return;
                }
            }
        }
    }

    /// Begins a request.
    fn begin(&mut self, place: usize) {
        let Some(connection) = &mut self.connections[place] else { return };
        connection.sent = 0;
        connection.answer = if self.plan.http { Answer::default() } else { Answer::echo(&self.plan.request) };
        if self.plan.mode != Mode::Crr {
            connection.start = Instant::now();
        }
        let id = connection.id;
        if let Err(error) = self.write(place, id) {
            self.end(place, Some(error.to_string()));
        }
    }

    /// Sends what there is room for.
    fn write(&mut self, place: usize, id: TcpId) -> Result<(), SocketError> {
        let Some(connection) = &mut self.connections[place] else { return Ok(()) };
        while connection.sent < self.plan.request.len() {
            let rest = &self.plan.request[connection.sent..];
            let sent = send(&mut self.net, id, rest)?;
            connection.sent += sent;
            self.sent += sent as u64;
            if sent < rest.len() {
                break;
            }
            if self.plan.mode == Mode::Stream {
                connection.sent = 0;
            }
        }
        Ok(())
    }

    /// What follows from an event.
    fn go_on(&mut self, place: usize, id: TcpId, what: Readiness) -> Result<(), String> {
        if what.contains(Readiness::CLOSED) {
            if let Some(error) = self.net.tcp_error(id) {
                return Err(error.to_string());
            }
        }
        if self.measuring && what.contains(Readiness::WRITABLE) {
            self.write(place, id).map_err(|e| e.to_string())?;
        }
        if !what.intersects(Readiness::READABLE | Readiness::PEER_CLOSED | Readiness::CLOSED) {
            return Ok(());
        }
        loop {
            let data = match self.net.tcp_recv(id) {
                Ok(Some(data)) => data,
                Ok(None) if self.connections[place].as_ref().is_some_and(|connection| connection.answered) => {
                    self.end(place, None);
                    return Ok(());
                }
                Ok(None) => return Err("the server has ended the connection".into()),
                Err(SocketError::WouldBlock) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let bytes = self.reader.open(data);
            self.received += bytes.len() as u64;
            if self.plan.mode == Mode::Stream {
                continue;
            }
            let Some(connection) = &mut self.connections[place] else { return Ok(()) };
            let request = (!self.plan.http).then_some(&self.plan.request[..]);
            match connection.answer.take(&bytes, request) {
                Progress::More => {}
                Progress::Wrong(what) => return Err(what.into()),
                Progress::Done => {
                    drop(bytes);
                    let took = connection.start.elapsed();
                    self.latency.note(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX));
                    self.requests += 1;
                    match self.plan.mode {
                        // The server ends it, as it was asked to, and keeps the port busy for a while, not we.
                        Mode::Crr if self.plan.http => connection.answered = true,
                        Mode::Crr => {
                            self.end(place, None);
                            return Ok(());
                        }
                        _ => self.begin(place),
                    }
                }
            }
        }
    }

    /// Gives a connection up, in order or for a reason.
    fn end(&mut self, place: usize, error: Option<String>) {
        let Some(connection) = self.connections[place].take() else { return };
        let connected = error.is_none() || self.net.tcp_error(connection.id).is_none() || connection.sent > 0;
        if connected {
            self.open -= 1
        } else {
            self.connecting -= 1
        }
        self.net.tcp_close(connection.id);
        if let Some(error) = error {
            self.note(error);
        }
        // A connection of its own for the next request; one that broke is not replaced in the other modes.
        if self.plan.mode == Mode::Crr {
            self.vacant.push(place);
        }
    }

    fn note(&mut self, what: String) {
        *self.errors.entry(what).or_default() += 1;
    }
}

/// CPU time of this thread, in seconds: the first number of `schedstat` (proc(5)).
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}
