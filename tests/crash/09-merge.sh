#!/bin/bash
# Proves that a merge goes on after a power cut at any point of it: the origin
# reads as the copy, with what was written since, and no copy changes.
# timeout: 600
# slowest
. "$(dirname "$0")/rig.sh"
for cache in flush fua; do
	record $cache 2048 14336 "--chunk-size 16K" --ops 120 --copies 4 --pace 1 --max-write 32K \
		--writers 1 --without exempt,reactivate --merges 4
	cut_power boundary --merging --count "$(count 30 0)"
	cut_power lose --merging --count "$(count 20 1000)"
	cut_power boundary --count "$(count 30 0)"
	cut_power lose --count "$(count 20 1000)"
	scratch_gone
	SEED=$((SEED + 1))
done
