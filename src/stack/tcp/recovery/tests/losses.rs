//! Losses found by RACK and by duplicates, their repair, what is undone.

use std::time::Duration;

use super::super::{Expired, Phase};
use super::table::{MSS, Setup, Table, seq, table};
use crate::stack::config::{CongestionControl, TcpConfig};
use crate::stack::tcp::recovery::holes::Holes;

/// Ten segments have been sent, a round trip ago.
fn ten(setup: Setup) -> Table {
    let mut table = setup.table();
    assert_eq!(table.send(10).len(), 10);
    table.wait(100);
    table
}

#[test]
fn three_segments_beyond_a_hole_are_a_loss() {
    // RFC 8985, 6.2: no delay then; a quarter of a round trip for fewer.
    let mut table = ten(Setup::default());
    for (blocks, lost) in [(&[(1, 2)][..], 0), (&[(1, 3)], 0), (&[(1, 4)], MSS)] {
        let acked = table.ack(0, blocks);
        assert_eq!((acked.sacked, acked.lost, acked.entered), (MSS, lost, lost > 0));
    }
    assert_eq!(table.send(0), [0]);
}

#[test]
fn fewer_are_one_when_nothing_comes_for_a_while() {
    let mut table = ten(Setup::default());
    assert_eq!(table.ack(0, &[(1, 2)]).lost, 0);
    assert_eq!(table.expire(), (25, Expired::Lost { entered: true }));
    assert_eq!(table.send(0), [0]);
    assert_eq!(table.sender.numbers().phase, Phase::Recovery);
}

#[test]
fn a_segment_that_comes_late_teaches_patience() {
    let mut table = ten(Setup::default());
    assert!(!table.sender.numbers().reordering_seen);
    table.ack(0, &[(1, 3)]);
    table.ack(3, &[]);
    assert!(table.sender.numbers().reordering_seen);
    // Now even four beyond the hole are waited with.
    assert_eq!(table.ack(3, &[(4, 8)]).lost, 0);
    assert_eq!(table.expire(), (25, Expired::Lost { entered: true }));
}

#[test]
fn needless_retransmissions_widen_the_reordering_window() {
    let mut table = ten(Setup::default());
    table.ack(0, &[(1, 3)]);
    table.ack(3, &[]);
    let mut next = 10;
    for quarters in [1, 2, 3, 4, 4] {
        // Once in a round trip, a quarter of it, and never more than a whole one.
        let una = table.sender.una().since(seq(0)) / MSS;
        assert_eq!(table.ack(una, &[(una + 1, una + 2)]).lost, 0);
        let (waited, expired) = table.expire();
        assert_eq!((waited, expired), (25 * quarters, Expired::Lost { entered: true }));
        assert_eq!(table.send(0), [una]);
        table.wait(1).ack(next, &[]);
        let acked = table.ack(next, &[(una, una + 1)]);
        assert!(acked.dsack);
        table.wait(60_000);
        next += table.send(4).len() as u32;
        table.wait(100);
    }
}

#[test]
fn a_lost_retransmission_is_found() {
    let mut table = ten(Setup::default());
    assert!(table.ack(0, &[(1, 4)]).entered);
    assert_eq!(table.send(20), [0, 10]);
    table.ack(0, &[(1, 10)]);
    let new = table.send(20);
    assert!(!new.is_empty());
    // What was sent after it arrives, a round trip later.
    let acked = table.wait(100).ack(0, &[(1, 11)]);
    assert_eq!(acked.lost, MSS);
    assert_eq!(table.send(0), [0]);
}

#[test]
fn a_single_loss_costs_a_round_trip() {
    for congestion in [CongestionControl::NewReno, CongestionControl::Cubic] {
        let mut table = ten(Setup { congestion, ..Setup::default() });
        let mut sent = Vec::new();
        for received in 2..=10 {
            table.ack(0, &[(1, received)]);
            sent.extend(table.send(20));
        }
        assert_eq!(sent.iter().filter(|segment| **segment == 0).count(), 1, "sent again once");
        let left = if congestion == CongestionControl::Cubic { 7.0 } else { 5.0 };
        assert_eq!(table.ssthresh(), left);
        // What has arrived has let that share of itself out (RFC 9937).
        let in_flight = f64::from(table.sender.in_flight()) / f64::from(MSS);
        assert!((in_flight - left).abs() <= 1.0, "{congestion:?}: {in_flight}");
        let next = 10 + sent.len() as u32 - 1;
        table.wait(100).ack(next, &[]);
        assert_eq!(table.sender.numbers().phase, Phase::Open);
        assert!((table.cwnd() - left).abs() <= 1.0, "{congestion:?}: {}", table.cwnd());
    }
}

#[test]
fn many_losses_of_one_window_reduce_it_once() {
    let mut table = ten(Setup::default());
    table.ack(0, &[(9, 10), (7, 8), (5, 6)]);
    assert_eq!(table.sender.numbers().lost, 7 * MSS);
    let mut resent = table.send(0);
    assert_eq!(table.ssthresh(), 5.0);
    let mut received: Vec<u32> = resent.clone();
    while table.sender.una() != seq(10) {
        assert!(!resent.is_empty(), "stalled");
        table.wait(100);
        received.append(&mut resent);
        let next = (0..10).find(|segment| ![5, 7, 9].contains(segment) && !received.contains(segment)).unwrap_or(10);
        table.ack(next, &[]);
        resent = table.send(0);
    }
    assert_eq!((table.ssthresh(), table.sender.numbers().timeouts), (5.0, 0));
}

#[test]
fn nonsense_in_blocks_is_ignored() {
    let mut table = ten(Setup::default());
    table.ack(2, &[]);
    // Backwards, empty, beyond what was sent, across what is acknowledged, within a segment.
    for blocks in [&[(6, 4)][..], &[(5, 5)], &[(8, 12)], &[(11, 12)], &[(3, 4_000_000)]] {
        let acked = table.ack(2, blocks);
        assert_eq!((acked.sacked, acked.lost, acked.dsack), (0, 0, false), "{blocks:?}");
    }
    assert!(table.ack(2, &[(1, 5)]).dsack, "below the acknowledgement: something came twice");
    assert_eq!(table.sender.numbers().sacked, 0);
    // Without SACK they mean nothing at all.
    let mut table = ten(Setup { sack: false, ..Setup::default() });
    assert_eq!(table.ack(0, &[(1, 4)]).sacked, 0);
}

#[test]
fn what_is_known_is_not_looked_at_again() {
    let mut holes = Holes::default();
    let mut looked = Vec::new();
    for (left, right) in [(10, 20), (10, 20), (12, 15), (30, 40), (50, 60), (15, 55), (10, 60), (5, 70), (5, 70)] {
        holes.insert(seq(left), seq(right), |from, to| {
            looked.push((from.since(seq(0)) / MSS, to.since(seq(0)) / MSS));
            Some((from, to))
        });
    }
    assert_eq!(looked, [(10, 20), (30, 40), (50, 60), (20, 30), (40, 50), (5, 10), (60, 70)]);
    assert_eq!(holes.ranges(), [(seq(5), seq(70))]);
    holes.acknowledge(seq(33));
    assert_eq!(holes.ranges(), [(seq(33), seq(70))]);
}

#[test]
fn dsacks_for_all_that_was_resent_undo_a_recovery() {
    let mut table = ten(Setup::default());
    table.ack(0, &[(1, 4)]);
    assert_eq!(table.send(0), [0]);
    table.ack(10, &[]);
    // It ends as if it had been real; then the copy arrives too (RFC 3708).
    assert!(table.cwnd() <= 6.0);
    let acked = table.wait(50).ack(10, &[(0, 1)]);
    assert!(!acked.spurious, "nothing is in flight: too late to matter");
    let mut table = ten(Setup::default());
    table.ack(0, &[(1, 4)]);
    table.send(0);
    table.ack(9, &[]);
    let acked = table.wait(50).ack(9, &[(0, 1)]);
    assert!(acked.dsack && acked.spurious);
    assert!(table.cwnd() >= 10.0);
    assert_eq!(table.sender.numbers().phase, Phase::Open);
}

#[test]
fn an_echo_of_the_original_undoes_a_recovery() {
    // RFC 4015: the hole is filled by what was sent first, so the echo is older than the retransmission.
    for (echo, spurious) in [(120, true), (20, false)] {
        let mut table = ten(Setup { timestamps: true, ..Setup::default() });
        table.ack_echo(0, &[(1, 4)], Some(100));
        assert_eq!(table.send(0), [0]);
        let acked = table.wait(20).ack_echo(4, &[], Some(echo));
        assert_eq!((acked.spurious, table.cwnd() >= 10.0), (spurious, spurious), "echo of {echo} ms");
    }
}

#[test]
fn three_duplicates_are_a_loss_without_sack() {
    let mut table = ten(Setup { sack: false, ..Setup::default() });
    // Limited transmit: one new segment for each of the first two (RFC 3042).
    for new in [10, 11] {
        assert!(table.ack(0, &[]).duplicate);
        assert_eq!(table.send(20), [new]);
    }
    assert!(table.ack(0, &[]).entered);
    assert_eq!(table.send(0), [0]);
    assert_eq!(table.ssthresh(), 5.0);
    // A partial acknowledgement: the next hole (RFC 6582, 3.2 step 3).
    table.wait(100).ack(3, &[]);
    assert_eq!(table.send(0), [3]);
    table.wait(100).ack(12, &[]);
    assert_eq!(table.sender.numbers().phase, Phase::Open);
    assert!((table.cwnd() - 5.0).abs() < 1.1, "{}", table.cwnd());
}

#[test]
fn what_is_recovered_begins_no_new_recovery() {
    // RFC 6582, 3.2 step 1: duplicates that needless retransmissions cause.
    let mut table = ten(Setup { sack: false, ..Setup::default() });
    (0..3).for_each(|_| _ = table.ack(0, &[]));
    table.send(0);
    table.wait(100).ack(10, &[]);
    assert_eq!(table.send(3), [10, 11, 12]);
    for _ in 0..5 {
        assert!(!table.ack(10, &[]).entered);
    }
    table.wait(100).ack(11, &[]);
    (0..2).for_each(|_| _ = table.ack(11, &[]));
    table.send(1);
    assert!(table.ack(11, &[]).entered, "beyond it they count again");
}

#[test]
fn data_and_windows_are_no_duplicates() {
    use super::super::Ack;
    let mut table = ten(Setup { sack: false, ..Setup::default() });
    let plain = Ack { ack: seq(0), sacks: &[], echo_rtt: None, window_changed: false, has_payload: false, ece: false };
    for ack in [Ack { window_changed: true, ..plain }, Ack { has_payload: true, ..plain }] {
        for _ in 0..5 {
            let acked = table.sender.ack(table.now, &ack);
            assert_eq!((acked.duplicate, acked.entered), (false, false));
        }
    }
}

#[test]
fn a_receiver_that_reneges_does_not_stall() {
    let mut table = ten(Setup::default());
    table.ack(0, &[(1, 10)]);
    assert_eq!(table.send(0), [0]);
    // Only that has arrived; what was said to have arrived was thrown away (RFC 2018, 8).
    table.wait(100).ack(1, &[]);
    assert_eq!(table.sender.numbers().sacked, 9 * MSS);
    let (waited, expired) = table.expire();
    assert!(waited <= 50, "half a round trip to think better of it, not {waited} ms");
    assert_eq!(expired, Expired::Timeout { count: 1 });
    assert_eq!((table.sender.numbers().sacked, table.sender.numbers().lost), (0, 9 * MSS));
    let mut next = 1;
    while next < 10 {
        let sent = table.send(0);
        assert_eq!(sent[0], next);
        next += sent.len() as u32;
        table.wait(100).ack(next, &[]);
    }
}

#[test]
fn a_smaller_mss_resends_in_pieces() {
    let mut table = table();
    table.send(4);
    let cwnd = table.cwnd();
    table.sender.set_mss(table.now, 600);
    assert_eq!(table.sender.numbers().lost, 4 * MSS);
    let mut pieces = Vec::new();
    while let super::super::Next::Resend { seq: at, len } = table.sender.next(table.now, 0, seq(100)) {
        pieces.push((at.since(seq(0)), len));
        table.sender.sent(table.now, at, len);
        super::check(&table.sender);
    }
    assert_eq!(pieces, [0, 1, 2, 3].map(|n| [(n * MSS, 600), (n * MSS + 600, 400)]).concat());
    assert_eq!(table.cwnd(), cwnd, "that is no congestion");
    table.wait(100).ack(4, &[]);
    assert_eq!((table.sender.outstanding(), table.sender.numbers().phase), (0, Phase::Open));
}

#[test]
fn small_losses_are_resent_as_one_segment() {
    use super::super::Next;
    let mut table = table();
    for n in 0..20 {
        table.sender.sent(table.now, seq(0) + n * 100, 100);
    }
    table.expire();
    let Next::Resend { len, .. } = table.sender.next(table.now, 0, seq(100)) else { panic!("no probe") };
    table.sender.sent(table.now, seq(0) + 1_900, len);
    assert_eq!(table.expire().1, Expired::Timeout { count: 1 });
    assert_eq!(table.sender.next(table.now, 0, seq(100)), Next::Resend { seq: seq(0), len: MSS });
    table.sender.sent(table.now, seq(0), MSS);
    super::check(&table.sender);
}

#[test]
fn a_window_that_shrank_stops_all_but_the_oldest() {
    let mut table = ten(Setup { sack: false, ..Setup::default() });
    table.window = 0;
    table.expire();
    assert_eq!(table.send(5), [0]);
    table.window = 2 * MSS;
    table.wait(100).ack(1, &[]);
    assert_eq!(table.send(5), [1, 2]);
}

#[test]
fn explicit_congestion_reduces_once_per_window() {
    use super::super::Ack;
    let mut table = ten(Setup::default());
    for next in 1..=10 {
        let ack =
            Ack { ack: seq(next), sacks: &[], echo_rtt: None, window_changed: false, has_payload: false, ece: true };
        table.sender.ack(table.now, &ack);
        super::check(&table.sender);
        assert_eq!(table.ssthresh(), 5.0);
        assert_eq!(table.sender.numbers().lost, 0);
        table.send(20);
    }
    assert!((table.cwnd() - 5.0).abs() < 1.1, "{}", table.cwnd());
}

#[test]
fn paced_segments_are_spread_over_the_round_trip() {
    use super::super::Next;
    let config = TcpConfig { pacing: true, initial_window: 40, ..TcpConfig::default() };
    let mut table = Setup { config, ..Setup::default() }.table();
    let (begin, mut pauses) = (table.now, Vec::new());
    let mut left = 0;
    while left < 40 {
        left += table.send(40 - left).len() as u32;
        if let Next::Paced(at) = table.sender.next(table.now, (40 - left) * MSS, seq(1000)) {
            pauses.push(at.saturating_since(table.now));
            table.now = at;
        }
    }
    // Twice the window per round trip in slow start: half a round trip for all of it, in bursts of four.
    assert_eq!(pauses.len(), 9);
    assert!(
        pauses.iter().all(|pause| (*pause).abs_diff(Duration::from_millis(5)) < Duration::from_millis(6)),
        "{pauses:?}"
    );
    let took = table.now.saturating_since(begin);
    assert!(took.abs_diff(Duration::from_millis(45)) < Duration::from_millis(6), "{took:?}");
}
