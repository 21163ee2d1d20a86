#!/bin/bash
# Proves that each field of both targets' status stands where the documentation
# says, and follows what happens.
. "$(dirname "$0")/../shadow.sh"
devices 8 16 --chunk-size 16K
activate
take
take

# look [NODE]: all fields of the status into f, from 1; f[0] is the target's name
look()
{
	read -r -a f <<<"$(dmsetup status "${1:-o}")"
	f=("${f[@]:2}")
}

look
expect 32 $((${#f[@]} - 1)) "number of fields"
expect shadow-origin "${f[0]}" target
expect rw "${f[1]}" mode
expect persistent "${f[2]}" persistence
expect 32 "${f[3]}" "chunk sectors"
expect 1024 "${f[4]#*/}" "area chunks"
expect 0 "${f[5]}" limit
expect 2 "${f[6]}" copies
expect $((ID - 1)) "${f[7]}" "oldest id"
expect "$ID" "${f[8]}" "newest id"
expect "$ID" "${f[9]}" epoch
expect drop-oldest "${f[10]}" policy
expect new "${f[26]}" "how it was found"
expect - "${f[24]}" merge
expect "- 0" "${f[*]:31:2}" "state of the merge"
expect "- 0/512 0 0" "${f[*]:27:4}" scrub
[[ ${f[12]} =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] || fail "journal: ${f[12]}"
[[ ${f[13]} =~ ^[0-9]+:[0-9]+$ ]] || fail "index: ${f[13]}"
[[ ${f[14]} =~ ^0/[1-9][0-9]*$ ]] || fail "exceptions in memory: ${f[14]}"
[[ ${f[15]} =~ ^[0-9]+/16384$ ]] || fail "cache: ${f[15]}"
[[ ${f[16]} =~ ^[0-9]+$ ]] || fail "bitmaps: ${f[16]}"
expect "0 0 0 0 0 0" "${f[*]:17:6}" "fields 17 to 22 at first"
uuid=$(blocks get "$area" "$(blocks list "$area" | awk '$1 == "super" { print $2 }')" 16 4)
expect "$(printf '%08x' "$uuid" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/')" \
	"${f[25]:0:8}" "uuid of the area"

# 10 chunks with data and 5 of zeros
stomp fill "$origin" --seq 1 --count 320
stomp fill /dev/mapper/o --seq 2 --count 480
look
expect 10 "${f[17]}" "chunks saved"
expect 5 "${f[18]}" "zero chunks"
expect 15 "${f[14]%/*}" "exceptions in memory"

message limit 900
message when_full invalidate
expect invalidate "$(status 10)" policy
message when_full block 7
message low_space 66
look
expect 900 "${f[5]}" limit
expect block:7 "${f[10]}" policy
expect 66 "${f[11]}" "low space"
before=${f[23]}
message checkpoint
look
[ "${f[23]}" -gt "$before" ] || fail "checkpoints: $before, then ${f[23]}"
expect 0 "${f[14]%/*}" "exceptions in memory"
[ "${f[13]#*:}" -gt 0 ] || fail "entries in the index: ${f[13]}"

message scrub start
wait_for scrub_is 'done'
# The 10 chunks with data
expect "done 512/512 160 0" "$(status 27 28 29 30)" scrub

show "$ID"
look "c$ID"
expect 5 $((${#f[@]} - 1)) "fields of a copy"
expect valid "${f[1]}" state
expect "$ID" "${f[2]}" id
expect "$(listed "$ID" 2)" "${f[3]}" uuid
[ $((EPOCHSECONDS - f[4])) -lt 120 ] || fail "created ${f[4]}"
expect 0 "${f[5]}" "checksum errors"
hide "$ID"

deactivate
activate
look
expect clean "${f[26]}" "how it was found"
expect 900 "${f[5]}" "limit, kept"
expect block:7 "${f[10]}" "policy, kept"
expect 66 "${f[11]}" "low space, kept"
expect 0 "${f[17]}" "chunks saved, since activation"
expect "- 0/512 0 0" "${f[*]:27:4}" "scrub, since activation"
