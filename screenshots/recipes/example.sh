# The image of the design's pictures: extended L2 entries, some data, zeroes and a discard.
qemu-img create -q -f qcow2 -o extended_l2=on "$1" 64M
qemu-io -c 'write -P 1 0 4k' -c 'write -P 2 1M 200k' -c 'write -z 2M 8k' -c 'write -P 3 5M 64k' \
  -c 'discard 5M 64k' -c 'write -P 4 40M 130k' "$1"
