#!/bin/bash
# Proves that where origin and diff area are partitions of one disk, first writes that
# are under way together are saved together, and that the copy is whole.
# slow
. "$(dirname "$0")/../shadow.sh"
requires addpart
depth=8 writes=64
# Serves one request at a time
null_disk 64 cache_size=16 queue_mode=2 submit_queues=1 hw_queue_depth=1 irqmode=2 \
	completion_nsec=4000000
disk=$DEV
addpart "$disk" 1 2048 16384
addpart "$disk" 2 20480 65536
origin=${disk}p1 area=${disk}p2
[ -b "$origin" ] || { origin=${disk}1 area=${disk}2; }
format_area "$area" "$origin" --chunk-size 16K
stomp fill "$origin" --seq 1
activate
take
message checkpoint
n=$(devstat "$disk" writes)
stomp scatter /dev/mapper/o --seq 2 --stride 64K --count $writes --writers $depth
n=$(($(devstat "$disk" writes) - n - writes))
echo "$writes writes, and $n to the diff area"
# Not much more than data and journal for eight: without waiting, 38
[ $n -le $((writes / 2)) ] || fail "$n writes to the diff area"
show "$ID"
stomp verify "/dev/mapper/c$ID" --seq 1
stomp check /dev/mapper/o --seq 2 --stride 64K --count $writes --else 1
hide "$ID"
deactivate
