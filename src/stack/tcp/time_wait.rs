//! TIME-WAIT: what is left of a connection that this side closed first, for two segment lifetimes (RFC 9293, 3.6.1).
//!
//! A record of one cache line instead of a connection. It acknowledges the peer's last segment again should that be
//! repeated, keeps old duplicates from a new connection between the same ends, and decides when such a one may begin
//! early. All wait equally long, so they wait in line; when there are too many, the first makes room.
//!
//! The engine keeps the records and the flow table in step: what is inserted, removed or has expired here is entered and
//! taken out there.

use super::queues::Queues;
use super::seq::Seq;
use super::table::{Flow, FlowKey};
use crate::stack::Instant;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What is left of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Both ends.
    pub(crate) key: FlowKey,
    /// What comes after the peer's last byte, its FIN included.
    pub(crate) rcv_nxt: Seq,
    /// What comes after ours.
    pub(crate) snd_nxt: Seq,
    /// The peer's last timestamp.
    pub(crate) ts_recent: u32,
    /// What is added to our timestamps.
    pub(crate) ts_offset: u32,
    /// The window last announced, as it is on the wire.
    pub(crate) window: u16,
    /// Whether timestamps were in use.
    pub(crate) timestamps: bool,
}

const _: () = assert!(size_of::<Record>() <= 64);

/// A segment for a record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// Sequence number.
    pub(crate) seq: Seq,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// SYN.
    pub(crate) syn: bool,
    /// ACK.
    pub(crate) ack: bool,
    /// FIN.
    pub(crate) fin: bool,
    /// RST.
    pub(crate) rst: bool,
    /// The sender's timestamp, if there is one and timestamps are in use here.
    pub(crate) ts: Option<u32>,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing.
    Ignore,
    /// Acknowledge it: the peer has not seen our acknowledgement of its FIN.
    Ack,
    /// Acknowledge it within the budget of challenge acknowledgements: nothing that a peer in its right mind sends.
    Challenge,
    /// A new connection may begin: remove the record and treat the SYN as one to a listener. If it is accepted, our
    /// initial sequence number is `least` or comes after it.
    Reuse {
        /// Beyond everything that the old connection may have sent.
        least: Seq,
    },
}

/// The TIME-WAIT records.
pub(crate) struct TimeWait {
    records: Queues<Record, 1>,
    lifetime: Duration,
    limit: usize,
}

impl TimeWait {
    /// For at most `limit` records at a time, but one at least, each for `lifetime`.
    pub(crate) fn new(lifetime: Duration, limit: usize) -> Self {
        Self { records: Queues::new(), lifetime, limit: limit.clamp(1, Flow::MAX_INDEX as usize) }
    }

    /// Takes a record in. If there are too many, the oldest goes, and comes back with its index.
    pub(crate) fn insert(&mut self, now: Instant, record: Record) -> (u32, Option<(u32, Record)>) {
        let oldest = self.records.front(0).filter(|_| self.records.len() >= self.limit);
        let evicted = oldest.and_then(|(index, _)| Some((index, self.records.remove(index)?)));
        (self.records.push(0, now, record), evicted)
    }

    /// The record at this place.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Record> {
        self.records.get(index)
    }

    /// Takes a record out.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Record> {
        self.records.remove(index)
    }

    /// Decides about a segment, and takes note of it.
    pub(crate) fn arrival(&mut self, now: Instant, index: u32, segment: &Arrival) -> Answer {
        let Some(record) = self.records.get_mut(index) else { return Answer::Ignore };
        // A reset from the past would end the wait early (RFC 1337, 3: ignore it).
        if segment.rst {
            return Answer::Ignore;
        }
        if segment.syn && !segment.ack {
            return if !segment.fin && may_reuse(record, segment) {
                Answer::Reuse { least: record.snd_nxt + 65_537 }
            } else {
                Answer::Ignore
            };
        }
        // In these states nothing is looked at without an acknowledgement (RFC 9293, 3.10.7.4, fifth).
        if !segment.ack {
            return Answer::Ignore;
        }
        if record.timestamps {
            match segment.ts {
                Some(ts) if Seq(ts).before(Seq(record.ts_recent)) => return Answer::Challenge, // RFC 7323, 5.3, R1
                Some(_) => {}
                None => return Answer::Ignore, // RFC 7323, 3.2
            }
        }
        let end = segment.seq + segment.len + u32::from(segment.fin);
        if segment.fin && end == record.rcv_nxt && !segment.syn {
            // The only thing that a peer repeats: it starts the wait anew (RFC 9293, 3.10.7.4, eighth).
            record.ts_recent = segment.ts.unwrap_or(record.ts_recent);
            self.records.requeue(index, 0, now);
            return Answer::Ack;
        }
        if segment.seq == record.rcv_nxt && end == segment.seq && !segment.syn {
            record.ts_recent = segment.ts.unwrap_or(record.ts_recent);
            return Answer::Ignore;
        }
        Answer::Challenge
    }

    /// Takes out one record that has waited long enough: to be called until there is none.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<(u32, Record)> {
        let (index, since) = self.records.front(0)?;
        if since + self.lifetime > now {
            return None;
        }
        Some((index, self.records.remove(index)?))
    }

    /// When [`expired`](Self::expired) must be called next.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.records.front(0).map(|(_, since)| since + self.lifetime)
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of heap that it holds.
    pub(crate) fn footprint(&self) -> usize {
        self.records.footprint()
    }
}

/// Whether a SYN is certainly none of the old connection's, so that a new one may begin (RFC 6191, 2).
fn may_reuse(record: &Record, syn: &Arrival) -> bool {
    let later = syn.seq.at_or_after(record.rcv_nxt);
    match (record.timestamps, syn.ts) {
        (true, Some(ts)) => Seq(ts).after(Seq(record.ts_recent)) || ts == record.ts_recent && later,
        (false, Some(_)) => true,
        (_, None) => later,
    }
}
