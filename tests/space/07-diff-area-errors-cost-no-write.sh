#!/bin/bash
# Proves that a diff area that fails, at any step (first save, checkpoint,
# creation, deletion, merge), never fails a write or read of the origin: the
# copies are lost and say so, and the status tells.
# dmesg: I/O error|Buffer I/O
# slow
# timeout: 400
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 2
origin=$DEV
wrapped_area 16

# begin: a fresh area with a copy, half of it saved
begin()
{
	format_area $area "$origin"
	stomp fill "$origin" --seq 1
	activate
	take
	stomp fill /dev/mapper/o --seq 2 --count 2048
	message checkpoint
}
# the_end: the origin is in order, the area is given up
the_end()
{
	local id

	stomp fill /dev/mapper/o --seq 3
	stomp verify /dev/mapper/o --seq 3
	expect ro "$(status 1)" "mode"
	[ "$(status 21)" -gt 0 ] || fail "no error was counted"
	dmsetup suspend o
	refuses message create "$(new_uuid)" 2>/dev/null
	dmsetup resume o
	for id in $(ids); do
		[[ $(listed "$id" 7) == *i* ]] || fail "copy $id counts as good"
	done
	deactivate
	area_back
	stomp verify "$origin" --seq 3
}

echo "a save"
begin
event=$(events)
area_error 0
stomp fill /dev/mapper/o --seq 3 --start 2048
event_since "$event" "the area failed"
the_end

echo "a checkpoint"
begin
area_error 0
refuses message checkpoint 2>/dev/null
the_end

echo "a creation"
begin
area_error 0
dmsetup suspend o
refuses message create "$(new_uuid)" 2>/dev/null
dmsetup resume o
the_end

echo "a deletion"
begin
area_error 0
message delete "$ID" 2>/dev/null || true
the_end

echo "a discard"
begin
area_error 0
stomp discard /dev/mapper/o 2048 1024
the_end

echo "reads of a copy only"
begin
id=$ID
show "$id"
area_error 0
refuses stomp read "/dev/mapper/c$id" 0 8 --seq 1 2>/dev/null
stomp verify /dev/mapper/o --seq 2 --count 2048
hide "$id"
stomp fill /dev/mapper/o --seq 3
deactivate
area_back
stomp verify "$origin" --seq 3
