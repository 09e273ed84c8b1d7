// One-liners for the image tool: a kept list, and seeded ones made of the words of every verb.

import TestSupport

enum ImageToolLines {
  /// "OBJ" stands for the definition of the secret of the encrypted images.
  static let object = "--object secret,id=s,data=pw"

  /// One line each; the empty one is the tool without any word.
  static let kept = """
    info a.qcow2
    info r.raw
    info top.qcow2
    info snap.qcow2
    info comp.qcow2
    info --output=json a.qcow2
    info --output json r.raw
    info --backing-chain top.qcow2
    info --backing-chain --output=json top.qcow2
    info -f raw a.qcow2
    info -f qcow2 r.raw
    info -f bad a.qcow2
    info none.qcow2
    info
    info a.qcow2 r.raw
    info --o a.qcow2
    info --format
    info --foo a.qcow2
    info -x a.qcow2
    info -Uf qcow2 a.qcow2
    info a.qcow2 --output=json
    info -- a.qcow2
    info --output=xml a.qcow2
    info --backing-chain=3 a.qcow2
    info --object foo a.qcow2
    info --object secret,data=x a.qcow2
    info --object secret,id=s a.qcow2
    info -t none a.qcow2
    info --image-opts driver=qcow2,file.filename=a.qcow2
    info --image-opts driver=qcow2,file.driver=file,file.filename=top.qcow2
    map a.qcow2
    map r.raw
    map top.qcow2
    map comp.qcow2
    map --output=json a.qcow2
    map --output=json r.raw
    map --output=json top.qcow2
    map --output=json comp.qcow2
    map --output=json ext.qcow2
    map -f raw --output=json a.qcow2
    map -f qcow2 r.raw
    map -s 64k -l 128k a.qcow2
    map --start-offset=64k --max-length=1M --output=json a.qcow2
    map --start 64k --max 1M a.qcow2
    map -s bad a.qcow2
    map -l bad a.qcow2
    map -l -5 a.qcow2
    map -s 99999999999999999999 a.qcow2
    map -s 100M a.qcow2
    map
    map a.qcow2 r.raw
    map --output=xml a.qcow2
    map none.qcow2
    info --limits a.qcow2
    info --limits --output=json ext.qcow2
    info --limits --backing-chain top.qcow2
    info --limits -f raw r.raw
    info --limits OBJ luks.qcow2
    bench a.qcow2
    bench -c 100 -s 64k --pattern 7 a.qcow2
    bench -c 90 -d 1 -w --pattern 7 -s 64k -S 100k a.qcow2
    bench -c 20 -d 1 -w --flush-interval 6 -s 1000 -o 511 -f raw r.raw
    bench -c 5 -d 1 -w -s 4k -o 60k top.qcow2
    bench -c 3 -o 4M a.qcow2
    bench -c 0 a.qcow2
    bench -c x a.qcow2
    bench -d 0 a.qcow2
    bench -s 0 a.qcow2
    bench -S -1 a.qcow2
    bench --pattern 256 a.qcow2
    bench -w --flush-interval 10 a.qcow2
    bench --flush-interval 100 a.qcow2
    bench -t bad a.qcow2
    bench -i bad a.qcow2
    bench -n a.qcow2
    bench -U -w a.qcow2
    bench -q -c 2 none.qcow2
    bench a.qcow2 r.raw
    bench
    check a.qcow2
    check top.qcow2
    check snap.qcow2
    check comp.qcow2
    check leak.qcow2
    check bad.qcow2
    check --output=json bad.qcow2
    check --output=json leak.qcow2
    check -q bad.qcow2
    check -q leak.qcow2
    check --output=json a.qcow2
    check r.raw
    check -f raw r.raw
    check -f qcow2 r.raw
    check -f raw a.qcow2
    check -f bad a.qcow2
    check
    check a.qcow2 r.raw
    check --foo a.qcow2
    check -p a.qcow2
    check -f
    check -r
    check -r bad a.qcow2
    check --repair=bad a.qcow2
    check -T bad a.qcow2
    check -T none a.qcow2
    check --cache=none a.qcow2
    check --source-cache=none a.qcow2
    check --quiet=3 a.qcow2
    check --out=json a.qcow2
    check -U a.qcow2
    check none.qcow2
    check --image-opts driver=qcow2,file.filename=a.qcow2
    check --image-opts -f qcow2 driver=qcow2,file.filename=a.qcow2
    resize a.qcow2 8M
    resize a.qcow2 +1M
    resize a.qcow2 -1M
    resize a.qcow2 -1G
    resize --shrink a.qcow2 1M
    resize --shrink a.qcow2 -1M
    resize a.qcow2 0
    resize a.qcow2 bad
    resize a.qcow2 4194305
    resize a.qcow2
    resize
    resize a.qcow2 --
    resize a.qcow2 1M 2M
    resize -q a.qcow2 8M
    resize a.qcow2 -q 8M
    resize --preallocation=bad a.qcow2 8M
    resize --preallocation=metadata a.qcow2 8M
    resize --preallocation=full --shrink a.qcow2 1M
    resize --prealloc falloc a.qcow2 8M
    resize r.raw 8M
    resize -f raw r.raw 8M
    resize -f raw r.raw +1000
    resize -f raw r.raw 1M
    resize -f raw --shrink r.raw 1M
    resize -f raw --shrink r.raw 1
    resize -f raw --preallocation=full r.raw 3M
    resize -f raw --preallocation=falloc r.raw 3M
    resize -f raw --preallocation=metadata r.raw 3M
    resize -f raw -q r.raw 3M
    resize none.qcow2 1M
    resize -f bad a.qcow2 8M
    resize -f qcow2 r.raw 8M
    resize --image-opts driver=qcow2,file.filename=a.qcow2 8M
    resize --image-opts -f qcow2 a.qcow2 8M
    resize snap.qcow2 8M
    resize top.qcow2 8M
    resize OBJ --image-opts driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s 8M
    resize --object secret,id=s,data=no --image-opts driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s 8M
    resize OBJ --image-opts driver=qcow2,file.filename=aes.qcow2,encrypt.key-secret=s 8M
    convert
    convert a.qcow2
    convert -O bad a.qcow2 n.img
    convert -S 1000 a.qcow2 n.img
    convert -S 1G a.qcow2 n.img
    convert -S bad a.qcow2 n.img
    convert -S -5 a.qcow2 n.img
    convert -m 0 a.qcow2 n.img
    convert -m 17 a.qcow2 n.img
    convert -m bad a.qcow2 n.img
    convert -r bad a.qcow2 n.img
    convert -r -5 a.qcow2 n.img
    convert -l none snap.qcow2 n.img
    convert -l snapshot.id=1 snap.qcow2 n.img
    convert -l snapshot.id=7 snap.qcow2 n.img
    convert -l snapshot.name=7 snap.qcow2 n.img
    convert -l snapshot.foo=7 snap.qcow2 n.img
    convert -l one a.qcow2 n.img
    convert -l one r.raw n.img
    convert -l one a.qcow2 a.qcow2 n.img
    convert --bitmaps a.qcow2 r.raw n.img
    convert --bitmaps a.qcow2 n.img
    convert --bitmaps r.raw n.img
    convert --skip-broken-bitmaps a.qcow2 n.img
    convert -c -O raw a.qcow2 n.img
    convert -c -C -O qcow2 a.qcow2 n.img
    convert -C -S 4k -O qcow2 a.qcow2 n.img
    convert -C --salvage -O qcow2 a.qcow2 n.img
    convert --target-image-opts a.qcow2 n.img
    convert -n -o size=1 a.qcow2 n.img
    convert --target-is-zero a.qcow2 n.img
    convert -T bad a.qcow2 n.img
    convert -t bad a.qcow2 n.img
    convert none n.img
    convert -f bad a.qcow2 n.img
    convert -f qcow2 r.raw n.img
    convert a.qcow2 a.qcow2
    convert a.qcow2 /nonexist/x
    convert -O qcow2 a.qcow2 /nonexist/x
    convert -O qcow2 -o foo=1 a.qcow2 n.img
    convert -O qcow2 -o cluster_size=1000 a.qcow2 n.img
    convert -O qcow2 -o size=1M a.qcow2 n.img
    convert -O qcow2 -B a.qcow2 top.qcow2 n.img
    convert -O qcow2 -B a.qcow2 -F qcow2 top.qcow2 n.img
    convert -O qcow2 -b a.qcow2 -F qcow2 top.qcow2 top.qcow2 n.img
    convert -O raw -b a.qcow2 -F qcow2 top.qcow2 n.img
    convert -O raw -F qcow2 top.qcow2 n.img
    convert -O qcow2 -F qcow2 top.qcow2 n.img
    convert -O qcow2 -o backing_file=a.qcow2 top.qcow2 n.img
    convert -O qcow2 -o backing_file=none,backing_fmt=qcow2 top.qcow2 n.img
    convert -n a.qcow2 n.img
    convert -n a.qcow2 r.raw
    convert -n -O qcow2 -c a.qcow2 a.qcow2
    convert -O qcow2 -c -o encrypt.format=luks a.qcow2 n.img
    convert -O qcow2 -c -o preallocation=full a.qcow2 n.img
    convert -O qcow2 -c -o data_file=y a.qcow2 n.img
    convert -O qcow2 -o encrypt.format=luks a.qcow2 n.img
    convert --image-opts a.qcow2 n.img
    convert --image-opts -f qcow2 a.qcow2 n.img
    convert --image-opts driver=qcow2,file.filename=a.qcow2 n.img
    convert -p a.qcow2 n.img
    convert -p -q a.qcow2 n.img
    convert --compress a.qcow2 n.img
    convert -n --target-image-opts -O qcow2 a.qcow2 driver=raw,file.filename=x
    convert -n --target-image-opts a.qcow2 driver=qcow2,file.filename=snap.qcow2
    convert -n --target-is-zero -O qcow2 -b a.qcow2 a.qcow2 n.img
    convert --foo
    convert -O
    convert -O qcow2 -o keep_data_file=on a.qcow2 n.img
    convert -O qcow2 -o compat=9 a.qcow2 n.img
    convert -O qcow2 -o cluster_size=bad a.qcow2 n.img
    convert -O qcow2 -o extended_l2=bad a.qcow2 n.img
    convert -O raw -o preallocation=metadata a.qcow2 n.img
    convert -O raw -o preallocation=bad a.qcow2 n.img
    convert a.qcow2 foo:bar
    convert -l snapshot.id=1,snapshot.name=one snap.qcow2 n.img
    convert --object secret,id=a a.qcow2 n.img
    convert -n -O qcow2 a.qcow2 r.raw
    convert -O qcow2 a.qcow2 n.img
    convert -O qcow2 r.raw n.img
    convert -O qcow2 top.qcow2 n.img
    convert -O qcow2 -c a.qcow2 n.img
    convert -O qcow2 -c -o compression_type=zstd top.qcow2 n.img
    convert -O qcow2 -S 0 top.qcow2 n.img
    convert -O raw -S 0 top.qcow2 n.img
    convert -O qcow2 -S 512 top.qcow2 n.img
    convert -O qcow2 -S 1M top.qcow2 n.img
    convert -O qcow2 -o preallocation=metadata top.qcow2 n.img
    convert -O qcow2 -o preallocation=falloc top.qcow2 n.img
    convert -O qcow2 -o preallocation=full top.qcow2 n.img
    convert -O qcow2 -o extended_l2=on top.qcow2 n.img
    convert -O qcow2 -o compat=0.10 top.qcow2 n.img
    convert -O qcow2 -o cluster_size=512 top.qcow2 n.img
    convert -O qcow2 -o cluster_size=2M top.qcow2 n.img
    convert -O qcow2 -o data_file=y top.qcow2 n.img
    convert -O qcow2 -o data_file=y,data_file_raw=on top.qcow2 n.img
    convert -n -O qcow2 top.qcow2 snap.qcow2
    convert -n -O qcow2 r.raw snap.qcow2
    convert -n -O qcow2 --target-is-zero r.raw snap.qcow2
    convert -n -O qcow2 -S 0 r.raw snap.qcow2
    convert -n -O qcow2 -c a.qcow2 snap.qcow2
    convert -n -O qcow2 -c r.raw a.qcow2
    convert -O qcow2 a.qcow2 r.raw top.qcow2 n.img
    convert -O raw a.qcow2 r.raw top.qcow2 n.img
    convert -O qcow2 -c r.raw r.raw top.qcow2 n.img
    convert -O qcow2 -l one snap.qcow2 n.img
    convert -W -m 3 -O qcow2 r.raw n.img
    convert -r 1G -O qcow2 r.raw n.img
    convert -C -O qcow2 r.raw n.img
    convert -O qcow2 -f raw a.qcow2 n.img
    convert -O qcow2 file:a.qcow2 file:x
    convert -p -O qcow2 top.qcow2 a.qcow2 r.raw n.img
    convert -U -O qcow2 top.qcow2 a.qcow2 r.raw n.img
    convert -q -O qcow2 top.qcow2 a.qcow2 r.raw n.img
    convert -O qcow2 -b a.qcow2 -F qcow2 a.qcow2 n.img
    convert -O qcow2 -b r.raw -F raw top.qcow2 n.img
    convert -O qcow2 -b r.raw -F raw -c top.qcow2 n.img
    convert -O qcow2 -b a.qcow2 -F qcow2 -S 0 top.qcow2 n.img
    convert -O qcow2 -b a.qcow2 -F qcow2 r.raw n.img
    compare a.qcow2
    compare a.qcow2 top.qcow2
    compare -s a.qcow2 snap.qcow2
    compare a.qcow2 snap.qcow2
    compare a.qcow2 r.raw
    compare r.raw a.qcow2
    compare -p a.qcow2 snap.qcow2
    compare -q a.qcow2 top.qcow2
    compare -T bad a.qcow2 top.qcow2
    compare -f raw a.qcow2 top.qcow2
    compare -F raw a.qcow2 top.qcow2
    compare none top.qcow2
    compare top.qcow2 none
    compare -s a.qcow2 r.raw
    compare -s a.qcow2 a.qcow2
    compare top.qcow2 top.qcow2
    compare -s top.qcow2 top.qcow2
    compare --image-opts driver=qcow2,file.filename=a.qcow2 driver=qcow2,file.filename=snap.qcow2
    compare --image-opts -f qcow2 driver=qcow2,file.filename=a.qcow2 driver=qcow2,file.filename=snap.qcow2
    dd
    dd if=a.qcow2
    dd foo
    dd foo=3
    dd of=n.img if=a.qcow2 bs=0
    dd of=n.img if=a.qcow2 bs=bad
    dd of=n.img if=a.qcow2 bs=4G
    dd of=n.img if=a.qcow2 count=-1
    dd of=n.img if=a.qcow2 skip=bad
    dd of=n.img if=a.qcow2 skip=100000000
    dd of=n.img if=none
    dd -O bad of=n.img if=a.qcow2
    dd -O qcow2 of=/none/x if=a.qcow2
    dd -O qcow2 of=n.img if=a.qcow2 bs=3 count=1000 skip=2
    dd -O qcow2 of=a.qcow2 if=a.qcow2
    dd -O qcow2 of=n.img if=a.qcow2
    dd of=n.img if=a.qcow2
    dd -f raw -O qcow2 of=n.img if=a.qcow2 bs=1M
    dd -f raw -O qcow2 of=n.img if=r.raw bs=100k skip=1 count=5
    dd -O qcow2 of=n.img if=top.qcow2 bs=7k skip=3
    dd of=n.img if=r.raw count=0
    dd of=n.img if=r.raw bs=8k count=1
    dd -O qcow2 of=n.img if=r.raw bs=2M
    dd --x
    dd -O
    measure
    measure a.qcow2
    measure -O qcow2 a.qcow2
    measure -O qcow2 --output=json a.qcow2
    measure --output=json a.qcow2
    measure -O qcow2 --output=bad a.qcow2
    measure --size bad
    measure --size -1
    measure --size 1G a.qcow2
    measure -f qcow2
    measure -O bad --size 1G
    measure -O vdi --size 1G
    measure -O qcow2 -o foo=1 --size 1G
    measure -O qcow2 -o cluster_size=1000 --size 1G
    measure -O qcow2 -o cluster_size=bad --size 1G
    measure -O qcow2 -o size=1000 --size 1G
    measure -O qcow2 -o preallocation=bad --size 1G
    measure -O qcow2 -o preallocation=full --size 1G
    measure -O qcow2 -o preallocation=metadata --size 1G
    measure -O qcow2 -o preallocation=falloc a.qcow2
    measure -O qcow2 -o refcount_bits=3 --size 1G
    measure -O qcow2 -o refcount_bits=1 --size 10G
    measure -O qcow2 -o refcount_bits=64,cluster_size=512 --size 1G
    measure -O qcow2 -o compat=9 --size 1G
    measure -O qcow2 -o compat=0.10,refcount_bits=8 --size 1G
    measure -O qcow2 -o encrypt.format=luks --size 1G
    measure -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s --size 1G
    measure -O qcow2 -o encrypt.format=aes --size 1G
    measure -O qcow2 -o compat=0.10 snap.qcow2
    measure -O qcow2 snap.qcow2
    measure -O raw snap.qcow2
    measure -O qcow2 -l one snap.qcow2
    measure -O qcow2 -l two snap.qcow2
    measure -O qcow2 -l snapshot.id=1 snap.qcow2
    measure -O qcow2 -l snapshot.bad=1 snap.qcow2
    measure -O qcow2 -o backing_file=foo snap.qcow2
    measure -O qcow2 -o backing_file=foo,backing_fmt=raw snap.qcow2
    measure -O raw -o foo=1 snap.qcow2
    measure none
    measure a b
    measure -o help
    measure -O qcow2 --size 8E
    measure -O qcow2 --size 7E
    measure -O qcow2 --size 1T
    measure -O qcow2 -o cluster_size=512 --size 1T
    measure -O qcow2 -o extended_l2=on --size 1T
    measure -O qcow2 -o extended_l2=on,cluster_size=4k --size 1T
    measure -O qcow2 -o cluster_size=2M --size 1T
    measure -O raw --size 1000
    measure -O qcow2 --size 0
    measure -O qcow2 --size 1
    measure -O raw -o preallocation=full --size 1000
    measure -O raw r.raw
    measure -O qcow2 r.raw
    measure -O qcow2 top.qcow2
    measure -O qcow2 -o cluster_size=4k top.qcow2
    create
    create n.img
    create n.img 1M
    create n.img 1000
    create -q n.img 1M
    create n.img 0
    create n.img 1.5k
    create n.img 1.3
    create n.img 0x10
    create n.img bad
    create n.img 99999999999999999999
    create n.img -- -1
    create n.img -1
    create -6 n.img 1M
    create -f bad n.img 1M
    create -f qcow2 n.img 1M y
    create -o preallocation=full n.img 1M
    create -o preallocation=falloc n.img 1M
    create -o preallocation=bad n.img 1M
    create -o foo=1 n.img 1M
    create -o size=1M n.img
    create -f raw -o nocow=on,extent_size_hint=1M n.img 1M
    create -f raw -o cluster_size=4k n.img 1M
    create -f raw -b a.qcow2 n.img
    create -f raw -F qcow2 n.img 1M
    create -f raw none/n.img 1M
    create -f raw -o help
    create -f qcow2 -o help
    create -f qcow2 -o ? n.img
    create -f raw -o help n.img
    create -f qcow2 n.img 1M
    create -fqcow2 -ocluster_size=4k n.img 1M
    create --format=qcow2 --options=cluster_size=4k n.img 1M
    create --form qcow2 --opt cluster_size=4k n.img 1M
    create -qf qcow2 n.img 1M
    create -f qcow2 -o size=1M n.img 2M
    create -f qcow2 -o
    create -f qcow2 -o ,a n.img 1M
    create -f qcow2 -o a,,b n.img 1M
    create -f qcow2 -o nocow=on,extent_size_hint=1M n.img 1M
    create -f qcow2 -o nocow=maybe n.img 1M
    create -f qcow2 -o extent_size_hint=bad n.img 1M
    create -f qcow2 -o cluster_size=3 n.img 1M
    create -f qcow2 -o preallocation=bad n.img 1M
    create -f qcow2 -o compat=0.10 n.img 1M
    create -f qcow2 -o compat=2 n.img 1M
    create -f qcow2 -o lazy_refcounts=on n.img 1M
    create -f qcow2 -o extended_l2=on n.img 1M
    create -f qcow2 -o preallocation=metadata n.img 1M
    create -f qcow2 -o compression_type=zstd n.img 1M
    create -f qcow2 -o refcount_bits=3 n.img 1M
    create -f qcow2 -o refcount_bits=x n.img 1M
    create -f qcow2 -b a.qcow2 -F qcow2 n.img
    create -f qcow2 -b a.qcow2 -B qcow2 n.img
    create -f qcow2 --backing a.qcow2 --backing-format qcow2 n.img
    create -f qcow2 -b r.raw -F raw n.img 8M
    create -f qcow2 -b a.qcow2 n.img
    create -f qcow2 -b none -F qcow2 n.img
    create -f qcow2 -b none -F raw n.img 1M
    create -f qcow2 -u -b none -F qcow2 n.img 1M
    create -f qcow2 -u -b none -F qcow2 n.img
    create -f qcow2 -u -b none n.img 1M
    create -f qcow2 -b a.qcow2 -F bad n.img
    create -f qcow2 -F qcow2 n.img 1M
    create -f qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 n.img
    create -f qcow2 none/n.img 1M
    create -f qcow2 -o data_file=n.raw n.img 1M
    create -f qcow2 -o data_file=n.raw,data_file_raw=on n.img 1M
    create -f qcow2 -o data_file=r.raw n.img 1M
    create -f qcow2 -o keep_data_file=on n.img 1M
    create -f qcow2 OBJ -o encrypt.format=aes,encrypt.key-secret=s n.img 1M
    create -f qcow2 OBJ -o encryption=on,encrypt.key-secret=s n.img 1M
    create -f qcow2 -o encryption=off n.img 1M
    create -f qcow2 -o encryption=on n.img 1M
    create -f qcow2 -o encrypt.format=luks n.img 1M
    create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=x n.img 1M
    create -f qcow2 OBJ -o encrypt.key-secret=s n.img 1M
    create -f qcow2 OBJ -o encrypt.format=bad,encrypt.key-secret=s n.img 1M
    create -f qcow2 OBJ -o encrypt.format=aes,encrypt.key-secret=s,encrypt.cipher-alg=aes-128 n.img 1M
    create -f qcow2 OBJ -o encryption=on,encrypt.format=aes,encrypt.key-secret=s n.img 1M
    create -f qcow2 OBJ -o encrypt.foo=1 n.img 1M
    create -f qcow2 OBJ -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=bad n.img 1M
    create -f qcow2 OBJ -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-mode=bad n.img 1M
    create -f qcow2 OBJ -o encrypt.format=luks,encrypt.key-secret=s,encrypt.ivgen-alg=benbi n.img 1M
    create -f qcow2 OBJ -o encrypt.format=luks,encrypt.key-secret=s,encrypt.hash-alg=foo n.img 1M
    create -f qcow2 OBJ -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=cast5-128 n.img 1M
    create -f qcow2 OBJ -o encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=3des,encrypt.cipher-mode=cbc n.img 1M
    create -f qcow2 OBJ -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=x n.img 1M
    snapshot snap.qcow2
    snapshot -l snap.qcow2
    snapshot -l a.qcow2
    snapshot -l r.raw
    snapshot -l
    snapshot -x a.qcow2
    snapshot -l none.qcow2
    snapshot --list snap.qcow2
    snapshot -q -l snap.qcow2
    snapshot -a one snap.qcow2
    snapshot -a 2 snap.qcow2
    snapshot -a none snap.qcow2
    snapshot -q -d two snap.qcow2
    snapshot -d one snap.qcow2
    snapshot -d 1 snap.qcow2
    snapshot -d none a.qcow2
    snapshot -c x r.raw
    snapshot -a x r.raw
    snapshot -d x r.raw
    snapshot -U -d one snap.qcow2
    snapshot -l -d one snap.qcow2
    snapshot -c x none.qcow2
    snapshot -a one OBJ snap.qcow2
    info file:a.qcow2
    info file:none
    info file:
    info foo:bar
    info json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}
    info --output=json json:{"driver":"qcow2","file.filename":"a.qcow2"}
    info json:{"file.filename":"a.qcow2"}
    info json:{"driver":"raw","file.filename":"a.qcow2"}
    info json:{"driver":"qcow2"}
    info json:{}
    info json:{"driver":"bad"}
    info json:{"driver":"qcow2","file.filename":"a.qcow2","foo":1}
    info json:{"driver":"qcow2","file.filename":"none"}
    info --image-opts a.qcow2
    info --image-opts file.filename=a.qcow2
    info --image-opts driver=raw,file.filename=a.qcow2
    info --image-opts driver=qcow2,file=a.qcow2
    info --image-opts driver=qcow2
    info --image-opts driver=bad,file.filename=a.qcow2
    info --image-opts driver=qcow2,file.filename=none
    info --image-opts driver=qcow2,file.filename=a.qcow2,foo=1
    info --image-opts driver=qcow2,file.driver=bad,file.filename=a.qcow2
    map file:top.qcow2
    map json:{"driver":"qcow2","file":{"driver":"file","filename":"top.qcow2"}}
    map --output=json --image-opts driver=raw,file.filename=a.qcow2
    map luks.qcow2
    map OBJ --image-opts driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s
    check file:a.qcow2
    check --output=json json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}
    check --image-opts driver=raw,file.filename=r.raw
    check --image-opts driver=qcow2,file.filename=bad.qcow2
    check luks.qcow2
    check OBJ --image-opts driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=s
    snapshot -l file:snap.qcow2
    snapshot -l json:{"driver":"qcow2","file":{"driver":"file","filename":"snap.qcow2"}}
    snapshot -l luks.qcow2
    resize file:a.qcow2 8M
    resize json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}} 8M
    resize --image-opts driver=raw,file.filename=r.raw 3M
    resize luks.qcow2 8M
    create file:n.img 1M
    create -f qcow2 file:n.img 1M
    create -f qcow2 -b a.qcow2 -F qcow2 file:n.img
    create -f qcow2 foo:bar 1M
    create -f qcow2 json:{"driver":"file","filename":"n.img"} 1M

    bad
    """.split(separator: "\n", omittingEmptySubsequences: false).map {
      $0.replacing("OBJ", with: object)
    }

  private static let images = [
    "a.qcow2", "a.qcow2", "r.raw", "top.qcow2", "snap.qcow2", "comp.qcow2", "ext.qcow2", "leak.qcow2",
    "bad.qcow2", "none.qcow2",
  ]
  private static let formats = [
    "", "", "", "-f qcow2", "-fqcow2", "--format=qcow2", "--form qcow2", "-f raw", "-f bad", "--format raw",
  ]
  private static let outputs = [
    "", "", "--output=json", "--output json", "--out=json", "--output=human", "--output=xml",
  ]

  static func seeded(_ seed: UInt64) -> String {
    var words = SeededWords(random: SplitMix64(seed: seed))
    let verb = words.one(["create", "create", "info", "map", "check", "resize", "snapshot"])
    var line: [String]
    func insert(_ options: [String]) -> [String] {
      var list = options
      list.insert(words.one(images), at: Int(words.random.below(UInt64(list.count + 1))))
      return list
    }
    switch verb {
    case "info":
      let options = [
        words.one(outputs), words.one(formats), "-U", "--backing-chain", "--backing", "-t none",
        "--object secret,id=q,data=z",
      ]
      line = insert(words.some(4, options))
    case "map":
      let options = [
        words.one(outputs), words.one(formats), "-U",
        words.one(["-s 64k", "--start-offset=1M", "-s bad", "-s 0x10000"]),
        words.one(["-l 1M", "--max-length 70000", "-l 0", "-l -1"]),
      ]
      line = insert(words.some(4, options))
    case "check":
      let options = [
        words.one(outputs), words.one(formats), "-U", "-q", "--quiet",
        words.one(["-T none", "-T bad", "--cache=writeback"]),
      ]
      line = insert(words.some(4, options))
    case "snapshot": line = insert(words.some(3, ["-l", words.one(formats), "-U", "-q"]))
    case "resize":
      line = words.some(
        3,
        [
          words.one(formats), "--shrink", "-q",
          "--preallocation=" + words.one(["off", "metadata", "falloc", "full", "x"]),
        ])
      line.append(words.one(["a.qcow2", "r.raw", "top.qcow2", "comp.qcow2", "ext.qcow2", "none.qcow2"]))
      line.append(
        words.one([
          "8M", "+1M", "-1M", "1M", "4M", "5000k", "3145728", "+512", "1000", "0", "x", "+", "-2G", "6M",
        ]))
    default: line = create(&words)
    }
    return ([verb] + line.filter { !$0.isEmpty }).joined(separator: " ")
  }

  private static func create(_ words: inout SeededWords) -> [String] {
    let options = words.some(
      3,
      [
        "cluster_size=" + words.one(["512", "4k", "64k", "1M", "2M", "3M", "100"]),
        "compat=" + words.one(["0.10", "1.1", "v2", "v3", "v4"]),
        "extended_l2=" + words.one(["on", "off", "x"]),
        "refcount_bits=" + words.one(["1", "8", "16", "64", "5", "128"]),
        "lazy_refcounts=" + words.one(["on", "off"]),
        "preallocation=" + words.one(["off", "metadata", "falloc", "full", "z"]),
        "compression_type=" + words.one(["zlib", "zstd", "lz4"]), "size=" + words.one(["1M", "3M"]),
        "nocow=on", "extent_size_hint=" + words.one(["0", "64k", "1M"]), "bad=1",
      ])
    var line: [String] = []
    if words.random.below(4) > 0 { line.append(words.one(["-f qcow2", "-fqcow2", "--format qcow2"])) }
    if words.random.below(4) == 0 { line.append("-q") }
    if !options.isEmpty {
      line.append(words.one(["-o ", "-o", "--options="]) + options.joined(separator: ","))
    }
    if words.random.below(4) == 0 {
      line.append(words.one(["-b a.qcow2", "-b r.raw", "-b none", "--backing=a.qcow2"]))
      line.append(words.one(["-F qcow2", "-F raw", "--backing-format=qcow2", ""]))
    }
    line.append(words.one(["n.img", "n.img", "n.img", "a.qcow2"]))
    line.append(words.one(["1M", "1M", "64k", "1000", "1.5M", "7M", "17M", "x", "", "10M y", "0"]))
    return line
  }
}
