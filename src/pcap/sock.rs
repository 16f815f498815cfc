//! The socket over an interface or a capture file.

use super::explain;
use super::ffi::{Drops, Handle};
use super::file::{self, Written};
use super::flags::{self, PcapFlags, Port};
use super::live::Interface;
use super::meta::Meta;
use crate::api::{Interest, LinkInfo, Mode, Payload, PortSpec, RxDrops, Socket, Stats, Token};
use crate::capture::Format;
use crate::errors::{Error, Refused, Result};
use crate::pool::{Geometry, Pool, PoolContext};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A port on libpcap: an interface, or a capture file that is read or written.
#[derive(Debug)]
pub struct Sock {
    source: Source,
    name: String,
    ctx: PoolContext,
    /// Bytes of a packet that are delivered: the shorter of frame and snapshot length.
    cut: usize,
    /// Which of the two it is: only what a frame is too short for counts as truncated.
    cut_by_frame: bool,
    notes: Vec<String>,
    counters: Counters,
    /// The last attempt to receive found no free frame.
    starving: Cell<bool>,
    /// An error that came after packets, for the next call.
    pending: RefCell<Option<String>>,
    has_pending: Cell<bool>,
}

#[derive(Debug)]
enum Source {
    Live(Interface),
    Read(Handle),
    Write(Written),
}

#[derive(Debug, Default)]
struct Counters {
    rx_packets: Cell<u64>,
    rx_bytes: Cell<u64>,
    rx_truncated: Cell<u64>,
    ring_full: Cell<u64>,
    no_frame: Cell<u64>,
    interface: Cell<u64>,
    /// libpcap's totals as of the last look.
    seen: Cell<Drops>,
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

impl Sock {
    fn open(portspec: &str, queue: Option<usize>, mut flags: PcapFlags, pool: Option<&Arc<Pool>>) -> Result<Self> {
        let spec = PortSpec::parse_for(portspec, "pcap")?;
        if let Some(queue @ 1..) = queue {
            return Err(Error::NoSuchPort {
                port: portspec.to_owned(),
                problem: format!(
                    "queue {queue} cannot be opened by itself: libpcap sees all queues of an interface as one; leave the queue out, or open single queues with af_xdp:"
                ),
            });
        }
        let port = flags::settle(&spec, &mut flags)?;
        let name = spec.name.clone();
        let pool = match pool {
            Some(pool) => pool.clone(),
            None => Pool::heap(Geometry::new(flags.buffer_count, flags.buffer_size))?,
        };
        let frame_size = pool.geometry().frame_size;
        let snaplen = usize::try_from(flags.snaplen).unwrap_or(usize::MAX);
        let cut = frame_size.min(snaplen);
        let mut notes = Vec::new();
        let source = match port {
            Port::Live(options) => Source::Live(Interface::open(&name, cut, &flags, &options, &mut notes)?),
            Port::Read => {
                let handle = file::read(&name)?;
                notes.push("file opened for reading".to_owned());
                Source::Read(handle)
            }
            Port::Write(options) => {
                let written = Written::open(&name, &options, snaplen as u32)?;
                let layout = written.layout();
                notes.push(match (layout.format, layout.nanos) {
                    (Format::PcapNg, _) => "pcapng file opened for writing, nanoseconds".to_owned(),
                    (Format::Pcap, true) => "pcap file opened for writing, nanoseconds".to_owned(),
                    (Format::Pcap, false) => "pcap file opened for writing, microseconds".to_owned(),
                });
                Source::Write(written)
            }
        };
        let readable = match &source {
            Source::Live(Interface { handle, .. }) | Source::Read(handle) => Some(handle),
            Source::Write(_) => None,
        };
        if let (Some(handle), Some(filter)) = (readable, &flags.filter) {
            handle.set_filter(filter).map_err(|message| explain::filter(filter, &message))?;
            notes.push(format!("filter `{filter}`"));
        }
        Ok(Self {
            source,
            name,
            ctx: PoolContext::attach(&pool),
            cut,
            cut_by_frame: frame_size < snaplen,
            notes,
            counters: Counters::default(),
            starving: Cell::new(false),
            pending: RefCell::new(None),
            has_pending: Cell::new(false),
        })
    }

    /// Adds a packet with the time it was seen, in nanoseconds since the Unix epoch, and the length it had on the wire
    /// (at least its own), to a capture file that is open for writing. [`send`](Socket::send) there takes the time of
    /// the call.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] on an interface or a file that is being read; [`Error::System`] if the file cannot be
    /// written.
    #[inline]
    pub fn send_at(&self, packet: &[u8], timestamp_ns: u64, wire_len: u32) -> Result<()> {
        match &self.source {
            Source::Write(file) => file.write(packet, timestamp_ns, wire_len),
            Source::Live(_) => Err(Error::unsupported(
                format!("sending on {} with a recorded time", self.name),
                "an interface sends now: use `send`, and wait for the time in between",
            )),
            Source::Read(_) => Err(self.not_for_sending()),
        }
    }

    /// Out of line, so that sending on an interface stays short.
    #[inline(never)]
    fn send_to_file(&self, packet: &[u8]) -> Result<()> {
        match &self.source {
            Source::Write(_) => self.send_at(packet, now_ns(), packet.len() as u32),
            _ => Err(self.not_for_sending()),
        }
    }

    #[cold]
    fn not_for_sending(&self) -> Error {
        Error::unsupported(
            format!("sending on {}, a capture file opened for reading", self.name),
            format!("write one with pcap:NAME?write, or add to this one with pcap:{}?append", self.name),
        )
    }

    #[cold]
    fn not_for_receiving(&self) -> Error {
        Error::unsupported(
            format!("receiving from {}, a capture file opened for writing", self.name),
            format!("once it is complete, read it with pcap:{}", self.name),
        )
    }

    /// Hands up to `max` packets to `f`. The way of every receive.
    #[inline]
    fn receive(&self, max: usize, mut f: impl FnMut(Token, Meta)) -> Result<usize> {
        let (handle, live) = match &self.source {
            Source::Live(interface) => (&interface.handle, true),
            Source::Read(handle) => (handle, false),
            Source::Write(_) => return Err(self.not_for_receiving()),
        };
        if max == 0 {
            return Ok(0);
        }
        if self.has_pending.get() {
            return Err(self.take_pending(live));
        }
        // A packet is only taken out of the ring if there is a frame for it.
        if !self.has_frame() {
            return Ok(self.starve());
        }
        if self.starving.get() {
            self.fed();
        }
        let mut n = 0;
        let outcome = handle.dispatch(max, |header, bytes| {
            let kept = &bytes[..bytes.len().min(self.cut)];
            let Ok(token) = self.ctx.copy_in(kept) else {
                // Asked to stop, libpcap went on all the same.
                add(&self.counters.no_frame, 1);
                return false;
            };
            // On an interface the kernel has cut the packet already.
            let len = if live { header.len as usize } else { bytes.len() };
            if len > self.cut && self.cut_by_frame {
                add(&self.counters.rx_truncated, 1);
            }
            n += 1;
            add(&self.counters.rx_packets, 1);
            add(&self.counters.rx_bytes, kept.len() as u64);
            f(token, Meta::new(header, handle.nanos(), kept.len()));
            n == max || self.has_frame()
        });
        match outcome {
            Ok(0) if !live => Err(Error::EndOfFile),
            Ok(_) => Ok(n),
            Err(message) => self.fail(message, live, n),
        }
    }

    /// Whether a frame is free; if so, it is at hand.
    #[inline]
    fn has_frame(&self) -> bool {
        // One that is at home or in the depot of the pool is fetched by being taken and put back.
        self.ctx.local_free() > 0 || self.ctx.alloc(0).is_ok()
    }

    /// No frame is free: what the kernel drops from now on is the fault of whoever holds them.
    #[cold]
    fn starve(&self) -> usize {
        if !self.starving.get() {
            self.look_at_drops();
            self.starving.set(true);
        }
        0
    }

    #[cold]
    fn fed(&self) {
        self.look_at_drops();
        self.starving.set(false);
    }

    /// Takes over what libpcap has counted since the last look.
    fn look_at_drops(&self) {
        let Source::Live(interface) = &self.source else { return };
        let Some(now) = interface.handle.drops() else { return };
        let before = self.counters.seen.replace(now);
        let cause = if self.starving.get() { &self.counters.no_frame } else { &self.counters.ring_full };
        add(cause, u64::from(now.kernel.wrapping_sub(before.kernel)));
        add(&self.counters.interface, u64::from(now.interface.wrapping_sub(before.interface)));
    }

    #[cold]
    fn fail(&self, message: String, live: bool, n: usize) -> Result<usize> {
        if n > 0 {
            *self.pending.borrow_mut() = Some(message);
            self.has_pending.set(true);
            return Ok(n);
        }
        Err(self.explain(message, live))
    }

    #[cold]
    fn take_pending(&self, live: bool) -> Error {
        self.has_pending.set(false);
        let message = self.pending.borrow_mut().take().unwrap_or_default();
        self.explain(message, live)
    }

    fn explain(&self, message: String, live: bool) -> Error {
        if live { explain::receiving(&self.name, message) } else { explain::reading(&self.name, message) }
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

impl Socket for Sock {
    type Context = PoolContext;
    type Metadata = Meta;
    type Flags = PcapFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: PcapFlags) -> Result<Self> {
        Self::open(portspec, queue, flags, None)
    }

    #[inline]
    fn context(&self) -> &PoolContext {
        &self.ctx
    }

    #[inline]
    fn recv_token(&self) -> Result<(Token, Meta)> {
        let mut packet = None;
        self.receive(1, |token, meta| packet = Some((token, meta)))?;
        packet.ok_or(Error::NoPacket)
    }

    #[inline]
    fn recv_each(&self, max: usize, f: impl FnMut(Token, Meta)) -> Result<usize> {
        self.receive(max, f)
    }

    #[inline]
    fn send(&self, packet: &[u8]) -> Result<()> {
        match &self.source {
            Source::Live(interface) => interface.send(packet),
            _ => self.send_to_file(packet),
        }
    }

    /// On a file being written: writes out what has been gathered. An error shows in the next `send`, in
    /// [`drain`](Socket::drain) and in the counters. An interface has nothing to flush.
    #[inline]
    fn flush(&self) {
        if let Source::Write(file) = &self.source {
            let _ = file.flush();
        }
    }

    #[inline]
    fn alloc(&self, len: usize) -> Result<Payload<'_, PoolContext>> {
        self.ctx.alloc(len)
    }

    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        if token.check_token(&self.ctx) {
            let packet = token.consume(&self.ctx);
            return match self.send(&packet) {
                Ok(()) => Ok(()),
                Err(error) => Err(Refused::new(error, packet.into_token())),
            };
        }
        match token.peek(|packet| self.send(packet)) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Refused::new(error, token)),
            None => Err(Refused::new(Error::unsupported("sending a token", "its pool is gone"), token)),
        }
    }

    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: PcapFlags) -> Result<Self> {
        Self::open(portspec, queue, flags, Some(self.ctx.pool()))
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        let Source::Live(Interface { handle, .. }) = &self.source else { return Ok(true) };
        let read = interest != Interest::Writable;
        if interest == Interest::Readable && self.starving.get() && !self.has_frame() {
            // Packets may wait, but for a frame: there is nothing to be woken by.
            const NAP: Duration = Duration::from_micros(100);
            std::thread::sleep(timeout.unwrap_or(NAP).min(NAP));
            return Ok(true);
        }
        #[cfg(unix)]
        {
            use std::os::fd::AsFd;
            super::ffi::poll(handle.as_fd(), read, interest != Interest::Readable, timeout).map_err(|source| {
                Error::System { what: format!("waiting for {}", self.name), help: String::new(), source }
            })
        }
        #[cfg(not(unix))]
        {
            let _ = (handle, read);
            const NAP: Duration = Duration::from_micros(500);
            std::thread::sleep(timeout.unwrap_or(NAP).min(NAP));
            Ok(timeout.is_none_or(|timeout| timeout > NAP))
        }
    }

    fn drain(&self, _timeout: Duration) -> Result<bool> {
        if let Source::Write(file) = &self.source {
            file.flush()?;
        }
        Ok(true)
    }

    fn stats(&self) -> Stats {
        self.look_at_drops();
        let counters = &self.counters;
        let mut stats = Stats::default();
        match &self.source {
            Source::Live(interface) => {
                (stats.tx_packets, stats.tx_bytes) = interface.sent();
                stats.tx_submitted = stats.tx_packets;
            }
            Source::Write(file) => {
                (stats.tx_submitted, stats.tx_packets, stats.tx_dropped.interface) = file.counts();
                stats.tx_bytes = file.bytes();
            }
            Source::Read(_) => {}
        }
        Stats {
            rx_packets: counters.rx_packets.get(),
            rx_bytes: counters.rx_bytes.get(),
            rx_truncated: counters.rx_truncated.get(),
            rx_dropped: RxDrops {
                ring_full: counters.ring_full.get(),
                no_frame: counters.no_frame.get(),
                interface: counters.interface.get(),
                ..RxDrops::default()
            },
            ..stats
        }
    }

    /// Of a capture file only the name is known.
    fn link(&self) -> Result<LinkInfo> {
        match &self.source {
            Source::Live(_) => LinkInfo::of_interface(&self.name),
            _ => Ok(LinkInfo { name: self.name.clone(), ..LinkInfo::default() }),
        }
    }

    fn mode(&self) -> Mode {
        let geometry = self.ctx.pool().geometry();
        Mode {
            backend: "pcap",
            port: self.name.clone(),
            queues: vec![0],
            frames: geometry.frames,
            frame_size: geometry.frame_size,
            promiscuous: matches!(&self.source, Source::Live(interface) if interface.promiscuous),
            notes: self.notes.clone(),
            ..Mode::default()
        }
    }

    fn frames_in_flight(&self) -> Option<usize> {
        Some(self.ctx.pool().in_flight())
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Sock {
    /// Readable while packets wait in the kernel's ring. A capture file's is always ready.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.source {
            Source::Live(Interface { handle, .. }) | Source::Read(handle) => handle.as_fd(),
            Source::Write(written) => written.file.as_fd(),
        }
    }
}
