#!/usr/bin/env bash
# What README.md promises: packets generated on one end, carried over AF_XDP, forwarded by a second program and metered
# by a third, live, and at the end every packet accounted for.
#
#   pkt-gen ──veth──▶ forward ──veth──▶ meter          three network namespaces of its own, removed at the end
#
#   scripts/demo.sh [--seconds N] [--rate R] [--mem]
#
#     --seconds N   how long to generate (default 8)
#     --rate R      packets per second, such as 50k (default 100k; 20k over libpcap)
#     --mem         in one process on wires in memory: needs no root, and is what happens without it
#
# Installs what is missing (Debian packages, by name), builds, runs. Exit status 0 only if every packet is accounted for.
set -uo pipefail
# shellcheck source=lib/setup.sh
. "$(dirname "$0")/lib/setup.sh"

seconds=8 rate='' mem=false built=''
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:-}; shift ;;
    --rate) rate=${2:-}; shift ;;
    --mem) mem=true ;;
    --built) built=${2:-}; shift ;; # the binaries are there: from ourselves, by sudo
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) die "unknown option $1: there are --seconds N, --rate R and --mem" ;;
  esac
  shift
done
[[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || die "--seconds ${seconds:-(nothing)}: expected a whole number from 1 to 99999"
[ -z "$rate" ] || [[ $rate =~ ^[0-9]*[1-9][0-9]*[kMG]?$ ]] || die "--rate $rate: expected packets per second, such as 50k"

# --- build ------------------------------------------------------------------------------------------------------------

if [ -n "$built" ]; then
  bin=$built
else
  need_library
  features=(--features full)
  say "building the tools (cargo build --release)"
  (cd "$top" && cargo build --quiet --release "${features[@]}" \
    --example pkt-gen --example forward --example meter --example demo) || die "the build failed"
  bin=${CARGO_TARGET_DIR:-target}/release/examples
  [[ $bin = /* ]] || bin=$top/$bin
fi

# --- in memory --------------------------------------------------------------------------------------------------------

in_memory() {
  say "generator, forwarder and meter in one process, on wires in memory"
  "$bin/demo" --duration "${seconds}s" --rate "${rate:-100k}"
  exit
}

$mem && in_memory
[ "$(uname -s)" = Linux ] || { say "no Linux here: no AF_XDP and no network namespaces"; in_memory; }
if [ "$(id -u)" != 0 ]; then
  if [ -z "$built" ] && sudo -n true 2>/dev/null; then
    say "going on as root (sudo): network namespaces and AF_XDP need it"
    exec sudo -n "$BASH" "$0" "${arguments[@]}" --built "$bin"
  fi
  say "not root, so no network namespaces and no AF_XDP (run it with sudo to see them)"
  in_memory
fi
need_packages iproute2

# --- a network of our own ---------------------------------------------------------------------------------------------

id=nethuns-$$
spaces=("$id-gen" "$id-fwd" "$id-met")
logs=$(mktemp -d) || die "no temporary directory"
pids=()

stop_programs() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  pids=()
}

cleanup() {
  trap '' INT TERM HUP
  stop_programs
  local space
  for space in "${spaces[@]}"; do ip netns del "$space" 2>/dev/null; done
  rm -rf "$logs"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

make_network() {
  local space
  for space in "${spaces[@]}"; do
    ip netns add "$space" || return
    # No neighbour discovery: every packet on these wires is ours.
    ip netns exec "$space" sh -c 'for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$f"; done' 2>/dev/null
  done
  ip -n "$id-gen" link add gen0 type veth peer name fwd0 netns "$id-fwd" || return
  ip -n "$id-fwd" link add fwd1 type veth peer name met0 netns "$id-met" || return
  ip -n "$id-gen" link set gen0 up && ip -n "$id-fwd" link set fwd0 up &&
    ip -n "$id-fwd" link set fwd1 up && ip -n "$id-met" link set met0 up
}

say "three network namespaces, two veth pairs: pkt-gen gen0 ── fwd0 forward fwd1 ── met0 meter"
if ! make_network; then
  say "this machine does not let us make network namespaces and veth pairs (see the error above)"
  cleanup
  trap - EXIT
  in_memory
fi

# --- three programs ---------------------------------------------------------------------------------------------------

# ready PID LOG PORTS: waits until a program has opened its ports; fails if it ends before.
ready() {
  local tries
  for ((tries = 0; tries < 200; tries++)); do
    [ "$(grep -c '"event":"start"' "$2" 2>/dev/null)" = "$3" ] && return 0
    kill -0 "$1" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

# counters SPACE INTERFACE: what the kernel has counted as dropped there.
counters() {
  local which
  printf '  %s:' "$2"
  for which in rx_dropped rx_errors tx_dropped tx_errors; do
    printf ' %s %s' "$which" "$(ip netns exec "$1" cat "/sys/class/net/$2/statistics/$which")"
  done
  echo
}

# run BACKEND RATE OPTIONS: 0 every packet is accounted for, 1 not, 2 the ports cannot be opened.
run() {
  local backend=$1 rate=$2 options=$3 meter forward generator code=0
  rm -f "$logs"/*
  ip netns exec "$id-met" "$bin/meter" "$backend:met0$options" --log "$logs/meter" 2>"$logs/meter.err" &
  meter=$!
  pids+=("$meter")
  ready "$meter" "$logs/meter" 1 || { stop_programs; reason=$(tail -n 1 "$logs/meter.err"); return 2; }
  ip netns exec "$id-fwd" "$bin/forward" "$backend:fwd0$options" "$backend:fwd1$options" --quiet \
    --log "$logs/forward" >"$logs/forward.out" 2>"$logs/forward.err" &
  forward=$!
  pids+=("$forward")
  ready "$forward" "$logs/forward" 2 || { stop_programs; reason=$(tail -n 1 "$logs/forward.err"); return 2; }
  ip netns exec "$id-gen" "$bin/pkt-gen" "$backend:gen0$options" --quiet --rate "$rate" --duration "${seconds}s" \
    --no-spin --log "$logs/gen" >"$logs/gen.out" 2>"$logs/gen.err" &
  generator=$!
  pids+=("$generator")
  ready "$generator" "$logs/gen" 1 || { stop_programs; reason=$(tail -n 1 "$logs/gen.err"); return 2; }
  # One after the other, so that each has taken in all that the one before it gave on.
  wait "$generator" || code=1
  sleep 0.5
  kill -INT "$forward" && wait "$forward" || code=1
  sleep 0.3
  kill -INT "$meter" && wait "$meter" || code=1
  pids=()
  cat "$logs/gen.out" "$logs/forward.out"
  cat "$logs"/*.err >&2
  say "where every packet has gone"
  if ! "$bin/demo" --account "$logs/gen" "$logs/forward" "$logs/meter"; then
    code=1
    say "what the interfaces count"
    counters "$id-gen" gen0
    counters "$id-fwd" fwd0
    counters "$id-fwd" fwd1
    counters "$id-met" met0
  fi
  return $code
}

for backend in af_xdp pcap; do
  if [ $backend = af_xdp ]; then
    say "pkt-gen, forward and meter over AF_XDP for $seconds s; the lines are the meter's"
    # Rings for 80 ms of packets: a program that has to wait for a CPU loses nothing.
    run af_xdp "${rate:-100k}" '?rx=8192&frames=24576&frame_size=2048'
  else
    say "pkt-gen, forward and meter over libpcap for $seconds s; the lines are the meter's"
    run pcap "${rate:-20k}" ''
  fi
  code=$?
  [ $code = 2 ] || exit $code
  say "no $backend here: ${reason:-no reason was given}"
done
cleanup
trap - EXIT
in_memory
