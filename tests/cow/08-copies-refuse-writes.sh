#!/bin/bash
# Proves that a copy can't be written, discarded or zeroed, whatever its node was
# made as, and that its content stays.
. "$(dirname "$0")/../shadow.sh"
devices 8 16
stomp fill "$origin" --seq 1
activate
take
show "$ID"
c=/dev/mapper/c$ID
refuses stomp write "$c" 0 8 --seq 2 2>/dev/null
refuses stomp discard "$c" 0 8 2>/dev/null
refuses stomp zero "$c" 0 8 2>/dev/null
blockdev --setrw "$c" 2>/dev/null || true
refuses stomp write "$c" 0 8 --seq 2 2>/dev/null
stomp verify "$c" --seq 1
dmsetup create ro --readonly --table "0 $(sectors "$origin") shadow $origin $area $ID"
made[ro]=y
cleanup unnode ro
stomp verify /dev/mapper/ro --seq 1
unnode ro
hide "$ID"
stomp verify /dev/mapper/o --seq 1
