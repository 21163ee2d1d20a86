#!/bin/bash
# Proves that a volume of 16 TiB with chunks of 4 KiB (2^32 of them) works up to its
# last sector, takes memory for what was touched only, and is active again at once.
# slowest
. "$(dirname "$0")/../shadow.sh"
end=$((1 << 35))		# sectors
truncate -s 16T o
need_module loop
origin=$(losetup --show -f o)
cleanup losetup -d "$origin"
disk 64
area=$DEV
format_area "$area" "$origin" --chunk-size 4K
# Where to write: every TiB, and the last sectors
places=()
for ((i = 0; i < 16; i++)); do
	places+=($((i << 31)))
done
places+=($((end - 16)) $((end - 1)))

# kernel_kib: what the kernel holds for itself
kernel_kib()
{
	awk '/^(Slab|VmallocUsed|Percpu):/ { n += $2 } END { print n }' /proc/meminfo
}

# put SEQ: a sector at each place
put()
{
	local p

	for p in "${places[@]}"; do
		stomp write /dev/mapper/o "$p" 1 --seq "$1"
	done
}

# shows NODE SEQ: they are there
shows()
{
	local p

	for p in "${places[@]}"; do
		stomp read "$1" "$p" 1 --seq "$2"
	done
}

activate
put 1
before=$(kernel_kib)
for seq in 2 3 4; do
	take
	copies[seq - 1]=$ID
	put $seq
done
grown=$(($(kernel_kib) - before))
echo "3 copies: $grown KiB"
[ $grown -lt 16384 ] || fail "3 copies take $grown KiB"
expect $((3 * ${#places[@]})) "$(status 17)" "chunks saved"
deactivate
read=$(devstat "$area" reads)
activate
read=$(($(devstat "$area" reads) - read))
echo "active again with $read reads of the diff area"
[ $read -le 64 ] || fail "$read reads of the diff area"
shows /dev/mapper/o 4
for seq in 1 2 3; do
	show "${copies[seq]}"
	shows "/dev/mapper/c${copies[seq]}" $seq
	stomp read "/dev/mapper/c${copies[seq]}" $((end - 2)) 1 --seq 0
done
