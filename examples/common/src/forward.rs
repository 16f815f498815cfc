//! The forwarder's loop, and the way out that it shares with `forward_mt`.
//!
//! ```text
//!   port a ──recv_each──▶ tokens ──(swap MACs)──▶ Outlet ──send_tokens──▶ port b
//!                                                   │
//!                                                   └─ refused for longer than the patience: dropped, and counted
//! ```
//!
//! Where the ports share a pool a token goes into the transmit ring as it is; otherwise its packet is copied.

use crate::Failure;
use crate::output::{Causes, Output, Ticker};
use crate::port::explain;
use crate::report::{Flow, Forwarded, Forwarding, rx_causes};
use crate::stop::Stop;
use nethuns_rs::Error;
use nethuns_rs::api::{Context, Interest, Socket, Stats, Token};
use std::time::{Duration, Instant};

/// How to forward.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The names of the ports in reports.
    pub ports: [String; 2],
    /// Back as well.
    pub both: bool,
    /// Exchange source and destination MAC address.
    pub swap: bool,
    /// How long a refused packet is tried again.
    pub patience: Duration,
    /// Ends after so many packets received.
    pub count: Option<u64>,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// Ends when nothing has come for so long.
    pub idle: Option<Duration>,
    /// Whether to ask again at once when nothing is there, instead of sleeping until something is.
    pub spin: bool,
    /// Most packets per call.
    pub batch: usize,
    /// Between two lines.
    pub interval: Duration,
    /// How long to wait at the end for what has not been completed.
    pub drain: Duration,
}

/// Exchanges the MAC addresses of a frame; leaves alone what is too short to have two.
#[inline]
pub fn swap_macs(frame: &mut [u8]) {
    if let Some(macs) = frame.first_chunk_mut::<12>() {
        let (dst, src) = macs.split_at_mut(6);
        dst.swap_with_slice(src);
    }
}

/// The way out through a port: sends tokens, tries refused ones again, counts what it gives up.
pub struct Outlet<'a, S: Socket, C: Context> {
    socket: &'a S,
    /// The pool that tokens come from.
    source: &'a C,
    name: &'a str,
    shared: bool,
    patience: Duration,
    waiting: Vec<Token>,
    start: Stats,
    submitted: u64,
    bytes: u64,
    refused: u64,
    given_up: u64,
    oversize: u64,
    last: Mark,
}

/// The figures as of the last line.
#[derive(Default)]
struct Mark {
    completed: u64,
    bytes: u64,
    received: u64,
    rx_dropped: Causes,
    dropped: Causes,
}

impl<'a, S: Socket, C: Context> Outlet<'a, S, C> {
    /// A way out through `socket` for tokens of `source`.
    pub fn new(socket: &'a S, source: &'a C, name: &'a str, patience: Duration, batch: usize) -> Self {
        Self {
            socket,
            source,
            name,
            shared: socket.context().pool_id() == source.pool_id(),
            patience,
            waiting: Vec::with_capacity(batch),
            start: socket.stats(),
            submitted: 0,
            bytes: 0,
            refused: 0,
            given_up: 0,
            oversize: 0,
            last: Mark::default(),
        }
    }

    /// Whether packets are sent without being copied.
    #[must_use]
    pub fn zero_copy(&self) -> bool {
        self.shared
    }

    /// Takes a packet to be sent with the next [`send`](Self::send).
    #[inline]
    pub fn push(&mut self, token: Token) {
        self.waiting.push(token);
    }

    /// Sends everything taken, and flushes. What is refused for longer than the patience is dropped and counted.
    ///
    /// # Errors
    ///
    /// If the port fails otherwise.
    pub fn send(&mut self) -> Result<(), Failure> {
        let mut since = None;
        while !self.waiting.is_empty() {
            let outcome = if self.shared { self.send_in_place() } else { self.send_copies() };
            self.socket.flush();
            match outcome {
                Ok(()) => {
                    // Whether or not all went: some did, so patience begins anew.
                    since = None;
                }
                Err(Error::TooBigPacket(_)) => {
                    self.oversize += 1;
                    drop(self.waiting.remove(0));
                }
                Err(error) if error.is_transient() => {
                    self.refused += 1;
                    let now = Instant::now();
                    if now - *since.get_or_insert(now) >= self.patience {
                        self.given_up += self.waiting.len() as u64;
                        self.waiting.clear();
                        return Ok(());
                    }
                    let pause = Duration::from_micros(100);
                    self.socket.wait(Interest::Writable, Some(pause)).map_err(|e| explain(self.name, e))?;
                    std::thread::yield_now();
                }
                Err(error) => return Err(explain(self.name, error)),
            }
        }
        Ok(())
    }

    fn send_in_place(&mut self) -> Result<(), Error> {
        let bytes = |tokens: &[Token]| tokens.iter().map(|token| u64::from(token.size())).sum::<u64>();
        let before = bytes(&self.waiting);
        self.submitted += self.socket.send_tokens(&mut self.waiting)? as u64;
        self.bytes += before - bytes(&self.waiting);
        Ok(())
    }

    fn send_copies(&mut self) -> Result<(), Error> {
        let before = self.submitted;
        // Taken from the back so that every step is one move; what is left is put right at the end.
        self.waiting.reverse();
        let mut outcome = Ok(());
        while let Some(token) = self.waiting.pop() {
            let packet = self.source.packet(token);
            match self.socket.send(&packet) {
                Ok(()) => {
                    self.submitted += 1;
                    self.bytes += packet.len() as u64;
                }
                Err(error) => {
                    self.waiting.push(packet.into_token());
                    outcome = if self.submitted == before { Err(error) } else { Ok(()) };
                    break;
                }
            }
        }
        self.waiting.reverse();
        outcome
    }

    /// Waits for completion of what was sent.
    ///
    /// # Errors
    ///
    /// If the port fails.
    pub fn drain(&self, timeout: Duration) -> Result<(), Failure> {
        self.socket.drain(timeout).map(|_| ()).map_err(|e| explain(self.name, e))
    }

    /// Packets received that were not forwarded, by cause.
    fn dropped(&self, now: &Stats) -> Causes {
        let mut causes = vec![("refused", self.given_up), ("too_big", self.oversize)];
        let sent = Causes(now.tx_dropped.causes().to_vec()).since(&Causes(self.start.tx_dropped.causes().to_vec()));
        causes.extend(sent.0);
        Causes(causes)
    }

    /// Packets completed.
    fn completed(&self, now: &Stats) -> u64 {
        now.tx_packets - self.start.tx_packets
    }

    /// The line of an interval, given what the source has done since the start.
    pub fn line(&mut self, from: &str, received: u64, rx_dropped: Causes, (at, seconds): (f64, f64)) -> Forwarding {
        let stats = self.socket.stats();
        let now = Mark {
            completed: self.completed(&stats),
            bytes: self.bytes,
            received,
            rx_dropped,
            dropped: self.dropped(&stats),
        };
        let line = Forwarding {
            from: from.into(),
            to: self.name.into(),
            at,
            flow: Flow::new(now.completed - self.last.completed, now.bytes - self.last.bytes, seconds),
            received: now.received - self.last.received,
            rx_dropped: now.rx_dropped.since(&self.last.rx_dropped),
            dropped: now.dropped.since(&self.last.dropped),
        };
        self.last = now;
        line
    }

    /// The summary, given what the source has done since the start.
    #[must_use]
    pub fn report(&self, from: &str, received: u64, rx_dropped: Causes, seconds: f64) -> Forwarded {
        let stats = self.socket.stats();
        let completed = self.completed(&stats);
        Forwarded {
            from: from.into(),
            to: self.name.into(),
            zero_copy: self.shared,
            flow: Flow::new(completed, self.bytes, seconds),
            received,
            submitted: self.submitted,
            pending: stats.tx_pending(),
            refused: self.refused,
            rx_dropped,
            dropped: self.dropped(&stats),
            consumers: Vec::new(),
        }
    }
}

/// A port whose descriptor can be polled together with another's.
#[cfg(unix)]
pub trait Port: Socket + std::os::fd::AsFd {}
#[cfg(unix)]
impl<S: Socket + std::os::fd::AsFd> Port for S {}

/// A port.
#[cfg(not(unix))]
pub trait Port: Socket {}
#[cfg(not(unix))]
impl<S: Socket> Port for S {}

/// Waits until one of two ports has packets.
#[cfg(unix)]
fn wait_either<A: Port, B: Port>(a: &A, b: &B, timeout: Duration) -> Result<(), Error> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    // What an engine does before it sleeps (wake-ups above all), it does in `wait`.
    if a.wait(Interest::Readable, Some(Duration::ZERO))? || b.wait(Interest::Readable, Some(Duration::ZERO))? {
        return Ok(());
    }
    let mut fds = [PollFd::new(a.as_fd(), PollFlags::POLLIN), PollFd::new(b.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::Generic(errno.into())),
    }
}

/// Waits until one of two ports has packets: in turns, where descriptors cannot be polled.
#[cfg(not(unix))]
fn wait_either<A: Port, B: Port>(a: &A, b: &B, timeout: Duration) -> Result<(), Error> {
    let turn = timeout.min(Duration::from_millis(1));
    if !a.wait(Interest::Readable, Some(turn))? {
        b.wait(Interest::Readable, Some(turn))?;
    }
    Ok(())
}

/// One direction: a source and the way out.
struct Direction<'a, A: Socket, B: Socket> {
    from: &'a A,
    name: &'a str,
    outlet: Outlet<'a, B, A::Context>,
    start: Causes,
    received: u64,
    ended: bool,
}

impl<'a, A: Socket, B: Socket> Direction<'a, A, B> {
    fn new(from: &'a A, to: &'a B, names: (&'a str, &'a str), plan: &Plan) -> Self {
        Self {
            from,
            name: names.0,
            outlet: Outlet::new(to, from.context(), names.1, plan.patience, plan.batch),
            start: rx_causes(&from.stats()),
            received: 0,
            ended: false,
        }
    }

    /// Forwards a batch; how many packets it had.
    #[inline]
    fn step(&mut self, most: usize, swap: bool) -> Result<usize, Failure> {
        if self.ended || most == 0 {
            return Ok(0);
        }
        let context = self.from.context();
        let outlet = &mut self.outlet;
        let outcome = self.from.recv_each(most, |token, _| {
            if swap {
                let mut packet = context.packet(token);
                swap_macs(&mut packet);
                outlet.push(packet.into_token());
            } else {
                outlet.push(token);
            }
        });
        let n = match outcome {
            Ok(n) => n,
            Err(Error::NoPacket) => 0,
            Err(Error::EndOfFile) => {
                self.ended = true;
                0
            }
            Err(error) => return Err(explain(self.name, error)),
        };
        self.received += n as u64;
        if n > 0 {
            self.outlet.send()?
        } else {
            self.outlet.socket.flush()
        }
        Ok(n)
    }

    fn lost(&self) -> Causes {
        rx_causes(&self.from.stats()).since(&self.start)
    }

    fn tell(&mut self, output: &Output, spans: (f64, f64)) {
        let lost = self.lost();
        output.tell(&self.outlet.line(self.name, self.received, lost, spans));
    }

    fn finish(self, seconds: f64, drain: Duration) -> Result<Forwarded, Failure> {
        self.outlet.drain(drain)?;
        Ok(self.outlet.report(self.name, self.received, self.lost(), seconds))
    }
}

/// Forwards from the first port to the second, and back if the plan says so, until the plan, a port or `stop` ends it.
/// One summary per direction.
///
/// # Errors
///
/// If a port fails.
pub fn run<A: Port, B: Port>(
    (a, b): (&A, &B),
    plan: &Plan,
    output: &Output,
    stop: &Stop,
) -> Result<Vec<Forwarded>, Failure> {
    // Long enough to sleep, short enough for ctrl-C.
    const SLICE: Duration = Duration::from_millis(50);
    let [name_a, name_b] = &plan.ports;
    let mut there = Direction::new(a, b, (name_a, name_b), plan);
    let mut back = plan.both.then(|| Direction::new(b, a, (name_b, name_a), plan));
    let start = Instant::now();
    let end = plan.duration.and_then(|d| start.checked_add(d));
    let mut ticker = Ticker::new(plan.interval, start);
    let mut last_packet = start;

    while !stop.requested() {
        let last_look = stop.if_idle();
        let received = there.received + back.as_ref().map_or(0, |back| back.received);
        let left = plan.count.map_or(plan.batch as u64, |count| count.saturating_sub(received)) as usize;
        let mut n = there.step(left.min(plan.batch), plan.swap)?;
        if let Some(back) = &mut back {
            n += back.step((left - n.min(left)).min(plan.batch), plan.swap)?;
        }
        let now = Instant::now();
        if let Some(spans) = ticker.due(now) {
            there.tell(output, spans);
            if let Some(back) = &mut back {
                back.tell(output, spans);
            }
        }
        if n > 0 {
            last_packet = now;
        }
        let ended = there.ended && back.as_ref().is_none_or(|back| back.ended);
        let idle = n == 0 && (last_look || plan.idle.is_some_and(|idle| now - last_packet >= idle));
        if left == 0 || ended || idle || end.is_some_and(|end| now >= end) {
            break;
        }
        if n == 0 && !plan.spin {
            let idle_end = plan.idle.map(|idle| last_packet + idle);
            let wake = [Some(ticker.next()), end, idle_end].into_iter().flatten().min();
            let timeout = wake.map_or(SLICE, |wake| wake.saturating_duration_since(now)).min(SLICE);
            if back.is_some() {
                wait_either(a, b, timeout)
            } else {
                a.wait(Interest::Readable, Some(timeout)).map(|_| ())
            }
            .map_err(|e| explain(name_a, e))?;
        }
    }

    let seconds = start.elapsed().as_secs_f64();
    let mut summaries = vec![there.finish(seconds, plan.drain)?];
    if let Some(back) = back {
        summaries.push(back.finish(seconds, plan.drain)?);
    }
    Ok(summaries)
}

/// Whether every packet received was forwarded or dropped for a known cause.
///
/// # Errors
///
/// [`Failure::short`] if the sum does not hold, something is pending, or fewer packets came than were wanted.
pub fn verdict(summaries: &[Forwarded], wanted: Option<u64>, interrupted: bool) -> Result<(), Failure> {
    for way in summaries {
        if way.pending > 0 || !way.balanced() {
            return Err(Failure::short(format!(
                "{} > {}: received {}, forwarded {}, dropped {}, pending {}",
                way.from,
                way.to,
                way.received,
                way.flow.packets,
                way.dropped.brief(),
                way.pending
            )));
        }
    }
    let received: u64 = summaries.iter().map(|way| way.received).sum();
    match wanted {
        Some(wanted) if received < wanted && !interrupted => {
            Err(Failure::short(format!("{received} of {wanted} packets received")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_swapped_and_short_frames_left_alone() {
        let mut frame: Vec<u8> = (0..14).collect();
        swap_macs(&mut frame);
        assert_eq!(frame, [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13]);
        let mut short = [1, 2, 3];
        swap_macs(&mut short);
        assert_eq!(short, [1, 2, 3]);
    }

    use nethuns_rs::mem::{MemFlags, Sock, WhenFull};

    /// Tokens of these sizes, received from a wire of that name.
    fn received(wire: &str, sizes: &[usize]) -> (Sock, Vec<Token>) {
        let [here, there] = [(); 2].map(|()| Sock::create(wire, None, MemFlags::default()).unwrap());
        for size in sizes {
            there.send(&vec![1; *size]).unwrap();
        }
        let mut tokens = Vec::new();
        here.recv_each(sizes.len(), |token, _| tokens.push(token)).unwrap();
        assert_eq!(tokens.len(), sizes.len());
        (here, tokens)
    }

    #[test]
    fn what_finds_no_room_is_dropped_after_a_while_and_counted() {
        let (from, tokens) = received("mem:outlet-a", &[60; 10]);
        let refuse = MemFlags { when_full: WhenFull::Refuse, ..MemFlags::default() };
        let to = Sock::create("mem:outlet-b", None, refuse).unwrap();
        let full = Sock::create("mem:outlet-b?queue=4", None, MemFlags::default()).unwrap();
        let mut outlet = Outlet::new(&to, from.context(), "b", Duration::from_millis(2), 64);
        assert!(!outlet.zero_copy(), "two wires, two pools");
        tokens.into_iter().for_each(|token| outlet.push(token));
        let start = Instant::now();
        outlet.send().unwrap();
        assert!(start.elapsed() >= Duration::from_millis(2));
        let report = outlet.report("a", 10, Causes::default(), 1.0);
        assert_eq!((report.submitted, report.flow.packets, report.flow.bytes), (4, 4, 240));
        assert_eq!(report.dropped.brief(), "6 (refused 6)");
        assert!(report.balanced() && report.refused > 0);
        assert!(verdict(std::slice::from_ref(&report), None, false).is_ok(), "dropped for a known cause");
        assert!(!Forwarded { received: 11, ..report }.balanced());
        assert_eq!(from.frames_in_flight(), Some(0), "what was dropped went home");
        assert_eq!(std::iter::from_fn(|| full.recv().ok()).count(), 4);
    }

    #[test]
    fn what_is_too_long_is_dropped_alone() {
        let (from, tokens) = received("mem:outlet-d", &[60, 1000, 61, 1001, 62]);
        let [to, there] =
            [(); 2].map(|()| Sock::create("mem:outlet-e?frame_size=512", None, MemFlags::default()).unwrap());
        let mut outlet = Outlet::new(&to, from.context(), "e", Duration::from_millis(2), 64);
        tokens.into_iter().for_each(|token| outlet.push(token));
        outlet.send().unwrap();
        let report = outlet.report("d", 5, Causes::default(), 1.0);
        assert_eq!(report.dropped.brief(), "2 (too_big 2)");
        assert!(report.balanced());
        let sizes: Vec<usize> = std::iter::from_fn(|| there.recv().ok().map(|(packet, _)| packet.len())).collect();
        assert_eq!(sizes, [60, 61, 62], "in order");
    }

    #[test]
    fn one_pool_is_no_copy() {
        let wire = "mem:outlet-f";
        let (from, tokens) = received(wire, &[100, 200]);
        let [to, there] = [(); 2].map(|()| Sock::create(wire, None, MemFlags::default()).unwrap());
        let mut outlet = Outlet::new(&to, from.context(), "f", Duration::from_millis(2), 64);
        assert!(outlet.zero_copy());
        tokens.into_iter().for_each(|token| outlet.push(token));
        outlet.send().unwrap();
        let report = outlet.report("f", 2, Causes::default(), 1.0);
        assert_eq!((report.flow.packets, report.flow.bytes, report.dropped.total()), (2, 300, 0));
        assert_eq!(there.recv().unwrap().0.len(), 100);
    }
}
