use super::*;
use crate::stack::random::Random;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

/// The `n`th of many clients of one server.
fn client(n: u32) -> FlowKey {
    FlowKey::v4(Ipv4Addr::new(10, 0, 0, 1), 80, Ipv4Addr::from(0x0a01_0000 + n / 28_000), (32_768 + n % 28_000) as u16)
}

/// A table with the keys of its flows, as an engine keeps them.
struct Model {
    table: FlowTable,
    keys: HashMap<Flow, FlowKey>,
}

impl Model {
    fn new(secret: [u64; 2]) -> Self {
        Self { table: FlowTable::new(secret), keys: HashMap::new() }
    }

    fn find(&self, key: &FlowKey) -> Option<Flow> {
        self.table.find(self.table.hash(key), |flow| self.keys[&flow] == *key)
    }

    fn insert(&mut self, key: FlowKey, flow: Flow) {
        self.table.insert(self.table.hash(&key), flow);
        self.keys.insert(flow, key);
    }

    fn remove(&mut self, flow: Flow) -> bool {
        let Some(key) = self.keys.remove(&flow) else { return false };
        self.table.remove(self.table.hash(&key), flow)
    }
}

/// Everything that is promised about how entries lie.
fn check(table: &FlowTable) {
    let mut len = 0;
    for (number, segment) in table.segments.iter().enumerate() {
        let mut entries = 0;
        for (at, bucket) in segment.buckets.iter().enumerate() {
            let here = bucket.len();
            entries += here;
            assert!(bucket.flows[here..].iter().chain(&bucket.tags[here..]).all(|word| *word == 0), "a gap");
            for (tag, _) in bucket.entries() {
                assert_eq!((tag >> 26) as usize, number);
                let mut way = segment.home(tag);
                while way != at {
                    assert!(segment.buckets[way].is_full(), "an entry lies past a bucket with room");
                    way = segment.after(way);
                }
            }
        }
        assert_eq!(entries, segment.len);
        assert!(segment.buckets.len().is_power_of_two() && entries * 4 <= segment.buckets.len() * SLOTS * 3);
        len += entries;
    }
    assert_eq!(len, table.len());
}

#[test]
fn keys_keep_both_ends_of_both_kinds() {
    for (local, remote) in
        [("10.0.0.1:80", "192.168.7.9:65535"), ("[2001:db8::1]:443", "[fe80::2]:1"), ("0.0.0.0:0", "255.255.255.255:0")]
    {
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        let key = FlowKey::new(local, remote);
        assert_eq!((key.local(), key.remote()), (local, remote));
        assert_eq!(key, FlowKey::from_ips(key.local_ip(), key.local_port(), key.remote_ip(), key.remote_port()));
        if let (SocketAddr::V4(l), SocketAddr::V4(r)) = (local, remote) {
            assert_eq!(key, FlowKey::v4(*l.ip(), l.port(), *r.ip(), r.port()));
            assert_eq!(format!("{key:?}"), format!("{local}<-{remote}"));
        }
        assert_ne!(key, FlowKey::new(remote, local));
        let bytes = key.bytes();
        assert_eq!(bytes[32..34], local.port().to_be_bytes());
        assert_eq!(bytes[34..], remote.port().to_be_bytes());
    }
}

#[test]
fn flows_are_packed_without_loss_and_never_to_nothing() {
    for index in [0, 1, 12_345, Flow::MAX_INDEX] {
        for flow in [Flow::Connection(index), Flow::HalfOpen(index), Flow::TimeWait(index)] {
            assert_eq!(Flow::unpack(flow.pack()), Some(flow));
            assert_ne!(flow.pack(), 0);
        }
    }
    assert_eq!(Flow::unpack(0), None);
    assert_eq!(Flow::unpack(Flow::MAX_INDEX), None);
}

#[test]
fn what_is_entered_is_found_and_what_is_removed_is_not() {
    let mut model = Model::new([1, 2]);
    assert_eq!(model.find(&client(0)), None);
    for n in 0..50_000 {
        model.insert(client(n), Flow::Connection(n));
    }
    check(&model.table);
    assert!((0..50_000).all(|n| model.find(&client(n)) == Some(Flow::Connection(n))));
    assert!((50_000..60_000).all(|n| model.find(&client(n)).is_none()));
    let hash = model.table.hash(&client(7));
    model.table.touch(hash);
    assert_eq!(model.table.candidate(hash), Some(7));
    assert!(!model.table.remove(hash, Flow::HalfOpen(7)));
    assert!(!model.table.replace(hash, Flow::HalfOpen(7), Flow::TimeWait(1)));
    assert!(model.table.replace(hash, Flow::Connection(7), Flow::TimeWait(1)));
    assert_eq!(model.table.find(hash, |_| true), Some(Flow::TimeWait(1)));
    assert_eq!(model.table.find(hash, |_| false), None);
    assert!(model.table.remove(hash, Flow::TimeWait(1)));
    for n in (0..50_000).filter(|n| *n != 7) {
        assert!(model.remove(Flow::Connection(n)));
    }
    check(&model.table);
    assert_eq!(model.table.len(), 0);
    assert!(model.table.footprint() <= 64 * (SMALLEST * 64 + 32), "memory is given back");
}

/// Entries that all belong in the same few buckets, as nobody's luck makes them: chains wrap round and are closed again.
#[test]
fn a_table_does_what_a_map_does_in_the_worst_of_neighbourhoods() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let (mut segment, mut all) = (Segment::new(1), Vec::new());
        // Few different homes: at the ends, at the beginning, or all over.
        let spread = [1, 2, 5, 1 << 26][seed as usize % 4];
        for step in 0..4000u32 {
            if random.below(100) < if (step / 700) % 2 == 0 { 65 } else { 35 } {
                let tag = (0u32.wrapping_sub(2).wrapping_add(random.below(spread) as u32)) << 6 >> 6;
                segment.insert(tag, 1 << 30 | step);
                all.push((tag, 1 << 30 | step));
            } else if !all.is_empty() {
                let (tag, flow) = all.swap_remove(random.below(all.len() as u64) as usize);
                assert!(segment.remove(tag, flow));
                assert!(!segment.remove(tag, flow), "it is gone");
            }
            assert_eq!(segment.len, all.len());
            if step % 97 == 0 {
                for (tag, flow) in &all {
                    assert!(segment.search(*tag, |other| other == *flow).is_some());
                }
                let mut lying: Vec<_> = segment.buckets.iter().flat_map(Bucket::entries).collect();
                let mut expected = all.clone();
                lying.sort_unstable();
                expected.sort_unstable();
                assert_eq!(lying, expected);
            }
        }
    }
}

#[test]
fn a_table_does_what_a_map_does() {
    let mut random = Random(99);
    let (mut model, mut by_key) = (Model::new([5, 6]), HashMap::<FlowKey, Flow>::new());
    for step in 0..120_000u32 {
        let key = client(random.below(9000) as u32);
        assert_eq!(model.find(&key), by_key.get(&key).copied());
        let grow = (step / 30_000) % 2 == 0;
        match by_key.get(&key).copied() {
            None if grow || random.below(4) == 0 => {
                let flow =
                    [Flow::Connection(step), Flow::HalfOpen(step), Flow::TimeWait(step)][random.below(3) as usize];
                model.insert(key, flow);
                by_key.insert(key, flow);
            }
            Some(flow) if !grow || random.below(4) == 0 => {
                assert!(model.remove(flow));
                by_key.remove(&key);
            }
            Some(old) => {
                let new = Flow::Connection(1 << 20 | step);
                assert!(model.table.replace(model.table.hash(&key), old, new));
                model.keys.remove(&old);
                model.keys.insert(new, key);
                by_key.insert(key, new);
            }
            None => {}
        }
        if step % 5000 == 0 {
            check(&model.table);
        }
    }
    check(&model.table);
    assert_eq!(model.table.len(), by_key.len());
}

/// A hundred thousand connections open and close one after the other while others stay.
#[test]
fn no_residue_is_left_by_connections_that_come_and_go() {
    let mut model = Model::new([3, 4]);
    for n in 0..10_000 {
        model.insert(client(n), Flow::Connection(n));
    }
    let before = model.table.footprint();
    let full = |table: &FlowTable| table.segments.iter().flat_map(|s| &s.buckets).filter(|b| b.is_full()).count();
    let chains = full(&model.table);
    for n in 0..100_000 {
        model.insert(client(20_000 + n), Flow::HalfOpen(n));
        assert!(model.remove(Flow::HalfOpen(n)));
    }
    check(&model.table);
    assert_eq!((model.table.footprint(), full(&model.table), model.table.len()), (before, chains, 10_000));
}

/// The longest way of any entry, with as many flows as give the fullest segments.
#[test]
fn chains_are_short_and_tags_differ_for_keys_as_they_come() {
    type Pattern = (&'static str, fn(u32) -> FlowKey);
    let patterns: [Pattern; 4] = [
        ("clients", client),
        ("ports", |n| FlowKey::v4(Ipv4Addr::LOCALHOST, 80 + (n >> 16) as u16, Ipv4Addr::LOCALHOST, n as u16)),
        ("networks", |n| FlowKey::v4(Ipv4Addr::new(10, 0, 0, 1), 80, Ipv4Addr::from(n << 12), 1024)),
        ("ipv6", |n| {
            let remote = std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n) << 64);
            FlowKey::from_ips(std::net::Ipv6Addr::LOCALHOST.into(), 80, remote.into(), 1024)
        }),
    ];
    for secret in 0..4 {
        for (name, key) in patterns {
            let mut table = FlowTable::new([secret, 0]);
            // 64 segments × 128 buckets × 6: about to grow everywhere.
            let keys: Vec<_> = (0..48_000).map(|n| table.hash(&key(n))).collect();
            keys.iter().zip(0..).for_each(|(hash, n)| table.insert(*hash, Flow::Connection(n)));
            check(&table);
            let far = table.segments.iter().flat_map(|segment| {
                let buckets = segment.buckets.iter().enumerate();
                buckets.flat_map(move |(at, bucket)| bucket.entries().map(move |(tag, _)| segment.distance(tag, at)))
            });
            let far = far.max().unwrap();
            assert!(far <= 32, "{name}: {far} buckets from home");
            assert!(!table.wants_rekey());
            let mut tags: Vec<u32> = keys.iter().map(|hash| hash.0).collect();
            tags.sort_unstable();
            tags.dedup();
            // Of 48 000 random tags a quarter of a pair is expected to be equal.
            assert!(tags.len() >= 48_000 - 8, "{name}: {} tags are equal", 48_000 - tags.len());
        }
    }
}

/// Each bit of the key changes each bit of the tag about every other time.
#[test]
fn the_hash_mixes_every_bit() {
    let table = FlowTable::new([0x1234, 0x5678]);
    let mut random = Random(4);
    for word in [3usize, 7, 8, 0, 4] {
        for bit in 0..32 {
            let mut flips = [0u32; 32];
            for _ in 0..400 {
                let address =
                    |r: &mut Random| std::net::Ipv6Addr::from(u128::from(r.next()) << 64 | u128::from(r.next()));
                let (local, remote) = (address(&mut random), address(&mut random));
                let ports = random.next() as u32;
                let mut bits = [local.to_bits(), remote.to_bits()];
                let before = FlowKey::from_ips(local.into(), (ports >> 16) as u16, remote.into(), ports as u16);
                let mut other = ports;
                match word {
                    8 => other ^= 1 << bit,
                    _ => bits[word / 4] ^= 1 << (32 * (word % 4) + bit),
                }
                let [local, remote] = bits.map(std::net::Ipv6Addr::from_bits);
                let after = FlowKey::from_ips(local.into(), (other >> 16) as u16, remote.into(), other as u16);
                let differ = table.hash(&before).0 ^ table.hash(&after).0;
                (0..32).for_each(|n| flips[n] += differ >> n & 1);
            }
            assert!(flips.iter().all(|n| (120..280).contains(n)), "word {word} bit {bit}: {flips:?}");
        }
    }
}

#[test]
fn secrets_change_who_shares_a_bucket() {
    let [one, two] = [[1, 1], [1, 2]].map(FlowTable::new);
    let same = (0..10_000).filter(|n| one.hash(&client(*n)).0 >> 20 == two.hash(&client(*n)).0 >> 20).count();
    assert!(same < 20, "{same} of 10 000 lie in the same 4096th");
}

/// Keys that collide in spite of the secret: the table notices, and goes over to a hash in which they do not.
#[test]
fn a_chain_that_is_too_long_is_rekeyed() {
    let mut table = FlowTable::new([7, 8]);
    let mut flows = HashMap::new();
    for n in 0..5000 {
        let key = client(n);
        // As if the fast hash gave all of the last thousand the same value.
        let hash = if n < 4000 { table.hash(&key) } else { FlowHash(0xabcd_0000) };
        table.insert(hash, Flow::Connection(n));
        flows.insert(Flow::Connection(n), key);
    }
    check(&table);
    assert!(table.wants_rekey());
    let old = table.hash(&client(0));
    table.rekey(|flow| flows.get(&flow).copied().filter(|_| flow != Flow::Connection(17)));
    check(&table);
    assert!(!table.wants_rekey());
    assert_ne!(table.hash(&client(0)), old);
    assert_eq!(table.len(), 4999, "the flow without a key is gone");
    for n in (0..5000).filter(|n| *n != 17) {
        assert_eq!(table.find(table.hash(&client(n)), |flow| flows[&flow] == client(n)), Some(Flow::Connection(n)));
    }
    // Once more, now with a patience twice as long.
    for n in 0..(SLOTS as u32 * (CHAIN + 2)) {
        table.insert(FlowHash(0x1111_1111), Flow::HalfOpen(n));
    }
    assert!(!table.wants_rekey());
}
