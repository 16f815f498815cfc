//! Compiles what all contenders share: see `benches/peers/raw`.

fn main() {
    println!("cargo:rerun-if-changed=../peers/raw");
    cc::Build::new().file("../peers/raw/raw_xsk.c").opt_level(2).warnings(true).compile("raw_xsk");
}
