//! The socket: one handle over the queues of an interface.

use super::config::{AfXdpFlags, Config};
use super::ledger::Ledger;
use super::meta::Meta;
use super::program::Program;
use super::queue::Queue;
use super::umem::Umem;
use super::{open, options, sys};
use crate::api::{Context, Interest, LinkInfo, Mode, Payload, RxDrops, Socket, Stats, Token, TxDrops};
use crate::errors::{Refused, Result};
use crate::pool::PoolContext;
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An AF_XDP socket on one or several queues of an interface.
///
/// Receiving takes from the queues in turn. Sending uses the first of them, so that packets stay in order
/// ([`Config::tx_spread`] changes that).
pub struct Sock {
    // Drop order: `Drop` closes the queues and returns the frames; then the stack of free frames goes back to the pool,
    // then the program leaves the interface.
    pub(super) ctx: PoolContext,
    pub(super) queues: Box<[Queue]>,
    pub(super) ledger: Ledger,
    pub(super) umem: Arc<Umem>,
    pub(super) program: Arc<Program>,
    pub(super) counters: Counters,
    /// The queue that is asked first by the next receive.
    pub(super) next_rx: Cell<usize>,
    /// The queue that packets are sent on.
    pub(super) tx_at: Cell<usize>,
    /// Bytes of the longest packet that fits a frame.
    pub(super) tx_most: usize,
    /// Bytes left free before a packet that is sent.
    pub(super) tx_room: usize,
    /// The bits of an address that are the start of its chunk.
    pub(super) tx_start_mask: usize,
    /// How many sent frames may wait in a completion ring for the next packets to be sent.
    pub(super) tx_keep: u32,
    pub(super) tx_spread: bool,
    pub(super) need_wakeup: bool,
    pub(super) busy_poll: bool,
    pub(super) timestamps: bool,
    /// Where big frames begin in the UMEM; past every address if there are none.
    pub(super) big_start: usize,
    /// Packets may span several frames.
    pub(super) jumbo: bool,
    pub(super) interface: String,
    pub(super) ifindex: u32,
    pub(super) notes: Vec<String>,
    pub(super) promiscuous: Option<OwnedFd>,
    /// Readable while one of several queues is.
    pub(super) epoll: Option<OwnedFd>,
    pub(super) pollfds: RefCell<Box<[libc::pollfd]>>,
}

/// Totals, written by the owner of the socket.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub rx_packets: Cell<u64>,
    pub rx_bytes: Cell<u64>,
    pub rx_invalid: Cell<u64>,
    pub rx_oversize: Cell<u64>,
    pub rx_no_big_frame: Cell<u64>,
    pub tx_submitted: Cell<u64>,
    pub tx_completed: Cell<u64>,
    pub tx_bytes: Cell<u64>,
    pub tx_refused: Cell<u64>,
    /// Frames in all rings.
    pub in_rings: Cell<usize>,
    /// The last `errno` of waking the kernel to transmit, 0 if it went well.
    pub tx_errno: Cell<i32>,
}

/// Adds to a counter.
#[inline(always)]
pub(super) fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get().wrapping_add(n));
}

impl Sock {
    /// Opens what a configuration asks for.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way, with what would help.
    pub fn open(config: &Config) -> Result<Self> {
        open::open(config, None)
    }

    /// Opens a further interface or queue on the UMEM of this socket, so that packets are forwarded between the two
    /// without a copy. Number and size of frames, huge pages, jumbo packets, checksum offload, need-wakeup and
    /// zero-copy are those of the UMEM, whatever the configuration says; a contradicting wish for zero-copy is an error.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_sharing(&self, config: &Config) -> Result<Self> {
        open::open(config, Some(self))
    }

    /// The program that hands packets over to this socket and its siblings on the interface.
    #[must_use]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Frames go into, or come out of, the rings.
    #[inline(always)]
    pub(super) fn note_in_rings(&self, gone: usize, come: usize) {
        let now = self.counters.in_rings.get() + gone - come;
        self.counters.in_rings.set(now);
        self.ctx.set_in_rings(now);
    }

    /// Packets accepted of which nothing has been heard yet.
    fn tx_pending(&self) -> u64 {
        self.counters.tx_submitted.get() - self.counters.tx_completed.get()
    }

    /// Fills what `wait` must not sleep without: the fill rings. Whether something is there already.
    fn ready(&self, interest: Interest) -> bool {
        let readable = || {
            self.queues.iter().any(|queue| {
                self.refill(queue);
                queue.rx.available() != 0
            })
        };
        match interest {
            Interest::Readable => readable(),
            Interest::Writable => self.writable(),
            Interest::Both => readable() || self.writable(),
        }
    }
}

impl Socket for Sock {
    type Context = PoolContext;
    type Metadata = Meta;
    type Flags = AfXdpFlags;

    fn create(portspec: &str, queue: Option<usize>, flags: AfXdpFlags) -> Result<Self> {
        Self::open(&options::read(portspec, queue, flags)?)
    }

    fn create_sharing(&self, portspec: &str, queue: Option<usize>, flags: AfXdpFlags) -> Result<Self> {
        self.open_sharing(&options::read(portspec, queue, flags)?)
    }

    #[inline(always)]
    fn context(&self) -> &PoolContext {
        &self.ctx
    }

    #[inline]
    fn recv_token(&self) -> Result<(Token, Meta)> {
        let mut received = None;
        self.receive(1, |token, meta| received = Some((token, meta)));
        received.ok_or(crate::errors::Error::NoPacket)
    }

    #[inline]
    fn recv_each(&self, max: usize, f: impl FnMut(Token, Meta)) -> Result<usize> {
        Ok(self.receive(max, f))
    }

    #[inline]
    fn send(&self, packet: &[u8]) -> Result<()> {
        self.send_copy(packet)
    }

    #[inline]
    fn send_batch<'a>(&self, packets: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        self.send_copies(packets)
    }

    #[inline]
    fn alloc(&self, len: usize) -> Result<Payload<'_, PoolContext>> {
        self.alloc_frame(len)
    }

    #[inline]
    fn send_payload<'ctx, C: Context>(
        &self,
        payload: Payload<'ctx, C>,
    ) -> std::result::Result<(), Refused<Payload<'ctx, C>>> {
        self.send_loan(payload)
    }

    #[inline]
    fn send_token(&self, token: Token) -> std::result::Result<(), Refused<Token>> {
        self.send_one(token)
    }

    #[inline]
    fn send_token_checksum(&self, token: Token, start: u16, offset: u16) -> std::result::Result<(), Refused<Token>> {
        self.send_with_checksum(token, start, offset)
    }

    #[inline]
    fn send_tokens(&self, tokens: &mut Vec<Token>) -> Result<usize> {
        self.send_many(tokens)
    }

    #[inline]
    fn flush(&self) {
        for queue in &*self.queues {
            self.transmit(queue);
            self.reap_many(queue);
        }
        if self.tx_spread {
            let next = self.tx_at.get() + 1;
            self.tx_at.set(if next == self.queues.len() { 0 } else { next });
        }
    }

    fn wait(&self, interest: Interest, timeout: Option<Duration>) -> Result<bool> {
        // Completions do not wake poll(2): with room in the ring but without a free frame there is only looking again.
        const NAP: Duration = Duration::from_micros(50);
        let start = Instant::now();
        let events = match interest {
            Interest::Readable => libc::POLLIN,
            Interest::Writable => libc::POLLOUT,
            Interest::Both => libc::POLLIN | libc::POLLOUT,
        };
        loop {
            if self.ready(interest) {
                return Ok(true);
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            let mut fds = self.pollfds.borrow_mut();
            for fd in fds.iter_mut() {
                fd.events = events;
            }
            match sys::poll(&mut fds, left) {
                Ok(0) => return Ok(self.ready(interest)),
                Ok(_) if interest == Interest::Readable || self.ready(interest) => return Ok(true),
                Ok(_) => std::thread::sleep(left.map_or(NAP, |left| left.min(NAP))),
                // A signal: the caller may want to look at what it meant.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(true),
                Err(error) => return Err(error.into()),
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    fn drain(&self, timeout: Duration) -> Result<bool> {
        const NAP: Duration = Duration::from_micros(20);
        let start = Instant::now();
        loop {
            self.flush();
            self.reap_all();
            if self.tx_pending() == 0 {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    fn stats(&self) -> Stats {
        self.reap_all();
        let counters = &self.counters;
        let mut rx_dropped = RxDrops {
            invalid: counters.rx_invalid.get(),
            oversize: counters.rx_oversize.get(),
            no_frame: counters.rx_no_big_frame.get(),
            ..RxDrops::default()
        };
        let mut tx_invalid = 0;
        for queue in &*self.queues {
            let Ok(kernel) = sys::statistics(queue.as_fd()) else { continue };
            rx_dropped.ring_full += kernel.rx_ring_full;
            rx_dropped.invalid += kernel.rx_invalid_descs;
            tx_invalid += kernel.tx_invalid_descs;
            // `rx_dropped` of the kernel counts two causes: packets longer than a frame, and packets for which the fill
            // ring had no frame. The latter it counts in `rx_fill_ring_empty_descs` as well, once per packet in copy
            // mode; a zero-copy driver counts its own attempts to get ahead there, which are not packets.
            let no_frame = match (queue.zero_copy, self.jumbo) {
                (true, _) => 0,
                (false, true) => kernel.rx_dropped,
                (false, false) => kernel.rx_dropped.min(kernel.rx_fill_ring_empty_descs),
            };
            rx_dropped.no_frame += no_frame;
            rx_dropped.oversize += kernel.rx_dropped - no_frame;
        }
        Stats {
            rx_packets: counters.rx_packets.get(),
            rx_bytes: counters.rx_bytes.get(),
            rx_truncated: 0,
            rx_dropped,
            tx_submitted: counters.tx_submitted.get(),
            // A refusal is known before the completion of the packet has been read.
            tx_packets: counters.tx_completed.get().saturating_sub(counters.tx_refused.get()),
            tx_bytes: counters.tx_bytes.get(),
            tx_dropped: TxDrops { invalid: tx_invalid, interface: counters.tx_refused.get(), ..TxDrops::default() },
        }
    }

    fn link(&self) -> Result<LinkInfo> {
        LinkInfo::of_interface(&self.interface)
    }

    fn mode(&self) -> Mode {
        let geometry = self.umem.pool().geometry();
        let mut notes = self.notes.clone();
        notes.extend(self.program.notes());
        Mode {
            backend: "af_xdp",
            port: self.interface.clone(),
            queues: self.queues.iter().map(|queue| queue.number).collect(),
            frames: geometry.frames,
            frame_size: geometry.frame_size,
            attach: Some(self.program.attached()),
            zero_copy: Some(self.queues.iter().all(|queue| queue.zero_copy)),
            need_wakeup: self.need_wakeup,
            busy_poll: self.busy_poll,
            multi_buffer: self.jumbo,
            hugepages: self.umem.pool().memory().hugepages(),
            tx_checksum: self.umem.tx_metadata() != 0,
            promiscuous: self.promiscuous.is_some(),
            notes,
        }
    }

    fn frames_in_flight(&self) -> Option<usize> {
        Some(self.umem.pool().in_flight())
    }
}

impl AsFd for Sock {
    /// Readable while packets wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match (&self.epoll, &*self.queues) {
            (Some(epoll), _) => epoll.as_fd(),
            (None, [only, ..]) => only.as_fd(),
            (None, []) => unreachable!("a socket has a queue until it is dropped"),
        }
    }
}

impl std::fmt::Debug for Sock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sock")
            .field("interface", &self.interface)
            .field("queues", &self.queues.iter().map(|queue| queue.number).collect::<Vec<_>>())
            .field("pool", &self.umem.pool().id())
            .finish_non_exhaustive()
    }
}
