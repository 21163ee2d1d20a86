#!/bin/bash
# Proves that errors of single writes to the diff area don't reach the origin,
# and that no copy ever shows wrong data: it is right, or can't be read.
# dmesg: I/O error|Buffer I/O
# slow
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 8
origin=$DEV
disk 32
real=$DEV
n=$(sectors "$real")
dm_create area "0 $n linear $real 0"
area=/dev/mapper/area
for ((round = 0; round < 6; round++)); do
	format_area $area "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	id=$ID
	stomp fill /dev/mapper/o --seq 2 --count 4096
	# One 64 KiB hole somewhere behind the superblocks takes no I/O
	hole=$((256 + (RANDOM * 32768 + RANDOM) % (n - 512)))
	[ $round -ne 0 ] || hole=512
	dm_reload area "0 $hole linear $real 0
$hole 128 error
$((hole + 128)) $((n - hole - 128)) linear $real $((hole + 128))"
	stomp scatter /dev/mapper/o --seq 3 --stride 16K --shuffle --seed $((SEED + round)) --writers 4
	stomp check /dev/mapper/o --seq 3 --stride 16K --else 1 --count 1024 >/dev/null 2>&1 || true
	message checkpoint 2>/dev/null || true
	stomp fill /dev/mapper/o --seq 4
	stomp verify /dev/mapper/o --seq 4
	echo "round $round, hole at $hole: mode $(status 1), errors $(status 21)"
	dm_reload area "0 $n linear $real 0"
	if [[ " $(ids) " == *" $id "* ]] && [[ $(listed "$id" 7) == - ]]; then
		show "$id"
		said=$(stomp verify "/dev/mapper/c$id" --seq 1 2>&1) ||
			[[ $said != *MISMATCH* ]] || fail "wrong data: $said"
		hide "$id"
	fi
	deactivate
	stomp verify "$origin" --seq 4
done
