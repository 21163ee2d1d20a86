#!/bin/bash
# Proves that a write to chunks already saved, or with no copy at all, costs
# itself and nothing else: no read, nothing on the diff area, and it isn't cut
# at chunk borders.
# slow
. "$(dirname "$0")/../shadow.sh"
null_disk 4 max_sectors=2048
origin=$DEV
null_disk 64
area=$DEV
format_area "$area" "$origin"
stomp fill "$origin" --seq 1
activate

# measure WHAT WRITES COMMAND...
measure()
{
	local what=$1 writes=$2 before

	shift 2
	before=$(devstat "$area")
	local r w
	r=$(devstat "$origin" reads) w=$(devstat "$origin" writes)
	"$@"
	expect "$before" "$(devstat "$area")" "$what: on the diff area"
	expect 0 $(($(devstat "$origin" reads) - r)) "$what: reads of the origin"
	expect "$writes" $(($(devstat "$origin" writes) - w)) "$what: writes to the origin"
}

measure "no copy" 50 stomp scatter /dev/mapper/o --seq 2 --stride 64K --count 50
measure "no copy, 256 KiB" 1 stomp write /dev/mapper/o 24 512 --seq 2
take
stomp fill /dev/mapper/o --seq 3
message checkpoint
measure "saved" 50 stomp scatter /dev/mapper/o --seq 4 --stride 64K --count 50
measure "saved, 256 KiB" 1 stomp write /dev/mapper/o 24 512 --seq 4
before=$(devstat "$area")
stomp verify /dev/mapper/o --seq 3 --start 8000 --count 64
expect "$before" "$(devstat "$area")" "a read of the origin: on the diff area"
