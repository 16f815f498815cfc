//! Against a model that keeps every byte of the stream apart.

use super::*;
use crate::pool::{Geometry, Pool, PoolContext};
use std::sync::Arc;

mod property;

/// A device's frames and an engine's buffers.
struct Bench {
    pool: Arc<Pool>,
    ctx: PoolContext,
    buffers: Buffers,
    queue: RecvQueue,
    next: Seq,
}

impl Bench {
    fn new(frames: usize, max_kept: usize, block_bytes: usize) -> Self {
        let pool = Pool::heap(Geometry::new(frames, 2048)).unwrap();
        let ctx = PoolContext::attach(&pool);
        let buffers = Buffers::new(block_bytes, max_kept, 0x1234_5678);
        Self { pool, ctx, buffers, queue: RecvQueue::default(), next: Seq(u32::MAX - 5) }
    }

    /// A segment behind 54 bytes of headers, `at` bytes beyond the beginning of the stream.
    fn segment(&mut self, at: u32, bytes: &[u8]) -> Placed {
        self.segment_within(at, bytes, PLENTY)
    }

    fn segment_within(&mut self, at: u32, bytes: &[u8], limit: usize) -> Placed {
        let mut payload = self.ctx.alloc(54 + bytes.len() + 4).unwrap();
        payload[54..54 + bytes.len()].copy_from_slice(bytes);
        let seq = Seq(u32::MAX - 5) + at;
        let range = 54..54 + bytes.len();
        let placed = self.queue.receive(&mut self.buffers, self.next, seq, payload, range, limit);
        self.next += placed.ready;
        placed
    }

    /// The same out of a block, as over loopback.
    fn packet(&mut self, at: u32, bytes: &[u8], limit: usize) -> Placed {
        let mut block = self.buffers.blocks.take(40 + bytes.len()).unwrap();
        block[40..40 + bytes.len()].copy_from_slice(bytes);
        let seq = Seq(u32::MAX - 5) + at;
        let range = 40..40 + bytes.len();
        let placed = self.queue.receive(&mut self.buffers, self.next, seq, block, range, limit);
        self.next += placed.ready;
        placed
    }

    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(chunk) = self.queue.pop(&mut self.buffers) {
            all.extend_from_slice(&chunk.open(&self.ctx));
        }
        all
    }

    /// Offsets from the beginning of the stream.
    fn sacks(&self) -> Vec<(u32, u32)> {
        let mut blocks = [(Seq(0), Seq(0)); 4];
        let n = self.queue.sack_blocks(&self.buffers, &mut blocks);
        blocks[..n].iter().map(|(from, to)| (offset(*from), offset(*to))).collect()
    }

    fn assert_nothing_held(&self) {
        assert_eq!((self.queue.readable(), self.queue.out_of_order(), self.queue.footprint()), (0, 0, 0));
        assert!(!self.queue.has_gaps());
        assert_eq!(self.buffers.nodes.in_use(), 0);
        assert_eq!(self.buffers.kept_frames(), 0);
        assert_eq!(self.buffers.blocks.in_use(), 0);
        assert_eq!(self.pool.in_flight(), 0);
    }
}

fn offset(seq: Seq) -> u32 {
    seq.since(Seq(u32::MAX - 5))
}

fn fresh(bytes: u32) -> Placed {
    Placed { fresh: bytes, ..Placed::default() }
}

fn ready(ready: u32, fresh: u32) -> Placed {
    Placed { ready, fresh, ..Placed::default() }
}

fn duplicate(placed: Placed) -> Option<(u32, u32)> {
    placed.duplicate.map(|(from, to)| (offset(from), offset(to)))
}

#[test]
fn in_order() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    assert_eq!(bench.segment(0, b"hello "), ready(6, 6));
    assert_eq!(bench.queue.footprint(), 2048 + OVERHEAD);
    assert_eq!(bench.segment(6, b"world"), ready(5, 5));
    assert_eq!(bench.segment(11, b""), ready(0, 0));
    assert_eq!((bench.queue.readable(), bench.buffers.kept_frames(), bench.pool.in_flight()), (11, 1, 1));
    assert_eq!(bench.read(), b"hello world");
    bench.assert_nothing_held();
}

#[test]
fn holes_are_closed() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    assert_eq!(bench.segment(3, b"def"), fresh(3));
    assert_eq!(bench.segment(9, b"jkl"), fresh(3));
    assert_eq!(bench.sacks(), [(9, 12), (3, 6)]);
    assert_eq!((bench.queue.readable(), bench.queue.out_of_order()), (0, 6));
    assert!(bench.queue.pop(&mut bench.buffers).is_none());
    assert_eq!(bench.segment(6, b"ghi"), fresh(3));
    assert_eq!(bench.sacks(), [(3, 12)]);
    assert_eq!(bench.segment(0, b"abc"), ready(12, 3));
    assert_eq!(bench.read(), b"abcdefghijkl");
    assert_eq!(bench.sacks(), []);
    bench.assert_nothing_held();
}

#[test]
fn one_segment_over_many_holes() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    for at in [2, 5, 8] {
        assert_eq!(bench.segment(at, b"XY"), fresh(2));
    }
    let placed = bench.segment(0, b"abcdefghijkl");
    assert_eq!((placed.ready, placed.fresh, duplicate(placed)), (12, 6, Some((2, 4))));
    assert_eq!(bench.read(), b"abXYeXYhXYkl", "bytes received first win");
    bench.assert_nothing_held();
}

/// RFC 2018, section 4: the first block has the segment that triggered the acknowledgement, then those reported most
/// recently. Section 5 has examples of segments of 500 bytes.
#[test]
fn selective_acknowledgements_of_rfc_2018() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    let segment = [7; 500];
    assert_eq!(bench.segment(0, &segment).ready, 500);
    // Case 3: the 2nd, 4th, 6th and 8th of the segments from here on are lost.
    assert_eq!((bench.segment(500, &segment).ready, bench.sacks()), (500, vec![]));
    bench.segment(1500, &segment);
    assert_eq!(bench.sacks(), [(1500, 2000)]);
    bench.segment(2500, &segment);
    assert_eq!(bench.sacks(), [(2500, 3000), (1500, 2000)]);
    bench.segment(3500, &segment);
    assert_eq!(bench.sacks(), [(3500, 4000), (2500, 3000), (1500, 2000)]);
    // The 4th comes late, then the 2nd.
    bench.segment(2000, &segment);
    assert_eq!(bench.sacks(), [(1500, 3000), (3500, 4000)]);
    assert_eq!(bench.segment(1000, &segment).ready, 2000);
    assert_eq!(bench.sacks(), [(3500, 4000)]);
    bench.queue.clear(&mut bench.buffers);
    bench.assert_nothing_held();
}

#[test]
fn more_holes_than_blocks_are_told_in_turn() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    for at in [10, 20, 30, 40, 50, 60] {
        bench.segment(at, b"z");
    }
    assert_eq!(bench.sacks(), [(60, 61), (50, 51), (40, 41), (30, 31)]);
    bench.segment(21, b"z");
    assert_eq!(bench.sacks(), [(20, 22), (60, 61), (50, 51), (40, 41)]);
    let placed = bench.segment(10, b"z");
    assert_eq!(duplicate(placed), Some((10, 11)));
    assert_eq!(bench.sacks(), [(10, 11), (20, 22), (60, 61), (50, 51)], "the block around a duplicate comes second");
    bench.queue.clear(&mut bench.buffers);
    bench.assert_nothing_held();
}

/// RFC 2883, section 4: the cases of what is reported as received twice.
#[test]
fn duplicates_of_rfc_2883() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    let bytes = [1; 2000];
    // 4.1.1: a whole segment again.
    bench.segment(0, &bytes[..1000]);
    let placed = bench.segment(500, &bytes[..500]);
    assert_eq!((placed.ready, placed.fresh, duplicate(placed)), (0, 0, Some((500, 1000))));
    // 4.1.2: again, beyond a hole: the larger block goes second.
    bench.segment(1500, &bytes[..1500]);
    let placed = bench.segment(2000, &bytes[..500]);
    assert_eq!((duplicate(placed), bench.sacks()), (Some((2000, 2500)), vec![(1500, 3000)]));
    // 4.2.1: a part of it is new.
    let placed = bench.segment(500, &bytes[..700]);
    assert_eq!((placed.ready, placed.fresh, duplicate(placed)), (200, 200, Some((500, 1000))));
    // 4.2.3: two parts of it are duplicates: the first one is told.
    bench.segment(4000, &bytes[..500]);
    let placed = bench.segment(2500, &bytes[..1900]);
    assert_eq!((placed.fresh, duplicate(placed)), (1000, Some((2500, 3000))));
    assert_eq!(bench.sacks(), [(1500, 4500)]);
    let placed = bench.segment(1100, &bytes[..500]);
    assert_eq!((placed.ready, placed.fresh, duplicate(placed)), (3300, 300, Some((1100, 1200))));
    assert_eq!(bench.read().len(), 4500);
    bench.assert_nothing_held();
}

#[test]
fn what_is_put_back_is_read_first() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    bench.segment(0, b"abcdef");
    let mut chunk = bench.queue.pop(&mut bench.buffers).unwrap();
    assert_eq!((bench.queue.footprint(), bench.buffers.kept_frames()), (0, 0));
    bench.segment(6, b"ghi");
    chunk.advance(2);
    bench.queue.unread(&mut bench.buffers, chunk);
    assert_eq!((bench.queue.readable(), bench.buffers.kept_frames()), (7, 2));
    assert_eq!(bench.read(), b"cdefghi");
    // Of another stream, for that matter; and nothing at all.
    bench.queue.unread(&mut bench.buffers, Chunk::copy_of(b"xyz"));
    bench.queue.unread(&mut bench.buffers, Chunk::copy_of(b""));
    bench.segment(9, b"jkl");
    assert_eq!(bench.read(), b"xyzjkl");
    bench.assert_nothing_held();
}

#[test]
fn small_payloads_share_blocks() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    for at in 0..100_000 {
        assert_eq!(bench.segment(at, &[at as u8]).ready, 1);
        assert!(bench.queue.footprint() <= 2048 + OVERHEAD + 256 + 4 * at as usize + COLLECT);
    }
    assert_eq!(bench.buffers.kept_frames(), 1, "the first one, when nobody was behind");
    assert!(bench.queue.footprint() < 120_000);
    assert!(bench.read().iter().enumerate().all(|(at, byte)| *byte == at as u8));
    bench.assert_nothing_held();
}

#[test]
fn small_payloads_between_large_ones_take_little() {
    let mut bench = Bench::new(1024, 1024, 1 << 20);
    let mut at = 0;
    for _ in 0..200 {
        for len in [1400, 1] {
            assert_eq!(bench.segment(at, &[5; 1400][..len]).ready, len as u32);
            at += len as u32;
        }
    }
    assert_eq!(bench.queue.footprint(), 200 * (2048 + OVERHEAD) + 200 * (256 + OVERHEAD));
    assert_eq!(bench.read().len(), at as usize);
    bench.assert_nothing_held();
}

#[test]
fn out_of_frames_payloads_are_copied() {
    let mut bench = Bench::new(16, 3, 1 << 20);
    for i in 0..20 {
        assert_eq!(bench.segment(i * 1400, &[i as u8; 1400]), ready(1400, 1400));
    }
    assert_eq!((bench.buffers.kept_frames(), bench.pool.in_flight(), bench.buffers.copied()), (3, 3, 17));
    let all = bench.read();
    assert!((0..20).all(|i| all[i * 1400..][..1400].iter().all(|byte| *byte == i as u8)));
    bench.assert_nothing_held();
}

#[test]
fn out_of_everything_segments_are_dropped_and_taken_later() {
    let mut bench = Bench::new(16, 1, 2048);
    let dropped = Placed { dropped: true, ..Placed::default() };
    assert_eq!(bench.segment(0, &[1; 1400]), ready(1400, 1400));
    assert_eq!(bench.segment(1400, &[2; 1400]), ready(1400, 1400), "into the only block");
    assert_eq!(bench.segment(2800, &[3; 1400]), dropped);
    assert_eq!(bench.segment(5000, &[3; 1400]), dropped);
    assert_eq!(bench.segment(2800, &[3; 648]), ready(648, 648), "what fits into the block");
    assert_eq!(bench.read().len(), 3448);
    assert_eq!(bench.segment(3448, &[3; 1400]), ready(1400, 1400));
    assert_eq!(bench.read(), [3; 1400]);
    bench.assert_nothing_held();
}

#[test]
fn far_beyond_any_window_nothing_is_kept() {
    let mut bench = Bench::new(16, 16, 1 << 20);
    for at in [(1 << 30) - 1, 1 << 30, (1 << 31) - 9] {
        let placed = bench.segment(at, b"ab");
        assert_eq!((placed.fresh, placed.dropped), (0, true), "{at}");
    }
    assert_eq!(bench.segment((1 << 30) - 2, b"ab"), fresh(2));
    bench.queue.clear(&mut bench.buffers);
    bench.assert_nothing_held();
}

/// A peer that sends every second byte, in the worst orders.
#[test]
fn as_many_holes_as_there_can_be() {
    const BYTES: u32 = 1 << 17;
    type Order = fn(u32) -> u32;
    let orders: [(&str, Order); 4] = [
        ("upwards", |i| i),
        ("downwards", |i| BYTES / 2 - 1 - i),
        ("from both ends", |i| if i % 2 == 0 { i / 2 } else { BYTES / 2 - 1 - i / 2 }),
        ("shuffled", |i| i.wrapping_mul(40_503) % (BYTES / 2)),
    ];
    for (order, position) in orders {
        let mut bench = Bench::new(16, 16, 1 << 30);
        for i in 0..BYTES / 2 {
            assert_eq!(bench.segment(1 + 2 * position(i), &[1]).fresh, 1, "{order}");
        }
        let depth = bench.buffers.spans.depth(&bench.queue.spans);
        assert!(depth < 64, "{order}: {depth} deep");
        assert_eq!((bench.queue.out_of_order(), bench.pool.in_flight()), (BYTES as usize / 2, 0));
        assert_eq!(bench.queue.footprint(), BYTES as usize / 2 * (256 + OVERHEAD));
        for i in 0..BYTES / 2 {
            assert_eq!(bench.segment(2 * position(i), &[0]).fresh, 1, "{order}");
        }
        assert!(!bench.queue.has_gaps(), "{order}");
        assert!(bench.read().iter().enumerate().all(|(at, byte)| *byte == (at % 2) as u8), "{order}");
        bench.assert_nothing_held();
    }
}

#[test]
fn holes_take_no_more_memory_than_allowed() {
    let mut bench = Bench::new(16, 16, 1 << 30);
    let limit = 100_000;
    let mut kept = 0;
    for i in 0..10_000 {
        kept += bench.segment_within(1 + 2 * i, &[1], limit).fresh;
        assert!(bench.queue.footprint() <= limit);
    }
    assert_eq!(kept as usize, limit / (256 + OVERHEAD));
    // A frame would be too much as well; what is in order is taken all the same.
    assert!(bench.segment_within(50_000, &[1; 1400], limit).dropped);
    assert_eq!(bench.segment_within(0, &[0], limit).ready, 2);
    // One segment over all holes: what goes into blocks that are there takes nothing; what goes on behind them does.
    let placed = bench.segment_within(2, &[2; 1500], limit);
    assert_eq!((placed.ready, placed.fresh, placed.dropped), (2 * kept - 2, kept - 1, true));
    assert!(bench.segment_within(9000, &[1], limit).dropped);
    bench.read();
    assert_eq!(bench.segment_within(9000, &[1], limit), fresh(1));
    bench.queue.clear_out_of_order(&mut bench.buffers);
    assert_eq!((bench.queue.out_of_order(), bench.queue.has_gaps()), (0, false));
    assert_eq!(bench.sacks(), []);
    bench.assert_nothing_held();
}

/// Twice the window is enough for a window full of segments behind one hole, whatever their size.
#[test]
fn a_window_fits_into_twice_its_size() {
    const WINDOW: usize = 256 << 10;
    for len in [1, 10, 64, 100, 300, 500, 536, 1000, 1024, 1100, 1220, 1448, 1460] {
        let mut bench = Bench::new(512, 512, 1 << 30);
        let bytes = vec![9; len];
        for at in (len..WINDOW - len).step_by(len) {
            assert_eq!(bench.segment_within(at as u32, &bytes, 2 * WINDOW), fresh(len as u32), "{len} at {at}");
        }
        // The same with holes in between: for large segments at least.
        bench.queue.clear(&mut bench.buffers);
        for at in (len..WINDOW - len).step_by(2 * len) {
            let placed = bench.segment_within(at as u32, &bytes, 2 * WINDOW);
            assert!(placed == fresh(len as u32) || len < 100, "{len} at {at}");
        }
        bench.queue.clear(&mut bench.buffers);
        bench.assert_nothing_held();
    }
}

/// Segments of one byte in order, downwards, in a burst behind one hole, with a reader that sleeps.
#[test]
fn memory_is_a_small_multiple_of_contiguous_bytes() {
    let mut bench = Bench::new(16, 16, 1 << 30);
    for i in 0..50_000 {
        assert_eq!(bench.segment(100 + i, &[i as u8]).fresh, 1);
    }
    assert!(bench.queue.footprint() < 70_000, "{} for 50000 bytes", bench.queue.footprint());
    bench.queue.clear(&mut bench.buffers);
    bench.assert_nothing_held();
}

#[test]
fn an_engine_is_dropped_with_everything_in_it() {
    let mut bench = Bench::new(16, 4, 1 << 20);
    for at in [0, 1400, 4000, 9000, 12_000] {
        bench.segment(at, &[1; 1400]);
    }
    assert_eq!((bench.pool.in_flight(), bench.buffers.kept_frames()), (4, 4));
    drop(bench.buffers);
    assert_eq!(bench.pool.in_flight(), 0);
}

#[test]
fn an_idle_queue_is_small() {
    assert!(size_of::<RecvQueue>() <= 48, "{}", size_of::<RecvQueue>());
    const { assert!(Nodes::NODE <= 48) };
    let mut bench = Bench::new(16, 16, 1 << 20);
    bench.segment(0, b"x");
    bench.read();
    let links = bench.buffers.overhead();
    for _ in 0..1000 {
        let at = offset(bench.next);
        bench.segment(at + 1, b"y");
        bench.segment(at, b"x");
        bench.read();
    }
    assert!(bench.buffers.overhead() <= links + 1024, "nodes and spans are used again");
}
