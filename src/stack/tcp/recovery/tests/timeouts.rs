//! Round-trip times, timeouts, probes.

use std::time::Duration;

use super::super::{Expired, Phase, initial_rto};
use super::table::{MSS, Setup, Table, table};
use crate::stack::config::TcpConfig;

fn rto(table: &Table) -> u64 {
    table.sender.rto().as_millis() as u64
}

/// Sends one segment and acknowledges it that many milliseconds later, for each of them.
fn exchange(table: &mut Table, rtts: &[u64]) {
    for rtt in rtts {
        let next = table.send(1)[0] + 1;
        let acked = table.wait(*rtt).ack(next, &[]);
        assert_eq!(acked.rtt, Some(Duration::from_millis(*rtt)));
    }
}

#[test]
fn the_timeout_follows_the_round_trip() {
    // RFC 6298, 2.1 and 5.7; then 2.2 and 2.3, with Linux' floor under the variation.
    let without = |resent| Setup { rtt: None, resent, ..Setup::default() }.table();
    assert_eq!((rto(&without(0)), rto(&without(1))), (1_000, 3_000));
    for (rtts, expected) in [
        (&[][..], 100 + 200),
        (&[100], 100 + 200),
        // SRTT = 100 + 300/8, RTTVAR = 50 + (300 - 50)/4.
        (&[400], 137 + 450),
    ] {
        let mut table = table();
        exchange(&mut table, rtts);
        assert_eq!(rto(&table), expected, "{rtts:?}");
    }
    let mut steady = table();
    exchange(&mut steady, &[100; 50]);
    assert_eq!(rto(&steady), 300);
    let config = TcpConfig { min_rto: Duration::from_millis(1), ..TcpConfig::default() };
    let mut quick = Setup { config, rtt: Some(1), ..Setup::default() }.table();
    exchange(&mut quick, &[1; 50]);
    assert_eq!(rto(&quick), 2, "down to a millisecond beyond the round trip");
}

#[test]
fn variation_wears_down_once_per_round_trip() {
    let mut table = table();
    assert_eq!(table.send(10).len(), 10);
    table.wait(300);
    let before = rto(&table);
    (1..=10).for_each(|next| {
        table.ack(next, &[]);
    });
    let after = table.sender.numbers().rtt_var;
    assert!(rto(&table) >= before, "samples of one flight are not ten of ten");
    exchange(&mut table, &[300; 20]);
    assert!(table.sender.numbers().rtt_var < after / 2);
}

#[test]
fn timeouts_back_off_until_a_sample_is_taken() {
    let config = TcpConfig { max_rto: Duration::from_secs(3), ..TcpConfig::default() };
    let mut table = Setup { sack: false, config, ..Setup::default() }.table();
    assert_eq!(table.send(1), [0]);
    for (count, wait) in [(1, 300), (2, 600), (3, 1_200), (4, 2_400), (5, 3_000), (6, 3_000)] {
        assert_eq!(table.expire(), (wait, Expired::Timeout { count }));
        assert_eq!(table.send(0), [0]);
    }
    // Karn's rule: what was sent again measures nothing, and the timeout stays (RFC 6298, 5.7).
    assert_eq!(table.wait(100).ack(1, &[]).rtt, None);
    assert_eq!((rto(&table), table.sender.numbers().timeouts), (3_000, 0));
    exchange(&mut table, &[100]);
    assert_eq!(rto(&table), 300);
    assert_eq!(table.sender.backoff(2), Duration::from_millis(1_200));
    assert_eq!(table.sender.backoff(99), Duration::from_secs(3));
}

#[test]
fn a_timestamp_measures_what_was_sent_again() {
    let mut table = Setup { timestamps: true, sack: false, ..Setup::default() }.table();
    table.send(1);
    table.expire();
    assert_eq!(table.send(0), [0]);
    assert_eq!(table.wait(120).ack_echo(1, &[], Some(120)).rtt, Some(Duration::from_millis(120)));
    assert!(rto(&table) < 400, "the doubling is over");
}

#[test]
fn syns_time_out_after_a_second_and_twice_that() {
    let config = TcpConfig::default();
    let seconds = [0, 1, 2, 6, 7, 99].map(|n| initial_rto(&config, n).as_secs());
    assert_eq!(seconds, [1, 2, 4, 64, 120, 120]);
}

#[test]
fn a_timeout_begins_again_with_one_segment() {
    let mut table = Setup { sack: false, ..Setup::default() }.table();
    assert_eq!(table.send(10).len(), 10);
    assert_eq!(table.expire(), (300, Expired::Timeout { count: 1 }));
    assert_eq!((table.cwnd(), table.ssthresh(), table.sender.in_flight()), (1.0, 5.0, 0));
    assert_eq!(table.send(5), [0]);
    // The first acknowledgement lets new data ask whether the timeout was needless (RFC 5682), unless there is none.
    table.wait(100).ack(1, &[]);
    assert_eq!(table.send(0), [1, 2]);
    table.wait(100).ack(3, &[]);
    // Two segments by one acknowledgement count for one (RFC 3465, 2.3).
    assert_eq!(table.send(0), [3, 4, 5]);
    table.wait(100).ack(10, &[]);
    assert_eq!(table.sender.numbers().phase, Phase::Open);
}

#[test]
fn a_second_timeout_leaves_ssthresh_alone() {
    let mut table = table();
    table.send(10);
    assert_eq!(table.expire().1, Expired::Probe);
    assert_eq!(table.send(0), [9]);
    assert_eq!(table.expire().1, Expired::Timeout { count: 1 });
    assert_eq!(table.send(0), [0]);
    let ssthresh = table.ssthresh();
    assert_eq!(ssthresh, 5.0);
    assert_eq!(table.expire().1, Expired::Timeout { count: 2 });
    assert_eq!(table.ssthresh(), ssthresh);
}

#[test]
fn a_delay_is_told_from_a_loss_after_a_timeout() {
    // RFC 5682, with and without SACK. The receiver has everything, only late.
    for sack in [true, false] {
        let mut table = Setup { sack, ..Setup::default() }.table();
        assert_eq!(table.send(10).len(), 10);
        while !matches!(table.expire().1, Expired::Timeout { .. }) {
            table.send(0);
        }
        assert_eq!(table.send(20), [0]);
        let first = table.ack(1, &[]);
        // What was resent has come, or the original of it.
        assert!(!first.spurious);
        assert_eq!(table.send(20), [10, 11], "new data asks");
        assert!(table.ack(2, &[]).spurious);
        assert!(table.cwnd() >= 10.0, "the window is back");
        assert_eq!(table.ssthresh(), f64::from(u32::MAX) / f64::from(MSS));
        assert_eq!(table.sender.numbers().lost, 0);
    }
}

#[test]
fn a_loss_is_told_from_a_delay_after_a_timeout() {
    for sack in [true, false] {
        let mut table = Setup { sack, ..Setup::default() }.table();
        table.send(10);
        while !matches!(table.expire().1, Expired::Timeout { .. }) {
            table.send(0);
        }
        assert_eq!(table.send(20), [0]);
        table.wait(100).ack(1, &[]);
        assert_eq!(table.send(20), [10, 11]);
        // The new data arrives, what was before it does not.
        let blocks: &[(u32, u32)] = if sack { &[(10, 11)] } else { &[] };
        assert!(!table.wait(100).ack(1, blocks).spurious);
        assert_eq!(table.send(20)[0], 1, "and so what was lost is sent again");
        assert_eq!(table.ssthresh(), 5.0);
    }
}

#[test]
fn an_echo_of_the_original_undoes_a_timeout() {
    // RFC 4015: the answer to what was sent first comes just after the timeout.
    let mut table = Setup { sack: false, timestamps: true, ..Setup::default() }.table();
    table.send(4);
    assert_eq!(table.expire().1, Expired::Timeout { count: 1 });
    assert_eq!(table.send(0), [0]);
    assert!(table.wait(10).ack_echo(1, &[], Some(310)).spurious);
    assert_eq!(table.cwnd(), 10.0);
}

#[test]
fn the_tail_is_probed() {
    // RFC 8985, 7.2: two round trips, and a little; the last segment.
    let mut table = table();
    table.send(5);
    assert_eq!(table.expire(), (202, Expired::Probe));
    assert_eq!(table.send(0), [4]);
    // The probe's answer tells of the hole, without a timeout.
    assert!(table.wait(100).ack(3, &[(4, 5)]).entered);
    assert_eq!(table.send(0), [3]);
    table.wait(100).ack(5, &[]);
    assert_eq!((table.sender.outstanding(), table.sender.numbers().timeouts), (0, 0));
}

#[test]
fn new_data_is_the_better_probe() {
    let mut table = table();
    table.send(10);
    assert_eq!(table.send(3), [], "the window is full");
    assert_eq!(table.expire(), (202, Expired::Probe));
    assert_eq!(table.send(3), [10], "one segment beyond it");
    // One at a time (RFC 8985, 7.3): then the timeout.
    assert_eq!(table.expire().1, Expired::Timeout { count: 1 });
}

#[test]
fn a_lone_segment_is_given_time_to_be_acknowledged() {
    let mut table = table();
    table.send(1);
    // 2 · 100 + 200 would be later than the timeout.
    assert_eq!(table.expire(), (300, Expired::Probe));
    assert_eq!(table.send(0), [0]);
    assert_eq!(table.expire(), (300, Expired::Timeout { count: 1 }));
}

#[test]
fn a_loss_that_only_a_probe_repaired_counts() {
    // RFC 8985, 7.4: with a DSACK the probe was needless, without one it was not.
    for needless in [true, false] {
        let mut table = table();
        assert_eq!(table.send(5).len(), 5);
        assert_eq!(table.expire().1, Expired::Probe);
        assert_eq!(table.send(0), [4]);
        table.wait(100).ack(5, &[]);
        if needless {
            assert!(table.ack(5, &[(4, 5)]).dsack);
        }
        assert_eq!(table.send(1), [5]);
        table.wait(100).ack(6, &[]);
        assert_eq!(table.cwnd(), if needless { 10.0 } else { 5.0 });
    }
}

#[test]
fn memory_is_given_back() {
    let mut table = table();
    let mut next = 0;
    for _ in 0..12 {
        let sent = table.send(1 << 12).len() as u32;
        table.wait(100);
        for next in (next..=next + sent).step_by(4) {
            table.ack(next, &[]);
        }
        next += sent;
        table.ack(next, &[]);
    }
    assert!(next > 5_000 && table.sender.heap_bytes() > 10_000);
    assert_eq!(table.expire(), (1_000, Expired::Nothing));
    assert_eq!(table.sender.deadline(), None);
    assert!(table.sender.heap_bytes() <= 8 * 24, "{}", table.sender.heap_bytes());
    // Requests and answers need no more than that.
    exchange(&mut table, &[100; 20]);
    assert!(table.sender.heap_bytes() <= 8 * 24);
    assert_eq!(table.sender.deadline(), None);
}
