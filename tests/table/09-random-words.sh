#!/bin/bash
# Proves that messages and tables of random words, most of which mean something
# elsewhere, are refused or obeyed, never take the kernel down, and that origin and
# copies show what they did.
# timeout: 300
# slow
. "$(dirname "$0")/../shadow.sh"
devices 4 32 --chunk-size 4K
stomp fill "$origin" --seq 1
hostile words "$origin" "$area" "$(count 25 3000)" "$SEED"
