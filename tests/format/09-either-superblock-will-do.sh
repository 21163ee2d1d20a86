#!/bin/bash
# Proves that with either superblock damaged after a power cut an area is never taken
# for what it was before its activation: the copies are right.  After a checkpoint it
# may be refused.
# dmesg: damaged|checksum
. "$(dirname "$0")/../shadow.sh"
devices 4 16 --chunk-size 4K
stomp fill "$origin" --seq 1
activate
take
first=$ID
stomp fill /dev/mapper/o --seq 2 --count 2048
deactivate
for checkpoint in '' y; do
	activate
	take
	second=$ID
	stomp fill /dev/mapper/o --seq 3
	[ -z "$checkpoint" ] || message checkpoint
	stomp fill /dev/mapper/o --seq 4 --count 512
	sync /dev/mapper/o
	cp "$area" area.image
	cp "$origin" origin.image
	deactivate
	taken=0
	for block in 0 8; do
		dd if=area.image of="$area" bs=1M oflag=direct status=none
		dd if=origin.image of="$origin" bs=1M oflag=direct status=none
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
				stomp verify "/dev/mapper/c$id" --seq 2 --count 2048
				stomp verify "/dev/mapper/c$id" --seq 1 --start 2048
			fi
			hide "$id"
		done
		[[ " $(ids) " == *" $second "* ]] || fail "superblock in $block damaged: copy $second is gone"
		deactivate
	done
	[ $taken -eq 2 ] || [ -n "$checkpoint" ] || fail "one superblock will not do"
	[ $taken -gt 0 ] || fail "neither superblock will do"
	dd if=area.image of="$area" bs=1M oflag=direct status=none
	dd if=origin.image of="$origin" bs=1M oflag=direct status=none
done
