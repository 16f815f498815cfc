//! Random events, sensible and not: whatever a peer says, nothing panics, nothing is forgotten, nothing stalls.

use std::time::Duration;

use super::super::{Ack, Agreed, Expired, Next, Recovery};
use super::random::Random;
use crate::stack::config::{CongestionControl, TcpConfig};
use crate::stack::tcp::seq::Seq;
use crate::stack::time::Instant;

/// A number near the window, or anywhere.
fn somewhere(random: &mut Random, sender: &Recovery) -> Seq {
    match random.below(8) {
        0 => Seq(random.next() as u32),
        1 => sender.una() - random.below(5_000) as u32,
        2 => sender.nxt() + random.below(5_000) as u32,
        3 => sender.una(),
        4 => sender.nxt(),
        _ => sender.una() + random.below(u64::from(sender.outstanding()) + 1) as u32,
    }
}

/// The same on the border of a segment.
fn border(random: &mut Random, sender: &Recovery) -> Seq {
    if random.chance(0.3) || sender.ring.is_empty() {
        return somewhere(random, sender);
    }
    let record = sender.ring.get(random.below(sender.ring.len() as u64) as usize).unwrap();
    if random.chance(0.5) { record.start } else { record.end }
}

fn play(seed: u64, steps: u32) {
    let mut random = Random::new(seed);
    let config = TcpConfig {
        pacing: random.chance(0.3),
        min_rto: Duration::from_millis(1 + random.below(200)),
        ..TcpConfig::default()
    };
    let congestion = if random.chance(0.5) { CongestionControl::Cubic } else { CongestionControl::NewReno };
    let agreed = Agreed {
        sack: random.chance(0.8),
        timestamps: random.chance(0.5).then_some(Duration::from_millis(1)),
        mss: 100 + random.below(1_400) as u16,
    };
    let mut sender = Recovery::new(&config, congestion, agreed, Seq(random.next() as u32));
    let mut now = Instant::from_millis(random.below(10));
    let rtt = random.chance(0.7).then(|| Duration::from_micros(random.below(100_000)));
    sender.handshake(now, rtt, random.below(3) as u32);
    for _ in 0..steps {
        match random.below(10) {
            0..=3 => {
                let unsent = random.below(60_000) as u32;
                let window_end =
                    if random.chance(0.9) { sender.una() + (1 << 20) } else { somewhere(&mut random, &sender) };
                for _ in 0..40 {
                    match sender.next(now, unsent, window_end) {
                        Next::New { max } => {
                            assert!(max > 0 && max <= unsent);
                            let len = 1 + random.below(u64::from(max.min(u32::from(sender.agreed.mss)))) as u32;
                            let len = if random.chance(0.8) { max.min(u32::from(sender.agreed.mss)) } else { len };
                            sender.sent(now, sender.nxt(), len);
                        }
                        Next::Resend { seq, len } => {
                            assert!(len > 0 && len <= u32::from(sender.agreed.mss));
                            assert!(seq.at_or_after(sender.una()) && (seq + len).at_or_before(sender.nxt()));
                            let len = if random.chance(0.9) { len } else { 1 + random.below(u64::from(len)) as u32 };
                            sender.sent(now, seq, len);
                        }
                        Next::Paced(at) => {
                            assert!(at > now);
                            break;
                        }
                        Next::Nothing => break,
                    }
                    if random.chance(0.05) {
                        break;
                    }
                }
            }
            4..=6 => {
                let mut sacks = [(Seq(0), Seq(0)); 6];
                let blocks = random.below(7) as usize;
                for block in &mut sacks[..blocks] {
                    let (one, other) = (border(&mut random, &sender), border(&mut random, &sender));
                    *block = if one.before(other) || random.chance(0.1) { (one, other) } else { (other, one) };
                }
                let number = if random.chance(0.5) { sender.una() } else { border(&mut random, &sender) };
                let (una, nxt) = (sender.una(), sender.nxt());
                let echo_rtt = random.chance(0.5).then(|| Duration::from_millis(random.below(1_000)));
                let acked = sender.ack(
                    now,
                    &Ack {
                        ack: number,
                        sacks: &sacks[..blocks],
                        echo_rtt,
                        window_changed: random.chance(0.2),
                        has_payload: random.chance(0.2),
                        ece: random.chance(0.02),
                    },
                );
                assert_eq!(sender.una(), una + acked.bytes);
                assert_eq!(sender.nxt(), nxt);
            }
            7..=8 => {
                now += match sender.deadline() {
                    Some(at) if random.chance(0.3) => at.saturating_since(now),
                    _ => Duration::from_micros(random.below(30_000)),
                };
                if sender.deadline().is_some_and(|at| at <= now) {
                    let expired = sender.expired(now);
                    assert!(!matches!(expired, Expired::Timeout { .. }) || sender.outstanding() > 0);
                    assert!(sender.deadline().is_none_or(|at| at > now), "{expired:?} left a deadline behind");
                }
            }
            _ => match random.below(20) {
                0 => sender.set_mss(now, 50 + random.below(1_500) as u16),
                1 => sender.sent(now, somewhere(&mut random, &sender), random.below(3_000) as u32),
                2 => sender.sent(now, Seq(random.next() as u32), random.below(70_000) as u32),
                // Of a deadline that has not passed, nothing comes.
                3 if sender.deadline().is_none_or(|at| at > now) => {
                    assert_eq!(sender.expired(now), Expired::Nothing);
                }
                _ => {}
            },
        }
        super::check(&sender);
        assert!(sender.deadline().is_none_or(|at| at >= now));
    }
    finish(sender, now, &mut random);
}

/// From whatever it has come to, all that was sent can still be delivered to a receiver that has nothing of it.
fn finish(mut sender: Recovery, mut now: Instant, random: &mut Random) {
    let end = sender.nxt();
    let mut received: Vec<(Seq, Seq)> = Vec::new();
    let mut steps = 0;
    while sender.una() != end {
        steps += 1;
        assert!(steps < 20_000, "{sender:?} does not come to an end");
        let window_end = sender.una() + (1 << 20);
        let mut arrived = false;
        loop {
            match sender.next(now, 0, window_end) {
                Next::Resend { seq, len } => {
                    sender.sent(now, seq, len);
                    if random.chance(0.9) {
                        received.push((seq, seq + len));
                        arrived = true;
                    }
                }
                Next::New { .. } => unreachable!("there is nothing new"),
                Next::Paced(at) => now = at,
                Next::Nothing => break,
            }
        }
        if arrived {
            let mut ack = sender.una();
            while let Some(range) = received.iter().find(|range| range.0.at_or_before(ack) && range.1.after(ack)) {
                ack = range.1;
            }
            now += Duration::from_millis(1);
            let message =
                Ack { ack, sacks: &[], echo_rtt: None, window_changed: false, has_payload: false, ece: false };
            sender.ack(now, &message);
        } else {
            now = sender.deadline().expect("in flight without a deadline").max(now);
            sender.expired(now);
        }
        super::check(&sender);
    }
}

#[test]
fn nothing_panics_and_nothing_stalls() {
    for seed in 0..1_500 {
        play(seed, 400);
    }
}
