# A disk with a history: installed, a snapshot, months of small writes, and a trim.
qemu-img create -q -f qcow2 "$1" 1G
qemu-io -f qcow2 -c 'write -q -P 5 0 120M' -c 'write -q -P 6 400M 60M' "$1"
qemu-img snapshot -c installed "$1"
RANDOM=7
commands=()
for _ in $(seq 400); do
  commands+=(-c "write -q $((RANDOM % 6000 * 128))k $((RANDOM % 6 * 64 + 64))k")
done
commands+=(-c 'discard -q 420M 30M' -c 'write -q -P 7 900M 40M')
qemu-io -f qcow2 -d unmap "${commands[@]}" "$1"
# And a second disk, for a virtual machine that waits for it.
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh" guest.qcow2
