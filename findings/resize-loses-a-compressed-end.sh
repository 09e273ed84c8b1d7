#!/usr/bin/env bash
# qemu-img 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): resize --preallocation=metadata (falloc and full too)
# loses the last cluster of a disk that ends inside a compressed cluster, in an image with extended L2 entries.
# 7.2.22 and 11.1.3 do the same.
#
# Expected: growing a disk keeps what it held, as without preallocation, and as without extended L2 entries.
# Seen: the compressed cluster gets a plain one in its place for the rest of the cluster, and its subclusters are not
# marked: they read as zeroes afterwards. Exit code 0, and check finds no errors.
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

size=864256
packaged qemu-img create -q -f raw source.raw "$size"
packaged qemu-io -f raw -c "write -q -P 207 844800 19456" source.raw
for preallocation in off metadata; do
  packaged qemu-img convert -f raw -O qcow2 -c -o extended_l2=on,cluster_size=64k source.raw disk.qcow2
  packaged qemu-img resize -q "--preallocation=$preallocation" disk.qcow2 977920
  packaged qemu-img check disk.qcow2 | head -n 1
  packaged qemu-img convert -O raw disk.qcow2 "$preallocation.raw"
done
cmp -n "$size" source.raw off.raw
if cmp -n "$size" source.raw metadata.raw; then exit 1; fi
packaged qemu-io -f raw -r -c "read -q -P 0 851968 12288" metadata.raw
