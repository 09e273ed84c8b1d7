#!/usr/bin/env bash
# qemu-img 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): `bitmap` takes several actions in one command,
# and a command that fails has done some of them.
#
# Expected: all actions or none; or at least the words of the error tell what was done.
# Seen: `--add --merge NAME` with a name that is not there fails, exit code 1, and leaves a new empty bitmap.
# The same command again, with the right name, then fails because the bitmap exists.
# Exit 0: still so. Exit 1: it has changed.

set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Unpacks pinned packages below $work without touching the system.
fetch() {
  local suite=$1 mirror
  shift
  mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || mirror=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' /etc/apt/sources.list)
  mkdir -p "$work"/apt/{lists,cache/archives}/partial "$work"/apt/etc/{apt.conf.d,preferences.d} "$work/root"
  : >"$work/apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/apt/etc/sources.list"
  printf 'Dir::Etc "%s/etc";\nDir::State "%s";\nDir::State::status "%s/status";\nDir::Cache "%s/cache";\nAPT::Sandbox::User "root";\n' \
    "$work/apt" "$work/apt" "$work/apt" "$work/apt" >"$work/apt/conf"
  APT_CONFIG=$work/apt/conf apt-get -qq update
  APT_CONFIG=$work/apt/conf apt-get -qq -y --no-install-recommends --download-only install "$@" >/dev/null
  for package in "$work"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
  libraries=$(dirname "$(find "$work/root" -name libc.so.6 | head -n 1)")
  loader=$(find "$work/root" -name 'ld-linux*' | head -n 1)
}

# Runs a program of the packages with the libraries of the packages.
packaged() {
  local program=$1
  shift
  "$loader" --argv0 "$program" --library-path "$libraries" "$work/root/usr/bin/$program" "$@"
}

fetch trixie qemu-utils=1:10.0.13+ds-0+deb13u1
cd "$work"

packaged qemu-img create -q -f qcow2 disk.qcow2 1M
packaged qemu-img bitmap --add disk.qcow2 source
if packaged qemu-img bitmap --add --merge sorce disk.qcow2 sum; then exit 1; fi
bitmaps=$(packaged qemu-img info --output=json disk.qcow2 | grep -c "\"name\": \"sum\"" || true)
echo "bitmaps with the name of the target: $bitmaps"
if packaged qemu-img bitmap --add --merge source disk.qcow2 sum 2>again; then exit 1; fi
cat again
[ "$bitmaps" = 1 ] && grep -q "already exists" again
