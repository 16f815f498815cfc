fn main() {
    println!("cargo:rerun-if-changed=../raw");
    cc::Build::new().file("../raw/raw_xsk.c").opt_level(2).warnings(true).compile("raw_xsk");
}
