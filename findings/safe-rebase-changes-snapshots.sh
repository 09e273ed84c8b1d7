#!/usr/bin/env bash
# qemu-img 10.0.13 (Debian qemu-utils 1:10.0.13+ds-0+deb13u1): a rebase in safe mode keeps what the disk shows
# and changes what its internal snapshots show.
#
# Expected: "safe" holds for all states that the image keeps, or the command refuses.
# Seen: where a snapshot reads from the backing file and the disk has data of its own by now, nothing is
# copied; the snapshot shows the new backing file afterwards. No word of it, exit code 0.
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

for base in old new; do packaged qemu-img create -q -f qcow2 "$base.qcow2" 1M; done
packaged qemu-io -f qcow2 -c "write -q -P 1 0 64k" old.qcow2
packaged qemu-io -f qcow2 -c "write -q -P 2 0 64k" new.qcow2
packaged qemu-img create -q -f qcow2 -b old.qcow2 -F qcow2 disk.qcow2
packaged qemu-img snapshot -c before disk.qcow2
packaged qemu-io -f qcow2 -c "write -q -P 3 0 64k" disk.qcow2
first_byte() { packaged qemu-img convert -q "$@" -O raw disk.qcow2 out.raw && od -An -tu1 -N1 out.raw | tr -d " "; }
echo "before: disk $(first_byte), snapshot $(first_byte -l before)" | tee seen
packaged qemu-img rebase -b new.qcow2 -F qcow2 disk.qcow2
echo "after: disk $(first_byte), snapshot $(first_byte -l before)" | tee -a seen
printf "before: disk 3, snapshot 1\nafter: disk 3, snapshot 2\n" | cmp - seen
