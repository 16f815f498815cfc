//! Whole transfers over a simulated path.

use std::time::Duration;

use super::path::{Path, Simulation};
use crate::stack::config::CongestionControl;

const WAYS: [CongestionControl; 2] = [CongestionControl::NewReno, CongestionControl::Cubic];

fn lines() -> [Path; 2] {
    [Path::new(500_000_000, Duration::from_millis(1)), Path::new(100_000_000, Duration::from_millis(20))]
}

/// Goodput for long enough that chance evens out.
fn long(path: &Path, seconds: u64) -> f64 {
    let mut simulation = Simulation::new(path.clone());
    let outcome = simulation.run(1 << 40, Duration::from_secs(seconds));
    eprintln!(
        "{:?} {} Mbit/s {:?} loss {}: {:.2} % of the line, {:.1} % of Mathis ({:?})",
        path.congestion,
        path.rate / 1_000_000,
        path.rtt,
        path.loss,
        outcome.goodput() / path.line() * 100.0,
        outcome.goodput() / path.mathis() * 100.0,
        outcome
    );
    outcome.goodput()
}

#[test]
fn random_loss_leaves_what_mathis_allows() {
    for line in lines() {
        for congestion in WAYS {
            for loss in [0.001, 0.01, 0.05] {
                let path = Path { congestion, loss, ..line.clone() };
                let got = long(&path, if line.rtt < Duration::from_millis(10) { 20 } else { 120 });
                assert!(got >= 0.70 * path.mathis(), "{:.1} %", got / path.mathis() * 100.0);
            }
        }
    }
}

#[test]
fn without_loss_the_line_is_full() {
    for line in lines() {
        for congestion in WAYS {
            let path = Path { congestion, ..line.clone() };
            let got = long(&path, 10);
            assert!(got >= 0.95 * path.line(), "{:.1} %", got / path.line() * 100.0);
        }
    }
}
