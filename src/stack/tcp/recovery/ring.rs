//! The segments in flight, oldest first, without a gap between them, and the sums over them that decide what may be
//! sent.

use std::collections::VecDeque;

use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// Selectively acknowledged. Excludes [`LOST`] and [`RESENT`].
pub(super) const SACKED: u8 = 1;
/// What was sent first is believed lost.
pub(super) const LOST: u8 = 2;
/// What was sent last is a retransmission that is believed to be on its way.
pub(super) const RESENT: u8 = 4;
/// Was sent more than once.
pub(super) const EVER_RESENT: u8 = 8;

/// Kept when nothing is in flight, in records: what short responses need.
const IDLE_CAPACITY: usize = 8;

/// One segment as it was sent, or a piece of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) start: Seq,
    pub(super) end: Seq,
    /// When it was last sent.
    pub(super) sent: Instant,
    flags: u8,
}

const _: () = assert!(size_of::<Record>() <= 40);

impl Record {
    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        self.end.since(self.start)
    }

    #[inline(always)]
    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether it waits to be sent again.
    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        self.flags & (LOST | RESENT) == LOST
    }

    /// How often it counts as in flight (RFC 6675, `Pipe`): what was sent first unless it arrived or was lost, and what
    /// was resent.
    #[inline(always)]
    fn weight(&self) -> u32 {
        u32::from(!self.has(SACKED | LOST)) + u32::from(self.has(RESENT))
    }

    /// Whether it was sent before what was sent at `at` and ends at `end` (RFC 8985, `RACK_sent_after`).
    #[inline(always)]
    pub(super) fn sent_before(&self, at: Instant, end: Seq) -> bool {
        self.sent < at || (self.sent == at && self.end.before(end))
    }
}

/// Sequence space between the oldest unacknowledged byte and the next one to be sent.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Ring {
    una: Seq,
    nxt: Seq,
    /// Bytes in flight; retransmissions count again.
    pipe: u32,
    /// The oldest one, if there is any. Requests and responses of one segment each need no more than this.
    oldest: Record,
    /// Those behind it.
    rest: VecDeque<Record>,
    /// Bytes selectively acknowledged.
    sacked: u32,
    /// Bytes that wait to be sent again.
    due: u32,
    /// Bytes of retransmissions in flight.
    resent: u32,
    /// Segments selectively acknowledged.
    sacked_segments: u32,
    /// Segments sent more than once.
    ever_resent: u32,
    /// No record before this waits to be sent again.
    due_from: Seq,
}

impl Ring {
    /// Nothing in flight; `first` is the next byte to be sent.
    pub(super) fn new(first: Seq) -> Self {
        Self {
            oldest: Record { start: first, end: first, sent: Instant::ZERO, flags: 0 },
            rest: VecDeque::new(),
            una: first,
            nxt: first,
            pipe: 0,
            sacked: 0,
            due: 0,
            resent: 0,
            sacked_segments: 0,
            ever_resent: 0,
            due_from: first,
        }
    }

    #[inline(always)]
    pub(super) fn una(&self) -> Seq {
        self.una
    }

    #[inline(always)]
    pub(super) fn nxt(&self) -> Seq {
        self.nxt
    }

    /// Reads something of the line that an acknowledgement begins with.
    #[inline(always)]
    pub(super) fn touch(&self) -> u64 {
        self.oldest.sent.as_nanos() ^ self.rest.len() as u64
    }

    /// Bytes sent and not cumulatively acknowledged.
    #[inline(always)]
    pub(super) fn outstanding(&self) -> u32 {
        self.nxt.since(self.una)
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.una == self.nxt
    }

    /// Records.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        usize::from(!self.is_empty()) + self.rest.len()
    }

    #[inline(always)]
    pub(super) fn pipe(&self) -> u32 {
        self.pipe
    }

    #[inline(always)]
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    #[inline(always)]
    pub(super) fn due(&self) -> u32 {
        self.due
    }

    #[inline(always)]
    pub(super) fn resent(&self) -> u32 {
        self.resent
    }

    #[inline(always)]
    pub(super) fn sacked_segments(&self) -> u32 {
        self.sacked_segments
    }

    #[inline(always)]
    pub(super) fn get(&self, index: usize) -> Option<&Record> {
        match index.checked_sub(1) {
            None => self.front(),
            Some(behind) => self.rest.get(behind),
        }
    }

    #[inline(always)]
    fn get_mut(&mut self, index: usize) -> Option<&mut Record> {
        match index.checked_sub(1) {
            None if self.is_empty() => None,
            None => Some(&mut self.oldest),
            Some(behind) => self.rest.get_mut(behind),
        }
    }

    #[inline(always)]
    pub(super) fn front(&self) -> Option<&Record> {
        if self.is_empty() { None } else { Some(&self.oldest) }
    }

    #[inline(always)]
    pub(super) fn back(&self) -> Option<&Record> {
        self.rest.back().or(self.front())
    }

    /// Index of the record that holds `seq`; that of the first one if `seq` lies before all, one past the last if
    /// behind all.
    #[inline]
    pub(super) fn find(&self, seq: Seq) -> usize {
        if seq.at_or_before(self.una) || self.oldest.end.after(seq) {
            return 0;
        }
        1 + self.rest.partition_point(|record| record.end.at_or_before(seq))
    }

    /// Index of the first record that begins at `seq` or later.
    #[inline]
    pub(super) fn find_start(&self, seq: Seq) -> usize {
        let index = self.find(seq);
        index + usize::from(self.get(index).is_some_and(|record| record.start.before(seq)))
    }

    /// New data was sent: `len` bytes from `nxt` on.
    #[inline]
    pub(super) fn push(&mut self, now: Instant, len: u32) {
        let start = self.nxt;
        let end = start + len;
        let record = Record { start, end, sent: now, flags: 0 };
        if self.is_empty() {
            self.oldest = record;
        } else {
            self.rest.push_back(record);
        }
        self.nxt = end;
        self.pipe = self.pipe.saturating_add(len);
    }

    /// Replaces the flags of a record and keeps the sums right.
    #[inline]
    pub(super) fn set(&mut self, index: usize, add: u8, remove: u8) {
        let Some(record) = self.get_mut(index) else { return };
        let before = *record;
        record.flags = (before.flags | add) & !remove;
        let after = *record;
        if before.flags == after.flags {
            return;
        }
        let len = before.len();
        self.forget(&before);
        self.pipe = self.pipe.saturating_add(after.weight().saturating_mul(len));
        if after.has(SACKED) {
            self.sacked += len;
            self.sacked_segments += 1;
        }
        if after.is_due() {
            self.due_from = if self.due == 0 { after.start } else { self.due_from.min(after.start) };
            self.due += len;
        }
        if after.has(RESENT) {
            self.resent += len;
        }
        self.ever_resent += u32::from(after.has(EVER_RESENT));
    }

    /// Takes a record out of the sums.
    #[inline]
    fn forget(&mut self, record: &Record) {
        let len = record.len();
        self.pipe = self.pipe.saturating_sub(record.weight().saturating_mul(len));
        if record.has(SACKED) {
            self.sacked -= len;
            self.sacked_segments -= 1;
        }
        if record.is_due() {
            self.due -= len;
        }
        if record.has(RESENT) {
            self.resent -= len;
        }
        self.ever_resent -= u32::from(record.has(EVER_RESENT));
    }

    /// A record was sent again.
    pub(super) fn resend(&mut self, index: usize, now: Instant) {
        self.set(index, RESENT | EVER_RESENT, 0);
        if let Some(record) = self.get_mut(index) {
            record.sent = now;
        }
    }

    /// Takes the oldest record out if all of it is acknowledged; cuts it if a part is. What is returned is what was
    /// acknowledged.
    #[inline]
    pub(super) fn acknowledge(&mut self, ack: Seq) -> Option<Record> {
        if self.una.at_or_after(ack) || self.is_empty() {
            return None;
        }
        let mut record = self.oldest;
        if record.end.at_or_before(ack) {
            if let Some(next) = self.rest.pop_front() {
                self.oldest = next;
            }
            self.forget(&record);
            self.una = record.end;
        } else {
            self.oldest.start = ack;
            record.end = ack;
            // The rest stays as it is: only the part leaves the sums, which count a segment once.
            self.forget(&record);
            self.count_piece(&record);
            self.una = ack;
        }
        Some(record)
    }

    /// The same for all up to `ack` at once, while something is in flight and nothing is marked. Returns when the first
    /// of it was sent, and the last of it.
    #[inline(always)]
    pub(super) fn acknowledge_plain(&mut self, ack: Seq) -> (Instant, Record) {
        let first = self.oldest.sent;
        let mut last = self.oldest;
        while last.end.before(ack) {
            let Some(next) = self.rest.pop_front() else { break };
            last = next;
        }
        if last.end.after(ack) {
            self.oldest = Record { start: ack, ..last };
            last.end = ack;
        } else if let Some(next) = self.rest.pop_front() {
            self.oldest = next;
        }
        self.pipe -= last.end.since(self.una);
        self.una = last.end;
        (first, last)
    }

    /// Whether no record has a mark: each was sent once and counts once.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.pipe == self.outstanding() && self.ever_resent == 0
    }

    /// Cuts a record in two at `at`, which lies inside it.
    pub(super) fn split(&mut self, index: usize, at: Seq) {
        let Some(record) = self.get_mut(index) else { return };
        if !(record.start.before(at) && at.before(record.end)) {
            return;
        }
        let mut rest = *record;
        record.end = at;
        rest.start = at;
        // Before what was at `index + 1`.
        self.rest.insert(index, rest);
        self.count_piece(&rest);
    }

    /// There is one segment more with the marks of this one.
    fn count_piece(&mut self, piece: &Record) {
        self.sacked_segments += u32::from(piece.has(SACKED));
        self.ever_resent += u32::from(piece.has(EVER_RESENT));
    }

    /// Cuts what is larger than `mss`, and marks it lost unless it arrived. Returns whether anything was.
    pub(super) fn cut(&mut self, mss: u32) -> bool {
        let mss = mss.max(1);
        if self.front().is_none_or(|oldest| oldest.len() <= mss) && self.rest.iter().all(|record| record.len() <= mss) {
            return false;
        }
        let old = std::iter::once(self.oldest).chain(std::mem::take(&mut self.rest));
        let (mut lost, mut len) = (false, 0);
        for mut record in old {
            let first = len;
            while record.len() > mss {
                let mut piece = record;
                piece.end = piece.start + mss;
                record.start = piece.end;
                self.count_piece(&piece);
                self.put_back(len, piece);
                len += 1;
            }
            self.put_back(len, record);
            len += 1;
            if len > first + 1 && !record.has(SACKED) {
                lost = true;
                (first..len).for_each(|index| self.set(index, LOST, RESENT));
            }
        }
        lost
    }

    /// Puts a record behind the first `len` ones, which are all that there are.
    fn put_back(&mut self, len: usize, record: Record) {
        if len == 0 {
            self.oldest = record;
        } else {
            self.rest.push_back(record);
        }
    }

    /// Index of the first record that waits to be sent again.
    #[inline]
    pub(super) fn first_due(&mut self) -> Option<usize> {
        if self.due == 0 {
            return None;
        }
        let mut index = self.find(self.due_from.max(self.una));
        while let Some(record) = self.get(index) {
            if record.is_due() {
                self.due_from = record.start;
                return Some(index);
            }
            index += 1;
        }
        None
    }

    /// Gives memory back when nothing is in flight.
    pub(super) fn trim(&mut self) {
        self.rest.shrink_to(IDLE_CAPACITY);
    }

    /// Whether there is memory worth giving back.
    #[inline(always)]
    pub(super) fn is_roomy(&self) -> bool {
        self.rest.capacity() > IDLE_CAPACITY
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.rest.capacity() * size_of::<Record>()
    }
}
