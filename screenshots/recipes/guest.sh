# A disk that a virtual machine formats, fills and trims as soon as the explorer serves it.
qemu-img create -q -f qcow2 "$1" 1G
boot=$(dirname "${BASH_SOURCE[0]}")/../../Tests/Guest/boot
rm -f ready
"$boot" --on "$PWD/guest.sock" --ready "$PWD/ready" </dev/null >/dev/null 2>&1 &
until [ -e ready ]; do
  kill -0 $!
  sleep 0.2
done
