#!/usr/bin/env bash
# What README.md promises, in two parts.
#
# First packets generated on one end, carried over AF_XDP, forwarded by a second program and metered by a third, live, and
# at the end every packet accounted for:
#
#   pkt-gen ──veth──▶ forward ──veth──▶ meter
#
# Then a web server on our own TCP/IP stack over AF_XDP, on a veth end that has no kernel address; on the kernel's side
# ping, curl, wrk, iperf3 and 10 000 connections at once; and the same program on the kernel's network beside it:
#
#   http, iperf-server ──veth── kernel: ping, curl, wrk, iperf3, load
#
# All of it in network namespaces of its own, removed at the end.
#
#   scripts/demo.sh [--seconds N] [--rate R] [--http | --packets | --mem]
#
#     --seconds N   how long to generate packets (default 8)
#     --rate R      packets per second, such as 50k (default 100k; 20k over libpcap)
#     --http        the second part only
#     --packets     the first part only
#     --mem         packets, in one process on wires in memory: needs no root, and is what happens without it
#
# Installs what is missing (Debian packages, by name), builds, runs. Exit status 0 only if every packet is accounted for
# and every request answered.
set -uo pipefail
# shellcheck source=lib/setup.sh
. "$(dirname "$0")/lib/setup.sh"

seconds=8 rate='' mem=false packets=true http=true built=''
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:-}; shift ;;
    --rate) rate=${2:-}; shift ;;
    --mem) mem=true ;;
    --http) packets=false ;;
    --packets) http=false ;;
    --built) built=${2:-}; shift ;; # the binaries are there: from ourselves, by sudo
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) die "unknown option $1: there are --seconds N, --rate R, --http, --packets and --mem" ;;
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
    --example pkt-gen --example forward --example meter --example demo \
    --example http --example iperf-server --example load) || die "the build failed"
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
$http && need_packages curl iperf3 iputils-ping wrk

# --- a network of our own ---------------------------------------------------------------------------------------------

id=nethuns-$$
spaces=("$id-gen" "$id-fwd" "$id-met" "$id-srv" "$id-cli")
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

# make_spaces NAME...: namespaces of these names.
make_spaces() {
  local space
  for space in "$@"; do
    ip netns add "$space" || return
    # No neighbour discovery: every packet on these wires is ours.
    ip netns exec "$space" sh -c 'for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$f"; done' 2>/dev/null
  done
}

make_network() {
  make_spaces "$id-gen" "$id-fwd" "$id-met" || return
  ip -n "$id-gen" link add gen0 type veth peer name fwd0 netns "$id-fwd" || return
  ip -n "$id-fwd" link add fwd1 type veth peer name met0 netns "$id-met" || return
  ip -n "$id-gen" link set gen0 up && ip -n "$id-fwd" link set fwd0 up &&
    ip -n "$id-fwd" link set fwd1 up && ip -n "$id-met" link set met0 up
}

no_network() {
  say "this machine does not let us make network namespaces and veth pairs (see the error above)"
  cleanup
  trap - EXIT
  in_memory
}

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

# packet_demo: the first part. 0 every packet is accounted for.
packet_demo() {
  local backend code
  say "three network namespaces, two veth pairs: pkt-gen gen0 ── fwd0 forward fwd1 ── met0 meter"
  make_network || no_network
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
    [ $code = 2 ] || return $code
    say "no $backend here: ${reason:-no reason was given}"
  done
  cleanup
  trap - EXIT
  in_memory
}

# --- a web server -----------------------------------------------------------------------------------------------------

on_client() { ip netns exec "$id-cli" "$@"; }

# cpu PID: processor time that it has taken, in hundredths of a second.
cpu() { sed 's/.*) //' "/proc/$1/stat" | awk '{print $12 + $13}'; }

# shown COMMAND...: the command, as one would type it, and what it says.
shown() {
  printf '\033[2m$ %s\033[0m\n' "$*"
  on_client "$@"
}

# serve NET PROGRAM ARGUMENTS...: starts a server; `server` is its PID.
serve() {
  local net=$1 program=$2
  shift 2
  rm -f "$logs/$program"
  # No function around it: the PID must be the program's.
  ip netns exec "$id-srv" "$bin/$program" "$@" --net "$net" --log "$logs/$program" >"$logs/$program.out" 2>"$logs/$program.err" &
  server=$!
  pids+=("$server")
  ready "$server" "$logs/$program" 1 && return
  stop_programs
  reason=$(tail -n 1 "$logs/$program.err")
  return 2
}

# gbit JSON: the bits per second that arrived, in 10⁹, of a test of iperf3.
gbit() { awk -F ': *' '/"sum_received"/ {sum = 1} sum && /bits_per_second/ {printf "%.2f", $2 / 1e9; exit}' "$1"; }

# measure NET NAME: serves on this network and sets the figures of `row`. 2: it cannot be opened.
measure() {
  local net=$1 before after wrk load
  serve "$net" http --listen 10.0.0.2:80 || return
  if [ "$2" = stack ]; then
    shown ping -c 3 -i 0.2 10.0.0.2 || return 1
    shown curl -si http://10.0.0.2/ || return 1
  fi
  before=$(cpu "$server")
  on_client wrk -t1 -c100 -d3s http://10.0.0.2/ >"$logs/wrk" || return 1
  after=$(cpu "$server")
  if grep -E 'Socket errors|Non-2xx' "$logs/wrk"; then return 1; fi
  wrk=$(awk '/requests in/ {print $1}' "$logs/wrk")
  row="$(awk '/^Requests\/sec/ {printf "%d", $2}' "$logs/wrk") $((wrk * 100 / (after - before + 1)))"
  before=$(cpu "$server")
  on_client "$bin/load" 10.0.0.2:80 -c 10k --http / -d 3s --quiet --log "$logs/load" >"$logs/load.out" || {
    cat "$logs/load.out"
    return 1
  }
  after=$(cpu "$server")
  load=$(grep -o '"requests":[0-9]*' "$logs/load" | tail -n 1 | tr -dc 0-9)
  row="$row $(grep -o '"requests_per_s":[0-9]*' "$logs/load" | tail -n 1 | tr -dc 0-9) $((load * 100 / (after - before + 1)))"
  stop_programs
  serve "$net" iperf-server --listen 10.0.0.2:5201 || return
  on_client iperf3 -c 10.0.0.2 -t 2 -J >"$logs/iperf" && on_client iperf3 -c 10.0.0.2 -t 2 -R -J >"$logs/iperf.back" || return 1
  row="$row $(gbit "$logs/iperf") $(gbit "$logs/iperf.back")"
  stop_programs
}

# http_demo: the second part. 0 everything was answered.
http_demo() {
  local code
  say "two network namespaces and a veth pair: server srv0 10.0.0.2 ── cli0 10.0.0.1 kernel"
  { make_spaces "$id-srv" "$id-cli" && ip -n "$id-srv" link add srv0 type veth peer name cli0 netns "$id-cli" &&
    ip -n "$id-srv" link set srv0 up && ip -n "$id-cli" link set cli0 up && ip -n "$id-cli" addr add 10.0.0.1/24 dev cli0; } ||
    no_network
  say "http on our own stack over AF_XDP; the kernel has no address on srv0:"
  ip -n "$id-srv" -br addr show dev srv0
  # The kernel at the other end of a veth leaves checksums unfinished: nothing can be damaged on the way (docs/host.md).
  measure 'af_xdp:srv0?ip=10.0.0.2/24&rx_checksum=trust' stack
  code=$?
  if [ $code = 2 ]; then
    say "no AF_XDP here: ${reason:-no reason was given}"
    return 0
  fi
  [ $code = 0 ] || { say "the server on our stack did not answer as it should"; return 1; }
  local stack=$row
  say "the same programs on the kernel's network, with the address on srv0"
  ip -n "$id-srv" addr add 10.0.0.2/24 dev srv0
  measure kernel kernel || { say "the server on the kernel's network did not answer as it should"; return 1; }
  say "side by side (one short run each; scripts/bench.sh tcp measures carefully)"
  {
    echo "network|requests/s,|per second of|requests/s,|per second of|Gbit/s in|Gbit/s out"
    echo "|100 connections|server CPU|10 000 connections|server CPU|iperf3|iperf3 -R"
    # shellcheck disable=SC2086  # the words of a row
    printf '%s|%s|%s|%s|%s|%s|%s\n' "our stack" $stack kernel $row
  } | column -t -s '|' -R 2,3,4,5,6,7 2>/dev/null || echo "our stack: $stack; kernel: $row"
  echo "(a veth carries the kernel's segments of 64 KB uncut; our stack sends what fits the MTU)"
}

code=0
if $packets; then packet_demo || code=$?; fi
if $http && [ $code = 0 ]; then http_demo || code=$?; fi
exit $code
