# shellcheck shell=bash
# The TCP engine: exchanges, idle connections and bulk transfers in memory, against smoltcp; requests, bulk transfers and
# connections over veth, on AF_XDP against the same server on the kernel.
# Sourced by scripts/bench.sh with its arguments.

: "${top:?run scripts/bench.sh tcp}"

need_library
need_packages valgrind iproute2 ethtool util-linux iptables

say "building: our contender, smoltcp, and the server over veth"
cargo build --quiet --profile bench -p nethuns-bench-tcp

say "measuring: $(uname -sr), $(nproc) CPUs, $(rustc --version | cut -d' ' -f1-2)"
exec "${CARGO_TARGET_DIR:-target}/release/bench-tcp" "$@"
