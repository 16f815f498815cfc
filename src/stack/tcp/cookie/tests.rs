use super::*;
use crate::stack::random::Random;
use std::net::Ipv4Addr;
use std::time::Duration;

fn key(random: &mut Random) -> FlowKey {
    let (a, b) = (random.next(), random.next());
    FlowKey::v4(Ipv4Addr::from(a as u32), (a >> 32) as u16, Ipv4Addr::from(b as u32), (b >> 32) as u16)
}

#[test]
fn a_cookie_is_good_for_one_to_two_steps() {
    let cookies = Cookies::new([1, 2]);
    let mut random = Random(1);
    for _ in 0..2000 {
        let (key, irs) = (key(&mut random), Seq(random.next() as u32));
        let now = Instant::from_millis(random.below(1 << 40));
        let mss = random.next() as u16;
        let iss = cookies.make(now, &key, irs, mss);
        let size = cookies.check(now, &key, irs, iss).unwrap();
        assert!(size <= mss || size == SIZES[0], "{size} for {mss}");
        assert!(SIZES.iter().all(|other| *other > mss || *other <= size), "{size} for {mss}");
        assert_eq!(cookies.check(now + Duration::from_secs(64), &key, irs, iss), Some(size));
        assert_eq!(cookies.check(now + Duration::from_secs(128), &key, irs, iss), None);
        assert_eq!(cookies.check(now + Duration::from_secs(64 * 32), &key, irs, iss), None, "steps do not come again");
    }
    // The first step has none before it.
    let mut random = Random(2);
    let key = key(&mut random);
    let iss = cookies.make(Instant::ZERO, &key, Seq(5), 1460);
    assert_eq!(cookies.check(Instant::ZERO, &key, Seq(5), iss), Some(1460));
}

#[test]
fn a_cookie_is_good_for_nobody_else() {
    let (cookies, others) = (Cookies::new([1, 2]), Cookies::new([1, 3]));
    let mut random = Random(3);
    let now = Instant::from_millis(1_000_000);
    for _ in 0..2000 {
        let (mine, other) = (key(&mut random), key(&mut random));
        let irs = Seq(random.next() as u32);
        let iss = cookies.make(now, &mine, irs, 1460);
        assert_eq!(cookies.check(now, &other, irs, iss), None);
        assert_eq!(cookies.check(now, &mine, irs + 1, iss), None);
        assert_eq!(others.check(now, &mine, irs, iss), None);
        let flipped = Seq(iss.0 ^ 1 << random.below(32));
        assert_eq!(cookies.check(now, &mine, irs, flipped), None, "the size cannot be changed either");
    }
}

#[test]
fn guesses_are_refused() {
    let cookies = Cookies::new([7, 7]);
    let mut random = Random(4);
    let key = key(&mut random);
    let guesses = 300_000;
    let hits = (0..guesses)
        .filter(|_| cookies.check(Instant::from_millis(1 << 33), &key, Seq(1), Seq(random.next() as u32)).is_some())
        .count();
    // One is expected in 900 runs of this test; the numbers are the same in each.
    assert_eq!(hits, 0);
}

#[test]
fn options_travel_in_a_timestamp_that_is_never_ahead() {
    let mut random = Random(5);
    for round in 0..20_000 {
        let options = CookieOptions {
            window_scale: Some(random.below(16) as u8).filter(|scale| *scale < 15),
            sack: random.below(2) == 0,
            ecn: random.below(2) == 0,
        };
        let clock = if round < 100 { round } else { random.next() as u32 };
        let stamp = options.stamp(clock);
        assert_eq!(CookieOptions::from_stamp(stamp), options);
        assert!(clock.wrapping_sub(stamp) < 64, "{stamp} at {clock}");
    }
    let too_much = CookieOptions { window_scale: Some(200), ..CookieOptions::default() };
    assert_eq!(CookieOptions::from_stamp(too_much.stamp(9)).window_scale, Some(14));
    // As Linux lays them out: no scale and SACK.
    assert_eq!(CookieOptions { window_scale: None, sack: true, ecn: false }.stamp(64 + 40), 31 + 64);
}
