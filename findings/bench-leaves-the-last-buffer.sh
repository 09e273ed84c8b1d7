#!/usr/bin/env bash
# qemu-img 11.1.3 (Debian qemu-utils 1:11.1.3+ds-1~bpo13+1): bench -w with as many buffers as fit into the image
# leaves the last one unwritten. 10.0.13 and 7.2.22 write every byte.
#
# Expected: 8 requests of 1 MiB, one behind the other, fill an image of 8 MiB, as they do with 10.0.13.
# Seen: where a request would end at the end of the image or behind it, the next offset is (offset + buffer) modulo
# the size. The eighth request goes to offset 0 again and 7 MiB to 8 MiB stay unallocated. With a step of 3 MiB and a
# buffer of 2 MiB the third request goes to 0, not to 6 MiB.
# Exit 0: still so. Exit 1: it has changed.

set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Unpacks pinned packages below $work without touching the system.
fetch() {
  local suites=$1 mirror suite
  shift
  mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || mirror=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' /etc/apt/sources.list)
  mkdir -p "$work"/apt/{lists,cache/archives}/partial "$work"/apt/etc/{apt.conf.d,preferences.d} "$work/root"
  : >"$work/apt/status"
  for suite in $suites; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
  done >"$work/apt/etc/sources.list"
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

fetch "trixie trixie-backports" qemu-utils=1:11.1.3+ds-1~bpo13+1
cd "$work"

packaged qemu-img --version | head -n 1
packaged qemu-img create -q -f qcow2 disk.qcow2 8M
packaged qemu-img bench -w --pattern 7 -s 1M -c 8 disk.qcow2
packaged qemu-img map --output=json disk.qcow2 | tee seen
grep -q '"start": 0, "length": 7340032, .*"data": true' seen
grep -q '"start": 7340032, "length": 1048576, .*"present": false' seen
