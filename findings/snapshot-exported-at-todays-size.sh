#!/usr/bin/env bash
# qemu-img 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): a snapshot remembers the size that the disk
# had, and `convert -l` does not use it.
#
# Expected: an exported snapshot is the disk as it was, of the size that it had.
# Seen: the exported disk has the size that the disk has today. After a shrink what the snapshot holds behind
# the new end is missing, and the exit code is 0. `snapshot -a` brings size and data back.
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

packaged qemu-img create -q -f qcow2 disk.qcow2 4M
packaged qemu-io -f qcow2 -c "write -q -P 7 3M 64k" disk.qcow2
packaged qemu-img snapshot -c before disk.qcow2
packaged qemu-img resize -q --shrink disk.qcow2 1M
packaged qemu-img convert -q -l snapshot.name=before -O raw disk.qcow2 exported.raw
exported=$(stat -c %s exported.raw)
packaged qemu-img snapshot -a before disk.qcow2
applied=$(packaged qemu-img info --output=json disk.qcow2 | sed -n "s/^    \"virtual-size\": \([0-9]*\).*/\1/p" | tail -n 1)
data=$(packaged qemu-io -f qcow2 -c "read -P 7 3M 64k" disk.qcow2 | head -n 1)
echo "exported: $exported bytes; after snapshot -a: $applied bytes; $data"
[ "$exported" = 1048576 ] && [ "$applied" = 4194304 ] && [ "$data" = "read 65536/65536 bytes at offset 3145728" ]
