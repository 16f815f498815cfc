use super::*;
use crate::stack::random::Random;
use std::net::Ipv4Addr;

const MINUTE: Duration = Duration::from_secs(60);

fn record(port: u16, timestamps: bool) -> Record {
    Record {
        key: FlowKey::v4(Ipv4Addr::LOCALHOST, 80, Ipv4Addr::new(10, 0, 0, 2), port),
        rcv_nxt: Seq(1000),
        snd_nxt: Seq(u32::MAX - 10),
        ts_recent: 500,
        ts_offset: 9,
        window: 100,
        timestamps,
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

/// What one segment gets from a fresh record.
fn answer(timestamps: bool, segment: Arrival) -> Answer {
    let mut all = TimeWait::new(MINUTE, 10);
    let (index, _) = all.insert(at(0), record(1, timestamps));
    all.arrival(at(1), index, &segment)
}

fn syn(seq: u32, ts: Option<u32>) -> Arrival {
    Arrival { seq: Seq(seq), syn: true, ts, ..Arrival::default() }
}

const REUSE: Answer = Answer::Reuse { least: Seq(65_526) };

#[test]
fn a_syn_begins_a_new_connection_if_it_cannot_be_an_old_one() {
    // With timestamps on both sides: a later one, or the same one and a later sequence number.
    for (seq, ts, expected) in [
        (5, 501, REUSE),
        (5, 500, Answer::Ignore),
        (5, 499, Answer::Ignore),
        (1000, 500, REUSE),
        (2000, 499, Answer::Ignore),
        (5, 500u32.wrapping_add(1 << 31).wrapping_sub(1), REUSE),
        (5, 501u32.wrapping_add(1 << 31), Answer::Ignore),
    ] {
        assert_eq!(answer(true, syn(seq, Some(ts))), expected, "{seq} {ts}");
    }
    // With timestamps in the new one only: always. In the old one only, or in none: by the sequence number.
    assert_eq!(answer(false, syn(5, Some(0))), REUSE);
    for timestamps in [true, false] {
        for (seq, expected) in
            [(999, Answer::Ignore), (1000, REUSE), (1001, REUSE), (1000 + (1 << 31) - 1, REUSE), (5, Answer::Ignore)]
        {
            assert_eq!(answer(timestamps, syn(seq, None)), expected, "{seq}");
        }
    }
    // What is no opening of a connection is none here either.
    assert_eq!(answer(false, Arrival { fin: true, ..syn(2000, None) }), Answer::Ignore);
    assert_eq!(answer(false, Arrival { rst: true, ..syn(2000, None) }), Answer::Ignore);
    assert_eq!(answer(false, Arrival { ack: true, ..syn(2000, None) }), Answer::Challenge);
}

#[test]
fn the_peers_fin_is_acknowledged_again_and_the_wait_begins_anew() {
    let mut all = TimeWait::new(MINUTE, 10);
    let (index, _) = all.insert(at(0), record(1, true));
    let (other, _) = all.insert(at(10), record(2, true));
    let fin = Arrival { seq: Seq(999), ack: true, fin: true, ts: Some(510), ..Arrival::default() };
    assert_eq!(all.arrival(at(50), index, &fin), Answer::Ack);
    assert_eq!(all.get(index).unwrap().ts_recent, 510);
    let with_data = Arrival { seq: Seq(899), len: 100, ..fin };
    assert_eq!(all.arrival(at(55), index, &with_data), Answer::Ack);
    assert_eq!(all.next(), Some(at(70)));
    assert_eq!(all.expired(at(69)).map(|(index, _)| index), None);
    assert_eq!(all.expired(at(200)).map(|(index, _)| index), Some(other));
    assert_eq!(all.next(), Some(at(115)));
    assert_eq!(all.expired(at(115)).map(|(index, _)| index), Some(index));
    assert_eq!((all.expired(at(999)).is_none(), all.next(), all.len()), (true, None, 0));
}

#[test]
fn a_reset_does_not_end_the_wait() {
    for seq in [0, 999, 1000, 1001] {
        for ack in [false, true] {
            let rst = Arrival { seq: Seq(seq), rst: true, ack, ..Arrival::default() };
            assert_eq!(answer(true, rst), Answer::Ignore);
            assert_eq!(answer(false, rst), Answer::Ignore);
        }
    }
}

#[test]
fn everything_else_is_challenged_or_ignored_and_restarts_nothing() {
    let plain = Arrival { seq: Seq(1000), ack: true, ..Arrival::default() };
    for (timestamps, segment, expected) in [
        (false, plain, Answer::Ignore),
        (false, Arrival { seq: Seq(999), ..plain }, Answer::Challenge),
        (false, Arrival { len: 5, ..plain }, Answer::Challenge),
        (false, Arrival { fin: true, ..plain }, Answer::Challenge),
        (false, Arrival { fin: true, ack: false, seq: Seq(999), ..plain }, Answer::Ignore),
        (false, Arrival { seq: Seq(70_000), ..plain }, Answer::Challenge),
        (true, Arrival { ts: Some(500), ..plain }, Answer::Ignore),
        (true, Arrival { ts: Some(499), ..plain }, Answer::Challenge),
        (true, plain, Answer::Ignore),
        (true, Arrival { fin: true, seq: Seq(999), ts: Some(499), ..plain }, Answer::Challenge),
        (true, Arrival { fin: true, seq: Seq(999), ..plain }, Answer::Ignore),
    ] {
        let mut all = TimeWait::new(MINUTE, 10);
        let (index, _) = all.insert(at(0), record(1, timestamps));
        assert_eq!(all.arrival(at(1), index, &segment), expected, "{segment:?}");
        assert_eq!(all.next(), Some(at(60)), "{segment:?}");
    }
    let mut all = TimeWait::new(MINUTE, 10);
    assert_eq!(all.arrival(at(0), 7, &plain), Answer::Ignore);
}

#[test]
fn the_oldest_makes_room() {
    let mut all = TimeWait::new(MINUTE, 3);
    let indices: Vec<u32> = (0..3).map(|port| all.insert(at(u64::from(port)), record(port, false)).0).collect();
    let (index, evicted) = all.insert(at(3), record(3, false));
    assert_eq!(evicted.map(|(index, record)| (index, record.key.remote_port())), Some((indices[0], 0)));
    assert_eq!((all.len(), all.get(index).unwrap().key.remote_port()), (3, 3));
    assert_eq!(all.remove(index).unwrap().key.remote_port(), 3);
    assert!(all.insert(at(4), record(4, false)).1.is_none());
    let mut one = TimeWait::new(MINUTE, 0);
    assert!(one.insert(at(0), record(1, false)).1.is_none());
    assert_eq!((one.insert(at(0), record(2, false)).1.unwrap().1.key.remote_port(), one.len()), (1, 1));
}

#[test]
fn no_segment_makes_a_record_stay_or_memory_grow() {
    let mut random = Random(3);
    let mut all = TimeWait::new(MINUTE, 500);
    let mut footprint = 0;
    for step in 0..100_000u64 {
        let now = Instant::from_millis(step * 100);
        if step % 2 == 0 {
            all.insert(now, record(step as u16, random.below(2) == 0));
        }
        let bits = random.next();
        let segment = Arrival {
            seq: Seq(1000).sub_or_any(&mut random),
            len: (bits as u32 & 3) * 700,
            syn: bits & 4 != 0,
            ack: bits & 8 != 0,
            fin: bits & 16 != 0,
            rst: bits & 96 == 0,
            ts: (bits & 128 != 0).then_some(random.next() as u32),
        };
        let index = random.below(600) as u32;
        match all.arrival(now, index, &segment) {
            Answer::Reuse { .. } => assert!(segment.syn && all.remove(index).is_some()),
            Answer::Ack => assert!(segment.fin && segment.ack && !segment.rst && !segment.syn),
            Answer::Challenge => assert!(segment.ack && !segment.rst),
            Answer::Ignore => {}
        }
        while all.expired(now).is_some() {}
        assert!(all.len() <= 500 && all.next().is_none_or(|next| next > now));
        if step == 20_000 {
            footprint = all.footprint();
        }
    }
    assert_eq!(all.footprint(), footprint);
}

impl Seq {
    /// Near it or anywhere.
    fn sub_or_any(self, random: &mut Random) -> Self {
        match random.below(3) {
            0 => self - 1,
            1 => self,
            _ => Self(random.next() as u32),
        }
    }
}
