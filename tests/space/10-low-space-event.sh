#!/bin/bash
# Proves that dmsetup wait returns when the low space mark is passed, and not
# before; that a finished merge and a dropped copy wake it too.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 32
stomp fill "$origin" --seq 1
activate
take
message low_space 20
event=$(events)
stomp fill /dev/mapper/o --seq 2 --count 32
expect "$event" "$(events)" "events before"
stomp fill /dev/mapper/o --seq 2
event_since "$event" "low space"
message low_space 0
event=$(events)
merge "$ID"
wait_for merge_done
event_since "$event" merge
event=$(events)
for ((i = 3; i < 9; i++)); do
	take
	stomp fill /dev/mapper/o --seq $i
done
[ "$(status 19)" -gt 0 ] || fail "nothing was dropped"
event_since "$event" "a dropped copy"
