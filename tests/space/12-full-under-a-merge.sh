#!/bin/bash
# Proves that a diff area that fills up while a copy is merged, with no other copy to
# drop, costs that copy and not the merge, nor a write of the origin: the copy is reported
# invalid, the volume becomes what it was, also over a deactivation, and the space comes
# back.
# slow
. "$(dirname "$0")/../shadow.sh"
need_target delay
disk 8
fast=$DEV
n=$(sectors "$fast")
dm_create slow "0 $n linear $fast 0"
origin=$DEV
disk 32
area=$DEV

# right: an eighth was written since, the rest is the copy
right()
{
	stomp verify /dev/mapper/o --seq 3 --count 2048
	stomp verify /dev/mapper/o --seq 1 --start 2048
}

for policy in drop-oldest invalidate; do
	format_area "$area" "$origin" --chunk-size 4K
	stomp fill "$fast" --seq 1
	activate
	message when_full $policy
	take
	# Every second chunk is to be brought home, and that is slow.
	stomp scatter /dev/mapper/o --seq 2 --stride 8K --shuffle
	dm_reload slow "0 $n delay $fast 0 0 $fast 0 500"
	event=$(events)
	merge "$ID"
	message limit "$(used)"
	# What the copy has on the origin must be saved first, and there is no room.
	stomp fill /dev/mapper/o --seq 3 --count 2048
	expect im "$(listed "$ID" 7)" "flags of the copy"
	expect "rw 0 running" "$(status 1 19 31)" "mode, copies dropped, merge"
	event_since "$event" "the copy is lost"
	right
	deactivate
	dm_reload slow "0 $n linear $fast 0"
	activate
	right
	wait_for merge_done
	expect "rw done" "$(status 1 31)" "mode, merge"
	right
	expect i "$(listed "$ID" 7)" "flags of the copy after the merge"
	show "$ID"
	expect invalid "$(dm_status "c$ID" 1)" "the copy"
	hide "$ID"
	message delete "$ID"
	take
	stomp fill /dev/mapper/o --seq 4 --start 4096 --count 4096
	show "$ID"
	stomp verify "/dev/mapper/c$ID" --seq 1 --start 4096
	hide "$ID"
	deactivate
	sound "$policy" "$area"
done
