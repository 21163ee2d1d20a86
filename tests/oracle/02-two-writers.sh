#!/bin/bash
# Proves the same with two processors writing at once and two readers of copies
# beside them; copies are taken in the middle of writes.
# timeout: 600
# slow
. "$(dirname "$0")/../shadow.sh"
devices 16 256
stomp run "$origin" "$area" --seed "$SEED" --ops "$(count 3000 30000)" --copies 10 \
	--writers 2 --readers 2
sound "two writers" "$area"
