use super::*;
use crate::stack::random::Random;
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

#[test]
fn a_key_finds_its_value_and_no_other() {
    let mut slab = Slab::new(1000);
    let a = slab.insert("a").unwrap();
    let b = slab.insert("b").unwrap();
    assert_eq!((slab.get(a), slab.get(b), slab.len()), (Some(&"a"), Some(&"b"), 2));
    assert_eq!(slab.remove(a), Some("a"));
    assert_eq!((slab.get(a), slab.at(a.index), slab.key_of(a.index)), (None, None, None));
    assert_eq!(slab.remove(a), None);
    let c = slab.insert("c").unwrap();
    assert_eq!(c.index, a.index, "the place that was freed last is used first");
    assert_ne!(c, a);
    assert_eq!((slab.get(a), slab.get(c)), (None, Some(&"c")));
    assert_eq!(slab.get_mut(a), None);
    assert_eq!((slab.at(c.index), slab.key_of(c.index)), (Some(&"c"), Some(c)));
}

#[test]
fn keys_from_anywhere_are_refused() {
    let mut slab = Slab::new(10);
    let key = slab.insert(1).unwrap();
    for bits in [0, u64::MAX, 1, 1 << 32 | 1, key.to_bits() + (1 << 32), u64::from(u32::MAX), 1 << 31] {
        assert_eq!(slab.get(Key::from_bits(bits)), None, "{bits:x}");
        assert_eq!(slab.get_mut(Key::from_bits(bits)), None);
        assert_eq!(slab.remove(Key::from_bits(bits)), None);
    }
    assert_eq!((slab.at(u32::MAX), slab.at(1)), (None, None));
    assert_eq!(slab.at_mut(u32::MAX), None);
    assert_eq!(slab.remove_at(u32::MAX), None);
    // A vacant place's next generation is not valid before it is given out.
    let next = Key { index: 1, generation: 1 };
    assert_eq!(slab.get(next), None);
    assert_eq!(slab.insert(2), Ok(next));
}

#[test]
fn the_limit_holds_and_gives_the_value_back() {
    let mut slab = Slab::new(3);
    let keys: Vec<Key> = (0..3).map(|n| slab.insert(n).unwrap()).collect();
    assert!(slab.is_full());
    assert_eq!(slab.insert(9), Err(9));
    assert_eq!(slab.insert_with(|_| unreachable!("the limit is reached")), None);
    slab.remove(keys[1]);
    let key = slab.insert_with(|key| key.index as usize).unwrap();
    assert_eq!(slab.get(key), Some(&(key.index as usize)));
    assert_eq!(Slab::<u8>::new(0).insert(1), Err(1));
    assert_eq!(Slab::<u8>::new(usize::MAX).limit(), MAX_PLACES);
}

#[test]
fn a_place_whose_generations_are_used_up_is_retired() {
    let mut slab = Slab::new(1);
    let first = slab.insert(0).unwrap();
    slab.remove(first);
    *slab.slot_mut(first.index).unwrap() = Slot::Vacant { next: u32::MAX };
    let last = slab.insert(1).unwrap();
    assert_eq!(last, Key { index: first.index, generation: u32::MAX });
    assert_eq!(slab.remove(last), Some(1));
    let other = slab.insert(2).unwrap();
    assert_ne!(other.index, last.index);
    assert_eq!((slab.get(last), slab.get(other), slab.len()), (None, Some(&2), 1));
}

#[test]
fn values_stay_where_they_are_and_begin_lines_where_they_can() {
    #[derive(Debug)]
    #[repr(C)]
    struct Hot([u64; 7]);
    let mut slab = Slab::new(1 << 20);
    let first = slab.insert(Hot([1; 7])).unwrap();
    let place = std::ptr::from_ref(slab.get(first).unwrap()) as usize;
    for _ in 0..10_000 {
        let key = slab.insert(Hot([2; 7])).unwrap();
        assert_eq!(std::ptr::from_ref(slab.get(key).unwrap()) as usize % 64, 8);
    }
    assert_eq!(std::ptr::from_ref(slab.get(first).unwrap()) as usize, place);
    assert_eq!(size_of::<Slot<Hot>>(), 64);
    // A value full of spare bits costs eight bytes all the same, always the first ones.
    assert_eq!(size_of::<Slot<Box<u8>>>(), 16);
}

#[test]
fn values_are_dropped_once() {
    struct Counted(Rc<Cell<usize>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = Rc::new(Cell::new(0));
    let mut slab = Slab::new(200);
    let keys: Vec<Key> = (0..200).map(|_| slab.insert(Counted(drops.clone())).ok().unwrap()).collect();
    assert!(slab.insert(Counted(drops.clone())).is_err());
    assert_eq!(drops.get(), 1);
    for key in &keys[..50] {
        drop(slab.remove(*key));
        assert!(slab.remove(*key).is_none());
    }
    assert_eq!(drops.get(), 51);
    drop(slab);
    assert_eq!(drops.get(), 201);
}

#[test]
fn a_slab_does_what_a_map_does() {
    let mut random = Random(0x5eed);
    let (mut slab, mut map, mut gone) = (Slab::new(700), HashMap::new(), Vec::new());
    for step in 0..200_000u64 {
        // Waves: it fills, empties, and fills again.
        let fill = (step / 5000) % 2 == 0;
        if random.below(10) < if fill { 7 } else { 3 } {
            match slab.insert(step) {
                Ok(key) => assert_eq!(map.insert(key, step), None, "{key:?} came twice"),
                Err(_) => assert_eq!(map.len(), 700),
            }
        } else if let Some(&key) = map.keys().next() {
            assert_eq!(slab.remove(key), map.remove(&key));
            gone.push(key);
        }
        assert_eq!((slab.len(), slab.is_empty()), (map.len(), map.is_empty()));
        if step % 1000 == 0 {
            assert!(map.iter().all(|(key, value)| slab.get(*key) == Some(value)));
            assert!(gone.iter().all(|key| slab.get(*key).is_none()));
            let mut seen: Vec<_> = slab.iter_mut().map(|(key, value)| (key, *value)).collect();
            assert!(seen.is_sorted_by_key(|(key, _)| key.index));
            assert_eq!(seen.iter().map(|(key, _)| *key).collect::<Vec<_>>(), slab.keys().collect::<Vec<_>>());
            seen.sort_unstable();
            let mut all: Vec<_> = map.iter().map(|(key, value)| (*key, *value)).collect();
            all.sort_unstable();
            assert_eq!(seen, all);
        }
    }
    assert!(gone.len() > 10_000);
}

#[test]
fn no_growth_while_the_population_stays() {
    let mut slab = Slab::new(1000);
    let mut keys: Vec<Key> = (0..1000).map(|n| slab.insert(n).unwrap()).collect();
    let before = slab.footprint();
    assert!(before >= 1000 * size_of::<Slot<i32>>());
    for n in 0..100_000 {
        slab.remove(keys[n % 1000]).unwrap();
        keys[n % 1000] = slab.insert(0).unwrap();
    }
    assert_eq!(slab.footprint(), before);
}
