//! The neighbour cache: Ethernet addresses of hosts on the link (RFC 826; states after RFC 4861, 7.3.2).
//!
//! ```text
//!              sent to            reply                  lifetime over           sent to
//!   (nothing) ────────▶ Incomplete ────▶ Reachable ─────────────────▶ Stale ─────────────▶ Probe
//!                        │ 3 questions      ▲  ▲                                         │  │ 5 s, then
//!                        ▼                  │  └── TCP makes progress, or a reply ───────┘  ▼ 3 questions
//!                    packets dropped,                                                   (nothing)
//!                    sockets told
//! ```
//!
//! A sender keeps an index and a generation ([`Path`]); as long as the generation holds, the Ethernet header is ready to be
//! copied. It changes whenever the entry becomes another host's, gets another Ethernet address or goes stale.
//!
//! Entries that only somebody's question has made (*passive*) never displace others; those that wait for an answer
//! (*wanted*) displace passive ones first, then the oldest of their own, and only then hosts that have proven to be there,
//! those in use last. Permanent entries stay.

use super::Path;
use super::hash::{Keyed, number};
use super::list::{Links, List};
use crate::stack::blocks::Block;
use crate::stack::prf::Purpose;
use crate::stack::tcp::wheel::{Tick, Wheel};
use crate::stack::{Config, Instant, IpStats};
use crate::wire::ethernet::{self, Mac, ether_type};
use crate::wire::vlan::{self, Tag};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Between questions, and how many there are (RFC 1122, 2.3.2.1: no more than one per second; RFC 4861, 10: three).
const RETRY: Duration = Duration::from_secs(1);
const TRIES: u8 = 3;
/// How long TCP has to show that a stale neighbour is there before it is asked (RFC 4861, 10, `DELAY_FIRST_PROBE_TIME`).
const PROBE_DELAY: Duration = Duration::from_secs(5);
/// A neighbour that was sent to since then is in use.
const IN_USE: Duration = Duration::from_secs(60);
/// Proven neighbours looked at for one that is not in use, before the one sent to longest ago must go.
const CHANCES: usize = 32;

/// Bytes of blocks that may wait for neighbours, all together; beyond that each neighbour has so many packets, at most.
const MAX_HELD_BYTES: usize = 4 << 20;
const HELD_BEYOND: usize = 3;

/// The entry that stands for everybody on the link.
pub(super) const BROADCAST: u32 = 0;

/// An Ethernet header, with a VLAN tag if there is one; the rest is zero.
pub(super) type LinkHeader = [u8; vlan::HEADER_LEN];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Incomplete,
    Reachable,
    Stale,
    Probe,
    Permanent,
}

/// What a packet to the neighbour needs.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) header: LinkHeader,
    generation: u32,
    pub(super) used: Instant,
    /// When it was last known to be there by what TCP says; zero if that says nothing.
    confirmed: Instant,
}

#[derive(Debug)]
struct Cold {
    address: IpAddr,
    mac: Mac,
    state: State,
    class: Class,
    /// Questions asked.
    tries: u8,
    /// When the state ends; the wheel may call earlier.
    deadline: Instant,
    held: VecDeque<Block>,
}

/// Which entries may displace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Passive,
    Wanted,
    Proven,
    /// Free or permanent: in no list.
    None,
}

/// How an address pair came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// An answer to us.
    Reply,
    /// A question to us.
    Question,
    /// Anything else: an announcement, a question to others.
    Overheard,
}

/// What is to be done next on the way to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its Ethernet address is known.
    Known(u32),
    /// It has been asked for already; the packet waits.
    Asked(u32),
    /// It must be asked for; the packet waits.
    Ask(u32),
    /// There is no room for another entry.
    NoRoom,
}

/// A deadline that has come.
#[derive(Debug)]
pub(super) enum Due {
    /// Ask everybody for the address of this entry.
    Ask(u32, IpAddr),
    /// Ask the neighbour itself.
    Probe(u32, IpAddr, Mac),
    /// It did not answer: these packets have waited for it.
    Failed(VecDeque<Block>),
}

/// All neighbours.
pub(super) struct Neighbours {
    hot: Vec<Hot>,
    cold: Vec<Cold>,
    by_address: HashMap<u128, u32, Keyed>,
    free: Vec<u32>,
    links: Links,
    passive: List,
    wanted: List,
    proven: List,
    wheel: Wheel,
    limit: usize,
    max_held: usize,
    held_bytes: usize,
    lifetime: Duration,
    mac: Mac,
    vlan: Option<u16>,
}

impl Neighbours {
    pub(super) fn new(config: &Config) -> Self {
        let mut me = Self {
            hot: Vec::new(),
            cold: Vec::new(),
            by_address: HashMap::with_hasher(Keyed::new(config.secret, Purpose::Neighbours)),
            free: Vec::new(),
            links: Links::default(),
            passive: List::default(),
            wanted: List::default(),
            proven: List::default(),
            wheel: Wheel::new(Tick::COARSE),
            // The entry for everybody is not counted.
            limit: config.ip.max_neighbours.saturating_add(1),
            max_held: config.ip.max_held_packets,
            held_bytes: 0,
            lifetime: config.ip.neighbour_lifetime,
            mac: config.mac,
            vlan: config.vlan,
        };
        me.add_permanent(IpAddr::V4(std::net::Ipv4Addr::BROADCAST), ethernet::BROADCAST);
        config.neighbours.iter().for_each(|(address, mac)| me.add_permanent(*address, *mac));
        me
    }

    fn add_permanent(&mut self, address: IpAddr, mac: Mac) {
        let index = self.allot(address);
        self.set_mac(index, mac);
        self.cold[index as usize].state = State::Permanent;
    }

    /// The header of packets to an Ethernet address.
    pub(super) fn link_header(&self, mac: Mac, ether_type: u16) -> LinkHeader {
        let header = ethernet::Header { dst: mac, src: self.mac, ether_type };
        let mut out = [0; vlan::HEADER_LEN];
        match (self.vlan, out.first_chunk_mut()) {
            (Some(number), _) => vlan::write(&header, Tag::new(number), &mut out),
            (None, Some(front)) => header.write(front),
            (None, None) => {}
        }
        out
    }

    /// What the path leads to, if it still holds: one index and one comparison.
    #[inline(always)]
    pub(super) fn hot(&mut self, path: &Path) -> Option<&mut Hot> {
        self.hot.get_mut(path.next as usize).filter(|hot| hot.generation == path.generation)
    }

    /// Whether the path leads to something: whether it still holds.
    #[inline(always)]
    pub(super) fn is_ready(&self, path: &Path) -> bool {
        self.hot.get(path.next as usize).is_some_and(|hot| hot.generation == path.generation)
    }

    /// What a path to a known neighbour holds.
    pub(super) fn generation(&self, index: u32) -> u32 {
        self.hot[index as usize].generation
    }

    /// The way to an address; creates what is not there. Using a stale entry begins to check it.
    pub(super) fn reach(&mut self, now: Instant, address: IpAddr, stats: &mut IpStats) -> Reach {
        if let Some(index) = self.known(now, address) {
            return Reach::Known(index);
        }
        if let Some(&index) = self.by_address.get(&number(address)) {
            return Reach::Asked(index);
        }
        if !self.make_room(now, Class::Wanted, stats) {
            return Reach::NoRoom;
        }
        let index = self.allot(address);
        self.classify(index, Class::Wanted);
        self.arm(index, State::Incomplete, now + RETRY);
        self.cold[index as usize].tries = 1;
        Reach::Ask(index)
    }

    /// The entry of an address, if its Ethernet address is known; it is about to be sent to.
    pub(super) fn known(&mut self, now: Instant, address: IpAddr) -> Option<u32> {
        let index = *self.by_address.get(&number(address))?;
        let cold = &mut self.cold[index as usize];
        match cold.state {
            State::Incomplete | State::Free => return None,
            State::Stale => {
                cold.tries = 0;
                self.arm(index, State::Probe, now + PROBE_DELAY);
            }
            State::Reachable | State::Probe | State::Permanent => {}
        }
        self.hot[index as usize].used = now;
        if self.cold[index as usize].class == Class::Passive {
            self.classify(index, Class::Proven);
        }
        Some(index)
    }

    /// A question could not be sent for want of room: it is asked again at once, and not counted.
    pub(super) fn ask_again(&mut self, now: Instant, index: u32) {
        if let Some(cold) = self.cold.get_mut(index as usize) {
            cold.tries = cold.tries.saturating_sub(1);
            cold.deadline = now;
            self.wheel.schedule(index, now);
        }
    }

    /// Keeps a packet until its neighbour is known. The oldest make room (RFC 1122, 2.3.2.2: the latest is kept).
    pub(super) fn hold(&mut self, index: u32, packet: Block, stats: &mut IpStats) {
        let held = &mut self.cold[index as usize].held;
        self.held_bytes += packet.len();
        held.push_back(packet);
        let scarce = self.held_bytes > MAX_HELD_BYTES;
        let most = if scarce { self.max_held.min(HELD_BEYOND) } else { self.max_held };
        while held.len() > most {
            self.held_bytes -= held.pop_front().map_or(0, |packet| packet.len());
            stats.tx_unresolved += 1;
        }
    }

    /// The next packet that waits for a known neighbour.
    pub(super) fn take_held(&mut self, index: u32) -> Option<Block> {
        let cold = self.cold.get_mut(index as usize)?;
        if matches!(cold.state, State::Incomplete | State::Free) {
            return None;
        }
        let packet = cold.held.pop_front()?;
        self.held_bytes -= packet.len();
        Some(packet)
    }

    /// Puts a packet back that could not be sent.
    pub(super) fn put_back(&mut self, index: u32, packet: Block) {
        if let Some(cold) = self.cold.get_mut(index as usize) {
            self.held_bytes += packet.len();
            cold.held.push_front(packet);
        }
    }

    /// Takes in an address pair from an ARP packet (RFC 826: what is known is updated, what is new is entered only by a
    /// question to us). Returns the entry if packets wait for it.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        address: IpAddr,
        mac: Mac,
        word: Word,
        stats: &mut IpStats,
    ) -> Option<u32> {
        if mac == [0; 6] || ethernet::is_group(mac) {
            return None;
        }
        let index = match self.by_address.get(&number(address)).copied() {
            Some(index) => index,
            None if word == Word::Question && self.make_room(now, Class::Passive, stats) => {
                let index = self.allot(address);
                self.classify(index, Class::Passive);
                self.set_mac(index, mac);
                self.cold[index as usize].state = State::Stale;
                return None;
            }
            None => return None,
        };
        let cold = &self.cold[index as usize];
        let (state, same) = (cold.state, cold.mac == mac);
        if state == State::Permanent {
            return None;
        }
        if state == State::Incomplete || !same {
            self.set_mac(index, mac);
        }
        if state == State::Incomplete {
            self.classify(index, Class::Proven);
        }
        match (word, state) {
            (Word::Reply, _) => self.arm(index, State::Reachable, now + self.lifetime),
            // Not asked for: believed, and checked when it is used (RFC 4861, 7.2.5 does the same).
            (_, State::Incomplete) => self.go_stale(index),
            (_, _) if !same => self.go_stale(index),
            _ => {}
        }
        (!self.cold[index as usize].held.is_empty()).then_some(index)
    }

    /// The neighbour has answered, somewhere above: it is there (RFC 4861, 7.3.1).
    #[inline]
    pub(super) fn confirm(&mut self, now: Instant, path: &Path) {
        if let Some(hot) = self.hot(path) {
            // The wheel calls at the old time and finds that.
            hot.confirmed = now;
        }
    }

    /// The next thing to do whose time has come.
    #[inline]
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        while let Some(index) = self.wheel.pop(now) {
            let due = self.deadline_over(now, index);
            if due.is_some() {
                return due;
            }
        }
        None
    }

    /// The wheel has called for an entry.
    #[inline(never)]
    fn deadline_over(&mut self, now: Instant, index: u32) -> Option<Due> {
        let (cold, confirmed) = (&mut self.cold[index as usize], self.hot[index as usize].confirmed);
        if matches!(cold.state, State::Reachable | State::Probe)
            && confirmed != Instant::ZERO
            && confirmed + self.lifetime > now
        {
            cold.state = State::Reachable;
            cold.deadline = confirmed + self.lifetime;
        }
        if cold.deadline > now {
            self.wheel.schedule(index, cold.deadline);
            return None;
        }
        match cold.state {
            State::Reachable => self.go_stale(index),
            State::Incomplete | State::Probe if cold.tries < TRIES => {
                cold.tries += 1;
                cold.deadline = now + RETRY;
                let (address, mac, state) = (cold.address, cold.mac, cold.state);
                self.wheel.schedule(index, now + RETRY);
                return Some(match state {
                    State::Incomplete => Due::Ask(index, address),
                    _ => Due::Probe(index, address, mac),
                });
            }
            State::Incomplete | State::Probe => {
                let held = std::mem::take(&mut cold.held);
                self.held_bytes -= held.iter().map(|packet| packet.len()).sum::<usize>();
                self.remove(index);
                return Some(Due::Failed(held));
            }
            State::Free | State::Stale | State::Permanent => {}
        }
        None
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// Entries, permanent ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_address.len().saturating_sub(1)
    }

    fn go_stale(&mut self, index: u32) {
        self.wheel.cancel(index);
        self.cold[index as usize].state = State::Stale;
        self.renew(index);
    }

    fn arm(&mut self, index: u32, state: State, deadline: Instant) {
        let cold = &mut self.cold[index as usize];
        (cold.state, cold.deadline) = (state, deadline);
        self.wheel.schedule(index, deadline);
    }

    fn set_mac(&mut self, index: u32, mac: Mac) {
        self.cold[index as usize].mac = mac;
        self.hot[index as usize].header = self.link_header(mac, ether_type::IPV4);
        self.renew(index);
    }

    /// Paths that were given out hold no longer.
    fn renew(&mut self, index: u32) {
        let hot = &mut self.hot[index as usize];
        // Zero is what no entry has.
        hot.generation = hot.generation.wrapping_add(1).max(1);
        hot.confirmed = Instant::ZERO;
    }

    fn list(&mut self, class: Class) -> Option<&mut List> {
        match class {
            Class::Passive => Some(&mut self.passive),
            Class::Wanted => Some(&mut self.wanted),
            Class::Proven => Some(&mut self.proven),
            Class::None => None,
        }
    }

    fn classify(&mut self, index: u32, class: Class) {
        let old = std::mem::replace(&mut self.cold[index as usize].class, class);
        let mut links = std::mem::take(&mut self.links);
        if let Some(list) = self.list(old) {
            list.remove(&mut links, index);
        }
        if let Some(list) = self.list(class) {
            list.push(&mut links, index);
        }
        self.links = links;
    }

    /// A free entry for an address that has none.
    fn allot(&mut self, address: IpAddr) -> u32 {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = self.hot.len() as u32;
                self.hot.push(Hot {
                    header: [0; vlan::HEADER_LEN],
                    generation: 1,
                    used: Instant::ZERO,
                    confirmed: Instant::ZERO,
                });
                self.cold.push(Cold {
                    address,
                    mac: [0; 6],
                    state: State::Free,
                    class: Class::None,
                    tries: 0,
                    deadline: Instant::ZERO,
                    held: VecDeque::new(),
                });
                index
            }
        };
        self.cold[index as usize].address = address;
        self.by_address.insert(number(address), index);
        index
    }

    fn remove(&mut self, index: u32) {
        self.wheel.cancel(index);
        self.classify(index, Class::None);
        self.renew(index);
        let cold = &mut self.cold[index as usize];
        self.by_address.remove(&number(cold.address));
        cold.state = State::Free;
        cold.mac = [0; 6];
        self.held_bytes -= cold.held.drain(..).map(|packet| packet.len()).sum::<usize>();
        self.free.push(index);
    }

    /// Sees to it that there is room for an entry of this class; `false` if there is none.
    fn make_room(&mut self, now: Instant, class: Class, stats: &mut IpStats) -> bool {
        if self.by_address.len() < self.limit {
            return true;
        }
        let victim = match class {
            Class::Wanted => self.passive.first().or(self.wanted.first()).or_else(|| self.least_used(now)),
            _ => self.passive.first(),
        };
        let Some(victim) = victim else { return false };
        stats.neighbour_evictions += 1;
        stats.tx_unresolved += self.cold[victim as usize].held.len() as u64;
        self.remove(victim);
        true
    }

    /// The proven neighbour that has been one for longest and is not in use; of those looked at, if all are, the one that
    /// was sent to longest ago.
    fn least_used(&mut self, now: Instant) -> Option<u32> {
        let mut least: Option<(Instant, u32)> = None;
        for _ in 0..CHANCES {
            let index = self.proven.first()?;
            let used = self.hot[index as usize].used;
            if now.saturating_since(used) > IN_USE {
                return Some(index);
            }
            if least.is_none_or(|(other, _)| used < other) {
                least = Some((used, index));
            }
            self.proven.remove(&mut self.links, index);
            self.proven.push(&mut self.links, index);
        }
        least.map(|(_, index)| index)
    }
}

#[cfg(test)]
mod tests;
