#!/bin/bash
# Proves the same with up to 64 copies.
# timeout: 600
# slow
. "$(dirname "$0")/../shadow.sh"
devices 4 384
rotates "$origin" 1		# it reads over gaps
stomp run "$origin" "$area" --seed "$SEED" --ops "$(count 2000 20000)" --copies 64 \
	--pace 5 --max-write 128K --writers 2 --readers 1
sound "sixty-four copies" "$area"
