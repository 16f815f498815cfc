# shellcheck shell=bash
# The uSockets layer: what it adds to an exchange in memory; servers over veth, on AF_XDP against the same on the kernel and
# against a server in C on epoll.
# Sourced by scripts/bench.sh with its arguments.

: "${top:?run scripts/bench.sh usockets}"
peers=target/peers

need_library
need_packages valgrind iproute2 ethtool util-linux openssl

say "building: servers and loads, and the server in C"
mkdir -p "$peers"
"${CC:-gcc}" -O2 -Wall -Wextra -Werror -o "$peers/epoll_server" benches/peers/epoll_server.c
cargo build --quiet --profile bench -p nethuns-bench-usockets

say "measuring: $(uname -sr), $(nproc) CPUs, $(rustc --version | cut -d' ' -f1-2), $("${CC:-gcc}" -dumpfullversion) for C"
exec "${CARGO_TARGET_DIR:-target}/release/bench-usockets" --peers "$peers" "$@"
