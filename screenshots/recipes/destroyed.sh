# An image whose header and L1 table were overwritten.
qemu-img create -q -f qcow2 "$1" 8G
for at in 0 1G 2G 2560M 5G 7G; do qemu-io -f qcow2 -c "write -P 7 $at 2M" "$1" >/dev/null; done
python3 - "$1" <<'PY'
import struct, sys
path = sys.argv[1]
data = bytearray(open(path, 'rb').read())
l1 = struct.unpack_from('>Q', data, 40)[0]
for place in (0, l1):
    for index in range(65536): data[place + index] = (index * 167 >> 3) & 255
open(path, 'wb').write(data)
PY
