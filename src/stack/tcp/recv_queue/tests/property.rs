//! Random segments in any order, with reads in between, against a model.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Where it begins relative to what is next in order, its length, and whether it came over loopback.
    Segment { at: i32, len: usize, block: bool },
    /// Reads so many chunks.
    Read(usize),
    /// Reads part of a chunk and puts the rest back.
    ReadPart(usize),
    /// Drops everything beyond holes.
    Renege,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![4 => 1_usize..20, 2 => 1_usize..600, 2 => 1400_usize..1501, 1 => Just(0_usize)];
    let at = prop_oneof![3 => Just(0), 4 => -100..4000_i32, 2 => -3000..200_i32, 4 => 0..60_i32];
    prop_oneof![
        40 => (at, len, any::<bool>()).prop_map(|(at, len, block)| Step::Segment { at, len, block }),
        4 => (0_usize..20).prop_map(Step::Read),
        4 => (0_usize..700).prop_map(Step::ReadPart),
        1 => Just(Step::Renege),
    ]
}

/// Every byte of the stream by itself.
#[derive(Default)]
struct Model {
    bytes: Vec<Option<u8>>,
    next: usize,
    read: usize,
    /// Places in which something changed, the last one at the end.
    touched: Vec<usize>,
}

impl Model {
    fn get(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied().flatten()
    }

    fn has(&self, at: usize) -> bool {
        at < self.next || self.get(at).is_some()
    }

    /// Takes those bytes that `kept` names.
    fn segment(&mut self, at: usize, bytes: &[u8], kept: impl Fn(usize) -> bool) -> (Placed, Option<(u32, u32)>) {
        let mut placed = Placed::default();
        let end = at + bytes.len();
        let duplicate = (at..end).find(|i| self.has(*i)).map(|from| {
            let to = (from..end).find(|i| !self.has(*i)).unwrap_or(end);
            (from as u32, to as u32)
        });
        self.bytes.resize(self.bytes.len().max(end), None);
        for (i, byte) in (at..).zip(bytes) {
            if !self.has(i) {
                if kept(i) {
                    self.bytes[i] = Some(*byte);
                    placed.fresh += 1;
                } else {
                    placed.dropped = true;
                }
            }
        }
        let before = self.next;
        while self.get(self.next).is_some() {
            self.next += 1;
        }
        placed.ready = (self.next - before) as u32;
        if !bytes.is_empty() {
            self.touched.push(end - 1);
        }
        (placed, duplicate)
    }

    /// The bytes without a hole around one that is there.
    fn span(&self, at: usize) -> (u32, u32) {
        let (mut start, mut end) = (at, at);
        while self.has(start - 1) {
            start -= 1;
        }
        while self.has(end) {
            end += 1;
        }
        (start as u32, end as u32)
    }

    /// Spans beyond holes, those that changed last first.
    fn spans(&mut self) -> Vec<(u32, u32)> {
        let mut spans = Vec::new();
        let mut last = Vec::new();
        for at in self.touched.iter().rev() {
            let known = spans.iter().any(|(from, to)| (*from..*to).contains(&(*at as u32)));
            if !known && *at > self.next && self.get(*at).is_some() {
                spans.push(self.span(*at));
                last.push(*at);
            }
        }
        last.reverse();
        self.touched = last;
        spans
    }

    fn out_of_order(&self) -> usize {
        self.bytes.iter().skip(self.next).flatten().count()
    }

    fn check_read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(self.get(self.read), Some(*byte), "byte {}", self.read);
            self.read += 1;
        }
        assert!(self.read <= self.next);
    }
}

/// Bytes that tell segments apart.
fn payload(tag: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (tag * 31 + i * 7) as u8).collect()
}

impl Bench {
    fn spans(&self) -> Vec<(u32, u32)> {
        self.buffers.spans.by_age(&self.queue.spans).map(|span| (offset(span.start), offset(span.end))).collect()
    }
}

fn play(steps: &[Step], max_kept: usize, block_bytes: usize, limit: usize) {
    let plenty = limit == PLENTY && block_bytes == PLENTY;
    let mut bench = Bench::new(256, max_kept, block_bytes);
    let mut model = Model::default();
    for (tag, step) in steps.iter().enumerate() {
        match *step {
            Step::Segment { at, len, block } => {
                let at = (model.next as i64 + i64::from(at)).max(0) as usize;
                let bytes = payload(tag, len);
                let block = block && (plenty || bench.buffers.blocks.in_use() + 2048 <= block_bytes);
                let before = bench.queue.footprint();
                let placed = if block {
                    bench.packet(at as u32, &bytes, limit)
                } else {
                    bench.segment_within(at as u32, &bytes, limit)
                };
                assert!(placed.ready > 0 || bench.queue.footprint() <= before.max(limit));
                assert!(!placed.dropped || !plenty);
                let (spans, next) = (bench.spans(), offset(bench.next));
                let kept = |i| i < next as usize || spans.iter().any(|span| (span.0..span.1).contains(&(i as u32)));
                let (expected, duplicate) = model.segment(at, &bytes, kept);
                assert_eq!(super::duplicate(placed), duplicate);
                assert_eq!(Placed { duplicate: None, ..placed }, expected);
                if placed.dropped {
                    // Which of several pieces came last is not told.
                    model.touched = spans.iter().rev().map(|span| span.0 as usize).collect();
                }
            }
            Step::Read(n) => {
                for _ in 0..n {
                    let Some(chunk) = bench.queue.pop(&mut bench.buffers) else { break };
                    assert!(!chunk.is_empty());
                    model.check_read(&chunk.open(&bench.ctx));
                }
            }
            Step::ReadPart(n) => {
                if let Some(chunk) = bench.queue.pop(&mut bench.buffers) {
                    let mut out = vec![0; n];
                    let (n, rest) = chunk.read(&bench.ctx, &mut out);
                    model.check_read(&out[..n]);
                    if let Some(rest) = rest {
                        bench.queue.unread(&mut bench.buffers, rest);
                    }
                }
            }
            Step::Renege => {
                bench.queue.clear_out_of_order(&mut bench.buffers);
                model.bytes.truncate(model.next);
            }
        }
        let spans = model.spans();
        assert_eq!(bench.queue.readable(), model.next - model.read);
        assert_eq!(bench.queue.out_of_order(), model.out_of_order());
        assert_eq!(bench.queue.has_gaps(), !spans.is_empty());
        assert_eq!(bench.spans(), spans);
        assert_eq!(bench.sacks(), spans[..spans.len().min(4)]);
        assert!(bench.queue.footprint() >= bench.queue.readable() + bench.queue.out_of_order());
        assert!(bench.buffers.kept_frames() <= max_kept);
        assert_eq!(bench.pool.in_flight(), bench.buffers.kept_frames());
    }
    let rest = bench.read();
    model.check_read(&rest);
    assert_eq!(model.read, model.next);
    bench.queue.clear(&mut bench.buffers);
    bench.assert_nothing_held();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_once_and_in_order(
        steps in prop::collection::vec(step(), 0..200),
        max_kept in prop_oneof![Just(0_usize), Just(3), Just(4096)],
    ) {
        play(&steps, max_kept, PLENTY, PLENTY);
    }

    #[test]
    fn nothing_is_lost_when_memory_is_short(
        steps in prop::collection::vec(step(), 0..200),
        blocks in 0_usize..30_000,
        limit in 0_usize..30_000,
    ) {
        play(&steps, 5, blocks, limit);
    }
}
