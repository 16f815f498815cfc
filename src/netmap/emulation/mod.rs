//! netmap inside this process: the same memory layout and the same rules, without a kernel module.
//!
//! | name | what it is |
//! |---|---|
//! | `p{1`, `p}1` | the two ends of pipe 1 on `p`; packets are handed over, never copied, never lost |
//! | `vale0:a` | port `a` of switch `vale0`, which learns addresses, copies packets, and drops when a receiver is full |
//! | `vale0:a{1` | a pipe in the memory of that port |
//! | `emu0` … `emu9` | cards with four ring pairs and one host ring pair; `emu0` is cabled to `emu1`, and so on; the host echoes |
//!
//! It checks what the kernel checks: cursors at every sync, buffer indices and lengths of every slot it takes, and resets
//! a ring that fails. Ports meet within one process only; each ring can be opened once.

mod bell;
mod kring;
pub(super) mod region;
mod vale;
mod wire;

use super::device::Device;
use super::ring::Ring;
use super::sys::{self, Mapping, Register};
use bell::Bell;
use region::{BUFFER_SIZE, MAX_RINGS, Region};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use vale::{Switch, ValePort};
use wire::Wire;

const _: () = assert!(BUFFER_SIZE == 2048, "the documentation says so");

/// Rings and slots of a port that asks for none in particular.
const SLOTS: u32 = 1024;
const CARD_RINGS: u16 = 4;
/// The memory that cards share.
const COMMON: u16 = 1;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// A transmit ring as a registration sees it.
trait TxEnd: Send + Sync + fmt::Debug {
    /// Takes it for one registration; false if somebody has it.
    fn claim(&self) -> bool;
    fn release(&self);
    fn ring(&self) -> Ring;
    fn sync(&self);
}

/// A receive ring as a registration sees it.
trait RxEnd: Send + Sync + fmt::Debug {
    /// Takes it for one registration; false if somebody has it.
    fn claim(&self) -> bool;
    fn release(&self);
    fn ring(&self) -> Ring;
    /// Says whether packets wait.
    fn sync(&self) -> bool;
}

/// The rings of one direction.
type TxEnds = Vec<Arc<dyn TxEnd>>;
type RxEnds = Vec<Arc<dyn RxEnd>>;

/// Everything that can be registered under one name: rings of the hardware first, then the host's.
#[derive(Clone)]
struct Adapter {
    region: Arc<Region>,
    tx: TxEnds,
    rx: RxEnds,
    host_rings: usize,
    rx_bell: Arc<Bell>,
    tx_bell: Arc<Bell>,
    /// What must live as long as a registration.
    _keep: Arc<dyn Keep>,
}

trait Keep: Send + Sync {}
impl<T: Send + Sync> Keep for T {}

/// Two adapters whose rings lead to each other.
struct Pair {
    ends: [Half; 2],
    /// The port that the pipe is on lives as long as the pipe.
    _parent: Option<Arc<dyn Keep>>,
}

struct Half {
    tx: Vec<Arc<Wire>>,
    rx: Vec<Arc<Wire>>,
    rx_bell: Arc<Bell>,
    tx_bell: Arc<Bell>,
}

impl Pair {
    /// `there` rings from the first to the second, `back` from the second to the first, and `host` echoing ones at each.
    fn new(
        region: &Arc<Region>,
        [there, back, host]: [u16; 3],
        [there_slots, back_slots]: [u32; 2],
        parent: Option<Arc<dyn Keep>>,
    ) -> io::Result<Arc<Self>> {
        let half = || {
            Ok::<_, io::Error>(Half {
                tx: Vec::new(),
                rx: Vec::new(),
                rx_bell: Arc::new(Bell::new()?),
                tx_bell: Arc::new(Bell::new()?),
            })
        };
        let mut ends = [half()?, half()?];
        for (from, rings, slots) in [(0, there, there_slots), (1, back, back_slots)] {
            for id in 0..rings {
                let wire = Wire::new(region, slots, id, &ends[from].tx_bell, &ends[1 - from].rx_bell)?;
                let wire = Arc::new(wire);
                ends[from].tx.push(wire.clone());
                ends[1 - from].rx.push(wire);
            }
        }
        for end in &mut ends {
            for id in 0..host {
                let ringid = end.tx.len() as u16 + id;
                let wire = Arc::new(Wire::new(region, there_slots, ringid, &end.tx_bell, &end.rx_bell)?);
                end.tx.push(wire.clone());
                end.rx.push(wire);
            }
        }
        Ok(Arc::new(Self { ends, _parent: parent }))
    }

    fn adapter(self: &Arc<Self>, which: usize, region: &Arc<Region>, host_rings: usize) -> Adapter {
        let half = &self.ends[which];
        Adapter {
            region: region.clone(),
            tx: half.tx.iter().map(|wire| wire.clone() as _).collect(),
            rx: half.rx.iter().map(|wire| wire.clone() as _).collect(),
            host_rings,
            rx_bell: half.rx_bell.clone(),
            tx_bell: half.tx_bell.clone(),
            _keep: self.clone(),
        }
    }
}

/// What there is, by name. It keeps nothing alive: registrations do.
#[derive(Default)]
struct Names {
    regions: HashMap<u16, Weak<Region>>,
    /// Pipes and pairs of cards.
    pairs: HashMap<String, (Weak<Pair>, Weak<Region>)>,
    /// Ports that exist only because a pipe is on them.
    parents: HashMap<String, Weak<Region>>,
    switches: HashMap<String, Weak<Switch>>,
    vale_ports: HashMap<String, Weak<ValePort>>,
    last_id: u16,
}

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

impl Names {
    /// The memory with this id, which must exist; or, for 0, a new one.
    fn region(&mut self, id: u16) -> io::Result<Arc<Region>> {
        if id == 0 {
            self.regions.retain(|_, region| region.strong_count() > 0);
            let id = (1..=u16::MAX)
                .map(|step| self.last_id.wrapping_add(step))
                .find(|id| *id > COMMON && !self.regions.contains_key(id))
                .ok_or_else(|| errno(libc::ENOMEM))?;
            self.last_id = id;
            return self.make(id);
        }
        match self.regions.get(&id).and_then(Weak::upgrade) {
            Some(region) => Ok(region),
            None if id == COMMON => self.make(id),
            None => Err(errno(libc::EINVAL)),
        }
    }

    fn make(&mut self, id: u16) -> io::Result<Arc<Region>> {
        let region = Arc::new(Region::new(id)?);
        self.regions.insert(id, Arc::downgrade(&region));
        Ok(region)
    }

    fn adapter(&mut self, name: &str, request: &Register) -> io::Result<Adapter> {
        if let Some(at) = name.rfind('{').or_else(|| name.rfind('}')) {
            return self.pipe(name, at, request);
        }
        if name.starts_with("vale") && name.contains(':') {
            let port = self.vale_port(name, request)?;
            let (tx, rx) = port.ends();
            let (rx_bell, tx_bell) = (port.rx_bell.clone(), port.tx_bell.clone());
            return Ok(Adapter { region: port.region().clone(), tx, rx, host_rings: 0, rx_bell, tx_bell, _keep: port });
        }
        match name.strip_prefix("emu").map(str::as_bytes) {
            Some([digit @ b'0'..=b'9']) => self.card(usize::from(digit - b'0')),
            _ => Err(errno(libc::ENXIO)),
        }
    }

    fn pipe(&mut self, name: &str, at: usize, request: &Register) -> io::Result<Adapter> {
        let (parent, id) = (&name[..at], &name[at + 1..]);
        if parent.is_empty() || id.is_empty() || !matches!(request.mode, sys::REG_ALL_NIC | sys::REG_ONE_NIC) {
            return Err(errno(libc::EINVAL));
        }
        let which = usize::from(name.as_bytes()[at] == b'}');
        let key = format!("{parent}{{{id}");
        if let Some((pair, region)) = self.pairs.get(&key).and_then(|(p, r)| p.upgrade().zip(r.upgrade())) {
            return Ok(pair.adapter(which, &region, 0));
        }
        let (region, keep): (_, Option<Arc<dyn Keep>>) = if parent.starts_with("vale") && parent.contains(':') {
            let port = self.vale_port(parent, &Register { tx_rings: 0, rx_rings: 0, ..*request })?;
            (port.region().clone(), Some(port))
        } else {
            match self.parents.get(parent).and_then(Weak::upgrade) {
                Some(region) => (region, None),
                None => {
                    let region = self.region(request.mem_id)?;
                    self.parents.retain(|_, region| region.strong_count() > 0);
                    self.parents.insert(parent.to_owned(), Arc::downgrade(&region));
                    (region, None)
                }
            }
        };
        let slots = |n: u32| if n == 0 { SLOTS } else { n };
        let (rings, slots) =
            ([request.tx_rings.max(1), request.rx_rings.max(1)], [slots(request.tx_slots), slots(request.rx_slots)]);
        if rings.iter().any(|n| usize::from(*n) * 2 > MAX_RINGS) {
            return Err(errno(libc::EINVAL));
        }
        // The master's transmit rings are the slave's receive rings: turned round if the slave is opened first.
        let [there, back] = if which == 0 { rings } else { [rings[1], rings[0]] };
        let slots = if which == 0 { slots } else { [slots[1], slots[0]] };
        let pair = Pair::new(&region, [there, back, 0], slots, keep)?;
        self.remember(key, &pair, &region);
        Ok(pair.adapter(which, &region, 0))
    }

    fn card(&mut self, number: usize) -> io::Result<Adapter> {
        let key = format!("emu{}", number / 2 * 2);
        if let Some((pair, region)) = self.pairs.get(&key).and_then(|(p, r)| p.upgrade().zip(r.upgrade())) {
            return Ok(pair.adapter(number % 2, &region, 1));
        }
        let region = self.region(COMMON)?;
        let pair = Pair::new(&region, [CARD_RINGS, CARD_RINGS, 1], [SLOTS, SLOTS], None)?;
        self.remember(key, &pair, &region);
        Ok(pair.adapter(number % 2, &region, 1))
    }

    fn remember(&mut self, key: String, pair: &Arc<Pair>, region: &Arc<Region>) {
        self.pairs.retain(|_, (pair, _)| pair.strong_count() > 0);
        self.pairs.insert(key, (Arc::downgrade(pair), Arc::downgrade(region)));
    }

    fn vale_port(&mut self, name: &str, request: &Register) -> io::Result<Arc<ValePort>> {
        if let Some(port) = self.vale_ports.get(name).and_then(Weak::upgrade) {
            return Ok(port);
        }
        let (switch, port) = name.split_once(':').unwrap_or((name, ""));
        if port.is_empty() || matches!(request.mode, sys::REG_SW | sys::REG_ONE_SW) {
            return Err(errno(libc::EINVAL));
        }
        let (tx_rings, rx_rings) = (request.tx_rings.max(1), request.rx_rings.max(1));
        if usize::from(tx_rings) + usize::from(rx_rings) + 2 > MAX_RINGS {
            return Err(errno(libc::EINVAL));
        }
        let slots = |n: u32| if n == 0 { SLOTS } else { n };
        let region = self.region(request.mem_id)?;
        let there = self.switches.get(switch).and_then(Weak::upgrade);
        let switch_of = there.unwrap_or_else(|| Arc::new(Switch::new()));
        self.switches.retain(|_, switch| switch.strong_count() > 0);
        self.switches.insert(switch.to_owned(), Arc::downgrade(&switch_of));
        let rings = (tx_rings, rx_rings);
        let port = ValePort::new(switch_of, region, rings, (slots(request.tx_slots), slots(request.rx_slots)))?;
        self.vale_ports.retain(|_, port| port.strong_count() > 0);
        self.vale_ports.insert(name.to_owned(), Arc::downgrade(&port));
        Ok(port)
    }
}

/// A port registered with the emulation.
pub(super) struct Emulated {
    answer: Register,
    adapter: Adapter,
    /// The rings of this registration.
    tx: TxEnds,
    rx: RxEnds,
}

impl Emulated {
    /// Does what `NIOCCTRL` does with a `NETMAP_REQ_REGISTER`, and fails with the same error numbers.
    pub(super) fn register(name: &str, mut request: Register) -> io::Result<Self> {
        let adapter = lock(&NAMES).adapter(name, &request)?;
        let host = adapter.host_rings;
        let (tx_rings, rx_rings) = (adapter.tx.len() - host, adapter.rx.len() - host);
        // Which of the two lists of rings the registration is for.
        let pick = |rings: usize| {
            let one = usize::from(request.ringid);
            match request.mode {
                sys::REG_ALL_NIC => Ok(0..rings),
                sys::REG_ONE_NIC if one < tx_rings.max(rx_rings) => {
                    let at = if one < rings { one } else { 0 };
                    Ok(at..at + 1)
                }
                sys::REG_SW if host > 0 => Ok(rings..rings + host),
                sys::REG_ONE_SW if one < host => Ok(rings + one..rings + one + 1),
                _ => Err(errno(libc::EINVAL)),
            }
        };
        let (tx_range, rx_range) = (pick(tx_rings)?, pick(rx_rings)?);
        let mut port = Self { answer: request, tx: Vec::new(), rx: Vec::new(), adapter };
        // `port` grows ring by ring, so that a failure releases those it has.
        for end in &port.adapter.tx[tx_range] {
            if !end.claim() {
                return Err(errno(libc::EBUSY));
            }
            port.tx.push(end.clone());
        }
        for end in &port.adapter.rx[rx_range] {
            if !end.claim() {
                return Err(errno(libc::EBUSY));
            }
            port.rx.push(end.clone());
        }
        let region = &port.adapter.region;
        let own: Vec<Ring> = port.tx.iter().map(|e| e.ring()).chain(port.rx.iter().map(|e| e.ring())).collect();
        let mine = |ring: Ring| own.iter().any(|r| r.same(&ring)).then_some(ring);
        // One host ring is always counted, whether there is one or not.
        let phantom = || std::iter::repeat_n(None, 1 - host.min(1));
        let tx = port.adapter.tx.iter().map(|end| mine(end.ring())).chain(phantom());
        let rx = port.adapter.rx.iter().map(|end| mine(end.ring())).chain(phantom());
        let rings: Vec<Option<Ring>> = tx.chain(rx).collect();
        let host_count = host.max(1) as u32;
        let nifp = region.describe([tx_rings as u32, rx_rings as u32, host_count, host_count], &rings)?;
        request.extra_bufs = region.lend(nifp, request.extra_bufs);
        request.offset = nifp as u64;
        request.memsize = region.memory().len() as u64;
        (request.tx_rings, request.rx_rings) = (tx_rings as u16, rx_rings as u16);
        (request.host_tx_rings, request.host_rx_rings) = (host as u16, host as u16);
        request.tx_slots = port.tx.first().map_or(0, |end| end.ring().num_slots());
        request.rx_slots = port.rx.first().map_or(0, |end| end.ring().num_slots());
        request.mem_id = region.id();
        port.answer = request;
        Ok(port)
    }

    /// Syncs and says whether packets wait.
    fn receive(&self) -> bool {
        // Every ring, whatever the first one says.
        self.rx.iter().filter(|end| end.sync()).count() > 0
    }

    /// Makes the descriptor tell the truth.
    fn settle(&self) {
        self.adapter.rx_bell.arm();
        if self.receive() {
            self.adapter.rx_bell.notify();
        }
    }

    /// Syncs and says whether a transmit ring has room.
    fn room(&self) -> bool {
        self.tx.iter().for_each(|end| end.sync());
        self.tx.iter().any(|end| end.ring().head() != end.ring().tail())
    }
}

impl Device for Emulated {
    fn answer(&self) -> &Register {
        &self.answer
    }

    fn memory(&self) -> &Mapping {
        self.adapter.region.memory()
    }

    fn txsync(&self) -> io::Result<()> {
        self.tx.iter().for_each(|end| end.sync());
        Ok(())
    }

    fn rxsync(&self) -> io::Result<()> {
        if !self.receive() && self.adapter.rx_bell.is_shown() {
            self.settle();
        }
        Ok(())
    }

    fn wait(&self, readable: bool, writable: bool, timeout: Option<Duration>) -> io::Result<bool> {
        let (rx_bell, tx_bell) = (&self.adapter.rx_bell, &self.adapter.tx_bell);
        if readable {
            rx_bell.arm();
            if self.receive() {
                rx_bell.notify();
                return Ok(true);
            }
        }
        if writable {
            tx_bell.arm();
            if self.room() {
                return Ok(true);
            }
        }
        let events = |wanted| if wanted { libc::POLLIN } else { 0 };
        sys::poll([(rx_bell.fd(), events(readable)), (tx_bell.fd(), events(writable))], timeout)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        let fd = self.adapter.rx_bell.show();
        self.settle();
        fd
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        if self.answer.memsize > 0 {
            self.adapter.region.forget(self.answer.offset as usize);
        }
        self.tx.iter().for_each(|end| end.release());
        self.rx.iter().for_each(|end| end.release());
    }
}

impl fmt::Debug for Emulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulated").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// Buffers in use and wrongly returned in the memory with this id, for tests. `None` if it is gone.
#[cfg(test)]
pub(super) fn region(id: u16) -> Option<Arc<Region>> {
    lock(&NAMES).regions.get(&id).and_then(Weak::upgrade)
}
