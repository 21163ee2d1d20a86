#!/bin/bash
# Proves that a journal with more in it than fits the memory that recovery is given is
# replayed nevertheless, in parts, and that nothing named in a later part is overwritten
# by the checkpoints between; nor is anything lost if the power then fails again.
# slow
. "$(dirname "$0")/../shadow.sh"
disk 40
origin=$DEV
wrapped_area 32
format_area "$area" "$origin" --chunk-size 4K
# Data at both ends, zeros between
stomp fill "$origin" --seq 1 --count 8192
stomp fill "$origin" --seq 1 --start 73728

# right: what the copies must show
right()
{
	show "$first"
	stomp verify "/dev/mapper/c$first" --seq 1 --count 8192
	stomp verify "/dev/mapper/c$first" --seq 0 --start 8192 --count 65536
	stomp verify "/dev/mapper/c$first" --seq 1 --start 73728
	hide "$first"
	show "$second"
	stomp verify "/dev/mapper/c$second" --seq 2
	hide "$second"
	expect 00ff "$(listed "$first" 11)" "attributes"
	stomp verify /dev/mapper/o --seq 3 --count 2048
	stomp verify /dev/mapper/o --seq 2 --start 2048
}

activate
take
first=$ID
stomp fill /dev/mapper/o --seq 2
take
second=$ID
stomp fill /dev/mapper/o --seq 3 --count 2048
message attr "$first" 00ff
expect "0:0" "$(status 13)" "the index"
in_memory=$(status 14)
in_memory=${in_memory%/*}
power_cut
activate_with cache_kib 1024
expect recovered "$(status 26)" "how it was found"
room=$(status 14)
echo "$in_memory exceptions, room for ${room#*/}"
# Of two tables, one is filled.
[ "$in_memory" -gt $((${room#*/} / 2)) ] || fail "there was room for all: $in_memory, $room"
[ "$(status 13)" != "0:0" ] || fail "nothing was written to the index on the way"
right
power_cut
activate
right
deactivate
sound "afterwards" "$area"
