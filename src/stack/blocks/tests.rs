use super::*;

#[test]
fn a_block_is_as_small_as_it_may_be() {
    let mut blocks = Blocks::new(usize::MAX);
    let cases = [(0, 256), (1, 256), (256, 256), (257, 512), (1514, 2048), (2049, 4096), (32768, 32768)];
    let large =
        [(32769, LARGEST), (65536, LARGEST), (LARGEST, LARGEST), (LARGEST + 1, LARGEST + 1), (100_000, 100_000)];
    for (asked, got) in cases.into_iter().chain(large) {
        let block = blocks.take(asked).unwrap();
        assert_eq!(block.len(), got, "asked for {asked}");
        assert_eq!(blocks.in_use(), got);
        blocks.give(block);
        assert_eq!(blocks.in_use(), 0);
    }
    for (class, size) in SIZES.into_iter().enumerate() {
        assert_eq!(class_for(size), Some(class));
    }
}

#[test]
fn what_was_given_last_is_taken_first() {
    let mut blocks = Blocks::new(usize::MAX);
    let (mut a, mut b) = (blocks.take(1).unwrap(), blocks.take(1).unwrap());
    (a[0], b[0]) = (1, 2);
    blocks.give(a);
    blocks.give(b);
    assert_eq!(blocks.take(1).unwrap()[0], 2);
}

#[test]
fn the_limit_is_one_of_capacity() {
    let mut blocks = Blocks::new(1000);
    let a = blocks.take(200).unwrap();
    let b = blocks.take(500).unwrap();
    assert_eq!(blocks.in_use(), 768);
    assert!(blocks.take(1).is_none());
    assert!(blocks.take(usize::MAX).is_none());
    blocks.give(a);
    let c = blocks.take(1).unwrap();
    assert!(blocks.take(1).is_none());
    drop((b, c));
    assert_eq!(blocks.in_use(), 0);
    assert!(blocks.take(900).is_none(), "the next size is 1024");
}

#[test]
fn blocks_dropped_elsewhere_come_home() {
    let mut blocks = Blocks::new(usize::MAX);
    let mut block = blocks.take(3000).unwrap();
    block[7] = 77;
    let other = blocks.take(1).unwrap();
    std::thread::spawn(move || drop(block)).join().unwrap();
    assert_eq!((blocks.in_use(), blocks.idle()), (256, 4096));
    let again = blocks.take(4000).unwrap();
    assert_eq!((again[7], blocks.idle()), (77, 0), "the same memory");
    // The engine goes first.
    drop(blocks);
    drop((again, other));
}

#[test]
fn a_block_of_somebody_else_goes_home() {
    let (mut ours, mut theirs) = (Blocks::new(usize::MAX), Blocks::new(usize::MAX));
    let stranger = theirs.take(1).unwrap();
    let own = ours.take(1).unwrap();
    ours.give(stranger);
    assert_eq!((ours.in_use(), ours.idle(), theirs.in_use(), theirs.idle()), (256, 0, 0, 256));
    ours.give(own);
    ours.give(Block::detached(vec![1; 256].into()));
    assert_eq!((ours.in_use(), ours.idle()), (0, 256));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut blocks = Blocks::new(usize::MAX);
    let many: Vec<Block> = (0..2 * KEPT_BYTES / 65536).map(|_| blocks.take(65536).unwrap()).collect();
    let odd = blocks.take(1 << 20).unwrap();
    assert_eq!(blocks.in_use(), many.len() * LARGEST + (1 << 20));
    many.into_iter().for_each(|block| blocks.give(block));
    blocks.give(odd);
    assert_eq!(blocks.in_use(), 0);
    assert!((KEPT_BYTES - LARGEST..=KEPT_BYTES).contains(&blocks.idle()), "{} kept", blocks.idle());
    // The same for those that are dropped.
    let mut blocks = Blocks::new(usize::MAX);
    drop((0..2 * HOME_BLOCKS).map(|_| blocks.take(1).unwrap()).collect::<Vec<_>>());
    assert_eq!((blocks.in_use(), blocks.idle()), (0, HOME_BLOCKS * 256));
}

#[test]
fn accounts_are_right_whatever_happens() {
    let mut seed = 1_u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    let mut blocks = Blocks::new(1 << 20);
    let mut held: Vec<Block> = Vec::new();
    for _ in 0..20_000 {
        match random(4) {
            0 | 1 => held.extend(blocks.take(random(70_000) as usize)),
            2 if !held.is_empty() => {
                let at = random(held.len() as u64) as usize;
                blocks.give(held.swap_remove(at));
            }
            3 if !held.is_empty() => {
                let at = random(held.len() as u64) as usize;
                drop(held.swap_remove(at));
            }
            _ => {}
        }
        let in_use = held.iter().map(|block| block.len()).sum::<usize>();
        assert_eq!(blocks.in_use(), in_use);
        assert!(in_use <= blocks.limit());
    }
    held.clear();
    assert_eq!(blocks.in_use(), 0);
}

#[test]
fn sizes() {
    assert_eq!(size_of::<Block>(), 24);
    assert_eq!(size_of::<Option<Block>>(), 24);
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Block>();
    send_and_sync::<Blocks>();
}
