#!/bin/bash
# Proves what a first write of 4 KiB costs at a chunk of 16 KiB, one at a time,
# on devices with a volatile write cache and on devices without: one read and
# one write on the origin, at most two writes and one flush on the diff area,
# no read there; and the same with 64 copies.
# slow
. "$(dirname "$0")/../shadow.sh"
need_target shadow-origin
writes=50

# measure WHAT CACHE
measure()
{
	local or ow aw af ar

	or=$(devstat "$origin" reads) ow=$(devstat "$origin" writes)
	ar=$(devstat "$area" reads) aw=$(devstat "$area" writes) af=$(devstat "$area" flushes)
	stomp scatter /dev/mapper/o --seq 2 --stride 64K --count $writes
	or=$(($(devstat "$origin" reads) - or)) ow=$(($(devstat "$origin" writes) - ow))
	ar=$(($(devstat "$area" reads) - ar)) aw=$(($(devstat "$area" writes) - aw))
	af=$(($(devstat "$area" flushes) - af))
	echo "$1: origin $or reads $ow writes; diff area $ar reads $aw writes $af flushes"
	expect $writes $or "$1: reads of the origin"
	expect $writes $ow "$1: writes to the origin"
	expect 0 $ar "$1: reads of the diff area"
	[ $aw -le $((2 * writes)) ] || fail "$1: $aw writes to the diff area"
	[ $af -le $writes ] || fail "$1: $af flushes of the diff area"
}

for cache in 0 16; do
	null_disk 4 cache_size=$cache
	origin=$DEV
	null_disk 64 cache_size=$cache
	area=$DEV
	format_area "$area" "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	message checkpoint
	measure "1 copy, cache $cache"
	nodes takes o 64
	message checkpoint
	measure "65 copies, cache $cache"
	expect $((2 * writes)) "$(status 17)" "chunks saved"
	deactivate
done
