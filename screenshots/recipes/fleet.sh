# The images of a small host: two bases with overlays, disks that were written and trimmed, one with errors, one with leaks,
# one that is no image any more, and a list that names their folder.
mkdir -p images/base images/vm
qemu-img create -q -f qcow2 images/base/debian-13.qcow2 20G
qemu-io -f qcow2 -c 'write -q -P 1 0 40M' -c 'write -q -P 2 1G 60M' images/base/debian-13.qcow2
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k images/base/fedora-44.qcow2 40G
qemu-io -f qcow2 -c 'write -q -P 3 0 90M' -c 'write -q -P 4 8G 20M' images/base/fedora-44.qcow2
RANDOM=5
number=0
for name in auth backup build cache ci-1 ci-2 ci-3 db-main db-replica dns files git gitlab-runner ldap mail monitor \
  proxy registry shop-web-1 shop-web-2 shop-worker test-a test-b wiki; do
  number=$((number + 1))
  file=images/vm/$name.qcow2
  case $((number % 3)) in
    0) qemu-img create -q -f qcow2 $file $((number * 4 + 8))G ;;
    1) qemu-img create -q -f qcow2 -b ../base/debian-13.qcow2 -F qcow2 $file ;;
    2) qemu-img create -q -f qcow2 -b ../base/fedora-44.qcow2 -F qcow2 -o extended_l2=on,cluster_size=128k $file ;;
  esac
  commands=(-c "write -q 0 2M")
  writes=$((RANDOM % 30 + 4))
  for _ in $(seq $writes); do
    commands+=(-c "write -q $((RANDOM % 9000))M $((RANDOM % 900 + 64))k")
  done
  [ $((number % 4)) = 0 ] && commands+=(-c "write -q 12G 24M" -c "discard -q 12G 20M")
  qemu-io -f qcow2 -d unmap "${commands[@]}" $file >/dev/null
done
qemu-img snapshot -c before-upgrade images/vm/db-main.qcow2
qemu-io -f qcow2 -c 'write -q 0 30M' images/vm/db-main.qcow2 >/dev/null
qemu-img snapshot -c after-upgrade images/vm/db-main.qcow2
python3 - <<'PY'
import struct
def change(path, body):
    data = bytearray(open(path, 'rb').read())
    body(data, lambda at: struct.unpack_from('>Q', data, at)[0])
    open(path, 'wb').write(data)
def errors(data, word):
    first = word(word(40)) & 0x00fffffffffffe00
    for index in (3, 5, 9): struct.pack_into('>Q', data, first + 8 * index, 0x8000000000000000 | 0xd1000000 + index * 65536)
change('images/vm/build.qcow2', errors)
def leaks(data, word):
    while len(data) % 65536: data.append(0)
    block, free = word(word(48)) & ~511, len(data) >> 16
    data += bytes(40 * 65536)
    for index in range(40): struct.pack_into('>H', data, block + 2 * (free + index), 1)
change('images/vm/dns.qcow2', leaks)
PY
head -c 200000 /dev/zero >images/vm/old-mail.qcow2
find images -type f -exec touch -d '2026-01-12 09:14' {} +
echo images >"$1"
