#!/bin/bash
# Proves that requests of any size and place are right: one sector, across chunk
# borders, larger than 1 MiB, up to the end of an origin that ends inside a
# chunk and inside a block; on the origin and on the copy.
# slow
. "$(dirname "$0")/../shadow.sh"
disk 8
dm_create short "0 16331 linear $DEV 0"
origin=/dev/mapper/short
n=16331
disk 32
area=$DEV
format_area "$area" "$origin" --chunk-size 64K
stomp fill "$origin" --seq 1
activate
take
first=$ID
while read -r at count; do
	stomp write /dev/mapper/o "$at" "$count" --seq 2
	stomp read /dev/mapper/o "$at" "$count" --seq 2
	show "$first"
	stomp read "/dev/mapper/c$first" "$at" "$count" --seq 1
	hide "$first"
done <<-END
	0 1
	1 1
	127 1
	127 2
	200 7
	511 1025
	1000 1
	1001 15
	2047 4097
	$((n - 1)) 1
	$((n - 4)) 3
	$((n - 130)) 130
END
holds "$first" 1
stomp fill /dev/mapper/o --seq 3
holds "$first" 1
stomp verify /dev/mapper/o --seq 3
refuses stomp write /dev/mapper/o $((n - 1)) 2 --seq 4
show "$first"
refuses stomp read "/dev/mapper/c$first" $((n - 1)) 2 --seq 1
hide "$first"
