#!/bin/bash
# Proves that the origin may grow: by a reload of the table, online, and while
# inactive; copies keep the size and content they were taken with, new ones have
# the new size, after a power cut, too; and that it may not shrink, nor grow under a
# merge; nor are copies taken then.
# slow
. "$(dirname "$0")/../shadow.sh"
disk 32
whole=$DEV
size=16003		# inside a chunk
dm_create grows "0 $size linear $whole 0"
origin=/dev/mapper/grows
wrapped_area 64
format_area "$area" $origin
stomp fill $origin --seq 1
activate
take
small=$ID

check()
{
	expect "$(($1))" "$(sectors /dev/mapper/o)" "sectors of the origin"
	node c 16003 shadow "$origin" "$area" "$small"
	stomp verify /dev/mapper/c --seq 1
	unnode c
	expect 16003 "$(listed "$small" 6)" "sectors of the small copy"
}
dmsetup suspend o
dm_reload grows "0 32000 linear $whole 0"
dmsetup load o --table "0 32000 shadow-origin $origin $area"
dmsetup resume o
check 32000
# What lies behind the copy is not its to say
dmsetup suspend o
says 'origin has grown' dmsetup message o 0 merge "$small"
dmsetup resume o
stomp fill /dev/mapper/o --seq 2
check 32000
take
large=$ID
expect 32000 "$(listed "$large" 6)" "sectors of the large copy"
stomp fill /dev/mapper/o --seq 3 --start 24000 --count 64
# The superblock, of before the growth, knows only the smaller size
power_cut
bad_table 'small|short|shrunk|size' "0 16003 shadow-origin $origin $area"
activate
expect recovered "$(status 26)" "how it was found"
stomp fill /dev/mapper/o --seq 3
holds "$large" 2
check 32000
# Not while it is merged: that can't end as long as the device waits
dm_reload grows "0 48000 linear $whole 0"
dmsetup suspend grows
merge "$large"
says "can't grow while" dmsetup load o --table "0 48000 shadow-origin $origin $area"
dmsetup suspend o
bad_message 'under way' create "$(new_uuid)"
dmsetup resume o
dmsetup resume grows
wait_for merge_done
stomp verify /dev/mapper/o --seq 2
# What lies beyond the copies needs no saving
deactivate
activate
check 48000
stomp fill /dev/mapper/o --seq 4 --start 32768
expect 0 "$(status 17)" "chunks saved beyond the end of all copies"
node c 32000 shadow "$origin" "$area" "$large"
stomp verify /dev/mapper/c --seq 2
unnode c
deactivate
dm_reload grows "0 40000 linear $whole 0"
bad_table 'small|short|shrunk|size' "0 40000 shadow-origin $origin $area"
