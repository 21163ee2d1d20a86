#!/bin/bash
# Proves that what a merge has brought home for a write is not forgotten by a checkpoint
# whose turn comes in the same group of the journal: after a power cut the merge goes on,
# and does not take back what was written.
# dmesg: checksum|merging|error -84|stays as it is|left out
# timeout: 120
# slow
. "$(dirname "$0")/../shadow.sh"
need_target delay
disk 4
origin=$DEV
wrapped_area 16
format_area $area "$origin"
stomp fill "$origin" --seq 1
activate
take
stomp fill /dev/mapper/o --seq 2
deactivate
# It gets no further than to what is damaged
blocks damage $area "$(stomp where $area 800 --seq 1)" 3
activate
merge "$ID"
stopped() { [ "$(status 31)" = stopped ]; }
wait_for stopped

# A group is being written for a second; the next begins with the checkpoint, and ends
# with what was brought home.
dm_reload area "0 $n delay $real 0 0 $real 0 1200"
message attr "$ID" 01 &
sleep 0.2
message checkpoint &
sleep 0.2
stomp write /dev/mapper/o 4000 8 --seq 3
wait
dmsetup suspend --noflush area
cp "$real" cut
area_back
deactivate
dd if=cut of="$real" bs=1M oflag=direct status=none
activate
expect recovered "$(status 26)" "how it was found"
wait_for stopped
message merge skip
wait_for merge_done
stomp read /dev/mapper/o 4000 8 --seq 3
stomp read /dev/mapper/o 4008 800 --seq 1
