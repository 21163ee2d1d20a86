#!/bin/bash
# Proves I1: what a copy is shown to have saved is on stable media.  Cuts among
# the writes of saved data, which may be lost or torn by the sector while the
# record that names them got through: that save is then dropped, and never wrong
# data shown.
# timeout: 600
# slowest
. "$(dirname "$0")/rig.sh"
for cache in flush fua; do
	record $cache 2048 14336 "--chunk-size 16K" --ops 400 --copies 5 --pace 15 \
		--max-write 64K --writers 2 --without reactivate
	cut_power torn --only rest --count "$(count 30 1000)"
	cut_power lose --only rest --count "$(count 30 1000)"
	scratch_gone
done
