#!/bin/bash
# Proves I3: a read of a copy that is under way on the origin completes before
# its chunk is overwritten.  The origin's reads are slow, its writes are not.
# slow
. "$(dirname "$0")/../shadow.sh"
need_target delay
disk 8
fast=$DEV
n=$(sectors "$fast")
disk 16
area=$DEV
format_area "$area" "$fast"
dm_create slow "0 $n delay $fast 0 400 $fast 0 0"
origin=/dev/mapper/slow
stomp fill "$fast" --seq 1
activate
take
show "$ID"
for ((i = 0; i < 8; i++)); do
	at=$((i * 1024))
	stomp read "/dev/mapper/c$ID" $at 512 --seq 1 &
	reader=$!
	sleep 0.15
	stomp write /dev/mapper/o $((at + 100)) 8 --seq 2
	stomp write /dev/mapper/o $((at + 256)) 128 --seq 2
	wait $reader || fail "read $i shows what was written after it began"
	stomp read "/dev/mapper/c$ID" $at 512 --seq 1
done
# The same with the chunk saved already for another write of the same bio
stomp verify "/dev/mapper/c$ID" --seq 1 --count 2048
