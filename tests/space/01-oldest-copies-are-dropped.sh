#!/bin/bash
# Proves that a full diff area drops the oldest copies, no more than needed, and
# never fails or holds a write of the origin; those left show what they showed;
# a locked copy outlives older ones; an event tells.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 32
stomp fill "$origin" --seq 1
activate
copies=()
event=$(events)
for ((i = 1; i <= 12; i++)); do
	take
	copies[i]=$ID
	[ $i -ne 2 ] || message lock "$ID" 4000000000
	stomp fill /dev/mapper/o --seq $((i + 1))
	left=" $(ids) "
	[[ $left == *" $ID "* ]] || fail "the newest copy was dropped: left $left"
	[ $i -lt 2 ] || [[ $left == *" ${copies[2]} "* ]] || fail "the locked copy was dropped: $left"
	echo "after $i: left $left"
done
dropped=$(status 19)
[ "$dropped" -gt 0 ] || fail "nothing was dropped"
expect $((12 - dropped)) "$(status 6)" "copies left"
[ "$dropped" -lt 11 ] || fail "all older copies were dropped, where two fit"
event_since "$event" "dropped copies"
gap=
for ((i = 12; i >= 1; i--)); do
	[ $i -ne 2 ] || { holds "${copies[2]}" 2; continue; }
	if [[ " $(ids) " == *" ${copies[i]} "* ]]; then
		[ -z "$gap" ] || fail "copy ${copies[i]} is there, the newer $gap is not"
		holds "${copies[i]}" $i
	else
		gap=${copies[i]}
	fi
done
stomp verify /dev/mapper/o --seq 13
