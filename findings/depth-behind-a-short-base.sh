#!/usr/bin/env bash
# qemu-nbd 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1), asked by nbdinfo 1.22.2 (Debian libnbd-bin
# 1.22.2-1+b1): the context qemu:allocation-depth calls what lies behind the end of a shorter backing file part
# of that file.
#
# Expected: depth 0 ("absent") for it, as for holes of the backing file, and as `qemu-img map` says, which finds
# nothing there in any layer.
# Seen: depth 2 ("backing depth 2") from the end of the backing file to the end of the disk, though holes inside of
# that file are 0. Whoever counts by these depths what a chain holds counts it far too large.
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

fetch trixie qemu-utils=1:10.0.13+ds-0+deb13u1 libnbd-bin=1.22.2-1+b1
cd "$work"

packaged qemu-img create -q -f qcow2 base.qcow2 4M
packaged qemu-io -f qcow2 -c "write -q -P 1 1M 1M" base.qcow2
packaged qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 16M
packaged qemu-img map --output=json top.qcow2 | tee map
packaged qemu-nbd -r -A -f qcow2 -k "$work/socket" -t top.qcow2 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do [ -S socket ] && break || sleep 0.1; done
packaged nbdinfo --map=qemu:allocation-depth "nbd+unix:///?socket=$work/socket" | tee depths

# Nobody holds the last 12 MiB by one account, and the backing file by the other.
grep -q '"start": 4194304, "length": 12582912, "depth": 0, "present": false' map
[ "$(awk '{ print $1, $2, $3 }' depths)" = "0 1048576 0
1048576 1048576 2
2097152 2097152 0
4194304 12582912 2" ]
