#!/usr/bin/env bash
# qemu-img 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): the file name in `info --output=json` cannot be
# used to open the file.
#
# Expected: a program that reads the JSON gets the name of the image, or at least no other image's name.
# Seen: every byte of a name that is no UTF-8 is U+FFFD there. Two files of different names give the same
# JSON, and a file by the name in the JSON does not exist. The text without --output has the bytes.
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

for name in $'caf\xe8.qcow2' $'caf\xe9.qcow2'; do
  packaged qemu-img create -q -f qcow2 "$name" 1M
  packaged qemu-img info --output=json "$name" | sed -n 's/^    "filename": //p' | head -n 1
  packaged qemu-img info "$name" | sed -n 's/^image: //p' | od -An -tx1 -j3 -N1
done | tee seen
printf '%s\n' '"caf\uFFFD.qcow2",' ' e8' '"caf\uFFFD.qcow2",' ' e9' | cmp - seen
