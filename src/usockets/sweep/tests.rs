use super::{Entry, MOST, Wheel};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn sweep(wheel: &mut Wheel) -> Vec<u32> {
    let mut due: Vec<u32> = std::iter::from_fn(|| wheel.due()).collect();
    due.sort_unstable();
    due
}

/// How many ticks pass until a socket's time is over.
fn ticks_until_due(wheel: &mut Wheel) -> u32 {
    for ticks in 1..=300 {
        wheel.tick();
        if !sweep(wheel).is_empty() {
            return ticks;
        }
    }
    panic!("never due");
}

#[test]
fn an_entry_is_small() {
    assert_eq!(size_of::<Entry>(), 16);
}

#[test]
fn a_deadline_comes_after_its_ticks_and_once() {
    let mut wheel = Wheel::new();
    for ticks in [1, 2, 5, 238, MOST] {
        wheel.set(7, ticks);
        assert_eq!(ticks_until_due(&mut wheel), ticks);
        assert!(wheel.is_empty());
    }
    for _ in 0..500 {
        wheel.tick();
        assert_eq!(wheel.due(), None);
    }
}

/// uSockets counts modulo 240, so that 961 seconds are 4 there, and 240 minutes none.
#[test]
fn ticks_outside_the_range_are_the_nearest_inside() {
    let mut wheel = Wheel::new();
    for (asked, got) in [(0, 1), (240, MOST), (241, MOST), (u32::MAX, MOST)] {
        wheel.set(0, asked);
        assert_eq!(ticks_until_due(&mut wheel), got, "{asked}");
    }
}

#[test]
fn a_deadline_that_moves_away_moves_its_socket_only_when_the_turn_comes() {
    let mut wheel = Wheel::new();
    wheel.set(3, 10);
    let turn = wheel.entries[3].turn;
    for _ in 0..9 {
        wheel.tick();
        wheel.set(3, 10);
        assert_eq!(wheel.entries[3].turn, turn, "not relinked");
        assert_eq!(wheel.due(), None);
    }
    assert_eq!(ticks_until_due(&mut wheel), 10);
}

#[test]
fn a_deadline_that_comes_nearer_is_kept() {
    let mut wheel = Wheel::new();
    wheel.set(3, 100);
    wheel.set(3, 2);
    assert_eq!(ticks_until_due(&mut wheel), 2);
}

#[test]
fn a_deadline_set_in_a_sweep_is_not_due_in_it() {
    let mut wheel = Wheel::new();
    (0..4).for_each(|index| wheel.set(index, 1));
    wheel.tick();
    let mut swept = Vec::new();
    while let Some(index) = wheel.due() {
        swept.push(index);
        assert!(swept.len() <= 4, "endless");
        // This one, one that is due as well, and a new one.
        wheel.set(index, 1);
        wheel.set(0, 1);
        wheel.set(9, MOST);
    }
    assert!(!swept.contains(&9) && !swept.is_empty());
    wheel.tick();
    assert_eq!(sweep(&mut wheel), [0, 1, 2, 3]);
}

#[test]
fn what_is_cleared_in_a_sweep_is_not_due() {
    let mut wheel = Wheel::new();
    (0..10).for_each(|index| wheel.set(index, 1));
    wheel.tick();
    let first = wheel.due().unwrap();
    (0..10).for_each(|index| wheel.clear(index));
    assert_eq!(wheel.due(), None);
    assert!(wheel.is_empty());
    // The place of a closed socket is another's.
    wheel.set(first, 3);
    assert_eq!(ticks_until_due(&mut wheel), 3);
}

#[test]
fn what_was_not_asked_for_stays_due() {
    let mut wheel = Wheel::new();
    wheel.set(1, 1);
    wheel.set(2, 2);
    wheel.set(4, 4);
    (0..3).for_each(|_| wheel.tick());
    assert_eq!(sweep(&mut wheel), [1, 2]);
    wheel.tick();
    assert_eq!(sweep(&mut wheel), [4]);
}

#[test]
fn nothing_is_allocated_once_the_sockets_are_known() {
    let mut wheel = Wheel::new();
    wheel.set(99, 1);
    let before = crate::counting::allocations();
    for round in 0..1000 {
        (0..100).for_each(|index| wheel.set(index, 1 + (index * 7 + round) % MOST));
        wheel.tick();
        while wheel.due().is_some() {}
    }
    assert_eq!(crate::counting::allocations(), before);
}

#[derive(Clone, Debug)]
enum Step {
    Set(u32, u32),
    Clear(u32),
    /// Time moves on, and this many sockets are asked for.
    Tick(usize),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12u32, prop_oneof![0..6u32, 0..260u32]).prop_map(|(index, ticks)| Step::Set(index, ticks)),
        1 => (0..14u32).prop_map(Step::Clear),
        3 => (0..3usize).prop_map(Step::Tick),
        2 => Just(Step::Sweep),
    ]
}

proptest! {
    /// The wheel and a map of deadlines say the same.
    #[test]
    fn as_a_map_of_deadlines(steps in prop::collection::vec(step(), 1..600)) {
        let mut wheel = Wheel::new();
        let (mut now, mut deadlines) = (0, BTreeMap::<u32, u32>::new());
        for step in steps {
            match step {
                Step::Set(index, ticks) => {
                    wheel.set(index, ticks);
                    deadlines.insert(index, now + ticks.clamp(1, 239));
                }
                Step::Clear(index) => {
                    wheel.clear(index);
                    deadlines.remove(&index);
                }
                Step::Tick(asked) => {
                    wheel.tick();
                    now += 1;
                    for index in (0..asked).map_while(|_| wheel.due()) {
                        let deadline = deadlines.remove(&index);
                        prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "{index}: {deadline:?} at {now}");
                    }
                }
                Step::Sweep => {
                    let expected: Vec<u32> =
                        deadlines.iter().filter(|(_, deadline)| **deadline <= now).map(|(index, _)| *index).collect();
                    deadlines.retain(|_, deadline| *deadline > now);
                    prop_assert_eq!(sweep(&mut wheel), expected);
                }
            }
            prop_assert_eq!(wheel.is_empty(), deadlines.is_empty());
            prop_assert_eq!(wheel.now, now);
        }
    }
}
