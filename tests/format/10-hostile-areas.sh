#!/bin/bash
# Proves that no diff area, whatever is written in its blocks behind right checksums,
# takes the kernel down, makes it wait for ever, or touches the origin before a merge:
# random fields of random blocks are changed, the area is checked, activated, used and
# deactivated.
# timeout: 600
# slowest
. "$(dirname "$0")/../shadow.sh"
devices 4 16 --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
exempt=$ID
message exempt "$exempt" begin
message exempt "$exempt" run 900 8 950 4
message exempt "$exempt" end
stomp scatter /dev/mapper/o --seq 2 --stride 8K --shuffle
take
stomp scatter /dev/mapper/o --seq 3 --stride 12K --shuffle
message checkpoint
take
stomp scatter /dev/mapper/o --seq 1 --stride 64K
stomp fill /dev/mapper/o --seq 1
sync /dev/mapper/o
# As a crash leaves it: an index with nodes, and a journal to replay
cp "$area" image
deactivate
dd if=image of="$area" bs=1M oflag=direct status=none
hostile areas "$origin" "$area" "$(count 40 4000)" "$SEED"
