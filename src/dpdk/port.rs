//! Ports: opened by the first socket, shared by those that take one queue each, closed with the last.
//!
//! A port's queues exist from its start to its stop: they cannot be added while it runs. So the first socket
//! configures it, for `queues` queues, with one pool for all of them; later ones claim what is free. Everything here
//! happens under one lock, for DPDK's set-up calls are not made to be called side by side; the hot path takes none.
//!
//! ```text
//!   probe ─▶ configure ─▶ queues ─▶ start ─▶ … ─▶ drain (rings) ─▶ stop ─▶ close ─▶ remove ─▶ pool
//! ```

use super::attach::{self, Kind, WireEnd};
use super::burst::{RX, Received};
use super::config::{Config, Timestamps};
use super::device::{Device, Plan};
use super::eal::Eal;
use super::pool::{self, Big, HEADROOM, Pool, PoolRef};
use crate::api::PortSpec;
use crate::errors::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A port that runs.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) device: Device,
    pub(super) config: Config,
    /// As the spec has it, with the arguments of a virtual device.
    devargs: String,
    pub(super) name: String,
    pub(super) plan: Plan,
    pub(super) pool: PoolRef,
    wire: Option<WireEnd>,
    /// Ids of the extended statistics that count packets too long for the port.
    oversize: Vec<u64>,
    pub(super) notes: Vec<String>,
}

struct Entry {
    port: Arc<Port>,
    taken: Vec<bool>,
}

static PORTS: Mutex<Option<HashMap<String, Entry>>> = Mutex::new(None);

/// A socket's share of a port: all its queues, or one.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) port: Arc<Port>,
    /// Receive queues.
    pub(super) queues: Vec<u16>,
    /// Whether it was there first: the counters that are the port's and no queue's are told by it.
    pub(super) first: bool,
}

impl Claim {
    /// The queue it sends on.
    pub(super) fn tx_queue(&self) -> u16 {
        self.queues[0].min(self.port.plan.tx_queues - 1)
    }

    /// Whether nobody else is on the port.
    pub(super) fn is_sole(&self) -> bool {
        self.queues.len() == usize::from(self.port.plan.rx_queues)
    }

    /// Opens the port, or joins those who have.
    pub(super) fn open(
        spec: &PortSpec,
        queue: Option<usize>,
        mut config: Config,
        share: Option<&PoolRef>,
    ) -> Result<Self> {
        let (kind, name) = attach::kind(&spec.name)?;
        Eal::start(std::mem::take(&mut config.eal))?;
        let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
        let ports = ports.get_or_insert_default();
        let first = !ports.contains_key(name);
        if first {
            let port = Port::start(&kind, name, &spec.name, queue, config, share)?;
            let taken = vec![false; usize::from(port.plan.rx_queues)];
            ports.insert(name.to_owned(), Entry { port: Arc::new(port), taken });
        } else if let Some(entry) = ports.get(name) {
            entry.port.check_same(spec, &config, share)?;
        }
        let Some(entry) = ports.get_mut(name) else { return Err(Error::Unknown) };
        let queues = match entry.claim(name, queue) {
            Ok(queues) => queues,
            Err(error) => {
                if first {
                    entry.port.close();
                    ports.remove(name);
                }
                return Err(error);
            }
        };
        Ok(Self { port: entry.port.clone(), queues, first })
    }
}

impl Entry {
    fn claim(&mut self, name: &str, queue: Option<usize>) -> Result<Vec<u16>> {
        let busy = |what: String| {
            let help = "one socket of this process has it: drop that first, or open the port with `queues=` and a \
                        queue for each socket";
            Err(Error::Busy { what, help: help.into() })
        };
        let wanted: Vec<usize> = match queue {
            Some(queue) => vec![queue],
            None => (0..self.taken.len()).collect(),
        };
        if let Some(queue) = wanted.iter().find(|queue| **queue >= self.taken.len()) {
            return Err(self.port.plan.no_queue(name, *queue, self.port.device.info().max_rx_queues));
        }
        if let Some(queue) = wanted.iter().find(|queue| self.taken[**queue]) {
            return busy(format!("{name}, queue {queue}"));
        }
        for queue in &wanted {
            self.taken[*queue] = true;
        }
        Ok(wanted.iter().map(|queue| *queue as u16).collect())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ports) = ports.as_mut() else { return };
        let Some(entry) = ports.get_mut(&self.port.name) else { return };
        for queue in &self.queues {
            entry.taken[usize::from(*queue)] = false;
        }
        if entry.taken.iter().all(|taken| !taken) {
            entry.port.close();
            ports.remove(&self.port.name);
        }
    }
}

impl Port {
    fn start(
        kind: &Kind,
        name: &str,
        devargs: &str,
        queue: Option<usize>,
        config: Config,
        share: Option<&PoolRef>,
    ) -> Result<Self> {
        let (id, wire) = match &config.wire {
            None => (attach::probe(kind, name, devargs)?, None),
            Some(_) if !name.starts_with("net_ring") => {
                let what = format!("option `wire` for {name}");
                return Err(Error::unsupported(what, "it joins two ports of the ring driver: `dpdk:net_ring0?wire=w`"));
            }
            Some(wire) => {
                let queues = config.queues.unwrap_or(1);
                let (id, end) = attach::wire(wire, name, queues, config.rx_ring)?;
                (id, Some(end))
            }
        };
        // Declared before, and so dropped after, what takes the port down if a step fails.
        let pool;
        let closer = Closer { id, wire: wire.clone(), armed: true };
        let device = Device::new(id)?;
        let mut plan = device.plan(name, queue, &config)?;
        pool = match share {
            Some(pool) => pool.clone(),
            None => Pool::create(&config.flags, Self::big(&config, &plan))?,
        };
        let longest = usize::from(plan.mtu) + super::device::OVERHEAD;
        plan.big_receive = longest > pool.frame_size() && !plan.scatter && pool.big().is_some();
        device.configure(name, &plan, &config)?;
        let receive_from = if plan.big_receive { pool.big().unwrap_or(pool.frames()) } else { pool.frames() };
        device.set_up_queues(name, &mut plan, receive_from, pool.big().is_none())?;
        device.start(name)?;
        let mut notes = plan.notes.clone();
        if let Some(eal) = Eal::running() {
            notes.push(format!("{}, driver {}", eal.version(), device.driver()));
            if !eal.hugepages() {
                notes.push("no huge pages".into());
            }
        }
        let promiscuous = match config.promiscuous {
            Some(false) => false,
            wish => match device.set_promiscuous(true) {
                Ok(()) => true,
                Err(_) if wish.is_none() => false,
                Err(error) => return Err(device.refused("promiscuous mode", &error)),
            },
        };
        plan.promiscuous = promiscuous;
        if config.timestamps == Timestamps::Hardware {
            plan.timestamp = device.timestamp_field()?;
        }
        let oversize = device.oversize_ids();
        closer.disarm();
        Ok(Self {
            device,
            config,
            devargs: devargs.to_owned(),
            name: name.to_owned(),
            plan,
            pool,
            wire,
            oversize,
            notes,
        })
    }

    /// Whether frames for long packets are needed, and how many.
    fn big(config: &Config, plan: &Plan) -> Option<Big> {
        let longest = usize::from(plan.mtu) + super::device::OVERHEAD;
        let room = usize::from(config.flags.mbuf_default_buf_size) - HEADROOM;
        // A port that cannot scatter receives into big frames only.
        let share = if plan.scatter { config.flags.num_mbufs / 8 } else { config.flags.num_mbufs };
        let count = config.big_mbufs.unwrap_or(share.max(64));
        // Some to spare: drivers that copy out of a ring want a buffer for the longest slot of it.
        let len = longest.next_multiple_of(2048).min(usize::from(u16::MAX) - HEADROOM);
        (longest > room).then_some(Big { count, len: len as u16 })
    }

    /// Whether a further socket wants the port as it is.
    fn check_same(&self, spec: &PortSpec, config: &Config, share: Option<&PoolRef>) -> Result<()> {
        let busy = |help: String| Err(Error::Busy { what: format!("port {}", self.name), help });
        if spec.name != self.devargs {
            return busy(format!("it is open as `{}`: name it so, or give this one another name", self.devargs));
        }
        if *config != self.config {
            return busy("it is open with other options: every socket on a port names the same".into());
        }
        if share.is_some_and(|pool| pool.id() != self.pool.id()) {
            return busy("it is open on a pool of its own: open it first with `create_sharing`".into());
        }
        Ok(())
    }

    /// Whether what its driver delivers can be given to the driver of `to` as it is: whole frames of the pool they share,
    /// with nothing to be done to them.
    pub(super) fn relays_to(&self, to: &Port) -> bool {
        let same = self.pool.id() == to.pool.id() && !self.plan.scatter && self.device.driver() != "net_memif";
        // The ring driver delivers frames of whatever pool its peer has: not for drivers that were promised one pool.
        same && !to.plan.orders && (self.device.driver() != "net_ring" || !to.plan.fast_free)
    }

    /// Packets that the port counted as too long.
    pub(super) fn oversize(&self) -> u64 {
        self.device.xstats(&self.oversize)
    }

    /// Takes everything down. Called once, under the lock, by the last claim.
    fn close(&self) {
        if self.plan.promiscuous {
            let _ = self.device.set_promiscuous(false);
        }
        if self.device.driver() == "net_ring" {
            // The driver frees its rings without looking what is in them.
            for queue in 0..self.plan.rx_queues {
                // Nobody has the queue any more; what is left over goes home as it is dropped.
                let mut left = Received::empty();
                let mut bursts = 0;
                while left.fill(self.device.id(), queue, RX) != 0 && bursts < 1024 {
                    bursts += 1;
                    left = Received::empty();
                }
            }
        }
        drop(Closer { id: self.device.id(), wire: self.wire.clone(), armed: true });
        pool::sweep();
    }
}

/// Stops, closes and removes a port that failed on the way up, or has served its time.
struct Closer {
    id: u16,
    wire: Option<WireEnd>,
    armed: bool,
}

impl Closer {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        Device::close(self.id);
        if let Some(end) = &self.wire {
            attach::unwire(end);
        }
    }
}
