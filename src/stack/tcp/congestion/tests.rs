//! Tests of congestion control, in segments and round trips.

use std::time::Duration;

use super::{Congestion, Growth, MAX_WINDOW, Sample};
use crate::stack::config::CongestionControl;
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

const MSS: u32 = 1000;

/// A connection that sends as much as it may.
struct Flow {
    congestion: Congestion,
    now: Instant,
    rtt: Duration,
    una: Seq,
    limited: bool,
    limit: Growth,
}

impl Flow {
    fn new(which: CongestionControl) -> Self {
        Self {
            congestion: Congestion::new(which, MSS, 10, Seq(0)),
            now: Instant::from_millis(1),
            rtt: Duration::from_millis(100),
            una: Seq(0),
            limited: true,
            limit: Growth::Usual,
        }
    }

    /// One round trip: a window is acknowledged, by that many segments at a time.
    fn round(&mut self, stretch: u32) {
        let window = self.congestion.cwnd();
        let nxt = self.una + window;
        let acks = window.div_ceil(stretch * MSS).max(1);
        for n in 0..acks {
            self.now += self.rtt / acks;
            let delivered = (window - n * stretch * MSS).min(stretch * MSS);
            self.una += delivered;
            if !self.limited {
                self.congestion.pause(self.now);
                continue;
            }
            self.congestion.on_ack(&Sample {
                now: self.now,
                delivered,
                rtt: Some(self.rtt.as_nanos() as u64),
                srtt: self.rtt.as_nanos() as u64,
                una: self.una,
                nxt: nxt + n * stretch * MSS,
                limit: self.limit,
            });
        }
    }

    fn cwnd(&self) -> f64 {
        f64::from(self.congestion.cwnd()) / f64::from(MSS)
    }

    /// A loss, repaired.
    fn lose(&mut self) {
        self.congestion.on_loss(self.congestion.cwnd());
        self.congestion.set_cwnd(self.congestion.ssthresh());
    }

    /// With a window of that many segments, out of slow start.
    fn at(which: CongestionControl, segments: u32) -> Self {
        let mut flow = Self::new(which);
        flow.congestion.set_cwnd(segments * MSS);
        flow.lose();
        flow
    }
}

const BOTH: [CongestionControl; 2] = [CongestionControl::NewReno, CongestionControl::Cubic];

#[test]
fn slow_start_doubles() {
    for which in BOTH {
        for stretch in [1, 2, 8] {
            let mut flow = Flow::new(which);
            for expected in [20.0, 40.0, 80.0, 160.0] {
                flow.round(stretch);
                assert_eq!(flow.cwnd(), expected);
            }
        }
        // RFC 9406, 4.2; RFC 3465, 2.3.
        for (limit, expected) in [(Growth::Usual, 18.0), (Growth::Segments(1), 11.0), (Growth::Paced, 20.0)] {
            let mut flow = Flow { limit, ..Flow::new(which) };
            flow.round(100);
            assert_eq!(flow.cwnd(), expected);
        }
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    for which in BOTH {
        let mut flow = Flow { limited: false, ..Flow::at(which, 40) };
        let before = flow.cwnd();
        (0..100).for_each(|_| flow.round(1));
        assert_eq!(flow.cwnd(), before);
        // Nor does it jump once it is used: that time has not counted (RFC 9438, 5.8).
        flow.limited = true;
        flow.round(1);
        assert!(flow.cwnd() < before + 1.5, "{which:?}: {} after {before}", flow.cwnd());
    }
}

#[test]
fn reno_grows_by_a_segment_per_round_trip_and_halves() {
    for stretch in [1, 2, 5] {
        let mut flow = Flow::at(CongestionControl::NewReno, 40);
        assert_eq!(flow.cwnd(), 20.0);
        for round in 1..=10 {
            flow.round(stretch);
            assert!((flow.cwnd() - 20.0 - f64::from(round)).abs() < 0.3, "{round}: {}", flow.cwnd());
        }
    }
    assert_eq!(Flow::at(CongestionControl::NewReno, 3).cwnd(), 2.0, "two segments at least");
}

#[test]
fn cubic_comes_back_to_where_it_lost() {
    // RFC 9438, 4.2: K = cbrt(W_max · 0.3 / 0.4); at 1000 segments that is 9.09 s.
    let mut flow = Flow::at(CongestionControl::Cubic, 1000);
    assert_eq!(flow.cwnd(), 700.0);
    let k = (1000.0_f64 * 0.3 / 0.4).cbrt();
    let mut at = Vec::new();
    for _ in 0..150 {
        flow.round(2);
        at.push(flow.cwnd());
    }
    for (round, cwnd) in at.iter().enumerate().skip(1) {
        let t = (round as f64 + 1.0) * 0.1;
        let curve = 0.4 * (t - k).powi(3) + 1000.0;
        assert!((cwnd - curve).abs() < 0.02 * curve, "at {t:.1} s: {cwnd} instead of {curve:.0}");
    }
}

#[test]
fn cubic_is_no_slower_than_reno_on_short_paths() {
    // RFC 9438, 4.3: alpha = 0.53 segments per round trip up to where it lost, then one.
    let mut flow = Flow { rtt: Duration::from_millis(2), ..Flow::at(CongestionControl::Cubic, 20) };
    assert_eq!(flow.cwnd(), 14.0);
    (0..10).for_each(|_| flow.round(1));
    assert!((flow.cwnd() - 14.0 - 5.29).abs() < 0.4, "{}", flow.cwnd());
    (0..12).for_each(|_| flow.round(1));
    let grown = flow.cwnd();
    assert!(grown > 29.0 - 1.5 && grown < 31.0, "{grown}");
}

#[test]
fn cubic_leaves_room_to_others() {
    // RFC 9438, 4.7: a flow that loses before it was where it lost before aims lower.
    let mut flow = Flow::at(CongestionControl::Cubic, 1000);
    flow.lose();
    assert_eq!(flow.cwnd().round(), 490.0);
    // K from W_max = 700 · 0.85.
    let k = ((595.0_f64 - 490.0) / 0.4).cbrt();
    (0..(k * 10.0) as u32).for_each(|_| flow.round(1));
    assert!((flow.cwnd() - 595.0).abs() < 6.0, "{}", flow.cwnd());
}

#[test]
fn a_needless_reduction_is_taken_back() {
    for which in BOTH {
        let mut flow = Flow::at(which, 1000);
        (0..50).for_each(|_| flow.round(1));
        let mut spared = Flow { congestion: flow.congestion.clone(), ..flow };
        let (cwnd, ssthresh) = (flow.congestion.cwnd(), flow.congestion.ssthresh());
        flow.congestion.on_timeout(Some(cwnd));
        flow.congestion.set_cwnd(MSS);
        flow.congestion.undo();
        assert_eq!((flow.congestion.cwnd(), flow.congestion.ssthresh()), (cwnd, ssthresh));
        (0..20).for_each(|_| (flow.round(1), spared.round(1)).0);
        assert!((flow.cwnd() - spared.cwnd()).abs() <= 0.01 * spared.cwnd(), "{which:?}: the growth goes on");
        let before = flow.congestion.cwnd();
        flow.congestion.undo();
        assert_eq!(flow.congestion.cwnd(), before, "once");
    }
}

#[test]
fn after_a_timeout_cubic_begins_at_its_plateau() {
    // RFC 9438, 4.8: K = 0.
    let mut flow = Flow::at(CongestionControl::Cubic, 1000);
    flow.congestion.on_timeout(Some(1000 * MSS));
    flow.congestion.set_cwnd(flow.congestion.ssthresh());
    let begin = flow.cwnd();
    flow.round(1);
    flow.round(1);
    assert!(flow.cwnd() < begin + 3.0, "{} after {begin}", flow.cwnd());
}

#[test]
fn slow_start_ends_when_a_queue_builds_up() {
    // RFC 9406: an eighth more than the round before; five conservative rounds; congestion avoidance.
    for which in BOTH {
        let mut flow = Flow::new(which);
        (0..3).for_each(|_| flow.round(1));
        let before = flow.cwnd();
        flow.rtt = Duration::from_millis(115);
        flow.round(1);
        let slower = flow.cwnd() / before;
        assert!(slower < 1.5, "a quarter of the growth after eight samples, not {slower}");
        (0..5).for_each(|_| flow.round(1));
        assert!(!flow.congestion.in_slow_start());
        assert!(flow.cwnd() < before * 5.0);
        // Less than an eighth is noise; and what passes away is forgotten.
        let mut noisy = Flow::new(which);
        for rtt in [100, 105, 110, 100, 108] {
            noisy.rtt = Duration::from_millis(rtt);
            noisy.round(1);
        }
        assert_eq!(noisy.cwnd(), 320.0);
        let mut passing = Flow::new(which);
        for rtt in [100, 100, 120, 100, 100, 100, 100, 100, 100] {
            passing.rtt = Duration::from_millis(rtt);
            passing.round(1);
        }
        assert!(passing.congestion.in_slow_start() && passing.cwnd() > 1_000.0, "{}", passing.cwnd());
    }
}

#[test]
fn idling_costs_the_window_but_not_what_was_learned() {
    // RFC 5681, 4.1, with RFC 2861's halving: never below the first window, nor above what it was.
    for (idle, expected) in [(1, 50.0), (2, 25.0), (3, 12.5), (4, 10.0), (1_000_000, 10.0)] {
        let mut flow = Flow::at(CongestionControl::NewReno, 200);
        assert_eq!(flow.cwnd(), 100.0);
        flow.congestion.on_idle(idle * 300, 300);
        assert_eq!((flow.cwnd(), flow.congestion.ssthresh()), (expected, 100 * MSS));
    }
    let mut small = Flow::at(CongestionControl::NewReno, 8);
    small.congestion.on_idle(900, 300);
    assert_eq!(small.cwnd(), 4.0);
}

#[test]
fn the_window_stays_within_bounds() {
    for which in BOTH {
        let mut flow = Flow { limit: Growth::Paced, ..Flow::new(which) };
        for _ in 0..200 {
            flow.congestion.on_ack(&Sample {
                now: flow.now,
                delivered: u32::MAX / 2,
                rtt: Some(u64::MAX),
                srtt: u64::MAX / 4,
                una: flow.una,
                nxt: flow.una + 1,
                limit: Growth::Paced,
            });
            flow.now += Duration::from_secs(1_000_000);
        }
        assert_eq!(flow.congestion.cwnd(), MAX_WINDOW);
        flow.congestion.on_loss(0);
        assert_eq!(flow.congestion.ssthresh(), 2 * MSS);
        flow.congestion.set_cwnd(0);
        assert_eq!(flow.congestion.cwnd(), MSS);
        flow.congestion.set_mss(3 * MSS);
        assert_eq!((flow.congestion.cwnd(), flow.congestion.ssthresh()), (3 * MSS, 6 * MSS));
    }
}

#[test]
fn the_pacing_rate_is_above_the_window_rate() {
    let mut flow = Flow::new(CongestionControl::Cubic);
    // Ten segments in a tenth of a second, twice that in slow start, a fifth more after it.
    assert_eq!(flow.congestion.pacing_rate(100_000_000, 0), 200_000);
    flow.congestion.ssthresh = 10 * MSS;
    assert_eq!(flow.congestion.pacing_rate(100_000_000, 0), 120_000);
    assert_eq!(flow.congestion.pacing_rate(0, 0), 0, "not before a round trip is known");
}
