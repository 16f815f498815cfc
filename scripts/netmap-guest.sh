#!/usr/bin/env bash
# Tests netmap on a real kernel module, in a virtual machine of its own: QEMU without KVM, Debian's kernel, an initramfs.
#
#   scripts/netmap-guest.sh MODULE [TEST ARGUMENTS]     MODULE is a netmap.ko that you built; the arguments go to the
#                                                       test binary (tests/netmap.rs): a filter, --nocapture, ...
#   scripts/netmap-guest.sh --selftest                  proves the machinery without a netmap.ko: see below
#   scripts/netmap-guest.sh                             says that there is no module, and is content
#
# Exit status: that of the tests in the guest; 0 with a line "SKIPPED netmap module: ..." if no MODULE is given.
#
# The module decides which kernel boots: the release in its vermagic (`modinfo -F vermagic netmap.ko`) is looked for as
#   1. NETHUNS_GUEST_KERNEL=/path/to/vmlinuz, with NETHUNS_GUEST_MODULES=/path/to/lib/modules/RELEASE beside it
#   2. /boot/vmlinuz-RELEASE and /lib/modules/RELEASE on this machine
#   3. Debian's package linux-image-RELEASE, fetched by apt and unpacked under target/netmap-guest (not installed)
# A module is built for such a kernel, anywhere, with linux-headers-RELEASE:
#   ./configure --no-drivers --kernel-dir=/usr/src/linux-headers-RELEASE && make      (in netmap's own LINUX directory)
#
# In the guest: the module is loaded; then come the tests of tests/netmap.rs on pipes, VALE switches, and a veth pair with
# a kernel peer and the host's rings; then the tools, each in a process of its own.
#
# Other settings: NETHUNS_GUEST_MEMORY (MiB, 1536), NETHUNS_GUEST_TIMEOUT (seconds, 900), NETHUNS_GUEST_CPUS (2).
# The self-test takes a module of the kernel package (dummy.ko) for netmap.ko and runs the tests on the emulation in the
# guest; then it lets them fail, and wants to see that.
set -euo pipefail
# shellcheck source=lib/setup.sh
. "$(dirname "$0")/lib/setup.sh"
from=$PWD
cd "$top"

work=$top/target/netmap-guest
selftest=no
module=${1:-}
[ $# = 0 ] || shift
case $module in
  '')
    echo "SKIPPED netmap module: no netmap.ko given (scripts/netmap-guest.sh path/to/netmap.ko)"
    [ -z "${NETHUNS_SKIP_LOG:-}" ] || echo "SKIPPED netmap module: no netmap.ko given" >>"$NETHUNS_SKIP_LOG"
    exit 0
    ;;
  --selftest) selftest=yes ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  -*) die "what is $module? see --help" ;;
  *)
    [[ $module == /* ]] || module=$from/$module
    [ -r "$module" ] || die "there is no module $module"
    ;;
esac

need_library
need_packages qemu-system-x86 busybox-static cpio kmod iproute2 ethtool xz-utils zstd
mkdir -p "$work"

# unpacked FILE: the module as it is before compression, under a name in $work.
unpacked() {
  local to
  to=$work/$(basename "$1")
  case $1 in
    *.xz) to=${to%.xz}; xz -dc "$1" >"$to" ;;
    *.zst) to=${to%.zst}; zstd -qdcf "$1" >"$to" ;;
    *) cp -f "$1" "$to" ;;
  esac
  echo "$to"
}

# release_of MODULE: the kernel it was built for.
release_of() { modinfo -F vermagic "$1" | awk '{print $1; exit}'; }

# fetch PACKAGE: Debian's package, unpacked into $work/PACKAGE. Fails if the archive has none.
fetch() {
  local package=$1 deb
  [ -d "$work/$package/boot" ] && return 0
  say "fetching Debian package $package (unpacked under target/netmap-guest, not installed)"
  rm -rf "$work/fetch" && mkdir -p "$work/fetch"
  (cd "$work/fetch" && apt-get download "$package" >/dev/null 2>&1) ||
    { as_root apt-get update -qq; (cd "$work/fetch" && apt-get download "$package" >/dev/null 2>&1); } || return 1
  deb=$(find "$work/fetch" -name '*.deb' | head -1)
  rm -rf "$work/unpacking"
  dpkg-deb -x "$deb" "$work/unpacking" && mv "$work/unpacking" "$work/$package"
  rm -rf "$work/fetch"
}

# in_the_archive: the releases that Debian's archive has kernels for.
in_the_archive() { apt-cache search --names-only '^linux-image-[0-9.]+-[0-9]+-(cloud-)?amd64$' | awk '{sub(/^linux-image-/, "", $1); print $1}'; }

# choose_kernel RELEASE: sets kernel (a vmlinuz) and modules (a directory, or nothing).
choose_kernel() {
  local release=$1 package=linux-image-$1 there flavour
  if [ -n "${NETHUNS_GUEST_KERNEL:-}" ]; then
    kernel=$NETHUNS_GUEST_KERNEL modules=${NETHUNS_GUEST_MODULES:-}
  elif [ -r "/boot/vmlinuz-$release" ]; then
    kernel=/boot/vmlinuz-$release modules=/lib/modules/$release
  elif fetch "$package"; then
    kernel=$work/$package/boot/vmlinuz-$release modules=$work/$package/lib/modules/$release
    [ -d "$modules" ] || modules=$work/$package/usr/lib/modules/$release
  else
    # A kernel of the same series and flavour may still take it: its symbols' checksums decide, not its name.
    flavour=${release##*[0-9]-}
    there=$(in_the_archive | grep -E "^${release%%.*}\.$(cut -d. -f2 <<<"$release")\..*-[0-9]+-$flavour$" | sort -V | tail -1 || true)
    [ -n "$there" ] || die "the module is built for kernel $release, and neither /boot nor Debian's archive has that one.
Build netmap.ko for one of these (linux-headers-RELEASE): $(in_the_archive | tr '\n' ' ')
or give that kernel: NETHUNS_GUEST_KERNEL=/path/to/vmlinuz NETHUNS_GUEST_MODULES=/path/to/lib/modules/$release"
    say "the module is built for kernel $release, which Debian's archive does not have any more: trying $there"
    fetch "linux-image-$there" || die "apt-get could not fetch linux-image-$there"
    kernel=$work/linux-image-$there/boot/vmlinuz-$there modules=$work/linux-image-$there/lib/modules/$there
    [ -d "$modules" ] || modules=$work/linux-image-$there/usr/lib/modules/$there
  fi
  [ -r "$kernel" ] || die "cannot read the kernel $kernel (it may be readable by root only)"
}

# module_file NAME: where the kernel keeps a module, or nothing (built in, or not there).
module_file() {
  [ -n "$modules" ] || return 0
  find -L "$modules" \( -name "$1.ko" -o -name "$1.ko.xz" -o -name "$1.ko.zst" \) 2>/dev/null | head -1
}

# add_module FILE: puts a module, after those it needs, into the initramfs; /load has the order.
add_module() {
  local file name need
  file=$(unpacked "$1")
  name=$(basename "$file" .ko)
  grep -qx "$name" "$root/load" 2>/dev/null && return 0
  for need in $(modinfo -F depends "$file" | tr ',-' ' _'); do
    local from
    from=$(module_file "$need")
    [ -n "$from" ] || from=$(module_file "${need//_/-}")
    if [ -n "$from" ]; then add_module "$from"; fi
  done
  cp "$file" "$root/modules/$name.ko"
  echo "$name" >>"$root/load"
}

# add_program FILE NAME: a program with the shared libraries it wants.
add_program() {
  local library
  cp -L "$1" "$root/bin/$2"
  chmod 755 "$root/bin/$2"
  strip --strip-debug "$root/bin/$2" 2>/dev/null || true
  { ldd "$1" 2>/dev/null || true; } | grep -oE '/[^ ]+' | while read -r library; do
    [ -e "$root$library" ] || { mkdir -p "$root$(dirname "$library")"; cp -L "$library" "$root$library"; }
  done
}

say "building the tests and the tools"
features=(--no-default-features --features "netmap,pcap")
cargo build --quiet "${features[@]}" --example pkt-gen --example meter --example forward
cargo test --quiet "${features[@]}" --test netmap --no-run --message-format=json >"$work/build.json"
tests=$(grep -o '"executable":"[^"]*/netmap-[0-9a-f]*"' "$work/build.json" | tail -1 | cut -d'"' -f4)
[ -x "$tests" ] || die "cargo built no test binary"

# --- what boots -------------------------------------------------------------------------------------------------------

if [ "$selftest" = yes ]; then
  release=$(in_the_archive | grep -- '-cloud-amd64$' | sort -V | tail -1)
  [ -n "$release" ] || { as_root apt-get update -qq; release=$(in_the_archive | grep -- '-cloud-amd64$' | sort -V | tail -1); }
  [ -n "$release" ] || die "apt knows no cloud kernel"
  choose_kernel "$release"
  module=$(module_file dummy)
  [ -n "$module" ] || die "the kernel package has no dummy.ko"
else
  release=$(release_of "$(unpacked "$module")")
  [ -n "$release" ] || die "$module is no kernel module (modinfo finds no vermagic)"
  say "$module is built for kernel $release"
  choose_kernel "$release"
fi

root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,modules,proc,sys,dev,tmp,etc,run}
ln -s bin "$root/sbin"
cp "$(command -v busybox)" "$root/bin/busybox"
add_program "$tests" tests
for tool in pkt-gen meter forward; do add_program "${CARGO_TARGET_DIR:-target}/debug/examples/$tool" "$tool"; done
add_program "$(command -v ip)" ip
add_program "$(command -v ethtool)" ethtool
veth=$(module_file veth)
[ -z "$veth" ] || add_module "$veth"
add_module "$module"
basename "$(unpacked "$module")" .ko >"$root/module"
echo "root:x:0:0:root:/:/bin/sh" >"$root/etc/passwd"

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
# The guest's whole system: loads modules, runs tests and tools, says how it went, switches itself off.
/bin/busybox mkdir -p /usr/bin /usr/sbin
for applet in mount sh insmod dmesg tail grep sleep cat poweroff seq timeout kill mkdir awk cut sync uname ls; do
  [ -e "/bin/$applet" ] || /bin/busybox ln -s busybox "/bin/$applet"
done
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
end() {
  echo "NETHUNS-GUEST-EXIT $1"
  sync
  sleep 1
  poweroff -f
}
echo "guest: kernel $(uname -r)"
main=$(cat /module)
while read -r name; do
  if ! insmod "/modules/$name.ko"; then
    echo "guest: insmod $name.ko failed:"
    dmesg | tail -n 15
    echo "guest: build it for kernel $(uname -r) (linux-headers-$(uname -r))"
    end 70
  fi
done </load
grep -q "^$main " /proc/modules || { echo "guest: $main is not among the loaded modules"; end 71; }
echo "guest: $main.ko is loaded"

# By their paths: busybox has an ip of its own, which knows no veth pairs.
/bin/ip link set lo up
# A veth pair, its ends without offloads, with carrier.
if /bin/ip link add nveth0 type veth peer name nveth1; then
  for end in nveth0 nveth1; do
    /bin/ethtool -K "$end" tx off rx off tso off gso off gro off >/dev/null 2>&1
    [ ! -e "/proc/sys/net/ipv6/conf/$end" ] || echo 1 >"/proc/sys/net/ipv6/conf/$end/disable_ipv6"
    /bin/ip link set "$end" up promisc on
  done
  /bin/ip address add 198.18.0.1/30 dev nveth0
  for _ in $(seq 50); do [ "$(cat /sys/class/net/nveth0/carrier 2>/dev/null)" = 1 ] && break; sleep 0.1; done
  echo "guest: veth pair nveth0, nveth1, carrier $(cat /sys/class/net/nveth0/carrier)"
  export NETHUNS_NETMAP_VETH=nveth0,nveth1
else
  echo "guest: no veth here"
fi

if [ -e /selftest ]; then
  export NETHUNS_NETMAP=$(cat /selftest)
  unset NETHUNS_NETMAP_VETH
else
  export NETHUNS_NETMAP=kernel
  [ -e /dev/netmap ] || { echo "guest: the module is loaded, but /dev/netmap is not there"; dmesg | tail -n 15; end 72; }
fi
export RUST_BACKTRACE=1
status=0
if [ -s /arguments ]; then
  # One argument a line.
  set --
  while IFS= read -r argument; do set -- "$@" "$argument"; done </arguments
  tests --test-threads=1 "$@" || status=$?
else
  tests --test-threads=1 || status=$?
fi
[ "$status" = 0 ] || { echo "guest: the tests ended with status $status; the kernel's last words:"; dmesg | tail -n 25; }

# Tools, each in a process of its own: only a real module connects those. Not when a filter chose some tests.
tool() {
  echo "guest: $1 -> $2"
  meter "$2" --count "$4" --idle-timeout 20s >/tmp/meter 2>&1 &
  local meter=$! ok=0
  sleep 2
  timeout 120 pkt-gen "$1" --count "$4" --rate "$3" >/tmp/gen 2>&1 || ok=$?
  wait "$meter" || ok=$?
  tail -n 3 /tmp/gen /tmp/meter
  [ "$ok" = 0 ] || { echo "guest: $1 -> $2 failed ($ok)"; status=$ok; }
}
if [ ! -e /selftest ] && [ ! -s /arguments ]; then
  tool "netmap:tool{1" "netmap:tool}1" max 20000
  # A switch drops what its receiver is too slow for.
  tool "netmap:vale4:a" "netmap:vale4:b" 1k 5000
  echo "guest: forward from pipe to pipe"
  forward "netmap:tool{2" "netmap:tool{3" --count 20000 --idle-timeout 20s >/tmp/forward 2>&1 &
  forwarder=$!
  tool "netmap:tool}2" "netmap:tool}3" 20k 20000
  wait "$forwarder" || { echo "guest: forward failed"; status=1; }
  tail -n 3 /tmp/forward
fi
end "$status"
INIT
chmod 755 "$root/init"
: >"$root/arguments"
[ $# = 0 ] || printf '%s\n' "$@" >"$root/arguments"

# boot: runs the guest with what is in $root now; its exit status is that of the tests inside.
boot() {
  local log=$work/serial.log khz status timeout=${NETHUNS_GUEST_TIMEOUT:-900}
  (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"
  khz=$(awk -F: '/^cpu MHz/ {printf "%d", $2 * 1000; exit}' /proc/cpuinfo)
  say "booting $(basename "$kernel") in QEMU (no KVM needed; at most ${timeout}s)"
  # The clock of the guest is the time stamp counter of the host, whose rate it cannot measure here.
  timeout --foreground "$timeout" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "${NETHUNS_GUEST_CPUS:-2}" \
    -m "${NETHUNS_GUEST_MEMORY:-1536}" -nodefaults -no-user-config -display none -no-reboot -serial stdio \
    -kernel "$kernel" -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 quiet loglevel=3 panic=-1 rdinit=/init tsc=reliable tsc_early_khz=$khz mitigations=off" \
    </dev/null 2>&1 | tr -d '\r' | tee "$log" | grep -v '^NETHUNS-GUEST-EXIT' || true
  status=$(grep -o 'NETHUNS-GUEST-EXIT [0-9]*' "$log" | tail -1 | cut -d' ' -f2)
  if [ -z "$status" ]; then
    echo "error: the guest ended without a word, or took longer than ${timeout}s (NETHUNS_GUEST_TIMEOUT); see $log" >&2
    return 124
  fi
  return "$status"
}

if [ "$selftest" = no ]; then
  status=0
  boot || status=$?
  say "the guest ended with status $status"
  exit "$status"
fi

echo emulated >"$root/selftest"
boot || die "self-test: the tests failed on the emulation in the guest"
grep -q 'veth pair nveth0, nveth1, carrier 1' "$work/serial.log" || die "self-test: the guest made no veth pair"
say "now without a netmap behind /dev/netmap: this must fail"
echo kernel >"$root/selftest"
printf '%s\n' a_ring_is_opened_once >"$root/arguments"
status=0
boot >"$work/failing.log" 2>&1 || status=$?
[ "$status" = 101 ] || { tail -40 "$work/failing.log"; die "self-test: failing tests gave status $status instead of 101"; }
grep -q 'modprobe netmap' "$work/failing.log" || die "self-test: the failure is not the one that was wanted"
say "self-test: passing tests gave status 0, failing ones 101"
