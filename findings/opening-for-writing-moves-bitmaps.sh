#!/usr/bin/env bash
# qemu-io 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): a session that opens an image with a persistent
# bitmap for writing and does nothing changes the file and makes it longer.
#
# Expected: nothing was asked for, so the file stays as it is.
# Seen: the table of bitmaps and the data of each are written anew at other places when the image is closed;
# the first time the file grows. A read-only session leaves every byte. A program that watches the file sees
# clusters change that nobody wrote.
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
packaged qemu-io -f qcow2 -c "write -q 0 64k" disk.qcow2
packaged qemu-img bitmap --add disk.qcow2 changes
packaged qemu-io -f qcow2 -c "write -q 64k 64k" disk.qcow2
cp disk.qcow2 before.qcow2
packaged qemu-io -r -f qcow2 -c "length" disk.qcow2 >/dev/null
cmp -s disk.qcow2 before.qcow2 && echo "read-only session: no byte differs" || exit 1
packaged qemu-io -f qcow2 -c "length" disk.qcow2 >/dev/null
differing=$(cmp -l disk.qcow2 before.qcow2 2>/dev/null | wc -l) || true
echo "session for writing: $differing bytes differ, $(stat -c %s before.qcow2) and $(stat -c %s disk.qcow2) bytes long"
[ "$differing" -gt 0 ]
