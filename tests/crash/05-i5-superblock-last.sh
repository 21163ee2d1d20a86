#!/bin/bash
# Proves I5: a superblock is written last.  Cuts right after and in the middle of
# each write of a superblock, with and without what else was not flushed, over
# checkpoints, activations and deactivations.
# timeout: 600
# slowest
. "$(dirname "$0")/rig.sh"
record flush 2048 14336 "--chunk-size 4K" --ops 300 --copies 6 --pace 3 --max-write 16K
cut_power boundary --only super --go-on 60 --count "$(count 60 0)"
cut_power torn --only super --count "$(count 60 0)"
cut_power lose --only bitmap --count "$(count 30 0)"
cut_power area --only super --count "$(count 30 0)"
