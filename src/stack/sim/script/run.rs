//! Runs a script against an engine.

mod calls;

use super::super::super::{Config, Instant, ListenerId, Readiness, TcpId};
use super::super::frame::{ACK, Macs, Packet, SYN, Segment};
use super::super::host::Host;
use super::super::rng::Pattern;
use super::matching::Names;
use super::settings::Settings;
use super::{Action, Expect, Icmp, Inject, Opt, Script, Shape, Step, When};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
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
            Some((label, flow)) => {
                format!("{label}> {}", relative(&packet, flow.isn.unwrap_or(0), self.settings.peer_isn))
            }
            None => format!("{} > {} {packet}", packet.source, packet.target),
        }
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
        let bases = if expect.raw { (0, 0) } else { (flow.isn.unwrap_or(0), peer_isn) };
        let relative = relative(&segment, bases.0, bases.1);
        let different = expect.mismatch(&relative, part, last, &mut names);
        self.flow(label).names = names;
        if let Some(what) = different {
            return Err(format!("different {what}"));
        }
        // Window probes carry a byte from before the window's start: there is nothing to compare it with.
        let start = relative.seq.wrapping_sub(1);
        let comparable = !expect.raw && (start as i32) >= 0;
        if comparable && let Some(at) = LOCAL_STREAM.difference(u64::from(start), &relative.payload) {
            return Err(format!("a wrong byte at {at} of the stream"));
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
}

/// The segment with its numbers, those of its SACK blocks too, counted from the initial ones.
fn relative(segment: &Segment, isn: u32, peer_isn: u32) -> Segment {
    let mut segment = segment.clone();
    segment.seq = segment.seq.wrapping_sub(isn);
    if segment.flags & ACK != 0 {
        segment.ack = segment.ack.wrapping_sub(peer_isn);
    }
    for option in &mut segment.options {
        if let Opt::Sack(blocks) = option {
            for (left, right) in blocks {
                (*left, *right) = (left.wrapping_sub(peer_isn), right.wrapping_sub(peer_isn));
            }
        }
    }
    segment
}
