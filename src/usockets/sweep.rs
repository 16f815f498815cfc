//! The timeout wheel: which sockets have been silent for too long.
//!
//! ```text
//!          now                        a socket stands in the list of one slot, and knows its deadline;
//!           ▼                         the slot's turn comes at the deadline or before it
//!   ┌───┬───┬───┬───┬ ─ ─ ┬───┐
//!   │   │ ○ │ ○ │   │     │   │       240 slots, one per tick
//!   └───┴─│─┴─│─┴───┴ ─ ─ ┴───┘
//!         ○   ○
//! ```
//!
//! A loop has two of them, one with ticks of 4 seconds and one with ticks of a minute. It owns the sockets; the wheel knows
//! their indices only.
//!
//! Servers set the timeout anew with every request, and nearly always to a later time. So a deadline that moves away is
//! just noted: the socket stays where it is and moves on when its slot's turn comes, at most once per turn.

const SLOTS: u32 = 240;
const NONE: u32 = u32::MAX;

/// The longest timeout in ticks: 956 seconds on the short wheel, 239 minutes on the long one.
pub(super) const MOST: u32 = SLOTS - 1;

/// Deadlines of sockets, counted in ticks.
#[derive(Debug)]
pub(super) struct Wheel {
    /// Ticks so far. Those of 4 seconds fill it in 544 years.
    now: u32,
    /// How many sockets have a deadline.
    len: u32,
    /// The first socket of each slot.
    first: [u32; SLOTS as usize],
    /// By the index of the socket.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    next: u32,
    previous: u32,
    /// The tick at which the time is over.
    deadline: u32,
    /// The tick at which its slot's turn comes, not after the deadline; `NONE`: no deadline, and in no list.
    turn: u32,
}

const FREE: Entry = Entry { next: NONE, previous: NONE, deadline: NONE, turn: NONE };

impl Wheel {
    pub(super) fn new() -> Self {
        Self { now: 0, len: 0, first: [NONE; SLOTS as usize], entries: Vec::new() }
    }

    /// Sets the deadline of a socket that many ticks from now, 1 to [`MOST`]; what is outside is taken for the nearest of
    /// these. Any former deadline is forgotten.
    #[inline]
    pub(super) fn set(&mut self, index: u32, ticks: u32) {
        let deadline = self.now + ticks.clamp(1, MOST);
        match self.entries.get_mut(index as usize) {
            // Linked, and its turn comes early enough.
            Some(entry) if entry.turn <= deadline => entry.deadline = deadline,
            _ => self.place(index, deadline),
        }
    }

    #[cold]
    fn place(&mut self, index: u32, deadline: u32) {
        if self.entries.len() <= index as usize {
            self.entries.resize(index as usize + 1, FREE);
        }
        self.clear(index);
        self.link(index, deadline, deadline);
    }

    /// Forgets the deadline of a socket, if it has one.
    #[inline]
    pub(super) fn clear(&mut self, index: u32) {
        if self.entries.get(index as usize).is_some_and(|entry| entry.turn != NONE) {
            self.unlink(index);
        }
    }

    /// Whether no socket has a deadline.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Time moves on by one tick. What was due and has not been asked for stays due.
    pub(super) fn tick(&mut self) {
        let left = self.slot(self.now);
        self.now += 1;
        while self.first[left] != NONE {
            let index = self.first[left];
            let deadline = self.entries[index as usize].deadline;
            self.unlink(index);
            self.link(index, deadline, self.now);
        }
    }

    /// A socket whose time is over; its deadline is forgotten. Deadlines may be set and cleared between two calls; one
    /// that is set now is not due before the next tick.
    pub(super) fn due(&mut self) -> Option<u32> {
        let slot = self.slot(self.now);
        loop {
            let index = self.first[slot];
            if index == NONE {
                return None;
            }
            let deadline = self.entries[index as usize].deadline;
            self.unlink(index);
            if deadline <= self.now {
                return Some(index);
            }
            // At most 239 ticks away: never this slot again.
            self.link(index, deadline, deadline);
        }
    }

    fn slot(&self, tick: u32) -> usize {
        (tick % SLOTS) as usize
    }

    /// Enters a socket, which must be in no list, in the slot of a tick.
    fn link(&mut self, index: u32, deadline: u32, turn: u32) {
        let slot = self.slot(turn);
        let next = std::mem::replace(&mut self.first[slot], index);
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = index;
        }
        self.entries[index as usize] = Entry { next, previous: NONE, deadline, turn };
        self.len += 1;
    }

    /// Takes a socket, which must be in a list, out of it.
    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, turn, .. } = std::mem::replace(&mut self.entries[index as usize], FREE);
        match previous {
            NONE => {
                let slot = self.slot(turn);
                self.first[slot] = next;
            }
            previous => self.entries[previous as usize].next = next,
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests;
