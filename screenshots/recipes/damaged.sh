# An image with some of everything that a check finds: an entry behind the end of the file, a count that is missing, a
# lost L2 table with its data, and clusters that a crash left behind.
qemu-img create -q -f qcow2 "$1" 4G
qemu-io -f qcow2 -c 'write -P 1 0 2M' -c 'write -P 2 512M 3M' -c 'write -P 3 1G 1M' -c 'write -P 4 3G 256k' "$1" >/dev/null
python3 - "$1" <<'PY'
import struct, sys
path = sys.argv[1]
data = bytearray(open(path, 'rb').read())
word = lambda at: struct.unpack_from('>Q', data, at)[0]
mask = 0x00fffffffffffe00
l1, table = word(40), word(48)
block = word(table) & ~511
first = word(l1) & mask
struct.pack_into('>Q', data, first + 8 * 5, 0x8000000000000000 | 0xd1000000)
host = (word(first + 8 * 9) & mask) >> 16
struct.pack_into('>H', data, block + 2 * host, 0)
struct.pack_into('>Q', data, first + 8 * 12, word(first + 8 * 12) & ~(1 << 63))
struct.pack_into('>Q', data, l1 + 8, 0)
while len(data) % 65536: data.append(0)
free = len(data) >> 16
data += bytes(5 * 65536)
for index in range(5): struct.pack_into('>H', data, block + 2 * (free + index), 1)
data[79] |= 1
open(path, 'wb').write(data)
PY
