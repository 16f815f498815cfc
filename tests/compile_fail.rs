//! What must not compile: frames with two owners, frames out of thin air, frames that outlive their memory.
//!
//! Each file under `tests/ui/` is one misuse, with the compiler's words for it beside it. Written for the toolchain of
//! `rust-toolchain.toml`; `TRYBUILD=overwrite cargo test --test compile_fail` writes them anew.

#[test]
fn frames_cannot_be_misused() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// A type that is `Sync` has two implementations of this, and the call below is ambiguous.
trait NotSync<Which> {
    fn is_one_threads() {}
}
impl<T: ?Sized> NotSync<()> for T {}
struct Both;
impl<T: ?Sized + Sync> NotSync<Both> for T {}

/// That this compiles is the test: sockets, and the contexts in them, are one thread's at a time, and move.
#[test]
fn sockets_and_contexts_move_but_are_not_shared() {
    fn moves<T: Send>() {}
    macro_rules! check {
        ($($kind:ty),*) => { $( moves::<$kind>(); <$kind as NotSync<_>>::is_one_threads(); )* };
    }
    check!(nethuns_rs::mem::Sock, nethuns_rs::any::Sock, nethuns_rs::pool::PoolContext);
    check!(nethuns_rs::mem::faults::Faults<nethuns_rs::mem::Sock>);
    #[cfg(feature = "pcap")]
    check!(nethuns_rs::pcap::Sock);
    #[cfg(all(target_os = "linux", feature = "af_xdp"))]
    check!(nethuns_rs::af_xdp::Sock);
}
