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
events()
{
	dmsetup info -c --noheadings -o events o
}
event=$(events)
stomp fill /dev/mapper/o --seq 2 --count 32
expect "$event" "$(events)" "events before"
stomp fill /dev/mapper/o --seq 2
timeout 20 dmsetup wait o "$event" || fail "no event"
event=$(events)
merge "$ID"
wait_for merge_done
timeout 20 dmsetup wait o "$event" || fail "no event for the merge"
for ((i = 3; i < 9; i++)); do
	take
	stomp fill /dev/mapper/o --seq $i
done
[ "$(status 19)" -gt 0 ] || fail "nothing was dropped"
