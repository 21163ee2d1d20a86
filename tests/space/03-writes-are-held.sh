#!/bin/bash
# Proves that under the policy block a write that finds no space waits, goes on
# as soon as a copy is deleted, and after the time-out drops the oldest copy.
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 32
stomp fill "$origin" --seq 1
activate
message when_full block 60
message limit $(($(used) + 300))
take
a=$ID
stomp fill /dev/mapper/o --seq 2 --count 6400
take
b=$ID
event=$(events)
start=$SECONDS
stomp fill /dev/mapper/o --seq 3 --count 6400 &
writer=$!
event_since "$event" "a write is held"
before="$(status 4 17) $(devstat "$origin")"
sleep 1
expect "$before" "$(status 4 17) $(devstat "$origin")" "space, saves, requests while it waits"
kill -0 $writer 2>/dev/null || fail "the write did not wait"
expect "$a $b" "$(ids)" "copies while it waits"
message delete "$a"
wait $writer
[ $((SECONDS - start)) -lt 60 ] || fail "the write waited on after the deletion"
expect "$b" "$(ids)" "copies"
take
c=$ID
message when_full block 3
start=$SECONDS
stomp fill /dev/mapper/o --seq 4 --count 6400
took=$((SECONDS - start))
[ $took -ge 3 ] || fail "dropped after $took s already"
[ $took -le 20 ] || fail "held for $took s"
expect "$c" "$(ids)" "copies after the time-out"
show "$c"
stomp verify "/dev/mapper/c$c" --seq 3 --count 6400
stomp verify "/dev/mapper/c$c" --seq 1 --start 6400
hide "$c"
