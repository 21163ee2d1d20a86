#!/bin/bash
# Proves that a merge whose diff area takes no more writes half way makes the
# origin whole all the same, and that writes meanwhile are not lost; that it
# begins so only when the copies are marked lost.  If the area comes back before
# the power fails, the merge is not done again over later writes, and check and
# repair know of it what the kernel does.
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
area_failed()
{
	[ "$(status 1)" != rw ]
}

for when in start later back; do
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
	if [ $when = back ]; then
		# Superblocks can be written at first: the mark that copies are lost.
		dm_reload area "0 128 linear $real 0
128 $((n - 128)) flakey $real 128 0 1000 1 error_writes"
		stomp write /dev/mapper/o 30013 7 --seq 1 &
		wait_for area_failed
		sleep 0.5
	fi
	dm_reload area "0 $n flakey $real 0 0 1000 1 error_writes"
	stomp verify /dev/mapper/o --seq 1
	stomp write /dev/mapper/o 30003 7 --seq 5
	stomp verify /dev/mapper/o --seq 5 --start 30003 --count 7
	wait_for merge_done
	[ "$(status 1)" = rw ] && echo "note: over before it failed"
	stomp verify /dev/mapper/o --seq 1 --count 30000
	stomp verify /dev/mapper/o --seq 5 --start 30003 --count 7
	if [ $when = back ]; then
		dm_reload area "0 $n linear $real 0"
		sleep 6			# tried again every 5 s
		cp "$real" crashed
		deactivate
		cp crashed checked
		rc=0
		shadowctl check checked >out 2>/dev/null || rc=$?
		expect 6 $rc "status of check"
		grep -q '^damage: superblock: .* failed in use.*: cop' out ||
			{ cat out; fail "check does not tell"; }
		shadowctl dump checked >out
		grep -q 'lost: yes' out || fail "dump does not tell of the loss"
		grep -q 'merged: yes' out || fail "dump does not tell of the merge"
		shadowctl check --repair --force checked >out || { cat out; fail "no repair"; }
		dd if=crashed of="$real" bs=1M oflag=direct status=none
		activate
		expect - "$(status 24)" "merge under way after the power cut"
		stomp verify /dev/mapper/o --seq 1 --count 30000
	fi
	deactivate
	dm_reload area "0 $n linear $real 0"
	stomp verify "$fast" --seq 1 --count 30000
	stomp verify "$fast" --seq 5 --start 30003 --count 7
	stomp verify "$fast" --seq 1 --start 30010
done
