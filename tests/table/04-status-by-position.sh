#!/bin/bash
# Proves that each field of both targets' status stands where the documentation
# says, and follows what happens.
. "$(dirname "$0")/../shadow.sh"
devices 8 16 --chunk-size 16K
activate
take
take

fields=$(dmsetup status o | wc -w)
expect $((3 + 32)) "$fields" "number of fields"
expect rw "$(status 1)" mode
expect persistent "$(status 2)" persistence
expect 32 "$(status 3)" "chunk sectors"
expect 1024 "$(status 4 | cut -d / -f 2)" "area chunks"
expect 0 "$(status 5)" limit
expect 2 "$(status 6)" copies
expect $((ID - 1)) "$(status 7)" "oldest id"
expect "$ID" "$(status 8)" "newest id"
expect "$ID" "$(status 9)" epoch
expect drop-oldest "$(status 10)" policy
expect new "$(status 26)" "how it was found"
expect - "$(status 24)" merge
expect "- 0" "$(status 31 32)" "state of the merge"
expect "- 0/512 0 0" "$(status 27 28 29 30)" scrub
[[ $(status 12) =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] || fail "journal: $(status 12)"
[[ $(status 13) =~ ^[0-9]+:[0-9]+$ ]] || fail "index: $(status 13)"
[[ $(status 14) =~ ^0/[1-9][0-9]*$ ]] || fail "exceptions in memory: $(status 14)"
[[ $(status 15) =~ ^[0-9]+/16384$ ]] || fail "cache: $(status 15)"
[[ $(status 16) =~ ^[0-9]+$ ]] || fail "bitmaps: $(status 16)"
for field in 17 18 19 20 21 22; do
	expect 0 "$(status $field)" "field $field at first"
done
uuid=$(blocks get "$area" "$(blocks list "$area" | awk '$1 == "super" { print $2 }')" 16 4)
expect "$(printf '%08x' "$uuid" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/')" \
	"$(status 25 | cut -c 1-8)" "uuid of the area"

# 10 chunks with data and 5 of zeros
stomp fill "$origin" --seq 1 --count 320
stomp fill /dev/mapper/o --seq 2 --count 480
expect 10 "$(status 17)" "chunks saved"
expect 5 "$(status 18)" "zero chunks"
expect 15 "$(status 14 | cut -d / -f 1)" "exceptions in memory"

message limit 900
expect 900 "$(status 5)" limit
message when_full invalidate
expect invalidate "$(status 10)" policy
message when_full block 7
expect block:7 "$(status 10)" policy
message low_space 66
expect 66 "$(status 11)" "low space"
before=$(status 23)
message checkpoint
[ "$(status 23)" -gt "$before" ] || fail "checkpoints: $before, then $(status 23)"
expect 0 "$(status 14 | cut -d / -f 1)" "exceptions in memory"
[ "$(status 13 | cut -d : -f 2)" -gt 0 ] || fail "entries in the index: $(status 13)"

message scrub start
wait_for scrub_is 'done'
# The 10 chunks with data
expect "done 512/512 160 0" "$(status 27 28 29 30)" scrub

show "$ID"
expect 5 "$(($(dmsetup status "c$ID" | wc -w) - 3))" "fields of a copy"
expect valid "$(dm_status "c$ID" 1)" "state"
expect "$ID" "$(dm_status "c$ID" 2)" id
expect "$(listed "$ID" 2)" "$(dm_status "c$ID" 3)" uuid
[ $(($(date +%s) - $(dm_status "c$ID" 4))) -lt 120 ] || fail "created $(dm_status "c$ID" 4)"
expect 0 "$(dm_status "c$ID" 5)" "checksum errors"
hide "$ID"

deactivate
activate
expect clean "$(status 26)" "how it was found"
expect 900 "$(status 5)" "limit, kept"
expect block:7 "$(status 10)" "policy, kept"
expect 66 "$(status 11)" "low space, kept"
expect 0 "$(status 17)" "chunks saved, since activation"
expect "- 0/512 0 0" "$(status 27 28 29 30)" "scrub, since activation"
