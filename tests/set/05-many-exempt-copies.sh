#!/bin/bash
# Proves that a first write after an activation, to a chunk that is exempt in more copies
# than are asked, is saved once, for the oldest, which needs it, and not once more after
# the next activation with one more copy.
# slowest
. "$(dirname "$0")/../shadow.sh"
devices 2 64
stomp fill "$origin" --seq 1
activate

again()
{
	deactivate
	activate
}
take
oldest=$ID
nodes takes o 140
# shellcheck disable=SC2046 # words
nodes exempt o 0 16 $(ids | cut -d ' ' -f 2-)
again
stomp write /dev/mapper/o 96 8 --seq 2
expect 1 "$(status 17)" "chunks saved"
stomp write /dev/mapper/o 100 8 --seq 3
expect 1 "$(status 17)" "chunks saved, the second time"
holds "$oldest" 1
again
holds "$oldest" 1
take
nodes exempt o 0 16 "$ID"
again
stomp write /dev/mapper/o 96 8 --seq 4
expect 0 "$(status 17)" "chunks saved, by the next activation"
holds "$oldest" 1
