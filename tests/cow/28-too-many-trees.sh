#!/bin/bash
# Proves that index trees do not become too many, which would cost all copies, where each
# look of a long join finds another checkpoint due: it is put off, and the newest trees
# are joined.
# slowest
# timeout: 400
. "$(dirname "$0")/../shadow.sh"
need_target flakey
# Always zeros, and no memory for what is written.
disk 1536
dm_create nothing "0 $(sectors "$DEV") flakey $DEV 0 0 100000 1 drop_writes"
origin=/dev/mapper/nothing
disk 64
area=$DEV
# Each write on its own takes a journal block: eight of them make a checkpoint due.
format_area "$area" "$origin" --chunk-size 4K --journal-size 64K
activate
take
old=$ID
take
stomp scatter /dev/mapper/o --seq 1 --stride 8K --count 160000 --writers 64
dm_create late "0 $((256 * 2048)) linear /dev/mapper/o $((1280 * 2048))"
message delete "$old"
stomp scatter /dev/mapper/late --seq 2 --stride 8K --count 4000 &
most=0
while kill -0 $! 2>/dev/null; do
	trees=$(status 13)
	trees=${trees%:*}
	[ "$trees" -le "$most" ] || most=$trees
	sleep 0.05
done
wait $!
echo "$most trees"
# 56 are too many; it may have been missed for a moment.
[ "$most" -ge 54 ] || fail "there were never too many trees"
expect rw "$(status 1)" "mode"
dm_remove late
show "$ID"
stomp verify "/dev/mapper/c$ID" --seq 0 --count 400000
hide "$ID"
few()
{
	local trees

	trees=$(status 13)
	[ "${trees%:*}" -lt 12 ]
}
wait_for few
