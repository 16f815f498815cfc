use super::*;
use crate::pool::{Geometry, Pool, PoolContext};

#[test]
fn a_payload_stays_where_it_is_unless_memory_would_be_wasted() {
    let pool = Pool::heap(Geometry::new(16, 2048)).unwrap();
    let ctx = PoolContext::attach(&pool);
    let mut buffers = Buffers::new(1 << 20, 2, 1);
    let frame = || ctx.alloc(1500).unwrap();
    let small = buffers.keep(frame(), 54..64, 0).unwrap();
    assert!(small.is_frame(), "the reader keeps up");
    let next = buffers.keep(frame(), 54..64, 10).unwrap();
    assert!(!next.is_frame(), "the reader is behind");
    let large = buffers.keep(frame(), 54..1500, 20).unwrap();
    assert!(large.is_frame(), "nothing is wasted");
    assert_eq!((buffers.kept_frames(), buffers.copied(), pool.in_flight()), (2, 1, 2));
    let more = buffers.keep(frame(), 54..1500, 0).unwrap();
    assert!(!more.is_frame(), "frames run out");
    assert_eq!((buffers.kept_frames(), buffers.copied(), buffers.blocks.in_use()), (2, 2, 256 + 2048));
    for chunk in [small, next, large, more] {
        buffers.leave(&chunk);
        chunk.discard(&mut buffers.blocks);
    }
    assert_eq!((buffers.kept_frames(), buffers.blocks.in_use(), pool.in_flight()), (0, 0, 0));
}

#[test]
fn without_blocks_frames_are_kept_as_long_as_there_are_any() {
    let pool = Pool::heap(Geometry::new(16, 2048)).unwrap();
    let ctx = PoolContext::attach(&pool);
    let mut buffers = Buffers::new(0, 1, 1);
    let chunk = buffers.keep(ctx.alloc(1500).unwrap(), 0..10, 10).unwrap();
    assert!(chunk.is_frame());
    assert!(buffers.keep(ctx.alloc(1500).unwrap(), 0..10, 10).is_none());
    assert!(buffers.keep(ctx.alloc(1500).unwrap(), 0..1500, 0).is_none());
    assert_eq!(pool.in_flight(), 1);
}

#[test]
fn packets_in_blocks_are_kept_by_the_same_rule() {
    let mut buffers = Buffers::new(1 << 20, 0, 1);
    let packet = buffers.blocks.take(1500).unwrap();
    let large = buffers.keep(packet, 20..1500, 7);
    assert_eq!(large.map(|chunk| (chunk.len(), chunk.footprint())), Some((1480, 2048)), "not a frame: never runs out");
    let packet = buffers.blocks.take(1500).unwrap();
    let small = buffers.keep(packet, 20..30, 7);
    assert_eq!(small.map(|chunk| (chunk.len(), chunk.footprint())), Some((10, 256)));
    assert_eq!((buffers.kept_frames(), buffers.blocks.in_use()), (0, 0));
}
