#!/bin/bash
# Proves that a merge whose diff area takes no more writes half way makes the
# origin whole all the same, and that writes meanwhile are not lost; that it
# begins so only when the copies are marked lost.
# dmesg: I/O error|Buffer I/O|lost
# slow
. "$(dirname "$0")/../shadow.sh"
need_target delay
need_target flakey
disk 16
fast=$DEV
dm_create slow "0 $(sectors "$fast") delay $fast 0 0 $fast 0 300"
origin=$DEV
disk 64
real=$DEV
n=$(sectors "$real")
dm_create area "0 $n linear $real 0"
area=/dev/mapper/area
for when in start later; do
	format_area "$area" "$origin" --chunk-size 16K
	stomp fill "$fast" --seq 1
	activate
	take
	target=$ID
	stomp fill /dev/mapper/o --seq 2
	take
	stomp fill /dev/mapper/o --seq 3 --count 16384
	merge "$target"
	[ $when = start ] || sleep 1
	dm_reload area "0 $n flakey $real 0 0 1000 1 error_writes"
	stomp verify /dev/mapper/o --seq 1
	stomp write /dev/mapper/o 30003 7 --seq 5
	stomp verify /dev/mapper/o --seq 5 --start 30003 --count 7
	wait_for merge_done
	[ "$(status 1)" = rw ] && echo "note: over before it failed"
	stomp verify /dev/mapper/o --seq 1 --count 30000
	stomp verify /dev/mapper/o --seq 5 --start 30003 --count 7
	deactivate
	dm_reload area "0 $n linear $real 0"
	stomp verify "$fast" --seq 1 --count 30000
	stomp verify "$fast" --seq 5 --start 30003 --count 7
	stomp verify "$fast" --seq 1 --start 30010
done
