//! smoltcp at one end of the wire: another implementation to talk to, with the same plans.

use super::super::Instant;
use super::net::Node;
use super::rng::Rng;
use super::traffic::{Ending, FIRST_PORT, PORT, Plan, stream};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, RecvError, Socket, SocketBuffer, State};
use smoltcp::time::Instant as Moment;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;

/// Bytes of each buffer of each socket.
const BUFFER: usize = 65535;

/// One side of one connection.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) plan: usize,
    pub(super) role: usize,
    handle: SocketHandle,
    begun: bool,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) end_seen: bool,
    shut: bool,
    pub(super) failed: bool,
}

/// smoltcp with its programs.
pub(super) struct Peer {
    interface: Interface,
    sockets: SocketSet<'static>,
    cable: Cable,
    /// Sockets that listen, until one of them is a connection whose port tells which plan it is.
    listening: Vec<SocketHandle>,
    pub(super) talks: Vec<Talk>,
    plans: Rc<[Plan]>,
    remote: Ipv4Addr,
    next: Option<Moment>,
    seed: u64,
}

#[derive(Default)]
struct Cable {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Incoming(Vec<u8>);
struct Outgoing<'c>(&'c mut Vec<Vec<u8>>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Cable {
    type RxToken<'c> = Incoming;
    type TxToken<'c> = Outgoing<'c>;

    fn receive(&mut self, _: Moment) -> Option<(Incoming, Outgoing<'_>)> {
        Some((Incoming(self.received.pop_front()?), Outgoing(&mut self.sent)))
    }

    fn transmit(&mut self, _: Moment) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// Its clock counts microseconds: a moment that lies between two of them comes after the first.
fn moment(now: Instant) -> Moment {
    Moment::from_micros(now.as_micros() as i64)
}

impl Peer {
    pub(super) fn new(side: usize, addresses: [Ipv4Addr; 2], plans: Rc<[Plan]>, seed: u64) -> Self {
        let mut cable = Cable::default();
        let mut config = Config::new(EthernetAddress([2, 0, 0, 0, 2, side as u8]).into());
        config.random_seed = Rng::new(seed).next();
        let mut interface = Interface::new(config, &mut cable, Moment::ZERO);
        interface.update_ip_addrs(|to| {
            to.push(IpCidr::new(IpAddress::Ipv4(addresses[side]), 24)).expect("room for one address");
        });
        let mut sockets = SocketSet::new(Vec::new());
        let (mut listening, mut talks) = (Vec::new(), Vec::new());
        for (plan, of) in plans.iter().enumerate() {
            assert!(matches!(of.ending, Ending::Orderly | Ending::Late(_)), "smoltcp is given orderly plans only");
            let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
            socket.set_congestion_control(CongestionControl::Cubic);
            if of.sides[0] == side {
                let handle = sockets.add(socket);
                let (begun, role) = (false, 0);
                let (written, read, end_seen, shut, failed) = (0, 0, false, false, false);
                talks.push(Talk { plan, role, handle, begun, written, read, end_seen, shut, failed });
            } else {
                socket.listen(PORT).expect("a port to listen on");
                listening.push(sockets.add(socket));
            }
        }
        let remote = addresses[1 - side];
        Self { interface, sockets, cable, listening, talks, plans, remote, next: Some(Moment::ZERO), seed }
    }

    /// Whether every plan has been carried out.
    pub(super) fn is_done(&self) -> bool {
        self.listening.is_empty() && self.talks.iter().all(|talk| talk.failed || talk.end_seen && talk.shut)
    }

    fn program(&mut self, now: Instant) -> bool {
        let mut got_on = false;
        for handle in std::mem::take(&mut self.listening) {
            match self.sockets.get::<Socket>(handle).remote_endpoint() {
                Some(peer) if self.sockets.get::<Socket>(handle).may_send() => {
                    let (plan, role) = (usize::from(peer.port - FIRST_PORT), 1);
                    let (written, read, end_seen, shut, failed) = (0, 0, false, false, false);
                    self.talks.push(Talk { plan, role, handle, begun: true, written, read, end_seen, shut, failed });
                    got_on = true;
                }
                _ => self.listening.push(handle),
            }
        }
        for index in 0..self.talks.len() {
            got_on |= self.talk(now, index);
        }
        got_on
    }

    fn talk(&mut self, now: Instant, index: usize) -> bool {
        let talk = &mut self.talks[index];
        let plan = &self.plans[talk.plan];
        let socket = self.sockets.get_mut::<Socket>(talk.handle);
        if !talk.begun {
            if plan.open_at > now {
                return false;
            }
            let remote = (IpAddress::Ipv4(self.remote), PORT);
            socket.connect(self.interface.context(), remote, FIRST_PORT + talk.plan as u16).expect("a connect");
            talk.begun = true;
            return true;
        }
        let mut got_on = false;
        let (bytes, ours) = (plan.habits[talk.role].bytes, stream(self.seed, talk.plan, talk.role));
        while talk.written < bytes && socket.can_send() {
            let mut part = vec![0; (bytes - talk.written).min(4000) as usize];
            ours.fill(talk.written, &mut part);
            let sent = socket.send_slice(&part).expect("it can send");
            talk.written += sent as u64;
            got_on = true;
            if sent < part.len() {
                break;
            }
        }
        let theirs = stream(self.seed, talk.plan, 1 - talk.role);
        while !talk.end_seen && socket.state() != State::SynSent {
            let read = socket.recv(|bytes| {
                assert_eq!(theirs.difference(talk.read, bytes), None, "plan {}: a wrong byte", talk.plan);
                (bytes.len(), bytes.len())
            });
            match read {
                Ok(0) => break,
                Ok(count) => talk.read += count as u64,
                Err(RecvError::Finished) => talk.end_seen = true,
                Err(RecvError::InvalidState) => {
                    talk.failed = !talk.shut || !talk.end_seen;
                    break;
                }
            }
            got_on = true;
        }
        let waits = plan.ending == Ending::Late(talk.role) && !talk.end_seen;
        if talk.written == bytes && !talk.shut && !waits && socket.may_send() {
            socket.close();
            talk.shut = true;
            got_on = true;
        }
        got_on
    }
}

impl Node for Peer {
    fn turn(&mut self, now: Instant, arrived: &[Vec<u8>], out: &mut Vec<Vec<u8>>) -> bool {
        self.cable.received.extend(arrived.iter().cloned());
        let (at, mut got_on) = (moment(now), false);
        loop {
            self.interface.poll(at, &mut self.cable, &mut self.sockets);
            if !self.program(now) {
                break;
            }
            got_on = true;
        }
        self.next = self
            .interface
            .poll_at(at, &self.sockets)
            .map(|next| next.max(at + smoltcp::time::Duration::from_micros(1)));
        out.append(&mut self.cable.sent);
        got_on
    }

    fn next(&self) -> Option<Instant> {
        let stack = self.next.map(|next| Instant::from_micros(next.total_micros() as u64));
        let open = self.talks.iter().filter(|talk| !talk.begun).map(|talk| self.plans[talk.plan].open_at).min();
        [stack, open].into_iter().flatten().min()
    }
}
