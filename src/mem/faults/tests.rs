//! On the in-memory wire: what a plan says happens, exactly that, and every time again.

use super::*;
use crate::mem::{Clock, MemFlags, SimClock, Sock};
use std::sync::atomic::{AtomicUsize, Ordering};

const MS: u64 = 1_000_000;

fn flags(frames: usize) -> MemFlags {
    MemFlags { frames, frame_size: 256, queue: frames.max(16), ..MemFlags::default() }
}

/// A wire that nobody else is on: a socket that suffers, and a sound one.
fn pair(frames: usize, plan: Plan) -> (Faults<Sock>, Sock) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("mem:faults-test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let bad = Faults::new(Sock::create(&name, None, flags(frames)).unwrap(), plan).unwrap();
    (bad, Sock::create(&name, None, flags(frames)).unwrap())
}

fn sim(plan: Plan) -> (Plan, SimClock) {
    let clock = SimClock::new();
    (plan.on(Clock::Simulated(clock.clone())), clock)
}

fn tx(profile: Profile) -> Plan {
    Plan { tx: profile, ..Plan::default() }.seeded(1)
}

fn rx(profile: Profile) -> Plan {
    Plan { rx: profile, ..Plan::default() }.seeded(1)
}

fn number(i: u32) -> [u8; 60] {
    let mut packet = [0xA5; 60];
    packet[..4].copy_from_slice(&i.to_be_bytes());
    packet
}

fn numbers(socket: &impl Socket) -> Vec<u32> {
    let mut got = Vec::new();
    while let Ok((packet, _)) = socket.recv() {
        got.push(u32::from_be_bytes(packet[..4].try_into().unwrap()));
    }
    got
}

/// Sends `n` numbered packets in small batches and returns what came out at the other end.
fn carry(from: &impl Socket, to: &impl Socket, n: u32) -> Vec<u32> {
    let mut got = Vec::new();
    for i in 0..n {
        from.send(&number(i)).unwrap();
        if i % 8 == 7 {
            from.flush();
            got.extend(numbers(to));
        }
    }
    from.flush();
    got.extend(numbers(to));
    got
}

#[test]
fn a_clean_plan_changes_nothing() {
    let (bad, good) = pair(64, Plan::default());
    assert_eq!(carry(&bad, &good, 500), (0..500).collect::<Vec<_>>());
    assert_eq!(carry(&good, &bad, 500), (0..500).collect::<Vec<_>>());
    assert_eq!((bad.stats().tx_packets, bad.stats().rx_packets), (500, 500));
    assert_eq!(bad.frames_in_flight(), Some(0));
}

#[test]
fn loss_is_as_likely_as_it_says_in_each_direction() {
    let (n, p) = (20_000u32, 0.1);
    let sigma = (f64::from(n) * p * (1.0 - p)).sqrt();
    let lossy = Profile { loss: p, ..Profile::default() };

    let (bad, good) = pair(64, tx(lossy.clone()));
    let arrived = carry(&bad, &good, n).len() as u64;
    let stats = bad.stats();
    assert!((stats.tx_dropped.injected as f64 - f64::from(n) * p).abs() < 4.0 * sigma, "{stats:?}");
    assert_eq!(arrived + stats.tx_dropped.injected, u64::from(n));
    assert_eq!((stats.tx_submitted, stats.tx_packets, stats.tx_pending()), (u64::from(n), arrived, 0));
    assert_eq!(stats.tx_bytes, u64::from(n) * 60);
    assert_eq!(carry(&good, &bad, 1000).len(), 1000, "the other direction is sound");

    let (bad, good) = pair(64, rx(lossy));
    let arrived = carry(&good, &bad, n).len() as u64;
    let stats = bad.stats();
    assert!((stats.rx_dropped.injected as f64 - f64::from(n) * p).abs() < 4.0 * sigma, "{stats:?}");
    assert_eq!(arrived + stats.rx_dropped.injected, u64::from(n));
    assert_eq!((stats.rx_packets, stats.rx_bytes), (arrived, arrived * 60));
    assert_eq!(carry(&bad, &good, 1000).len(), 1000, "the other direction is sound");
    assert_eq!(bad.frames_in_flight(), Some(0));
}

#[test]
fn all_lost_is_no_packet_and_no_endless_loop() {
    let (bad, good) = pair(64, rx(Profile { loss: 1.0, ..Profile::default() }));
    for i in 0..32 {
        good.send(&number(i)).unwrap();
    }
    assert!(matches!(bad.recv(), Err(Error::NoPacket)));
    assert!(!bad.wait(Interest::Readable, Some(Duration::ZERO)).unwrap());
    assert_eq!((bad.stats().rx_dropped.injected, bad.frames_in_flight()), (32, Some(0)));
}

#[test]
fn duplicates_follow_with_equal_bytes() {
    for plan in [tx as fn(Profile) -> Plan, rx] {
        let (bad, good) = pair(64, plan(Profile { duplicate: 0.25, ..Profile::default() }));
        let n = 8000;
        let got = if bad.plan().tx.is_clean() { carry(&good, &bad, n) } else { carry(&bad, &good, n) };
        let (rx, tx) = bad.injected();
        let twice = (rx.duplicated + tx.duplicated) as usize;
        let sigma = (f64::from(n) * 0.25 * 0.75).sqrt();
        assert!((twice as f64 - f64::from(n) * 0.25).abs() < 4.0 * sigma, "{twice}");
        assert_eq!(got.len(), n as usize + twice);
        assert_eq!(got.windows(2).filter(|w| w[0] == w[1]).count(), twice, "a duplicate follows its original");
        let mut once = got.clone();
        once.dedup();
        assert_eq!(once, (0..n).collect::<Vec<_>>());
        assert_eq!((rx.not_duplicated + tx.not_duplicated, bad.frames_in_flight()), (0, Some(0)));
    }
    let (bad, good) = pair(8, tx(Profile { duplicate: 1.0, ..Profile::default() }));
    bad.send(b"the same bytes in another frame").unwrap();
    let (a, b) = (good.recv().unwrap().0, good.recv().unwrap().0);
    assert_eq!(&*a, &*b);
    assert_ne!(a.as_ptr(), b.as_ptr());
}

#[test]
fn a_duplicate_without_a_frame_is_counted_and_given_up() {
    let (bad, good) = pair(2, rx(Profile { duplicate: 1.0, ..Profile::default() }));
    good.send(b"one").unwrap();
    good.send(b"two").unwrap();
    let one = bad.recv_token().unwrap().0;
    assert_eq!(bad.injected().0.not_duplicated, 1);
    drop(one);
    drop(bad.recv_token().unwrap());
    assert_eq!(bad.frames_in_flight(), Some(0));
}

#[test]
fn corruption_flips_one_bit_anywhere() {
    for plan in [tx as fn(Profile) -> Plan, rx] {
        let (bad, good) = pair(64, plan(Profile { corrupt: 1.0, ..Profile::default() }));
        let mut touched = [0u32; 60];
        for i in 0..3000 {
            let sent = number(i);
            let got = if bad.plan().tx.is_clean() {
                good.send(&sent).unwrap();
                bad.all().remove(0)
            } else {
                bad.send(&sent).unwrap();
                good.all().remove(0)
            };
            assert_eq!(got.len(), sent.len());
            let bits: u32 = got.iter().zip(&sent).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(bits, 1);
            touched[got.iter().zip(&sent).position(|(a, b)| a != b).unwrap()] += 1;
        }
        assert!(touched.iter().all(|n| (15..100).contains(n)), "every byte has its turn: {touched:?}");
    }
}

#[test]
fn reordering_loses_nothing_and_overtakes_by_the_gap_at_most() {
    for plan in [tx as fn(Profile) -> Plan, rx] {
        let (plan, clock) = sim(plan(Profile { reorder: 0.1, gap: 3, ..Profile::default() }));
        let (bad, good) = pair(256, plan);
        let n = 5000;
        let sends = bad.plan().rx.is_clean();
        let mut got = if sends { carry(&bad, &good, n) } else { carry(&good, &bad, n) };
        // The last few wait for others that never come, until time is up.
        clock.advance(Duration::from_millis(10));
        bad.flush();
        got.extend(if sends { numbers(&good) } else { numbers(&bad) });
        let late = got.iter().enumerate().filter(|(at, i)| got[..*at].iter().rev().take(8).any(|j| j > i)).count();
        let (rx, tx) = bad.injected();
        let drawn = (rx.reordered + tx.reordered) as usize;
        assert!((400..600).contains(&drawn), "{drawn}");
        assert!(late > drawn * 9 / 10 && late <= drawn, "{late} of {drawn} came late");
        let most = got.iter().enumerate().map(|(at, i)| (at as i64 - i64::from(*i)).unsigned_abs()).max().unwrap();
        assert!((3..=8).contains(&most), "gap 3, but {most} places away");
        got.sort_unstable();
        assert_eq!(got, (0..n).collect::<Vec<_>>());
        assert_eq!(bad.frames_in_flight(), Some(0));
    }
}

#[test]
fn a_delay_is_exact_on_a_simulated_clock() {
    let (plan, clock) = sim(tx(Profile { delay: Duration::from_millis(20), ..Profile::default() }));
    let (bad, good) = pair(64, plan);
    bad.send(&number(0)).unwrap();
    clock.advance(Duration::from_millis(5));
    bad.send(&number(1)).unwrap();
    assert_eq!(bad.next_due(), Some(20 * MS));
    assert_eq!((bad.stats().tx_pending(), bad.frames_in_flight()), (2, Some(0)));
    clock.advance_to(20 * MS - 1);
    bad.flush();
    assert!(good.recv().is_err());
    clock.advance_to(20 * MS);
    bad.flush();
    assert_eq!(numbers(&good), [0]);
    assert_eq!(bad.next_due(), Some(25 * MS));
    assert!(!bad.drain(Duration::from_secs(5)).unwrap(), "nobody moves a simulated clock meanwhile");
    clock.advance_to(25 * MS);
    assert!(bad.drain(Duration::ZERO).unwrap());
    assert_eq!((numbers(&good), bad.next_due()), (vec![1], None));
}

#[test]
fn a_receive_delay_counts_from_the_arrival() {
    let (plan, clock) = sim(rx(Profile { delay: Duration::from_millis(20), ..Profile::default() }));
    let (bad, good) = pair(64, plan);
    good.send(&number(0)).unwrap();
    assert!(matches!(bad.recv(), Err(Error::NoPacket)), "it is taken in now");
    assert!(!bad.wait(Interest::Readable, None).unwrap());
    good.send(&number(1)).unwrap();
    clock.advance(Duration::from_millis(7));
    bad.poll();
    assert_eq!(bad.next_due(), Some(20 * MS));
    clock.advance_to(20 * MS);
    assert!(bad.wait(Interest::Readable, None).unwrap());
    assert_eq!(numbers(&bad), [0]);
    clock.advance_to(27 * MS);
    assert_eq!(numbers(&bad), [1]);
    assert_eq!(bad.stats().rx_packets, 2);
}

#[test]
fn jitter_stays_within_its_span_and_keeps_the_order() {
    let profile = Profile { delay: Duration::from_millis(10), jitter: Duration::from_millis(4), ..Profile::default() };
    let (plan, clock) = sim(tx(profile));
    let (bad, good) = pair(64, plan);
    let mut seen = Vec::new();
    for i in 0..400 {
        let sent = clock.now_ns();
        bad.send(&number(i)).unwrap();
        let due = bad.next_due().unwrap();
        assert!((6 * MS..=14 * MS).contains(&(due - sent)), "{}", due - sent);
        seen.push(due - sent);
        clock.advance_to(due);
        bad.flush();
        assert_eq!(numbers(&good), [i]);
    }
    let mean = seen.iter().sum::<u64>() / seen.len() as u64;
    assert!((9_500_000..10_500_000).contains(&mean), "{mean}");
    // Back to back they come in order although their dice differ.
    for i in 0..50 {
        bad.send(&number(i)).unwrap();
    }
    clock.advance(Duration::from_millis(14));
    bad.flush();
    assert_eq!(numbers(&good), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_rate_is_exact_on_a_simulated_clock() {
    // 60 bytes at 7 Mbit/s: 480 bits take 68571 3/7 ns.
    let (plan, clock) = sim(tx(Profile { rate: Some(7_000_000), ..Profile::default() }));
    let (bad, good) = pair(64, plan);
    for i in 0..7 {
        bad.send(&number(i)).unwrap();
    }
    for i in 0..7u64 {
        let due = bad.next_due().unwrap();
        assert_eq!(due, (i + 1) * 480_000 / 7, "packet {i}");
        clock.advance_to(due - 1);
        bad.flush();
        assert!(good.recv().is_err());
        clock.advance_to(due);
        bad.flush();
        assert_eq!(numbers(&good), [i as u32]);
    }
    // Seven packets are 3360 bits: exactly 480 µs. Idle time is not saved up.
    assert_eq!(clock.now_ns(), 480_000);
    clock.advance(Duration::from_secs(1));
    bad.send(&number(7)).unwrap();
    assert_eq!(bad.next_due(), Some(clock.now_ns() + 68_571));
}

#[test]
fn a_full_line_drops_and_counts() {
    let (plan, clock) = sim(tx(Profile { rate: Some(480_000), limit: 10, ..Profile::default() }));
    let (bad, good) = pair(64, plan);
    for i in 0..25 {
        bad.send(&number(i)).unwrap();
    }
    let stats = bad.stats();
    assert_eq!((stats.tx_submitted, stats.tx_dropped.injected, stats.tx_pending()), (25, 15, 10));
    assert_eq!(bad.injected().1.overflowed, 15);
    clock.advance(Duration::from_millis(10));
    bad.flush();
    assert_eq!(numbers(&good), (0..10).collect::<Vec<_>>());
}

#[test]
fn the_same_seed_does_the_same_again() {
    let profile = Profile {
        loss: 0.1,
        duplicate: 0.1,
        reorder: 0.1,
        corrupt: 0.1,
        jitter: Duration::from_micros(50),
        ..Profile::default()
    };
    let run = |seed| {
        let (plan, clock) = sim(Plan::both(profile.clone()).seeded(seed));
        let (bad, good) = pair(512, plan);
        let mut heard: Vec<Vec<u8>> = Vec::new();
        for i in 0..2000 {
            bad.send(&number(i)).unwrap();
            good.send(&number(i)).unwrap();
            clock.advance(Duration::from_micros(7));
            bad.poll();
            for socket in [&bad as &dyn Recv, &good] {
                heard.extend(socket.all());
            }
        }
        (heard, bad.injected(), bad.seed())
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first.0, run(8).0);
    let (rx, tx) = first.1;
    assert_ne!(rx, tx, "each direction has dice of its own");
}

trait Recv {
    fn all(&self) -> Vec<Vec<u8>>;
}

impl<S: Socket> Recv for S {
    fn all(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.recv().ok().map(|(packet, _)| packet.to_vec())).collect()
    }
}

#[test]
fn a_seed_that_was_not_given_can_be_read_and_replayed() {
    let lossy = Plan { tx: Profile { loss: 0.5, ..Profile::default() }, ..Plan::default() };
    let (bad, good) = pair(64, lossy.clone());
    let got = carry(&bad, &good, 200);
    let note = bad.mode().notes.concat();
    assert_eq!(note, format!("faults injected: faults=tx&loss=0.5&seed={}", bad.seed()));
    let (again, good) = pair(64, lossy.seeded(bad.seed()));
    assert_eq!(carry(&again, &good, 200), got);
}

#[test]
fn faults_wrap_faults() {
    let clock = SimClock::new();
    let late = |ms| Plan {
        tx: Profile { delay: Duration::from_millis(ms), ..Profile::default() },
        clock: Clock::Simulated(clock.clone()),
        ..Plan::default()
    };
    let (inner, good) = pair(16, late(3));
    let outer = Faults::new(inner, late(4)).unwrap();
    outer.send(&number(9)).unwrap();
    clock.advance_to(outer.next_due().unwrap());
    outer.flush();
    assert_eq!((outer.next_due(), outer.inner().next_due()), (None, Some(7 * MS)));
    assert_eq!(outer.stats().tx_pending(), 1);
    clock.advance_to(7 * MS);
    outer.flush();
    assert_eq!(numbers(&good), [9]);
    assert_eq!((outer.stats().tx_pending(), outer.frames_in_flight()), (0, Some(0)));
}

#[test]
fn what_is_on_its_way_at_drop_goes_home() {
    let (plan, _clock) = sim(Plan::both(Profile { delay: Duration::from_secs(1), ..Profile::default() }));
    let (bad, good) = pair(16, plan);
    for i in 0..5 {
        bad.send(&number(i)).unwrap();
        good.send(&number(i)).unwrap();
    }
    assert!(bad.recv().is_err());
    drop(bad);
    assert_eq!(good.frames_in_flight(), Some(0));
    let all: Vec<_> = std::iter::from_fn(|| good.alloc(60).ok()).collect();
    assert_eq!(all.len(), 16);
}

#[test]
fn a_refusal_below_comes_through_and_loses_nothing() {
    let profile = Profile { duplicate: 0.3, ..Profile::default() };
    let name = "mem:faults-refuse?full=refuse";
    let wrapped = Sock::create(name, None, MemFlags { queue: 4, ..flags(64) }).unwrap();
    let bad = Faults::new(wrapped, tx(profile)).unwrap();
    let good = Sock::create(name, None, MemFlags { queue: 4, ..flags(64) }).unwrap();
    let mut got = Vec::new();
    for i in 0..200 {
        while let Err(error) = bad.send(&number(i)) {
            assert!(matches!(error, Error::RingFull), "{error}");
            got.extend(numbers(&good));
        }
        let mut filler = bad.alloc(60).unwrap();
        filler.copy_from_slice(&number(u32::MAX));
        let refused = bad.send_token(filler.into_token());
        if let Err(refused) = refused {
            assert!(matches!(refused.error, Error::RingFull));
            assert_eq!(refused.packet.size(), 60);
        } else {
            got.extend(numbers(&good));
        }
    }
    got.extend(numbers(&good));
    bad.flush();
    got.extend(numbers(&good));
    got.retain(|i| *i < 200);
    got.dedup();
    assert_eq!(got, (0..200).collect::<Vec<_>>());
    assert_eq!((bad.stats().tx_dropped.total(), bad.stats().tx_pending(), bad.frames_in_flight()), (0, 0, Some(0)));
}

#[test]
fn a_token_of_another_pool_is_sent_by_copy() {
    let (bad, good) = pair(16, tx(Profile { corrupt: 1.0, ..Profile::default() }));
    let (other, _) = pair(16, Plan::default());
    let mut packet = other.alloc(60).unwrap();
    packet.copy_from_slice(&number(3));
    bad.send_token(packet.into_token()).unwrap();
    let got = good.recv().unwrap().0;
    assert_eq!(got.iter().zip(&number(3)).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 1);
    assert_eq!(other.frames_in_flight(), Some(0));
}

#[test]
fn waiting_wakes_up_for_a_delayed_packet() {
    let delay = Duration::from_millis(30);
    let (bad, good) = pair(16, rx(Profile { delay, ..Profile::default() }));
    good.send(&number(1)).unwrap();
    good.flush();
    let start = std::time::Instant::now();
    // On a busy machine five milliseconds may take as long as the delay.
    let early = bad.wait(Interest::Readable, Some(Duration::from_millis(5))).unwrap();
    assert!(!early || start.elapsed() >= delay - Duration::from_millis(1));
    assert!(bad.wait(Interest::Readable, None).unwrap());
    let waited = start.elapsed();
    assert!(waited >= delay - Duration::from_millis(1) && waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(numbers(&bad), [1]);

    let (bad, good) = pair(16, tx(Profile { delay, ..Profile::default() }));
    bad.send(&number(2)).unwrap();
    assert!(bad.drain(Duration::from_secs(10)).unwrap());
    assert_eq!(numbers(&good), [2]);
    // A sender that waits to receive still sends what falls due meanwhile.
    bad.send(&number(3)).unwrap();
    assert!(!bad.wait(Interest::Readable, Some(Duration::from_millis(60))).unwrap());
    assert_eq!(numbers(&good), [3]);
}

#[test]
fn options_of_a_port_spec_are_the_plan() {
    let make = |spec: &str| Faults::<Sock>::create(spec, None, FaultFlags::default());
    let spec = "mem:faults-spec?loss=1%&frames=32&dup=0.5&reorder=0.25&corrupt=1&gap=7&hold=2ms&delay=1.5ms\
                &jitter=10us&rate=10M&limit=5&seed=99&faults=rx&frame_size=256";
    let socket = make(spec).unwrap();
    let profile = Profile {
        loss: 0.01,
        duplicate: 0.5,
        reorder: 0.25,
        gap: 7,
        hold: Duration::from_millis(2),
        corrupt: 1.0,
        delay: Duration::from_micros(1500),
        jitter: Duration::from_micros(10),
        rate: Some(10_000_000),
        limit: 5,
    };
    assert_eq!((&socket.plan().rx, &socket.plan().tx), (&profile, &Profile::default()));
    assert_eq!((socket.seed(), socket.mode().frames), (99, 32));
    // What is printed can be put after a port again.
    let printed = socket.plan().to_string();
    let again = make(&format!("mem:faults-spec-again?{printed}")).unwrap();
    assert_eq!((&again.plan().rx, again.plan().tx.is_clean(), again.seed()), (&profile, true, 99));

    for (option, expected) in [
        ("loss=2", "loss=2: expected a probability"),
        ("loss", "loss=: expected a value"),
        ("delay=5", "delay=5: expected a duration"),
        ("rate=0", "rate=0: expected a number from 1"),
        ("limit=0", "limit=0: expected a number from 1"),
        ("faults=up", "faults=up: expected one of rx, tx, both"),
        ("seed=x", "seed=x: expected a number"),
        ("nonsense=1", "unknown option `nonsense`"),
    ] {
        let error = make(&format!("mem:faults-spec?{option}")).unwrap_err().to_string();
        assert!(error.contains(expected), "{option}: {error}");
    }
    for profile in [
        Profile { loss: f64::NAN, ..Profile::default() },
        Profile { corrupt: 1.5, ..Profile::default() },
        Profile { rate: Some(0), ..Profile::default() },
        Profile { limit: 0, ..Profile::default() },
        Profile { gap: 0, ..Profile::default() },
    ] {
        let inner = Sock::create("mem:faults-ranges", None, flags(4)).unwrap();
        assert!(matches!(Faults::new(inner, rx(profile)), Err(Error::BadOption { .. })));
    }
}
