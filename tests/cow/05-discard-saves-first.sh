#!/bin/bash
# Proves that a discard of the origin is passed down, and saves first what a
# copy needs; a discard of the whole device neither floods the diff area beyond
# that nor is dropped.
. "$(dirname "$0")/../shadow.sh"
devices 16 32
stomp fill "$origin" --seq 1
activate
stomp discard /dev/mapper/o 0 2048
expect 0 "$(status 17)" "chunks saved without a copy"
stomp verify /dev/mapper/o --seq 0 --count 2048
stomp fill /dev/mapper/o --seq 1 --count 2048
take
before=$(devstat "$origin" discard_sectors)
stomp discard /dev/mapper/o 96 3200
[ "$(devstat "$origin" discard_sectors)" -gt "$before" ] || fail "the discard didn't get down"
expect 100 "$(status 17)" "chunks saved"
stomp verify /dev/mapper/o --seq 0 --start 96 --count 3200
holds "$ID" 1
# Not at chunk borders
stomp discard /dev/mapper/o 5001 3
holds "$ID" 1
stomp verify /dev/mapper/o --seq 1 --start 5004 --count 100
stomp discard /dev/mapper/o 0 "$(sectors "$origin")"
stomp verify /dev/mapper/o --seq 0
holds "$ID" 1
expect 1024 "$(status 17)" "chunks saved"
# Again: nothing to save any more
stomp discard /dev/mapper/o 0 "$(sectors "$origin")"
expect 1024 "$(status 17)" "chunks saved"
