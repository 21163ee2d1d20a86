#!/bin/bash
# Proves that a diff area that fails, at any step (first save, checkpoint,
# creation, deletion, merge), never fails a write or read of the origin: the
# copies are lost and say so, and the status tells.
# dmesg: I/O error|Buffer I/O
# slow
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 8
origin=$DEV
disk 16
real=$DEV
n=$(sectors "$real")
dm_create area "0 $n linear $real 0"
area=/dev/mapper/area

broken()
{
	dm_reload area "0 $n error"
}
mended()
{
	dm_reload area "0 $n linear $real 0"
}
# begin: a fresh area with a copy, half of it saved
begin()
{
	format_area $area "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	stomp fill /dev/mapper/o --seq 2 --count 8192
	message checkpoint
}
# the_end: the origin is in order, the area is given up
the_end()
{
	local id

	stomp fill /dev/mapper/o --seq 3
	stomp verify /dev/mapper/o --seq 3
	expect "$1" "$([ "$(status 1)" = rw ] && echo rw || echo lost)" "mode"
	[ "$(status 21)" -gt 0 ] || fail "no error was counted"
	dmsetup suspend o
	refuses message create "$(new_uuid)" 2>/dev/null
	dmsetup resume o
	for id in $(ids); do
		[[ $(listed "$id" 7) == *i* ]] || fail "copy $id counts as good"
	done
	deactivate
	mended
	stomp verify "$origin" --seq 3
}

echo "a save"
begin
broken
stomp fill /dev/mapper/o --seq 3 --start 8192
the_end lost

echo "a checkpoint"
begin
broken
refuses message checkpoint 2>/dev/null
the_end lost

echo "a creation"
begin
broken
dmsetup suspend o
refuses message create "$(new_uuid)" 2>/dev/null
dmsetup resume o
the_end lost

echo "a deletion"
begin
broken
message delete "$ID" 2>/dev/null || true
the_end lost

echo "a discard"
begin
broken
stomp discard /dev/mapper/o 8192 4096
the_end lost

echo "reads of a copy only"
begin
id=$ID
show "$id"
broken
refuses stomp read "/dev/mapper/c$id" 0 8 --seq 1 2>/dev/null
stomp verify /dev/mapper/o --seq 2 --count 8192
hide "$id"
stomp fill /dev/mapper/o --seq 3
deactivate
mended
stomp verify "$origin" --seq 3
