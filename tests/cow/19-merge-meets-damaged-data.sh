#!/bin/bash
# Proves that a merge stops at saved data that has rotted: that chunk is an
# error on the origin, so are writes to it; the rest reads right; and that it
# goes on by itself when the damage is gone.
# dmesg: I/O error|Buffer I/O|checksum|merging|error -84
# slow
. "$(dirname "$0")/../shadow.sh"
requires python3
devices 8 32
stomp fill "$origin" --seq 1
activate
take
stomp fill /dev/mapper/o --seq 2
message checkpoint
deactivate
block=$(python3 - "$area" <<-'END'
	import struct, sys
	data = open(sys.argv[1], "rb").read()
	for n in range(len(data) // 4096):
	    if struct.unpack_from("<Q", data, n * 4096 + 8)[0] == 800 << 32 | 1:
	        print(n)
	END
)
[ -n "$block" ] || fail "the saved chunk wasn't found"
blocks damage "$area" "$block" 3
activate
merge "$ID"
merge_is() { [ "$(status 31)" = "$1" ]; }
wait_for merge_is stopped
[ "$(status 24)" != - ] || fail "it says it is merged"
expect 1 "$(listed "$ID" 12)" "damaged chunks"
refuses stomp read /dev/mapper/o 800 1 --seq 1 2>/dev/null
refuses stomp write /dev/mapper/o 803 2 --seq 3 2>/dev/null
stomp verify /dev/mapper/o --seq 1 --count 800
stomp verify /dev/mapper/o --seq 1 --start 808
blocks damage "$area" "$block" 3	# and back
wait_for merge_is 'done'
stomp verify /dev/mapper/o --seq 1
holds "$ID" 1
deactivate
stomp verify "$origin" --seq 1
