# An image with extended L2 entries, and what its guest sent: a file system that trims in blocks of its own.
qemu-img create -q -f qcow2 -o extended_l2=on "$1" 4G
qemu-io -f qcow2 -c 'write -P 1 0 64M' -c 'write -P 2 1G 32M' -c 'write -P 3 3G 16M' "$1" >/dev/null
python3 - <<'PY'
import random
random.seed(4)
with open('guest.requests', 'w') as file:
    for number in range(400):
        start = random.choice([0, 1 << 30, 3 << 30]) + random.randrange(0, 16 << 20, 4096)
        length = 4096 * random.choice([1, 2, 5, 16, 16, 32, 100])
        verb = 'write' if number % 9 == 8 else 'discard'
        file.write(f'{verb} {start:#x} {length}\n')
PY
