#!/bin/bash
# Proves I2: the origin is overwritten only once the exception is on stable
# media.  Cuts after every flush and FUA write; then anywhere, where all writes
# to the origin got through and none to the diff area behind the last flush.
# timeout: 600
# slowest
. "$(dirname "$0")/rig.sh"
for cache in flush fua; do
	record $cache 2048 14336 "--chunk-size 4K" --ops 300 --copies 5 --pace 12 \
		--max-write 64K --writers 2
	cut_power boundary --count "$(count 45 0)"
	cut_power origin --count "$(count 30 1000)"
	scratch_gone
done
