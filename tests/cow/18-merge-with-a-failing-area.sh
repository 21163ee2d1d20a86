#!/bin/bash
# Proves that a merge whose diff area takes no more writes half way makes the
# origin whole all the same, and that writes meanwhile are not lost; that it
# begins so only when the copies are marked lost.  If the area comes back before
# the power fails, the merge is not done again over later writes, and check and
# repair know of it what the kernel does.
# dmesg: I/O error|Buffer I/O|lost
# slowest
# timeout: 400
. "$(dirname "$0")/../shadow.sh"
need_target delay
need_target flakey
disk 8
fast=$DEV
size=$(sectors "$fast")
dm_create slow "0 $size linear $fast 0"
origin=$DEV
wrapped_area 64
area_failed()
{
	[ "$(status 1)" != rw ]
}
# on_its_way: some of it is home, and that is recorded
on_its_way()
{
	[ "$(status 24)" != "$begun" ]
}
# told_merged: a superblock says that the merge is over
told_merged()
{
	[ $((($(blocks get "$real" 0 92 4) | $(blocks get "$real" 8 92 4)) & 8)) -ne 0 ]
}

for when in start later back; do
	format_area "$area" "$origin" --chunk-size 16K
	stomp fill "$fast" --seq 1
	activate
	take
	target=$ID
	# Saved here and there: many pieces to bring home
	stomp scatter /dev/mapper/o --seq 2 --stride 16K --size 16K --shuffle
	take
	stomp fill /dev/mapper/o --seq 3 --count 8192
	# Slow enough that the merge lasts
	dm_reload slow "0 $size delay $fast 0 0 $fast 0 500"
	merge "$target"
	begun=$(status 24)
	[ $when = start ] || wait_for on_its_way
	if [ $when = back ]; then
		# Superblocks can be written at first: the mark that copies are lost.
		area_takes_no_writes 128
		stomp write /dev/mapper/o 15013 7 --seq 1 &
		wait_for area_failed
		sleep 0.5
	fi
	area_takes_no_writes 0
	[ "$(status 24)" != - ] || fail "over before the area failed"
	stomp verify /dev/mapper/o --seq 1
	stomp write /dev/mapper/o 15003 7 --seq 5
	stomp verify /dev/mapper/o --seq 5 --start 15003 --count 7
	dm_reload slow "0 $size linear $fast 0"
	wait_for merge_done
	wait
	area_failed || fail "the area never failed"
	stomp verify /dev/mapper/o --seq 1 --count 15000
	stomp verify /dev/mapper/o --seq 5 --start 15003 --count 7
	if [ $when = back ]; then
		refuses told_merged
		area_back
		wait_for told_merged	# tried again every 5 s
		power_cut
		rc=0
		shadowctl check crashed >out 2>/dev/null || rc=$?
		expect 6 $rc "status of check"
		grep -q '^damage: superblock: .* failed in use.*: cop' out ||
			{ cat out; fail "check does not tell"; }
		shadowctl dump crashed >out
		grep -q 'lost: yes' out || fail "dump does not tell of the loss"
		grep -q 'merged: yes' out || fail "dump does not tell of the merge"
		shadowctl check --repair --force crashed >out || { cat out; fail "no repair"; }
		activate
		expect - "$(status 24)" "merge under way after the power cut"
		stomp verify /dev/mapper/o --seq 1 --count 15000
	fi
	deactivate
	area_back
	stomp verify "$fast" --seq 1 --count 15000
	stomp verify "$fast" --seq 5 --start 15003 --count 7
	stomp verify "$fast" --seq 1 --start 15010
done
