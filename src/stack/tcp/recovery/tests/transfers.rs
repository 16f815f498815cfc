//! Whole transfers with faults of every kind: all arrives, and no later than it must.

use std::time::Duration;

use super::path::{MSS, Path, Simulation};
use super::random::Random;
use crate::stack::config::CongestionControl;

/// 100 Mbit/s, 20 ms.
fn path() -> Path {
    Path::new(100_000_000, Duration::from_millis(20))
}

/// Sends that many segments, of which those are dropped (counted as sent); returns the simulation when all is
/// acknowledged.
fn transfer(path: Path, segments: u64, dropped: &'static [u64]) -> Simulation {
    let mut simulation = Simulation::new(path);
    simulation.drop = Box::new(|number| dropped.contains(&number));
    let total = segments * u64::from(MSS);
    assert_eq!(simulation.run(total, Duration::from_secs(60)).delivered, total);
    assert_eq!(simulation.sender.outstanding(), 0);
    simulation
}

#[test]
fn a_single_loss_is_repaired_in_a_round_trip() {
    for congestion in [CongestionControl::NewReno, CongestionControl::Cubic] {
        let path = Path { congestion, ..path() };
        let smooth = transfer(path.clone(), 400, &[]).outcome.elapsed;
        for dropped in [&[11][..], &[150], &[300]] {
            let outcome = transfer(path.clone(), 400, dropped).outcome;
            assert_eq!((outcome.resent, outcome.timeouts, outcome.recoveries), (1, 0, 1), "{dropped:?}");
        }
        // Just before the end, the repair is all that it takes.
        let simulation = transfer(path.clone(), 400, &[390]);
        assert_eq!((simulation.outcome.resent, simulation.outcome.timeouts), (1, 0));
        let late = simulation.outcome.elapsed - smooth;
        assert!(late < path.rtt * 3 / 2, "{late:?} late");
    }
}

#[test]
fn a_lost_tail_is_repaired_without_a_timeout() {
    let smooth = transfer(path(), 40, &[]).outcome.elapsed;
    // A lone segment may be acknowledged late, so it is waited for longer.
    for (dropped, most) in [(&[39][..], 250), (&[38, 39], 120), (&[37, 38, 39], 120), (&[36, 37, 38, 39], 120)] {
        let simulation = transfer(path(), 40, dropped);
        assert_eq!((simulation.outcome.timeouts, simulation.outcome.probes), (0, 1), "{dropped:?}");
        let late = simulation.outcome.elapsed - smooth;
        assert!(late < Duration::from_millis(most), "{dropped:?}: {late:?} late");
    }
}

#[test]
fn a_lost_retransmission_is_repaired_without_a_timeout() {
    // The 300 segments behind it tell.
    let simulation = transfer(path(), 400, &[60]);
    let again = simulation.outcome.sent;
    assert_eq!(again, 401);
    let mut simulation = Simulation::new(path());
    let mut copies = 0;
    simulation.drop_offset = Box::new(move |offset| {
        copies += u32::from(offset == 60 * u64::from(MSS));
        offset == 60 * u64::from(MSS) && copies < 4
    });
    simulation.run(400 * u64::from(MSS), Duration::from_secs(60));
    assert_eq!((simulation.outcome.timeouts, simulation.outcome.resent), (0, 3));
}

#[test]
fn a_delay_costs_no_window() {
    // The path holds everything back for half a second, and loses nothing.
    for (sack, timestamps) in [(true, true), (true, false), (false, true), (false, false)] {
        let path = Path { sack, timestamps, queue: 10_000, window: 200 * MSS, ..path() };
        let mut simulation = Simulation::new(path);
        simulation.stall = 2_000_000_000..2_500_000_000;
        simulation.run(1 << 40, Duration::from_secs(3));
        let (numbers, outcome) = (simulation.sender.numbers(), &simulation.outcome);
        assert_eq!(
            (outcome.dropped, outcome.timeouts, outcome.spurious),
            (0, 1, 1),
            "sack {sack}, timestamps {timestamps}: {outcome:?}"
        );
        assert!(
            numbers.cwnd >= 200 * MSS && numbers.ssthresh == u32::MAX,
            "sack {sack}, timestamps {timestamps}: {numbers:?}"
        );
        assert!(outcome.resent <= 2, "{outcome:?}");
    }
}

#[test]
fn a_path_that_reorders_is_not_taken_for_one_that_loses() {
    let path = Path { reorder: 0.05, late: Duration::from_millis(4), ..path() };
    let mut simulation = Simulation::new(path.clone());
    let outcome = simulation.run(1 << 40, Duration::from_secs(20));
    let needless = outcome.resent.saturating_sub(outcome.dropped);
    assert!(needless * 100 < outcome.sent, "{outcome:?}");
    assert!(outcome.goodput() > 0.9 * path.line(), "{outcome:?}");
}

#[test]
fn everything_arrives_whatever_the_path_does() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut share = |most: u64| random.below(most) as f64 / 1_000.0;
        let path = Path {
            loss: share(150),
            ack_loss: share(300),
            reorder: share(150),
            ..Path::new(10_000_000, Duration::from_millis(10))
        };
        let path = Path {
            late: Duration::from_micros(random.below(20_000)),
            queue: 2 + random.below(60) as usize,
            seed,
            congestion: if random.chance(0.5) { CongestionControl::Cubic } else { CongestionControl::NewReno },
            sack: random.chance(0.7),
            timestamps: random.chance(0.5),
            pacing: random.chance(0.3),
            delayed_ack: random.chance(0.5).then_some(Duration::from_millis(40)),
            min_rto: Duration::from_millis(1 + random.below(200)),
            first: random.next() as u32,
            ..path
        };
        let total = 200 * u64::from(MSS) + random.below(5_000);
        let mut simulation = Simulation::new(path);
        let delivered = simulation.run(total, Duration::from_secs(3_600)).delivered;
        assert_eq!((delivered, simulation.sender.outstanding()), (total, 0), "seed {seed}: {:?}", simulation.path);
    }
}
