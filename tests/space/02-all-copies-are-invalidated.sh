#!/bin/bash
# Proves that under the policy invalidate a full diff area makes the copies
# invalid: they are listed so and can't be read, before and after a
# reactivation, until they are deleted; the origin goes on.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 16
stomp fill "$origin" --seq 1
activate
message when_full invalidate
take
a=$ID
stomp fill /dev/mapper/o --seq 2 --count 8192
take
b=$ID
show "$a"
event=$(events)
stomp fill /dev/mapper/o --seq 3
stomp fill /dev/mapper/o --seq 4
take 2>/dev/null || true
stomp fill /dev/mapper/o --seq 5
stomp verify /dev/mapper/o --seq 5
event_since "$event" "invalid copies"
expect invalid "$(dm_status "c$a" 1)" "open copy"
refuses stomp read "/dev/mapper/c$a" 0 8 --seq 1 2>/dev/null
hide "$a"
check()
{
	expect i "$(listed "$a" 7)" "flags of $a"
	expect i "$(listed "$b" 7)" "flags of $b"
}
check
deactivate
activate
check
expect invalidate "$(status 10)" policy
for id in $(ids); do
	message delete "$id"
done
expect 0 "$(status 6)" copies
take
stomp fill /dev/mapper/o --seq 6 --count 4096
show "$ID"
stomp verify "/dev/mapper/c$ID" --seq 5 --count 8192
hide "$ID"
