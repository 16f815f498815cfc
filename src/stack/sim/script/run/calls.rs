//! What the program of a script does, and what it wants to be true.

use super::super::{Bound, Call, Check, Outcome, info, settings};
use super::{LOCAL_STREAM, OUR_PORT, OURS, PEER_STREAM, REMOTE_SERVICE, Result, Runner, SERVICE};
use crate::stack::{ConnectOptions, Event, ListenOptions, SocketError, SocketOptions, TcpId};
use std::net::{IpAddr, SocketAddr};

impl Runner {
    /// One call; what comes of it.
    pub(super) fn call(&mut self, label: &str, call: &Call) -> Result<Outcome> {
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

    /// Whether it is so.
    pub(super) fn check(&mut self, label: &str, check: &Check) -> Result<()> {
        let same = |expected: &str, came: String| {
            if came.eq_ignore_ascii_case(expected) { Ok(()) } else { Err(format!("expected {expected}, is {came}")) }
        };
        let holds = |bound: &Bound, value: f64| {
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
                holds(bound, info::value(&info, name).ok_or_else(|| format!("no figure {name}"))?)
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
