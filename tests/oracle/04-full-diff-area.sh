#!/bin/bash
# Proves the same where the diff area is full again and again: copies go oldest
# first, no more are wrong, and no write of the origin fails.
# timeout: 600
# slow
. "$(dirname "$0")/../shadow.sh"
devices 8 48
stomp run "$origin" "$area" --seed "$SEED" --ops "$(count 2000 20000)" --copies 16 \
	--writers 2 --readers 1 --limit 2400 --without merge
devices 8 48
stomp run "$origin" "$area" --seed "$SEED" --ops "$(count 1000 20000)" --copies 16 \
	--limit 2400
