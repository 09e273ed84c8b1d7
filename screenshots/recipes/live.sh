# An image that another program is writing meanwhile.
qemu-img create -q -f qcow2 "$1" 1G
qemu-io -f qcow2 -c 'write -q -P 1 0 200M' "$1"
(
  sleep 4
  for at in 210 230 500 228 300 20; do qemu-io -f qcow2 -c "write -q -P 2 ${at}M 6M" -c "discard -q $((at / 2))M 2M" "$1"; sleep 0.3; done
) </dev/null >/dev/null 2>&1 &
