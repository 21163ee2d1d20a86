#!/bin/bash
# Proves that a diff area grows online by what its device has grown, also past
# what its bitmap has room for, and keeps everything; that it is refused if what is
# new has no room for a larger bitmap, and no error if there is nothing new.
# slow
. "$(dirname "$0")/../shadow.sh"
disk 4
origin=$DEV
disk 512
whole=$DEV
dm_create area "0 32768 linear $whole 0"
area=/dev/mapper/area
# grow CHUNKS: the device
grow()
{
	dm_reload area "0 $(($1 * 8)) linear $whole 0"
}
total()
{
	status 4 | cut -d / -f 2
}
format_area $area "$origin" --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
first=$ID
stomp fill /dev/mapper/o --seq 2
expect 4096 "$(total)" "area chunks"
message resize
expect 4096 "$(total)" "area chunks, nothing to grow by"
pair=32256				# chunks that a pair of bitmap blocks tells of
grow $pair
message resize
expect $pair "$(total)" "area chunks, as many as the bitmap has room for"
grow $((pair + 1))
bad_message 'full' resize
expect $pair "$(total)" "area chunks, no room for a larger bitmap"
grow 131072
message resize
expect 131072 "$(total)" "area chunks"
for ((i = 3; i <= 6; i++)); do
	take
	stomp fill /dev/mapper/o --seq $i
done
expect 5 "$(status 6)" "copies, none dropped"
holds "$first" 1
holds "$ID" 5
deactivate
sound "grown" $area
activate
expect 131072 "$(total)" "area chunks after reactivation"
holds "$first" 1
holds "$ID" 5
stomp fill /dev/mapper/o --seq 7
holds "$first" 1
