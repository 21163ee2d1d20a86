#!/bin/bash
# Proves I4: replay stops at the first record that does not fit, and loses
# nothing that was promised.  Cuts in the middle of journal blocks, torn by the
# sector; cuts where any of the writes since the last flush are lost; with a
# journal so small that it wraps.
# timeout: 600
# slowest
. "$(dirname "$0")/rig.sh"
for cache in flush fua; do
	record $cache 2048 14336 "--chunk-size 4K --journal-size 256K" --ops 400 --copies 5 \
		--pace 12 --max-write 64K --writers 2 --without reactivate
	cut_power torn --only journal --count "$(count 30 1000)"
	cut_power lose --count "$(count 30 1000)"
	cut_power lose-all --count "$(count 15 1000)"
	scratch_gone
done
