//! Programs that do nothing but send, take or answer: for measuring, without a look at the bytes.

use super::super::{ConnectOptions, Event, Instant, ListenOptions, Readiness, SocketError, SocketOptions, TcpId};
use super::host::{Host, MOST_TURNS};
use super::net::Node;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const PORT: u16 = 9;
/// Port of the first connection; the next has the next one.
const FIRST_PORT: u16 = 20_000;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Sends as much as it can.
    Flood,
    /// Takes what comes.
    Drain,
    /// Sends a request of so many bytes, waits for so many, and again after a pause.
    Ask { request: usize, answer: usize, pause: Duration },
    /// Answers every request of so many bytes by so many.
    Answer { request: usize, answer: usize },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    id: TcpId,
    pub(super) received: u64,
    to_send: usize,
    writable: bool,
    /// Of the answer, still to come.
    awaited: usize,
    asked_at: Instant,
    ask_at: Option<Instant>,
}

/// An engine whose connections all have the same job.
pub(super) struct Worker {
    pub(super) host: Host,
    job: Job,
    remote: SocketAddr,
    local: IpAddr,
    /// When connections are to be opened.
    opens: Vec<Instant>,
    /// By port of the opener.
    pub(super) lines: BTreeMap<u16, Line>,
    ports: BTreeMap<TcpId, u16>,
    /// How long each answer took.
    pub(super) times: Vec<Duration>,
}

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl Worker {
    /// One that accepts.
    pub(super) fn server(mut host: Host, job: Job, socket: SocketOptions) -> Self {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
        let options = ListenOptions { socket, ..ListenOptions::default() };
        host.stack.tcp_listen(any, &options).expect("a free port");
        Self::new(host, job, Vec::new(), any)
    }

    /// One that opens connections to `remote` at these times.
    pub(super) fn client(host: Host, job: Job, remote: Ipv4Addr, opens: Vec<Instant>) -> Self {
        Self::new(host, job, opens, SocketAddr::new(IpAddr::V4(remote), PORT))
    }

    fn new(host: Host, job: Job, opens: Vec<Instant>, remote: SocketAddr) -> Self {
        let local = host.stack.config().addresses[0].0;
        let (lines, ports, times) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { host, job, remote, local, opens, lines, ports, times }
    }

    fn add(&mut self, id: TcpId, port: u16, now: Instant) {
        let (received, to_send, awaited) = (0, 0, 0);
        self.lines.insert(port, Line { id, received, to_send, writable: true, awaited, asked_at: now, ask_at: None });
        self.ports.insert(id, port);
    }

    fn program(&mut self, now: Instant) -> bool {
        let mut any = false;
        while self.opens.first().is_some_and(|at| *at <= now) {
            self.opens.remove(0);
            let port = FIRST_PORT + self.lines.len() as u16;
            let local = Some(SocketAddr::new(self.local, port));
            let options = ConnectOptions { local, ..Default::default() };
            let id = self.host.stack.tcp_connect(now, self.remote, &options).expect("a connect");
            self.add(id, port, now);
            self.lines.get_mut(&port).expect("just added").writable = false;
            any = true;
        }
        while let Some(event) = self.host.stack.next_event() {
            any = true;
            match event {
                Event::Accept(listener) => {
                    while let Ok(id) = self.host.stack.tcp_accept(now, listener) {
                        let port = self.host.stack.tcp_peer_addr(id).expect("a new connection").port();
                        self.add(id, port, now);
                        self.take(port, now);
                    }
                }
                Event::Tcp(id, ready) => {
                    let port = self.ports[&id];
                    assert!(!ready.contains(Readiness::CLOSED), "{:?}", self.host.stack.tcp_error(id));
                    let line = self.lines.get_mut(&port).expect("a line");
                    line.writable |= ready.contains(Readiness::WRITABLE);
                    if ready.contains(Readiness::CONNECTED) && matches!(self.job, Job::Ask { .. }) {
                        line.ask_at = Some(now);
                    }
                    if ready.contains(Readiness::READABLE) {
                        self.take(port, now);
                    }
                }
                Event::Udp(..) => unreachable!("nobody speaks UDP here"),
            }
        }
        let ports: Vec<u16> = self.lines.keys().copied().collect();
        for port in ports {
            any |= self.give(port, now);
        }
        any
    }

    /// Reads all there is.
    fn take(&mut self, port: u16, now: Instant) {
        let line = self.lines.get_mut(&port).expect("a line");
        loop {
            let len = match self.host.stack.tcp_recv(now, line.id) {
                Ok(Some(chunk)) => chunk.open(&self.host.ctx).len(),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error, SocketError::WouldBlock, "a connection failed");
                    break;
                }
            };
            let before = line.received;
            line.received += len as u64;
            match self.job {
                Job::Flood | Job::Drain => {}
                Job::Answer { request, answer } => {
                    let asked = line.received / request as u64 - before / request as u64;
                    line.to_send += asked as usize * answer;
                }
                Job::Ask { pause, .. } => {
                    line.awaited -= len;
                    if line.awaited == 0 {
                        self.times.push(now.saturating_since(line.asked_at));
                        line.ask_at = Some(now + pause);
                    }
                }
            }
        }
    }

    /// Sends what there is to send.
    fn give(&mut self, port: u16, now: Instant) -> bool {
        let line = self.lines.get_mut(&port).expect("a line");
        match self.job {
            Job::Ask { request, answer, .. } if line.ask_at.is_some_and(|at| at <= now) => {
                (line.ask_at, line.asked_at) = (None, now);
                (line.to_send, line.awaited) = (request, answer);
            }
            Job::Flood => line.to_send = usize::MAX,
            _ => {}
        }
        let mut any = false;
        while line.writable && line.to_send > 0 {
            let part = &ZEROS[..line.to_send.min(ZEROS.len())];
            match self.host.stack.tcp_send(now, line.id, part) {
                Ok(count) => {
                    any = true;
                    line.writable = count == part.len();
                    line.to_send -= if self.job == Job::Flood { 0 } else { count };
                }
                Err(error) => {
                    assert_eq!(error, SocketError::WouldBlock, "a connection failed");
                    line.writable = false;
                }
            }
        }
        any
    }
}

impl Node for Worker {
    fn turn(&mut self, now: Instant, arrived: &[Vec<u8>], out: &mut Vec<Vec<u8>>) -> bool {
        let lost = self.host.receive(now, arrived.iter().map(Vec::as_slice));
        assert_eq!(lost, 0, "the pool is too small");
        let mut got_on = false;
        for turn in 0.. {
            assert!(turn < MOST_TURNS, "never rests at {now}");
            self.host.advance(now);
            let again = self.program(now);
            got_on |= again;
            let left = self.host.egress(now);
            if !left && !again && self.host.stack.poll_at().is_none_or(|at| at > now) {
                break;
            }
        }
        out.extend(self.host.card.sent.drain(..));
        got_on
    }

    fn next(&self) -> Option<Instant> {
        let ask = self.lines.values().filter_map(|line| line.ask_at).min();
        [self.host.stack.poll_at(), self.opens.first().copied(), ask].into_iter().flatten().min()
    }
}
