#!/bin/bash
# Proves the same where the diff area is full again and again: copies go oldest
# first, no more are wrong, and no write of the origin fails.  The small one has
# no room but for what the limit leaves, in pieces of a block.
# timeout: 600
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 48
stomp run "$origin" "$area" --seed "$SEED" --ops "$(count 2000 20000)" --copies 16 \
	--writers 2 --readers 1 --limit 2400 --without merge
sound "limited" "$area"
devices 8 10 --chunk-size 4K
stomp run "$origin" "$area" --seed "$SEED" --ops "$(count 1000 20000)" --copies 40 \
	--limit 2540
sound "small" "$area"
