#!/bin/bash
# Proves that saved data that can't be read, and chunks whose place a damaged index
# block can't tell any more, count as damaged, while the scrub goes on to the end and
# finds all the rest sound.
# dmesg: I/O error|Buffer I/O|read|damaged
# slow
. "$(dirname "$0")/../shadow.sh"
need_target error
disk 8
origin=$DEV
wrapped_area 32
format_area "$area" "$origin"
stomp fill "$origin" --seq 1
activate
take
stomp fill /dev/mapper/o --seq 2
message checkpoint
deactivate
block=$(stomp where "$real" 800 --seq 1)
area_error $((block * 8)) 8
activate
message scrub start
wait_for scrub_is 'done'
expect "512/512 8192 1 1" "$(status 28 29 30) $(listed "$ID" 12)" "a bad sector"
expect 0 "$(status 20)" "checksum errors"
[ "$(status 21)" -gt 0 ] || fail "no diff area error is counted"
expect rw "$(status 1)" mode
area_back
message scrub start
wait_for scrub_is 'done'
expect "512/512 8192 0" "$(status 28 29 30)" "no bad sector"
expect 1 "$(listed "$ID" 12)" "what was found before"
deactivate

blocks damage "$real" "$(block_of leaf)"
activate
message scrub start
wait_for scrub_is 'done'
read -r chunks kib damaged <<<"$(status 28 29 30)"
expect 512/512 "$chunks" "chunks looked at"
[ "$damaged" -gt 0 ] || fail "a damaged index block wasn't noticed"
# Each chunk is one or the other
expect 512 $((kib / 16 + damaged)) "chunks accounted for"
