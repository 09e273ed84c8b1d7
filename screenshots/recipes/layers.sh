# A disk over another, with snapshots before and after a guest's work, and bitmaps for backups.
qemu-img create -q -f qcow2 base.qcow2 256M
qemu-io -f qcow2 -c 'write -P 3 8M 24M' -c 'write -P 4 96M 20M' base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 "$1"
qemu-io -f qcow2 -c 'write -P 5 0 3M' -c 'write -P 6 20M 30M' "$1"
qemu-img snapshot -c installed "$1"
qemu-io -f qcow2 -c 'write -P 7 1M 1M' -c 'write -P 8 120M 40M' "$1"
qemu-img snapshot -c before-upgrade "$1"
qemu-io -f qcow2 -c 'write -P 9 24M 12M' -c 'discard 130M 20M' -c 'write -P 1 200M 9M' "$1"
qemu-img bitmap --add "$1" daily
qemu-img bitmap --add -g 1M "$1" weekly
qemu-io -f qcow2 -c 'write -P 2 210M 5M' -c 'write -P 2 30M 1M' "$1"
qemu-img bitmap --disable "$1" weekly
qemu-io -f qcow2 -c 'write -P 2 60M 6M' "$1"
