//! Opening a socket, step by step, and closing it.

use super::config::{Config, Queues, Wish};
use super::explain::{self, Circumstances, Step};
use super::ledger::Ledger;
use super::plan;
use super::program::{Program, Request};
use super::queue::{Base, Queue};
use super::sock::{Counters, Sock};
use super::sys;
use super::umem::Umem;
use crate::api::{Attach, LinkInfo};
use crate::errors::{Error, Result};
use crate::pool::PoolContext;
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd};

/// A fill ring shorter than this is worth a remark.
const SHORT: u32 = 128;

/// Opens what the configuration asks for, on the UMEM of another socket if there is one.
pub(super) fn open(config: &Config, sharing: Option<&Sock>) -> Result<Sock> {
    plan::check(config)?;
    let link = LinkInfo::of_interface(&config.interface)?;
    let ifindex = link.index.ok_or(Error::Unknown)?;
    let (numbers, count) = which_queues(config, link.rx_queues)?;
    // First the program: only then it is known whether packets take the generic path.
    let program = Program::attach(&Request {
        ifname: &config.interface,
        ifindex,
        wish: config.attach,
        multi_buffer: sharing.map_or(config.jumbo.is_some(), |other| other.jumbo),
        source: &config.source,
        queues: count,
    })?;
    let umem = match sharing {
        Some(other) => other.umem.clone(),
        None => Umem::new(config)?,
    };
    umem.join(numbers.len() as u32)?;
    let opened = bind_all(config, ifindex, &numbers, &umem, sharing, &program);
    let queues = opened.inspect_err(|_| umem.leave(numbers.len() as u32))?;
    let (chunks, shift) = umem.chunks();
    let geometry = umem.pool().geometry();
    let pollfds = queues.iter().map(|q| libc::pollfd { fd: q.as_fd().as_raw_fd(), events: 0, revents: 0 }).collect();
    // From here on `Drop` knows how to take it all back.
    let mut sock = Sock {
        ctx: PoolContext::attach(umem.pool()),
        ledger: Ledger::new(chunks, shift),
        big_start: geometry.stride() * geometry.frames,
        counters: Counters::default(),
        next_rx: Cell::new(0),
        tx_at: Cell::new(0),
        tx_most: umem.chunk() as usize - umem.tx_room(),
        tx_room: umem.tx_room(),
        tx_start_mask: !(umem.chunk() as usize - 1),
        // With few frames none should lie about.
        tx_keep: (geometry.frames / 16).min(64) as u32,
        tx_spread: config.tx_spread,
        need_wakeup: sharing.map_or(config.need_wakeup, |other| other.need_wakeup),
        busy_poll: config.busy_poll.is_some(),
        timestamps: config.timestamps,
        jumbo: sharing.map_or(config.jumbo.is_some(), |other| other.jumbo),
        interface: config.interface.clone(),
        ifindex,
        notes: Vec::new(),
        promiscuous: None,
        epoll: None,
        pollfds: RefCell::new(pollfds),
        queues,
        umem,
        program,
    };
    let failed = |step, at| move |error| explain::step(step, at, error);
    let at =
        Circumstances { config, queue: numbers.first().copied().unwrap_or(0), sharing: sharing.is_some(), bytes: 0 };
    if config.promiscuous {
        sock.promiscuous = Some(sys::promiscuous(ifindex).map_err(failed(Step::Promiscuous, at))?);
    }
    if sock.queues.len() > 1 {
        sock.epoll = Some(sys::epoll_of(sock.queues.iter().map(AsFd::as_fd))?);
    }
    for queue in &*sock.queues {
        sock.refill(queue);
    }
    // Last: packets arrive from here on.
    for queue in &*sock.queues {
        sock.program.insert(queue.number, queue.as_fd())?;
    }
    remarks(&mut sock, config);
    Ok(sock)
}

/// The queues to open, and how many the interface has.
fn which_queues(config: &Config, found: Option<u32>) -> Result<(Vec<u32>, u32)> {
    let count = found.unwrap_or(1).max(1);
    match &config.queues {
        Queues::All => Ok(((0..count).collect(), count)),
        Queues::Only(queues) => match queues.iter().find(|queue| **queue >= count) {
            Some(queue) => Err(explain::no_such_queue(&config.interface, *queue, count)),
            None => Ok((queues.clone(), count)),
        },
    }
}

/// Opens the queues: the first on the new UMEM or on that of the other socket, the rest on the first one's.
fn bind_all(
    config: &Config,
    ifindex: u32,
    numbers: &[u32],
    umem: &Umem,
    sharing: Option<&Sock>,
    program: &Program,
) -> Result<Box<[Queue]>> {
    let flags = plan::bind_flags(config, program.attached() == Attach::Generic);
    let mut queues: Vec<Queue> = Vec::with_capacity(numbers.len());
    for number in numbers {
        let base = match (queues.first(), sharing.and_then(|other| other.queues.first())) {
            (Some(first), _) => Base::Joins(first.as_fd()),
            (None, Some(other)) => Base::Joins(other.as_fd()),
            (None, None) => Base::First(umem, flags),
        };
        let at = Circumstances {
            config,
            queue: *number,
            sharing: matches!(base, Base::Joins(_)),
            bytes: umem.pool().memory().len(),
        };
        let queue = Queue::open(ifindex, base, at)?;
        zero_copy_as_wished(config, &queue)?;
        queues.push(queue);
    }
    Ok(queues.into())
}

/// The kernel falls back without a word, and a shared UMEM decides for everyone on it: neither overrides a wish.
fn zero_copy_as_wished(config: &Config, queue: &Queue) -> Result<()> {
    let eth = &config.interface;
    match (config.zero_copy, queue.zero_copy) {
        (Wish::Require, false) => Err(Error::unsupported(
            format!("zero-copy on queue {} of {eth}", queue.number),
            "the kernel chose copy mode: the driver has no zero-copy, or the UMEM is shared with a socket in copy mode; \
             ask for zerocopy=prefer",
        )),
        (Wish::Forbid, true) => Err(Error::unsupported(
            format!("copy mode on queue {} of {eth}", queue.number),
            "the UMEM is shared with a zero-copy socket: open that one with zerocopy=forbid",
        )),
        _ => Ok(()),
    }
}

/// What is worth knowing besides the mode itself.
fn remarks(sock: &mut Sock, config: &Config) {
    let copy = sock.queues.iter().any(|queue| !queue.zero_copy);
    if copy && config.zero_copy == Wish::Prefer && sock.program.attached() == Attach::Driver {
        sock.notes.push("copy mode: the driver has no zero-copy".to_owned());
    }
    if copy && sock.umem.tx_metadata() != 0 {
        let who = if sock.umem.software_checksum() { "the kernel's software" } else { "the card, if it can" };
        sock.notes.push(format!("checksums of sent packets are computed by {who}"));
    }
    let share = sock.umem.share();
    if share < SHORT.min(config.rx) {
        sock.notes.push(format!("only {share} frames per queue to receive into: raise `frames`"));
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        for queue in &*self.queues {
            // What was accepted is sent; a socket in memory does no less.
            self.transmit(queue);
            self.program.remove(queue.number);
        }
        self.close();
    }
}
