#!/usr/bin/env bash
# qemu-img 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): check -r on a sound image with an internal
# snapshot and a persistent bitmap deletes the snapshot. 7.2.22 and 11.1.3 do the same.
#
# Expected: check finds no errors, so a repair has nothing to do and the file keeps its snapshot.
# Seen: opening for a repair writes the header while the snapshot table is not read yet, and says in it that
# there are none. Their clusters then count as leaked and are given back. -r leaks does it as well. Exit code 0.
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
packaged qemu-io -f qcow2 -c "write -q -P 1 0 64k" disk.qcow2
packaged qemu-img snapshot -c before disk.qcow2
packaged qemu-io -f qcow2 -c "write -q -P 2 0 64k" disk.qcow2
packaged qemu-img bitmap --add disk.qcow2 changes
cp disk.qcow2 sound.qcow2
packaged qemu-img check -q disk.qcow2 && echo "check: no errors" | tee seen
snapshots() { packaged qemu-img snapshot -l disk.qcow2 | grep -c " before " || true; }
for scope in leaks all; do
  cp sound.qcow2 disk.qcow2
  had=$(snapshots)
  packaged qemu-img check -q -r $scope disk.qcow2 2>/dev/null && status=0 || status=$?
  echo "check -r $scope: exit code $status, snapshots before $had, after $(snapshots)" | tee -a seen
done
printf "check: no errors\n%s\n%s\n" \
  "check -r leaks: exit code 0, snapshots before 1, after 0" \
  "check -r all: exit code 0, snapshots before 1, after 0" | cmp - seen
