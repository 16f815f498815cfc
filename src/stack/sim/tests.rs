//! What the simulator is for.

use super::scenario::{Scenario, Totals};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
    Some(parsed.unwrap_or_else(|| panic!("{name}={text} is no number")))
}

/// Every fault at once, one simulation per seed. `NETHUNS_SIM_SEEDS` says how many seeds (200 without), `NETHUNS_SIM_SEED`
/// runs one alone, `NETHUNS_SIM_TRACE=1` prints its packets.
#[test]
fn every_byte_arrives_once_and_in_order() {
    if let Some(seed) = number("NETHUNS_SIM_SEED") {
        println!("{:?}", Scenario::new(seed).run());
        return;
    }
    let first = number("NETHUNS_SIM_FIRST").unwrap_or(0);
    let seeds = number("NETHUNS_SIM_SEEDS").unwrap_or(200);
    let (mut failed, mut sum, mut slowest) = (Vec::new(), Totals::default(), (Duration::ZERO, 0));
    for seed in first..first + seeds {
        let begin = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| Scenario::new(seed).run())) {
            Ok(totals) => sum.add(&totals),
            Err(_) => {
                eprintln!("that was seed {seed}");
                failed.push(seed);
            }
        }
        slowest = slowest.max((begin.elapsed(), seed));
    }
    println!("{seeds} seeds; the slowest took {:?}: {}", slowest.0, slowest.1);
    sum.0.iter().for_each(|(name, count)| println!("{count:>12} {name}"));
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds fail: {:?}; to replay the first:\n\
         NETHUNS_SIM_SEED={} cargo test --no-default-features --features net --lib every_byte_arrives -- --nocapture",
        failed.len(),
        &failed[..failed.len().min(20)],
        failed[0]
    );
    if first == 0 && seeds >= 200 {
        let unseen: Vec<_> = SEEN.iter().filter(|name| sum.0.get(**name).is_none_or(|count| *count == 0)).collect();
        assert!(unseen.is_empty(), "these never happened: {unseen:?}");
    }
}

/// What must have happened at least once in the first two hundred seeds, or the simulation has lost its teeth.
const SEEN: &[&str] = &[
    "card.refused",
    "datagrams",
    "ip.loopback_packets",
    "ip.reassembled",
    "ip.reassembly_timeouts",
    "ip.rx_malformed",
    "ip.rx_bad_checksum",
    "tcp.accept_queue_full",
    "tcp.challenge_acks",
    "tcp.fast_recoveries",
    "tcp.keep_alive_probes",
    "tcp.path_mtu_reduced",
    "tcp.resets_received",
    "tcp.resets_sent",
    "tcp.retransmitted_segments",
    "tcp.rto_expired",
    "tcp.rx_bad_checksum",
    "tcp.rx_copied",
    "tcp.rx_dsacks",
    "tcp.rx_duplicates",
    "tcp.rx_out_of_order",
    "tcp.rx_outside_window",
    "tcp.spurious_recoveries",
    "tcp.syn_cookies_valid",
    "tcp.tail_loss_probes",
    "tcp.time_waits",
    "tcp.window_probes",
    "udp.rx_bad_checksum",
    "wire.overflowed",
    "wire.refused",
];

#[test]
fn a_seed_is_the_same_every_time() {
    let run = |seed| Scenario::new(seed).run();
    for seed in [3, 1 << 40] {
        assert_eq!(run(seed), run(seed));
    }
}
