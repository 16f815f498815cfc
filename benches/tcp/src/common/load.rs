//! Clients: as many as one likes, each with one request of 64 bytes under way at a time.
//!
//! They keep sequence numbers and nothing else: what a server answers is known beforehand, so that the requests of a
//! whole batch are written before the server sees the first, and its answers are checked after the last. Only the time in
//! between is the server's. They offer what Linux offers (MSS, SACK, timestamps, window scale) and then do as the
//! server agreed.

use super::meter::Meter;
use super::{Args, Server, heap};

/// Bytes of a request, and of its answer.
pub const REQUEST: usize = 64;
/// Exchanges between two looks at the clock.
pub const BATCH: usize = 512;
/// Addresses of the server.
pub const SERVER: ([u8; 6], [u8; 4], u16) = ([2, 0, 0, 0, 0, 1], [10, 0, 0, 1], 80);
/// Ethernet address of all clients.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PORTS: usize = 28_000;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

#[derive(Clone, Copy, Default)]
struct Client {
    /// Next of ours.
    seq: u32,
    /// Next of the server's, when all that is under way has arrived.
    ack: u32,
    /// Next of the server's.
    received: u32,
    /// Its last timestamp.
    echo: u32,
    open: bool,
}

/// All clients.
pub struct Load {
    clients: Vec<Client>,
    timestamps: bool,
    now: u64,
    next: usize,
}

/// Address and port of a client.
fn end(n: usize) -> ([u8; 4], u16) {
    ([10, 1, 0, 1 + (n / PORTS) as u8], (32_768 + n % PORTS) as u16)
}

/// The client that a frame is from, or for, by where its address and port lie in the frame.
#[must_use]
pub fn client(frame: &[u8], address: usize, port: usize) -> usize {
    let port = usize::from(u16::from_be_bytes([frame[port], frame[port + 1]]));
    usize::from(frame[address + 3] - 1) * PORTS + port - 32_768
}

/// The client that sent this frame; `None` if it is no IP packet.
#[must_use]
#[inline(always)]
pub fn sender(frame: &[u8]) -> Option<usize> {
    (frame[12..14] == [8, 0]).then(|| client(frame, 26, 34))
}

impl Load {
    /// For `open` clients. Allocates all that they will ever need.
    #[must_use]
    pub fn new(open: usize) -> Self {
        Self { clients: vec![Client::default(); open], timestamps: false, now: 1_000_000_000, next: 0 }
    }

    /// A segment of a client.
    fn segment(&self, n: usize, flags: u8, payload: &[u8], frame: &mut [u8; 256]) -> usize {
        let client = &self.clients[n];
        let (address, port) = end(n);
        let clock = (self.now / 1_000_000) as u32;
        let mut options = [0_u8; 20];
        let options = if flags & SYN != 0 {
            options[..8].copy_from_slice(&[2, 4, 5, 180, 4, 2, 8, 10]);
            options[8..12].copy_from_slice(&clock.to_be_bytes());
            options[16..].copy_from_slice(&[1, 3, 3, 7]);
            &options[..]
        } else if self.timestamps {
            options[..4].copy_from_slice(&[1, 1, 8, 10]);
            options[4..8].copy_from_slice(&clock.to_be_bytes());
            options[8..12].copy_from_slice(&client.echo.to_be_bytes());
            &options[..12]
        } else {
            &[]
        };
        let tcp = 20 + options.len();
        frame[..6].copy_from_slice(&SERVER.0);
        frame[6..12].copy_from_slice(&CLIENT_MAC);
        frame[12..14].copy_from_slice(&[8, 0]);
        let total = (20 + tcp + payload.len()) as u16;
        frame[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[26..30].copy_from_slice(&address);
        frame[30..34].copy_from_slice(&SERVER.1);
        let words = frame[14..34].chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
        let sum = words.sum::<u32>();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame[34..36].copy_from_slice(&port.to_be_bytes());
        frame[36..38].copy_from_slice(&SERVER.2.to_be_bytes());
        frame[38..42].copy_from_slice(&client.seq.to_be_bytes());
        frame[42..46].copy_from_slice(&if flags & ACK != 0 { client.ack } else { 0 }.to_be_bytes());
        frame[46..48].copy_from_slice(&[(tcp as u8 / 4) << 4, flags]);
        frame[48..50].copy_from_slice(&60_000_u16.to_be_bytes());
        // Nobody looks at the checksum.
        frame[50..54].fill(0);
        frame[54..34 + tcp].copy_from_slice(options);
        frame[34 + tcp..34 + tcp + payload.len()].copy_from_slice(payload);
        34 + tcp + payload.len()
    }

    /// Opens all connections, has one exchange on each, and acknowledges the answer: then they are idle.
    pub fn open(&mut self, server: &mut impl Server) {
        let mut frame = [0; 256];
        for n in 0..self.clients.len() {
            self.clients[n].seq = (n as u32).wrapping_mul(0x9e37_79b9);
            let len = self.segment(n, SYN, &[], &mut frame);
            for _ in 0..3 {
                server.load(&frame[..len]);
                server.serve(&mut self.now, 1);
                if let Some(reply) = self.take(server) {
                    server.load(&reply);
                    server.serve(&mut self.now, 1);
                    self.take(server);
                }
                if self.clients[n].open {
                    break;
                }
                // smoltcp asks for one address per second, and forgets why it did.
                self.now += 1_100_000_000;
            }
            self.clients[n].seq = self.clients[n].seq.wrapping_add(1);
            assert!(self.clients[n].open, "client {n} got no SYN-ACK");
            self.acknowledge(server, n);
            self.exchange(server, |_| n, 1, 1, &mut Meter::default());
            self.acknowledge(server, n);
        }
    }

    /// Acknowledges everything that client `n` has received.
    fn acknowledge(&mut self, server: &mut impl Server, n: usize) {
        let mut frame = [0; 256];
        let len = self.segment(n, ACK, &[], &mut frame);
        server.load(&frame[..len]);
        server.serve(&mut self.now, 1);
        self.take(server);
    }

    /// `count` exchanges, the `k`th on connection `which(k)`, `burst` of them per turn of the server.
    fn exchange(
        &mut self,
        server: &mut impl Server,
        which: impl Fn(usize) -> usize,
        count: usize,
        burst: usize,
        meter: &mut Meter,
    ) {
        let mut frame = [0; 256];
        let request: [u8; REQUEST] = std::array::from_fn(|n| n as u8);
        for k in 0..count {
            let n = which(k);
            let len = self.segment(n, ACK | PSH, &request, &mut frame);
            let client = &mut self.clients[n];
            client.seq = client.seq.wrapping_add(REQUEST as u32);
            client.ack = client.ack.wrapping_add(REQUEST as u32);
            server.load(&frame[..len]);
        }
        let mut now = self.now;
        meter.time(|| server.serve(&mut now, burst));
        self.now = now;
        self.take(server);
        for k in 0..count {
            let client = &self.clients[which(k)];
            assert!(client.received == client.ack, "no answer on connection {}", which(k));
        }
    }

    /// Takes note of what the server has sent; the answer to an ARP request, if there was one.
    fn take(&mut self, server: &mut impl Server) -> Option<[u8; 42]> {
        let mut reply = None;
        server.sent(&mut |frame| {
            if frame[12..14] == [8, 6] {
                reply = answer(frame).or(reply);
                return;
            }
            let n = client(frame, 30, 36);
            let client = &mut self.clients[n];
            let word = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
            let header = usize::from(frame[46] >> 4) * 4;
            let (seq, flags, options) = (word(38), frame[47], &frame[54..34 + header]);
            assert!(flags & (RST | FIN) == 0, "connection {n} was closed");
            if let Some(at) = (0..options.len()).find(|at| options[*at..].starts_with(&[8, 10])) {
                client.echo = word(54 + at + 2);
                self.timestamps = true;
            }
            if flags & SYN != 0 {
                client.ack = seq.wrapping_add(1);
                (client.received, client.open) = (client.ack, true);
                return;
            }
            let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            let payload = &frame[34 + header..14 + total];
            // What is repeated has been counted.
            if seq == client.received && !payload.is_empty() {
                assert!(
                    payload.len() % REQUEST == 0
                        && payload.iter().zip((0..REQUEST as u8).cycle()).all(|(a, b)| *a == b)
                );
                client.received = seq.wrapping_add(payload.len() as u32);
            }
        });
        reply
    }

    /// Opens all connections and measures exchanges on those that are active, one after the other. `before` is what lived
    /// on the heap before there was a server.
    pub fn run(server: &mut impl Server, args: &Args, before: i64) {
        let served = heap::live() - before;
        let mut load = Self::new(args.open);
        let before = heap::live() - served;
        load.open(server);
        let bytes = (heap::live() - before) as f64 / args.open as f64;
        let mut round = |meter: &mut Meter| {
            let (active, next) = (args.active, load.next);
            // Spread over all that are open.
            let stride = args.open / active;
            load.exchange(server, |k| (next + k) % active * stride, BATCH, args.burst, meter);
            load.next = (next + BATCH) % active;
        };
        // Twice round all that are active, and until caches and branch predictors know the way.
        for _ in 0..(2 * args.active / BATCH).max(64) {
            round(&mut Meter::default());
        }
        let (mut meter, rounds) = (Meter::default(), args.packets.div_ceil(BATCH as u64));
        for _ in 0..rounds {
            round(&mut meter);
        }
        meter.print(rounds * BATCH as u64, bytes);
    }
}

/// The reply to an ARP request for a client's address.
fn answer(request: &[u8]) -> Option<[u8; 42]> {
    if request[20..22] != [0, 1] || request[38] != 10 || request[39] != 1 {
        return None;
    }
    let mut reply = [0; 42];
    reply[..6].copy_from_slice(&SERVER.0);
    reply[6..12].copy_from_slice(&CLIENT_MAC);
    reply[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    reply[22..28].copy_from_slice(&CLIENT_MAC);
    reply[28..32].copy_from_slice(&request[38..42]);
    reply[32..42].copy_from_slice(&request[22..32]);
    Some(reply)
}
