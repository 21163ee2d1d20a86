#!/bin/bash
# Proves that a chunk of the origin that can't be read costs that chunk of the
# copies and no more: its write succeeds, the copy reads EIO there, all else is
# right; also behind the index and after a reactivation.
# dmesg: I/O error|Buffer I/O
# slow
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 8
real=$DEV
n=$(sectors "$real")
stomp fill "$real" --seq 1
dm_create part "0 $n linear $real 0"
origin=/dev/mapper/part
disk 32
area=$DEV
format_area "$area" $origin
activate
take
# Sector 5000 is in chunk 156: sectors 4992 to 5023
dm_reload part "0 5000 linear $real 0
5000 1 error
5001 $((n - 5001)) linear $real 5001"
stomp write /dev/mapper/o 4800 200 --seq 2
stomp write /dev/mapper/o 5001 23 --seq 2
stomp write /dev/mapper/o 5024 500 --seq 2
expect 1 "$(status 22)" "unreadable chunks"
expect rw "$(status 1)" mode
dm_reload part "0 $n linear $real 0"
stomp write /dev/mapper/o 5000 1 --seq 2
check()
{
	show "$ID"
	stomp verify "/dev/mapper/c$ID" --seq 1 --count 4992
	stomp verify "/dev/mapper/c$ID" --seq 1 --start 5024
	for at in 4992 5000 5023; do
		refuses stomp read "/dev/mapper/c$ID" $at 1 --seq 1 2>/dev/null
	done
	hide "$ID"
}
check
message checkpoint
check
deactivate
activate
check
stomp verify /dev/mapper/o --seq 2 --start 4800 --count 724
# A newer copy has it whole
old=$ID
take
stomp fill /dev/mapper/o --seq 3
show "$ID"
stomp verify "/dev/mapper/c$ID" --seq 2 --start 4800 --count 724
hide "$ID"
ID=$old
check
