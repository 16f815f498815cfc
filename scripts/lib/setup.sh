# shellcheck shell=bash
# What the scripts share: finding the tools they need, and installing what is missing.
# Sourced, not run. Every function says what it does before it does it.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# as_root COMMAND...: runs it, by sudo where we are not root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "needs root for: $* (no sudo here: run it as root)"
  fi
}

# need_packages PACKAGE...: Debian packages, installed if they are not there.
need_packages() {
  local missing=() package
  command -v dpkg-query >/dev/null || { say "no Debian here: make sure these are installed in their local form: $*"; return 0; }
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  say "installing Debian packages: ${missing[*]}"
  # The lists may be old or absent: fetch them only if the first try fails.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && return 0
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# need_rust: cargo of the version that rust-toolchain.toml names, or a way to get it.
need_rust() {
  [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
  command -v cargo >/dev/null ||
    die "no cargo. Debian 12's own is too old; install Rust with rustup; it fetches the version that rust-toolchain.toml names"
  (cd "$top" && cargo --version) >/dev/null 2>&1 ||
    die "cargo does not run here: $(cd "$top" && cargo --version 2>&1 | tail -1)"
}

# What the library itself is built from: see README.md.
library_packages=(gcc libc6-dev make pkg-config libpcap-dev libelf-dev zlib1g-dev)

# need_library: everything that `cargo build --features full` wants.
need_library() {
  need_packages "${library_packages[@]}"
  need_rust
}
