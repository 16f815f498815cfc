use super::*;
use crate::counting::allocations;
use crate::pool::{Geometry, Pool, PoolContext};
use crate::stack::tcp::recv_queue::RecvQueue;
use crate::stack::tcp::send_buffer::SendBuffer;
use crate::stack::tcp::seq::Seq;

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

/// Runs `round` until it is warm, then counts over 1000 more.
fn steady(what: &str, mut round: impl FnMut()) {
    (0..300).for_each(|_| round());
    let before = allocations();
    (0..1000).for_each(|_| round());
    assert_eq!(allocations() - before, 0, "{what}: allocations in 1000 rounds");
}

#[test]
fn nothing_is_allocated_once_things_are_running() {
    let before = allocations();
    drop(std::hint::black_box(vec![1; 10]));
    assert_eq!(allocations() - before, 1, "the counter counts");

    let pool = Pool::heap(Geometry::new(256, 2048)).unwrap();
    let ctx = PoolContext::attach(&pool);
    let mut buffers = Buffers::new(64 << 20, 64, 1);
    let (mut sent, mut received) = (SendBuffer::default(), RecvQueue::default());
    let (bytes, mut out) = (vec![7; 300_000], vec![0; 1448]);
    let mut next = Seq(u32::MAX - 100_000);

    steady("requests and responses", || {
        assert!(received.push(&mut buffers, ctx.alloc(118).unwrap(), 54..118));
        let request = received.pop(&mut buffers).unwrap().open(&ctx);
        assert_eq!(sent.write(&mut buffers, &bytes[..request.len()]), 64);
        let _ = sent.copy_out(0, &mut out[..64]);
        sent.consume(&mut buffers, 64);
    });
    steady("a full send buffer", || {
        while sent.len() < 1 << 20 {
            assert_eq!(sent.write(&mut buffers, &bytes[..100_001]), 100_001);
        }
        for i in 0..200 {
            let _ = sent.copy_out(i * 1448, &mut out);
        }
        sent.consume(&mut buffers, 200 * 1448);
    });
    sent.clear(&mut buffers);
    steady("small writes", || {
        for _ in 0..500 {
            sent.write(&mut buffers, &bytes[..100]);
        }
        sent.clear(&mut buffers);
    });
    steady("many connections", || {
        let mut many: [SendBuffer; 64] = std::array::from_fn(|_| SendBuffer::default());
        many.iter_mut().for_each(|each| assert_eq!(each.write(&mut buffers, &bytes[..20_000]), 20_000));
        many.iter_mut().for_each(|each| each.clear(&mut buffers));
    });
    steady("a slow reader, with more than are kept", || {
        for _ in 0..100 {
            assert!(received.push(&mut buffers, ctx.alloc(1514).unwrap(), 54..1514));
        }
        for _ in 0..100 {
            assert!(received.push(&mut buffers, ctx.alloc(60).unwrap(), 54..60));
        }
        while let Some(mut chunk) = received.pop(&mut buffers) {
            chunk.advance(1);
            received.unread(&mut buffers, chunk);
            // On its way through the program a block is dropped, not given back.
            drop(received.pop(&mut buffers).unwrap().open(&ctx));
        }
    });
    steady("losses", || {
        let mut receive = |at: u32, len: usize| {
            let payload = ctx.alloc(54 + len).unwrap();
            let seq = next + at;
            let placed = received.receive(&mut buffers, next, seq, payload, 54..54 + len, 1 << 20);
            assert!(!placed.dropped);
            next += placed.ready;
        };
        for i in [9, 3, 4, 5, 1, 7, 11, 13, 1] {
            receive(i * 100, 100);
        }
        receive(0, 1448);
        while let Some(chunk) = received.pop(&mut buffers) {
            drop(chunk.open(&ctx));
        }
    });
    assert_eq!((buffers.blocks.in_use(), buffers.kept_frames(), pool.in_flight()), (0, 0, 0));
}
