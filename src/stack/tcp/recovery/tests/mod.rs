//! Tests of loss recovery: rules one by one, whole transfers over a simulated path, random events.

mod goodput;
mod losses;
mod nonsense;
mod path;
mod random;
mod table;
mod timeouts;
mod transfers;

use super::ring::{EVER_RESENT, LOST, RESENT, SACKED};
use super::{Phase, Recovery};

/// What holds at every moment.
fn check(sender: &Recovery) {
    let ring = &sender.ring;
    let (mut pipe, mut sacked, mut due, mut resent, mut segments) = (0, 0, 0, 0, 0);
    let mut at = ring.una();
    let mut ranges: Vec<(crate::stack::tcp::seq::Seq, crate::stack::tcp::seq::Seq)> = Vec::new();
    for index in 0..ring.len() {
        let record = ring.get(index).unwrap();
        assert_eq!(record.start, at, "a gap");
        assert!(record.end.after(record.start));
        at = record.end;
        let len = record.len();
        assert!(!(record.has(SACKED) && record.has(LOST | RESENT)));
        assert!(!record.has(RESENT) || record.has(EVER_RESENT));
        if !record.has(SACKED | LOST) {
            pipe += len;
        }
        if record.has(RESENT) {
            pipe += len;
            resent += len;
        }
        if record.has(LOST) && !record.has(RESENT) {
            due += len;
        }
        if record.has(SACKED) {
            sacked += len;
            segments += 1;
            match ranges.last_mut() {
                Some(last) if last.1 == record.start => last.1 = record.end,
                _ => ranges.push((record.start, record.end)),
            }
        }
    }
    assert_eq!(at, ring.nxt());
    assert_eq!((ring.pipe(), ring.sacked(), ring.due(), ring.resent()), (pipe, sacked, due, resent));
    assert_eq!(ring.sacked_segments(), segments);
    let known = sender.holes.as_ref().map_or(&[][..], |holes| holes.ranges());
    assert_eq!(known, ranges);
    assert!(!sender.calm || sender.is_calm());
    assert!(sender.congestion.cwnd() >= u32::from(sender.agreed.mss));
    assert!(
        sender.congestion.ssthresh() >= 2 * u32::from(sender.agreed.mss) || sender.congestion.ssthresh() == u32::MAX
    );
    assert!(ring.is_empty() || sender.deadline().is_some(), "in flight without a deadline");
    assert!(
        sender.phase != Phase::Open || ring.due() == 0 || !sender.agreed.sack,
        "losses are known and nobody repairs them"
    );
}
