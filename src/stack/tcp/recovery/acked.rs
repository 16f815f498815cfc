//! The course of an acknowledgement: what arrived, what that says about round trips and losses, and what the window
//! becomes.

use std::time::Duration;

use super::ring::{EVER_RESENT, LOST, Record, SACKED};
use super::{Ack, Acked, Frto, MAX_OUTSTANDING, Phase, Prr, Recovery, Undo, nanos};
use crate::stack::tcp::congestion::{Growth, Sample};
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// Duplicate acknowledgements that mean a loss (RFC 5681, 3.2).
const DUP_THRESHOLD: u32 = 3;
/// Blocks that fit into the options of one segment.
const MAX_BLOCKS: usize = 4;

/// What one acknowledgement says has arrived.
#[derive(Debug, Default)]
struct Delivery {
    /// Bytes that no earlier one spoke of.
    bytes: u32,
    /// Of these, selectively acknowledged.
    sacked: u32,
    /// When the first and the last of those were sent that were sent once and are acknowledged cumulatively.
    first: Option<Instant>,
    last: Option<Instant>,
    /// When the first of those was sent that were sent once and are acknowledged selectively.
    first_sacked: Option<Instant>,
    /// Something resent was among what was acknowledged cumulatively: it may have held back the rest.
    resent: bool,
    /// When the last copy of it was sent.
    resent_at: Option<Instant>,
    /// Something that was sent once, before the recovery began, was among it.
    original: bool,
}

impl Recovery {
    /// An acknowledgement. Those of data never sent are ignored; of those that are older than [`una`](Self::una), the
    /// SACK blocks count.
    #[inline]
    pub(crate) fn ack(&mut self, now: Instant, ack: &Ack<'_>) -> Acked {
        let plain = ack.sacks.is_empty() && !ack.ece;
        match if plain { self.ack_plain(now, ack.ack) } else { None } {
            Some((bytes, rtt)) => Acked { bytes, rtt: Some(Duration::from_nanos(rtt)), ..Acked::default() },
            None => self.ack_any(now, ack),
        }
    }

    /// What was sent first has arrived, nothing was lost, nothing was sent twice, and nothing but a number tells so.
    /// Returns how many bytes that were, and the round-trip time in nanoseconds; `None` if it is anything else, which
    /// [`ack`](Self::ack) takes.
    #[inline(always)]
    pub(crate) fn ack_plain(&mut self, now: Instant, ack: Seq) -> Option<(u32, u64)> {
        let bytes = ack.since(self.una());
        if !self.calm || bytes.wrapping_sub(1) >= self.outstanding() {
            return None;
        }
        let (first, last) = self.ring.acknowledge_plain(ack);
        self.rack.delivered_in_order(now, &last);
        let (oldest, latest) = (now.nanos_since(first), now.nanos_since(last.sent));
        self.rtt.sample(oldest, self.una(), self.nxt());
        self.rtt.sample_min(now, latest);
        self.timeouts = 0;
        self.duplicates = 0;
        self.hold = false;
        self.grow(now, bytes, Some(latest));
        self.arm_acked_plain(now);
        Some((bytes, oldest))
    }

    #[inline(never)]
    fn ack_any(&mut self, now: Instant, ack: &Ack<'_>) -> Acked {
        let mut acked = Acked::default();
        if ack.ack.after(self.nxt()) {
            return acked;
        }
        let before = self.una();
        let echoed = self.echoed(now, ack);
        let mut delivery = Delivery::default();
        // From the lowest to the highest: what one acknowledgement tells at once did not overtake itself.
        self.take_cumulative(now, ack.ack, echoed, &mut delivery);
        let probe_answered = self.take_blocks(now, ack, &mut delivery, &mut acked);
        let una = self.una();
        acked.bytes = una.since(before);
        acked.sacked = delivery.sacked;
        let advanced = acked.bytes > 0;
        acked.duplicate =
            !advanced && ack.ack == una && !self.ring.is_empty() && !ack.has_payload && !ack.window_changed;
        if advanced {
            self.timeouts = 0;
            self.duplicates = 0;
            if !self.agreed.sack {
                self.hold = false;
            }
        }
        if !self.agreed.sack {
            self.presume(&mut delivery, acked.bytes, acked.duplicate);
        }
        let rtt = self.measure(now, ack, advanced, &delivery, &mut acked);
        self.end_probe(ack, probe_answered, acked.duplicate);
        if ack.ece && self.phase == Phase::Open {
            self.begin_reduction(delivery.bytes);
        }

        self.pass_phase(echoed, advanced, &delivery, &mut acked);
        let mut judge = None;
        if self.agreed.sack {
            (acked.lost, judge) = if self.ring.is_empty() { (0, None) } else { self.detect_losses(now) };
        } else {
            acked.lost = self.detect_by_duplicates(advanced);
        }
        if self.ring.due() > 0 {
            acked.entered = self.enter_recovery(delivery.bytes);
        }

        if matches!(self.phase, Phase::Recovery | Phase::Reduction) {
            if delivery.bytes > 0 || acked.entered {
                self.reduce(delivery.bytes, advanced && acked.lost == 0);
            }
            if !self.agreed.sack && acked.lost > 0 {
                // The next hole is repaired at once (RFC 6582, 3.2 step 3).
                let mss = u32::from(self.agreed.mss);
                self.congestion.set_cwnd(self.congestion.cwnd().max(self.in_flight().saturating_add(mss)));
            }
        } else if delivery.bytes > 0 && (advanced || self.rack.reordering_seen()) {
            // Duplicates are not yet a reason for a larger window (RFC 3042), unless the path is known to reorder
            // (Linux).
            self.grow(now, delivery.bytes, rtt);
        }
        self.set_pace();
        self.arm_acked(now, advanced, judge);
        self.settle();
        acked
    }

    /// The latest moment at which that was sent which the echoed timestamp comes from.
    fn echoed(&self, now: Instant, ack: &Ack<'_>) -> Option<Instant> {
        let tick = self.agreed.timestamps()?;
        Some(now - ack.echo_rtt? + tick)
    }

    /// SACK blocks and DSACK. Returns whether a DSACK tells that the last tail loss probe was needless.
    fn take_blocks(&mut self, now: Instant, ack: &Ack<'_>, delivery: &mut Delivery, acked: &mut Acked) -> bool {
        if ack.sacks.is_empty() || !self.agreed.sack {
            return false;
        }
        let (una, nxt) = (self.una(), self.nxt());
        let mut blocks = [(una, una); MAX_BLOCKS];
        let mut count = 0;
        let mut probe_answered = false;
        for (index, &(left, right)) in ack.sacks.iter().take(MAX_BLOCKS).enumerate() {
            if index == 0 && is_dsack(ack, left, right) {
                probe_answered = self.take_dsack(left, right, acked);
            } else if left.before(right) && left.at_or_after(una) && right.at_or_before(nxt) {
                blocks[count] = (left, right);
                count += 1;
            }
        }
        let blocks = &mut blocks[..count];
        blocks.sort_unstable_by_key(|block| block.0.since(una));
        if blocks.is_empty() {
            return probe_answered;
        }
        let mut holes = self.holes.take().unwrap_or_default();
        for &mut (left, right) in blocks {
            holes.insert(left, right, |left, right| self.mark_sacked(now, left, right, delivery));
        }
        self.holes = Some(holes);
        probe_answered
    }

    /// The receiver says that it got something twice. Returns whether that was the last tail loss probe.
    fn take_dsack(&mut self, left: Seq, right: Seq, acked: &mut Acked) -> bool {
        let (una, nxt) = (self.una(), self.nxt());
        // Only what may have been sent: within a window behind what is to be sent next.
        if !left.before(right) || right.after(nxt) || nxt.since(left) > 2 * MAX_OUTSTANDING {
            return false;
        }
        acked.dsack = true;
        if right.after(self.undo.from) {
            self.undo.unproven = self.undo.unproven.saturating_sub(right.since(left));
        }
        let probe_answered = self.probed && right == self.probe_end;
        // A needless probe says nothing about reordering.
        if !probe_answered {
            self.rack.dsack(una, nxt);
        }
        probe_answered
    }

    /// Marks the records that lie in this stretch in full; none of it was marked before. Returns where they begin and
    /// end.
    fn mark_sacked(&mut self, now: Instant, left: Seq, right: Seq, delivery: &mut Delivery) -> Option<(Seq, Seq)> {
        let mut index = self.ring.find_start(left);
        let start = self.ring.get(index)?.start;
        let mut end = start;
        while let Some(record) = self.ring.get(index).copied().filter(|record| record.end.at_or_before(right)) {
            delivery.bytes += record.len();
            delivery.sacked += record.len();
            // The echo belongs to what was last received in order, not to this (RFC 7323, 4.3).
            self.arrived(now, &record, None, delivery);
            if !record.has(EVER_RESENT) {
                delivery.first_sacked.get_or_insert(record.sent);
            }
            self.ring.set(index, SACKED, LOST | super::ring::RESENT);
            end = record.end;
            index += 1;
        }
        (start != end).then_some((start, end))
    }

    /// Takes out what is acknowledged cumulatively.
    fn take_cumulative(&mut self, now: Instant, ack: Seq, echoed: Option<Instant>, delivery: &mut Delivery) {
        if ack.at_or_before(self.una()) {
            return;
        }
        while let Some(record) = self.ring.acknowledge(ack) {
            let resent = record.has(EVER_RESENT);
            delivery.resent |= resent;
            if resent {
                delivery.resent_at = delivery.resent_at.max(Some(record.sent));
            }
            if record.has(SACKED) {
                continue;
            }
            delivery.bytes += record.len();
            self.arrived(now, &record, echoed, delivery);
            if !resent {
                delivery.first.get_or_insert(record.sent);
                delivery.last = Some(record.sent);
            }
        }
        if let Some(holes) = &mut self.holes {
            holes.acknowledge(self.ring.una());
        }
    }

    /// A segment is said to have arrived for the first time.
    #[inline]
    fn arrived(&mut self, now: Instant, record: &Record, echoed: Option<Instant>, delivery: &mut Delivery) {
        delivery.original |= !record.has(EVER_RESENT) && record.end.at_or_before(self.recover);
        self.rack.delivered(now, record, self.rtt.min(), echoed);
    }

    /// Without SACK, each duplicate acknowledgement says that one segment has arrived, and one that moves the left edge
    /// takes back what the duplicates before it said of the segments that it covers.
    fn presume(&mut self, delivery: &mut Delivery, acked: u32, duplicate: bool) {
        let mss = u32::from(self.agreed.mss);
        let before = self.presumed;
        if acked > 0 {
            let covered = acked.saturating_sub(mss);
            self.presumed = if self.phase == Phase::Recovery { before.saturating_sub(covered) } else { 0 };
        } else if duplicate {
            let counts = self.phase != Phase::Loss || self.nxt().after(self.recover);
            if counts {
                self.duplicates = self.duplicates.saturating_add(1);
                self.presumed = before.saturating_add(mss);
            }
        }
        let head = self.ring.front().map_or(0, Record::len);
        self.presumed = self.presumed.min(self.outstanding() - head);
        delivery.bytes = (delivery.bytes + self.presumed).saturating_sub(before);
    }

    /// Round-trip times (RFC 6298, 3 and 4). Returns that of what arrived last.
    fn measure(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        advanced: bool,
        delivery: &Delivery,
        acked: &mut Acked,
    ) -> Option<u64> {
        // Karn's rule: nothing is learned from what was sent twice, or was held back by what was, unless a timestamp
        // tells.
        let clean = !delivery.resent;
        let since = |sent: Instant| now.nanos_since(sent);
        let echo = || {
            // Only the answer to the last copy. An older timestamp may be that of a copy whose acknowledgement was
            // lost: then the time of a whole timeout would count as a round trip, the timeout would grow by it, and so
            // on.
            let tick = self.agreed.timestamps().filter(|_| advanced)?;
            self.echoed(now, ack).zip(delivery.resent_at).filter(|(echoed, resent)| echoed >= resent)?;
            ack.echo_rtt.map(|rtt| nanos(rtt.max(tick)))
        };
        let oldest = delivery.first.filter(|_| clean).map(since);
        let sample = oldest.or_else(|| delivery.first_sacked.map(since)).or_else(echo);
        if let Some(sample) = sample {
            self.rtt.sample(sample, self.una(), self.nxt());
            acked.rtt = Some(Duration::from_nanos(sample));
        }
        let latest = delivery.last.filter(|_| clean).or(delivery.first_sacked).map(since);
        if let Some(latest) = latest {
            self.rtt.sample_min(now, latest);
        }
        latest
    }

    /// Whether a tail loss probe has repaired a loss that would not have been noticed otherwise (RFC 8985, 7.4).
    fn end_probe(&mut self, ack: &Ack<'_>, needless: bool, duplicate: bool) {
        if self.una().at_or_after(self.probe_end) {
            self.probe = self.probe && !self.ring.is_empty();
        }
        if !self.probed || ack.ack.before(self.probe_end) {
            return;
        }
        if !self.probe_resent || needless || (duplicate && ack.sacks.is_empty()) {
            self.probed = false;
        } else if ack.ack.after(self.probe_end) {
            self.probed = false;
            if self.phase == Phase::Open {
                self.congestion.on_loss(self.flight());
                self.undo.armed = false;
                self.congestion.set_cwnd(self.congestion.ssthresh());
            }
        }
    }

    /// What was in flight, for a reduction: the window if it was in the way, otherwise the most of this round trip. A
    /// connection that sends little is taken to have sent a first window: it may always send that (RFC 7661, 4.4 in
    /// place of RFC 5681's `FlightSize`).
    pub(super) fn flight(&self) -> u32 {
        let cwnd = self.congestion.cwnd();
        if self.limited { cwnd } else { self.usage.max(self.outstanding()).max(self.congestion.initial()).min(cwnd) }
    }

    /// What the acknowledgement means for the repair that is going on.
    fn pass_phase(&mut self, echoed: Option<Instant>, advanced: bool, delivery: &Delivery, acked: &mut Acked) {
        let over = self.una().at_or_after(self.recover);
        match self.phase {
            Phase::Open => {
                if self.undo.armed && acked.dsack && self.is_proven_needless() {
                    self.undo_reduction(acked);
                } else if self.undo.armed && advanced && self.una().at_or_after(self.undo.until) {
                    self.undo.armed = false;
                }
            }
            Phase::Reduction if over => {
                self.congestion.set_cwnd(self.congestion.ssthresh());
                self.open();
            }
            Phase::Reduction => {}
            Phase::Recovery => {
                let delayed = advanced && self.original_answered(echoed);
                if self.undo.armed
                    && ((acked.dsack && self.is_proven_needless()) || (delayed && (over || self.ring.resent() == 0)))
                {
                    self.undo_reduction(acked);
                } else if over {
                    self.congestion.set_cwnd(self.congestion.ssthresh());
                    self.rack.recovered();
                    self.open();
                }
            }
            Phase::Loss => self.pass_loss(echoed, advanced, delivery, acked),
        }
    }

    /// After a timeout (RFC 5682, 2.1 and 3.1).
    fn pass_loss(&mut self, echoed: Option<Instant>, advanced: bool, delivery: &Delivery, acked: &mut Acked) {
        let over = self.una().at_or_after(self.recover);
        let needless = self.undo.armed
            && ((advanced && self.original_answered(echoed)) || (acked.dsack && self.is_proven_needless()));
        // Without SACK, what a retransmission filled up to cannot be told from what had arrived before.
        let original = delivery.original && (self.agreed.sack || !delivery.resent);
        let asked = (self.frto == Frto::Probing || (self.frto == Frto::Waiting && advanced)) && self.undo.armed;
        if needless || (asked && original) {
            self.undo_reduction(acked);
            return;
        }
        match self.frto {
            Frto::Probing if delivery.sacked > 0 || acked.duplicate => self.frto = Frto::Off,
            Frto::Waiting if advanced && !over => {
                self.frto = Frto::Probing;
                self.recover = self.nxt();
            }
            Frto::Waiting if acked.duplicate || delivery.sacked > 0 => self.frto = Frto::Off,
            _ => {}
        }
        if over {
            self.rack.recovered();
            self.open();
        }
    }

    /// A repair is over.
    fn open(&mut self) {
        self.hold = !self.agreed.sack && self.una() == self.recover;
        self.phase = Phase::Open;
        self.frto = Frto::Off;
        self.presumed = 0;
        self.duplicates = 0;
        self.undo.until = self.nxt();
        // A receiver that says so may still tell that all of it was needless.
        self.undo.armed = self.undo.armed && self.undo.resent && self.agreed.sack && !self.ring.is_empty();
    }

    /// The last reduction was needless: as before it.
    fn undo_reduction(&mut self, acked: &mut Acked) {
        acked.spurious = true;
        if !self.undo.timed_out {
            self.rack.reordered();
        }
        self.congestion.undo();
        self.rtt.forgive();
        self.unmark_lost();
        self.undo.armed = false;
        self.rack.recovered();
        self.open();
    }

    /// Whether the receiver has said of all that was resent that it had it already (RFC 3708).
    fn is_proven_needless(&self) -> bool {
        self.undo.resent && self.undo.unproven == 0
    }

    /// Whether the left edge was moved by what was sent first and not by its retransmission (RFC 4015, 3522).
    fn original_answered(&self, echoed: Option<Instant>) -> bool {
        !self.undo.resent || echoed.is_some_and(|at| at <= self.undo.first)
    }

    /// Without SACK: the oldest segment is lost after three duplicates, and again whenever an acknowledgement moves the
    /// left edge only a part of the way (RFC 6582, 3.2).
    fn detect_by_duplicates(&mut self, advanced: bool) -> u32 {
        let lost = match self.phase {
            Phase::Open | Phase::Reduction => self.duplicates >= DUP_THRESHOLD && !self.hold,
            Phase::Recovery => advanced,
            Phase::Loss => false,
        };
        let Some(head) = self.ring.front().filter(|head| lost && !head.has(LOST)) else { return 0 };
        let len = head.len();
        self.ring.set(0, LOST, 0);
        len
    }

    /// Begins a fast recovery unless a repair is going on; returns whether it did. `delivered`: bytes that have just
    /// arrived.
    pub(super) fn enter_recovery(&mut self, delivered: u32) -> bool {
        match self.phase {
            Phase::Open => {
                self.congestion.on_loss(self.flight());
                self.arm_undo(false);
                self.begin_prr(delivered);
            }
            // The window falls already.
            Phase::Reduction => {}
            Phase::Recovery | Phase::Loss => return false,
        }
        self.phase = Phase::Recovery;
        self.recover = self.nxt();
        self.probe = false;
        true
    }

    /// The network asks for less (RFC 3168, 6.1.2).
    fn begin_reduction(&mut self, delivered: u32) {
        self.congestion.on_loss(self.flight());
        self.undo.armed = false;
        self.begin_prr(delivered);
        self.phase = Phase::Reduction;
        self.recover = self.nxt();
    }

    fn begin_prr(&mut self, delivered: u32) {
        let arrived = self.ring.sacked() + self.presumed;
        self.prr = Prr::new(self.outstanding().saturating_sub(arrived).saturating_add(delivered));
    }

    /// From here on it is written down what would have to be undone.
    pub(super) fn arm_undo(&mut self, timed_out: bool) {
        let (una, nxt) = (self.una(), self.nxt());
        self.undo =
            Undo { armed: true, resent: false, timed_out, unproven: 0, first: Instant::ZERO, from: una, until: nxt };
    }

    /// The window while it falls.
    pub(super) fn reduce(&mut self, delivered: u32, safe: bool) {
        let mss = u32::from(self.agreed.mss);
        let window = self.prr.window(delivered, self.in_flight(), self.congestion.ssthresh(), mss, safe);
        self.congestion.set_cwnd(window);
    }

    /// The window while nothing is wrong, and after a timeout.
    #[inline]
    fn grow(&mut self, now: Instant, delivered: u32, rtt: Option<u64>) {
        let timed_out = self.phase == Phase::Loss;
        let in_use = self.congestion.in_slow_start() && self.congestion.cwnd() / 2 < self.usage;
        if !(self.limited || in_use || timed_out) {
            // RFC 7661: what is not used does not grow.
            self.congestion.pause(now);
            return;
        }
        let limit = match (timed_out, self.agreed.sack) {
            (true, false) => Growth::Segments(1),
            (true, true) => Growth::Segments(2),
            _ if self.pacing => Growth::Paced,
            _ => Growth::Usual,
        };
        let sample = Sample { now, delivered, rtt, srtt: self.rtt.srtt(), una: self.una(), nxt: self.nxt(), limit };
        self.congestion.on_ack(&sample);
        self.set_pace();
    }
}

/// Whether the first block tells of something that arrived twice (RFC 2883, 4): it lies below the acknowledgement, or
/// within the second block.
fn is_dsack(ack: &Ack<'_>, left: Seq, right: Seq) -> bool {
    left.before(ack.ack)
        || ack.sacks.get(1).is_some_and(|second| second.0.at_or_before(left) && right.at_or_before(second.1))
}
