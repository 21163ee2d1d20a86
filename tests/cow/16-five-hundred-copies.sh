#!/bin/bash
# Proves that 512 copies can be created, listed, read and deleted; each differs
# from the next by one write.
# timeout: 300
# slow
. "$(dirname "$0")/../shadow.sh"
devices 4 64
activate
max=512
# Copy n has write n in block n, and zeros behind
nodes takes o $max /dev/mapper/o
expect $max "$(status 6)" copies
expect $max "$(message list | wc -l)" "lines in the list"
oldest=$(status 7)
deactivate
activate
expect $max "$(status 6)" "copies after reactivation"
for n in 1 2 100 255 256 257 400 511; do
	show $((oldest + n - 1))
	c=/dev/mapper/c$((oldest + n - 1))
	stomp read "$c" $((8 * n)) 8 --seq $n
	stomp verify "$c" --seq 0 --start $((8 * n + 8)) --count 64
	[ $n -lt 3 ] || stomp read "$c" 16 8 --seq 2
	hide $((oldest + n - 1))
done
# shellcheck disable=SC2046
message delete $(ids | tr ' ' '\n' | awk 'NR % 2' | head -n 200)
expect $((max - 200)) "$(status 6)" "copies left"
show $((oldest + 255))
stomp read "/dev/mapper/c$((oldest + 255))" 2048 8 --seq 256
hide $((oldest + 255))
ids | tr ' ' '\n' | xargs -n 100 dmsetup message o 0 delete
expect 0 "$(status 6)" "copies in the end"
