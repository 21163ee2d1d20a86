#!/bin/bash
# Proves that one can merge back and forth: to the oldest, to a newer one, to a
# copy taken after a merge; every copy still shows what it showed.
. "$(dirname "$0")/../shadow.sh"
devices 4 64 --chunk-size 16K
stomp fill "$origin" --seq 1
activate
declare -A copy
for ((i = 1; i <= 4; i++)); do
	take
	copy[$i]=$ID
	stomp fill /dev/mapper/o --seq $((i + 1))
done
for i in 1 4 2 2 3; do
	merge "${copy[$i]}"
	stomp verify /dev/mapper/o --seq $i
	wait_for merge_done
	stomp verify /dev/mapper/o --seq $i
	take
	for j in "${!copy[@]}"; do
		holds "${copy[$j]}" "$j"
	done
	stomp scatter /dev/mapper/o --seq 9 --stride 32K
	holds "$ID" "$i"
	message delete "$ID"
done
deactivate
stomp check "$origin" --seq 9 --stride 32K --else 3
