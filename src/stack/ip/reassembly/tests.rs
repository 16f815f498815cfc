use super::*;
use crate::stack::ip::testing::*;
use crate::stack::random::Random;

struct Bench {
    reassembly: Reassembly,
    blocks: Blocks,
    stats: IpStats,
}

impl Bench {
    fn new(limit: usize) -> Self {
        let mut config = config();
        config.ip.max_reassembly_bytes = limit;
        Self { reassembly: Reassembly::new(&config), blocks: Blocks::new(usize::MAX), stats: IpStats::default() }
    }

    fn insert(&mut self, at: u64, packet: &[u8]) -> Outcome {
        let header = ipv4::Header::parse(packet).unwrap();
        self.reassembly.insert(ms(at), &mut self.blocks, &header, packet, &mut self.stats)
    }

    /// The whole packet that this fragment completes.
    fn complete(&mut self, at: u64, packet: &[u8]) -> Option<Vec<u8>> {
        match self.insert(at, packet) {
            Outcome::Complete(block) => {
                let header = ipv4::Header::parse(&block).unwrap();
                assert!(!header.is_fragment());
                let whole = block[..usize::from(header.total_len)].to_vec();
                self.blocks.give(block);
                Some(whole)
            }
            _ => None,
        }
    }

    #[track_caller]
    fn is_empty(&self) {
        assert_eq!((self.reassembly.bytes(), self.reassembly.by_key.len(), self.blocks.in_use()), (0, 0, 0));
        assert_eq!(self.reassembly.next_deadline(), None);
    }
}

/// A fragment of the datagram `id` whose data is that of `data`.
fn part(id: u16, data: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    let fragment = ipv4::Fragment::part(range.start, range.end < data.len());
    let header = ipv4::Emit { identification: id, fragment, ..ip_header(PEER, US, 17, range.len()) };
    ip_packet(&header, &data[range])
}

fn counting(len: usize) -> Vec<u8> {
    (0..len).map(|n| ((n * 31) >> 3) as u8).collect()
}

/// Whatever the cuts, the order, the repetitions, the losses and the overlaps: a datagram comes out whole, once for each time
/// that all of it came in, or not at all; and what was refused stays so.
#[test]
fn random_fragments_give_the_whole_datagram_or_nothing() {
    let mut random = Random(2024);
    let (mut whole, mut nothing) = (0, 0);
    for round in 0..3000u16 {
        let mut bench = Bench::new(1 << 20);
        let data: Vec<u8> = (0..1 + random.below(3000)).map(|_| random.next() as u8).collect();
        let mut cuts: Vec<usize> =
            (0..1 + random.below(12)).map(|_| random.below(data.len() as u64) as usize / 8 * 8).collect();
        cuts.extend([0, data.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts: Vec<_> = cuts.windows(2).map(|pair| part(round, &data, pair[0]..pair[1])).collect();
        if parts.len() == 1 {
            continue;
        }
        // No fragment twice, and all of them there: it must come out.
        let fault = random.below(5);
        let mut other = data.clone();
        match fault {
            0 => drop(parts.remove(random.below(parts.len() as u64) as usize)),
            1 => {
                let again = parts[random.below(parts.len() as u64) as usize].clone();
                parts.push(again);
            }
            2 => {
                // Another cut of the same data, or other data in the same place.
                let start = random.below(data.len() as u64) as usize / 8 * 8;
                other[start] ^= random.below(2) as u8;
                let end = (start + 8 * (1 + random.below(20) as usize)).min(data.len());
                // All of it would be no fragment.
                if start > 0 || end < data.len() {
                    parts.push(part(round, &other, start..end));
                }
            }
            _ => {}
        }
        for n in (1..parts.len()).rev() {
            parts.swap(n, random.below(n as u64 + 1) as usize);
        }
        let mut out = Vec::new();
        for (n, packet) in parts.iter().enumerate() {
            out.extend(bench.complete(n as u64, packet));
        }
        for packet in &out {
            // A fragment with other bytes that comes in the place of the right one, and before it, cannot be told from it.
            assert!(packet[20..] == data || packet[20..] == other, "what comes out is what was sent");
        }
        match fault {
            0 => assert!(out.is_empty()),
            3 | 4 => assert_eq!(out.len(), 1),
            // The repetition may have come after the rest, and begins another datagram then.
            _ => assert!(out.len() <= 1),
        }
        if fault == 1 {
            assert_eq!(out.len(), 1, "a fragment that comes twice does no harm");
        }
        if out.is_empty() {
            nothing += 1
        } else {
            whole += 1
        }
        while bench.reassembly.expire(ms(100_000), &mut bench.blocks).is_some() {}
        bench.is_empty();
    }
    assert!(whole > 1000 && nothing > 300, "{whole} {nothing}");
}

#[test]
fn the_longest_datagram_comes_out_with_a_right_header() {
    let mut bench = Bench::new(1 << 20);
    let data = counting(65_515);
    let mut out = None;
    for at in (0..data.len()).step_by(1480).rev() {
        out = bench.complete(0, &part(7, &data, at..data.len().min(at + 1480)));
    }
    let out = out.unwrap();
    let header = ipv4::Header::parse(&out).unwrap();
    assert_eq!((header.src, header.dst, header.identification, header.total_len), (PEER, US, 7, 65_535));
    assert_eq!(header.payload(&out), data);
    assert_eq!(bench.stats.reassembled, 1);
    bench.is_empty();
}

#[test]
fn datagrams_of_other_addresses_protocols_and_numbers_do_not_mix() {
    let mut bench = Bench::new(1 << 20);
    let data = counting(16);
    let first = |header: ipv4::Emit| {
        let fragment = ipv4::Fragment::part(0, true);
        ip_packet(&ipv4::Emit { identification: 1, fragment, ..header }, &data[..8])
    };
    for other in [ip_header(ROUTER, US, 17, 8), ip_header(PEER, ROUTER, 17, 8), ip_header(PEER, US, 1, 8)] {
        assert!(matches!(bench.insert(0, &first(other)), Outcome::Waits));
    }
    assert!(matches!(bench.insert(0, &part(2, &data, 0..8)), Outcome::Waits));
    assert_eq!(bench.complete(0, &part(1, &data, 8..16)), None);
    assert!(bench.complete(0, &part(1, &data, 0..8)).is_some());
}

#[test]
fn overlaps_and_contradictions_end_a_datagram_for_good() {
    let data = counting(64);
    let mut short = data.clone();
    short.truncate(40);
    let mut other = data.clone();
    other[0] ^= 1;
    let cases: &[&[Vec<u8>]] = &[
        &[part(1, &data, 0..16), part(1, &data, 8..24)],
        &[part(1, &data, 8..24), part(1, &data, 0..16)],
        &[part(1, &data, 0..24), part(1, &data, 8..16)],
        &[part(1, &data, 8..16), part(1, &data, 0..24)],
        &[part(1, &data, 0..16), part(1, &data, 0..24)],
        // The same place with other bytes.
        &[part(1, &data, 0..16), part(1, &other, 0..16)],
        // Two ends, data behind the end, the end before data.
        &[part(1, &data, 48..64), part(1, &short, 32..40)],
        &[part(1, &short, 32..40), part(1, &data, 40..48)],
        &[part(1, &data, 40..48), part(1, &short, 32..40)],
        &[part(1, &short, 32..40), part(1, &data, 32..40)],
        &[part(1, &data, 32..40), part(1, &short, 32..40)],
    ];
    for case in cases {
        let mut bench = Bench::new(1 << 20);
        assert!(matches!(bench.insert(0, &case[0]), Outcome::Waits));
        assert!(matches!(bench.insert(0, &case[1]), Outcome::Dropped));
        for at in (0..64).step_by(8) {
            assert!(matches!(bench.insert(1, &part(1, &data, at..at + 8)), Outcome::Dropped), "refused from then on");
        }
        assert_eq!(bench.stats.reassembly_drops, 10);
        assert_eq!((bench.reassembly.bytes(), bench.blocks.in_use()), (DATAGRAM_COST, 0), "only its name is kept");
        let expired = bench.reassembly.expire(ms(30_000), &mut bench.blocks).unwrap();
        assert!(expired.refused && expired.first.is_none());
        bench.is_empty();
    }
}

#[test]
fn fragments_that_make_no_sense_by_themselves_are_malformed() {
    let mut bench = Bench::new(1 << 20);
    let data = counting(100);
    let with = |fragment, len: usize| ip_packet(&ipv4::Emit { fragment, ..ip_header(PEER, US, 17, len) }, &data[..len]);
    for packet in [
        with(ipv4::Fragment::part(0, true), 12),
        with(ipv4::Fragment::part(0, true), 0),
        with(ipv4::Fragment::part(8, false), 0),
        // Beyond the longest packet: the "ping of death".
        with(ipv4::Fragment::part(65_528, false), 8),
        with(ipv4::Fragment::part(65_464, true), 56),
    ] {
        assert!(matches!(bench.insert(0, &packet), Outcome::Malformed));
    }
    bench.is_empty();
}

#[test]
fn what_does_not_come_in_time_is_given_up() {
    let mut bench = Bench::new(1 << 20);
    let data = counting(32);
    assert!(matches!(bench.insert(0, &part(1, &data, 0..8)), Outcome::Waits));
    assert!(matches!(bench.insert(10, &part(2, &data, 8..16)), Outcome::Waits));
    // Later fragments do not buy time (RFC 1122, 3.3.2).
    assert!(matches!(bench.insert(29_999, &part(1, &data, 8..16)), Outcome::Waits));
    assert_eq!(bench.reassembly.next_deadline(), Some(ms(30_000)));
    assert!(bench.reassembly.expire(ms(29_999), &mut bench.blocks).is_none());
    let first = bench.reassembly.expire(ms(30_000), &mut bench.blocks).unwrap();
    let (block, len) = first.first.unwrap();
    assert_eq!(block[..len], part(1, &data, 0..8), "as it came, for the error to quote");
    bench.blocks.give(block);
    assert!(bench.reassembly.expire(ms(30_009), &mut bench.blocks).is_none());
    assert!(bench.reassembly.expire(ms(30_010), &mut bench.blocks).unwrap().first.is_none());
    bench.is_empty();
    assert!(bench.complete(30_011, &part(1, &data, 16..32)).is_none(), "begins anew");
}

#[test]
fn memory_is_bounded_and_the_oldest_go_first() {
    let limit = 100_000;
    let mut bench = Bench::new(limit);
    let data = counting(4000);
    for id in 0..1000 {
        assert!(matches!(bench.insert(u64::from(id), &part(id, &data, 0..1480)), Outcome::Waits));
        assert!(bench.reassembly.bytes() <= limit && bench.blocks.in_use() <= limit);
    }
    assert!(bench.stats.reassembly_drops > 900);
    assert!(bench.complete(1000, &part(0, &data, 1480..4000)).is_none(), "the oldest is gone");
    assert!(bench.complete(1000, &part(999, &data, 1480..4000)).is_some(), "the latest is there");
    // Names alone are bounded too.
    let mut bench = Bench::new(usize::MAX);
    for id in 0..5000 {
        bench.insert(0, &part(id, &data, 0..8));
    }
    assert_eq!(bench.reassembly.by_key.len(), MAX_DATAGRAMS);
    assert!(bench.reassembly.slots.len() <= MAX_DATAGRAMS);
}

#[test]
fn a_datagram_that_is_too_much_by_itself_makes_room_for_others() {
    let mut bench = Bench::new(10_000);
    let data = counting(30_000);
    let mut dropped = 0;
    for at in (0..30_000).step_by(1480) {
        let outcome = bench.insert(0, &part(1, &data, at..(at + 1480).min(30_000)));
        dropped += usize::from(matches!(outcome, Outcome::Dropped));
        assert!(bench.reassembly.bytes() <= 10_000);
    }
    assert!(dropped >= 3);
    assert!(matches!(bench.insert(0, &part(2, &data[..16], 0..8)), Outcome::Waits));
    assert!(bench.complete(0, &part(2, &data[..16], 8..16)).is_some());
}

#[test]
fn a_datagram_in_crumbs_is_refused() {
    let mut bench = Bench::new(4 << 20);
    let data = counting(8 * 1000);
    let mut outcomes = (0..1000).map(|n| bench.insert(0, &part(1, &data, 8 * n..8 * n + 8)));
    assert_eq!(outcomes.position(|outcome| matches!(outcome, Outcome::Dropped)), Some(MAX_PIECES));
    assert_eq!(bench.blocks.in_use(), 0);
}

/// RFC 3168, 5.3.
#[test]
fn congestion_marks_of_fragments_are_combined() {
    for (first, second, whole) in [(1, 1, Some(1)), (2, 3, Some(3)), (3, 1, Some(3)), (0, 0, Some(0)), (0, 3, None)] {
        let mut bench = Bench::new(1 << 20);
        let data = counting(16);
        let mark = |ecn, mut packet: Vec<u8>| {
            packet[1] |= ecn;
            packet[10..12].fill(0);
            let sum = Sum::of(&packet[..20]).finish();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet
        };
        bench.insert(0, &mark(first, part(1, &data, 0..8)));
        let out = bench.complete(0, &mark(second, part(1, &data, 8..16)));
        assert_eq!(out.map(|packet| packet[1]), whole, "{first} {second}");
    }
}
