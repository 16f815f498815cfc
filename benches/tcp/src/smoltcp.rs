//! smoltcp, in the places where our engine stands.
//!
//! ```text
//! tcp-smoltcp requests [--open N] [--active N] [--burst N] [--packets N]
//! tcp-smoltcp bulk [no-checksums] [--packets N]
//! ```
//!
//! As a server it gets the set-up in which it does best: a set of its own for every connection, so that a poll looks at one
//! socket, and a demultiplexer in front that costs next to nothing (the client's number is computed from its address).

mod common;

use common::heap;
use common::load::{BATCH, Load, REQUEST, SERVER, sender};
use common::meter::Meter;
use common::{Args, Out, Server, TICK};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::collections::VecDeque;

/// One frame at a time out of those that were loaded, and all that are sent into [`Out`].
struct Wire {
    frames: Vec<u8>,
    lens: Vec<usize>,
    next: usize,
    offered: bool,
    out: Out,
}

impl Wire {
    const SLOT: usize = 256;

    fn frame(&self, n: usize) -> &[u8] {
        &self.frames[n * Self::SLOT..][..self.lens[n]]
    }
}

struct Rx<'a>(&'a [u8]);
struct Tx<'a>(&'a mut Out);

impl phy::RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(self.0.next(len).expect("as many places as frames"))
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        if !self.offered {
            return None;
        }
        self.offered = false;
        let n = self.next;
        self.next += 1;
        Some((Rx(&self.frames[n * Self::SLOT..][..self.lens[n]]), Tx(&mut self.out)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(false)
    }
}

fn capabilities(checksums: bool) -> DeviceCapabilities {
    let mut all = DeviceCapabilities::default();
    all.medium = Medium::Ethernet;
    all.max_transmission_unit = 1514;
    all.checksum = ChecksumCapabilities::default();
    if !checksums {
        all.checksum.tcp = Checksum::None;
    }
    all
}

fn interface(device: &mut impl Device, mac: [u8; 6], ip: [u8; 4]) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
    config.random_seed = 1;
    let mut interface = Interface::new(config, device, Instant::ZERO);
    interface.update_ip_addrs(|all| {
        all.push(IpCidr::new(IpAddress::v4(ip[0], ip[1], ip[2], ip[3]), 8)).expect("room for one address");
    });
    interface
}

struct Smoltcp {
    wire: Wire,
    interface: Interface,
    sets: Vec<(SocketSet<'static>, SocketHandle)>,
}

impl Smoltcp {
    fn new(open: usize) -> Self {
        let out = Out::new(2 * BATCH);
        let frames = vec![0; BATCH * Wire::SLOT];
        let mut wire = Wire { frames, lens: Vec::with_capacity(BATCH), next: 0, offered: false, out };
        let interface = interface(&mut wire, SERVER.0, SERVER.1);
        let mut sets = Vec::with_capacity(open);
        sets.resize_with(open, || {
            let buffer = || SocketBuffer::new(vec![0; 8 * REQUEST]);
            let mut socket = Socket::new(buffer(), buffer());
            socket.listen(SERVER.2).expect("a port that is not zero");
            let mut set = SocketSet::new(Vec::with_capacity(1));
            let handle = set.add(socket);
            (set, handle)
        });
        Self { wire, interface, sets }
    }
}

impl Server for Smoltcp {
    fn load(&mut self, frame: &[u8]) {
        let at = self.wire.lens.len() * Wire::SLOT;
        self.wire.frames[at..at + frame.len()].copy_from_slice(frame);
        self.wire.lens.push(frame.len());
    }

    fn serve(&mut self, now: &mut u64, burst: usize) {
        let mut left = self.wire.lens.len();
        while left > 0 {
            let count = burst.min(left);
            *now += TICK * count as u64;
            serve_burst(self, Instant::from_micros((*now / 1000) as i64), count);
            left -= count;
        }
        self.wire.lens.clear();
        self.wire.next = 0;
    }

    fn sent(&mut self, each: &mut dyn FnMut(&[u8])) {
        self.wire.out.take(each);
    }
}

/// What one frame after the other brings, and the answers.
#[inline(never)]
fn serve_burst(server: &mut Smoltcp, now: Instant, count: usize) {
    let Smoltcp { wire, interface, sets } = server;
    for _ in 0..count {
        let n = sender(wire.frame(wire.next)).unwrap_or(0);
        let (set, handle) = &mut sets[n];
        wire.offered = true;
        interface.poll_ingress_single(now, wire, set);
        let socket = set.get_mut::<Socket>(*handle);
        if socket.can_recv() {
            let mut bytes = [0; 2 * REQUEST];
            if let Ok(len) = socket.recv_slice(&mut bytes) {
                let _ = socket.send_slice(&bytes[..len]);
            }
        }
        interface.poll_egress(now, wire, set);
    }
}

/// A cable between two interfaces, with frames that are used again and again.
struct Cable {
    checksums: bool,
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
    /// Frames to send in, and those that were received.
    spare: Vec<Vec<u8>>,
    used: Vec<Vec<u8>>,
}

struct CableRx<'a>(Vec<u8>, &'a mut Vec<Vec<u8>>);
struct CableTx<'a>(&'a mut Vec<Vec<u8>>, &'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for CableRx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.0);
        self.1.push(self.0);
        result
    }
}

impl phy::TxToken for CableTx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.0.pop().expect("the device looked");
        let result = f(&mut frame[..len]);
        frame.truncate(len);
        self.1.push_back(frame);
        result
    }
}

impl Cable {
    const FRAMES: usize = 2048;

    fn new(checksums: bool) -> Self {
        let spare = (0..Self::FRAMES).map(|_| vec![0; 2048]).collect();
        let queue = || VecDeque::with_capacity(2 * Self::FRAMES);
        Self { checksums, incoming: queue(), outgoing: queue(), spare, used: Vec::with_capacity(2 * Self::FRAMES) }
    }

    /// Carries what this end has sent to the other one, and frames to send in back.
    fn carry(&mut self, to: &mut Self) {
        self.spare.extend(to.used.drain(..).map(|mut frame| {
            frame.resize(2048, 0);
            frame
        }));
        to.incoming.extend(self.outgoing.drain(..));
    }
}

impl Device for Cable {
    type RxToken<'a> = CableRx<'a>;
    type TxToken<'a> = CableTx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(CableRx<'_>, CableTx<'_>)> {
        if self.spare.is_empty() {
            return None;
        }
        let frame = self.incoming.pop_front()?;
        Some((CableRx(frame, &mut self.used), CableTx(&mut self.spare, &mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<CableTx<'_>> {
        (!self.spare.is_empty()).then_some(CableTx(&mut self.spare, &mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.checksums)
    }
}

/// One end of a bulk transfer.
struct End {
    cable: Cable,
    interface: Interface,
    set: SocketSet<'static>,
    handle: SocketHandle,
}

impl End {
    /// Buffers as large as our engine's.
    const BUFFER: usize = 1 << 20;

    fn new(host: u8, checksums: bool) -> Self {
        let mut cable = Cable::new(checksums);
        let interface = interface(&mut cable, [2, 0, 0, 0, 0, host], [10, 0, 0, host]);
        let buffer = || SocketBuffer::new(vec![0; Self::BUFFER]);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(Socket::new(buffer(), buffer()));
        Self { cable, interface, set, handle }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.cable, &mut self.set);
    }
}

/// One turn of both: the sender fills its buffer, the receiver empties its own. How many bytes came.
#[inline(never)]
fn bulk_burst(from: &mut End, to: &mut End, now: Instant, bytes: &[u8]) -> usize {
    let socket = from.socket();
    while socket.can_send() {
        let _ = socket.send_slice(bytes);
    }
    from.poll(now);
    from.cable.carry(&mut to.cable);
    to.poll(now);
    let (socket, mut got) = (to.socket(), 0);
    while socket.can_recv() {
        got += socket.recv(|bytes| (bytes.len(), std::hint::black_box(bytes).len())).unwrap_or(0);
    }
    to.poll(now);
    to.cable.carry(&mut from.cable);
    got
}

fn bulk(args: &Args) {
    let checksums = !args.has("no-checksums");
    let (mut from, mut to) = (End::new(1, checksums), End::new(2, checksums));
    to.socket().listen(80).expect("a port that is not zero");
    let End { interface, set, handle, .. } = &mut from;
    let socket = set.get_mut::<Socket>(*handle);
    socket.connect(interface.context(), (IpAddress::v4(10, 0, 0, 2), 80), 40_000).expect("a free socket");
    let bytes = vec![7; 64 << 10];
    let (mut now, mut got, mut idle) = (0, 0, 0);
    let mut move_on = |meter: &mut Meter, want: u64| {
        got = 0;
        while got < want {
            now += 20;
            let more = meter.time(|| bulk_burst(&mut from, &mut to, Instant::from_micros(now), &bytes)) as u64;
            idle = if more == 0 { idle + 1 } else { 0 };
            assert!(idle < 1_000_000, "nothing moves any more");
            got += more;
        }
        got
    };
    move_on(&mut Meter::default(), 64 << 20);
    let mut meter = Meter::default();
    let moved = move_on(&mut meter, args.packets * common::SEGMENT);
    meter.print(moved / common::SEGMENT, 0.0);
}

fn main() {
    let args = Args::parse();
    if args.has("bulk") {
        bulk(&args);
    } else {
        let before = heap::live();
        Load::run(&mut Smoltcp::new(args.open), &args, before);
    }
}
