//! An engine on the wire, fed with whatever comes: what the fuzz target does, with seeded bytes on any toolchain.
#![cfg(feature = "net")]

#[path = "../fuzz/entries/ingress.rs"]
mod fuzz;

/// Random programs of random length (splitmix64), each replayed by its seed.
#[test]
fn any_frames_at_any_time() {
    let (first, count) = match std::env::var("NETHUNS_FUZZ_SEED") {
        Ok(seed) => (seed.parse().expect("NETHUNS_FUZZ_SEED is a number"), 1),
        Err(_) => (0, 300),
    };
    for seed in first..first + count {
        let mut state: u64 = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        let len = next() % 4000;
        let bytes: Vec<u8> = (0..len).map(|_| next() as u8).collect();
        let run = std::panic::AssertUnwindSafe(|| fuzz::ingress(&bytes));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("replay with NETHUNS_FUZZ_SEED={seed} cargo test --features net --test tcp_ingress");
            std::panic::resume_unwind(panic);
        }
    }
}
