//! One queue of an interface: a kernel socket, its four rings, and what is known of them.
//!
//! ```text
//!            free frames                                  packets to send
//!                │ refill                                       │ submit
//!                ▼                                              ▼
//!   fill ring ═══════▶ kernel ═══════▶ rx ring      tx ring ═══════▶ kernel ═══════▶ completion ring
//!                                         │                                             │
//!                                         ▼ recv                                        ▼ reap
//!                                      tokens                                      free frames
//! ```

use super::explain::{self, Circumstances, Step};
use super::mmap::Mapping;
use super::ring::{Consumer, Producer};
use super::rx::Fragments;
use super::sys;
use super::umem::Umem;
use crate::errors::Result;
use std::cell::Cell;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a queue may stay busy after another socket on it was closed: the kernel lets go of it a few milliseconds
/// later (up to 12 were measured).
const REBIND: Duration = Duration::from_millis(500);

/// Packets that one call of the kernel transmits in copy mode, where it can be told: eight times its own 32, so that a
/// batch takes one call, and still few enough that nobody waits long.
const TX_BUDGET: u32 = 256;

/// A descriptor of the rx and tx rings, `struct xdp_desc`, in two words: reading it takes two loads and one comparison
/// tells whether it has no options.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Desc {
    pub addr: u64,
    len_and_options: u64,
}

impl Desc {
    #[inline(always)]
    pub(super) fn new(addr: u64, len: u32, options: u32) -> Self {
        Self { addr, len_and_options: order(u64::from(len) | u64::from(options) << 32) }
    }

    /// The length in the low half, options in the high half.
    #[inline(always)]
    pub(super) fn len_and_options(self) -> u64 {
        order(self.len_and_options)
    }
}

/// Length first in memory, whatever the machine's byte order.
#[inline(always)]
fn order(len_and_options: u64) -> u64 {
    if cfg!(target_endian = "big") { len_and_options.rotate_left(32) } else { len_and_options }
}

/// A bound socket. Rings are unmapped and the socket is closed on drop.
#[derive(Debug)]
pub(super) struct Queue {
    pub rx: Consumer<Desc>,
    pub tx: Producer<Desc>,
    pub fill: Producer<u64>,
    pub completion: Consumer<u64>,
    /// The queue's number.
    pub number: u32,
    /// Frames with the kernel to receive into: in the fill ring, in the rx ring, or somewhere between.
    pub receiving: Cell<u32>,
    /// Packets are being handed to the program where they lie in the rx ring.
    pub handing_over: Cell<bool>,
    pub zero_copy: bool,
    pub fragments: Fragments,
    fd: OwnedFd,
}

/// Where a queue's memory comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base<'a> {
    /// It is the first socket on its UMEM, bound with these flags.
    First(&'a Umem, u16),
    /// It joins the UMEM of this socket, and inherits its flags.
    Joins(BorrowedFd<'a>),
}

impl Queue {
    /// Opens and binds a socket.
    pub(super) fn open(ifindex: u32, base: Base<'_>, at: Circumstances<'_>) -> Result<Self> {
        let failed = |step| move |error| explain::step(step, at, error);
        let fd = sys::socket().map_err(failed(Step::Socket))?;
        if let Base::First(umem, _) = base {
            umem.register(fd.as_fd()).map_err(failed(Step::Umem))?;
        }
        let (rx, tx, fill, completion) = rings(fd.as_fd(), at.config.rx, at.config.tx).map_err(failed(Step::Rings))?;
        sys::set_tx_budget(fd.as_fd(), TX_BUDGET.min(at.config.tx));
        if let Some(time) = at.config.busy_poll {
            sys::set_busy_poll(fd.as_fd(), time, at.config.busy_budget).map_err(failed(Step::BusyPoll))?;
        }
        bind(fd.as_fd(), ifindex, at.queue, base).map_err(failed(Step::Bind))?;
        let zero_copy = sys::is_zero_copy(fd.as_fd()).map_err(failed(Step::Bind))?;
        Ok(Self {
            rx,
            tx,
            fill,
            completion,
            number: at.queue,
            receiving: Cell::new(0),
            handing_over: Cell::new(false),
            zero_copy,
            fragments: Fragments::default(),
            fd,
        })
    }
}

impl AsFd for Queue {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

type Rings = (Consumer<Desc>, Producer<Desc>, Producer<u64>, Consumer<u64>);

/// Makes and maps the four rings. The fill ring is as large as the rx ring and the completion ring as the tx ring: what
/// is with the kernel never exceeds either, so neither can overflow.
fn rings(fd: BorrowedFd<'_>, rx: u32, tx: u32) -> io::Result<Rings> {
    for (ring, slots) in [
        (libc::XDP_UMEM_FILL_RING, rx),
        (libc::XDP_UMEM_COMPLETION_RING, tx),
        (libc::XDP_RX_RING, rx),
        (libc::XDP_TX_RING, tx),
    ] {
        sys::set_ring_size(fd, ring, slots)?;
    }
    let at = sys::offsets(fd)?;
    let map = |offset: i64, at: &libc::xdp_ring_offset, slots: u32, slot: usize| {
        Mapping::new(fd, at.desc as usize + slots as usize * slot, offset)
    };
    Ok((
        Consumer::mapped(map(libc::XDP_PGOFF_RX_RING, &at.rx, rx, size_of::<Desc>())?, &at.rx, rx)?,
        Producer::mapped(map(libc::XDP_PGOFF_TX_RING, &at.tx, tx, size_of::<Desc>())?, &at.tx, tx)?,
        Producer::mapped(map(libc::XDP_UMEM_PGOFF_FILL_RING as i64, &at.fr, rx, 8)?, &at.fr, rx)?,
        Consumer::mapped(map(libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, &at.cr, tx, 8)?, &at.cr, tx)?,
    ))
}

/// Binds, and tries again for a while if the queue is busy.
fn bind(fd: BorrowedFd<'_>, ifindex: u32, queue: u32, base: Base<'_>) -> io::Result<()> {
    let (flags, umem_of) = match base {
        Base::First(_, flags) => (flags, None),
        Base::Joins(other) => (0, Some(other)),
    };
    let deadline = Instant::now() + REBIND;
    loop {
        match sys::bind(fd, ifindex, queue, flags, umem_of) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            outcome => return outcome,
        }
    }
}

/// Waits until the kernel has let go of queues that were zero-copy: until a socket could be bound to them again. False
/// if it does not within a second.
pub(super) fn released(ifindex: u32, queues: &[u32]) -> bool {
    let deadline = Instant::now() + Duration::from_secs(1);
    queues.iter().all(|queue| {
        loop {
            match probe(ifindex, *queue) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // An interface, or a queue, that has gone is not written to either.
                Err(error) => break matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL | libc::ENXIO)),
                Ok(()) => break true,
            }
        }
    })
}

/// Binds a socket with a UMEM of one frame in copy mode, which does not concern the card, and closes it.
fn probe(ifindex: u32, queue: u32) -> io::Result<()> {
    let memory = crate::pool::Memory::mapped(4096, false).map_err(io::Error::other)?;
    let fd = sys::socket()?;
    sys::register_umem(fd.as_fd(), &memory, sys::UmemShape { len: 4096, chunk: 4096, flags: 0, tx_metadata: 0 })?;
    let _rings = rings(fd.as_fd(), 2, 2)?;
    sys::bind(fd.as_fd(), ifindex, queue, libc::XDP_COPY, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_laid_out_as_the_kernels() {
        let kernel = libc::xdp_desc { addr: 1, len: 2, options: 3 };
        assert_eq!((size_of::<Desc>(), align_of::<Desc>()), (size_of_val(&kernel), align_of_val(&kernel)));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&kernel.addr.to_ne_bytes());
        bytes[8..12].copy_from_slice(&kernel.len.to_ne_bytes());
        bytes[12..].copy_from_slice(&kernel.options.to_ne_bytes());
        let ours = Desc::new(1, 2, 3);
        assert_eq!(ours.len_and_options(), 3 << 32 | 2);
        assert_eq!([ours.addr.to_ne_bytes(), ours.len_and_options.to_ne_bytes()].concat(), bytes);
    }
}
