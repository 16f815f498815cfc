# shellcheck shell=bash
# The TCP engine: exchanges, idle connections and bulk transfers in memory, against smoltcp.
# Sourced by scripts/bench.sh with its arguments.

: "${top:?run scripts/bench.sh tcp}"

need_rust
need_packages valgrind

say "building: our contender and smoltcp"
cargo build --quiet --profile bench -p nethuns-bench-tcp

say "measuring: $(uname -sr), $(nproc) CPUs, $(rustc --version | cut -d' ' -f1-2)"
exec "${CARGO_TARGET_DIR:-target}/release/bench-tcp" "$@"
