#!/bin/bash
# Proves that the origin node can be suspended and resumed, with and without
# flushing, while writers write, and that a copy taken in between is of one
# instant: two writers in lock step never differ by more than a write.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 32
stomp fill "$origin" --seq 1
activate

# Writes n to two places, the second only once the first is on the medium
writer()
{
	local n

	for ((n = 2; n < 100000; n++)); do
		[ ! -e stop ] || return 0
		stomp write /dev/mapper/o 100 8 --seq "$n" --dsync
		stomp write /dev/mapper/o 9000 8 --seq "$n" --dsync
	done
}
writer &
for ((i = 0; i < 8; i++)); do
	sleep 0.3
	noflush=
	[ $((i % 2)) -eq 0 ] || noflush=--noflush
	# shellcheck disable=SC2086 # a word or none
	dmsetup suspend --nolockfs $noflush o
	dmsetup resume o
	take
done
touch stop
wait

seq_at()	# NODE SECTOR: the number in a stamp is bytes 8 to 11
{
	dd if="$1" bs=512 skip="$2" count=1 iflag=direct status=none | od -A n -t u4 -j 8 -N 4 |
		tr -d ' '
}
last=0
for id in $(ids); do
	show "$id"
	a=$(seq_at "/dev/mapper/c$id" 100) b=$(seq_at "/dev/mapper/c$id" 9000)
	[ "$a" -eq "$b" ] || [ "$a" -eq $((b + 1)) ] || fail "copy $id has writes $a and $b"
	[ "$a" -ge "$last" ] || fail "copy $id is older than the one before"
	last=$a
	hide "$id"
done
[ "$last" -gt 1 ] || fail "the writer did not write"
