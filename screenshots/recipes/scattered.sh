# An image that a guest has written in a random order, in part twice over.
qemu-img create -q -f qcow2 "$1" 2G
RANDOM=7
commands=()
for _ in $(seq 900); do
  commands+=(-c "write -q $((RANDOM % 12000 * 128))k $((RANDOM % 6 * 64 + 64))k")
done
commands+=(-c "write -q 1600M 200M" -c "discard -q 300M 80M" -c "write -q 340M 20M" -c "write -q 300M 40M")
qemu-io -d unmap "${commands[@]}" "$1"
