#!/usr/bin/env bash
# qemu-img 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): `create -b` refuses a new image that would be its
# own backing file only if both names are spelled alike.
#
# Expected: a file that the new image needs is not emptied by making it; `-b one.qcow2 one.qcow2` is refused.
# Seen: `-b ./one.qcow2 one.qcow2` is done, exit code 0: the data is gone, and the image is its own backing
# file, which no command opens any more.
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

packaged qemu-img create -q -f qcow2 one.qcow2 1M
packaged qemu-io -f qcow2 -c "write -q -P 5 0 64k" one.qcow2
for name in one.qcow2 ./one.qcow2; do
  if packaged qemu-img create -q -f qcow2 -b "$name" -F qcow2 one.qcow2 2>/dev/null; then
    echo "$name: done"
  else
    echo "$name: refused, $(packaged qemu-io -r -f qcow2 -c "read -P 5 0 64k" one.qcow2 | head -n 1)"
  fi
done | tee seen
packaged qemu-io -r -f qcow2 -c "read -q 0 64k" one.qcow2 2>/dev/null && echo "opens" | tee -a seen
printf '%s\n' "one.qcow2: refused, read 65536/65536 bytes at offset 0" "./one.qcow2: done" | cmp - seen
