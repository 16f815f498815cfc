//! Programs that talk over an engine according to a plan, and notice every byte that is not what it should be.

use super::super::{
    ConnectOptions, Datagram, Event, Instant, ListenOptions, ListenerId, Readiness, SocketError, SocketOptions, TcpId,
    UdpId, UdpOptions,
};
use super::host::{Host, MOST_TURNS};
use super::net::Node;
use super::rng::{Pattern, Rng};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// Where every program listens.
pub(super) const PORT: u16 = 7;
/// The port from which the connection of the first plan is opened; the next plan has the next one.
pub(super) const FIRST_PORT: u16 = 10_000;
/// How long a program waits for a peer that may have vanished.
const PATIENCE: Duration = Duration::from_secs(3000);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Each side ends its stream when it has written everything, and closes when it has seen the other's end.
    Orderly,
    /// The same, but this role ends its stream only when it has seen the other's end.
    Late(usize),
    /// This role, to whom nothing is sent, closes as soon as it has written everything.
    CloseAfterWriting(usize),
    /// This role closes so long after it began, whatever has happened.
    CloseEarly(usize, Duration),
    /// This role aborts so long after it began.
    Abort(usize, Duration),
}

/// How one side of a connection behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// Bytes it writes in all.
    pub(super) bytes: u64,
    /// Bytes of one write and of one read, at most.
    pub(super) write_most: u64,
    pub(super) read_most: u64,
    /// What it waits between two of them, at most.
    pub(super) write_pause: Duration,
    pub(super) read_pause: Duration,
    pub(super) options: SocketOptions,
}

/// One connection, as both sides know it. Role 0 opens, role 1 accepts.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) open_at: Instant,
    /// The side of each role; the same for both if the connection stays inside one engine.
    pub(super) sides: [usize; 2],
    pub(super) habits: [Habits; 2],
    pub(super) ending: Ending,
}

impl Plan {
    /// Whether everything must be delivered, and both ends seen.
    pub(super) fn is_orderly(&self) -> bool {
        !matches!(self.ending, Ending::CloseEarly(..) | Ending::Abort(..))
    }
}

/// One role of one plan, while it is played.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) plan: usize,
    pub(super) role: usize,
    id: Option<TcpId>,
    rng: Rng,
    pub(super) begun: Option<Instant>,
    pub(super) connected: bool,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) end_seen: bool,
    shut: bool,
    pub(super) over: bool,
    pub(super) error: Option<SocketError>,
    /// What the engine has said and a call has not contradicted since.
    readable: bool,
    writable: bool,
    write_at: Instant,
    read_at: Instant,
    progress_at: Instant,
}

/// What a side does beside its connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    pub(super) backlog: usize,
    /// When its listener closes.
    pub(super) unlisten_at: Option<Instant>,
    /// Frames that its card takes per turn.
    pub(super) room: usize,
    /// Datagrams that it sends to the other side.
    pub(super) datagrams: u64,
    /// What it waits between two accepts.
    pub(super) accept_pause: Duration,
}

/// An engine with its programs.
pub(super) struct Endpoint {
    pub(super) host: Host,
    side: usize,
    /// Addresses of both sides.
    addresses: [Ipv4Addr; 2],
    plans: Rc<[Plan]>,
    pub(super) tasks: Vec<Task>,
    by_id: BTreeMap<TcpId, usize>,
    manners: Manners,
    listener: Option<ListenerId>,
    acceptable: bool,
    accept_at: Instant,
    socket: UdpId,
    /// Datagrams sent, and received whole.
    pub(super) told: u64,
    pub(super) heard: u64,
    tell_at: Instant,
    /// When to try again what the card had no room for.
    again: Option<Instant>,
    /// Frames that arrived while the pool was empty.
    pub(super) lost: usize,
    buffer: Vec<u8>,
    seed: u64,
}

/// The stream that a role of a plan writes.
pub(super) fn stream(seed: u64, plan: usize, role: usize) -> Pattern {
    Pattern(seed ^ (plan as u64 * 2 + role as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d))
}

impl Task {
    fn new(plan: usize, role: usize, seed: u64) -> Self {
        Self {
            plan,
            role,
            id: None,
            rng: Rng::new(seed ^ (plan as u64) << 8 ^ role as u64),
            begun: None,
            connected: false,
            written: 0,
            read: 0,
            end_seen: false,
            shut: false,
            over: false,
            error: None,
            readable: false,
            writable: false,
            write_at: Instant::ZERO,
            read_at: Instant::ZERO,
            progress_at: Instant::ZERO,
        }
    }

    fn begin(&mut self, now: Instant, id: TcpId) {
        (self.id, self.begun, self.progress_at) = (Some(id), Some(now), now);
    }

    fn pause(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.rng.range(0..most.as_nanos() as u64 + 1))
    }

    /// When it wants to do something that nothing else wakes it for.
    fn next(&self, plan: &Plan) -> Option<Instant> {
        if self.over {
            return None;
        }
        let Some(begun) = self.begun else { return (self.role == 0).then_some(plan.open_at) };
        let mut next = self.progress_at + PATIENCE;
        if self.connected && self.writable && self.written < plan.habits[self.role].bytes {
            next = next.min(self.write_at);
        }
        if self.connected && self.readable && !self.end_seen {
            next = next.min(self.read_at);
        }
        match plan.ending {
            Ending::CloseEarly(role, after) | Ending::Abort(role, after) if role == self.role => {
                next.min(begun + after)
            }
            _ => next,
        }
        .into()
    }
}

impl Endpoint {
    pub(super) fn new(
        mut host: Host,
        side: usize,
        addresses: [Ipv4Addr; 2],
        plans: Rc<[Plan]>,
        manners: Manners,
        seed: u64,
    ) -> Self {
        let tasks = (plans.iter().enumerate())
            .flat_map(|(plan, of)| {
                [0, 1].into_iter().filter(move |role| of.sides[*role] == side).map(move |role| (plan, role))
            })
            .map(|(plan, role)| Task::new(plan, role, seed))
            .collect();
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
        let socket = host.stack.udp_bind(any, &UdpOptions::default()).expect("a free port");
        let mut me = Self {
            host,
            side,
            addresses,
            plans,
            tasks,
            by_id: BTreeMap::new(),
            manners,
            listener: None,
            acceptable: false,
            accept_at: Instant::ZERO,
            socket,
            told: 0,
            heard: 0,
            tell_at: Instant::ZERO,
            again: None,
            lost: 0,
            buffer: vec![0; 1 << 16],
            seed,
        };
        let options = ListenOptions { backlog: manners.backlog, ..ListenOptions::default() };
        me.listener = Some(me.host.stack.tcp_listen(any, &options).expect("a free port"));
        me
    }

    /// Whether every role has been played.
    pub(super) fn is_done(&self) -> bool {
        self.tasks.iter().all(|task| task.over)
    }

    /// Closes what is still open.
    pub(super) fn leave(&mut self, now: Instant) {
        self.unlisten(now);
        self.host.stack.udp_close(self.socket);
    }

    /// Closes the listener, if it is still open.
    fn unlisten(&mut self, now: Instant) {
        if let Some(listener) = self.listener.take() {
            self.host.stack.tcp_unlisten(now, listener).expect("an open listener");
        }
    }

    fn task_of(&self, plan: usize, role: usize) -> Option<usize> {
        self.tasks.iter().position(|task| (task.plan, task.role) == (plan, role))
    }

    /// Everything the programs can do now. Returns whether there was anything.
    fn program(&mut self, now: Instant) -> bool {
        let mut got_on = self.events();
        if self.manners.unlisten_at.is_some_and(|at| at <= now) && self.listener.is_some() {
            self.unlisten(now);
            got_on = true;
        }
        got_on |= self.accept(now) | self.tell(now);
        for index in 0..self.tasks.len() {
            if !self.tasks[index].over {
                got_on |= self.play(now, index);
            }
        }
        got_on
    }

    fn events(&mut self) -> bool {
        let mut any = false;
        while let Some(event) = self.host.stack.next_event() {
            any = true;
            match event {
                Event::Accept(id) => {
                    assert_eq!(Some(id), self.listener, "an event of a listener that is closed");
                    self.acceptable = true;
                }
                Event::Tcp(id, ready) => {
                    let task = self.by_id.get(&id).unwrap_or_else(|| panic!("an event of {id:?}, which nobody holds"));
                    let task = &mut self.tasks[*task];
                    let over = ready.contains(Readiness::CLOSED);
                    task.connected |= ready.contains(Readiness::CONNECTED) || over;
                    task.readable |= ready.intersects(Readiness::READABLE | Readiness::PEER_CLOSED) || over;
                    task.writable |= ready.intersects(Readiness::WRITABLE | Readiness::CONNECTED) || over;
                }
                Event::Udp(id, ready) => {
                    assert_eq!(id, self.socket);
                    if ready.contains(Readiness::READABLE) {
                        self.hear();
                    }
                }
            }
        }
        any
    }

    /// Sends the next datagram, if it is time: its number, its length, and what both sides know must follow.
    fn tell(&mut self, now: Instant) -> bool {
        if self.told >= self.manners.datagrams || self.tell_at > now {
            return false;
        }
        let mut rng = Rng::new(self.seed ^ self.told << 1 ^ self.side as u64);
        let len = 16 + rng.size(65_507 - 16) as usize;
        self.buffer[..8].copy_from_slice(&self.told.to_be_bytes());
        self.buffer[8..16].copy_from_slice(&(len as u64).to_be_bytes());
        stream(self.seed, self.told as usize, 2 + self.side).fill(0, &mut self.buffer[16..len]);
        let to = Some(SocketAddr::new(IpAddr::V4(self.addresses[1 - self.side]), PORT));
        let datagram = Datagram { to, from: None, ecn: 0, bytes: &self.buffer[..len] };
        // What has no room is a datagram lost.
        let _ = self.host.stack.udp_send(now, self.socket, &mut self.host.card, &datagram);
        self.told += 1;
        self.tell_at = now + Duration::from_nanos(rng.range(0..500_000_000));
        true
    }

    /// Takes all datagrams, each of which must be one that was sent.
    fn hear(&mut self) {
        loop {
            let packet = match self.host.stack.udp_recv(self.socket) {
                Ok(packet) => packet,
                Err(error) => {
                    assert_eq!(error, SocketError::WouldBlock, "receiving datagrams failed");
                    return;
                }
            };
            let from = SocketAddr::new(IpAddr::V4(self.addresses[1 - self.side]), PORT);
            assert_eq!((packet.from, packet.to), (from, IpAddr::V4(self.addresses[self.side])));
            let bytes = packet.chunk.open(&self.host.ctx);
            let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            let expected = stream(self.seed, number(0) as usize, 2 + (1 - self.side));
            assert_eq!(number(8), bytes.len() as u64, "a datagram of another length");
            assert_eq!(expected.difference(0, &bytes[16..]), None, "datagram {}: a wrong byte", number(0));
            self.heard += 1;
        }
    }

    fn accept(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(listener) = self.listener.filter(|_| self.acceptable && self.accept_at <= now) {
            let id = match self.host.stack.tcp_accept(now, listener) {
                Ok(id) => id,
                Err(error) => {
                    assert_eq!(error, SocketError::WouldBlock, "accept failed");
                    self.acceptable = false;
                    break;
                }
            };
            any = true;
            self.accept_at = now + self.manners.accept_pause;
            let Ok(peer) = self.host.stack.tcp_peer_addr(id) else {
                // Reset between handshake and accept.
                self.host.stack.tcp_close(now, id);
                continue;
            };
            let plan = usize::from(peer.port() - FIRST_PORT);
            let task = self.task_of(plan, 1).unwrap_or_else(|| panic!("nobody expected {peer}"));
            if self.tasks[task].begun.is_some() {
                // A late duplicate of the acknowledgement that brought a cookie brings it again.
                let cookies = self.host.stack.stats().tcp.syn_cookies_valid;
                assert!(cookies > 1, "{peer} was accepted twice");
                self.host.stack.tcp_abort(now, id);
                continue;
            }
            self.tasks[task].begin(now, id);
            self.by_id.insert(id, task);
            // Whatever happened before it was accepted was told to nobody: try everything once.
            (self.tasks[task].connected, self.tasks[task].readable, self.tasks[task].writable) = (true, true, true);
            let options = self.plans[plan].habits[1].options;
            let _ = self.host.stack.tcp_set_options(now, id, &options);
        }
        any
    }

    /// One task, as far as it gets.
    fn play(&mut self, now: Instant, index: usize) -> bool {
        let (plan, role) = (self.tasks[index].plan, self.tasks[index].role);
        let Some(id) = self.tasks[index].id else {
            return role == 0 && self.plans[plan].open_at <= now && self.open(now, index);
        };
        let begun = self.tasks[index].begun.unwrap_or(now);
        match self.plans[plan].ending {
            Ending::Abort(who, after) if who == role && begun + after <= now => {
                self.host.stack.tcp_abort(now, id);
                return self.end(index);
            }
            Ending::CloseEarly(who, after) if who == role && begun + after <= now => {
                self.host.stack.tcp_close(now, id);
                return self.end(index);
            }
            _ => {}
        }
        if self.tasks[index].progress_at + PATIENCE <= now {
            self.tasks[index].error = self.tasks[index].error.or(Some(SocketError::TimedOut));
            self.host.stack.tcp_abort(now, id);
            return self.end(index);
        }
        if !self.tasks[index].connected {
            return false;
        }
        let mut got_on = self.read(now, index, id);
        if !self.tasks[index].over {
            got_on |= self.write(now, index, id);
        }
        if got_on {
            self.tasks[index].progress_at = now;
        }
        got_on
    }

    fn end(&mut self, index: usize) -> bool {
        let task = &mut self.tasks[index];
        task.over = true;
        if let Some(id) = task.id {
            self.by_id.remove(&id);
        }
        true
    }

    fn open(&mut self, now: Instant, index: usize) -> bool {
        let plan = self.tasks[index].plan;
        let [ours, theirs] = self.plans[plan].sides;
        let local = Some(SocketAddr::new(IpAddr::V4(self.addresses[ours]), FIRST_PORT + plan as u16));
        let options = ConnectOptions { local, socket: self.plans[plan].habits[0].options, ..ConnectOptions::default() };
        debug_assert_eq!(ours, self.side);
        let remote = SocketAddr::new(IpAddr::V4(self.addresses[theirs]), PORT);
        match self.host.stack.tcp_connect(now, remote, &options) {
            Ok(id) => {
                self.tasks[index].begin(now, id);
                self.by_id.insert(id, index);
            }
            Err(error) => {
                (self.tasks[index].error, self.tasks[index].begun) = (Some(error), Some(now));
                self.end(index);
            }
        }
        true
    }

    fn read(&mut self, now: Instant, index: usize, id: TcpId) -> bool {
        let habits = self.plans[self.tasks[index].plan].habits[self.tasks[index].role];
        let expected = stream(self.seed, self.tasks[index].plan, 1 - self.tasks[index].role);
        let mut any = false;
        while self.tasks[index].readable && !self.tasks[index].end_seen && self.tasks[index].read_at <= now {
            let task = &mut self.tasks[index];
            let most = task.rng.range(1..habits.read_most + 1) as usize;
            let chunk = match self.host.stack.tcp_recv(now, id) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    task.end_seen = true;
                    any = true;
                    break;
                }
                Err(SocketError::WouldBlock) => {
                    task.readable = false;
                    break;
                }
                Err(error) => {
                    task.error = Some(error);
                    self.host.stack.tcp_close(now, id);
                    return self.end(index);
                }
            };
            assert!(!chunk.is_empty(), "an empty chunk");
            let most = most.min(self.buffer.len());
            let (count, rest) = chunk.read(&self.host.ctx, &mut self.buffer[..most]);
            if let Some(at) = expected.difference(task.read, &self.buffer[..count]) {
                panic!("plan {} role {}: byte {at} is not what was written", task.plan, task.role);
            }
            if let Some(rest) = rest {
                self.host.stack.tcp_unread(id, rest);
            }
            any = true;
            task.read += count as u64;
            task.read_at = now + task.pause(habits.read_pause);
        }
        any
    }

    fn write(&mut self, now: Instant, index: usize, id: TcpId) -> bool {
        let plan = self.tasks[index].plan;
        let (habits, ending) = (self.plans[plan].habits[self.tasks[index].role], self.plans[plan].ending);
        let role = self.tasks[index].role;
        let ours = stream(self.seed, plan, role);
        let mut any = false;
        while self.tasks[index].writable
            && self.tasks[index].write_at <= now
            && self.tasks[index].written < habits.bytes
        {
            let task = &mut self.tasks[index];
            let len = task.rng.range(1..habits.write_most + 1).min(habits.bytes - task.written) as usize;
            let len = len.min(self.buffer.len());
            ours.fill(task.written, &mut self.buffer[..len]);
            let sent = if task.rng.chance(0.25) {
                let (first, second) = self.buffer[..len].split_at(len / 3);
                self.host.stack.tcp_sendv(now, id, &[IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(second)])
            } else {
                self.host.stack.tcp_send(now, id, &self.buffer[..len])
            };
            match sent {
                Ok(count) => {
                    assert!(count > 0 && count <= len, "{count} of {len} bytes sent");
                    any = true;
                    task.written += count as u64;
                    task.writable = count == len;
                    task.write_at = now + task.pause(habits.write_pause);
                }
                Err(SocketError::WouldBlock) => task.writable = false,
                Err(error) => {
                    // What came before the end of the connection is still to be read.
                    task.error = Some(error);
                    while self.read(now, index, id) && !self.tasks[index].over {
                        self.tasks[index].read_at = now;
                    }
                    if !self.tasks[index].over {
                        self.host.stack.tcp_close(now, id);
                        self.end(index);
                    }
                    return true;
                }
            }
        }
        let task = &mut self.tasks[index];
        if task.written < habits.bytes || !task.connected {
            return any;
        }
        let waits = ending == Ending::Late(role) && !task.end_seen;
        if ending == Ending::CloseAfterWriting(role) {
            self.host.stack.tcp_close(now, id);
            return self.end(index);
        }
        if !task.shut && !waits {
            task.shut = true;
            any = true;
            match self.host.stack.tcp_shutdown(now, id, Shutdown::Write) {
                Ok(()) => {}
                Err(error) => task.error = Some(error),
            }
        }
        let task = &mut self.tasks[index];
        if task.shut && task.end_seen {
            self.host.stack.tcp_close(now, id);
            return self.end(index);
        }
        any
    }
}

impl Node for Endpoint {
    fn turn(&mut self, now: Instant, arrived: &[Vec<u8>], out: &mut Vec<Vec<u8>>) -> bool {
        self.lost += self.host.receive(now, arrived.iter().map(Vec::as_slice));
        // Answers sent while receiving do not count: the card has just been emptied.
        self.host.card.room = self.manners.room.max(self.host.card.sent.len());
        self.again = None;
        let mut got_on = false;
        for turn in 0.. {
            assert!(turn < MOST_TURNS, "side {} never rests at {now}", self.side);
            self.host.advance(now);
            let again = self.program(now);
            got_on |= again;
            let left = self.host.egress(now);
            if self.host.is_full() {
                // It has room again in a moment.
                self.again = Some(now + Duration::from_micros(20));
                break;
            }
            if !left && !again && self.host.stack.poll_at().is_none_or(|at| at > now) {
                break;
            }
        }
        out.extend(self.host.card.sent.drain(..));
        let kept = self.host.stack.stats().memory.kept_frames;
        assert_eq!(self.host.in_flight() as u64, kept, "frames in flight, and kept");
        got_on
    }

    fn next(&self) -> Option<Instant> {
        let tasks = self.tasks.iter().filter_map(|task| task.next(&self.plans[task.plan])).min();
        let stack = if self.again.is_some() { self.again } else { self.host.stack.poll_at() };
        let accept = (self.acceptable && self.listener.is_some()).then_some(self.accept_at);
        let unlisten = self.manners.unlisten_at.filter(|_| self.listener.is_some());
        let tell = (self.told < self.manners.datagrams).then_some(self.tell_at);
        [tasks, stack, accept, unlisten, tell].into_iter().flatten().min()
    }
}
