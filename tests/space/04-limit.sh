#!/bin/bash
# Proves that a limit below the size of the device is kept, that lowering it
# below what is used drops the oldest copies, and that it is remembered.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 4 64
stomp fill "$origin" --seq 1
activate
for ((i = 1; i <= 6; i++)); do
	take
	stomp fill /dev/mapper/o --seq $((i + 1))
done
expect 6 "$(status 6)" "copies without a limit"
newest=$ID
limit=$(($(used) - 600))
message limit $limit
take
stomp fill /dev/mapper/o --seq 8
in_limit()
{
	[ "$(used)" -le $limit ]
}
wait_for in_limit
[ "$(status 6)" -lt 7 ] || fail "no copy was dropped"
[ "$(status 6)" -ge 3 ] || fail "too many copies were dropped: $(status 6) left"
for ((i = 9; i <= 14; i++)); do
	take
	stomp fill /dev/mapper/o --seq $i
	[ "$(used)" -le $limit ] || fail "$(used) chunks used with a limit of $limit"
done
[[ " $(ids) " == *" $ID "* ]] || fail "the newest copy is gone"
[ "$newest" -lt "$ID" ] || fail "ids"
holds "$ID" 13
deactivate
activate
expect $limit "$(status 5)" "limit after reactivation"
message limit 0
for ((i = 15; i <= 17; i++)); do
	take
	stomp fill /dev/mapper/o --seq $i
done
[ "$(used)" -gt $limit ] || fail "still limited"
