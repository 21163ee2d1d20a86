#!/bin/bash
# Proves that when the origin goes away, or origin and diff area both, all requests
# and commands end, deactivation too, and that both are right once they are back.
# dmesg: I/O error|Buffer I/O
# slowest
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 8
real_origin=$DEV
disk 16
real_area=$DEV
n=$(sectors "$real_origin") m=$(sectors "$real_area")
dm_create origin "0 $n linear $real_origin 0"
dm_create area "0 $m linear $real_area 0"
origin=/dev/mapper/origin area=/dev/mapper/area

origin_gone()
{
	dm_reload origin "0 $n error"
}
area_gone()
{
	dm_reload area "0 $m error"
}
back()
{
	dm_reload origin "0 $n linear $real_origin 0"
	dm_reload area "0 $m linear $real_area 0"
}
# Half of the copy is saved.
begin()
{
	format_area $area $origin
	stomp fill $origin --seq 1
	activate
	take
	stomp fill /dev/mapper/o --seq 2 --count 8192
	show "$ID"
}
# A chunk that could not be read before it would have been overwritten is lost to the
# copy: here number 281.
copy_is_right()
{
	show "$ID"
	stomp verify "/dev/mapper/c$ID" --seq 1 --count 8992
	refuses stomp read "/dev/mapper/c$ID" 8992 32 --seq 1 2>/dev/null
	stomp verify "/dev/mapper/c$ID" --seq 1 --start 9024
	hide "$ID"
}

echo "the origin"
begin
origin_gone
refuses stomp write /dev/mapper/o 100 8 --seq 3 2>/dev/null
refuses stomp write /dev/mapper/o 9000 8 --seq 3 2>/dev/null
refuses stomp read /dev/mapper/o 9000 8 --seq 1 2>/dev/null
stomp verify "/dev/mapper/c$ID" --seq 1 --count 8192
refuses stomp read "/dev/mapper/c$ID" 9000 8 --seq 1 2>/dev/null
message checkpoint
hide "$ID"
deactivate
back
activate
stomp verify /dev/mapper/o --seq 2 --count 8192
stomp verify /dev/mapper/o --seq 1 --start 8192
copy_is_right
stomp fill /dev/mapper/o --seq 3
copy_is_right
deactivate

echo "the origin under a merge"
begin
hide "$ID"
origin_gone
merge "$ID"
stopped() { [ "$(status 31)" = stopped ]; }
wait_for stopped
refuses stomp write /dev/mapper/o 100 8 --seq 3 2>/dev/null
deactivate
back
activate
wait_for merge_done
stomp verify /dev/mapper/o --seq 1
deactivate

echo "both"
begin
origin_gone
area_gone
refuses stomp write /dev/mapper/o 100 8 --seq 3 2>/dev/null
refuses stomp write /dev/mapper/o 9000 8 --seq 3 2>/dev/null
refuses message checkpoint 2>/dev/null
dmsetup suspend o
refuses message create "$(new_uuid)" 2>/dev/null
dmsetup resume o
hide "$ID"
deactivate
back
stomp verify $origin --seq 2 --count 8192
stomp verify $origin --seq 1 --start 8192
