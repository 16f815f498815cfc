# shellcheck shell=bash
# The packet layer: memory, channel, pcap, AF_XDP and DPDK, against hand-written C loops, xsk-rs, plain flume and
# dpdk-testpmd.
# Sourced by scripts/bench.sh with its arguments.

: "${top:?run scripts/bench.sh packets}"
peers=target/peers
without=()

# peer NAME COMMAND...: builds a peer; if that fails its figures are reported as skipped, with the reason.
peer() {
  local name=$1 log
  shift
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    without+=(--without "$name=cannot be built: $(grep -m1 -iE 'error|cannot|not found' "$log" || tail -n 1 "$log")")
  fi
  rm -f "$log"
}

c_peers() {
  local flags=(-O2 -Wall -Wextra -Werror -Ibenches/peers)
  "${CC:-gcc}" "${flags[@]}" -o "$peers/af_xdp_loop" benches/peers/af_xdp_loop.c benches/peers/raw/raw_xsk.c
  "${CC:-gcc}" "${flags[@]}" -o "$peers/pcap_loop" benches/peers/pcap_loop.c benches/peers/raw/raw_xsk.c -lpcap
}

# In a target folder of its own: its libbpf and its flags are not ours.
xsk_rs_peer() {
  CARGO_TARGET_DIR="$top/$peers/xsk-rs" cargo build --quiet --release --locked --manifest-path benches/peers/xsk-rs/Cargo.toml &&
    cp "$peers/xsk-rs/release/xsk-rs-loop" "$peers/xsk-rs-loop"
}

need_library
need_packages iproute2 valgrind
# Only xsk-rs wants these: it builds libxdp, BPF programs included, and its bindings.
need_packages clang libclang-dev llvm m4

mkdir -p "$peers"
say "building: C loops, xsk-rs (in $peers) and our own contender"
rm -f "$peers"/{af_xdp_loop,pcap_loop,xsk-rs-loop}
c_peers
peer xsk-rs xsk_rs_peer
cargo build --quiet --profile bench -p nethuns-bench-packets
# After the others, in a target folder of its own: feature `dpdk` is built into what it touches.
dpdk_contenders() {
  need_packages libdpdk-dev dpdk-dev coreutils
  CARGO_TARGET_DIR="$top/target/dpdk" cargo build --quiet --profile bench -p nethuns-bench-packets --features dpdk --bin packets-dpdk &&
    cp target/dpdk/release/packets-dpdk "${CARGO_TARGET_DIR:-target}/release/packets-dpdk"
}
peer testpmd dpdk_contenders

say "measuring: $(uname -sr), $(nproc) CPUs, $(rustc --version | cut -d' ' -f1-2), $("${CC:-gcc}" -dumpfullversion) for C"
exec "${CARGO_TARGET_DIR:-target}/release/bench-packets" --peers "$peers" "${without[@]}" "$@"
