use super::*;
use crate::pool::{Geometry, Pool, PoolContext};
use std::sync::Arc;

fn pool() -> (Arc<Pool>, PoolContext) {
    let pool = Pool::heap(Geometry::new(16, 2048)).unwrap();
    let ctx = PoolContext::attach(&pool);
    (pool, ctx)
}

/// A frame of 100 bytes that count up, as a chunk of those in `range`.
fn frame(ctx: &PoolContext, range: Range<usize>) -> Chunk {
    let mut payload = ctx.alloc(100).unwrap();
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte = i as u8;
    }
    payload.into_chunk(range)
}

fn block(range: Range<usize>) -> Chunk {
    let mut blocks = Blocks::new(usize::MAX);
    let mut block = blocks.take(100).unwrap();
    for (i, byte) in block.iter_mut().enumerate() {
        *byte = i as u8;
    }
    block.into_chunk(range)
}

#[test]
fn a_chunk_is_cut_at_both_ends() {
    let (pool, ctx) = pool();
    for make in [&|r| frame(&ctx, r) as Chunk, &block as &dyn Fn(Range<usize>) -> Chunk] {
        let mut chunk = make(10..90);
        assert_eq!((chunk.len(), chunk.is_empty()), (80, false));
        chunk.advance(5);
        chunk.truncate(70);
        chunk.truncate(1000);
        assert_eq!(chunk.len(), 70);
        let mut opened = chunk.open(&ctx);
        assert!(opened.iter().copied().eq(15..85));
        opened.advance(1);
        opened[0] = 200;
        let mut chunk = opened.into_chunk();
        assert_eq!(chunk.len(), 69);
        chunk.truncate(2);
        let opened = chunk.open(&ctx);
        assert_eq!(*opened, [200, 17]);
        let mut chunk = opened.into_chunk();
        chunk.advance(usize::MAX);
        assert!(chunk.is_empty());
        assert_eq!(*chunk.open(&ctx), []);
    }
    assert_eq!(pool.in_flight(), 0);
}

#[test]
fn ranges_are_cut_to_what_there_is() {
    let (pool, ctx) = pool();
    #[allow(clippy::reversed_empty_ranges)]
    for (range, len) in
        [(0..100, 100), (0..2000, 100), (90..usize::MAX, 10), (100..100, 0), (3000..4000, 0), (50..40, 0)]
    {
        assert_eq!(frame(&ctx, range.clone()).len(), len, "{range:?}");
    }
    assert_eq!(block(250..300).len(), 6);
    assert_eq!(pool.in_flight(), 0);
}

#[test]
fn reading_takes_from_the_front() {
    let (pool, ctx) = pool();
    let mut out = [0; 30];
    let (n, rest) = frame(&ctx, 20..60).read(&ctx, &mut out);
    assert!(n == 30 && out.iter().copied().eq(20..50));
    let (n, rest) = rest.unwrap().read(&ctx, &mut []);
    assert_eq!((n, pool.in_flight()), (0, 1));
    let (n, rest) = rest.unwrap().read(&ctx, &mut out);
    assert!(n == 10 && rest.is_none() && out[..10].iter().copied().eq(50..60));
    assert_eq!(pool.in_flight(), 0);
    assert!(frame(&ctx, 5..5).read(&ctx, &mut out).1.is_none());
}

#[test]
fn a_frame_goes_home_however_it_ends() {
    let (pool, ctx) = pool();
    drop(frame(&ctx, 0..10));
    drop(frame(&ctx, 0..10).open(&ctx));
    drop(frame(&ctx, 0..10).open(&ctx).into_chunk());
    let chunk = frame(&ctx, 0..10);
    let clone = ctx.clone();
    std::thread::spawn(move || assert_eq!(chunk.open(&clone).len(), 10)).join().unwrap();
    frame(&ctx, 0..10).discard(&mut Blocks::new(0));
    assert_eq!(pool.in_flight(), 0);
}

#[test]
fn a_frame_of_another_pool_is_copied() {
    let (ours, ctx) = pool();
    let (theirs, other) = pool();
    let mut chunk = frame(&other, 10..20);
    chunk.advance(3);
    let mut opened = chunk.open(&ctx);
    assert_eq!((&*opened, theirs.in_flight(), ours.in_flight()), (&[13, 14, 15, 16, 17, 18, 19][..], 0, 0));
    opened[0] = 1;
    assert_eq!(*opened.into_chunk().open(&ctx), [1, 14, 15, 16, 17, 18, 19]);
    // Its pool is gone altogether.
    let chunk = frame(&other, 10..20);
    drop((theirs, other));
    assert!(chunk.open(&ctx).is_empty());
}

#[test]
fn padding_is_writable_and_within_the_frame() {
    let (pool, ctx) = pool();
    for (chunk, most) in [(frame(&ctx, 54..100), 2048), (block(54..100), 256)] {
        let mut opened = chunk.open(&ctx);
        assert!(opened.with_padding(55, 0).is_none());
        assert!(opened.with_padding(0, most - 99).is_none());
        assert!(opened.with_padding(usize::MAX, usize::MAX).is_none());
        assert!(opened.with_padding(54, most - 100).is_some());
        let (bytes, at) = opened.with_padding(32, 32).unwrap();
        assert_eq!((bytes.len(), at.clone()), (32 + 46 + 32, 32..78));
        bytes[..32].fill(0xaa);
        bytes[78..].fill(0xbb);
        assert!(bytes[at].iter().copied().eq(54..100));
        assert!(opened.iter().copied().eq(54..100), "the data is what it was");
        let chunk = opened.into_chunk();
        assert_eq!(chunk.len(), 46);
        assert!(chunk.open(&ctx).iter().copied().eq(54..100));
    }
    let mut copy = Chunk::copy_of(b"tight").open(&ctx);
    assert!(copy.with_padding(0, 1).is_none() && copy.with_padding(0, 0).is_some());
    drop(copy);
    assert_eq!(pool.in_flight(), 0);
}

#[test]
fn memory_is_told_at_its_true_size() {
    let (_pool, ctx) = pool();
    assert_eq!(frame(&ctx, 10..12).footprint(), 2048);
    assert_eq!(frame(&ctx, 10..12).open(&ctx).into_chunk().footprint(), 2048);
    assert_eq!(block(10..12).footprint(), 256);
}

#[test]
fn sizes() {
    assert_eq!(size_of::<Chunk>(), 32);
    fn send<T: Send + 'static>() {}
    send::<Chunk>();
}
