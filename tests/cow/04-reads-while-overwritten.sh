#!/bin/bash
# Proves that copies read right while all of the origin is being overwritten, by
# two writers, again and again: every sector of every pass.
. "$(dirname "$0")/../shadow.sh"
devices 16 64 --chunk-size 16K
stomp fill "$origin" --seq 1
activate
take
show "$ID"
(for ((i = 2; i < 8; i++)); do
	stomp scatter /dev/mapper/o --seq $i --stride 16K --size 4096 --shuffle --seed $i --writers 2
done; touch ended) &
passes=0
while [ ! -e ended ]; do
	stomp verify "/dev/mapper/c$ID" --seq 1
	passes=$((passes + 1))
done
wait
echo "$passes passes"
stomp verify "/dev/mapper/c$ID" --seq 1
