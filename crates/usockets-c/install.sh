#!/usr/bin/env bash
# Builds libusockets and installs it: library, header, pkg-config file.
#
#   crates/usockets-c/install.sh                              into /usr/local
#   PREFIX=/usr DESTDIR=/tmp/package crates/usockets-c/install.sh
#   FEATURES=pcap crates/usockets-c/install.sh                with ports of libpcap too
#
#   PREFIX     where it will be used           (/usr/local)
#   LIBDIR     where libraries are there       ($PREFIX/lib)
#   DESTDIR    put before all of them, for packages
#   FEATURES   backends beside af_xdp, netmap and mem: pcap
#   PROFILE    of cargo                        (release)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
to=${DESTDIR:-}
features=${FEATURES:-}
profile=${PROFILE:-release}
case $prefix$libdir in *[[:space:]\|\&]*) echo "error: PREFIX and LIBDIR must not have white space, | or & in them" >&2; exit 1 ;; esac

cd "$here"
cargo build --quiet --package usockets-c --profile "$profile" ${features:+--features "$features"}
target=${CARGO_TARGET_DIR:-$here/../../target}
case $profile in dev) built=$target/debug ;; *) built=$target/$profile ;; esac

# What a program needs beside the static library.
private="-lelf -lz -lpthread -ldl -lm"
case ",$features," in *,pcap,*) private="-lpcap $private" ;; esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

install -d "$to$libdir/pkgconfig" "$to$prefix/include"
install -m 644 "$built/libusockets.a" "$to$libdir/libusockets.a"
install -m 755 "$built/libusockets.so" "$to$libdir/libusockets.so"
install -m 644 include/libusockets.h "$to$prefix/include/libusockets.h"
sed -e "s|@PREFIX@|$prefix|; s|@LIBDIR@|$libdir|; s|@VERSION@|$version|; s|@PRIVATE@|$private|" libusockets.pc.in \
  >"$to$libdir/pkgconfig/libusockets.pc"
chmod 644 "$to$libdir/pkgconfig/libusockets.pc"
echo "installed libusockets $version into $to$prefix"
