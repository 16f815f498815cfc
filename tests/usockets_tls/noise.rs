//! What the fuzzer does, with a few bytes of our own.

#[path = "../../fuzz/entries/tls.rs"]
mod entry;

use proptest::prelude::*;

/// A record, or what looks like one, in a piece of its own.
fn record() -> impl Strategy<Value = Vec<u8>> {
    (20u8..24, 0u8..200, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, len, body)| {
        let mut piece = vec![kind, 3, 3, 0, len];
        piece.extend(body);
        piece.insert(0, (piece.len() / 4) as u8);
        piece
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_as_they_come(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        entry::tls(&bytes);
    }

    #[test]
    fn records_as_they_come(first in any::<u8>(), records in prop::collection::vec(record(), 0..5)) {
        entry::tls(&[vec![first], records.concat()].concat());
    }
}
