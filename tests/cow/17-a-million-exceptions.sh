#!/bin/bash
# Proves that memory is bounded: with many more exceptions than the cache cap
# has room for, the module's own counter and the kernel's free memory stay in
# bounds, activation reads a bounded part of the diff area, and old data is
# found.  100,000 exceptions under 1 MiB; with LONG=1 a million under 16 MiB.
# timeout: 1500
# slow
. "$(dirname "$0")/../shadow.sh"
requires python3
need_module zram num_devices=1
if [ -n "$LONG" ]; then
	count=1000000 cap=16384 slack=16384
else
	count=100000 cap=1024 slack=2048
fi

# An origin of 8 KiB for each exception, all of it the same MiB of memory, filled
# with one word, so that it costs none; every other chunk of 4 KiB is written.
disk 1
tile=$DEV
head -c 1M /dev/zero | tr '\000' 'x' >tile
dd if=tile of="$tile" bs=1M oflag=direct status=none
tiles=$((count * 8 / 1024 + 1))
for ((i = 0; i < tiles; i++)); do
	echo "$((i * 2048)) 2048 linear $tile 0"
done >table
dmsetup create tiled <table
cleanup dm_gone tiled
origin=/dev/mapper/tiled

# The diff area is on zram: pages of one word cost nothing there either.
echo $((count * 4096 + count * 128 + (64 << 20))) >/sys/block/zram0/disksize
cleanup retry eval "echo 1 >/sys/block/zram0/reset"
area=/dev/zram0
format_area $area $origin --chunk-size 4K
activate_with cache_kib $cap
take
id=$ID

# kernel_kib: what the kernel holds for itself; zram's pages are not among it
kernel_kib()
{
	awk '/^(Slab|VmallocUsed|Percpu):/ { n += $2 } END { print n }' /proc/meminfo
}
before=$(kernel_kib)
# One word, or the tile would cost memory
step=$((count / 10))
cat >scatter.py <<-'END'
	import os, random, mmap, sys, threading
	count, threads, dev = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
	order = list(range(count))
	random.Random(1).shuffle(order)
	def work(part):
	    page = mmap.mmap(-1, 4096)
	    page.write(b"y" * 4096)
	    fd = os.open(dev, os.O_RDWR | os.O_DIRECT)
	    for n in part:
	        os.pwrite(fd, page, n * 8192)
	    os.close(fd)
	ts = [threading.Thread(target=work, args=(order[i::threads],)) for i in range(threads)]
	for t in ts: t.start()
	for t in ts: t.join()
END
python3 scatter.py $count 16 /dev/mapper/o &
writer=$!
peak=0
while kill -0 $writer 2>/dev/null; do
	kib=$(status 15 | cut -d / -f 1)
	[ "$kib" -le "$peak" ] || peak=$kib
	sleep 1
done
wait $writer
expect $count "$(($(status 17) + $(status 18)))" "exceptions"
grown=$(($(kernel_kib) - before))
bitmaps=$(status 16)
echo "cap $cap KiB; the module says at most $peak, bitmaps $bitmaps; the kernel grew by $grown"
[ "$peak" -le $cap ] || fail "$peak KiB of cache with a cap of $cap"
[ $grown -le $((cap + bitmaps + slack)) ] || fail "the kernel grew by $grown KiB"

# Now the tile is "z" all over: "x" or "y" can only be what was saved.  Read some, by
# the index.
head -c 1M /dev/zero | tr '\000' 'z' >tile
dd if=tile of="$tile" bs=1M oflag=direct status=none
show "$id"
for ((i = 0; i < 20; i++)); do
	n=$((step * (i % 10) + i * 7 + 1))
	got=$(dd if="/dev/mapper/c$id" bs=4096 skip=$((2 * n)) count=1 iflag=direct status=none |
		tr -d 'xy' | wc -c)
	expect 0 "$got" "strange bytes in chunk $n"
done
kib=$(status 15 | cut -d / -f 1)
[ "$kib" -le $cap ] || fail "$kib KiB of cache with a cap of $cap, after reads"
hide "$id"

deactivate
reads=$(devstat $area read_sectors)
start=$SECONDS
activate_with cache_kib $cap
reads=$((($(devstat $area read_sectors) - reads) / 2))
echo "activation read $reads KiB of the diff area in $((SECONDS - start)) s"
# Bitmaps, roots, superblocks, descriptors: not the index, not the data
[ $reads -le $((2048 + count / 64)) ] || fail "activation read $reads KiB"
expect clean "$(status 26)" "how it was found"
message delete "$id"
