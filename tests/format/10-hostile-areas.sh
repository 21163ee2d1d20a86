#!/bin/bash
# Proves that no diff area, whatever is written in its blocks behind right checksums,
# takes the kernel down, makes it wait for ever, or touches the origin before a merge:
# random fields of random blocks are changed, the area is checked, activated, used and
# deactivated.
# timeout: 600
# slowest
. "$(dirname "$0")/../shadow.sh"
. "$(dirname "$0")/layers.sh"
layered
# All of the origin is write 1, as hostile wants it.
stomp fill /dev/mapper/o --seq 1
keep
deactivate
put area.image "$area"
hostile areas "$origin" "$area" "$(count 40 4000)" "$SEED"
