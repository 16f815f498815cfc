use super::*;
use crate::stack::ip::testing::*;
use std::net::Ipv4Addr;

struct Bench {
    neighbours: Neighbours,
    stats: IpStats,
}

fn host(n: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + u32::from(n)))
}

fn mac(n: u16) -> Mac {
    [2, 1, 1, 1, (n >> 8) as u8, n as u8]
}

impl Bench {
    /// Room for eight, one of them permanent.
    fn new() -> Self {
        let mut config = Config { neighbours: vec![(PEER.into(), PEER_MAC)], ..config() };
        config.ip.max_neighbours = 8;
        config.ip.max_held_packets = 5;
        Self { neighbours: Neighbours::new(&config), stats: IpStats::default() }
    }

    fn reach(&mut self, at: u64, n: u16) -> Reach {
        self.neighbours.reach(ms(at), host(n), &mut self.stats)
    }

    fn learn(&mut self, at: u64, n: u16, word: Word) {
        self.neighbours.learn(ms(at), host(n), mac(n), word, &mut self.stats);
    }

    /// Asked for, answered.
    fn resolve(&mut self, at: u64, n: u16) {
        assert!(matches!(self.reach(at, n), Reach::Ask(_)));
        self.learn(at, n, Word::Reply);
        assert!(self.has(at, n));
    }

    fn has(&mut self, at: u64, n: u16) -> bool {
        self.neighbours.known(ms(at), host(n)).is_some()
    }

    fn is_there(&self, n: u16) -> bool {
        self.neighbours.by_address.contains_key(&number(host(n)))
    }
}

#[test]
fn questions_from_others_never_displace_anybody_but_their_like() {
    let mut bench = Bench::new();
    (20..25).for_each(|n| bench.resolve(0, n));
    assert!(matches!(bench.reach(0, 30), Reach::Ask(_)));
    for n in 1000..5000 {
        bench.learn(1, n, Word::Question);
        assert!(bench.neighbours.len() <= 8);
    }
    assert!((20..25).all(|n| bench.is_there(n)) && bench.is_there(30), "known ones and the one that is waited for");
    assert!(bench.is_there(4999) && !bench.is_there(4998), "of those that asked the latest");
    assert!(bench.neighbours.known(ms(1), PEER.into()).is_some());
    // With the last place taken by one that is waited for there is none left for them.
    assert!(matches!(bench.reach(1, 31), Reach::Ask(_)));
    bench.learn(1, 6000, Word::Question);
    assert!(!bench.is_there(6000) && bench.is_there(31));
}

#[test]
fn those_waited_for_displace_their_oldest_and_not_those_in_use() {
    let mut bench = Bench::new();
    (20..26).for_each(|n| bench.resolve(0, n));
    for n in 1000..5000u16 {
        (20..26).for_each(|n| assert!(bench.has(2, n)));
        assert!(matches!(bench.reach(1, n), Reach::Ask(_)));
        assert!(bench.is_there(n));
    }
    assert_eq!((bench.neighbours.len(), bench.stats.neighbour_evictions), (8, 3999));
}

#[test]
fn of_proven_ones_those_not_in_use_go_first_and_never_permanent_ones() {
    let mut bench = Bench::new();
    (20..27).for_each(|n| bench.resolve(0, n));
    // All but 23 are sent to again, much later.
    [20, 21, 22, 24, 25, 26].into_iter().for_each(|n| assert!(bench.has(100_000, n)));
    assert!(matches!(bench.reach(100_001, 50), Reach::Ask(_)));
    assert!(!bench.is_there(23) && [20, 21, 22, 24, 25, 26].into_iter().all(|n| bench.is_there(n)));
    // All in use: the one that was sent to longest ago.
    bench.learn(100_001, 50, Word::Reply);
    assert!(bench.has(100_002, 50));
    [21, 22, 24, 25, 26].into_iter().for_each(|n| assert!(bench.has(100_002, n)));
    assert!(matches!(bench.reach(100_003, 51), Reach::Ask(_)));
    assert!(!bench.is_there(20) && bench.is_there(21));
    assert!(bench.neighbours.known(ms(100_003), PEER.into()).is_some());
}

#[test]
fn a_cache_of_permanent_ones_has_no_room() {
    let mut config = Config { neighbours: vec![(PEER.into(), PEER_MAC), (host(77), mac(77))], ..config() };
    config.ip.max_neighbours = 3;
    let mut bench = Bench { neighbours: Neighbours::new(&config), stats: IpStats::default() };
    bench.resolve(0, 20);
    assert!(matches!(bench.reach(0, 21), Reach::Ask(_)), "the only other one goes");
    assert!(!bench.is_there(20) && bench.is_there(77));
    config.ip.max_neighbours = 2;
    let mut bench = Bench { neighbours: Neighbours::new(&config), stats: IpStats::default() };
    assert_eq!(bench.reach(0, 20), Reach::NoRoom);
    bench.learn(0, 21, Word::Question);
    assert_eq!(bench.neighbours.len(), 2);
}

#[test]
fn a_path_never_leads_to_the_host_that_took_the_place_of_another() {
    let mut bench = Bench::new();
    (20..27).for_each(|n| bench.resolve(0, n));
    let path = |bench: &Bench, n: u16| {
        let next = bench.neighbours.by_address[&number(host(n))];
        Path { next, generation: bench.neighbours.generation(next) }
    };
    let paths: Vec<Path> = (20..27).map(|n| path(&bench, n)).collect();
    for path in &paths {
        assert!(bench.neighbours.hot(path).is_some());
    }
    // Everybody is displaced, some several times.
    for n in 100..150 {
        bench.reach(200_000 * u64::from(n), n);
        bench.learn(200_000 * u64::from(n), n, Word::Reply);
    }
    assert!(paths.iter().all(|path| bench.neighbours.hot(path).is_none()));
    assert!(bench.neighbours.hot(&Path::default()).is_none());
}

#[test]
fn where_much_waits_each_neighbour_has_little() {
    let mut config = config();
    config.ip.max_held_packets = 100;
    let mut bench = Bench { neighbours: Neighbours::new(&config), stats: IpStats::default() };
    let mut blocks = crate::stack::blocks::Blocks::new(usize::MAX);
    for n in 0..500 {
        let Reach::Ask(index) = bench.reach(0, 1000 + n) else { panic!() };
        for _ in 0..20 {
            bench.neighbours.hold(index, blocks.take(2048).unwrap(), &mut bench.stats);
        }
        let held = bench.neighbours.cold[index as usize].held.len();
        assert_eq!(
            held,
            if n < 100 {
                20
            } else if n > 105 {
                3
            } else {
                held
            },
            "{n}"
        );
    }
    assert!(bench.neighbours.held_bytes < MAX_HELD_BYTES + 500 * 3 * 2048);
}

/// Random events against the rules that must hold at any time.
#[test]
fn the_books_agree_after_any_history() {
    let mut random = crate::stack::random::Random(3);
    let mut bench = Bench::new();
    let mut at = 0;
    for _ in 0..100_000 {
        let n = 20 + random.below(30) as u16;
        match random.below(7) {
            0 => drop(bench.reach(at, n)),
            1 => bench.learn(at, n, Word::Question),
            2 => bench.learn(at, n, Word::Reply),
            3 => bench.learn(at, n, Word::Overheard),
            4 => {
                let mut stats = bench.stats;
                let mut blocks = crate::stack::blocks::Blocks::new(10_000);
                if let Reach::Asked(index) = bench.neighbours.reach(ms(at), host(n), &mut stats) {
                    bench.neighbours.hold(index, blocks.take(100).unwrap(), &mut stats);
                }
            }
            5 => at += random.below(2000),
            _ => while bench.neighbours.due(ms(at)).is_some() {},
        }
        let me = &bench.neighbours;
        assert!(me.len() <= 8);
        assert_eq!(me.by_address.len() + me.free.len(), me.cold.len());
        let held: usize = me.cold.iter().flat_map(|cold| &cold.held).map(|packet| packet.len()).sum();
        assert_eq!(me.held_bytes, held);
        for (address, index) in &me.by_address {
            let cold = &me.cold[*index as usize];
            assert_eq!(number(cold.address), *address);
            assert!(cold.state != State::Free && cold.held.len() <= 5);
            let timed = matches!(cold.state, State::Incomplete | State::Reachable | State::Probe);
            assert_eq!(me.wheel.is_scheduled(*index), timed, "{cold:?}");
            assert_eq!(cold.class == Class::None, cold.state == State::Permanent);
            assert_eq!(cold.class == Class::Wanted, cold.state == State::Incomplete, "{cold:?}");
        }
    }
}
