use super::{FEW, TimerId, Timers};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

fn all(timers: &mut Timers, now: Instant) -> Vec<TimerId> {
    std::iter::from_fn(|| timers.expired(now)).collect()
}

#[test]
fn a_timer_is_due_once() {
    let (mut timers, start) = (Timers::new(), Instant::now());
    let timer = timers.open();
    assert_eq!((timers.len(), timers.next_deadline()), (1, None));
    assert!(timers.set(timer, start, Some(10 * MS), None));
    assert_eq!(timers.next_deadline(), Some(start + 10 * MS));
    assert_eq!(timers.expired(start + 9 * MS), None);
    assert_eq!(all(&mut timers, start + 10 * MS), [timer]);
    assert_eq!((timers.next_deadline(), timers.len()), (None, 1), "open, but not set");
    assert!(timers.close(timer));
    assert_eq!(timers.len(), 0);
}

#[test]
fn a_repeating_timer_does_not_drift_and_does_not_catch_up() {
    let (mut timers, start) = (Timers::new(), Instant::now());
    let timer = timers.open();
    timers.set(timer, start, Some(3 * MS), Some(10 * MS));
    assert_eq!(all(&mut timers, start + 5 * MS), [timer]);
    assert_eq!(timers.next_deadline(), Some(start + 13 * MS), "not 15");
    assert_eq!(all(&mut timers, start + 47 * MS), [timer], "once for 13, 23, 33 and 43");
    assert_eq!(timers.next_deadline(), Some(start + 53 * MS));
    assert_eq!(all(&mut timers, start + 53 * MS), [timer], "just in time");
    assert_eq!(timers.next_deadline(), Some(start + 63 * MS));
}

#[test]
fn without_a_first_time_the_period_is_it() {
    let (mut timers, start) = (Timers::new(), Instant::now());
    let timer = timers.open();
    timers.set(timer, start, None, Some(7 * MS));
    assert_eq!(timers.next_deadline(), Some(start + 7 * MS));
    timers.set(timer, start, None, None);
    assert_eq!(timers.next_deadline(), None);
    timers.set(timer, start, None, Some(Duration::ZERO));
    assert_eq!(timers.next_deadline(), None);
}

/// Even one that sets itself whenever it is due, with no time at all.
#[test]
fn what_is_due_comes_to_an_end() {
    let (mut timers, now) = (Timers::new(), Instant::now());
    let timer = timers.open();
    timers.set(timer, now - MS, Some(Duration::ZERO), None);
    assert_eq!(timers.expired(now), Some(timer));
    timers.set(timer, now, Some(Duration::ZERO), Some(Duration::ZERO));
    assert_eq!(timers.expired(now), None);
    assert_eq!(all(&mut timers, now + MS), [timer]);
}

#[test]
fn equal_deadlines_are_told_in_the_order_of_setting() {
    let (mut timers, start) = (Timers::new(), Instant::now());
    let ids: Vec<_> = (0..20).map(|_| timers.open()).collect();
    ids.iter().rev().for_each(|id| assert!(timers.set(*id, start, Some(MS), None)));
    assert_eq!(all(&mut timers, start + MS), ids.iter().rev().copied().collect::<Vec<_>>());
}

#[test]
fn a_closed_timer_means_nothing() {
    let (mut timers, start) = (Timers::new(), Instant::now());
    let old = timers.open();
    timers.set(old, start, Some(MS), None);
    assert!(timers.close(old));
    assert!(!timers.close(old) && !timers.set(old, start, Some(MS), None) && !timers.is_open(old));
    assert_eq!(timers.next_deadline(), None);
    let new = timers.open();
    assert_eq!(new.index(), old.index());
    timers.set(new, start, Some(2 * MS), None);
    assert!(!timers.close(old) && timers.is_open(new));
    assert_eq!(all(&mut timers, start + MS), []);
    assert_eq!(all(&mut timers, start + 2 * MS), [new]);
}

#[test]
fn times_beyond_the_clock_never_come() {
    let (mut timers, start) = (Timers::new(), Instant::now());
    let timer = timers.open();
    timers.set(timer, start, Some(Duration::MAX), None);
    assert_eq!(timers.next_deadline(), None);
    timers.set(timer, start, Some(MS), Some(Duration::MAX));
    assert_eq!(all(&mut timers, start + MS), [timer]);
    assert_eq!(timers.next_deadline(), None);
}

/// An idle timer is set anew all the time: the heap must not remember each.
#[test]
fn old_deadlines_do_not_pile_up_and_nothing_is_allocated() {
    let (mut timers, start) = (Timers::new(), Instant::now());
    let ids: Vec<_> = (0..10).map(|_| timers.open()).collect();
    let mut round = |rounds: std::ops::Range<u32>| {
        for i in rounds {
            timers.set(ids[i as usize % 10], start, Some(MS * (1 + i % 1000)), Some(MS));
            assert!(timers.deadlines.len() <= FEW + 2 * ids.len() + 1);
            timers.expired(start + MS);
        }
    };
    round(0..10_000);
    let before = crate::counting::allocations();
    round(10_000..30_000);
    assert_eq!(crate::counting::allocations(), before);
}

#[derive(Clone, Debug)]
enum Step {
    Open,
    Close(usize),
    Set(usize, Option<u64>, Option<u64>),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let time = || prop::option::of(0..30u64);
    prop_oneof![
        1 => Just(Step::Open),
        1 => any::<usize>().prop_map(Step::Close),
        4 => (any::<usize>(), time(), time()).prop_map(|(which, first, every)| Step::Set(which, first, every)),
        3 => (0..50u64).prop_map(Step::Pass),
    ]
}

/// What a timer is, without a heap: in microseconds from the start.
#[derive(Clone, Copy)]
struct Plain {
    id: TimerId,
    deadline: Option<(u64, u64)>,
    every: Option<u64>,
}

proptest! {
    /// The timers and a list of them that is searched say the same, in the same order.
    #[test]
    fn as_a_list_that_is_searched(steps in prop::collection::vec(step(), 1..500)) {
        let start = Instant::now();
        let at = |micros: u64| start + Duration::from_micros(micros);
        let (mut timers, mut plain, mut gone, mut now, mut number) = (Timers::new(), Vec::<Plain>::new(), Vec::new(), 0, 0);
        for step in steps {
            match step {
                Step::Open => plain.push(Plain { id: timers.open(), deadline: None, every: None }),
                Step::Close(which) if !plain.is_empty() => {
                    let closed = plain.remove(which % plain.len()).id;
                    prop_assert!(timers.close(closed));
                    gone.push(closed);
                }
                Step::Set(which, first, every) if !plain.is_empty() => {
                    let which = which % plain.len();
                    let one = &mut plain[which];
                    let time = |micros: Option<u64>| micros.map(Duration::from_micros);
                    // Zero is a nanosecond, which this list cannot count.
                    let first = first.filter(|first| *first > 0);
                    prop_assert!(timers.set(one.id, at(now), time(first), time(every)));
                    one.every = every.filter(|every| *every > 0);
                    one.deadline = first.or(one.every).map(|after| (now + after, number));
                    number += 1;
                }
                Step::Pass(micros) => {
                    now += micros;
                    loop {
                        let due = plain.iter_mut().filter(|one| one.deadline.is_some_and(|(due, _)| due <= now));
                        let next = due.min_by_key(|one| one.deadline).map(|one| {
                            let mut next = one.deadline.unwrap().0;
                            one.deadline = one.every.map(|every| {
                                while next <= now {
                                    next += every;
                                }
                                (next, number)
                            });
                            number += 1;
                            one.id
                        });
                        prop_assert_eq!(timers.expired(at(now)), next);
                        if next.is_none() {
                            break;
                        }
                    }
                }
                Step::Close(_) | Step::Set(..) => {}
            }
            prop_assert_eq!(timers.len(), plain.len());
            let next = plain.iter().filter_map(|one| one.deadline).min().map(|(due, _)| at(due));
            prop_assert_eq!(timers.next_deadline(), next);
            prop_assert!(plain.iter().all(|one| timers.is_open(one.id)));
            prop_assert!(gone.iter().all(|id| !timers.is_open(*id)));
        }
    }
}
