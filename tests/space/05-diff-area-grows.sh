#!/bin/bash
# Proves that a diff area grows online by what its device has grown, also past
# what its bitmap had room for, and keeps everything; and that without room to
# grow the message says so.
# slow
. "$(dirname "$0")/../shadow.sh"
disk 8
origin=$DEV
disk 512
whole=$DEV
dm_create area "0 32768 linear $whole 0"
area=/dev/mapper/area
format_area $area "$origin" --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
first=$ID
stomp fill /dev/mapper/o --seq 2
total=$(status 4 | cut -d / -f 2)
expect 4096 "$total" "area chunks"
message resize || true
expect 4096 "$(status 4 | cut -d / -f 2)" "area chunks, nothing to grow by"
dm_reload area "0 1048576 linear $whole 0"
message resize
expect 131072 "$(status 4 | cut -d / -f 2)" "area chunks"
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
expect 131072 "$(status 4 | cut -d / -f 2)" "area chunks after reactivation"
holds "$first" 1
holds "$ID" 5
stomp fill /dev/mapper/o --seq 7
holds "$first" 1
