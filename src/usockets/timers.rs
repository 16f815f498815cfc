//! When timers are due.
//!
//! A heap of deadlines, earliest first, those that are equal in the order in which they were set. A timer that is set anew
//! or closed leaves its old deadline in the heap; it is thrown away when it comes to the top, or with all others of its kind
//! once they are the greater part. The loop keeps what belongs to a timer (its callback, its data) under the timer's index.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The name of a timer. One that is closed means nothing ever after, also when its place has a new timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TimerId {
    index: u32,
    generation: u32,
}

impl TimerId {
    /// Its place in a table. Timers that are open at the same time have different ones, and they are small.
    pub(super) fn index(self) -> usize {
        self.index as usize
    }
}

/// The timers of a loop.
#[derive(Debug, Default)]
pub(super) struct Timers {
    timers: Vec<Timer>,
    free: Vec<u32>,
    /// The top is always a deadline that holds.
    deadlines: BinaryHeap<Reverse<Deadline>>,
    /// How many of the deadlines hold.
    armed: usize,
    /// Counts deadlines.
    next: u64,
}

#[derive(Debug)]
struct Timer {
    generation: u32,
    open: bool,
    /// The number of the deadline that holds.
    armed: Option<u64>,
    every: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Instant,
    number: u64,
    timer: u32,
}

/// Deadlines that do not hold any more are not worth a search for them while there are so few.
const FEW: usize = 32;

impl Timers {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A new timer, which is not set.
    pub(super) fn open(&mut self) -> TimerId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.timers.push(Timer { generation: 0, open: false, armed: None, every: None });
            (self.timers.len() - 1) as u32
        });
        let timer = &mut self.timers[index as usize];
        timer.open = true;
        TimerId { index, generation: timer.generation }
    }

    /// Closes a timer, and says whether it was open.
    pub(super) fn close(&mut self, id: TimerId) -> bool {
        let Some(timer) = self.get_mut(id) else { return false };
        timer.open = false;
        timer.generation = timer.generation.wrapping_add(1);
        self.free.push(id.index);
        self.arm(id.index, None);
        self.tidy();
        true
    }

    /// Sets a timer: it is due after `first`, or else after `every`, and from then on `every` so often; never, without
    /// either. No time at all means the next instant for `first`, and nothing for `every`. Says whether the timer is open.
    pub(super) fn set(&mut self, id: TimerId, now: Instant, first: Option<Duration>, every: Option<Duration>) -> bool {
        let Some(timer) = self.get_mut(id) else { return false };
        timer.every = every.filter(|every| !every.is_zero());
        // Not due at this very instant: a callback that sets its timer would never see the end of what is due.
        let first = first.map(|first| first.max(Duration::from_nanos(1)));
        let at = first.or(timer.every).and_then(|after| now.checked_add(after));
        self.arm(id.index, at);
        self.tidy();
        true
    }

    /// Whether the timer is open.
    pub(super) fn is_open(&self, id: TimerId) -> bool {
        self.timers.get(id.index()).is_some_and(|timer| timer.open && timer.generation == id.generation)
    }

    /// When the next timer is due.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse(deadline)| deadline.at)
    }

    /// A timer that is due, once for all of its periods that are over. The next one ends where it would have ended if
    /// nobody had been late.
    #[inline]
    pub(super) fn expired(&mut self, now: Instant) -> Option<TimerId> {
        if self.next_deadline()? > now {
            return None;
        }
        let Reverse(deadline) = self.deadlines.pop()?;
        let timer = &mut self.timers[deadline.timer as usize];
        timer.armed = None;
        self.armed -= 1;
        let id = TimerId { index: deadline.timer, generation: timer.generation };
        let next = timer.every.and_then(|every| {
            let over = now.duration_since(deadline.at).as_nanos() % every.as_nanos();
            // Less than 584 years.
            now.checked_add(every.saturating_sub(Duration::from_nanos(over as u64)))
        });
        self.arm(deadline.timer, next);
        self.tidy();
        Some(id)
    }

    /// How many timers are open.
    pub(super) fn len(&self) -> usize {
        self.timers.len() - self.free.len()
    }

    fn get_mut(&mut self, id: TimerId) -> Option<&mut Timer> {
        self.timers.get_mut(id.index()).filter(|timer| timer.open && timer.generation == id.generation)
    }

    /// From now on this deadline holds, and no other.
    fn arm(&mut self, index: u32, at: Option<Instant>) {
        let timer = &mut self.timers[index as usize];
        self.armed -= usize::from(timer.armed.is_some());
        timer.armed = at.map(|at| {
            let number = self.next;
            self.next += 1;
            self.armed += 1;
            self.deadlines.push(Reverse(Deadline { at, number, timer: index }));
            number
        });
    }

    /// Throws away deadlines that do not hold: those at the top, and all if they are many.
    fn tidy(&mut self) {
        let Self { timers, deadlines, .. } = self;
        let holds = |deadline: &Deadline| timers[deadline.timer as usize].armed == Some(deadline.number);
        if deadlines.len() > FEW + 2 * self.armed {
            deadlines.retain(|Reverse(deadline)| holds(deadline));
        }
        while deadlines.peek().is_some_and(|Reverse(deadline)| !holds(deadline)) {
            deadlines.pop();
        }
    }
}

#[cfg(test)]
mod tests;
