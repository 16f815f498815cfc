//! Runs a script against an engine.

use super::super::super::{
    Config, ConnectOptions, Event, Instant, ListenOptions, ListenerId, Readiness, SocketError, SocketOptions, TcpId,
};
use super::super::frame::{ACK, Macs, Packet, SYN, Segment};
use super::super::host::Host;
use super::super::rng::Pattern;
use super::matching::Names;
use super::settings::{self, Settings};
use super::{Action, Call, Check, Expect, Icmp, Inject, Outcome, Script, Shape, Step, When};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

type Result<T> = std::result::Result<T, String>;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Peers of labels that no `flow` line explains connect from this port to port 80, and are connected to at port 8080 from
/// 40000; each label has the next port.
const PEER_PORT: u16 = 5000;
const SERVICE: u16 = 80;
const REMOTE_SERVICE: u16 = 8080;
const OUR_PORT: u16 = 40000;
/// How far ahead "whenever" looks.
const HORIZON: Duration = Duration::from_secs(4000);

/// What the engine writes and what the peer writes.
const LOCAL_STREAM: Pattern = Pattern(0x10ca1);
const PEER_STREAM: Pattern = Pattern(0x9ee2);

/// One connection between the engine and the script.
#[derive(Debug)]
struct Flow {
    remote: SocketAddrV4,
    local: SocketAddrV4,
    id: Option<TcpId>,
    /// Initial sequence number of the engine, once it was seen.
    isn: Option<u32>,
    written: u64,
    read: u64,
    names: Names,
    /// Events that no line has asked about yet.
    ready: Readiness,
}

struct Runner {
    host: Host,
    settings: Settings,
    now: Instant,
    /// Time of the last line.
    last: Instant,
    flows: BTreeMap<String, Flow>,
    listener: Option<ListenerId>,
    acceptable: bool,
    /// Segments that have gone, each with its time.
    gone: VecDeque<(Instant, Vec<u8>)>,
    held: Vec<Vec<u8>>,
    isns: BTreeMap<String, u32>,
}

impl Script {
    /// Runs it; the error says which line failed, what was expected and what came.
    pub(super) fn run(&self) -> Result<()> {
        let engine = Config {
            mac: OUR_MAC,
            addresses: vec![(IpAddr::V4(OURS), 16)],
            neighbours: vec![(IpAddr::V4(PEER), PEER_MAC)],
            secret: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
            ..Config::default()
        };
        let mut settings = Settings::new(engine);
        for (name, value, line) in &self.settings {
            settings.set(name, value).map_err(|why| format!("line {line}: {why}"))?;
        }
        for (_, remote, _) in &self.flows {
            settings.engine.neighbours.push((IpAddr::V4(*remote.ip()), PEER_MAC));
        }
        let mut runner = Runner::new(settings);
        // The engine announces its address when it wakes up; that is over when the script begins.
        runner.run_to(runner.last);
        runner.gone.clear();
        for (label, remote, port) in &self.flows {
            runner.flow(label);
            let flow = runner.flows.get_mut(label).expect("just made");
            (flow.remote, flow.local) = (*remote, SocketAddrV4::new(OURS, *port));
        }
        for step in &self.steps {
            runner.step(step).map_err(|why| format!("line {}: {why}", step.line))?;
        }
        match runner.gone.pop_front() {
            Some((at, frame)) => {
                Err(format!("at the end: nobody expected, at {}:\n    {}", runner.clock(at), runner.show(&frame)))
            }
            None => Ok(()),
        }
    }
}

impl Runner {
    fn new(settings: Settings) -> Self {
        let host = Host::new(settings.engine.clone(), settings.frames);
        let last = Instant::ZERO + settings.start;
        Self {
            host,
            settings,
            now: last - Duration::from_secs(10),
            last,
            flows: BTreeMap::new(),
            listener: None,
            acceptable: false,
            gone: VecDeque::new(),
            held: Vec::new(),
            isns: BTreeMap::new(),
        }
    }

    /// The flow of a label, made when it is first spoken of.
    fn flow(&mut self, label: &str) -> &mut Flow {
        let next = self.flows.len() as u16;
        self.flows.entry(label.to_owned()).or_insert_with(|| Flow {
            remote: SocketAddrV4::new(PEER, PEER_PORT + next),
            local: SocketAddrV4::new(OURS, SERVICE),
            id: None,
            isn: None,
            written: 0,
            read: 0,
            names: Names::new(),
            ready: Readiness::NONE,
        })
    }

    /// A time as the script counts it.
    fn clock(&self, at: Instant) -> String {
        format!("{:.6}", at.saturating_since(Instant::ZERO + self.settings.start).as_secs_f64())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let (from, to) = match step.when {
            When::At(time) => (Instant::ZERO + self.settings.start + time, None),
            When::After(time) => (self.last + time, None),
            When::Between(from, to) => (self.last + from, Some(self.last + to)),
            When::Any => (self.last, Some(self.last + HORIZON)),
        };
        if from < self.last {
            return Err(format!("goes back in time, to before {}", self.clock(self.last)));
        }
        if let Action::Expect(expect) = &step.action {
            let window = match to {
                Some(to) => (from, to),
                None => (from - self.settings.early, from + self.settings.late),
            };
            let came = self.expect(&step.flow, expect, window)?;
            // A fixed time stays what the script says, so that tolerances do not add up.
            self.last = if to.is_some() { came } else { from.max(came) };
            if to.is_none() && came.saturating_since(from) <= self.settings.late {
                self.last = from;
            }
            return Ok(());
        }
        if to.is_some() {
            return Err("a time between two is for segments that must go".into());
        }
        self.run_to(from);
        self.last = from;
        if let Some((at, frame)) = self.gone.front() {
            return Err(format!("nobody expected, at {}:\n    {}", self.clock(*at), self.show(frame)));
        }
        match &step.action {
            Action::Inject(inject) => self.inject(&step.flow, inject),
            Action::Icmp(icmp) => self.icmp(&step.flow, icmp),
            Action::Nothing => Ok(()),
            Action::Call(call, outcome) => {
                let came = self.call(&step.flow, call)?;
                self.settle();
                if came != *outcome { Err(format!("expected {outcome}, came {came}")) } else { Ok(()) }
            }
            Action::Check(check) => self.check(&step.flow, check),
            Action::Expect(_) => unreachable!("handled above"),
        }
    }

    /// Lets timers run until then.
    fn run_to(&mut self, until: Instant) {
        let mut turns = 0;
        while let Some(at) = self.host.stack.poll_at().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.settle();
            if self.host.is_full() {
                break;
            }
            turns += 1;
            assert!(turns < 1_000_000, "an engine that never rests");
        }
        self.now = self.now.max(until);
        self.settle();
    }

    fn settle(&mut self) {
        self.host.settle(self.now);
        self.gone.extend(self.host.card.sent.drain(..).map(|frame| (self.now, frame)));
    }

    /// A frame as the script would write it.
    fn show(&self, frame: &[u8]) -> String {
        let packet = match Packet::read(frame) {
            Ok(Packet::Tcp(segment)) => segment,
            Ok(packet) => return packet.to_string(),
            Err(why) => return format!("a frame with {why}: {frame:02x?}"),
        };
        match self.flows.iter().find(|(_, flow)| (flow.local, flow.remote) == (packet.source, packet.target)) {
            Some((label, flow)) => format!("{label}> {}", self.relative(flow, packet)),
            None => format!("{} > {} {packet}", packet.source, packet.target),
        }
    }

    /// The segment with its numbers counted from the initial ones.
    fn relative(&self, flow: &Flow, mut segment: Segment) -> Segment {
        segment.seq = segment.seq.wrapping_sub(flow.isn.unwrap_or(0));
        if segment.flags & ACK != 0 {
            segment.ack = segment.ack.wrapping_sub(self.settings.peer_isn);
        }
        for option in &mut segment.options {
            if let super::Opt::Sack(blocks) = option {
                for (left, right) in blocks {
                    *left = left.wrapping_sub(self.settings.peer_isn);
                    *right = right.wrapping_sub(self.settings.peer_isn);
                }
            }
        }
        segment
    }

    fn expect(&mut self, label: &str, expect: &Expect, (from, to): (Instant, Instant)) -> Result<Instant> {
        self.flow(label);
        let parts = expect.parts();
        let mut came = self.now;
        for (index, part) in parts.iter().enumerate() {
            while self.gone.is_empty() {
                match self.host.stack.poll_at().filter(|at| *at <= to) {
                    Some(at) => {
                        self.now = self.now.max(at);
                        self.settle();
                    }
                    None => {
                        self.now = self.now.max(to);
                        self.settle();
                        if self.gone.is_empty() {
                            return Err(format!("nothing came until {}", self.clock(to)));
                        }
                    }
                }
            }
            let (at, frame) = self.gone.pop_front().expect("looked above");
            self.compare(label, expect, *part, index + 1 == parts.len(), &frame)
                .map_err(|why| format!("{why}; at {} came:\n    {}", self.clock(at), self.show(&frame)))?;
            if at < from || at > to {
                let (from, to, at) = (self.clock(from), self.clock(to), self.clock(at));
                return Err(format!("expected between {from} and {to}, came at {at}:\n    {}", self.show(&frame)));
            }
            came = at;
        }
        Ok(came)
    }

    fn compare(&mut self, label: &str, expect: &Expect, part: (u32, u32), last: bool, frame: &[u8]) -> Result<()> {
        let segment = match Packet::read(frame)? {
            Packet::Tcp(segment) => segment,
            _ => return Err("not a TCP segment".into()),
        };
        if frame[..12] != [PEER_MAC, OUR_MAC].concat() {
            return Err("wrong Ethernet addresses".into());
        }
        let peer_isn = self.settings.peer_isn;
        let flow = self.flow(label);
        if (segment.source, segment.target) != (flow.local, flow.remote) {
            return Err(format!("expected {} > {}", flow.local, flow.remote));
        }
        if segment.flags & SYN != 0 && flow.isn.is_none() {
            flow.isn = Some(segment.seq);
        }
        let mut names = std::mem::take(&mut flow.names);
        let raw = Flow { isn: None, names: Names::new(), ..*self.flow(label) };
        let flow = &self.flows[label];
        let base = if expect.raw { raw } else { Flow { names: Names::new(), ..*flow } };
        let mut relative = self.relative(&base, segment.clone());
        if expect.raw && segment.flags & ACK != 0 {
            relative.ack = segment.ack;
        }
        // `mismatch` counts blocks itself.
        relative.options.clone_from(&segment.options);
        let different = expect.mismatch(&relative, part, last, peer_isn, &mut names);
        self.flow(label).names = names;
        if let Some(what) = different {
            return Err(format!("different {what}"));
        }
        // Window probes carry a byte from before the window's start: there is nothing to compare it with.
        let start = relative.seq.wrapping_sub(1);
        if !expect.raw && (start as i32) >= 0 {
            if let Some(at) = LOCAL_STREAM.difference(u64::from(start), &relative.payload) {
                return Err(format!("a wrong byte at {at} of the stream"));
            }
        }
        Ok(())
    }

    /// The segments that a shape stands for, as the peer would send them.
    fn peer_segments(&mut self, label: &str, inject: &Inject) -> Result<Vec<Segment>> {
        let peer_isn = self.settings.peer_isn;
        let flow = self.flow(label);
        let isn = flow.isn.unwrap_or(0);
        let options: Vec<_> =
            inject.options.iter().map(|field| field.resolve(isn, &flow.names)).collect::<Result<_>>()?;
        let Shape { flags, seq, len, ack, urgent, split } = inject.shape;
        let mut segments = Vec::new();
        let mut at = 0;
        while at < len || segments.is_empty() {
            let part = (len - at).min(split.unwrap_or(len));
            let mut payload = vec![0; part as usize];
            let stream = if inject.garbled { Pattern(1) } else { PEER_STREAM };
            // Data begins behind the SYN; with the SYN, it begins one number further.
            let offset = u64::from(seq.wrapping_add(at)).wrapping_sub(u64::from(flags & SYN == 0));
            stream.fill(offset, &mut payload);
            segments.push(Segment {
                source: flow.remote,
                target: flow.local,
                seq: seq.wrapping_add(at).wrapping_add(peer_isn),
                ack: ack.map_or(0, |ack| ack.wrapping_add(isn)),
                flags,
                window: inject.window,
                urgent,
                options: options.clone(),
                payload,
                tos: 0,
                dont_fragment: true,
            });
            at += part;
        }
        Ok(segments)
    }

    fn inject(&mut self, label: &str, inject: &Inject) -> Result<()> {
        for segment in self.peer_segments(label, inject)? {
            let mut frame = segment.write(Macs { source: PEER_MAC, target: OUR_MAC });
            if inject.bad_checksum {
                frame[14 + 20 + 17] ^= 0x40;
            }
            self.held.push(frame);
            if !inject.held {
                self.deliver();
            }
        }
        Ok(())
    }

    fn deliver(&mut self) {
        let frames = std::mem::take(&mut self.held);
        let lost = self.host.receive(self.now, frames.iter().map(Vec::as_slice));
        assert_eq!(lost, 0, "the engine keeps more frames than it may");
        self.settle();
    }

    fn icmp(&mut self, label: &str, icmp: &Icmp) -> Result<()> {
        let flow = self.flow(label);
        let mut payload = vec![0; icmp.shape.len as usize];
        LOCAL_STREAM.fill(u64::from(icmp.shape.seq).wrapping_sub(1), &mut payload);
        let segment = Segment {
            source: flow.local,
            target: flow.remote,
            seq: icmp.shape.seq.wrapping_add(flow.isn.unwrap_or(0)),
            ack: 0,
            flags: icmp.shape.flags,
            window: 0,
            urgent: 0,
            options: Vec::new(),
            payload,
            tos: 0,
            dont_fragment: true,
        };
        let macs = Macs { source: PEER_MAC, target: OUR_MAC };
        self.held.push(segment.icmp(PEER, macs, icmp.kind, icmp.code, icmp.mtu));
        self.deliver();
        Ok(())
    }

    fn call(&mut self, label: &str, call: &Call) -> Result<Outcome> {
        let now = self.now;
        let outcome = |result: std::result::Result<(), SocketError>| match result {
            Ok(()) => Outcome::Fine,
            Err(error) => Outcome::Error(format!("{error:?}")),
        };
        match call {
            Call::Listen { port, backlog, settings } => {
                let mut options = ListenOptions::default();
                for (name, value) in settings {
                    match name.as_str() {
                        "receive_buffer" => options.receive_buffer = Some(value.parse().map_err(|_| "bytes")?),
                        "send_buffer" => options.send_buffer = Some(value.parse().map_err(|_| "bytes")?),
                        "congestion" => options.congestion = Some(settings::congestion(value)?),
                        _ => settings::socket(&mut options.socket, name, value)?,
                    }
                }
                if let Some(backlog) = backlog {
                    options.backlog = *backlog;
                }
                let local = SocketAddr::new(IpAddr::V4(OURS), *port);
                Ok(outcome(self.host.stack.tcp_listen(local, &options).map(|id| self.listener = Some(id))))
            }
            Call::Unlisten => {
                let id = self.listener.take().ok_or("nothing listens")?;
                Ok(outcome(self.host.stack.tcp_unlisten(now, id)))
            }
            Call::Accept => self.accept(label),
            Call::Connect { port, settings } => self.connect(label, *port, settings),
            Call::Write(count) => self.write(label, *count),
            Call::Read(most) => self.read(label, *most),
            Call::Drain(expected) => match self.read(label, usize::MAX)? {
                Outcome::Count(count) if count == *expected => Ok(Outcome::Fine),
                other => Ok(other),
            },
            Call::Shutdown(how) => {
                let id = self.id(label)?;
                Ok(outcome(self.host.stack.tcp_shutdown(now, id, *how)))
            }
            Call::Close => {
                let id = self.id(label)?;
                self.host.stack.tcp_close(now, id);
                Ok(Outcome::Fine)
            }
            Call::Abort => {
                let id = self.id(label)?;
                self.host.stack.tcp_abort(now, id);
                Ok(Outcome::Fine)
            }
            Call::Set(name, value) => {
                let id = self.id(label)?;
                let mut options: SocketOptions =
                    self.host.stack.tcp_options(id).map_err(|error| format!("tcp_options: {error:?}"))?;
                settings::socket(&mut options, name, value)?;
                Ok(outcome(self.host.stack.tcp_set_options(now, id, &options)))
            }
            Call::Room(frames) => {
                self.host.card.room = *frames;
                Ok(Outcome::Fine)
            }
            Call::Forget => {
                let flow = self.flow(label);
                (flow.isn, flow.written, flow.read) = (None, 0, 0);
                Ok(Outcome::Fine)
            }
        }
    }

    fn id(&mut self, label: &str) -> Result<TcpId> {
        self.flow(label).id.ok_or_else(|| "the connection was neither accepted nor begun".into())
    }

    fn accept(&mut self, label: &str) -> Result<Outcome> {
        let listener = self.listener.ok_or("nothing listens")?;
        match self.host.stack.tcp_accept(self.now, listener) {
            Ok(id) => {
                let remote = self.host.stack.tcp_peer_addr(id).map_err(|error| format!("peer address: {error:?}"))?;
                let flow = self.flow(label);
                flow.id = Some(id);
                if remote == SocketAddr::V4(flow.remote) {
                    Ok(Outcome::Fine)
                } else {
                    Err(format!("accepted a connection from {remote}, expected {}", flow.remote))
                }
            }
            Err(error) => Ok(Outcome::Error(format!("{error:?}"))),
        }
    }

    fn connect(&mut self, label: &str, port: Option<u16>, settings: &[(String, String)]) -> Result<Outcome> {
        let next = self.flows.len() as u16;
        let flow = self.flow(label);
        if flow.local.port() == SERVICE {
            flow.local.set_port(OUR_PORT + next);
            flow.remote.set_port(REMOTE_SERVICE + next);
        }
        let mut options = ConnectOptions::default();
        let port = port.unwrap_or(flow.local.port());
        options.local = (port != 0).then_some(SocketAddr::new(IpAddr::V4(OURS), port));
        for (name, value) in settings {
            match name.as_str() {
                "receive_buffer" => options.receive_buffer = Some(value.parse().map_err(|_| "bytes")?),
                "send_buffer" => options.send_buffer = Some(value.parse().map_err(|_| "bytes")?),
                "congestion" => options.congestion = Some(settings::congestion(value)?),
                _ => settings::socket(&mut options.socket, name, value)?,
            }
        }
        let remote = SocketAddr::V4(flow.remote);
        match self.host.stack.tcp_connect(self.now, remote, &options) {
            Ok(id) => {
                let local = self.host.stack.tcp_local_addr(id).map_err(|error| format!("local address: {error:?}"))?;
                let flow = self.flow(label);
                flow.id = Some(id);
                flow.local.set_port(local.port());
                Ok(Outcome::Fine)
            }
            Err(error) => Ok(Outcome::Error(format!("{error:?}"))),
        }
    }

    fn write(&mut self, label: &str, count: usize) -> Result<Outcome> {
        let id = self.id(label)?;
        let mut bytes = vec![0; count];
        LOCAL_STREAM.fill(self.flow(label).written, &mut bytes);
        match self.host.stack.tcp_send(self.now, id, &bytes) {
            Ok(taken) => {
                self.flow(label).written += taken as u64;
                // A write that is taken in full needs no outcome in the script.
                Ok(if taken == count { Outcome::Fine } else { Outcome::Count(taken) })
            }
            Err(error) => Ok(Outcome::Error(format!("{error:?}"))),
        }
    }

    /// Reads so many bytes, or until there is no more. If none was read: why.
    fn read(&mut self, label: &str, most: usize) -> Result<Outcome> {
        let (id, now) = (self.id(label)?, self.now);
        let mut count = 0;
        while count < most {
            let chunk = match self.host.stack.tcp_recv(now, id) {
                Ok(Some(chunk)) => chunk,
                Ok(None) if count == 0 => return Ok(Outcome::End),
                Err(error) if count == 0 => return Ok(Outcome::Error(format!("{error:?}"))),
                Ok(None) | Err(_) => break,
            };
            if chunk.is_empty() {
                return Err("tcp_recv gave an empty chunk".into());
            }
            let mut bytes = vec![0; chunk.len().min(most - count)];
            let (taken, rest) = chunk.read(&self.host.ctx, &mut bytes);
            let flow = self.flows.get_mut(label).expect("it has an id");
            if let Some(at) = PEER_STREAM.difference(flow.read, &bytes[..taken]) {
                return Err(format!("a wrong byte at {at} of the peer's stream"));
            }
            flow.read += taken as u64;
            count += taken;
            if let Some(rest) = rest {
                self.host.stack.tcp_unread(id, rest);
            }
        }
        Ok(if count == most { Outcome::Fine } else { Outcome::Count(count) })
    }

    /// Sorts what the engine has to tell by whom it is about.
    fn events(&mut self) {
        while let Some(event) = self.host.stack.next_event() {
            match event {
                Event::Accept(_) => self.acceptable = true,
                Event::Tcp(id, readiness) => {
                    if let Some(flow) = self.flows.values_mut().find(|flow| flow.id == Some(id)) {
                        flow.ready |= readiness;
                    }
                }
                Event::Udp(..) => {}
            }
        }
    }

    fn check(&mut self, label: &str, check: &Check) -> Result<()> {
        let same = |expected: &str, came: String| {
            if came.eq_ignore_ascii_case(expected) { Ok(()) } else { Err(format!("expected {expected}, is {came}")) }
        };
        let holds = |bound: &super::Bound, value: f64| {
            if bound.holds(value) { Ok(()) } else { Err(format!("expected {bound}, is {value}")) }
        };
        match check {
            Check::State(expected) => {
                let id = self.id(label)?;
                let state = self.host.stack.tcp_state(id);
                same(expected, state.map_or_else(|error| format!("error:{error:?}"), |state| format!("{state:?}")))
            }
            Check::Error(expected) => {
                let id = self.id(label)?;
                same(expected, self.host.stack.tcp_error(id).map_or("none".into(), |error| format!("{error:?}")))
            }
            Check::Events(expected) => {
                self.events();
                let ready = std::mem::take(&mut self.flow(label).ready);
                same(expected, format!("{ready:?}"))
            }
            Check::Acceptable(expected) => {
                self.events();
                let acceptable = std::mem::take(&mut self.acceptable);
                same(&expected.to_string(), acceptable.to_string())
            }
            Check::Counter(name, bound) => {
                let found = self.host.stack.stats().each().find(|(known, _)| known == name);
                holds(bound, found.ok_or_else(|| format!("no counter {name}"))?.1 as f64)
            }
            Check::Info(name, bound) => {
                let id = self.id(label)?;
                let info = self.host.stack.tcp_info(id).map_err(|error| format!("tcp_info: {error:?}"))?;
                holds(bound, super::info::value(&info, name).ok_or_else(|| format!("no figure {name}"))?)
            }
            Check::Readable(expected) => {
                let id = self.id(label)?;
                same(&expected.to_string(), self.host.stack.tcp_readable(id).to_string())
            }
            Check::Kept(expected) => same(&expected.to_string(), self.host.in_flight().to_string()),
            Check::Orphans(expected) => same(&expected.to_string(), self.host.stack.orphans().to_string()),
            Check::IsnIs(name) => {
                let isn = self.flow(label).isn.ok_or("no SYN has gone")?;
                self.isns.insert(name.clone(), isn);
                Ok(())
            }
            Check::IsnAfter(name, bound) => {
                let isn = self.flow(label).isn.ok_or("no SYN has gone")?;
                let before = self.isns.get(name).ok_or_else(|| format!("no number has the name {name}"))?;
                holds(bound, f64::from(isn.wrapping_sub(*before) as i32))
            }
            Check::IsnUnlike(name) => {
                let isn = self.flow(label).isn.ok_or("no SYN has gone")?;
                let other = self.isns.get(name).ok_or_else(|| format!("no number has the name {name}"))?;
                let distance = (isn.wrapping_sub(*other) as i32).unsigned_abs();
                if distance > 1 << 16 { Ok(()) } else { Err(format!("only {distance} from that of {name}")) }
            }
            Check::Clean => self.clean(),
        }
    }

    fn clean(&self) -> Result<()> {
        let left = self.host.held();
        let frames = self.host.in_flight();
        match self.host.stack.poll_at() {
            None if left.is_empty() && frames == 0 => Ok(()),
            next => Err(format!("left: {left:?}, {frames} frames, next deadline {:?}", next.map(|at| self.clock(at)))),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fine => f.write_str("what was asked for"),
            Self::Count(count) => write!(f, "{count} bytes"),
            Self::End => f.write_str("the end of the stream"),
            Self::Error(error) => f.write_str(error),
        }
    }
}
