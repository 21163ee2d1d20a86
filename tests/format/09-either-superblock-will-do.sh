#!/bin/bash
# Proves that with either superblock damaged after a power cut an area is never taken
# for what it was before its activation: the copies are right.  After a checkpoint it
# may be refused.
# dmesg: damaged|checksum
. "$(dirname "$0")/../shadow.sh"
. "$(dirname "$0")/layers.sh"
devices 1 4 --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
first=$ID
stomp fill /dev/mapper/o --seq 2 --count 1024
deactivate
for checkpoint in '' y; do
	activate
	take
	second=$ID
	stomp fill /dev/mapper/o --seq 3
	[ -z "$checkpoint" ] || message checkpoint
	stomp fill /dev/mapper/o --seq 4 --count 256
	keep
	deactivate
	taken=0
	for block in 0 8; do
		back
		blocks damage "$area" "$block"
		nodes make o "$origin" shadow-origin "$origin" "$area" 2>err || {
			echo "superblock in $block damaged: refused"
			continue
		}
		made[o]=y
		taken=$((taken + 1))
		for id in $(ids); do
			[ "$(listed "$id" 7)" = - ] || continue
			show "$id"
			if [ "$id" = "$first" ]; then
				stomp verify "/dev/mapper/c$id" --seq 1
			elif [ "$id" = "$second" ] && [ -z "$checkpoint" ]; then
				stomp verify "/dev/mapper/c$id" --seq 2 --count 1024
				stomp verify "/dev/mapper/c$id" --seq 1 --start 1024
			fi
			hide "$id"
		done
		[[ " $(ids) " == *" $second "* ]] || fail "superblock in $block damaged: copy $second is gone"
		deactivate
	done
	[ $taken -eq 2 ] || [ -n "$checkpoint" ] || fail "one superblock will not do"
	[ $taken -gt 0 ] || fail "neither superblock will do"
	back
done
