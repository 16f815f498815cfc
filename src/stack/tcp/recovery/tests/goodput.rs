//! Whole transfers over a simulated path.

use std::time::Duration;

use super::path::{Path, Simulation};
use crate::stack::config::CongestionControl;

const WAYS: [CongestionControl; 2] = [CongestionControl::NewReno, CongestionControl::Cubic];

fn lines() -> [Path; 2] {
    [Path::new(500_000_000, Duration::from_millis(1)), Path::new(100_000_000, Duration::from_millis(20))]
}

/// Runs for long enough that chance evens out; returns goodput and mean round-trip time.
fn long(path: &Path, seconds: u64) -> (f64, Duration) {
    let mut simulation = Simulation::new(path.clone());
    let outcome = simulation.run(1 << 40, Duration::from_secs(seconds));
    let goodput = outcome.goodput();
    println!(
        "{:?}, {} Mbit/s, {:?}, loss {} %: {:.2} % of the line, {:.1} % of Mathis; round trip {:?}, {} timeouts, {} probes",
        path.congestion,
        path.rate / 1_000_000,
        path.rtt,
        path.loss * 100.0,
        goodput / path.line() * 100.0,
        goodput / path.mathis(path.rtt) * 100.0,
        outcome.rtt,
        outcome.timeouts,
        outcome.probes
    );
    (goodput, outcome.rtt)
}

/// Mathis' bound speaks of the round trip that there is. That of the empty path is held to as well, except where it
/// asks Reno for more than a sawtooth can give: at 0.1 % and 1 ms the bound is nine tenths of the line, so that half of
/// each tooth lies above it, in the queue, where it only makes the round trip longer.
#[test]
fn random_loss_leaves_what_mathis_allows() {
    for line in lines() {
        for congestion in WAYS {
            for loss in [0.001, 0.01, 0.05] {
                let path = Path { congestion, loss, ..line.clone() };
                let short = line.rtt < Duration::from_millis(10);
                let (got, rtt) = long(&path, if short { 10 } else { 60 });
                let exempt = short && loss == 0.001 && congestion == CongestionControl::NewReno;
                let bound = path.mathis(if exempt { rtt } else { path.rtt });
                assert!(got >= 0.95 * bound, "{path:?}: {:.1} %", got / bound * 100.0);
            }
        }
    }
}

#[test]
fn without_loss_the_line_is_full() {
    for line in lines() {
        for congestion in WAYS {
            for pacing in [false, true] {
                for delayed_ack in [None, Some(Duration::from_millis(40))] {
                    let path = Path { congestion, pacing, delayed_ack, ..line.clone() };
                    let (got, _) = long(&path, 2);
                    assert!(got >= 0.95 * path.line(), "{path:?}: {:.1} %", got / path.line() * 100.0);
                }
            }
        }
    }
}
