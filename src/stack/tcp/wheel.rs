//! Timers: a hierarchical timing wheel (Varghese and Lauck, 1987) with one timer per small index.
//!
//! Time is counted in ticks of a power of two of nanoseconds. A timer is in the slot of its tick if that lies in the
//! current round of the lowest wheel, otherwise in a slot of a higher wheel that spans 64 times as much; when time comes
//! to such a slot, its timers go down one wheel or more. So a timer is moved at most once per wheel, and never looked at
//! while it is far away. A timer never goes off before its time, and at most one tick after it if somebody asks then.
//!
//! The timers are links in arrays of the wheel's own, 16 bytes per index up to the largest that was ever used: setting,
//! moving and cancelling allocate nothing.

use crate::stack::Instant;

#[cfg(test)]
mod tests;

/// The resolution of a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick(u32);

impl Tick {
    /// 2²⁰ ns, about a millisecond: retransmissions, delayed acknowledgements, everything that waits for the network.
    pub(crate) const COARSE: Self = Self(20);
    /// 2¹³ ns, about eight microseconds: pacing.
    pub(crate) const FINE: Self = Self(13);

    /// Its length in nanoseconds.
    pub(crate) const fn nanos(self) -> u64 {
        1 << self.0
    }
}

/// Bits of a tick that one wheel counts.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// Enough for all ticks of 64-bit nanoseconds at the finest resolution.
const WHEELS: usize = 9;

const _: () = assert!(WHEELS as u32 * BITS + Tick::FINE.0 >= u64::BITS);

/// Marks a link that leads to a slot's head instead of a timer; below it, wheel and slot.
const HEAD: u32 = 1 << 31;
/// In `next` of a timer that is not set.
const UNSET: u32 = u32::MAX;
/// Largest index plus one.
const MAX_TIMERS: usize = 1 << 30;

/// A timer: links of the ring that its slot's head closes, and the tick at which it goes off.
#[derive(Clone, Copy)]
struct Timer {
    next: u32,
    prev: u32,
    tick: u64,
}

const _: () = assert!(size_of::<Timer>() == 16);

/// A set of timers.
pub(crate) struct Wheel {
    tick: Tick,
    timers: Vec<Timer>,
    /// First and last timer of each slot; the head itself if there is none.
    heads: Box<[[(u32, u32); SLOTS]; WHEELS]>,
    /// One bit per slot with timers in it.
    taken: [u64; WHEELS],
    /// One bit per wheel with timers in it.
    wheels: u32,
    /// The tick up to which everything has gone off or down. Timers that are due are in its slot of the lowest wheel.
    now: u64,
    /// No slot with timers begins before this time: until then a look at the wheels is saved.
    quiet_until: Instant,
    /// When that was found out last: `now` is brought there when it is needed.
    seen: Instant,
    len: usize,
}

impl Wheel {
    /// One without timers, which counts from the epoch.
    pub(crate) fn new(tick: Tick) -> Self {
        let heads = std::array::from_fn(|wheel| std::array::from_fn(|slot| (head(wheel, slot), head(wheel, slot))));
        Self {
            tick,
            timers: Vec::new(),
            heads: Box::new(heads),
            taken: [0; WHEELS],
            wheels: 0,
            now: 0,
            quiet_until: Instant::from_nanos(u64::MAX),
            seen: Instant::ZERO,
            len: 0,
        }
    }

    /// Sets the timer `index` to go off at `at`, or moves it there if it is set. A time that has passed is now.
    /// Indices from 2³⁰ on are ignored.
    pub(crate) fn schedule(&mut self, index: u32, at: Instant) {
        let place = index as usize;
        if place >= self.timers.len() {
            if place >= MAX_TIMERS {
                return;
            }
            // An eighth at a time instead of doubling: these bytes count for every connection.
            let more = place + 1 - self.timers.len();
            if self.timers.capacity() <= place {
                self.timers.reserve_exact(more.max(self.timers.len() / 8 + 64));
            }
            self.timers.resize(place + 1, Timer { next: UNSET, prev: UNSET, tick: 0 });
        }
        self.now = self.tick_now();
        let (nanos, shift) = (at.as_nanos(), self.tick.0);
        let up = u64::from(nanos & (self.tick.nanos() - 1) != 0);
        // The last tick before the end of time is as good as the end itself.
        let tick = ((nanos >> shift) + up).min(u64::MAX >> shift).max(self.now);
        let timer = self.timers[place];
        if timer.next != UNSET {
            if timer.tick == tick {
                return;
            }
            self.unlink(timer);
        } else {
            self.len += 1;
        }
        self.link(index, tick);
    }

    /// Takes the timer `index` out; false if it was not set.
    pub(crate) fn cancel(&mut self, index: u32) -> bool {
        let Some(timer) = self.timers.get_mut(index as usize) else { return false };
        if timer.next == UNSET {
            return false;
        }
        let old = *timer;
        timer.next = UNSET;
        self.unlink(old);
        self.len -= 1;
        true
    }

    /// When the timer `index` goes off, rounded up to the tick; `None` if it is not set.
    #[cfg(test)]
    pub(crate) fn at(&self, index: u32) -> Option<Instant> {
        let timer = self.timers.get(index as usize).filter(|timer| timer.next != UNSET)?;
        Some(self.instant(timer.tick))
    }

    /// Whether the timer `index` is set.
    #[cfg(test)]
    pub(crate) fn is_scheduled(&self, index: u32) -> bool {
        self.timers.get(index as usize).is_some_and(|timer| timer.next != UNSET)
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap that it holds.
    pub(crate) fn footprint(&self) -> usize {
        size_of_val(&*self.heads) + self.timers.capacity() * size_of::<Timer>()
    }

    /// Takes out one timer whose time has come. To be called until there is none; the work is that of moving the timers
    /// whose slots time has come to, however far it has jumped.
    #[inline]
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u32> {
        if now < self.quiet_until {
            self.seen = now;
            return None;
        }
        self.pop_first(now)
    }

    /// [`pop`](Self::pop) where a slot's time may have come.
    #[inline(never)]
    fn pop_first(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_nanos() >> self.tick.0;
        self.now = self.tick_now();
        loop {
            let first = self.first();
            let Some((wheel, slot, start)) = first.filter(|(_, _, start)| *start <= now) else {
                self.now = self.now.max(now);
                self.quiet_until = first.map_or(Instant::from_nanos(u64::MAX), |(_, _, start)| self.instant(start));
                return None;
            };
            // Slots of the lowest wheel in order of time, before those of higher ones: nothing is passed over.
            self.now = start;
            if wheel == 0 {
                let index = self.heads[0][slot].0;
                self.cancel(index);
                return Some(index);
            }
            self.descend(wheel, slot);
        }
    }

    /// When [`pop`](Self::pop) must be called next: the tick of the next timer, or that at which timers that are far
    /// away are sorted anew. Later than the time of a `pop` that found nothing.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.first().map(|(_, _, start)| self.instant(start))
    }

    /// The tick that is now, as far as is known.
    #[inline]
    fn tick_now(&self) -> u64 {
        self.now.max(self.seen.as_nanos() >> self.tick.0)
    }

    fn instant(&self, tick: u64) -> Instant {
        Instant::from_nanos(tick << self.tick.0)
    }

    /// The slot whose time comes first, with the tick at which it does.
    ///
    /// Everything in a wheel lies in the current slot of the next higher one: the lowest wheel with timers is first, and in
    /// it the first slot, without any going round.
    #[inline]
    fn first(&self) -> Option<(usize, usize, u64)> {
        if self.wheels == 0 {
            return None;
        }
        let wheel = self.wheels.trailing_zeros() as usize % WHEELS;
        let slot = self.taken[wheel].trailing_zeros() as usize % SLOTS;
        let shift = wheel as u32 * BITS;
        let round = self.tick_now() >> shift >> BITS << BITS;
        Some((wheel, slot, (round | slot as u64) << shift))
    }

    /// Puts a timer that is in no slot into that of its tick, behind those that are there.
    fn link(&mut self, index: u32, tick: u64) {
        // The highest digit in which it differs from now.
        let differ = tick ^ self.now;
        let wheel = (differ | 1).ilog2() as usize / BITS as usize % WHEELS;
        let shift = wheel as u32 * BITS;
        let slot = (tick >> shift) as usize % SLOTS;
        self.quiet_until = self.quiet_until.min(self.instant(tick >> shift << shift));
        let own = head(wheel, slot);
        let last = self.heads[wheel][slot].1;
        self.timers[index as usize] = Timer { next: own, prev: last, tick };
        self.heads[wheel][slot].1 = index;
        if last == own {
            self.heads[wheel][slot].0 = index;
        } else {
            self.timers[last as usize].next = index;
        }
        self.taken[wheel] |= 1 << slot;
        self.wheels |= 1 << wheel;
    }

    /// Closes the ring without a timer.
    fn unlink(&mut self, timer: Timer) {
        match place(timer.prev) {
            Ok((wheel, slot)) => self.heads[wheel][slot].0 = timer.next,
            Err(prev) => self.timers[prev].next = timer.next,
        }
        match place(timer.next) {
            Ok((wheel, slot)) => self.heads[wheel][slot].1 = timer.prev,
            Err(next) => self.timers[next].prev = timer.prev,
        }
        // Both neighbours are the head: that was the last one.
        if timer.prev == timer.next
            && let Ok((wheel, slot)) = place(timer.next)
        {
            self.vacate(wheel, slot);
        }
    }

    fn vacate(&mut self, wheel: usize, slot: usize) {
        self.taken[wheel] &= !(1 << slot);
        if self.taken[wheel] == 0 {
            self.wheels &= !(1 << wheel);
        }
    }

    /// Sorts the timers of a slot, to which time has come, into the wheels below.
    #[cold]
    fn descend(&mut self, wheel: usize, slot: usize) {
        let own = head(wheel, slot);
        let (mut at, _) = std::mem::replace(&mut self.heads[wheel][slot], (own, own));
        self.vacate(wheel, slot);
        while at != own {
            let timer = self.timers[at as usize];
            self.link(at, timer.tick);
            at = timer.next;
        }
    }
}

/// The link that leads to a slot's head.
#[inline(always)]
const fn head(wheel: usize, slot: usize) -> u32 {
    HEAD | (wheel * SLOTS + slot) as u32
}

/// Where a link leads: to the head of a slot, or to a timer.
#[inline(always)]
const fn place(link: u32) -> Result<(usize, usize), usize> {
    if link & HEAD != 0 {
        Ok(((link ^ HEAD) as usize / SLOTS % WHEELS, link as usize % SLOTS))
    } else {
        Err(link as usize)
    }
}
