#!/bin/bash
# Proves that copies are deleted in any order, that those left show what they
# showed, and that all space comes back in the end.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 64
stomp fill "$origin" --seq 1
activate
message checkpoint
empty=$(used)
copies=()
for ((i = 1; i <= 5; i++)); do
	take
	copies[i]=$ID
	stomp fill /dev/mapper/o --seq $((i + 1))
done
full=$(used)
[ "$full" -ge $((empty + 5 * 512 - 32)) ] || fail "only $full chunks used"
for i in 3 1 5 2 4; do
	message delete "${copies[i]}"
	unset "copies[i]"
	expect "${copies[*]}" "$(ids)" "copies left"
	for j in "${!copies[@]}"; do
		holds "${copies[j]}" "$j"
	done
done
given_back()
{
	message checkpoint
	[ "$(used)" -le $((empty + 8)) ]
}
wait_for given_back
# And is good for use
for ((i = 6; i <= 9; i++)); do
	take
	stomp fill /dev/mapper/o --seq $((i + 1))
	holds "$ID" $i
done
