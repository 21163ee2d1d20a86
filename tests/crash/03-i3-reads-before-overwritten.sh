#!/bin/bash
# Proves I3: a read of a copy that is under way on the origin completes before
# its chunk is overwritten; one over a gap, too.  The origin's reads are slow, its
# writes are not.
# slow
. "$(dirname "$0")/../shadow.sh"
need_target delay
disk 2
fast=$DEV
rotates "$fast" 1
n=$(sectors "$fast")
disk 16
area=$DEV
format_area "$area" "$fast"
dm_create slow "0 $n linear $fast 0"
origin=/dev/mapper/slow
# read_begun: the slow device holds a read
read_begun()
{
	[ "$(nodes status slow 1)" -gt 0 ]
}
stomp fill "$fast" --seq 1
activate
take
# The third read has a gap
stomp write /dev/mapper/o $((2048 + 192)) 8 --seq 2
show "$ID"
dm_reload slow "0 $n delay $fast 0 500 $fast 0 0"
for ((i = 0; i < 3; i++)); do
	at=$((i * 1024))
	stomp read "/dev/mapper/c$ID" $at 512 --seq 1 &
	reader=$!
	until read_begun; do
		kill -0 $reader 2>/dev/null || fail "read $i never reached the origin"
	done
	kill -0 $reader 2>/dev/null || fail "read $i was over too early"
	stomp write /dev/mapper/o $((at + 100)) 8 --seq 2
	stomp write /dev/mapper/o $((at + 256)) 128 --seq 2
	wait $reader || fail "read $i shows what was written after it began"
	stomp read "/dev/mapper/c$ID" $at 512 --seq 1
done
dm_reload slow "0 $n linear $fast 0"
holds "$ID" 1
