use super::*;
use crate::stack::blocks::Blocks;

fn buffers() -> Buffers {
    Buffers::new(64 << 20, 16, 1)
}

/// The bytes of a stream at a position.
fn stream(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// What an engine needs when a buffer is empty: nothing.
fn assert_nothing_held(buffer: &SendBuffer, buffers: &Buffers) {
    assert_eq!((buffer.len(), buffer.footprint(), buffers.blocks.in_use()), (0, 0, 0));
}

fn check(buffer: &SendBuffer, una: usize, offset: usize, len: usize) {
    let mut out = vec![0; len];
    let sum = buffer.copy_out(offset, &mut out);
    let expected = stream(una + offset, len);
    assert!(out == expected, "bytes {offset}+{len} of {}", buffer.len());
    assert_eq!(sum.finish(), Sum::of(&expected).finish(), "sum of {offset}+{len} of {}", buffer.len());
    let mut plain = vec![0; len];
    buffer.copy_out_plain(offset, &mut plain);
    assert!(plain == expected);
}

#[test]
fn a_request_and_a_response_take_one_block() {
    let (mut buffer, mut buffers) = (SendBuffer::default(), buffers());
    assert_eq!(buffer.write(&mut buffers, &stream(0, 64)), 64);
    assert_eq!((buffer.len(), buffers.blocks.in_use()), (64, 256));
    check(&buffer, 0, 0, 64);
    buffer.consume(&mut buffers, 64);
    assert_nothing_held(&buffer, &buffers);
    assert_eq!(buffer.write(&mut buffers, &stream(64, 1400)), 1400);
    assert_eq!(buffers.blocks.in_use(), 2048);
    buffer.consume(&mut buffers, 1000);
    check(&buffer, 1064, 0, 400);
    buffer.consume(&mut buffers, usize::MAX);
    assert_nothing_held(&buffer, &buffers);
    assert_eq!(buffers.blocks.idle(), 256 + 2048);
}

#[test]
fn small_writes_make_few_blocks() {
    let (mut buffer, mut buffers) = (SendBuffer::default(), buffers());
    for i in 0..1 << 20 {
        assert_eq!(buffer.write(&mut buffers, &stream(i, 1)), 1);
    }
    assert!(buffer.ring.as_ref().is_some_and(|ring| ring.len() < 32), "{:?} blocks", buffer.ring.map(|r| r.len()));
    assert!(buffers.blocks.in_use() < (1 << 20) * 9 / 8, "{} bytes for 1 MB", buffers.blocks.in_use());
    buffer.clear(&mut buffers);
    assert_nothing_held(&buffer, &buffers);
}

#[test]
fn pieces_of_odd_length_are_summed_right() {
    let (mut buffer, mut buffers) = (SendBuffer::default(), buffers());
    // 255 and 257 bytes, then 512: boundaries at odd offsets once a byte is acknowledged.
    assert_eq!(buffer.write(&mut buffers, &stream(0, 255)), 255);
    assert_eq!(buffer.write(&mut buffers, &stream(255, 2000)), 2000);
    for una in 0..3 {
        for offset in 0..260 {
            for len in [0, 1, 2, 3, 255, 256, 257, 258, 1000, 1001, 2255 - una - offset] {
                if offset + len <= buffer.len() {
                    check(&buffer, una, offset, len);
                }
            }
        }
        buffer.consume(&mut buffers, 1);
    }
    buffer.clear(&mut buffers);
    assert_nothing_held(&buffer, &buffers);
}

#[test]
fn a_limit_cuts_a_write_short_and_loses_nothing() {
    let mut buffers = Buffers::new(3 * 256, 0, 1);
    let (mut a, mut b) = (SendBuffer::default(), SendBuffer::default());
    assert_eq!(a.write(&mut buffers, &stream(0, 200)), 200);
    assert_eq!(b.write(&mut buffers, &stream(0, 1000)), 512);
    assert_eq!(b.write(&mut buffers, &stream(512, 1)), 0);
    check(&b, 0, 0, 512);
    a.clear(&mut buffers);
    assert_eq!(b.write(&mut buffers, &stream(512, 1000)), 256);
    check(&b, 0, 1, 767);
    b.clear(&mut buffers);
    assert_nothing_held(&b, &buffers);
    assert_eq!(a.write(&mut Buffers::new(0, 0, 1), b"x"), 0);
}

#[test]
fn any_order_of_writes_and_acknowledgements() {
    for seed in 0..40 {
        let mut state = seed * 2 + 1_u64;
        let mut random = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n.max(1)
        };
        let (mut buffer, mut buffers) = (SendBuffer::default(), buffers());
        // Positions wrap on the way.
        buffer.position = u32::MAX - 50_000;
        let (mut una, mut written) = (0, 0);
        for _ in 0..600 {
            match random(5) {
                0 | 1 => {
                    let most = [1, 10, 300, 2000, 20_000, 200_000][random(6)];
                    let n = 1 + random(most);
                    assert_eq!(buffer.write(&mut buffers, &stream(written, n)), n);
                    written += n;
                }
                2 => {
                    let most = [3, 1500, 100_000, usize::MAX][random(4)];
                    let n = random(most.min(buffer.len() + 1));
                    buffer.consume(&mut buffers, n);
                    una += n;
                }
                _ => {
                    let offset = random(buffer.len());
                    let len = random((buffer.len() - offset).min(9000) + 1);
                    check(&buffer, una, offset, len);
                }
            }
            assert_eq!(buffer.len(), written - una);
            let blocks = buffer.ring.as_ref().map_or(0, |ring| ring.len()) + usize::from(buffer.first.is_some());
            assert!(blocks <= 24 + buffer.len() / 16_000, "{blocks} blocks for {} bytes", buffer.len());
        }
        buffer.clear(&mut buffers);
        assert_nothing_held(&buffer, &buffers);
    }
}

#[test]
fn blocks_come_from_the_free_list() {
    let (mut buffer, mut buffers) = (SendBuffer::default(), buffers());
    let mut round = |n| {
        buffer.write(&mut buffers, &stream(0, n));
        buffer.consume(&mut buffers, n / 2);
        buffer.consume(&mut buffers, n);
        buffers.blocks.idle()
    };
    let sizes = [64, 300, 1460, 5000, 100_000, 1 << 20];
    let warm = sizes.map(&mut round).into_iter().max();
    for _ in 0..10 {
        assert_eq!(sizes.map(&mut round).into_iter().max(), warm);
    }
}

#[test]
fn sizes() {
    assert!(size_of::<SendBuffer>() <= 48);
    assert!(size_of::<Piece>() <= 32);
    // What a ring points to is freed with it, accounted or not.
    let mut blocks = Blocks::new(1 << 20);
    drop(Piece { block: blocks.take(1).unwrap(), at: 0, len: 0 });
    assert_eq!(blocks.in_use(), 0);
}
