use super::*;
use crate::stack::random::Random;
use std::collections::BTreeSet;
use std::time::Duration;

const HOUR: u64 = 3_600_000_000_000;

/// What a wheel promises, kept by a sorted set.
struct Oracle {
    tick: Tick,
    timers: BTreeSet<(Instant, u32)>,
    of: Vec<Option<Instant>>,
}

impl Oracle {
    fn schedule(&mut self, index: u32, at: Instant) {
        self.cancel(index);
        self.of[index as usize] = Some(at);
        self.timers.insert((at, index));
    }

    fn cancel(&mut self, index: u32) -> bool {
        let old = self.of[index as usize].take();
        old.is_some_and(|at| self.timers.remove(&(at, index)))
    }

    /// A timer has gone off at `now`: was it its time?
    fn gone_off(&mut self, now: Instant, index: u32) {
        let at = self.of[index as usize].expect("a timer that is not set went off");
        assert!(at <= now, "timer {index} of {at} went off at {now}");
        self.cancel(index);
    }

    /// `pop(now)` has found nothing: is there nothing that is a tick late?
    fn nothing_left(&self, now: Instant) {
        if let Some((at, index)) = self.timers.first() {
            let late = Instant::from_nanos(at.as_nanos().div_ceil(self.tick.nanos()).saturating_mul(self.tick.nanos()));
            assert!(late > now, "timer {index} of {at} did not go off at {now}");
        }
    }
}

/// Random timers against the oracle: `spread` and `pace` are the powers of two of nanoseconds by which timers lie ahead
/// and time goes on.
fn run(tick: Tick, seed: u64, steps: u32, spread: u32, pace: u32) {
    const TIMERS: u64 = 300;
    let mut random = Random(seed);
    let mut wheel = Wheel::new(tick);
    let mut oracle = Oracle { tick, timers: BTreeSet::new(), of: vec![None; TIMERS as usize] };
    let mut now = Instant::from_nanos(random.next() >> (random.below(64) as u32));
    for _ in 0..steps {
        let index = random.below(TIMERS) as u32;
        match random.below(10) {
            0..5 => {
                // Of all magnitudes, now and then in the past or at the end of time.
                let ahead = random.next() >> (63 - random.below(u64::from(spread)) as u32);
                let at = match random.below(50) {
                    0 => now - Duration::from_nanos(ahead),
                    1 => Instant::from_nanos(u64::MAX),
                    _ => now + Duration::from_nanos(ahead),
                };
                let at = at.min(Instant::from_nanos(u64::MAX / tick.nanos() * tick.nanos() - random.below(2)));
                wheel.schedule(index, at);
                oracle.schedule(index, at);
                assert!(wheel.at(index).unwrap() >= at);
            }
            5 => assert_eq!(wheel.cancel(index), oracle.cancel(index)),
            step => {
                // Sleeps until it is asked for, or a while, or not at all.
                now = match (step, wheel.next()) {
                    (6..8, Some(next)) => now.max(next),
                    (8, _) => now,
                    _ => now + Duration::from_nanos(random.next() >> (63 - random.below(u64::from(pace)) as u32)),
                };
                while let Some(index) = wheel.pop(now) {
                    oracle.gone_off(now, index);
                }
                oracle.nothing_left(now);
                assert!(wheel.next().is_none_or(|next| next > now), "it would spin");
            }
        }
        assert_eq!(wheel.is_scheduled(index), oracle.of[index as usize].is_some());
        assert_eq!((wheel.len(), wheel.next().is_some()), (oracle.timers.len(), !oracle.timers.is_empty()));
        // Who sleeps until `next` sleeps past nothing.
        if let (Some(next), Some((first, _))) = (wheel.next(), oracle.timers.first()) {
            let tick = first.as_nanos().div_ceil(tick.nanos()).saturating_mul(tick.nanos());
            assert!(next <= Instant::from_nanos(tick).max(now + Duration::from_nanos(wheel.tick.nanos())));
        }
    }
}

#[test]
fn a_wheel_does_what_a_sorted_set_does() {
    for seed in 0..40 {
        for (spread, pace) in [(20, 18), (30, 28), (40, 30), (50, 46), (63, 60)] {
            run(Tick::COARSE, seed, 1500, spread, pace);
            run(Tick::FINE, seed + 1000, 1500, spread, pace);
        }
    }
}

#[test]
fn a_timer_goes_off_in_its_tick_at_any_distance() {
    for tick in [Tick::COARSE, Tick::FINE] {
        for start in [0, 1, 1234 * HOUR + 1, (1 << 56) - 1] {
            for bit in 0..62 {
                let (mut wheel, start) = (Wheel::new(tick), Instant::from_nanos(start));
                assert_eq!(wheel.pop(start), None);
                let at = start + Duration::from_nanos(1 << bit);
                wheel.schedule(0, at);
                let mut wakes = 0;
                let gone_off = loop {
                    let now = wheel.next().expect("it is still set");
                    wakes += 1;
                    if wheel.pop(now) == Some(0) {
                        break now;
                    }
                };
                assert!(gone_off >= at && gone_off.nanos_since(at) < tick.nanos(), "{at} at {gone_off}");
                assert!(wakes <= WHEELS, "woken {wakes} times");
                assert_eq!((wheel.pop(gone_off), wheel.next(), wheel.len()), (None, None, 0));
            }
        }
    }
}

#[test]
fn timers_of_one_tick_go_off_in_the_order_in_which_they_were_set() {
    let mut wheel = Wheel::new(Tick::COARSE);
    let at = Instant::from_millis(5);
    for index in [5, 3, 9, 1] {
        wheel.schedule(index, at);
    }
    wheel.schedule(3, at);
    wheel.cancel(9);
    wheel.schedule(7, Instant::from_millis(2));
    assert_eq!(wheel.pop(Instant::from_millis(2)), None);
    let late = Instant::from_millis(50);
    assert_eq!(std::iter::from_fn(|| wheel.pop(late)).collect::<Vec<_>>(), [7, 5, 3, 1]);
}

#[test]
fn a_timer_may_be_set_again_and_others_cancelled_while_timers_go_off() {
    let mut wheel = Wheel::new(Tick::COARSE);
    for index in 0..100 {
        wheel.schedule(index, Instant::from_millis(10));
    }
    let now = Instant::from_millis(12);
    let mut gone_off = Vec::new();
    while let Some(index) = wheel.pop(now) {
        gone_off.push(index);
        wheel.cancel(index + 1);
        wheel.schedule(index, now + Duration::from_millis(10));
    }
    assert_eq!(gone_off, (0..100).step_by(2).collect::<Vec<_>>());
    assert_eq!(wheel.len(), 50);
    assert!(wheel.next().unwrap() > now);
}

/// A machine that slept for a day: the work is that of the timers, not of the ticks.
#[test]
fn a_jump_of_time_costs_what_the_timers_cost() {
    let mut wheel = Wheel::new(Tick::FINE);
    for index in 0..1000 {
        wheel.schedule(index, Instant::from_millis(u64::from(index) * 90_000));
    }
    let begin = std::time::Instant::now();
    let far = Instant::from_nanos(1 << 62);
    assert_eq!(std::iter::from_fn(|| wheel.pop(far)).count(), 1000);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    wheel.schedule(0, far + Duration::from_secs(1));
    assert_eq!((wheel.pop(far), wheel.len()), (None, 1));
    // Time that goes back is no time.
    assert_eq!(wheel.pop(Instant::ZERO), None);
    wheel.schedule(1, Instant::ZERO);
    assert_eq!((wheel.pop(far), wheel.pop(far)), (Some(1), None));
}

#[test]
fn indices_from_anywhere_are_safe_and_memory_stays() {
    let mut wheel = Wheel::new(Tick::COARSE);
    wheel.schedule(u32::MAX, Instant::ZERO);
    wheel.schedule(1 << 30, Instant::ZERO);
    assert_eq!((wheel.len(), wheel.cancel(u32::MAX), wheel.cancel(3), wheel.at(9)), (0, false, false, None));
    wheel.schedule(999, Instant::from_millis(1));
    let before = wheel.footprint();
    for n in 0..100_000u64 {
        wheel.schedule((n % 1000) as u32, Instant::from_millis(n + n % 70_000));
        if n % 3 == 0 {
            wheel.pop(Instant::from_millis(n));
        }
    }
    assert_eq!(wheel.footprint(), before);
    assert!(before < 64 * 9 * 8 + 1024 * 16 + 1);
}
