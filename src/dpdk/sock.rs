//! The socket.

use super::DpdkFlags;
use super::burst::{Orders, Outgoing, RX, Reader, Received, lend};
use super::config::{Config, Timestamps};
use super::count::Counts;
use super::device::{OVERHEAD, TX_CHECKSUM};
use super::meta::Meta;
use super::offload::{TxOffload, checksums};
use super::pool::{Adopted, Context, PoolRef};
use super::port::Claim;
use super::ready::{Interrupts, Naps, Ticker};
use crate::api::{
    Context as _, Interest, LinkInfo, Mode, Offloads, Payload, PortSpec, RxDrops, Socket, Stats, Token, TxDrops,
};
use crate::errors::{Error, Refused, Result};
use dpdk_sys as sys;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One port of DPDK, or one queue of it.
pub struct Sock {
    // The order matters when it is dropped: interrupts and packets before the port, the port before the frames.
    interrupts: Option<Interrupts>,
    ticker: Ticker,
    /// Packets received by `recv_token` and `wait`, which take a burst and want one.
    stash: RefCell<Received>,
    out: Outgoing,
    /// Which queue is looked at first.
    turn: Cell<usize>,
    claim: Claim,
    ctx: Context,
    port: u16,
    reader: Reader,
    stamp: bool,
    /// Every packet's checksums are left to the port.
    checksum: bool,
    longest: usize,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    rx_packets: Cell<u64>,
    rx_bytes: Cell<u64>,
    no_frame: Cell<u64>,
    too_long: Cell<u64>,
    tx_bytes: Cell<u64>,
    /// Packets have passed that nobody looked at: their bytes are the driver's to count.
    relays: Cell<bool>,
    driver: Counts,
}

#[inline(always)]
fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

/// Counts, when it is dropped, what was lent and what was not: `f` may panic. What is left goes home by itself.
struct Burst<'a> {
    sock: &'a Sock,
    packets: Received,
    /// Received, and counted as held.
    had: usize,
    /// Did not become a token.
    lost: usize,
    bytes: u64,
}

impl Burst<'_> {
    #[inline(always)]
    fn lent(&self) -> usize {
        self.had - self.packets.left() - self.lost
    }
}

impl Drop for Burst<'_> {
    #[inline]
    fn drop(&mut self) {
        let gone = self.had - self.lent();
        if gone != 0 {
            self.sock.ctx.tally().add(-(gone as isize));
        }
        add(&self.sock.counters.rx_packets, self.lent() as u64);
        add(&self.sock.counters.rx_bytes, self.bytes);
    }
}

impl Sock {
    fn open(portspec: &str, queue: Option<usize>, flags: DpdkFlags, share: Option<&PoolRef>) -> Result<Self> {
        let spec = PortSpec::parse_for(portspec, "dpdk")?;
        let config = Config::read(&spec, flags)?;
        let claim = Claim::open(&spec, queue, config, share)?;
        let port = &claim.port;
        let (plan, config, id) = (&port.plan, &port.config, port.device.id());
        let interrupts =
            if config.interrupts { Some(Interrupts::new(id, &claim.queues, port.device.driver())?) } else { None };
        // The drivers of these count in units of the system clock; a card counts its own ticks.
        let unit = match port.device.driver() {
            "net_pcap" => 1000,
            "net_af_packet" => 1,
            _ => 0,
        };
        let queue = (!claim.is_sole()).then(|| usize::from(claim.tx_queue()));
        let ctx = Context::attach(port.pool.clone());
        Ok(Self {
            interrupts,
            ticker: Ticker::new()?,
            stash: RefCell::new(Received::empty()),
            out: Outgoing::new(id, claim.tx_queue(), &ctx, plan.orders),
            turn: Cell::new(0),
            port: id,
            reader: Reader { pool: ctx.pool_id(), frames: ctx.frames(), field: plan.timestamp, unit },
            ctx,
            stamp: config.timestamps == Timestamps::Software,
            checksum: config.tx_checksum,
            longest: (usize::from(plan.mtu) + OVERHEAD).min(port.pool.longest()),
            counters: Counters {
                driver: Counts::new(&port.device.stats(), port.oversize(), queue),
                ..Counters::default()
            },
            claim,
        })
    }

    /// The extended statistics of the port, by their names in DPDK.
    #[must_use]
    pub fn xstats(&self) -> Vec<(String, u64)> {
        self.claim.port.device.all_xstats()
    }

    /// The driver behind the port, such as `net_af_packet`.
    #[must_use]
    pub fn driver(&self) -> &str {
        self.claim.port.device.driver()
    }

    /// Sends a payload of this socket's pool and has the port do something to it on its way out.
    ///
    /// # Errors
    ///
    /// As [`send_payload`](Socket::send_payload); [`Error::Unsupported`] if the option for it is not on. The payload
    /// comes back with the error.
    pub fn send_payload_with<'ctx>(
        &self,
        payload: Payload<'ctx, Context>,
        offload: TxOffload,
    ) -> std::result::Result<(), Refused<Payload<'ctx, Context>>> {
        let plan = &self.claim.port.plan;
        let missing = if offload.vlan.is_some() && !plan.sends(sys::ND_ETH_TX_OFFLOAD_VLAN_INSERT) {
            Some("vlan_insert")
        } else if offload.checksum && !plan.sends(TX_CHECKSUM) {
            Some("tx_checksum")
        } else {
            None
        };
        let refuse = |error, payload| Err(Refused::new(error, payload));
        if let Some(option) = missing {
            let what = format!("offloading without `{option}`");
            return refuse(Error::unsupported(what, format!("open the port with `?{option}`")), payload);
        }
        if payload.pool_id() != self.ctx.pool_id() {
            let help = "copy it into a frame of this socket (`alloc`)";
            return refuse(Error::unsupported("offloading for a frame of another pool", help), payload);
        }
        if let Err(error) = self.admit(payload.len()) {
            return refuse(error, payload);
        }
        let mut orders = self.orders(offload.checksum || self.checksum, &payload);
        if let Some(vlan) = offload.vlan {
            orders.vlan = vlan;
            orders.flags |= sys::ND_MBUF_F_TX_VLAN;
        }
        self.push(payload.into_token(), orders);
        Ok(())
    }

    /// Moves up to `max` waiting packets to another port, without looking at them: what `dpdk-testpmd` calls `io`. Nothing
    /// is lost on the way; what the other driver has no room for waits there for its next [`flush`](Socket::flush).
    /// Returns how many were moved.
    ///
    /// Between two ports on one pool ([`create_sharing`](Socket::create_sharing)) the mbufs go as they came, a burst at a
    /// time, and nobody reads their lengths: [`stats`](Socket::stats) then has the bytes that the driver counted, which for
    /// the ring driver is none. Otherwise each packet is sent as [`send_token`](Socket::send_token) does.
    ///
    /// # Errors
    ///
    /// [`Error::RingFull`] if the other port still has packets that its driver has no room for.
    pub fn forward(&self, to: &Sock, max: usize) -> Result<usize> {
        if to.out.len() != 0 {
            to.out.push_out();
            if to.out.len() != 0 {
                return Err(Error::RingFull);
            }
        }
        if self.claim.port.relays_to(&to.claim.port) && self.stash.borrow().left() == 0 {
            return Ok(self.relay(to, max));
        }
        let mut refused = 0;
        let got = self.recv_each(max.min(super::burst::TX), |token, _| {
            if let Err(Refused { packet, .. }) = to.send_token(token) {
                refused += 1;
                drop(packet);
            }
        })?;
        to.flush();
        Ok(got - refused)
    }

    #[inline(always)]
    fn relay(&self, to: &Sock, max: usize) -> usize {
        let queues = &self.claim.queues;
        let mut n = 0;
        for _ in 0..queues.len() {
            let turn = self.turn.get();
            self.turn.set(if turn + 1 == queues.len() { 0 } else { turn + 1 });
            let packets = to.out.relay(self.port, queues[turn], max - n);
            if packets != 0 {
                add(&self.counters.rx_packets, packets as u64);
                self.counters.relays.set(true);
                to.counters.relays.set(true);
                n += packets;
                if n >= max || to.out.len() != 0 {
                    break;
                }
            }
        }
        if n == 0 {
            self.idle();
        }
        n
    }

    /// What the port is to do to a packet.
    #[inline(always)]
    fn orders(&self, checksum: bool, packet: &[u8]) -> Orders {
        match if checksum { checksums(packet) } else { None } {
            Some(request) => Orders { flags: request.flags, lengths: request.lengths, vlan: 0 },
            None => Orders::default(),
        }
    }

    /// Whether a packet of `len` bytes can be sent now.
    #[inline(always)]
    fn admit(&self, len: usize) -> Result<()> {
        if len > self.longest {
            return Err(Error::TooBigPacket(len));
        }
        if !self.out.has_room() {
            return Err(Error::RingFull);
        }
        Ok(())
    }

    /// Queues a frame of this pool. It was admitted.
    #[inline(always)]
    fn push(&self, token: Token, orders: Orders) {
        add(&self.counters.tx_bytes, token.size().into());
        self.out.push(token, orders);
    }

    /// Packets received and lost on the way into a frame.
    #[cold]
    fn lost(&self, how: &Adopted) {
        match how {
            Adopted::TooLong => add(&self.counters.too_long, 1),
            _ => add(&self.counters.no_frame, 1),
        }
    }

    /// Asks the queues in turn. 0 if none had a packet.
    #[inline(always)]
    fn receive(&self, into: &mut Received, max: usize) -> usize {
        let queues = &self.claim.queues;
        if let [queue] = queues[..] {
            return into.fill(self.port, queue, max);
        }
        for _ in 0..queues.len() {
            let turn = self.turn.get();
            self.turn.set(if turn + 1 == queues.len() { 0 } else { turn + 1 });
            let n = into.fill(self.port, queues[turn], max);
            if n != 0 {
                return n;
            }
        }
        0
    }

    /// Nothing came: the frames at hand are more useful to the driver, and a loop that sleeps on the descriptor may.
    #[cold]
    fn idle(&self) {
        self.ctx.spill(0);
        self.ticker.acknowledge();
        if self.out.len() != 0 {
            // The driver had no room when it was asked last.
            self.out.push_out();
        }
    }

    #[inline(always)]
    fn now(&self) -> Option<u64> {
        if !self.stamp {
            return None;
        }
        SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_nanos() as u64)
    }

    /// Takes a burst and lends it, packet by packet. Returns how many the driver had, and how many were lent.
    #[inline(always)]
    fn hand_out(&self, max: usize, f: &mut impl FnMut(Token, Meta)) -> (usize, usize) {
        let mut burst = Burst { sock: self, packets: Received::empty(), had: 0, lost: 0, bytes: 0 };
        let n = self.receive(&mut burst.packets, max);
        if n == 0 {
            return (0, 0);
        }
        self.ctx.tally().add(n as isize);
        burst.had = n;
        let (now, reader, queue) = (self.now(), self.reader, burst.packets.queue);
        while let Some(packet) = burst.packets.next() {
            match lend(&self.ctx, packet, queue, reader, now) {
                Ok((token, meta)) => {
                    burst.bytes += u64::from(token.size());
                    f(token, meta);
                }
                Err(how) => {
                    burst.lost += 1;
                    self.lost(&how);
                }
            }
        }
        (n, burst.lent())
    }

    /// The next packet of the stash, which is filled if it is empty.
    #[inline(always)]
    fn next_stashed(&self) -> Result<(Token, Meta)> {
        let mut stash = self.stash.borrow_mut();
        loop {
            let Some(packet) = stash.next() else {
                if self.receive(&mut stash, RX / 2) == 0 {
                    self.idle();
                    return Err(Error::NoPacket);
                }
                continue;
            };
            match lend(&self.ctx, packet, stash.queue, self.reader, self.now()) {
                Ok((token, meta)) => {
                    self.ctx.tally().add(1);
                    add(&self.counters.rx_packets, 1);
                    add(&self.counters.rx_bytes, token.size().into());
                    return Ok((token, meta));
                }
                Err(how) => self.lost(&how),
            }
        }
    }

    /// Whether a packet is waiting; takes a burst if need be.
    fn is_readable(&self) -> bool {
        let mut stash = self.stash.borrow_mut();
        stash.left() != 0 || self.receive(&mut stash, RX / 2) != 0
    }

    /// Sends a token that the port has to do something for, that has to be copied, or that is refused.
    #[cold]
    #[inline(never)]
    fn send_token_slowly(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        if token.pool_id() == self.ctx.pool_id() {
            if let Err(error) = self.admit(token.size() as usize) {
                return Err(Refused::new(error, token));
            }
            let orders = token.peek(|packet| self.orders(self.checksum, packet)).unwrap_or_default();
            self.push(token, orders);
            return Ok(());
        }
        match token.peek(|packet| self.copy(packet)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Refused::new(error, token)),
            None => Err(Refused::new(Error::unsupported("sending a token", "its pool is gone"), token)),
        }
    }

    #[inline]
    fn copy(&self, packet: &[u8]) -> Result<()> {
        self.admit(packet.len())?;
        let mut frame = self.ctx.alloc(packet.len())?;
        frame.copy_from_slice(packet);
        let orders = self.orders(self.checksum, packet);
        self.push(frame.into_token(), orders);
        Ok(())
    }
}

impl Socket for Sock {
    type Context = Context;
    type Metadata = Meta;
    type Flags = DpdkFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: DpdkFlags) -> Result<Self> {
        Self::open(portspec, queue, flags, None)
    }

    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: DpdkFlags) -> Result<Self> {
        Self::open(portspec, queue, flags, Some(self.ctx.pool()))
    }

    #[inline]
    fn context(&self) -> &Context {
        &self.ctx
    }

    #[inline]
    fn recv_token(&self) -> Result<(Token, Meta)> {
        self.next_stashed()
    }

    #[inline]
    fn recv_each(&self, max: usize, mut f: impl FnMut(Token, Meta)) -> Result<usize> {
        let mut n = 0;
        while n < max {
            let left = self.stash.try_borrow().map_or(0, |stash| stash.left());
            if left != 0 {
                let (token, meta) = self.next_stashed()?;
                n += 1;
                f(token, meta);
                continue;
            }
            let (had, lent) = self.hand_out(max - n, &mut f);
            if had == 0 {
                break;
            }
            n += lent;
        }
        if n == 0 {
            self.idle();
        }
        Ok(n)
    }

    #[inline]
    fn send(&self, packet: &[u8]) -> Result<()> {
        self.copy(packet)
    }

    #[inline]
    fn flush(&self) {
        self.out.push_out();
    }

    #[inline]
    fn alloc(&self, len: usize) -> Result<Payload<'_, Context>> {
        if len > self.longest {
            return Err(Error::TooBigPacket(len));
        }
        self.ctx.alloc(len)
    }

    #[inline]
    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        let ours = token.pool_id() == self.ctx.pool_id() && !self.checksum;
        if ours && token.size() as usize <= self.longest && self.out.has_room() {
            self.push(token, Orders::default());
            return Ok(());
        }
        self.send_token_slowly(token)
    }

    /// With the option `tx_checksum` the port computes them for every packet, wherever they are.
    fn send_token_checksum(&self, token: Token, start: u16, offset: u16) -> std::result::Result<(), Refused<Token>> {
        let _ = (start, offset);
        if self.checksum {
            return self.send_token(token);
        }
        let error = Error::unsupported("offloading without `tx_checksum`", "open the port with `?tx_checksum`");
        Err(Refused::new(error, token))
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        let mut naps = Naps::new(timeout);
        loop {
            if interest != Interest::Readable && self.out.has_room()
                || interest != Interest::Writable && self.is_readable()
            {
                return Ok(true);
            }
            self.idle();
            match (&self.interrupts, interest) {
                (Some(interrupts), Interest::Readable) => {
                    if naps.left().is_some_and(|left| left.is_zero()) {
                        return Ok(false);
                    }
                    interrupts.arm();
                    // What came between the look and the arming raises none.
                    let left = if self.is_readable() { Some(Duration::ZERO) } else { naps.left() };
                    let source = interrupts.wait(left);
                    source.map_err(|source| Error::System {
                        what: "epoll_wait".into(),
                        help: String::new(),
                        source,
                    })?;
                }
                _ if naps.pause() => {}
                _ => return Ok(false),
            }
        }
    }

    fn drain(&self, timeout: Duration) -> Result<bool> {
        let mut naps = Naps::new(Some(timeout));
        loop {
            self.flush();
            self.out.clean_up();
            if self.out.len() == 0 && self.stats().tx_pending() == 0 {
                return Ok(true);
            }
            if !naps.pause() {
                return Ok(false);
            }
        }
    }

    fn stats(&self) -> Stats {
        let (counters, port) = (&self.counters, &self.claim.port);
        let driver = counters.driver.read(&port.device.stats(), port.oversize(), self.out.taken.get());
        // What is the port's and no queue's is told once, by the socket that opened it.
        let of_port = |n: u64| if self.claim.first { n } else { 0 };
        let errors = of_port(driver.errors);
        let oversize = of_port(driver.oversize).min(errors);
        let bytes = |mine: u64, driver: u64| {
            if counters.relays.get() && self.claim.is_sole() { mine.max(driver) } else { mine }
        };
        Stats {
            rx_packets: counters.rx_packets.get(),
            rx_bytes: bytes(counters.rx_bytes.get(), driver.rx_bytes),
            rx_truncated: 0,
            rx_dropped: RxDrops {
                ring_full: of_port(driver.missed),
                no_frame: of_port(driver.no_mbuf) + counters.no_frame.get(),
                oversize: oversize + counters.too_long.get(),
                invalid: errors - oversize,
                ..RxDrops::default()
            },
            tx_submitted: self.out.accepted(),
            tx_packets: driver.sent,
            tx_bytes: bytes(counters.tx_bytes.get(), driver.tx_bytes),
            tx_dropped: TxDrops { interface: driver.failed, invalid: self.out.refused.get(), ..TxDrops::default() },
        }
    }

    fn link(&self) -> Result<LinkInfo> {
        let port = &self.claim.port;
        let (device, plan) = (&port.device, &port.plan);
        let (speed_mbps, carrier) = device.link();
        Ok(LinkInfo {
            name: port.name.clone(),
            index: Some(device.info().if_index).filter(|index| *index != 0),
            mac: device.mac(),
            mtu: if port.config.mtu.is_some() { Some(plan.mtu.into()) } else { device.mtu().map(u32::from) },
            speed_mbps,
            carrier,
            rx_queues: Some(plan.rx_queues.into()),
            tx_queues: Some(plan.tx_queues.into()),
            offloads: Offloads {
                rx_checksum: Some(port.config.rx_checksum),
                tx_checksum: Some(plan.sends(TX_CHECKSUM)),
                rx_vlan: Some(plan.receives(sys::ND_ETH_RX_OFFLOAD_VLAN_STRIP)),
                tx_vlan: Some(plan.sends(sys::ND_ETH_TX_OFFLOAD_VLAN_INSERT)),
                ..Offloads::default()
            },
        })
    }

    fn frames_in_flight(&self) -> Option<usize> {
        Some(self.ctx.pool().in_flight())
    }

    fn mode(&self) -> Mode {
        let port = &self.claim.port;
        let zero_copy = match self.driver() {
            "net_ring" => Some(true),
            // These copy between the kernel, a file or a peer and the mbuf; of AF_XDP only its driver knows.
            "net_af_packet" | "net_pcap" | "net_tap" | "net_memif" | "net_virtio_user" => Some(false),
            driver if driver.starts_with("net_af_xdp") || driver == "net_null" => None,
            _ => Some(true),
        };
        Mode {
            backend: "dpdk",
            port: port.name.clone(),
            queues: self.claim.queues.iter().map(|queue| u32::from(*queue)).collect(),
            frames: port.pool.count(),
            frame_size: port.pool.frame_size(),
            zero_copy,
            multi_buffer: port.plan.scatter,
            hugepages: super::Eal::running().is_some_and(super::Eal::hugepages),
            tx_checksum: port.plan.sends(TX_CHECKSUM),
            promiscuous: port.plan.promiscuous,
            notes: port.notes.clone(),
            ..Mode::default()
        }
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        self.out.push_out();
    }
}

impl fmt::Debug for Sock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sock")
            .field("port", &self.claim.port.name)
            .field("queues", &self.claim.queues)
            .finish_non_exhaustive()
    }
}

impl AsFd for Sock {
    /// With `interrupts`, the descriptor of the driver's; otherwise a timer that fires every half millisecond, and is
    /// silent again once a receive has found nothing.
    fn as_fd(&self) -> BorrowedFd<'_> {
        if let Some(interrupts) = &self.interrupts {
            interrupts.arm();
            return interrupts.fd().as_fd();
        }
        self.ticker.fd().as_fd()
    }
}
