//! What events cost, in instructions: `callgrind` counts them over runs of different length
//! (`RECOVERY_COST=exchange:1000`).

use std::hint::black_box;

use super::super::{Ack, Next, Recovery};
use super::table::{MSS, Setup, seq};
use crate::stack::config::CongestionControl;
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

fn plain(ack: Seq, sacks: &[(Seq, Seq)]) -> Ack<'_> {
    Ack { ack, sacks, echo_rtt: None, window_changed: false, has_payload: false, ece: false }
}

fn sender() -> Recovery {
    let mut sender = Setup { congestion: CongestionControl::Cubic, ..Setup::default() }.table().sender;
    sender.congestion.on_loss(1_400 * MSS);
    sender.congestion.set_cwnd(1_000 * MSS);
    sender
}

fn fill(sender: &mut Recovery, now: Instant, segments: u32) {
    let end = sender.una() + 1_000 * MSS;
    let mut unsent = segments * MSS;
    while let Next::New { .. } = sender.next(now, unsent, end) {
        sender.sent(now, sender.nxt(), MSS);
        unsent -= MSS;
    }
}

/// A request of one segment and its acknowledgement.
fn exchange(times: u32) {
    let mut sender = sender();
    let mut now = Instant::from_millis(1_000_000);
    for _ in 0..times {
        let Next::New { max } = black_box(sender.next(now, 64, sender.una() + MSS)) else { panic!("nothing to send") };
        sender.sent(now, sender.nxt(), max);
        black_box(sender.deadline());
        now = Instant::from_nanos(now.as_nanos() + 20_000);
        black_box(sender.ack(now, &plain(sender.nxt(), &[])));
        black_box((sender.next(now, 0, sender.una() + MSS), sender.deadline()));
    }
}

/// An acknowledgement of two segments and two segments sent, a thousand in flight.
fn bulk(times: u32) {
    let mut sender = sender();
    let mut now = Instant::from_millis(1_000_000);
    fill(&mut sender, now, 1_000);
    assert_eq!(sender.outstanding(), 1_000 * MSS);
    for _ in 0..times {
        now = Instant::from_nanos(now.as_nanos() + 20_000);
        black_box(sender.ack(now, &plain(sender.una() + 2 * MSS, &[])));
        fill(&mut sender, now, 2);
        black_box(sender.deadline());
    }
}

/// An acknowledgement that tells of one segment more behind a hole, of nine hundred.
fn sack(times: u32) {
    let mut now = Instant::from_millis(1_000_000);
    let mut sender = sender();
    fill(&mut sender, now, 1_000);
    for n in 1..=times.min(900) {
        now = Instant::from_nanos(now.as_nanos() + 20_000);
        black_box(sender.ack(now, &plain(seq(0), &[(seq(1), seq(1 + n))])));
        if let Next::Resend { seq, len } = sender.next(now, 0, seq(2_000)) {
            sender.sent(now, seq, len);
        }
    }
}

#[test]
#[ignore = "a measurement, not a test"]
fn cost() {
    println!("Recovery: {} bytes", size_of::<Recovery>());
    let Ok(what) = std::env::var("RECOVERY_COST") else { return };
    let (name, times) = what.split_once(':').unwrap();
    let times = times.parse().unwrap();
    match name {
        "exchange" => exchange(times),
        "bulk" => bulk(times),
        "sack" => sack(times),
        _ => panic!("no such measurement: {name}"),
    }
}
