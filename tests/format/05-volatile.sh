#!/bin/bash
# Proves that a volatile diff area serves copies as any other, takes no flush and
# no record for a save, and begins empty at each activation.
. "$(dirname "$0")/../shadow.sh"
devices 8 16 --volatile
stomp fill "$origin" --seq 1
activate
expect volatile "$(status 2)" kind
take
message checkpoint 2>/dev/null || true
flushes=$(devstat "$area" flushes)
writes=$(devstat "$area" writes)
stomp scatter /dev/mapper/o --seq 2 --stride 64K --count 50
expect "$flushes" "$(devstat "$area" flushes)" flushes
[ $(($(devstat "$area" writes) - writes)) -le 50 ] || fail "more than a write for each save"
holds "$ID" 1
deactivate
activate
expect 0 "$(status 6)" "copies after activation"
expect volatile "$(status 2)" kind
take
stomp fill /dev/mapper/o --seq 3
show "$ID"
stomp check "/dev/mapper/c$ID" --seq 2 --stride 64K --count 50 --else 1
hide "$ID"
