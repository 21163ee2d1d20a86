#!/bin/bash
# Proves by thousands of random operations (writes of 512 B to 1 MiB, discards,
# zeroes, creations, deletions in any order, merges, reactivations, exempt runs)
# that every copy and the origin hold what a model says; one writer, so that a
# seed repeats it.
# timeout: 600
# slow
. "$(dirname "$0")/../shadow.sh"
for chunk in 4K 16K 128K; do
	devices 8 96 --chunk-size $chunk
	rotates "$origin" 1		# it reads over gaps
	stomp run "$origin" "$area" --seed "$SEED" --ops "$(count 1000 10000)" --copies 12
	sound "$chunk" "$area"
done
