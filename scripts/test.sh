#!/usr/bin/env bash
# All tests. Installs what it needs (Debian packages, by name), says what it does, ends with what was skipped and why.
#
#   scripts/test.sh            everything
#   scripts/test.sh STEP...    some of: style features tests simulation dpdk models sanitizer netmap bench demo
#
#   NETHUNS_SIM_SEEDS=N                       seeds of the TCP/IP engine's simulation (10000; 1000 in CI)
# NETHUNS_NETMAP_MODULE=path/to/netmap.ko   runs netmap's tests on that module too, in a guest (scripts/netmap-guest.sh)
#
# As root it also makes network namespaces of its own and runs the tests that need interfaces; without root those are
# reported as skipped. With CI=true a skip is a failure, but for what CI's machine cannot have (a netmap module).
set -uo pipefail
# shellcheck source=lib/setup.sh
. "$(dirname "$0")/lib/setup.sh"
cd "$top" || exit

steps=("$@")
[ ${#steps[@]} = 0 ] && steps=(style features tests simulation dpdk models sanitizer netmap bench demo)

need_library
need_packages clang gcc g++ pkg-config curl openssl wget python3 iperf3 iproute2 ethtool iptables tcpdump tshark iputils-ping wrk shellcheck

logs=$(mktemp -d)
hugepages=/proc/sys/vm/nr_hugepages
reserved=
cleanup() {
  rm -rf "$logs"
  [ -z "$reserved" ] || echo "$reserved" >"$hugepages"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
export NETHUNS_SKIP_LOG="$logs/skipped"
: >"$NETHUNS_SKIP_LOG"
export CARGO_TERM_COLOR=never RUST_BACKTRACE=1
passed=0 failed=0
failures=()

# check NAME COMMAND...: runs it, counts it, shows its output only if it fails.
check() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$logs/out" 2>&1; then
    passed=$((passed + 1))
    printf '  ok    %s (%ds)\n' "$name" $((SECONDS - start))
  else
    failed=$((failed + 1))
    failures+=("$name")
    printf '  FAIL  %s (%ds)\n' "$name" $((SECONDS - start))
    grep -vE '^ +(Compiling|Checking|Downloaded|Downloading) ' "$logs/out" | tail -n 120 | sed 's/^/        /'
  fi
}

# tests NAME CARGO-TEST-ARGUMENTS...: as check, and counts the single tests.
tests() {
  local name=$1 start=$SECONDS ok bad
  shift
  local code=0
  cargo "$@" >"$logs/out" 2>&1 || code=$?
  ok=$(awk '/^test result:/ {n += $4} END {print n + 0}' "$logs/out")
  bad=$(awk '/^test result:/ {n += $6} END {print n + 0}' "$logs/out")
  passed=$((passed + ok))
  failed=$((failed + bad))
  if [ "$code" = 0 ] && [ "$ok" -gt 0 ]; then
    printf '  ok    %s: %d tests (%ds)\n' "$name" "$ok" $((SECONDS - start))
  else
    [ "$bad" = 0 ] && failed=$((failed + 1))
    failures+=("$name")
    printf '  FAIL  %s: %d passed, %d failed (%ds)\n' "$name" "$ok" "$bad" $((SECONDS - start))
    grep -vE '^test .* ok$|^ +(Compiling|Checking|Downloaded|Downloading) ' "$logs/out" | tail -n 150 | sed 's/^/        /'
  fi
}

skipped() { printf 'SKIPPED %s\n' "$*" >>"$NETHUNS_SKIP_LOG"; }

# Each feature alone, and all of them.
sets=("--no-default-features" "--no-default-features --features pcap" "--no-default-features --features af_xdp" "--no-default-features --features netmap" "--no-default-features --features net" "--no-default-features --features usockets" "--no-default-features --features usockets-udp" "--no-default-features --features tls" "--features full")

step_style() {
  say "style: formatting, shell scripts"
  check "cargo fmt" cargo fmt --all --check
  check "shellcheck" shellcheck -x -P SCRIPTDIR -S warning scripts/*.sh scripts/*/*.sh .ci/run
}

step_features() {
  say "features: clippy and rustdoc for each feature alone and for all"
  local set
  for set in "${sets[@]}"; do
    # shellcheck disable=SC2086  # the sets are words
    check "clippy $set" cargo clippy --all-targets $set -- -D warnings
    # shellcheck disable=SC2086
    RUSTDOCFLAGS="-D warnings" check "rustdoc $set" cargo doc --no-deps $set
  done
  check "clippy usockets-c" cargo clippy -p usockets-c --all-targets -- -D warnings
  # What other systems compile. Their standard libraries are not everywhere to be had, so this is a bonus.
  local target installed
  installed=$(rustup target list --installed 2>/dev/null || true)
  for target in x86_64-unknown-freebsd x86_64-apple-darwin x86_64-pc-windows-gnu; do
    if grep -qx "$target" <<<"$installed"; then
      check "cargo check for $target" cargo check -p nethuns-rs --target "$target" --no-default-features --features pcap,netmap
    else
      echo "  --    cargo check for $target: not here (rustup target add $target)"
    fi
  done
}

step_tests() {
  say "tests: unit, integration and documentation tests"
  [ "$(id -u)" = 0 ] || say "not root: tests that need interfaces of their own are skipped"
  if [ -w "$hugepages" ] && [ "$(cat "$hugepages")" -lt 64 ]; then
    say "reserving 64 huge pages for the tests that want them; given back at the end"
    reserved=$(cat "$hugepages")
    echo 64 >"$hugepages"
  fi
  tests "without features" test --no-fail-fast --no-default-features
  tests "all features" test --no-fail-fast --features full
  tests "libusockets, by programs in C" test -p usockets-c
}

step_simulation() {
  local seeds=${NETHUNS_SIM_SEEDS:-10000}
  [ "${CI:-}" = true ] && seeds=${NETHUNS_SIM_SEEDS:-1000}
  say "simulation: two engines and every fault of a wire, $seeds seeds; goodput against the Mathis bound"
  NETHUNS_SIM_SEEDS=$seeds CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true CARGO_TARGET_DIR="$top/target/simulation" \
    tests "simulation" test -p nethuns-rs --release --no-default-features --features net --lib stack::sim
}

step_dpdk() {
  say "dpdk: clippy, rustdoc and tests with feature dpdk, on virtual devices, ordinary pages and huge ones"
  need_packages libdpdk-dev dpdk-dev libclang-dev
  # Without the feature nobody needs the packages: nothing of DPDK may be in the graph then.
  check "full does without dpdk-sys" bash -c '! cargo tree --features full --edges normal,build --prefix none | grep -q "^dpdk-sys "'
  check "clippy dpdk-sys" cargo clippy -p dpdk-sys --all-targets -- -D warnings
  local set
  for set in "--no-default-features --features dpdk" "--features full,dpdk"; do
    # shellcheck disable=SC2086  # the sets are words
    check "clippy $set" cargo clippy --all-targets $set -- -D warnings
    # shellcheck disable=SC2086
    RUSTDOCFLAGS="-D warnings" check "rustdoc $set" cargo doc --no-deps $set
  done
  [ "$(id -u)" = 0 ] || say "not root: tests that need interfaces or huge pages are skipped"
  tests "feature dpdk alone" test --no-default-features --features dpdk
  tests "feature dpdk beside all others" test --features full,dpdk --lib --test dpdk --test dpdk_conformance --test conformance --test seeds --test house
}

step_models() {
  say "models: every interleaving of what threads share (loom)"
  RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$top/target/loom" tests "loom" test -p nethuns-rs --release --no-default-features --features usockets --lib model
}

step_sanitizer() {
  say "sanitizer: AddressSanitizer over the tests of api, pool, mem, af_xdp, netmap and the network stack"
  local host
  host=$(rustc -vV | awk '/^host:/ {print $2}')
  if ! cargo +nightly --version >/dev/null 2>&1; then
    skipped "AddressSanitizer: no nightly toolchain (rustup toolchain install nightly)"
    return
  fi
  # Every test that runs our code in its own process: not those of the tools, of the compiler and of the source's text.
  local which=() file name
  for file in tests/*.rs tests/*/main.rs; do
    case $file in
      *"/*"*) continue ;;
      tests/*/main.rs) name=$(basename "$(dirname "$file")") ;;
      *) name=$(basename "$file" .rs) ;;
    esac
    # net_descriptors uses up what LeakSanitizer needs at the end, usockets_memory what AddressSanitizer lives in.
    case $name in tools | http_on_stack | usockets_examples | usockets_memory | net_descriptors | compile_fail | house) ;; *) which+=(--test "$name") ;; esac
  done
  NETHUNS_SOAK_CONNECTIONS=2000 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="$top/target/asan" tests "AddressSanitizer" \
    +nightly test -p nethuns-rs --target "$host" --no-default-features --features af_xdp,netmap,usockets,usockets-udp --lib "${which[@]}"
}

step_netmap() {
  say "netmap: its tests on a real module, in a guest"
  if [ -n "${NETHUNS_NETMAP_MODULE:-}" ]; then
    check "netmap-guest.sh" ./scripts/netmap-guest.sh "$NETHUNS_NETMAP_MODULE"
  else
    # Says itself that it skips.
    ./scripts/netmap-guest.sh >/dev/null
  fi
}

step_bench() {
  say "bench: the benchmarks, quickly, so that they cannot rot"
  [ "$(id -u)" = 0 ] || { skipped "scripts/bench.sh --quick: needs root for network namespaces"; return; }
  check "bench.sh packets --quick" ./scripts/bench.sh packets --quick
  check "bench.sh tcp --quick" ./scripts/bench.sh tcp --quick
  check "bench.sh usockets --quick" ./scripts/bench.sh usockets --quick
}

step_demo() {
  say "demo: what README.md promises"
  check "demo.sh --mem" ./scripts/demo.sh --mem --seconds 2
  [ "$(id -u)" = 0 ] || { skipped "scripts/demo.sh over AF_XDP: needs root for network namespaces"; return; }
  check "demo.sh" ./scripts/demo.sh --seconds 3
}

for step in "${steps[@]}"; do
  declare -F "step_$step" >/dev/null || die "no step \`$step\`: there are style features tests simulation dpdk models sanitizer netmap bench demo"
  "step_$step"
done

echo
sort -u "$NETHUNS_SKIP_LOG"
skips=$(sort -u "$NETHUNS_SKIP_LOG" | wc -l)
if [ "${CI:-}" = true ] && sort -u "$NETHUNS_SKIP_LOG" | grep -qv '^SKIPPED netmap'; then
  failed=$((failed + 1))
  failures+=("skipped in CI, where everything can run")
fi
[ ${#failures[@]} = 0 ] || printf 'failed: %s\n' "${failures[@]}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skips"
[ "$failed" = 0 ]
